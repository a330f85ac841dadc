"""Whether a text exists that some LIKE patterns match and others do not.

Exact, by walking all patterns through the same text at once, letter by letter; and bounded, so that no plan can make
the check slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_MAX_WORK: Final = 500_000
"""After this many positions looked at, about half a second, the walk gives up and says that such a text exists."""

_MAX_COUNTED: Final = 64
"""A least length up to here is counted exactly; a longer one is ignored, which only finds more texts."""

_OTHER: Final = ""
"""Stands for every character that no pattern names, and equals none of theirs."""

_Positions = frozenset[int]


def text_exists(
    matching: Sequence[str], not_matching: Sequence[str], shortest: int = 0, longest: int | None = None
) -> bool:
    """Whether a text of the given length is matched by all of `matching` and by none of `not_matching`.

    True where it is not known; False is certain.
    """
    patterns = (*matching, *not_matching)
    letters = [*sorted({letter for pattern in patterns for letter in pattern} - {"%", "_"}), _OTHER]
    counted = shortest if shortest <= _MAX_COUNTED else 0
    start = (tuple(_skip(pattern, {0}) for pattern in patterns), 0)
    seen = {start}
    layer = [start]
    length = work = 0
    while layer and (longest is None or length <= longest):
        following = []
        for positions, count in layer:
            ends = [len(pattern) in here for pattern, here in zip(patterns, positions, strict=True)]
            if count >= counted and all(ends[: len(matching)]) and not any(ends[len(matching) :]):
                return True
            # Where one that must match is stuck, no longer text helps.
            if not all(positions[: len(matching)]):
                continue
            work += sum(map(len, positions)) * len(letters)
            if work > _MAX_WORK:
                return True
            for letter in letters:
                state = (
                    tuple(_step(pattern, here, letter) for pattern, here in zip(patterns, positions, strict=True)),
                    min(count + 1, counted),
                )
                if state not in seen:
                    seen.add(state)
                    following.append(state)
        layer = following
        length += 1
    return False


def _step(pattern: str, positions: _Positions, letter: str) -> _Positions:
    """Where the pattern can stand after one more letter."""
    reached = {position for position in positions if position < len(pattern) and pattern[position] == "%"}
    reached |= {
        position + 1 for position in positions if position < len(pattern) and pattern[position] in ("_", letter)
    }
    return _skip(pattern, reached)


def _skip(pattern: str, positions: set[int]) -> _Positions:
    """The positions, and those behind a `%`, which may stand for nothing."""
    reached = set(positions)
    for position in positions:
        while position < len(pattern) and pattern[position] == "%":
            position += 1
            reached.add(position)
    return frozenset(reached)
