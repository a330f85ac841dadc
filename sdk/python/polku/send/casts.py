"""How a text of a file becomes a number, a time, …: the casts of mappings, by the rules of docs/replay.md. Pure.

The collector has its own (`casts.py`), because the SDK goes without it; a test holds that both agree.
"""

import math
import re
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any, Literal, get_args

import msgspec

CastType = Literal["string", "integer", "number", "boolean", "date", "date-time", "uuid"]
CAST_TYPES: tuple[str, ...] = get_args(CastType)

_INT64 = range(-(1 << 63), 1 << 63)
_TRUE, _FALSE = frozenset(("true", "yes", "1")), frozenset(("false", "no", "0"))
_WHOLE = re.compile(r"[+-]?[0-9]+")
_DECIMALS = {
    mark: re.compile(rf"[+-]?[0-9]+(?:{re.escape(mark)}[0-9]+)?(?:[eE][+-]?[0-9]{{1,3}})?") for mark in (".", ",")
}
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?: ?(?:[Zz]|[+-]\d\d:?\d\d))?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Cast(msgspec.Struct, frozen=True):
    """What a value is to become."""

    to: CastType
    decimal: Literal[".", ","] = "."
    unit: Literal["seconds", "milliseconds"] | None = None
    """What a number that stands for a moment counts, since 1970."""
    zone: tzinfo | None = None
    """Where the clock stood that wrote a time without a zone."""
    format: str | None = None
    """How a time is written, as `strptime` reads it, if not as ISO 8601 has it."""


class Uncastable(ValueError):
    """The value cannot become what is wanted. The text says why, without the value."""


def cast_value(value: Any, cast: Cast) -> Any:
    """The value as `cast` wants it; null stays null. Raises Uncastable."""
    if value is None:
        return None
    if isinstance(value, dict | list):
        raise Uncastable("an object or a list is not cast; name its members")
    return _CASTS[cast.to](value, cast)


def moment(value: Any, cast: Cast) -> datetime:
    """The moment that a value names, in UTC. Raises Uncastable."""
    try:
        if isinstance(value, str):
            return _moment_of_text(value.strip(), cast).astimezone(UTC)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Uncastable("the value is no moment")
        if cast.unit is None:
            raise Uncastable("a number is a moment only if the mapping says `unit`")
        return _EPOCH + (timedelta(seconds=value) if cast.unit == "seconds" else timedelta(milliseconds=value))
    except (ValueError, OverflowError) as error:
        raise error if isinstance(error, Uncastable) else Uncastable("the calendar has no such moment") from None


def _moment_of_text(text: str, cast: Cast) -> datetime:
    if cast.format is not None:
        try:
            found = datetime.strptime(text, cast.format)
        except ValueError:
            raise Uncastable(f"the text is no time of the form {cast.format}") from None
    elif cast.unit is not None and _DECIMALS["."].fullmatch(text):  # files have numbers as texts
        return moment(float(text), cast)
    elif _MOMENT.fullmatch(text):
        found = datetime.fromisoformat(text.upper().replace(" ", "T", 1).replace(" ", ""))
    else:
        raise Uncastable("the text is no ISO 8601 date-time; the mapping can say its `format`")
    if found.tzinfo is None:
        if cast.zone is None:
            raise Uncastable("the time has no zone; the mapping can say `zone`")
        found = found.replace(tzinfo=cast.zone)
    return found


def _string(value: str | int | float, cast: Cast) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def _number(value: str | int | float, cast: Cast) -> int | float:
    if isinstance(value, bool):
        raise Uncastable("a boolean is no number")
    if isinstance(value, str):
        text = value.strip()
        if not _DECIMALS[cast.decimal].fullmatch(text):
            raise Uncastable(f"the text is no number with the decimal mark {cast.decimal!r}")
        value = float(text.replace(",", "."))
        if value.is_integer() and _WHOLE.fullmatch(text):
            value = int(text)  # every digit of it
    if isinstance(value, float) and not math.isfinite(value):
        raise Uncastable("the number is too large")
    return value


def _integer(value: str | int | float, cast: Cast) -> int:
    number = _number(value, cast)
    if isinstance(number, float):
        if not number.is_integer():
            raise Uncastable("the number has a fraction")
        number = int(number)
    if number not in _INT64:
        raise Uncastable("the number is outside 64 bits")
    return number


def _boolean(value: str | int | float, cast: Cast) -> bool:
    text = value.strip().lower() if isinstance(value, str) else _string(value, cast)
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise Uncastable("neither true, yes, 1 nor false, no, 0")


def _date(value: str | int | float, cast: Cast) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if _DATE.fullmatch(text) or _MOMENT.fullmatch(text):
        try:
            return date.fromisoformat(text[:10]).isoformat()
        except ValueError:
            raise Uncastable("the calendar has no such day") from None
    raise Uncastable("the value is no text that begins with YYYY-MM-DD")


def _moment(value: str | int | float, cast: Cast) -> str:
    return moment(value, cast).replace(tzinfo=None).isoformat() + "Z"


def _uuid(value: str | int | float, cast: Cast) -> str:
    try:
        if isinstance(value, str):
            return str(uuid.UUID(value.strip()))
    except ValueError:
        pass
    raise Uncastable("the value is no UUID")


_CASTS: dict[str, Callable[[Any, Cast], Any]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
    "date-time": _moment,
    "uuid": _uuid,
}
