"""Reads JSON as clients really send it, without losing what can be kept.

Real clients send lone surrogates (JavaScript makes them from a cut emoji), `NaN` and `Infinity` (Python
writes them) and integers of any length. Not every reader takes that, and none of it should cost an event.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

import msgspec

MAX_DEPTH: Final = 100
"""Levels of nesting a value may have: far below the interpreter's recursion limit on every version."""

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1


class BigInteger(str):
    """The digits of an integer beyond int64, as text: turning a million digits into an int takes minutes."""

    __slots__ = ()


def read_json(raw: bytes) -> tuple[Any, bool, bool]:
    """The value in some bytes, whether it was plain JSON, and whether a lone surrogate was replaced by U+FFFD.

    Nothing but space counts as null. Where it was not plain JSON, integers beyond int64 may come as BigInteger, NaN and
    Infinity as floats. Raises UnicodeDecodeError, JSONDecodeError or RecursionError.
    """
    try:
        return _decode(raw), True, False
    except (msgspec.MsgspecError, ValueError, RecursionError):
        text = raw.decode()
    if not text.strip():
        return None, False, False
    value = _DECODER.decode(text)
    # Only an escape can bring a lone surrogate: a raw one is not UTF-8.
    value, repaired = _without_surrogates(value) if "\\u" in text else (value, False)
    return value, False, repaired


def make_json_safe(value: dict[str, Any] | list[Any], depth: int = 0) -> bool:
    """Change a parsed object or list into what any JSON reader takes, in place. Says whether there was a need to.

    NaN and Infinity become null, integers beyond int64 text. RecursionError beyond MAX_DEPTH levels.
    """
    if depth > MAX_DEPTH:
        raise RecursionError
    changed = False
    place: Any
    for place, item in value.items() if isinstance(value, dict) else enumerate(value):
        kind = type(item)
        if kind is dict or kind is list:
            changed = make_json_safe(item, depth + 1) or changed
        elif kind is float and not math.isfinite(item):
            value[place], changed = None, True
        elif kind is BigInteger or (kind is int and not INT64_MIN <= item <= INT64_MAX):
            value[place], changed = str(item), True
    return changed


def _parse_integer(digits: str) -> int | BigInteger:
    # int64 has at most 19 digits and a sign; a longer text is not converted to find out.
    if len(digits) <= 20 and INT64_MIN <= (value := int(digits)) <= INT64_MAX:
        return value
    return BigInteger(digits)


_decode: Final = msgspec.json.Decoder().decode
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
