"""How a mapping turns a value into another type. Pure; the rules are those of docs/replay.md, to the letter.

A value that already has the wanted form is left as it is. What cannot be turned without guessing is Uncastable.
"""

from __future__ import annotations

import contextlib
import math
import re
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

CastType = Literal["string", "integer", "number", "boolean", "date", "date-time", "uuid"]

_INT64 = range(-(1 << 63), 1 << 63)
_TRUE, _FALSE = frozenset(("true", "yes", "1")), frozenset(("false", "no", "0"))
_WHOLE = re.compile(r"[+-]?[0-9]+")
_DECIMALS = {
    mark: re.compile(rf"[+-]?[0-9]+(?:{re.escape(mark)}[0-9]+)?(?:[eE][+-]?[0-9]{{1,3}})?") for mark in (".", ",")
}
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?: ?(?:[Zz]|[+-]\d\d:?\d\d))?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Cast(Struct, frozen=True):
    """What a value is to become. `decimal` is for numbers in texts, `unit` and `zone` for date-times."""

    to: CastType
    decimal: Literal[".", ","] = "."
    unit: Literal["seconds", "milliseconds"] | None = None
    """What a number that stands for a moment counts, since 1970."""
    zone: ZoneInfo | None = None
    """Where the clock stood that wrote a time without a zone."""


class Uncastable(ValueError):
    """The value cannot become what is wanted. The text says why, without the value."""


def cast_value(value: Any, cast: Cast) -> Any:  # Any: JSON
    """The value as `cast` wants it; null stays null. Raises Uncastable."""
    if value is None:
        return None
    if isinstance(value, dict | list):
        raise Uncastable("an object or a list is not cast; name its members")
    return _CASTS[cast.to](value, cast)


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
    try:
        found = _moment_of_text(value, cast) if isinstance(value, str) else _moment_of_number(value, cast)
        return found.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    except (ValueError, OverflowError) as error:
        raise error if isinstance(error, Uncastable) else Uncastable("the calendar has no such moment") from None


def _moment_of_text(value: str, cast: Cast) -> datetime:
    text = value.strip()
    if not _MOMENT.fullmatch(text):
        raise Uncastable("the text is no ISO 8601 date-time")
    found = datetime.fromisoformat(text.upper().replace(" ", "T", 1).replace(" ", ""))
    if found.tzinfo is None:
        if cast.zone is None:
            raise Uncastable("the time has no zone; the mapping can say `zone`")
        found = found.replace(tzinfo=cast.zone)
    return found


def _moment_of_number(value: int | float, cast: Cast) -> datetime:
    if isinstance(value, bool):
        raise Uncastable("a boolean is no moment")
    if cast.unit is None:
        raise Uncastable("a number is a moment only if the mapping says `unit`")
    return _EPOCH + (timedelta(seconds=value) if cast.unit == "seconds" else timedelta(milliseconds=value))


def _uuid(value: str | int | float, cast: Cast) -> str:
    with contextlib.suppress(ValueError):
        if isinstance(value, str):
            return str(uuid.UUID(value.strip()))
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
