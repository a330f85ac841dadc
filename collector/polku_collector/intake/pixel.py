"""GET /v1/pixel.gif: one event a request, in its query, for mail and other places that run no script.

The answer is always an image, whatever became of the event: a broken one would be seen by the reader of the mail. Its
status is honest: 200 only when the event is durable, for `events` or for `quarantine`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from polku_schemas import Problem, ProblemCode

from ..batch import MAX_TEXT, Context
from .beacon import from_base64
from .envelope import CALLS
from .receive import Receive, Scope, Send, headers_of, presented_key
from .refused import Refused
from .take import Intake
from .wire import Body, Item, Unreadable, parse_single

PIXEL_PATH: Final = "/v1/pixel.gif"

PIXEL_PATHS: Final[dict[str, str | None]] = {PIXEL_PATH: None, **{f"/v1/pixel/{call}": call for call in sorted(CALLS)}}
"""The addresses, with the call each stands for. Segment's pixel API has the long ones."""

GIF: Final = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,"
    b"\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)

# Members of an item that a query can give by their own names.
MEMBERS: Final = (
    *("type", "event", "messageId", "anonymousId", "userId", "groupId", "previousId"),
    *("timestamp", "name", "category"),
)
PROPERTY: Final = "p."

_MAX_FIELDS: Final = 1000
_HEAD: Final = [
    (b"content-type", b"image/gif"),
    (b"content-length", b"%d" % len(GIF)),
    (b"cache-control", b"no-store, no-cache, must-revalidate, private, max-age=0"),
    (b"pragma", b"no-cache"),
    (b"expires", b"0"),
    (b"cross-origin-resource-policy", b"cross-origin"),
]


class PixelEndpoint:
    """Answers GET and HEAD on the addresses of the pixel; what HEAD asks for is no event."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        status, retry_after, waited = 200, None, 0.0
        try:
            if scope["method"] == "GET":
                waited = await self._accept(scope)
            elif scope["method"] != "HEAD":
                raise Refused(405, "method_not_allowed", "the pixel is asked for with GET")
        except Refused as refused:
            self._intake.refusal(refused)  # for its count: the answer is an image
            status, retry_after, waited = refused.status, refused.retry_after, refused.waited_seconds
        except asyncio.CancelledError:
            self._intake.answered(499, started)
            return
        head = list(_HEAD)
        if retry_after is not None:
            head.append((b"retry-after", b"%d" % retry_after))
        if status == 405:
            head.append((b"allow", b"GET, HEAD"))
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else GIF})
        self._intake.answered(status, started, waited)

    async def _accept(self, scope: Scope) -> float:
        """Returns how long the lake was waited for."""
        headers, query = headers_of(scope), scope["query_string"]
        key = presented_key(headers, query)
        raw = b"&".join(field for field in query.split(b"&") if not field.startswith(b"writeKey="))
        try:
            item = self._item(PIXEL_PATHS[scope["path"]], raw)
        except _Unusable as unusable:
            item = Item(None, unusable.problem, unusable.raw or raw)
        if key is None and item.event is not None:
            key = item.event.write_key
        sender = self._intake.sender_of(key, headers)
        agent = headers.get(b"user-agent")
        context = None if agent is None else Context(user_agent=agent[:MAX_TEXT].decode("latin-1"))
        body = Body(None, [item], context, None, None)
        return (await self._intake.take(body, self._intake.arrival(sender, raw), sender, scope)).waited_seconds

    def _item(self, call: str | None, query: bytes) -> Item:
        """The event in a query. Raises _Unusable."""
        try:
            fields = parse_qsl(
                query.decode("latin-1"),
                keep_blank_values=True,
                errors="surrogateescape",  # what is not UTF-8 becomes half characters, which are stored as U+FFFD
                max_num_fields=_MAX_FIELDS,
            )
        except ValueError:
            raise _Unusable(ProblemCode.TOO_LARGE, f"more than {_MAX_FIELDS} fields in the query") from None
        data = next((value for name, value in fields if name == "data"), None)
        plain = {name: value for name, value in fields if name in MEMBERS}
        properties = _grouped(fields)
        raw = b"{}" if data is None else _decoded(data)
        if plain or properties or data is None:
            item = _object(raw)
            item |= plain
            if properties:
                name = str(item.get("event", ""))[:1024]
                types = self._intake.property_types(call or str(item.get("type", "track")), name)
                inner = item.get("properties")
                item["properties"] = (inner if isinstance(inner, dict) else {}) | _typed(properties, types)
            try:
                raw = json.dumps(item).encode()
            except RecursionError:
                raise _Unusable(ProblemCode.TOO_DEEP, "what `data` holds is nested too deep", raw) from None
        try:
            body = parse_single(raw, call, self._intake.in_force.senders.shape)
        except Unreadable as error:
            raise _Unusable(ProblemCode.INVALID_JSON, f"what `data` holds cannot be read: {error}", raw) from None
        item_read = body.items[0] if body.items is not None else Item(None)
        if body.events is not None:
            item_read = Item(body.events[0], raw=raw)
        if call is None and item_read.event is not None and item_read.event.type is None:
            item_read.event.type = "track"
        return item_read


class _Unusable(Exception):
    """No event can be made of the query. The problem goes to `quarantine` with it."""

    def __init__(self, code: ProblemCode, message: str, raw: bytes | None = None) -> None:
        super().__init__(message)
        self.problem, self.raw = Problem(code, "$", message), raw


def _decoded(data: str) -> bytes:
    try:
        return from_base64(data.encode("latin-1").strip().replace(b" ", b"+"))
    except ValueError:
        raise _Unusable(ProblemCode.INVALID_JSON, "the field `data` is not base64") from None


def _object(raw: bytes) -> dict[str, Any]:
    try:
        item = json.loads(raw.decode())  # of bytes, `json` would guess the encoding
    except UnicodeDecodeError as error:
        message = f"byte {error.start} of what `data` holds is not UTF-8"
        raise _Unusable(ProblemCode.INVALID_UTF8, message, raw) from None
    except RecursionError:
        raise _Unusable(ProblemCode.TOO_DEEP, "what `data` holds is nested too deep", raw) from None
    except ValueError as error:
        raise _Unusable(ProblemCode.INVALID_JSON, f"what `data` holds is not JSON: {error}", raw) from None
    if not isinstance(item, dict):
        raise _Unusable(ProblemCode.NOT_AN_OBJECT, "what `data` holds is not a JSON object", raw)
    return item


def _grouped(fields: list[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for name, value in fields:
        if name.startswith(PROPERTY) and len(name) > len(PROPERTY):
            grouped.setdefault(name.removeprefix(PROPERTY), []).append(value)
    return grouped


def _typed(properties: Mapping[str, list[str]], types: Mapping[str, str]) -> dict[str, Any]:
    """Texts as the plan's types. One that does not fit stays a text, which the plan refuses. Repeated ones: a list."""
    typed: dict[str, Any] = {}
    for name, values in properties.items():
        kind = types.get(name, "string")
        of = kind.removeprefix("list<").removesuffix(">")
        converted = [_value(value, of) for value in values]
        typed[name] = converted if of != kind or len(converted) > 1 else converted[0]
    return typed


def _value(text: str, kind: str) -> Any:
    if kind not in ("long", "double", "boolean"):
        return text
    try:
        value = msgspec.json.decode(text.encode("utf-8", "replace"))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return text
    return value if isinstance(value, int | float) and isinstance(value, bool) == (kind == "boolean") else text
