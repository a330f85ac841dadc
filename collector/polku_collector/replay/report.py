"""What a run found and did, by source, event and code: counted in bounded memory, and without a value of any event."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import msgspec
from msgspec import Struct

from .rows import Quarantined

# Clients choose names of events, so there is no end to them.
MAX_GROUPS = 2000
MAX_REASONS = 50
OTHERS = "(others)"

_INDEX = re.compile(r"\[\d+\]")


class Group(Struct):
    """The rows of one source, event and code. Each that was looked at is counted in one of the others."""

    replayed: int = 0
    duplicates: int = 0
    broken: int = 0
    taken: int = 0
    unreadable: int = 0
    later: int = 0
    reasons: Counter[str] = msgspec.field(default_factory=Counter)
    """Why they are broken or unreadable now."""

    @property
    def looked_at(self) -> int:
        """How many rows of it the replay has decided about."""
        return self.replayed + self.duplicates + self.staying

    @property
    def staying(self) -> int:
        """Rows that are in `quarantine` as before."""
        return self.broken + self.taken + self.unreadable + self.later


class Report:
    """Counts of a run.

    `finished`: rows of another run that was interrupted between its two commits. `unused_entries`: of the mapping.
    """

    def __init__(self, *, dry_run: bool) -> None:
        self.dry_run = dry_run
        self.finished = 0
        self.unused_entries: list[str] = []
        self.groups: dict[tuple[str, str, str], Group] = {}

    def count(self, row: Quarantined, outcome: str, reason: str = "") -> None:
        """Count one row under an outcome, which is the name of a field of Group."""
        group = self._group(row)
        setattr(group, outcome, getattr(group, outcome) + 1)
        if reason:
            reason = _INDEX.sub("[]", reason)
            known = reason in group.reasons or len(group.reasons) < MAX_REASONS
            group.reasons[reason if known else OTHERS] += 1

    def start_over(self) -> None:
        """Forget the rows that stay: they are about to be looked at again. What left `quarantine` has left it."""
        for group in self.groups.values():
            group.broken = group.taken = group.unreadable = group.later = 0
            group.reasons.clear()

    @property
    def total(self) -> Group:
        """The sum of all groups."""
        total = Group()
        for group in self.groups.values():
            for name in ("replayed", "duplicates", "broken", "taken", "unreadable", "later"):
                setattr(total, name, getattr(total, name) + getattr(group, name))
            total.reasons.update(group.reasons)
        return total

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        listed = sorted(self.groups.items(), key=lambda entry: (-entry[1].looked_at, entry[0]))
        return {
            "dry_run": self.dry_run,
            "finished": self.finished,
            **_numbers(self.total),
            "unused_entries": self.unused_entries,
            "groups": [
                {"source": source, "event": event, "code": code, **_numbers(group), "reasons": dict(group.reasons)}
                for (source, event, code), group in listed
                if group.looked_at
            ],
        }

    def _group(self, row: Quarantined) -> Group:
        key = row.source, row.event_name or row.event_type or "", row.code
        if key not in self.groups and len(self.groups) >= MAX_GROUPS:
            key = row.source, OTHERS, row.code
        return self.groups.setdefault(key, Group())


def _numbers(group: Group) -> dict[str, int]:
    names = ("looked_at", "replayed", "duplicates", "broken", "taken", "unreadable", "later", "staying")
    return {name: getattr(group, name) for name in names}
