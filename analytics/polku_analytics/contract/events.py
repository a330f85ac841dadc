"""What was observed, whatever it was read from: batches of events as the JSON documents their senders sent."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from polku_schemas.tolerant import make_json_safe, read_json

CALLS: Final = ("track", "page", "screen", "identify", "group", "alias")

BATCH_EVENTS: Final = 20_000
"""Events of a batch at most: enough to make the fixed cost of one small, few enough to hold some in memory."""

EMPTY: Final = b"{}"

PAGE_MEMBERS: Final = frozenset(("url", "path", "title", "referrer", "search"))
"""Properties of a page call that go to the page's own columns, unless the plan has them as properties."""

UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What a decoder raises on bytes that are not what it wants."""


class Sender(NamedTuple):
    """Who sent an event: the source its key belongs to, and the library that made the request."""

    source: str | None
    library: str | None
    library_version: str | None

    @property
    def release(self) -> str:
        """The library with its version, as a report names it."""
        return " ".join(part for part in (self.library, self.library_version) if part) or "unknown library"


class Batch(Struct, frozen=True):
    """Events of one call and name, side by side: item `i` of each list belongs to one event."""

    call: str
    name: str
    """As it is stored: the plan's name where the event was planned when it came, else as it was sent."""
    properties: list[bytes]
    """A JSON object each."""
    traits: list[bytes | None]
    """A JSON object each, or None where none came."""
    senders: list[Sender]
    unplanned: list[bool]
    """Whether it was marked as unplanned when it came in."""

    def __len__(self) -> int:
        return len(self.properties)


class Item(Struct, frozen=True):
    """One event of the wire, as far as a plan is concerned."""

    call: str
    name: str
    properties: bytes
    traits: bytes | None
    library: str | None = None
    library_version: str | None = None


class NotAnEvent(ValueError):
    """The text is no event; the message says why."""


def read_item(raw: bytes | str) -> Item:
    """The event in the JSON of a batch's item, by the rules of the wire. Raises NotAnEvent."""
    try:
        wire = _decode(raw)
    except UNREADABLE:
        wire = _tolerant(raw)
    call = wire.type or ("track" if wire.event else "")
    if call not in CALLS:
        raise NotAnEvent(f"its type {call[:40]!r} is no call" if call else "it has neither a type nor an event name")
    if call == "track" and not wire.event:
        raise NotAnEvent("a track call without an event name")
    properties = _object(wire.properties) or EMPTY
    if call in ("page", "screen") and (wire.name or wire.category):
        given = {f"{call}_name": wire.name, f"{call}_category": wire.category}
        properties = merged(properties, {key: value for key, value in given.items() if value})
    context = wire.context or _Context()
    library = context.library or _Library()
    traits = _object(wire.traits) or _object(context.traits)
    return Item(call, wire.event or call, properties, traits, library.name, library.version)


def merged(document: bytes, rest: Any) -> bytes:
    """A document with what was kept beside it: objects get the members, lists are gone through side by side."""
    return msgspec.json.encode(_merge(msgspec.json.decode(document), rest))


def _merge(value: Any, rest: Any) -> Any:
    if isinstance(value, dict) and isinstance(rest, dict):
        return value | {name: _merge(value[name], member) if name in value else member for name, member in rest.items()}
    if isinstance(value, list) and isinstance(rest, list) and len(value) == len(rest):
        return [_merge(item, member) for item, member in zip(value, rest, strict=True)]
    return rest


class _Library(Struct):
    name: str | None = None
    version: str | None = None


class _Context(Struct):
    library: _Library | None = None
    traits: Raw | UnsetType = UNSET


class _Wire(Struct):
    type: str | None = None
    event: str | None = None
    name: str | None = None
    category: str | None = None
    properties: Raw | UnsetType = UNSET
    traits: Raw | UnsetType = UNSET
    context: _Context | None = None


_decode = msgspec.json.Decoder(_Wire).decode


def _tolerant(raw: bytes | str) -> _Wire:
    """What the strict decoder refuses, read as the collector's slow path does."""
    document = read_object(raw)
    context = document.get("context")
    kept = {key: value for key, value in document.items() if key not in ("context", "properties", "traits")}
    known = {key: value for key, value in kept.items() if isinstance(value, str)}
    wire = msgspec.convert(known, _Wire)
    for key in ("properties", "traits"):
        if key in document:
            setattr(wire, key, Raw(msgspec.json.encode(document[key])))
    if isinstance(context, dict):
        wire.context = _Context()
        if isinstance(context.get("traits"), dict):
            wire.context.traits = Raw(msgspec.json.encode(context["traits"]))
        library = context.get("library")
        if isinstance(library, dict):
            words = {key: value for key, value in library.items() if isinstance(value, str)}
            wire.context.library = msgspec.convert(words, _Library)
    return wire


def read_object(raw: bytes | str) -> dict[str, Any]:
    """The JSON object in a text, read tolerantly and made safe for every reader. Raises NotAnEvent."""
    try:
        document = read_json(raw.encode() if isinstance(raw, str) else raw)[0]
        if isinstance(document, dict):
            make_json_safe(document)
    except UnicodeDecodeError as error:
        raise NotAnEvent(f"byte {error.start} is not UTF-8") from None
    except ValueError as error:
        raise NotAnEvent(f"not JSON: {error}") from None
    except RecursionError:
        raise NotAnEvent("nested too deep") from None
    if not isinstance(document, dict):
        raise NotAnEvent("not a JSON object")
    return document


def _object(raw: Raw | UnsetType) -> bytes | None:
    """The bytes of a member that is there and not null."""
    if raw is UNSET or bytes(raw) == b"null":
        return None
    return bytes(raw)
