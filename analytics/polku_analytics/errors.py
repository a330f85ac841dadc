"""What can go wrong in an analysis: one base, and a class for each thing a caller can do something about."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AnalyticsError(Exception):
    """Base of every exception this package raises on purpose; a command that meets one ends with exit code 2."""

    exit_code = 2


class LakeError(AnalyticsError):
    """The lake, or a table of it, is not there or cannot be read. The text says what to run."""


class BuildError(AnalyticsError):
    """A model cannot be built or published. Tables that were already there are left as they were."""


class QueryError(AnalyticsError):
    """SQL that the engine does not take; the text is the engine's, without its trace."""


class UnknownNameError(AnalyticsError):
    """A step, event, property, funnel or option value that nobody has heard of; the text lists near matches."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.near = near_matches(name, known)
        hint = f" Did you mean {' or '.join(self.near)}?" if self.near else ""
        super().__init__(f"unknown {kind} {name!r}.{hint}")


def near_matches(name: str, known: Iterable[str], limit: int = 3) -> tuple[str, ...]:
    """The known names that look most like `name`, best first; the first few known ones if none does."""
    names = sorted(set(known))
    lowered = {candidate.lower(): candidate for candidate in names}
    wanted = name.lower().replace(" ", "_").replace("-", "_")
    close = [lowered[key] for key in difflib.get_close_matches(wanted, lowered, n=limit, cutoff=0.5)]
    holding = [candidate for candidate in names if wanted and wanted in candidate.lower()]
    return tuple(dict.fromkeys([*close, *holding]))[:limit]
