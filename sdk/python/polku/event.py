"""The event record: its identifier, its clock, and how it becomes bytes, once. Pure except for clock and
randomness.

`encode` is the fast way that nearly every event takes. What it cannot write, and what would be written
differently from what was meant (NaN), goes through `repaired`, which leaves out the odd parts and names them.
"""

import collections.abc
import math
import operator
import os
import time
from collections.abc import Callable, Sequence, Set
from datetime import UTC, datetime
from types import NoneType
from typing import Any

import msgspec

from polku import forks

MAX_DEPTH = 64
"""Deeper values are left out by `repaired`; the encoder itself stops at the interpreter's recursion limit."""
MAX_REPAIRED_VALUES = 20_000
"""`repaired` looks at no more values than this, so that no structure keeps the caller busy for long."""
MAX_INT_BITS = 1_024
"""Larger than any double; the interpreter refuses to write integers of some thousand digits at all."""
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


class Finding(msgspec.Struct, frozen=True):
    """Something odd in the arguments of one call: where it stood and of what type it was, never the value."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path} {self.text}"


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
        and all(getattr(record, name) for name in _REQUIRED[record.type])
    )


_TEXT = frozenset({str, NoneType})
object_types: set[type] = {dict, NoneType}
"""Types of properties, traits and contexts that need no closer look; `typed.py` adds its classes."""
_REQUIRED: dict[str, tuple[str, ...]] = {
    "track": ("event",),
    "identify": (),
    "page": (),
    "screen": (),
    "group": ("group_id",),
    "alias": ("user_id", "previous_id"),
}


def encode_object(value: Any) -> bytes:
    """Properties or traits alone, as JSON, for a plan to look at."""
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
        parts = (
            value.year,
            value.month,
            value.day,
            value.hour,
            value.minute,
            value.second,
            value.microsecond,
        )
        return datetime(*parts, tzinfo=value.tzinfo, fold=value.fold)
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


def holds_nan(value: Any, depth: int = 0) -> bool:
    """Whether there is a NaN or an infinity in a value that could be encoded (so its depth is finite)."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, collections.abc.Mapping):
        return any(holds_nan(item, depth + 1) for item in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return any(holds_nan(item, depth + 1) for item in value)
    # A numpy scalar is looked at as what it is written as; other types are written by the encoder.
    return type(value).__module__ == "numpy" and depth < MAX_DEPTH and holds_nan(value.tolist(), depth + 1)


def repaired(record: Record) -> tuple[Record, list[Finding]]:
    """The same call with everything left out or put right that could not be sent as it is, and what that was.

    The result always encodes, unless a value misbehaves while it is looked at.
    """
    findings: list[Finding] = []
    cleaner = _Cleaner(findings)
    fixed = Record(
        type=record.type,
        event=_text(record.event, "$.event", findings),
        message_id=_text(record.message_id, "$.messageId", findings) or new_id(),
        timestamp=_time(record.timestamp, findings),
        user_id=identifier(record.user_id, "$.userId", findings),
        anonymous_id=identifier(record.anonymous_id, "$.anonymousId", findings),
        group_id=identifier(record.group_id, "$.groupId", findings),
        previous_id=identifier(record.previous_id, "$.previousId", findings),
        name=_text(record.name, "$.name", findings),
        category=_text(record.category, "$.category", findings),
        properties=cleaner.object(record.properties, "$.properties"),
        traits=cleaner.object(record.traits, "$.traits"),
        context=cleaner.object(record.context, "$.context"),
    )
    missing = [name for name in _REQUIRED[record.type] if not getattr(fixed, name)]
    findings += [Finding(f"$.{_wire_name(name)}", "is missing") for name in missing]
    if fixed.user_id is None and fixed.anonymous_id is None and record.type != "alias":
        findings.append(Finding("$", "has neither user_id nor anonymous_id"))
    return fixed, findings


def _wire_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def _text(value: Any, path: str, findings: list[Finding]) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        findings.append(Finding(path, f"is a {type(value).__name__}, not a string: left out"))
        return None
    return _sound(str.__str__(value), path, findings)


def identifier(value: Any, path: str, findings: list[Finding]) -> str | None:
    """Whole numbers and UUIDs are what databases hand out as ids: taken as their text, without a word."""
    if hasattr(type(value), "__index__") and not isinstance(value, bool):
        return str(operator.index(value))
    if type(value).__module__ == "uuid":
        return str(value)
    return _text(value, path, findings)


def agreed(value: Any, path: str, findings: list[Finding]) -> list[str]:
    """What somebody agreed to, of a list; a single word is a list of one. What is not understood (an object of yes and
    no) is no agreement."""
    if isinstance(value, str):
        return [str.__str__(value)]
    if isinstance(value, Set | Sequence) and not isinstance(value, bytes | bytearray):
        return sorted(map(str, value))
    findings.append(Finding(path, f"is a {type(value).__name__}, not a list: taken as none"))
    return []


def _time(value: Any, findings: list[Finding]) -> datetime:
    if isinstance(value, datetime):
        try:
            if value.utcoffset() is None:
                findings.append(Finding("$.timestamp", "has no time zone: taken as UTC"))
                return datetime.combine(value.date(), value.time(), UTC)
            in_utc = value.astimezone(UTC)
            return datetime.combine(in_utc.date(), in_utc.time(), UTC)
        except (OverflowError, ValueError):
            findings.append(Finding("$.timestamp", "is out of range: replaced by the time of the call"))
            return now()
    if value is not None:
        text = f"is a {type(value).__name__}, not a datetime: replaced by the time of the call"
        findings.append(Finding("$.timestamp", text))
    return now()


def _sound(text: str, path: str, findings: list[Finding]) -> str:
    """Text that has a UTF-8 form: pairs of surrogates joined, lone ones replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        findings.append(Finding(path, "holds a lone surrogate: replaced by U+FFFD"))
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


_LEFT_OUT: Any = object()


class _Cleaner:
    """Walks values of one event and leaves out what cannot be written, naming each place once."""

    def __init__(self, findings: list[Finding]) -> None:
        self._findings = findings
        self._values_left = MAX_REPAIRED_VALUES
        self._open: set[int] = set()

    def object(self, value: Any, path: str) -> dict[str, Any] | msgspec.Raw | None:
        if value is None:
            return None
        cleaned = self._clean(value, path, 0)
        if isinstance(cleaned, dict) or (isinstance(cleaned, msgspec.Raw) and bytes(cleaned)[:1] == b"{"):
            return cleaned
        if cleaned is not _LEFT_OUT:
            self._leave_out(path, f"is a {type(value).__name__}, not an object")
        return None

    def _leave_out(self, path: str, text: str) -> Any:
        self._findings.append(Finding(path, f"{text}: left out"))
        return _LEFT_OUT

    def _clean(self, value: Any, path: str, depth: int) -> Any:
        self._values_left -= 1
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return _sound(str.__str__(value), path, self._findings)
        if isinstance(value, int):
            number = int.__int__(value)
            return number if number.bit_length() <= MAX_INT_BITS else self._leave_out(path, "is too large")
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else self._leave_out(path, "is not a finite number")
        if isinstance(value, collections.abc.Mapping | list | tuple | set | frozenset):
            return self._clean_container(value, path, depth)
        return self._clean_other(value, path)

    def _clean_container(self, value: Any, path: str, depth: int) -> Any:
        if id(value) in self._open:
            return self._leave_out(path, "refers to itself")
        if depth >= MAX_DEPTH:
            return self._leave_out(path, f"is more than {MAX_DEPTH} levels deep")
        if self._values_left < 0:
            return self._leave_out(path, f"is beyond the first {MAX_REPAIRED_VALUES} values")
        self._open.add(id(value))
        try:
            if isinstance(value, collections.abc.Mapping):
                return self._clean_mapping(value, path, depth)
            items = [self._clean(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(list(value))]
            return [item for item in items if item is not _LEFT_OUT]
        finally:
            self._open.discard(id(value))

    def _clean_mapping(self, value: Any, path: str, depth: int) -> dict[str, Any]:
        cleaned = {}
        for key, item in list(value.items()):
            if isinstance(key, str):
                name = _sound(str.__str__(key), path, self._findings)
            elif isinstance(key, int | float):
                name = str(key)
            else:
                self._leave_out(path, f"has a key of type {type(key).__name__}")
                continue
            result = self._clean(item, f"{path}.{name}", depth + 1)
            if result is not _LEFT_OUT:
                cleaned[name] = result
        return cleaned

    def _clean_other(self, value: Any, path: str) -> Any:
        """Dates, UUIDs, dataclasses, numpy scalars …: as the encoder writes them, if that is JSON."""
        try:
            raw = _encoder.encode(value)
            msgspec.json.decode(raw)
        except Exception:
            if type(value) in object_types:  # a typed event, which holds a lone surrogate
                return self._clean(msgspec.to_builtins(value), path, 0)
            return self._leave_out(path, f"is a {type(value).__name__}, which has no JSON form")
        if raw == b"null" and not isinstance(value, msgspec.Raw):
            return self._leave_out(path, "is not a finite number")
        return msgspec.Raw(raw)
