"""The wire format, a superset of the Segment HTTP tracking API, as typed records; and how a body becomes them.

`parse_body` tries one typed decode of the whole body. If anything in it is odd, the body is taken apart and each item
is decoded alone, first strictly, then tolerantly; an item that is beyond repair becomes a `Problem`.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from polku_schemas import Problem, ProblemCode

from ..batch import (
    MAX_CONSENT,
    MAX_ID,
    MAX_NAME,
    MAX_TEXT,
    MAX_URL,
    Campaign,
    Context,
    Id,
    Library,
    Page,
)
from .shape import Shape
from .split import NotJson, TooMany, items, members

MAX_EVENT_ID = 128

EventId = Annotated[str, Meta(max_length=MAX_EVENT_ID)]

# Objects that an honest event brings: itself, context, page, properties, lines of an order, …
_BRACES_PER_EVENT = 64


class WireEvent(Struct, rename="camel", gc=False):
    """One item of a batch, or the body of a single call. Other members (`integrations`, …) are ignored."""

    type: str | None = None
    event: str | None = None
    message_id: EventId | None = None
    anonymous_id: Id | None = None
    user_id: Id | None = None
    group_id: Id | None = None
    previous_id: Id | None = None
    timestamp: datetime | None = None
    original_timestamp: datetime | None = None
    sent_at: datetime | None = None
    name: str | None = None
    category: str | None = None
    properties: Raw | UnsetType = UNSET
    traits: Raw | UnsetType = UNSET
    context: Context | None = None
    write_key: str | None = None


class _OpenEvent(WireEvent, gc=False):
    """An item whose context is looked at on its own: it has members without a column."""

    context: Any = None  # JSON, while it is looked at


class WireBatch(Struct, rename="camel", gc=False):
    """The body of /v1/batch."""

    batch: list[WireEvent]
    context: Context | None = None
    sent_at: datetime | None = None
    write_key: str | None = None
    lost: Raw | UnsetType = UNSET


class ClientLoss(Struct, frozen=True):
    """So many events never left a program, for one reason. `id`: told again, it is the same."""

    id: Annotated[str, Meta(min_length=1, max_length=MAX_EVENT_ID)]
    reason: Annotated[str, Meta(max_length=64)]
    count: Annotated[int, Meta(ge=1, le=2**53)]


class _RawBatch(Struct, rename="camel"):
    """The body of /v1/batch with its members still to be read."""

    batch: list[Raw]
    context: Raw | UnsetType = UNSET
    sent_at: Raw | UnsetType = UNSET
    write_key: Raw | UnsetType = UNSET
    lost: Raw | UnsetType = UNSET


class Item(Struct, frozen=True):
    """One event as it was read: the record, or the problem; its raw bytes if the body had to be taken apart."""

    event: WireEvent | None
    problem: Problem | None = None
    raw: bytes | None = None
    context_extra: dict[str, Any] | None = None  # members of `context` without a column
    repaired: bool = False


class Body(Struct, frozen=True):
    """What a request brought. `events` is the fast path's list; `items` the slow path's; one of them is None."""

    events: list[WireEvent] | None
    items: list[Item] | None
    context: Context | None
    sent_at: datetime | None
    write_key: str | None
    context_extra: dict[str, Any] | None = None  # members of the batch's `context` without a column
    lost: bytes | None = None  # what the SDK tells of events it could not send, still to be read

    def __len__(self) -> int:
        return len(self.events if self.events is not None else self.items or ())

    def clear(self) -> None:
        """Let go of the events, when something else was made of them."""
        for parts in (self.events, self.items):
            if parts is not None:
                parts.clear()


class Unreadable(Exception):
    """The body is not JSON, or not of the form of its endpoint. `path` says where."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.path = path


_decode_batch = msgspec.json.Decoder(WireBatch).decode
_decode_event = msgspec.json.Decoder(WireEvent).decode
_decode_open = msgspec.json.Decoder(_OpenEvent).decode
_decode_raws = msgspec.json.Decoder(_RawBatch).decode
_decode_context = msgspec.json.Decoder(Context).decode
_encode = msgspec.json.Encoder().encode
_SHAPE = Shape()
ODD = (msgspec.MsgspecError, ValueError, RecursionError)
"""What msgspec raises for bytes that are not what a type says."""


def parse_batch(body: bytes, max_events: int = 10_000, shape: Shape = _SHAPE) -> Body:
    """Read the body of /v1/batch. Raises Unreadable (not JSON, or no list `batch`) or TooMany."""
    most = _BRACES_PER_EVENT * max_events
    if len(body) > most and body.count(b"{") > most:
        return _parse_parts(body, max_events, shape)  # counts the events before anything is made of them
    try:
        batch = _decode_batch(body)
    except ODD:
        return _parse_parts(body, max_events, shape)
    lost = bytes(batch.lost) if batch.lost is not UNSET else None
    return Body(batch.batch, None, batch.context, batch.sent_at, batch.write_key, None, lost)


def parse_single(body: bytes, call: str | None, shape: Shape = _SHAPE) -> Body:
    """Read the body of /v1/track, /v1/identify, …; the endpoint says the type (None: the event). Raises Unreadable."""
    try:
        event = _decode_event(body)
    except ODD:
        try:
            members(body)
        except NotJson as error:
            raise Unreadable(f"the body is not a JSON object: {error}", "$") from None
        item = _item(body, shape)
        event = item.event or WireEvent()
        event.type = call or event.type
        return Body(None, [item], None, event.sent_at, event.write_key)
    event.type = call or event.type
    return Body([event], None, None, event.sent_at, event.write_key)


def context_text(context: Context, limit: int) -> str:
    """A batch's context as JSON, cut at `limit` bytes; without what has no column."""
    page = context.page and msgspec.structs.replace(context.page, search=None)
    return _encode(msgspec.structs.replace(context, ip=None, page=page))[:limit].decode("utf-8", "ignore")


def context_of(text: str) -> Context:
    """The inverse. Raises msgspec.MsgspecError for a text that was cut."""
    return _decode_context(text)


def raw_items(body: bytes, events: list[WireEvent]) -> list[bytes]:
    """The bytes of each event as it came, once it is known that somebody has to see them."""
    try:
        outer = members(body)
        found = items(outer["batch"], len(events)) if "batch" in outer else [body]
    except (NotJson, TooMany):
        found = []
    return found if len(found) == len(events) else [_encode(event) for event in events]


def _parse_parts(body: bytes, max_events: int, shape: Shape) -> Body:
    raws, outer = _parts(body, max_events)
    lost = outer.pop("lost", None)
    found = [_item(raw, shape) for raw in raws]
    # The envelope is read like an item: what is odd in it is passed over, the events decide for themselves.
    envelope = _item(b"{" + b",".join(b'"%b":%b' % (key.encode(), raw) for key, raw in outer.items()) + b"}", shape)
    event = envelope.event or WireEvent()
    return Body(None, found, event.context, event.sent_at, event.write_key, envelope.context_extra, lost)


def _parts(body: bytes, max_events: int) -> tuple[list[bytes], dict[str, bytes]]:
    """The bytes of each item, and of the members around them. Raises Unreadable or TooMany."""
    try:
        if body.count(b",") > _BRACES_PER_EVENT * max_events:
            raise ValueError("too many items to make anything of them before they are counted")
        whole = _decode_raws(body)  # in C, if the body is JSON as a whole
    except ODD:
        try:
            parts = members(body)
            if "batch" not in parts:
                raise Unreadable('the body has no member "batch"', "$.batch")
            found = items(parts["batch"], max_events)
        except NotJson as error:
            message = f"the body is not a JSON object with a list of events in `batch`: {error}"
            raise Unreadable(message, "$.batch") from None
        return found, {name: parts[name] for name in _OF_BATCH if name in parts}
    if len(whole.batch) > max_events:
        raise TooMany(f"more than {max_events} events")
    given = (whole.context, whole.sent_at, whole.write_key, whole.lost)
    outer = {name: bytes(raw) for name, raw in zip(_OF_BATCH, given, strict=True) if raw is not UNSET}
    return [bytes(raw) for raw in whole.batch], outer


_OF_BATCH = ("context", "sentAt", "writeKey", "lost")


def _item(raw: bytes, shape: Shape) -> Item:
    """One item alone: strictly, else with a context that has members of its own, else tolerantly."""
    try:
        return Item(_decode_event(raw), raw=raw)
    except ODD:
        pass
    problem = shape.problem(raw)
    if problem is not None:
        return Item(None, problem, raw)
    try:
        event = _decode_open(raw)
        context, extra = _split_context(event.context)
        event.context = msgspec.convert(context, Context) if context is not None else None
    except ODD:
        return _tolerant_item(raw)
    return Item(event, raw=raw, context_extra=extra or None)


def _tolerant_item(raw: bytes) -> Item:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"byte {error.start} of the event is not UTF-8"
        return Item(None, Problem(ProblemCode.INVALID_UTF8, "$", message), raw)
    try:
        document = json.loads(text, parse_constant=lambda name: None)
    except ValueError as error:
        return Item(None, Problem(ProblemCode.INVALID_JSON, "$", f"not JSON: {error}"), raw)
    if not isinstance(document, dict):
        message = f"expected an object, got {_json_type(document)}"
        return Item(None, Problem(ProblemCode.NOT_AN_OBJECT, "$", message), raw)
    clean, repaired = _without_surrogates(document)
    context, context_extra = _split_context(clean.get("context"))
    clean["context"] = context
    for member in ("properties", "traits"):
        if member in clean:
            clean[member] = Raw(_encode(clean[member]))
    for member, most in _LONGEST.items():
        value = clean.get(member)
        if isinstance(value, str) and len(value) > most:
            message = f"{len(value)} characters, at most {most}"
            return Item(None, Problem(ProblemCode.INVALID_ID, f"$.{member}", message), raw)
    try:
        event = msgspec.convert(clean, WireEvent)
    except msgspec.ValidationError as error:
        return Item(None, _envelope_problem(str(error)), raw)
    return Item(event, raw=raw, context_extra=context_extra or None, repaired=repaired)


def _without_surrogates(value: Any) -> tuple[Any, bool]:  # Any: JSON
    """Lone surrogates (half of a cut emoji) cannot be stored as UTF-8; they become U+FFFD. Says whether any did."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), True
        return value, False
    if isinstance(value, list):
        pairs = [_without_surrogates(item) for item in value]
        return [item for item, _ in pairs], any(repaired for _, repaired in pairs)
    if isinstance(value, dict):
        cleaned, repaired = {}, False
        for key, item in value.items():
            clean_key, key_repaired = _without_surrogates(key)
            cleaned[clean_key], item_repaired = _without_surrogates(item)
            repaired = repaired or key_repaired or item_repaired
        return cleaned, repaired
    return value, False


_NESTED: dict[str, type[Struct]] = {"library": Library, "page": Page, "campaign": Campaign}
_CONTEXT_MEMBERS = frozenset(field.encode_name for field in msgspec.structs.fields(Context))


def _split_context(context: Any) -> tuple[Any, dict[str, Any]]:  # Any: JSON
    """What of `context` has columns, and the rest. A known member of an odd type counts as rest."""
    if not isinstance(context, dict):
        return None, ({} if context is None else {"context": context})
    known: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, value in context.items():
        if name == "ip":
            if isinstance(value, str):  # whatever else it is: it has no place in `extra`
                known["ip"] = value
            continue
        value = _cut(name, value)
        if name not in _CONTEXT_MEMBERS:
            rest[name] = value
        elif name in _NESTED and isinstance(value, dict):
            members_ = {field.encode_name for field in msgspec.structs.fields(_NESTED[name])}
            inner = {key: item for key, item in value.items() if key in members_ and isinstance(item, str | None)}
            inner = {key: _cut(key, item) for key, item in inner.items()}
            known[name] = inner
            other = {key: item for key, item in value.items() if key not in inner}
            if other:
                rest[name] = other
        else:
            try:
                msgspec.convert({name: value}, Context)
                known[name] = value
            except msgspec.ValidationError:
                rest[name] = value
    return known, rest


def _cut(name: str, value: Any) -> Any:  # Any: JSON
    """Texts of the context are cut, not refused: they describe the event and do not make it."""
    if isinstance(value, str):
        return value[: MAX_URL if name in _URLS else MAX_TEXT] if name in _TEXTS else value
    if name == "consent" and isinstance(value, list):
        return [purpose[:MAX_NAME] if isinstance(purpose, str) else purpose for purpose in value[:MAX_CONSENT]]
    return value


_URLS = frozenset(("url", "path", "referrer"))
_IDS = frozenset(("sessionId", "groupId"))
_TEXTS = frozenset(
    field.encode_name for part in (Context, Library, Page, Campaign) for field in msgspec.structs.fields(part)
) - {"search", "ip", *_IDS}

# What no event may be longer in, by member of the item.
_LONGEST = {"messageId": MAX_EVENT_ID, "anonymousId": MAX_ID, "userId": MAX_ID, "groupId": MAX_ID, "previousId": MAX_ID}

_MEMBER_CODES = {
    "timestamp": ProblemCode.INVALID_TIME,
    "originalTimestamp": ProblemCode.INVALID_TIME,
    "sentAt": ProblemCode.INVALID_TIME,
    "messageId": ProblemCode.INVALID_ID,
    "anonymousId": ProblemCode.INVALID_ID,
    "userId": ProblemCode.INVALID_ID,
    "groupId": ProblemCode.INVALID_ID,
    "previousId": ProblemCode.INVALID_ID,
}


def _envelope_problem(text: str) -> Problem:
    """A decoder's sentence about the envelope as a problem with code and path."""
    message, _, place = text.partition(" - at `")
    path = place.rstrip("`") or "$"
    member = path.removeprefix("$.").partition(".")[0]
    return Problem(_MEMBER_CODES.get(member, ProblemCode.WRONG_TYPE), path, message)


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    return {bool: "boolean", str: "string", list: "array"}.get(type(value), "number")
