"""Reads JSON into plain values with the line of each.

The standard library says whether a text is JSON; it does not say where its values stand, so the tokens of a text that
is known to be sound are walked once more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from polku_schemas.finding_codes import FindingCode
from polku_schemas.located import Located, MemberPath

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+|\n')
_WORDS: Final = {"null": None, "true": True, "false": False}

_HINTS: Final = {
    "Expecting property name enclosed in double quotes": "Put keys in double quotes, and no comma after the last one",
    "Illegal trailing comma before end of object": "Remove the comma",
    "Illegal trailing comma before end of array": "Remove the comma",
    "Extra data": "Keep one value in the file",
    "Invalid control character at": "Write line breaks and tabs inside texts as \\n and \\t",
    "Invalid \\escape": "Write a backslash as \\\\",
}


def read_json(text: str, located: Located) -> Any:
    """The value in `text`, None for an empty one. What is wrong is reported to `located`.

    Raises SyntaxError, already reported, if the text is not JSON, and TooLargeError.
    """
    if not text.strip():
        return None
    try:
        json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        remedy = _HINTS.get(error.msg, "Correct the commas, quotes and braces; JSON has no comments")
        line = min(error.lineno, len(text.splitlines()))
        located.report(FindingCode.INVALID_SYNTAX, (), line, f"this is not JSON: {error.msg}", remedy)
        raise SyntaxError from error
    except _ConstantError as error:
        message = f"this is not JSON: {error} is no number"
        located.report(FindingCode.INVALID_SYNTAX, (), None, message, "Write a finite number")
        raise SyntaxError from error
    except RecursionError:
        located.report(FindingCode.TOO_LARGE, (), None, "this is nested too deep", "Flatten it")
        raise SyntaxError from None
    return _Reader(text, located).value(())


class _ConstantError(ValueError):
    """NaN or an infinity, which Python reads and JSON has not."""


def _refuse(word: str) -> None:
    raise _ConstantError(word)


class _Reader:
    """Walks the tokens of a text that is JSON."""

    def __init__(self, text: str, located: Located) -> None:
        self._tokens = _tokens(text)
        self._located = located

    def value(self, path: MemberPath) -> Any:
        return self._value(path, *next(self._tokens))

    def _value(self, path: MemberPath, piece: str, line: int) -> Any:
        self._located.place(path, line)
        if piece == "{":
            return self._members(path)
        if piece == "[":
            return self._items(path)
        if piece.startswith('"'):
            return self._text(path, piece, line)
        if piece in _WORDS:
            if piece != "null":
                self._located.written[path] = piece
            return _WORDS[piece]
        return self._located.number(piece, path, line)

    def _members(self, path: MemberPath) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for piece, line in self._until("}"):
            key = self._text(path, piece, line)
            member = (*path, key)
            next(self._tokens)  # the colon
            if key in members:
                message = f"`{key}` stands here twice"
                self._located.report(FindingCode.DUPLICATE_KEY, member, line, message, "Keep one of them")
                # Read like any other, but its members are already somebody else's.
                self._value((*path, key), *next(self._tokens))
                continue
            self._located.lines[member] = line
            members[key] = self.value(member)
        return members

    def _items(self, path: MemberPath) -> list[Any]:
        items: list[Any] = []
        for piece, line in self._until("]"):
            items.append(self._value((*path, len(items)), piece, line))
        return items

    def _until(self, closing: str) -> Iterator[tuple[str, int]]:
        for piece, line in self._tokens:
            if piece == closing:
                return
            if piece != ",":
                yield piece, line

    def _text(self, path: MemberPath, piece: str, line: int) -> str:
        text = str(json.loads(piece))
        try:
            text.encode()
        except UnicodeEncodeError:
            message = "half of an emoji (a lone surrogate) is no text"
            self._located.report(FindingCode.INVALID_SYNTAX, path, line, message, "Write the whole character")
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return text


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    line = 1
    for match in _TOKEN.finditer(text):
        piece = match.group()
        if piece == "\n":
            line += 1
        else:
            yield piece, line
