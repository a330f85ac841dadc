"""How deep and how wide the JSON of one event may be. Looked at without decoding it, before anything is made of it."""

from __future__ import annotations

import re

from msgspec import Struct

from polku_schemas import Problem, ProblemCode

# A string is taken whole, so that what is inside is not counted. A colon outside of one follows a key.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}:]', re.DOTALL)


class Shape(Struct, frozen=True):
    """The limits of one event."""

    max_depth: int = 64
    max_keys: int = 2_000

    def problem(self, raw: bytes, path: str = "$", above: int = 0) -> Problem | None:
        """What is wrong with the shape of a JSON value that stands below `above` levels of its event."""
        # No deeper and no wider than it has brackets and colons, in strings or not: counting those costs nothing.
        deep = raw.count(b"{") + raw.count(b"[") + above > self.max_depth
        if not deep and raw.count(b":") <= self.max_keys:
            return None
        depth, keys = _measured(raw)
        if depth + above > self.max_depth:
            return Problem(ProblemCode.TOO_DEEP, path, f"nested deeper than {self.max_depth} levels")
        if keys > self.max_keys:
            return Problem(ProblemCode.TOO_MANY_KEYS, path, f"{keys} keys, at most {self.max_keys}")
        return None


def _measured(raw: bytes) -> tuple[int, int]:
    depth = deepest = keys = 0
    for token in _TOKENS.finditer(raw):
        mark = token.group()
        if mark in (b"{", b"["):
            depth += 1
            deepest = max(deepest, depth)
        elif mark in (b"}", b"]"):
            depth -= 1
        elif mark == b":":
            keys += 1
    return deepest, keys
