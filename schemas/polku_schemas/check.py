"""The slow path of validation: says exactly what is wrong with a JSON object, and saves what can be saved.

The fast path (`compile.py`) accepts or raises; what it refuses comes here. This path is more tolerant in ways
that lose nothing: it takes `2.0` for an integer, keeps unplanned keys apart instead of refusing them, and
repairs what `tolerant.py` can repair. It never raises.
"""

from __future__ import annotations

import datetime
import json
import math
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from polku_schemas.model import Property
from polku_schemas.problems import Problem, ProblemCode
from polku_schemas.tolerant import INT64_MAX, INT64_MIN, MAX_DEPTH, BigInteger, json_safe, parse_json

_SHOWN_CHARACTERS: Final = 60
"""How much of a refused value a message repeats: enough to recognise it, too little to leak or flood."""

_SHOWN_MEMBERS: Final = 12
"""How many values of an enum a message lists."""

_Check = Callable[[Any, str], Any]
"""Takes a parsed JSON value and its path, returns the value to store or raises _RefusalError."""


class Sorted(msgspec.Struct):
    """A JSON object sorted into what the plan knows and what it does not."""

    values: dict[str, Any]
    unplanned: dict[str, Any]
    repaired: bool


class _RefusalError(Exception):
    """What ends a check. `value` is shown in the message unless `came` says it in other words."""

    def __init__(self, code: ProblemCode, path: str, expected: str, value: Any = None, came: str = "") -> None:
        self.code = code
        self.path = path
        self.expected = expected
        self.value = value
        self.came = came
        self.private = False

    def problem(self) -> Problem:
        came = self.came or (_kind(self.value) if self.private else _shown(self.value))
        return Problem(self.code, self.path, f"expected {self.expected}, came {came}")


def build_checker(properties: Mapping[str, Property], root: str) -> Callable[[bytes], Sorted | Problem]:
    """A function that checks the JSON object in some bytes against `properties`.

    `root` is the path of the object.
    """
    fields = _fields(properties)

    def check(raw: bytes) -> Sorted | Problem:
        try:
            document, repaired = _parse(raw, root)
            values, unplanned = _sort(document, root, fields)
            unplanned, changed = json_safe(unplanned)
            return Sorted(values, unplanned, repaired or changed)
        except _RefusalError as refused:
            return refused.problem()
        except RecursionError:
            return Problem(ProblemCode.TOO_DEEP, root, f"expected at most {MAX_DEPTH} levels, came more")

    return check


def _parse(raw: bytes, root: str) -> tuple[dict[str, Any], bool]:
    """The object in `raw`, and whether it had to be repaired.

    Null and nothing at all count as an empty object.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        came = f"the byte 0x{raw[error.start]:02x}"
        raise _RefusalError(ProblemCode.INVALID_UTF8, root, "UTF-8", came=came) from None
    if not text.strip():
        return {}, False
    try:
        document, repaired = parse_json(text)
    except json.JSONDecodeError as error:
        came = f"something else at character {error.pos} ({error.msg})"
        raise _RefusalError(ProblemCode.INVALID_JSON, root, "JSON", came=came) from None
    if document is None:
        return {}, repaired
    if not isinstance(document, dict):
        raise _RefusalError(ProblemCode.NOT_AN_OBJECT, root, "an object", came=_kind(document))
    return document, repaired


class _Fields(msgspec.Struct):
    """The members of an object, prepared for checking."""

    checks: dict[str, _Check]
    required: list[str]
    nullable: set[str]
    private: set[str]


def _fields(properties: Mapping[str, Property]) -> _Fields:
    members = properties.items()
    return _Fields(
        checks={name: _build(prop) for name, prop in members},
        required=[name for name, prop in members if prop.required],
        nullable={name for name, prop in members if prop.nullable},
        private={name for name, prop in members if prop.privacy in ("personal", "sensitive")},
    )


def _sort(document: dict[str, Any], path: str, fields: _Fields) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check what the plan knows, in its order, and hand back the rest. The first refusal ends it."""
    values: dict[str, Any] = {}
    unplanned = {name: value for name, value in document.items() if name not in fields.checks}
    for name in fields.required:
        if document.get(name) is None and not (name in document and name in fields.nullable):
            came = "null" if name in document else "nothing"
            expected = f"the required property `{name}`"
            raise _RefusalError(ProblemCode.MISSING_PROPERTY, f"{path}.{name}", expected, came=came)
    for name, check in fields.checks.items():
        value = document.get(name)
        if value is None:
            continue
        try:
            checked = check(value, f"{path}.{name}")
        except _RefusalError as refused:
            refused.private = refused.private or name in fields.private
            raise
        if isinstance(checked, _WithRest):
            unplanned[name] = checked.rest
            checked = checked.value
        values[name] = checked
    for name in fields.required:
        values.setdefault(name, None)
    return values, unplanned


class _WithRest(msgspec.Struct):
    """A planned value in which something was unplanned; `rest` has the same shape and only the unplanned
    keys."""

    value: Any
    rest: Any


def _build(prop: Property) -> _Check:
    builders: dict[str, Callable[[Property], _Check]] = {
        "string": _string,
        "integer": _integer,
        "number": _number,
        "boolean": _boolean,
        "date": lambda _: _converted("a date such as 2026-01-31", datetime.date),
        "date-time": lambda _: _date_time,
        "uuid": lambda _: _converted("a UUID", uuid.UUID),
        "array": _array,
        "object": _object,
    }
    return builders[prop.type](prop)


def _string(prop: Property) -> _Check:
    pattern = None if prop.pattern is None else re.compile(prop.pattern)
    bounds = _length_check(prop, "characters")
    members = prop.enum

    def check(value: Any, path: str) -> str:
        if type(value) is not str:
            raise _wrong_type("a string", value, path)
        if members and value not in members:
            raise _not_in_enum(members, value, path)
        bounds(value, path)
        if pattern is not None and pattern.search(value) is None:
            raise _RefusalError(ProblemCode.PATTERN_MISMATCH, path, f"a match of {prop.pattern}", value)
        return value

    return check


def _integer(prop: Property) -> _Check:
    minimum = INT64_MIN if prop.minimum is None else prop.minimum
    maximum = INT64_MAX if prop.maximum is None else prop.maximum
    members = prop.enum

    def check(value: Any, path: str) -> int:
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
            value = int(value)
        if isinstance(value, BigInteger):
            raise _RefusalError(ProblemCode.OUT_OF_RANGE, path, "an integer of 64 bits", value)
        if type(value) is not int:
            raise _wrong_type("an integer", value, path)
        if members and value not in members:
            raise _not_in_enum(members, value, path)
        _check_range(value, minimum, maximum, path)
        return value

    return check


def _number(prop: Property) -> _Check:
    minimum = -math.inf if prop.minimum is None else prop.minimum
    maximum = math.inf if prop.maximum is None else prop.maximum

    def check(value: Any, path: str) -> float:
        if type(value) not in (int, float, BigInteger):
            raise _wrong_type("a number", value, path)
        number = float(value)
        if not math.isfinite(number):
            raise _wrong_type("a finite number", value, path)
        _check_range(number, minimum, maximum, path)
        return number

    return check


def _boolean(_: Property) -> _Check:
    def check(value: Any, path: str) -> bool:
        if type(value) is not bool:
            raise _wrong_type("true or false", value, path)
        return value

    return check


def _converted(expected: str, target: Any) -> _Check:
    """Dates and UUIDs are read by msgspec, so that both paths know the same spellings."""

    def check(value: Any, path: str) -> Any:
        if type(value) is str:
            try:
                return msgspec.convert(value, target)
            except msgspec.ValidationError:
                pass
        raise _wrong_type(expected, value, path)

    return check


_read_date_time = _converted("a date-time such as 2026-01-31T12:00:00Z", datetime.datetime)


def _date_time(value: Any, path: str) -> datetime.datetime:
    moment: datetime.datetime = _read_date_time(value, path)
    if moment.tzinfo is None:
        raise _wrong_type("a date-time with a time zone (Z or +02:00)", value, path)
    try:
        return moment.astimezone(datetime.UTC)
    except OverflowError:
        expected = "a year from 1 to 9999 in UTC"
        raise _RefusalError(ProblemCode.OUT_OF_RANGE, path, expected, value) from None


def _array(prop: Property) -> _Check:
    assert prop.items is not None  # noqa: S101 - the loader refuses an array without items
    item_check = _build(prop.items)
    bounds = _length_check(prop, "items")

    def check(value: Any, path: str) -> Any:
        if type(value) is not list:
            raise _wrong_type("a list", value, path)
        bounds(value, path)
        items = [item_check(item, f"{path}[{index}]") for index, item in enumerate(value)]
        if not any(isinstance(item, _WithRest) for item in items):
            return items
        rest = [item.rest if isinstance(item, _WithRest) else {} for item in items]
        return _WithRest([item.value if isinstance(item, _WithRest) else item for item in items], rest)

    return check


def _object(prop: Property) -> _Check:
    fields = _fields(prop.fields)

    def check(value: Any, path: str) -> Any:
        if type(value) is not dict:
            raise _wrong_type("an object", value, path)
        values, unplanned = _sort(value, path, fields)
        return _WithRest(values, unplanned) if unplanned else values

    return check


def _length_check(prop: Property, unit: str) -> Callable[[Any, str], None]:
    shortest = prop.min_length or 0
    longest = prop.max_length

    def check(value: Any, path: str) -> None:
        if len(value) < shortest:
            expected = f"at least {shortest} {unit}"
            raise _RefusalError(ProblemCode.TOO_SHORT, path, expected, came=str(len(value)))
        if longest is not None and len(value) > longest:
            expected = f"at most {longest} {unit}"
            raise _RefusalError(ProblemCode.TOO_LONG, path, expected, came=str(len(value)))

    return check


def _check_range(value: float, minimum: float, maximum: float, path: str) -> None:
    if value < minimum:
        raise _RefusalError(ProblemCode.OUT_OF_RANGE, path, f"at least {minimum}", value)
    if value > maximum:
        raise _RefusalError(ProblemCode.OUT_OF_RANGE, path, f"at most {maximum}", value)


def _wrong_type(expected: str, value: Any, path: str) -> _RefusalError:
    return _RefusalError(ProblemCode.WRONG_TYPE, path, expected, value)


def _not_in_enum(members: tuple[Any, ...], value: Any, path: str) -> _RefusalError:
    listed = ", ".join(json.dumps(member, ensure_ascii=False) for member in members[:_SHOWN_MEMBERS])
    if len(members) > _SHOWN_MEMBERS:
        listed += f" and {len(members) - _SHOWN_MEMBERS} more"
    return _RefusalError(ProblemCode.NOT_IN_ENUM, path, f"one of {listed}", value)


def _shown(value: Any) -> str:
    """A value as a message names it: its JSON type and the start of its text."""
    if isinstance(value, BigInteger):
        return f"{_kind(value)} {_cut(str(value))}"
    if isinstance(value, str):
        return f"{_kind(value)} {_cut(json.dumps(value, ensure_ascii=False))}"
    return f"{_kind(value)} {value}" if type(value) in (int, float) else _kind(value)


def _kind(value: Any) -> str:
    """A value as a message names it where the value itself is nobody's business."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return "the string" if type(value) is str else "the number"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
