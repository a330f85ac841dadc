"""Find the items of a batch in a body that no JSON parser accepts whole, so that one bad event spoils nothing else.

Only structure is looked at: strings, brackets and commas. What is inside an item is for its own decoder to judge.
"""

from __future__ import annotations

import json
import re

# Outside a string, these are the bytes that matter; a string is taken whole, however odd its contents.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},:]', re.DOTALL)
_SPACE = b" \t\r\n"


# Work is bounded, whoever asks: so many structural bytes are looked at in one body.
MAX_TOKENS = 1_000_000


class TooMany(ValueError):
    """More items than are taken, or more structure than is looked at. Told early, before it costs anything."""


class NotJson(ValueError):
    """The body's own structure is broken: no items can be told apart. `position` is a byte offset."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} at byte {position}")
        self.position = position


def members(body: bytes) -> dict[str, bytes]:
    """The members of the outermost object, each value as raw bytes. Raises NotJson."""
    found: dict[str, bytes] = {}
    for part in _parts(body, b"{", b"}"):
        key, colon, value = _partition_key(part)
        if not colon:
            raise NotJson("a member without a value", body.find(part))
        found[key] = value
    return found


def items(array: bytes, most: int) -> list[bytes]:
    """The items of an array, each as raw bytes. Raises NotJson, or TooMany beyond `most`."""
    return _parts(array, b"[", b"]", most)


def _parts(text: bytes, opening: bytes, closing: bytes, most: int = 1000) -> list[bytes]:
    """What stands between the commas of the outermost brackets."""
    stripped = text.strip(_SPACE)
    if not stripped.startswith(opening) or not stripped.endswith(closing) or len(stripped) < 2:
        raise NotJson(f"expected {opening.decode()}…{closing.decode()}", 0)
    parts, depth, start = [], 0, 1
    last = len(stripped) - 1
    for number, token in enumerate(_TOKENS.finditer(stripped)):
        if number > MAX_TOKENS:
            raise TooMany(f"more than {MAX_TOKENS} brackets, commas and strings")
        mark = token.group()
        if mark in (b"{", b"["):
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
            if depth == 0 and token.start() != last:
                raise NotJson("text after the end", token.end())
        elif mark == b"," and depth == 1:
            parts.append(stripped[start : token.start()].strip(_SPACE))
            start = token.end()
            if len(parts) >= most:
                raise TooMany(f"more than {most} items")
    if depth != 0:
        raise NotJson("brackets do not close", len(text))
    tail = stripped[start:last].strip(_SPACE)
    if tail or parts:
        parts.append(tail)
    return parts


def _partition_key(member: bytes) -> tuple[str, bytes, bytes]:
    token = _TOKENS.match(member)
    if token is None or not token.group().startswith(b'"'):
        return "", b"", b""
    rest = member[token.end() :].lstrip(_SPACE)
    try:  # a key may be written with escapes
        key = json.loads(token.group())
    except ValueError:
        key = token.group()[1:-1].decode("utf-8", "replace")
    return (
        key,
        rest[:1] if rest[:1] == b":" else b"",
        rest[1:].strip(_SPACE),
    )
