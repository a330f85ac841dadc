"""What is done about odd arguments: NaN, times without a zone, ids of other types, what has no JSON form …

Nothing raises and nothing is silent: the odd part is left out or put right, and a `Finding` says where it stood and
what it was. Pure, but for the clock.
"""

import collections.abc
import math
import operator
import re
from collections.abc import Sequence, Set
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from polku.event import Record, encodable, encode_object, new_id, now, object_types, required

MAX_DEPTH = 64
"""Deeper values are left out by `repaired`; the encoder itself stops at the interpreter's recursion limit."""
MAX_REPAIRED_VALUES = 20_000
"""`repaired` looks at no more values than this, so that no structure keeps the caller busy for long."""
MAX_INT_BITS = 1_024
"""Larger than any double; the interpreter refuses to write integers of some thousand digits at all."""


class Finding(msgspec.Struct, frozen=True):
    """Something odd in the arguments of one call: where it stood and of what type it was, never the value."""

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path} {self.text}"


time_without_zone = re.compile(rb'T\d\d:\d\d:\d\d[.\d]*"').search
"""Finds in JSON what a `datetime` without a time zone is written as."""


def holds_odd(value: Any, depth: int = 0) -> bool:
    """Whether a value that could be encoded holds a NaN, an infinity or a `datetime` without a time zone."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, datetime):
        return value.tzinfo is None
    if isinstance(value, collections.abc.Mapping):
        return any(holds_odd(item, depth + 1) for item in value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return any(holds_odd(item, depth + 1) for item in value)
    plain = value is None or isinstance(value, str | int) or depth >= MAX_DEPTH
    return not plain and holds_odd(_parts(value), depth + 1)


def _parts(value: Any) -> Any:
    """What a numpy scalar, a dataclass, a typed event … is made of; None for what has no parts."""
    if type(value).__module__ == "numpy":
        return value.tolist()
    try:
        parts = msgspec.to_builtins(value, builtin_types=(datetime, Decimal), enc_hook=encodable)
    except Exception:  # raw JSON, or a value that misbehaves: the encoder says what becomes of it
        return None
    return parts if isinstance(parts, collections.abc.Mapping | list) else None


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
    missing = [name for name in required[record.type] if not getattr(fixed, name)]
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
                findings.append(Finding("$.timestamp", _NO_ZONE))
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
_NO_ZONE = "has no time zone: taken as UTC"


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
        if isinstance(value, datetime) and value.tzinfo is None:
            self._findings.append(Finding(path, _NO_ZONE))
            return datetime.combine(value.date(), value.time(), UTC)
        return self._clean_other(value, path, depth)

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

    def _clean_other(self, value: Any, path: str, depth: int) -> Any:
        """Dates, UUIDs, dataclasses, numpy scalars …: as the encoder writes them, if that is JSON and says all."""
        try:
            raw = encode_object(value)
            msgspec.json.decode(raw)
            is_whole = not holds_odd(value)
        except Exception:
            is_whole, raw = type(value) not in object_types, b""  # a typed event may hold a lone surrogate
        if not is_whole and (parts := _parts(value)) is not None:
            return self._clean(parts, path, depth + 1)
        if not raw:
            return self._leave_out(path, f"is a {type(value).__name__}, which has no JSON form")
        if raw == b"null" and not isinstance(value, msgspec.Raw):
            return self._leave_out(path, "is not a finite number")
        return msgspec.Raw(raw)
