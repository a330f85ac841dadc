"""What can go wrong in an analysis: one base, and a class for each thing a caller can do something about."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Final

LIKENESS: Final = 0.75
"""Ratio of difflib; names that look less like what was written are not suggested: they would only mislead."""

MAX_NEAR: Final = 2
MAX_LISTED: Final = 12
SHORTEST_PART: Final = 3
"""A part of a name of so many characters suggests the names that hold it."""


class AnalyticsError(Exception):
    """Base of every exception this package raises on purpose; a command that meets one ends with exit code 2."""

    exit_code = 2


class LakeError(AnalyticsError):
    """The lake, or a table of it, is not there or cannot be read. The text says what to run."""


class BuildError(AnalyticsError):
    """A model cannot be built or published. Tables that were already there are left as they were."""


class LoadError(AnalyticsError):
    """A file that cannot be loaded into a reference table; the text lists what is wrong with it. Nothing is changed."""


class QueryError(AnalyticsError):
    """SQL that the engine does not take; the text is the engine's, without its trace."""


class MissingTableError(QueryError):
    """SQL that asks for a table which is not there."""

    def __init__(self, table: str, text: str) -> None:
        self.table = table
        super().__init__(text)


class UnknownNameError(AnalyticsError):
    """A step, event, property, funnel or option value that nobody has heard of; the text lists near matches.

    `aliases`, which events have, are other spellings that are understood; the name they stand for is what the text
    suggests.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], aliases: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self.name = name
        known = set(known)
        self.near = near_matches(name, {**(aliases or {}), **{own: own for own in known}})
        names = sorted(known)
        hint = ""
        if self.near:
            hint = f" Did you mean {' or '.join(self.near)}?"
        elif 0 < len(names) <= MAX_LISTED:
            hint = f" Known: {', '.join(names)}."
        elif aliases is not None:
            hint = " `polku plan list` shows the events of the plan."
        super().__init__(f"unknown {kind} {name!r}.{hint}")


def near_matches(name: str, known: Mapping[str, str]) -> tuple[str, ...]:
    """The names (spelling → name) whose spelling looks most like `name`, best first; none if none does."""
    spellings = {_plain(spelling): own for spelling, own in sorted(known.items())}
    wanted = _plain(name)
    close = difflib.get_close_matches(wanted, spellings, n=len(spellings) or 1, cutoff=LIKENESS)
    holding = [spelling for spelling in spellings if len(wanted) >= SHORTEST_PART and wanted in spelling]
    return tuple(dict.fromkeys(spellings[spelling] for spelling in [*close, *holding]))[:MAX_NEAR]


def _plain(name: str) -> str:
    return name.lower().replace(" ", "_").replace("-", "_")
