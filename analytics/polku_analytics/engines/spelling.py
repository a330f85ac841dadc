"""SQL text as an engine spells it: literals, quoted names, type names, where nulls stand in an order.

Analyses and models are written as DuckDB reads them, which is standard SQL in all of these points. An engine that reads
them otherwise translates the text word by word here; nothing of what the words mean is changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal, NamedTuple

from msgspec import Struct

Kind = Literal["space", "comment", "text", "name", "number", "word", "sign"]

_TOKEN: Final = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<comment>--[^\n]*|/\*.*?\*/)
    | (?P<text>'(?:[^']|'')*')
    | (?P<name>"(?:[^"]|"")*")
    | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_ENDS_ORDER: Final = frozenset(("ROWS", "RANGE", "GROUPS", "LIMIT", "OFFSET", "UNION", "EXCEPT", "INTERSECT", "WINDOW"))
"""Words that end an ORDER BY."""


class Token(NamedTuple):
    """A piece of SQL text; all pieces together are the text."""

    kind: Kind
    text: str

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these keywords, however it is written."""
        return self.kind == "word" and self.text.upper() in words


class Spelling(Struct, frozen=True, kw_only=True):
    """In which points an engine differs."""

    backslash_escapes: bool = False
    """A backslash in a literal means something."""
    backslash_in_like: bool = False
    """A backslash in the pattern of LIKE takes the meaning from the next character."""
    backticks: bool = False
    """Names are quoted with backticks, double quotes are literals."""
    types: Mapping[str, str] = {}
    """Type names it does not know, and what it calls them."""
    nulls_first: bool = False
    """Nulls come first where ORDER BY says nothing."""
    ignores_outside: bool = False
    """IGNORE NULLS stands behind the parenthesis of a window function and not in it."""

    def spell(self, sql: str) -> str:
        """The same SQL as the engine reads it."""
        pieces = list(tokens(sql))
        said = [self._piece(pieces, place) for place in range(len(pieces))]
        if self.nulls_first:
            for place in order_ends(pieces):
                said[place] += " NULLS LAST"
        places = ignores_behind(pieces) if self.ignores_outside else range(len(pieces))
        return "".join(said[place] for place in places)

    def _piece(self, pieces: list[Token], place: int) -> str:
        piece = pieces[place]
        if piece.kind == "text":
            return self._literal(piece.text[1:-1].replace("''", "'"), _follows_like(pieces, place))
        if piece.kind == "name" and self.backticks:
            return "`" + piece.text[1:-1].replace('""', '"').replace("`", "``") + "`"
        if piece.kind == "word" and piece.text.upper() in self.types:
            return self.types[piece.text.upper()]
        return piece.text

    def _literal(self, value: str, is_pattern: bool) -> str:
        if is_pattern and self.backslash_in_like:
            value = value.replace("\\", "\\\\")
        if not self.backslash_escapes:
            return "'" + value.replace("'", "''") + "'"
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def tokens(sql: str) -> Iterator[Token]:
    """The pieces of SQL text, in order."""
    for match in _TOKEN.finditer(sql):
        yield Token(match.lastgroup or "sign", match.group())  # type: ignore[arg-type]


def order_ends(pieces: list[Token]) -> Iterator[int]:
    """The last piece of each item of each ORDER BY that does not say where nulls go."""
    clauses = [_Order()]  # of the statement, and of each open parenthesis
    after_order = False
    for place, piece in enumerate(pieces):
        if piece.kind in ("space", "comment"):
            continue
        here = clauses[-1]
        ends_clause = piece.text in (")", ";") or piece.is_word(*_ENDS_ORDER)
        if here.is_open and (ends_clause or piece.text == ","):
            if here.last is not None and not here.says_nulls:
                yield here.last
            here.is_open, here.last, here.says_nulls = not ends_clause, None, False
        elif piece.is_word("BY") and after_order:
            here.is_open = True
        else:
            here.last = place
            here.says_nulls |= piece.is_word("NULLS")
        if piece.text == "(":
            clauses.append(_Order())
        elif piece.text == ")" and len(clauses) > 1:
            clauses.pop()
            clauses[-1].last = place  # the parenthesis is a piece of the item around it
        after_order = piece.is_word("ORDER")
    if clauses[-1].is_open and clauses[-1].last is not None and not clauses[-1].says_nulls:
        yield clauses[-1].last


def ignores_behind(pieces: list[Token]) -> list[int]:
    """The places of the pieces, each IGNORE NULLS after the parenthesis that closes behind it."""
    places = list(range(len(pieces)))
    words = [place for place in places if pieces[place].kind not in ("space", "comment")]
    for place, following, end in zip(words, words[1:], words[2:], strict=False):
        if pieces[place].is_word("IGNORE") and pieces[following].is_word("NULLS") and pieces[end].text == ")":
            places[place : end + 1] = [end, *range(place, end)]
    return places


class _Order(Struct):
    """How far an ORDER BY is read: its present item's last piece, and whether the item says where nulls go."""

    is_open: bool = False
    last: int | None = None
    says_nulls: bool = False


def closing(pieces: list[Token], opening: int) -> int:
    """The place of the parenthesis that closes the one at `opening`."""
    depth = 0
    for place in range(opening, len(pieces)):
        depth += {"(": 1, ")": -1}.get(pieces[place].text, 0)
        if depth == 0:
            return place
    raise ValueError("a parenthesis is not closed")


def _follows_like(pieces: list[Token], place: int) -> bool:
    before = next((piece for piece in reversed(pieces[:place]) if piece.kind not in ("space", "comment")), None)
    return before is not None and before.is_word("LIKE", "ILIKE")
