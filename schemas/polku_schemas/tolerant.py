"""Reads JSON as clients really send it, without losing what can be kept.

Real clients send lone surrogates (JavaScript makes them from a cut emoji), `NaN` and `Infinity` (Python
writes them) and integers of any length. Not every reader takes that, and none of it should cost an event.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

MAX_DEPTH: Final = 100
"""Levels of nesting a value may have: far below the interpreter's recursion limit on every version."""

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1


class BigInteger(str):
    """The digits of an integer beyond int64, as text: turning a million digits into an int takes minutes."""

    __slots__ = ()


def parse_json(text: str) -> tuple[Any, bool]:
    """The value in `text`, and whether a lone surrogate had to be replaced by U+FFFD.

    Integers beyond int64 come as BigInteger, NaN and Infinity as floats. Raises JSONDecodeError or
    RecursionError.
    """
    value = _DECODER.decode(text)
    # Only an escape can bring a lone surrogate: a raw one is not UTF-8.
    return _without_surrogates(value) if "\\u" in text else (value, False)


def json_safe(value: Any) -> tuple[Any, bool]:
    """A parsed value as any JSON reader takes it, and whether something had to be changed for that.

    NaN and Infinity become null, integers beyond int64 text. RecursionError beyond MAX_DEPTH levels.
    """
    changed = False

    def safe(item: Any, depth: int) -> Any:
        nonlocal changed
        if depth > MAX_DEPTH:
            raise RecursionError
        if isinstance(item, dict):
            return {key: safe(member, depth + 1) for key, member in item.items()}
        if isinstance(item, list):
            return [safe(member, depth + 1) for member in item]
        if isinstance(item, float) and not math.isfinite(item):
            changed = True
            return None
        if isinstance(item, BigInteger):
            changed = True
            return str(item)
        return item

    return safe(value, 0), changed


def _parse_integer(digits: str) -> int | BigInteger:
    # int64 has at most 19 digits and a sign; a longer text is not converted to find out.
    if len(digits) <= 20 and INT64_MIN <= (value := int(digits)) <= INT64_MAX:
        return value
    return BigInteger(digits)


_DECODER: Final = json.JSONDecoder(parse_int=_parse_integer)


def _without_surrogates(value: Any) -> tuple[Any, bool]:
    repaired = False

    def clean(item: Any) -> Any:
        nonlocal repaired
        # Not isinstance: a BigInteger is digits and stays marked.
        if type(item) is str:
            try:
                item.encode()
            except UnicodeEncodeError:
                repaired = True
                return item.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return item
        if isinstance(item, dict):
            return {clean(key): clean(member) for key, member in item.items()}
        if isinstance(item, list):
            return [clean(member) for member in item]
        return item

    return clean(value), repaired
