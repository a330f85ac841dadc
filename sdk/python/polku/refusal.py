"""Says what is wrong with the values of a typed event, with the codes, paths and words of the collector.

Only what msgspec has refused comes here. Some of it is taken after all, because the collector would take it when it is
sent: `2.0` for an integer, a numpy scalar, a member of an enumeration.
"""

import collections.abc
import datetime
import json
import math
import re
import uuid
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import inspect

from polku.errors import InvalidValue
from polku.event import encodable

SHOWN_CHARACTERS = 60
"""How much of a refused value a message repeats: enough to recognise it, too little to leak or flood."""
SHOWN_MEMBERS = 12
"""How many values of an enumeration a message lists."""


def accepted(cls: type[msgspec.Struct], name: str, root: str, values: dict[str, Any]) -> dict[str, Any]:
    """The values as msgspec takes them; raises InvalidValue with the first thing that is wrong.

    `name` is that of the event, `root` the path of the values in what is sent.
    """
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType)  # noqa: S101 - a struct's is one
    try:
        return _object(info, values, root)
    except _RefusalError as refused:
        came = refused.came or (_kind(refused.value) if refused.private else _shown(refused.value))
        raise InvalidValue(name, refused.code, refused.path, refused.expected, came) from None


class _RefusalError(Exception):
    """What ends a check. `value` is shown in the message unless `came` says it in other words."""

    def __init__(self, code: str, path: str, expected: str, value: Any = None, came: str = "") -> None:
        self.code = code
        self.path = path
        self.expected = expected
        self.value = value
        self.came = came
        self.private = False


def _object(info: inspect.StructType, value: Any, path: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise _wrong_type("an object", value, path)
    fields = {field.name: field for field in info.fields}
    for name in value:
        if name not in fields:
            raise _RefusalError("unknown_property", f"{path}.{name}", f"one of {_listed(fields)}", came=f"`{name}`")
    for name, field in fields.items():
        if field.required and value.get(name) is None and not (name in value and _nullable(field.type)):
            came = "null" if name in value else "nothing"
            raise _RefusalError("missing_property", f"{path}.{name}", f"the required property `{name}`", came=came)
    return {
        name: None if value[name] is None else _value(field.type, value[name], f"{path}.{name}")
        for name, field in fields.items()
        if name in value
    }


def _nullable(kind: inspect.Type) -> bool:
    return isinstance(kind, inspect.UnionType)


def _value(kind: inspect.Type, value: Any, path: str) -> Any:
    extra: dict[str, Any] = {}
    if isinstance(kind, inspect.UnionType):
        kind = next(member for member in kind.types if not isinstance(member, inspect.NoneType))
    if isinstance(kind, inspect.Metadata):
        extra, kind = kind.extra or {}, kind.type
    try:
        return _checked(kind, _plain(value), path, extra.get("expected"))
    except _RefusalError as refused:
        refused.private = refused.private or "private" in extra
        raise


def _plain(value: Any) -> Any:
    """The value as JSON would say it, as far as it would; lists and objects only on their outside."""
    if value is None or type(value) in (str, int, float, bool, list, dict):
        return value
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and value == value.to_integral_value() else float(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return value  # would be written in base64, which nobody means
    try:
        return msgspec.to_builtins(value, enc_hook=encodable)
    except Exception:
        return value


def _checked(kind: inspect.Type, value: Any, path: str, pattern_words: str | None) -> Any:
    match kind:
        case inspect.StrType():
            _require(str, "a string", value, path)
            _check_length(kind, "characters", value, path)
            if kind.pattern is not None and re.search(kind.pattern, value) is None:
                raise _RefusalError("pattern_mismatch", path, pattern_words or f"a match of {kind.pattern}", value)
            return value
        case inspect.LiteralType():
            value = _require(str, "a string", value, path) if type(kind.values[0]) is str else _integer(value, path)
            if value not in kind.values:
                raise _RefusalError("not_in_enum", path, f"one of {_listed(kind.values)}", value)
            return value
        case inspect.IntType():
            return _in_range(kind, _integer(value, path), path)
        case inspect.FloatType():
            return _in_range(kind, _number(value, path), path)
        case inspect.BoolType():
            return _require(bool, "true or false", value, path)
        case inspect.DateType():
            return _converted(datetime.date, "a date such as 2026-01-31", value, path)
        case inspect.DateTimeType():
            moment = _converted(datetime.datetime, "a date-time such as 2026-01-31T12:00:00Z", value, path)
            if moment.tzinfo is None:
                raise _wrong_type("a date-time with a time zone (Z or +02:00)", value, path)
            return moment
        case inspect.UUIDType():
            return _converted(uuid.UUID, "a UUID", value, path)
        case inspect.ListType():
            _check_length(kind, "items", _require(list, "a list", value, path), path)
            return [_value(kind.item_type, item, f"{path}[{index}]") for index, item in enumerate(value)]
        case inspect.StructType():
            return _object(kind, value, path)
    raise TypeError(f"{path} has the type {kind}, which typed events have not")


def _require(wanted: type, expected: str, value: Any, path: str) -> Any:
    if type(value) is not wanted:
        raise _wrong_type(expected, value, path)
    return value


def _converted(wanted: Any, expected: str, value: Any, path: str) -> Any:
    if type(value) is str:
        try:
            return msgspec.convert(value, wanted)
        except msgspec.ValidationError:
            pass
    raise _wrong_type(expected, value, path)


def _integer(value: Any, path: str) -> int:
    if type(value) is float and value.is_integer() and abs(value) < 2**63:
        return int(value)
    if type(value) is not int:
        raise _wrong_type("an integer", value, path)
    if not -(2**63) <= value < 2**63:
        raise _RefusalError("out_of_range", path, "an integer of 64 bits", value)
    return value


def _number(value: Any, path: str) -> float:
    if type(value) not in (int, float):
        raise _wrong_type("a number", value, path)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _wrong_type("a finite number", value, path)
    return number


def _in_range(kind: inspect.IntType | inspect.FloatType, value: float, path: str) -> float:
    if kind.ge is not None and value < kind.ge:
        raise _RefusalError("out_of_range", path, f"at least {kind.ge}", value)
    if kind.le is not None and value > kind.le:
        raise _RefusalError("out_of_range", path, f"at most {kind.le}", value)
    return value


def _check_length(kind: inspect.StrType | inspect.ListType, unit: str, value: Any, path: str) -> None:
    if kind.min_length is not None and len(value) < kind.min_length:
        raise _RefusalError("too_short", path, f"at least {kind.min_length} {unit}", came=str(len(value)))
    if kind.max_length is not None and len(value) > kind.max_length:
        raise _RefusalError("too_long", path, f"at most {kind.max_length} {unit}", came=str(len(value)))


def _wrong_type(expected: str, value: Any, path: str) -> _RefusalError:
    return _RefusalError("wrong_type", path, expected, value)


def _listed(members: collections.abc.Collection[Any]) -> str:
    listed = ", ".join(json.dumps(member, ensure_ascii=False) for member in list(members)[:SHOWN_MEMBERS])
    more = len(members) - SHOWN_MEMBERS
    return f"{listed} and {more} more" if more > 0 else listed


def _shown(value: Any) -> str:
    """A value as a message names it: its JSON type and the start of its text."""
    if type(value) is str:
        return f"{_kind(value)} {_cut(json.dumps(value, ensure_ascii=False))}"
    if type(value) not in (int, float):
        return _kind(value)
    try:
        return f"{_kind(value)} {_cut(str(value))}"
    except ValueError:  # the interpreter writes no integer of more than some thousand digits
        return f"{_kind(value)} of {value.bit_length()} bits"


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
    if type(value) in (int, float):
        return "the number"
    return "the string" if type(value) is str else f"a {type(value).__name__}"


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
