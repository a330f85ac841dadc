"""The event record: its identifier, its clock, and how it becomes bytes, once. Pure except for clock and
randomness.

`encode` is the fast way that nearly every event takes. What it cannot write, and what would be written
differently from what was meant (NaN, a time without a zone), goes through `repair.py`.
"""

import collections.abc
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import NoneType
from typing import Any

import msgspec

from polku import forks

IDS_PER_REFILL = 256
"""Tails made at a time, which share their random bits: to format random bits for each costs a tenth of the call."""


class Record(msgspec.Struct, omit_defaults=True, rename="camel", kw_only=True, gc=False):
    """One call as it goes on the wire. Field order is the order in the JSON text."""

    type: str
    event: Any = None
    message_id: Any = None
    timestamp: Any = None
    user_id: Any = None
    anonymous_id: Any = None
    group_id: Any = None
    previous_id: Any = None
    name: Any = None
    category: Any = None
    properties: Any = None
    traits: Any = None
    context: Any = None


def now() -> datetime:
    """The current time in UTC with microseconds."""
    return datetime.now(UTC)


def new_id() -> str:
    """A UUIDv7: 48 bits of Unix milliseconds, 66 random ones that no other process has, 8 that count within them."""
    global _head
    if not forks.mark[0]:
        forks.in_child()  # before a tail is taken that the parent takes too
    milliseconds = time.time_ns() // 1_000_000
    known, head = _head
    if known != milliseconds:
        digits = f"{milliseconds:012x}"
        head = f"{digits[:8]}-{digits[8:]}-"
        _head = milliseconds, head
    try:
        return head + _tails.pop()
    except IndexError:
        return head + _refilled_tail()


# A list, because its pop is atomic.
_tails: list[str] = []
# One tuple, so that two threads never see the milliseconds of one with the digits of the other.
_head: tuple[int, str] = (-1, "")
# From behind, as they are popped: later ids sort later.
_LAST_DIGITS = [f"{number:02x}" for number in reversed(range(IDS_PER_REFILL))]

# Parent and child would otherwise hand out the same identifiers.
forks.after_in_child(_tails.clear)


def _refilled_tail() -> str:
    shared = bytearray(os.urandom(9))
    shared[0] = 0x70 | shared[0] & 0x0F  # the version
    shared[2] = 0x80 | shared[2] & 0x3F  # the variant
    digits = shared.hex()
    start = f"{digits[:4]}-{digits[4:8]}-{digits[8:]}"
    tails = [start + last for last in _LAST_DIGITS]
    tail = tails.pop()
    _tails.extend(tails)
    return tail


def is_plain(record: Record) -> bool:
    """Whether the arguments have the expected types and what is needed is there."""
    timestamp, user_id, anonymous_id = record.timestamp, record.user_id, record.anonymous_id
    if not (
        (user_id is None or type(user_id) is str)
        and (anonymous_id is None or type(anonymous_id) is str)
        and (user_id or anonymous_id)
        and type(record.properties) in object_types
        and (record.context is None or type(record.context) in object_types)
        and type(record.message_id) is str
        and type(timestamp) is datetime
        and timestamp.tzinfo is UTC
    ):
        return False
    if record.type == "track":
        return type(event := record.event) is str and event != ""
    return (
        type(record.traits) in object_types
        and type(record.name) in _TEXT
        and type(record.category) in _TEXT
        and type(record.group_id) in _TEXT
        and type(record.previous_id) in _TEXT
        and all(getattr(record, name) for name in required[record.type])
    )


_TEXT = frozenset({str, NoneType})
object_types: set[type] = {dict, NoneType}
"""Types of properties, traits and contexts that need no closer look; `typed.py` adds its classes."""
required: dict[str, tuple[str, ...]] = {
    "track": ("event",),
    "identify": (),
    "page": (),
    "screen": (),
    "group": ("group_id",),
    "alias": ("user_id", "previous_id"),
}
"""What each call cannot do without, beside an id."""


def encode_object(value: Any) -> bytes:
    """One value as JSON, as it stands in an event."""
    return _encoder.encode({} if value is None else value)


def encodable(value: Any) -> Any:
    """For types the encoder does not know: the plain value behind a subclass, a view or a numpy scalar."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, datetime):
        return datetime.combine(value.date(), value.time(), value.tzinfo)
    if isinstance(value, collections.abc.Mapping):
        return dict(value)
    if isinstance(value, collections.abc.Set | collections.abc.Sequence):
        return list(value)
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} has no JSON form")


# Money is often Decimal: as a number it fits a plan's `number`, as a string it would not.
_encoder = msgspec.json.Encoder(enc_hook=encodable, decimal_format="number")

encode: Callable[[Record], bytes] = _encoder.encode
"""The record as JSON. Raises whatever the encoder raises on values that have no JSON form."""
