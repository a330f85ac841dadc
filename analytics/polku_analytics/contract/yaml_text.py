"""Writes plain values as the YAML that a plan is made of, and puts members into YAML that people have written.

JSON is nearly YAML: what is written here is JSON's way of writing a value, without the quotes where none are needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

_PLAIN: Final = re.compile(r"[^\W\d][\w./+-]*( [\w./+-]+)*")
"""Texts without a character that means something in YAML, and not like a number or a date."""

_PROSE: Final = re.compile(r"[A-Z][A-Za-z0-9 _.,;()/'`+-]*")
"""A sentence that stands alone after a key may have commas and the like in it."""

_WORDS: Final = frozenset(["true", "false", "null", "yes", "no", "on", "off", "y", "n"])
"""What some version of YAML takes for something else than a text."""

# YAML does not take these as they are; JSON leaves most of them alone.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]|[\ud800-\udfff]")

_MAX_COMMENT: Final = 400


def flow(value: Any) -> str:
    """A value on one line: `{order_id: O-1, revenue: 53.9}`."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{flow(key)}: {flow(member)}' for key, member in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value.lower() not in _WORDS else _quoted(value)
    if isinstance(value, float):
        return _float(value)
    return json.dumps(value)


def sentence(text: str) -> str:
    """A text that is the value of a key in block style: plain where that is safe."""
    is_plain = _PROSE.fullmatch(text) and not text.endswith(" ") and text.lower() not in _WORDS
    return text if is_plain else flow(text)


def comment(text: str) -> str:
    """A comment on one line, whatever is in the text."""
    plain = " ".join(_UNPRINTABLE.sub(" ", text).split())
    return f"# {plain if len(plain) <= _MAX_COMMENT else plain[:_MAX_COMMENT] + '…'}"


def insert_members(text: str, path: Sequence[str], members: Sequence[tuple[str, str]]) -> str | None:
    """The text with members (key, rest of the line) added to the mapping at `path`; the rest stays as it is.

    None where the mapping is not written in block style, so that this cannot be done line by line.
    """
    lines = text.splitlines()
    start, end, indent = 0, len(lines), 0
    for key in path:
        found = _find(lines, start, end, indent, key)
        if found is None:
            return None
        start, end = found
        first = next((line for line in lines[start:end] if line.strip() and not line.lstrip().startswith("#")), "")
        indent = len(first) - len(first.lstrip())
    added = [f"{' ' * indent}{key}: {rest}" for key, rest in members]
    while end > start and not lines[end - 1].strip():
        end -= 1  # before the blank lines that part it from what follows
    return "\n".join([*lines[:end], *added, *lines[end:]]) + "\n"


def replace_value(text: str, key: str, value: str) -> str | None:
    """The text with another value for a key of the top; None where it has none."""
    replaced, count = re.subn(
        rf"(?m)^({key}:\s*)(\"[^\"]*\"|'[^']*'|[^\s#]+)", lambda found: found[1] + value, text, count=1
    )
    return replaced if count else None


def _find(lines: Sequence[str], start: int, end: int, indent: int, key: str) -> tuple[int, int] | None:
    """The lines below a key that stands with nothing after it at this indentation."""
    opening = re.compile(rf"{' ' * indent}{re.escape(key)}:\s*(#.*)?")
    for index in range(start, end):
        if opening.fullmatch(lines[index]):
            below = index + 1
            while below < end and (not lines[below].strip() or _is_inside(lines[below], indent)):
                below += 1
            is_filled = any(line.strip() and not line.lstrip().startswith("#") for line in lines[index + 1 : below])
            return (index + 1, below) if is_filled else None
    return None


def _is_inside(line: str, indent: int) -> bool:
    own = len(line) - len(line.lstrip())
    return own > indent or (own == indent and line.lstrip().startswith("- "))


def _quoted(text: str) -> str:
    return _UNPRINTABLE.sub(lambda found: _escape(ord(found[0])), json.dumps(text, ensure_ascii=False))


def _escape(code: int) -> str:
    return f"\\u{code:04x}"


def _float(value: float) -> str:
    """A number with a point: `1e300` would be a text to some readers, and a whole one an integer to all."""
    text = repr(value)
    mantissa, mark, exponent = text.partition("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}{mark}{exponent}"
