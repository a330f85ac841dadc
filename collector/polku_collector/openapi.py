"""GET /v1/openapi.json: every endpoint in OpenAPI 3.1, made of what the code itself uses.

Records of the wire are described by their types, addresses by the tables that serve them. Nothing of a plan is in it:
what an event must carry stands in the catalogue that `polku plan docs` writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec.json import schema_components

from .intake.answer import Answer, ErrorAnswer
from .intake.consent import CONSENT_PATH, ConsentPing
from .intake.paths import BATCH_PATHS, SINGLE_PATHS
from .intake.pixel import MEMBERS, PIXEL_PATHS
from .intake.wire import WireBatch, WireEvent
from .webhook.endpoint import PREFIX

Document = dict[str, Any]  # JSON

ERRORS: Final = {
    400: "The body as a whole cannot be read. Do not send it again.",
    401: "The write key, or the signature, is missing or wrong.",
    403: "The source does not take events from pages of this origin.",
    404: "There is nothing at this address.",
    405: "The endpoint has another method.",
    408: "The body arrived too slowly. Send it again.",
    413: "The body, or what it becomes, is larger than the limits. Send smaller batches.",
    415: "The encoding of the body is not known.",
    429: "The source is over its rate. Send the same again after `Retry-After` seconds.",
    431: "Address and headers are larger than the limit.",
    503: "Nothing can be stored just now, or (`not_committed`) it is stored and not in the tables yet. "
    "Send the same again after `Retry-After` seconds.",
}
"""Every status of a refusal. Their codes are in docs/wire-format.md."""

_OF_BODIES: Final = (400, 401, 403, 408, 413, 415, 429, 431, 503)
_KEYS: Final[list[dict[str, list[str]]]] = [{"basic": []}, {"bearer": []}, {"query": []}, {}]
_NO_KEY: Final[list[dict[str, list[str]]]] = [{}]


def openapi(version: str, webhooks: Sequence[str] = ()) -> Document:
    """The description of a collector of this version that has these webhooks."""
    _, components = schema_components(
        [Answer, ConsentPing, ErrorAnswer, WireBatch, WireEvent], ref_template="#/components/schemas/{name}"
    )
    paths: Document = {}
    for path in sorted(BATCH_PATHS):
        paths[path] = _post("sendBatch", path, "/v1/batch", "Send events.", "WireBatch")
    for path, call in SINGLE_PATHS.items():
        paths[path] = _post(f"send{call.capitalize()}", path, f"/v1/{call}", f"Send one {call} call.", "WireEvent")
    paths[CONSENT_PATH] = _consent()
    for path in PIXEL_PATHS:
        paths[path] = _pixel(path)
    paths[PREFIX + "{name}"] = _webhook(webhooks)
    for path, summary, answer in (
        ("/healthz", "Whether the worker lives, and its plan.", _json({"type": "object"}, "It lives.")),
        ("/readyz", "Whether events are taken.", _json({"type": "object"}, "They are.")),
        ("/metrics", "Figures for Prometheus.", {"description": "Its text format.", "content": {"text/plain": {}}}),
        ("/v1/openapi.json", "This description.", _json({"type": "object"}, "OpenAPI 3.1.")),
    ):
        responses = {"200": answer}
        if path == "/readyz":
            responses["503"] = _json({"type": "object"}, "They are not; `message` says why.")
        paths[path] = {
            "get": {"operationId": _id("get", path), "summary": summary, "security": _NO_KEY, "responses": responses}
        }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Polku collector",
            "version": version,
            "description": "Takes events, makes them durable, and says of each what is wrong with it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": {name: _open(name, schema) for name, schema in sorted(components.items())},
            "responses": {name: _refusal(status) for status, name in _NAMES.items()},
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic", "description": "The write key as user name, no password."},
                "bearer": {"type": "http", "scheme": "bearer", "description": "The write key."},
                "query": {"type": "apiKey", "in": "query", "name": "writeKey"},
            },
        },
    }


def _post(name: str, path: str, long_path: str, summary: str, body: str) -> Document:
    post: Document = {
        "operationId": name if path == long_path else _id("post", path),
        "summary": summary if path == long_path else f"{summary} The same as {long_path}.",
        "description": "The body is JSON whatever its Content-Type says; the key may be in it as `writeKey`. A 200 "
        "means that every event is durable; those that break the plan are in `rejected`, each with its reason.",
        "security": _KEYS,
        "parameters": [
            _header("X-Polku-Sent-At", "When this attempt is made, ISO 8601. Goes before `sentAt` in the body."),
        ],
        "requestBody": {
            "required": True,
            "content": {
                kind: {"schema": {"$ref": f"#/components/schemas/{body}"}}
                for kind in ("application/json", "text/plain")
            },
        },
        "responses": {
            "200": _json({"$ref": "#/components/schemas/Answer"}, "Stored."),
            **_refusals(_OF_BODIES),
        },
    }
    preflight = {
        "operationId": _id("options", path),
        "summary": "For browsers that ask first.",
        "security": _NO_KEY,
        "responses": {"204": {"description": "The origin and the headers that are allowed."}},
    }
    return {"post": post, "options": preflight}


def _consent() -> Document:
    described = _post("countDecision", CONSENT_PATH, CONSENT_PATH, "Count one decision about consent.", "ConsentPing")
    described["post"]["description"] = (
        "Nothing of the person is in it, and nothing of the request is kept but its source: no address, user agent or "
        "cookie. It has no id, so one that is sent twice counts twice. A member more than these is refused."
    )
    described["post"]["parameters"] = []
    return described


def _pixel(path: str) -> Document:
    image: Document = {"content": {"image/gif": {}}}
    fields = [_query(name, f"As `{name}` of an item.") for name in MEMBERS]
    fields.append(_query("data", "An item as base64 of JSON, of either alphabet. Other fields go over its members."))
    fields.append(
        {
            "name": "p",
            "in": "query",
            "description": "Properties: `p.NAME=VALUE` for each, as the type that the plan gives it.",
            "schema": {"type": "object", "additionalProperties": {"type": "string"}},
        }
    )
    answers = {
        "200": {"description": "Durable, in `events` or in `quarantine`.", **image},
        "401": {"description": ERRORS[401], **image},
        "403": {"description": ERRORS[403], **image},
        "413": {"description": ERRORS[413], **image},
        "429": {"description": ERRORS[429], "headers": _RETRY_AFTER, **image},
        "503": {"description": ERRORS[503], "headers": _RETRY_AFTER, **image},
    }
    get = {
        "operationId": _id("get", path),
        "summary": "One event in a query, answered with an image of one pixel.",
        "security": _KEYS,
        "parameters": fields,
        "responses": answers,
    }
    head = {
        "operationId": _id("head", path),
        "summary": "What GET would answer. It is no event.",
        "security": _NO_KEY,
        "responses": {"200": {"description": "The head of an image."}},
    }
    return {"get": get, "head": head}


def _webhook(names: Sequence[str]) -> Document:
    name: Document = {"type": "string", "enum": list(names)} if names else {"type": "string"}
    return {
        "parameters": [{"name": "name", "in": "path", "required": True, "schema": name}],
        "post": {
            "operationId": "postWebhook",
            "summary": "A delivery of another system, for a webhook of the settings.",
            "security": _KEYS,
            "requestBody": {"required": True, "content": {"application/json": {"schema": {}}}},
            "responses": {
                "200": _json({"$ref": "#/components/schemas/Answer"}, "Stored, or nothing in it is an event."),
                **_refusals((*_OF_BODIES, 404)),
            },
        },
    }


_CUT: Final = frozenset(("Context", "Library", "Page", "Campaign"))
"""Records whose texts are cut, not refused, when they are too long."""

_CLOSED: Final = "ConsentPing"
"""The record that takes no other members."""

_NAMES: Final = {status: f"Refused{status}" for status in ERRORS}
_WAITING: Final = (429, 503)
_RETRY_AFTER: Final = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}


def _refusals(statuses: tuple[int, ...]) -> Document:
    return {str(status): {"$ref": f"#/components/responses/{_NAMES[status]}"} for status in sorted(statuses)}


def _refusal(status: int) -> Document:
    refusal = _json({"$ref": "#/components/schemas/ErrorAnswer"}, ERRORS[status])
    return refusal | {"headers": _RETRY_AFTER} if status in _WAITING else refusal


def _json(schema: Document, description: str) -> Document:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _query(name: str, description: str) -> Document:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string"}}


def _header(name: str, description: str) -> Document:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def _id(method: str, path: str) -> str:
    return method + "".join(part.capitalize() for part in path.replace(".", "/").split("/"))


def _open(name: str, schema: Document) -> Document:
    """As it is meant for senders: other members are taken too (but by one), and a description is one paragraph."""
    left_out = ("title",) if name == _CLOSED else ("title", "additionalProperties")
    kept = {name: value for name, value in schema.items() if name not in left_out}
    if "description" in kept:
        kept["description"] = " ".join(kept["description"].split())
    if name in _CUT:
        kept = _without_lengths(kept)
    if kept.get("required") == []:
        del kept["required"]
    return kept


def _without_lengths(schema: Any) -> Any:
    if isinstance(schema, dict):
        lengths = ("maxLength", "maxItems")
        return {name: _without_lengths(inner) for name, inner in schema.items() if name not in lengths}
    return [_without_lengths(inner) for inner in schema] if isinstance(schema, list) else schema
