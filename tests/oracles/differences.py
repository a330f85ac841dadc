"""Every way in which Polku's verdict differs on purpose from that of a JSON Schema validator. The list is closed.

Each difference says which objections it explains. An objection that none explains is a defect of the compiler. The
table in `docs/plan-validation.md` is this list.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import msgspec

from polku_schemas import Property
from polku_schemas.tolerant import MAX_DEPTH

from .verdicts import Objection

# The parts of a date-time as both sides read them, in all the spellings that either takes.
_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)([Tt ])(\d\d:\d\d:)(\d\d)(\.\d+)?([Zz]|[+-]\d\d:?\d\d)", re.ASCII
)  # fmt: skip


class Difference(NamedTuple):
    """One difference, in the words of the docs, with a document that shows it."""

    name: str
    polku: str
    """What Polku does."""
    validator: str
    """What the validator does."""
    why: str
    explains: Callable[[Objection], bool]
    witness: tuple[Property, bytes]
    """The one property of an event, and a document of that event."""


def _nothing(said: Objection) -> bool:
    return (said.reason == "json" and not said.raw.strip()) or (said.reason == "type" and said.raw.strip() == b"null")


def _not_quite_json(said: Objection) -> bool:
    try:
        json.loads(said.raw)  # takes it, as it reads what JavaScript and Python write
    except ValueError:
        return False
    return said.reason == "json"


def _too_deep(said: Objection) -> bool:
    return said.reason == "too_deep" and max(said.raw.count(b"["), said.raw.count(b"{")) > MAX_DEPTH // 2


def _spaced(said: Objection) -> bool:
    parts = _date_time(said, "format")
    return parts is not None and parts[2] == " "


def _offset(said: Objection) -> bool:
    parts = _date_time(said, "format")
    return parts is not None and len(parts[6]) == len("+0200")


def _leap_second(said: Objection) -> bool:
    parts = _date_time(said, "wrong_type")
    return parts is not None and parts[4] == "60"


def _calendar(said: Objection) -> bool:
    if said.prop is not None and said.prop.type == "date":
        return said.reason == "wrong_type" and said.value.startswith("0000-")
    parts = _date_time(said, "wrong_type") or _date_time(said, "out_of_range")
    return parts is not None and parts[1][:7] in ("0000-01", "0001-01", "9999-12")


def _date_time(said: Objection, reason: str) -> re.Match[str] | None:
    """The parts of a date-time that was objected to, if it would be one in the other spelling or a second earlier."""
    if said.prop is None or said.prop.type != "date-time" or said.reason != reason:
        return None
    parts = _DATE_TIME.fullmatch(said.value)
    if parts is None:
        return None
    year, second = max(2, min(9998, int(parts[1][:4]))), min(59, int(parts[4]))
    plain = f"{year:04}{parts[1][4:]}T{parts[3]}{second:02}{parts[6].upper()}"
    try:
        msgspec.convert(plain, datetime)
    except msgspec.ValidationError:
        return None
    return parts


def _uuid(said: Objection) -> bool:
    is_uuid = said.prop is not None and said.prop.type == "uuid" and said.reason == "format"
    return is_uuid and re.fullmatch("[0-9A-Fa-f]{32}", said.value) is not None


def _encoded_host(said: Objection) -> bool:
    is_host = said.prop is not None and said.prop.format in ("hostname", "email") and said.reason == "format"
    return is_host and re.search(r"(?:^|[.@])[A-Za-z0-9][A-Za-z0-9-]--", said.value) is not None


def _pattern(said: Objection) -> bool:
    is_pattern = said.prop is not None and said.prop.pattern is not None and not said.of_format
    return is_pattern and said.reason in ("pattern", "pattern_mismatch") and not re.fullmatch("[ -~]*", said.value)


def _double(said: Objection) -> bool:
    is_bound = (
        said.prop is not None and said.prop.type == "number" and said.reason in ("minimum", "maximum", "out_of_range")
    )
    return is_bound and isinstance(said.value, int) and abs(said.value) > 2**53


def _rounded_integer(said: Objection) -> bool:
    is_integer = said.prop is not None and said.prop.type == "integer" and said.reason == "out_of_range"
    return is_integer and said.value == -(2.0**63)


def _one(kind: str, **constraints: object) -> Property:
    return msgspec.convert({"name": "a", "type": kind, "description": "", **constraints}, Property)


DIFFERENCES = (
    Difference(
        "nothing",
        "no bytes at all, or `null`, are an empty object",
        "refused",
        "Clients send it for an event without properties.",
        _nothing,
        (_one("string"), b" null "),
    ),
    Difference(
        "not quite JSON",
        "a lone surrogate is stored as U+FFFD. In properties that are not planned, `NaN`, `Infinity` and numbers too "
        "large for a double become null, and integers beyond 64 bits text",
        "refused: it is not JSON",
        "JavaScript cuts emojis in half, and Python writes `NaN`. The event is worth more than that value.",
        _not_quite_json,
        (_one("string"), rb'{"a": "half \ud83d", "more": NaN}'),
    ),
    Difference(
        "depth",
        f"refused if what is not planned is nested more than {MAX_DEPTH} levels deep",
        "taken",
        "Readers of the tables have limits, too.",
        _too_deep,
        (_one("string"), b'{"more": ' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"}"),
    ),
    Difference(
        "space in a time",
        "`2026-01-31 12:00:00Z` is taken",
        "refused",
        "RFC 3339 allows it for readability, and Python's `str()` writes it. It can mean one thing only.",
        _spaced,
        (_one("date-time"), b'{"a": "2026-01-31 12:00:00Z"}'),
    ),
    Difference(
        "offset without colon",
        "`2026-01-31T12:00:00+0200` is taken",
        "refused",
        "ISO 8601 allows it, and `strftime` writes it. It can mean one thing only.",
        _offset,
        (_one("date-time"), b'{"a": "2026-01-31T12:00:00+0200"}'),
    ),
    Difference(
        "leap second",
        "`2016-12-31T23:59:60Z` is refused",
        "taken",
        "No column holds it: it would have to become another second.",
        _leap_second,
        (_one("date-time"), b'{"a": "2016-12-31T23:59:60Z"}'),
    ),
    Difference(
        "calendar",
        "refused outside the years 1 to 9999, for a time once it is in UTC and rounded to microseconds",
        "the year 0 is taken, and so is what an offset or rounding moves out of these years",
        "It is the range of the columns.",
        _calendar,
        (_one("date-time"), b'{"a": "0001-01-01T00:00:00+02:00"}'),
    ),
    Difference(
        "UUID without hyphens",
        "`f81d4fae7dec11d0a76500a0c91e6bf6` is taken, and stored with hyphens",
        "refused",
        "Many libraries write it. It can mean one thing only.",
        _uuid,
        (_one("uuid"), b'{"a": "f81d4fae7dec11d0a76500a0c91e6bf6"}'),
    ),
    Difference(
        "encoded host names",
        "a label such as `xn--a` or `ab--c` is taken as it is, in host names and e-mail addresses",
        "refused if it does not decode to another script",
        "No regular expression can decode it.",
        _encoded_host,
        (_one("string", format="hostname"), b'{"a": "xn--a.example"}'),
    ),
    Difference(
        "language of patterns",
        r"`pattern` is Python's: `\d`, `\w`, `\s` and `\b` know all of Unicode, `.` is all but `\n`, and `$` also "
        "holds before a last line break",
        "the dialect of its own library",
        "Python reads the plan. All agree on printable ASCII; `[0-9]` in place of `\\d` agrees on everything.",
        _pattern,
        (_one("string", pattern="^[A-Z]{2}$"), rb'{"a": "FI\n"}'),
    ),
    Difference(
        "large bounds",
        "a number is compared with its bounds as the double that is stored",
        "integers beyond 2^53 are compared digit by digit",
        "What is stored is what was validated.",
        _double,
        (_one("number", maximum=2**53), b'{"a": 9007199254740993}'),
    ),
    Difference(
        "integers just beyond 64 bits",
        "-9223372036854775809 is refused",
        "taken: `orjson` rounds it to the smallest integer of 64 bits",
        "What is stored is what was sent.",
        _rounded_integer,
        (_one("integer"), b'{"a": -9223372036854775809}'),
    ),
)
