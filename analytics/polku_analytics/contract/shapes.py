"""Texts that are recognised by how they look: times, keys, addresses, and what tells who a person is."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Callable
from typing import Any, Final

import msgspec

from polku_schemas.formats import FORMATS

_URI: Final = re.compile(FORMATS["uri"].expression)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_DATE_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_EMAIL: Final = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")
_IPV4: Final = re.compile(r"(?<![\d.])((25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(25[0-5]|2[0-4]\d|1?\d?\d)(?![\d.])")
_IPV6: Final = re.compile(
    r"(?<![\w:])(([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|(?=[0-9a-fA-F:]*::)[0-9a-fA-F:]{3,39})(?![\w:])"
)
_PHONE: Final = re.compile(r"(?<![\w.-])(\+|00|0)\d[\d /().-]{5,18}\d(?![\w.])")
# Cards begin with 3 to 6; a time in milliseconds or microseconds with 1.
_CARD: Final = re.compile(r"(?<![\d.])[3-6](?:[ -]?\d){13,18}(?![\d.])")
_IBAN: Final = re.compile(r"\b[A-Z]{2}\d{2} ?(?:[A-Z0-9]{4} ?){2,7}[A-Z0-9]{1,4}\b")
_TOKEN: Final = re.compile(
    r"\b(?:eyJ[\w-]+\.[\w-]+\.[\w-]*|(?:sk|pk|ghp|xox[abp])[-_][\w-]{16,}|[0-9a-fA-F]{40,}|(?=\w*\d)(?=\w*[a-z])(?=\w*[A-Z])[\w-]{24,})\b"
)
_PERSON: Final = re.compile(r"[^\W\d_a-zß-ÿ][^\W\d_]+([ -][^\W\d_a-zß-ÿ][^\W\d_]*\.?){1,3}")


def shapes_of(text: str) -> frozenset[str]:
    """All shapes that a text has."""
    return frozenset(shape for shape, has_shape in SHAPES.items() if has_shape(text))


def _whole(pattern: re.Pattern[str], target: Any = None) -> Callable[[str], bool]:
    """Whether the pattern is the whole text, and msgspec reads the text as the type, as validation will."""

    def has_shape(text: str) -> bool:
        if pattern.fullmatch(text) is None:
            return False
        if target is None:
            return True
        try:
            value = msgspec.convert(text, target)
        except msgspec.ValidationError:
            return False
        return _in_utc(value)

    return has_shape


def _in_utc(value: Any) -> bool:
    """A moment needs a zone, and a year from 1 to 9999 when it is brought to UTC."""
    if not isinstance(value, datetime.datetime):
        return True
    try:
        return value.tzinfo is not None and bool(value.astimezone(datetime.UTC))
    except OverflowError:
        return False


SHAPES: Final[dict[str, Callable[[str], bool]]] = {
    "date-time": _whole(_DATE_TIME, datetime.datetime),
    "date": _whole(_DATE, datetime.date),
    "uuid": _whole(_UUID, uuid.UUID),
    **{name: _whole(re.compile(FORMATS[name].expression)) for name in ("email", "ipv4", "ipv6")},
    # By the standard `red:large` is a URI too.
    "uri": lambda text: "://" in text and _URI.fullmatch(text) is not None,
}
"""The shapes that become types and formats of a plan. Not `hostname`: every word is one."""


def personal_shape(text: str) -> str | None:
    """What in a text tells who a person is or would be misused: `e-mail`, `phone`, `card` …; None if nothing does."""
    for name, found in _PERSONAL.items():
        if found(text):
            return name
    return None


def looks_like_a_person(text: str) -> bool:
    """Two to four capitalised words and nothing else: a name, or the name of something."""
    return _PERSON.fullmatch(text) is not None


def _has_card(text: str) -> bool:
    return any(_passes_luhn(re.sub(r"\D", "", match[0])) for match in _CARD.finditer(text))


def _passes_luhn(digits: str) -> bool:
    """The check digit of a card number; ten of eleven other numbers fail it."""
    doubled = [int(digit) * (1 + index % 2) for index, digit in enumerate(reversed(digits))]
    return len(set(digits)) > 1 and sum(number // 10 + number % 10 for number in doubled) % 10 == 0


_PERSONAL: Final[dict[str, Callable[[str], Any]]] = {
    "e-mail": _EMAIL.search,
    "token": _TOKEN.search,
    "IBAN": _IBAN.search,
    "card": _has_card,
    "IP": lambda text: _IPV4.search(text) or _IPV6.search(text),
    "phone": _PHONE.search,
}
