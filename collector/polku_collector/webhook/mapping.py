"""What a webhook's payload says, as events: pure functions over JSON.

Every entry of the mapping whose `when` holds makes an event, or one for each item of a list. The id of an event is made
of the webhook's name, the entry's and the delivery's own id, so that a delivery that comes again is the same event.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from polku_schemas import Problem, ProblemCode

from ..casts import Cast, Uncastable, cast_value
from .places import Delivery, Place, find

MAX_EVENT_ID: Final = 128

Scalar = str | int | float | bool | None


class Constant(Struct, frozen=True, tag=True):
    """A value that stands in the mapping itself."""

    value: Scalar


class Found(Struct, frozen=True, tag=True):
    """A value of the delivery, changed if need be; `default` where there is none."""

    place: Place
    cast: Cast | None = None
    divide: float | None = None  # amounts that come in hundredths
    case: Literal["upper", "lower"] | None = None
    default: Scalar = None


class Members(Struct, frozen=True, tag=True):
    """An object with these members; with `each`, a list of one for each item."""

    members: tuple[tuple[str, Value], ...]
    each: Place | None = None


Value = Constant | Found | Members


class Condition(Struct, frozen=True):
    """The value at a place is one of these; with `negated`, none of them. Null means that nothing is there."""

    place: Place
    values: tuple[Scalar, ...]
    negated: bool = False


class Entry(Struct, frozen=True):
    """How one kind of event is made. `ids` are tried together: all must be there."""

    name: str
    call: str
    members: tuple[tuple[str, Value], ...]
    """By their names on the wire: `event`, `userId`, `properties`, …"""
    id: tuple[Place, ...] | Literal["body"]
    when: tuple[Condition, ...] = ()
    each: Place | None = None


class WebhookMapping(Struct, frozen=True):
    """A mapping file."""

    entries: tuple[Entry, ...]


class Made(Struct, frozen=True):
    """An event of the wire as JSON; or why there is none, with what it should have been made of."""

    raw: bytes
    problem: Problem | None = None


class TooMuch(ValueError):
    """The payload would become more events, or larger ones, than a request may bring."""


def events_of(
    mapping: WebhookMapping, webhook: str, delivery: Delivery, body: bytes, *, most: int, most_bytes: int
) -> list[Made]:
    """The events of a delivery, in the order of the entries. Raises TooMuch."""
    made: list[Made] = []
    size = 0
    for entry in mapping.entries:
        for index, at_hand in _items(entry, delivery):
            if not all(_holds(condition, at_hand) for condition in entry.when):
                continue
            made.append(_event(entry, webhook, at_hand, index, body))
            size += len(made[-1].raw)
            if len(made) > most or size > most_bytes:
                raise TooMuch(f"the payload becomes more than {most} events or {most_bytes} bytes of them")
    return made


def _items(entry: Entry, delivery: Delivery) -> Iterator[tuple[int | None, Delivery]]:
    if entry.each is None:
        yield None, delivery
        return
    items = find(entry.each, delivery)
    for index, item in enumerate(items if isinstance(items, list) else ()):
        yield index, msgspec.structs.replace(delivery, item=item)


def _holds(condition: Condition, delivery: Delivery) -> bool:
    found = find(condition.place, delivery)
    among = any(_same(found, value) for value in condition.values)
    return among != condition.negated


def _same(found: Any, value: Scalar) -> bool:
    """Equal as JSON has it: 1 is 1.0, and true is not 1."""
    return isinstance(found, bool) == isinstance(value, bool) and found == value


def _event(entry: Entry, webhook: str, delivery: Delivery, index: int | None, body: bytes) -> Made:
    try:
        item: dict[str, Any] = {"type": entry.call, "messageId": _message_id(entry, webhook, delivery, index, body)}
        for name, value in entry.members:
            given = _value(value, delivery)
            if given is not None:
                item[name] = given
        return Made(json.dumps(item, separators=(",", ":")).encode())
    except _Unmappable as unmappable:
        return Made(_wrapped(webhook, entry, delivery, body), unmappable.problem)


class _Unmappable(Exception):
    def __init__(self, code: ProblemCode, path: str, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(code, path, message)


def _wrapped(webhook: str, entry: Entry, delivery: Delivery, body: bytes) -> bytes:
    """What could not be mapped, under a name of its own: none of its members is taken for one of the wire."""
    head = b'{"webhook":%b,"entry":%b,"payload":' % (json.dumps(webhook).encode(), json.dumps(entry.name).encode())
    return head + (body if entry.each is None else json.dumps(delivery.item, separators=(",", ":")).encode()) + b"}"


def _message_id(entry: Entry, webhook: str, delivery: Delivery, index: int | None, body: bytes) -> str:
    """The same for every delivery of the same thing, and for nothing else."""
    parts = [webhook, entry.name]
    per_item = False
    if entry.id == "body":
        parts.append(hashlib.sha256(body).hexdigest())
    else:
        for place in entry.id:
            found = find(place, delivery)
            if found is None or found == "" or isinstance(found, dict | list):
                raise _Unmappable(ProblemCode.MISSING_ID, place.text, "the mapping's `id` finds no text or number here")
            per_item = per_item or place.root == "item"
            parts.append(found if isinstance(found, str) else json.dumps(found))
    if index is not None and not per_item:
        parts.append(str(index))
    text = ":".join(part.replace("%", "%25").replace(":", "%3A") for part in parts)
    if len(text) <= MAX_EVENT_ID:
        return text
    return "webhook:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _value(value: Value, delivery: Delivery) -> Any:
    if isinstance(value, Constant):
        return value.value
    if isinstance(value, Found):
        found = find(value.place, delivery)
        return value.default if found is None else _changed(found, value)
    if value.each is None:
        return _members(value, delivery)
    items = find(value.each, delivery)
    if items is None:
        return None
    if not isinstance(items, list):
        raise _Unmappable(ProblemCode.WRONG_TYPE, value.each.text, "the mapping's `each` finds no list here")
    return [_members(value, msgspec.structs.replace(delivery, item=item)) for item in items]


def _changed(found: Any, value: Found) -> Any:
    try:
        if value.cast is not None:
            found = cast_value(found, value.cast)
        if value.divide is not None:
            if isinstance(found, bool) or not isinstance(found, int | float):
                raise Uncastable("what is to be divided is no number")
            found = found / value.divide
        if value.case is not None:
            if not isinstance(found, str):
                raise Uncastable("what is no text has no capitals")
            found = found.upper() if value.case == "upper" else found.lower()
    except (Uncastable, OverflowError) as error:
        raise _Unmappable(ProblemCode.WRONG_TYPE, value.place.text, str(error)) from None
    return found


def _members(value: Members, delivery: Delivery) -> dict[str, Any]:
    found = {name: _value(inner, delivery) for name, inner in value.members}
    return {name: inner for name, inner in found.items() if inner is not None}
