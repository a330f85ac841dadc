"""Says what is wrong with the values of a typed event, with the codes, paths and words of the collector.

Only what msgspec has refused comes here. Some of it is taken after all, because the collector would take it when it is
sent: `2.0` for an integer, a numpy scalar, a member of an enumeration.
"""

import collections.abc
import datetime
import math
import re
import types
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

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
    try:
        return _object(cls, values, root)
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


def _object(cls: type[msgspec.Struct], value: Any, path: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise _wrong_type("an object", value, path)
    kinds = get_type_hints(cls, include_extras=True)
    names = cls.__struct_fields__
    for name in value:
        if name not in names:
            raise _RefusalError("unknown_property", f"{path}.{name}", f"one of {_listed(names)}", came=f"`{name}`")
    for field in msgspec.structs.fields(cls):
        name = field.name
        if field.required and value.get(name) is None and not (name in value and _nullable(kinds[name])):
            came = "null" if name in value else "nothing"
            raise _RefusalError("missing_property", f"{path}.{name}", f"the required property `{name}`", came=came)
    return {name: None if item is None else _value(kinds[name], item, f"{path}.{name}") for name, item in value.items()}


def _nullable(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _value(kind: Any, value: Any, path: str) -> Any:
    if _nullable(kind):
        kind = next(member for member in get_args(kind) if member is not types.NoneType)
    rules: tuple[Meta, ...] = ()
    if get_origin(kind) is Annotated:
        kind, *metas = get_args(kind)
        rules = tuple(meta for meta in metas if isinstance(meta, Meta))
    try:
        return _checked(kind, rules, _plain(value), path)
    except _RefusalError as refused:
        refused.private = refused.private or any("private" in (rule.extra or {}) for rule in rules)
        raise


def _plain(value: Any) -> Any:
    """The value as JSON would say it, as far as it would; lists and objects only on their outside."""
    if value is None or type(value) in (str, int, float, bool, list, dict):
        return value
    if isinstance(value, Decimal):
        if value.is_nan():
            return math.nan
        # Beyond 64 bits the digits do not matter any more, and there may be millions of them.
        whole = value.adjusted() < 30 and value == value.to_integral_value()
        return int(value) if whole else float(value)
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return value  # would be written in base64, which nobody means
    try:
        return msgspec.to_builtins(value, enc_hook=encodable)
    except Exception:
        return value


def _checked(kind: Any, rules: tuple[Meta, ...], value: Any, path: str) -> Any:
    if get_origin(kind) is Literal:
        return _member(get_args(kind), value, path)
    if get_origin(kind) is list:
        _check_length(rules, "item", _require(list, "a list", value, path), path)
        [item_kind] = get_args(kind)
        return [_value(item_kind, item, f"{path}[{index}]") for index, item in enumerate(value)]
    if issubclass(kind, msgspec.Struct):
        return _object(kind, value, path)
    if kind is str:
        return _text(rules, value, path)
    if kind is int:
        return _in_range(rules, _integer(value, path), path)
    if kind is float:
        return _in_range(rules, _number(value, path), path)
    if kind is bool:
        return _require(bool, "true or false", value, path)
    if kind is datetime.date:
        return _converted(datetime.date, "a date such as 2026-01-31", value, path)
    if kind is uuid.UUID:
        return _converted(uuid.UUID, "a UUID", value, path)
    moment = _converted(datetime.datetime, "a date-time such as 2026-01-31T12:00:00Z", value, path)
    if moment.tzinfo is None:
        raise _wrong_type("a date-time with a time zone (Z or +02:00)", value, path)
    return moment


def _member(members: tuple[Any, ...], value: Any, path: str) -> Any:
    member = _require(str, "a string", value, path) if type(members[0]) is str else _integer(value, path)
    if member not in members:
        raise _RefusalError("not_in_enum", path, f"one of {_listed(members)}", value)
    return member


def _text(rules: tuple[Meta, ...], value: Any, path: str) -> Any:
    _check_length(rules, "character", _require(str, "a string", value, path), path)
    for rule in rules:
        if rule.pattern is not None and re.search(rule.pattern, value) is None:
            words = (rule.extra or {}).get("expected") or f"a match of {rule.pattern}"
            raise _RefusalError("pattern_mismatch", path, words, value)
    return value


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
    whole = int(value) if type(value) is float and value.is_integer() else value
    if type(whole) is not int:
        raise _wrong_type("an integer", value, path)
    if not -(2**63) <= whole < 2**63:
        raise _RefusalError("out_of_range", path, "an integer of 64 bits", value)
    return whole


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


def _in_range(rules: tuple[Meta, ...], value: float, path: str) -> float:
    for rule in rules:
        if rule.ge is not None and value < rule.ge:
            raise _RefusalError("out_of_range", path, f"at least {rule.ge}", value)
        if rule.le is not None and value > rule.le:
            raise _RefusalError("out_of_range", path, f"at most {rule.le}", value)
    return value


def _check_length(rules: tuple[Meta, ...], unit: str, value: Any, path: str) -> None:
    for rule in rules:
        if rule.min_length is not None and len(value) < rule.min_length:
            expected = f"at least {_counted(rule.min_length, unit)}"
            raise _RefusalError("too_short", path, expected, came=str(len(value)))
        if rule.max_length is not None and len(value) > rule.max_length:
            expected = f"at most {_counted(rule.max_length, unit)}"
            raise _RefusalError("too_long", path, expected, came=str(len(value)))


def _json(value: Any) -> str:
    import json  # only here: what msgspec refuses may be NaN, which this writes

    return json.dumps(value, ensure_ascii=False)


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def _wrong_type(expected: str, value: Any, path: str) -> _RefusalError:
    return _RefusalError("wrong_type", path, expected, value)


def _listed(members: collections.abc.Collection[Any]) -> str:
    listed = ", ".join(_json(member) for member in list(members)[:SHOWN_MEMBERS])
    more = len(members) - SHOWN_MEMBERS
    return f"{listed} and {more} more" if more > 0 else listed


def _shown(value: Any) -> str:
    """A value as a message names it: its JSON type and the start of its text."""
    if type(value) is str:
        return f"{_kind(value)} {_cut(_json(value))}"
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
