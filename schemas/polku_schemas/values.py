"""Checks one JSON value against its property: gives the value to store, or says what was expected and what came.

Used by the slow path (`check.py`), which knows where the value stands in its document.
"""

from __future__ import annotations

import datetime
import json
import math
import re
import sys
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from polku_schemas.formats import FORMATS
from polku_schemas.model import Property
from polku_schemas.problems import Problem, ProblemCode
from polku_schemas.tolerant import INT64_MAX, INT64_MIN, BigInteger

_SHOWN_CHARACTERS: Final = 60
"""How much of a refused value is repeated: enough to recognise it, too little to leak or flood."""

_SHOWN_MEMBERS: Final = 12
"""How many values of an enum are listed."""

Check = Callable[[Any], Any]
"""Takes a parsed JSON value, returns the value to store or raises Refusal."""


class Refusal(Exception):
    """What ends a check. `value` is described to the sender unless `came` does it in other words.

    The path grows from the inside outwards while the refusal goes up through the objects and lists.
    """

    def __init__(
        self,
        code: ProblemCode,
        expected: str,
        value: Any = None,
        *,
        came: str = "",
        path: str = "",
        private: bool = False,
    ) -> None:
        self.code = code
        self.expected = expected
        self.value = value
        self.came = came
        self.path = path
        self.private = private

    def problem(self, root: str) -> Problem:
        """The refusal as the value that travels on. A private value is named by its kind only."""
        came = self.came or (_kind(self.value) if self.private else _shown(self.value))
        return Problem.of(self.code, root + self.path, self.expected, came)


class Fields(msgspec.Struct, frozen=True):
    """The members of an object, prepared for checking."""

    checks: dict[str, Check]
    names: frozenset[str]
    required: tuple[str, ...]
    keep_null: frozenset[str]
    """Where null is a value of its own. Elsewhere it is the same as absent."""
    private: frozenset[str]
    nested: dict[str, Fields]
    """Of the members that are objects or lists of objects."""


def fields_of(properties: Mapping[str, Property]) -> Fields:
    """Prepare the members of an object."""
    members = properties.values()
    inner = {prop.name: prop.items or prop for prop in members}
    nested = {name: fields_of(prop.fields) for name, prop in inner.items() if prop.type == "object"}
    return Fields(
        checks={prop.name: _check_of(prop, nested.get(prop.name)) for prop in members},
        names=frozenset(properties),
        required=tuple(prop.name for prop in members if prop.required),
        keep_null=frozenset(p.name for p in members if p.nullable and (p.required or p.default is not None)),
        private=frozenset(prop.name for prop in members if prop.privacy in ("personal", "sensitive")),
        nested=nested,
    )


def check_members(document: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """The values of an object that has only planned members. The first refusal ends it."""
    for name in fields.required:
        if document.get(name) is None and not (name in document and name in fields.keep_null):
            came = "null" if name in document else "nothing"
            expected = f"the required property `{name}`"
            raise Refusal(ProblemCode.MISSING_PROPERTY, expected, came=came, path=f".{name}")
    values: dict[str, Any] = {}
    for name, value in document.items():
        if value is None:
            if name in fields.keep_null:
                values[name] = None
            continue
        try:
            values[name] = fields.checks[name](value)
        except Refusal as refused:
            refused.path = f".{name}{refused.path}"
            refused.private = refused.private or name in fields.private
            raise
    return values


def _check_of(prop: Property, nested: Fields | None) -> Check:
    if prop.items is not None:
        return _array(prop, _check_of(prop.items, nested), nested)
    if nested is not None:
        return _object(nested)
    return _SCALARS[prop.type](prop)


def _string(prop: Property) -> Check:
    wanted = None if prop.format is None else FORMATS[prop.format]
    fits_format = None if wanted is None else re.compile(wanted.pattern).search
    fits_pattern = None if prop.pattern is None else re.compile(prop.pattern).search
    shortest, longest = _lengths(prop)
    members = prop.enum

    def check(value: Any) -> str:
        if type(value) is not str:
            raise _wrong_type("a string", value)
        if members and value not in members:
            raise _not_in_enum(members, value)
        if not shortest <= len(value) <= longest:
            raise _wrong_length(prop, "character", len(value))
        if fits_format is not None and wanted is not None and fits_format(value) is None:
            raise Refusal(ProblemCode.PATTERN_MISMATCH, wanted.expected, value)
        if fits_pattern is not None and fits_pattern(value) is None:
            raise Refusal(ProblemCode.PATTERN_MISMATCH, f"a match of {prop.pattern}", value)
        return value

    return check


def _integer(prop: Property) -> Check:
    minimum = INT64_MIN if prop.minimum is None else prop.minimum
    maximum = INT64_MAX if prop.maximum is None else prop.maximum
    members = prop.enum

    def check(value: Any) -> int:
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        if isinstance(whole, BigInteger) or (type(whole) is int and not INT64_MIN <= whole <= INT64_MAX):
            raise Refusal(ProblemCode.OUT_OF_RANGE, "an integer of 64 bits", value)
        if type(whole) is not int:
            raise _wrong_type("an integer", value)
        if members and whole not in members:
            raise _not_in_enum(members, value)
        if not minimum <= whole <= maximum:
            raise _out_of_range(prop, whole, below=whole < minimum)
        return whole

    return check


def _number(prop: Property) -> Check:
    minimum, maximum = number_bounds(prop)

    def check(value: Any) -> float:
        if type(value) not in (int, float, BigInteger):
            raise _wrong_type("a number", value)
        try:
            number = float(value)
        except OverflowError:  # of an int; the others become infinite
            number = math.inf
        if not math.isfinite(number):
            raise _wrong_type("a finite number", value)
        if (minimum is not None and number < minimum) or (maximum is not None and number > maximum):
            raise _out_of_range(prop, number, below=minimum is not None and number < minimum)
        return number

    return check


def number_bounds(prop: Property) -> tuple[float | None, float | None]:
    """The bounds of a number as the doubles that its values are compared with."""
    return (
        None if prop.minimum is None else float(prop.minimum),
        None if prop.maximum is None else float(prop.maximum),
    )


def _boolean(_: Property) -> Check:
    def check(value: Any) -> bool:
        if type(value) is not bool:
            raise _wrong_type("true or false", value)
        return value

    return check


def _converted(expected: str, target: Any) -> Check:
    """Dates and UUIDs are read by msgspec, so that both paths know the same spellings."""

    def check(value: Any) -> Any:
        if type(value) is str:
            try:
                return msgspec.convert(value, target)
            except msgspec.ValidationError:
                pass
        raise _wrong_type(expected, value)

    return check


_read_date_time = _converted("a date-time such as 2026-01-31T12:00:00Z", datetime.datetime)


def _date_time(value: Any) -> datetime.datetime:
    moment: datetime.datetime = _read_date_time(value)
    if moment.tzinfo is None:
        raise _wrong_type("a date-time with a time zone (Z or +02:00)", value)
    try:
        return moment.astimezone(datetime.UTC)
    except OverflowError:
        raise Refusal(ProblemCode.OUT_OF_RANGE, "a year from 1 to 9999 in UTC", value) from None


_SCALARS: Final[dict[str, Callable[[Property], Check]]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "date": lambda _: _converted("a date such as 2026-01-31", datetime.date),
    "date-time": lambda _: _date_time,
    "uuid": lambda _: _converted("a UUID", uuid.UUID),
}


def _array(prop: Property, item_check: Check, nested: Fields | None) -> Check:
    shortest, longest = _lengths(prop)

    def check(value: Any) -> list[Any]:
        if type(value) is not list:
            raise _wrong_type("a list", value, private=nested is not None and bool(nested.private))
        if not shortest <= len(value) <= longest:
            raise _wrong_length(prop, "item", len(value))
        items: list[Any] = []
        try:
            for item in value:
                items.append(item_check(item))  # noqa: PERF401 - how far it came says where the refusal is
        except Refusal as refused:
            refused.path = f"[{len(items)}]{refused.path}"
            raise
        return items

    return check


def _object(fields: Fields) -> Check:
    def check(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise _wrong_type("an object", value, private=bool(fields.private))
        return check_members(value, fields)

    return check


def _lengths(prop: Property) -> tuple[int, int]:
    return prop.min_length or 0, sys.maxsize if prop.max_length is None else prop.max_length


def _wrong_length(prop: Property, unit: str, length: int) -> Refusal:
    if prop.min_length is not None and length < prop.min_length:
        code, bound = ProblemCode.TOO_SHORT, f"at least {prop.min_length} {unit}"
    else:
        code, bound = ProblemCode.TOO_LONG, f"at most {prop.max_length} {unit}"
    return Refusal(code, bound if bound.endswith(f" 1 {unit}") else f"{bound}s", came=str(length))


def _out_of_range(prop: Property, value: float, *, below: bool) -> Refusal:
    bound = f"at least {prop.minimum}" if below else f"at most {prop.maximum}"
    return Refusal(ProblemCode.OUT_OF_RANGE, bound, value)


def _wrong_type(expected: str, value: Any, *, private: bool = False) -> Refusal:
    return Refusal(ProblemCode.WRONG_TYPE, expected, value, private=private)


def _not_in_enum(members: tuple[Any, ...], value: Any) -> Refusal:
    listed = ", ".join(map(_as_json, members[:_SHOWN_MEMBERS]))
    if len(members) > _SHOWN_MEMBERS:
        listed += f" and {len(members) - _SHOWN_MEMBERS} more"
    return Refusal(ProblemCode.NOT_IN_ENUM, f"one of {listed}", value)


def _shown(value: Any) -> str:
    """A value as it is named to the sender: its JSON type and the start of its text."""
    if type(value) is str:
        return f"{_kind(value)} {_cut(_as_json(value[:_SHOWN_CHARACTERS]))}"
    return f"{_kind(value)} {_cut(str(value))}" if type(value) in (int, float, BigInteger) else _kind(value)


def _kind(value: Any) -> str:
    """A value as it is named where the value itself is nobody's business."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return "the string" if type(value) is str else "the number"


_as_json = json.JSONEncoder(ensure_ascii=False).encode


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
