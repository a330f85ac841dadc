"""The figures of a run: what was killed, what went wrong outside, what was acknowledged, what the oracle found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct, field

from .director import Outcome


class Report(Struct):
    """Adds up rounds."""

    scenarios: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    windows: int = 0
    acknowledged: int = 0
    duplicates: int = 0
    rows: int = 0
    quarantined: int = 0
    orphans: int = 0
    failed: list[str] = field(default_factory=list)

    def add(self, scenario: str, name: str, outcome: Outcome) -> None:
        self.scenarios[scenario] += 1
        self.kills += outcome.kills
        self.points += outcome.points
        self.faults += outcome.faults
        self.windows += outcome.windows
        self.acknowledged += outcome.acknowledged
        self.duplicates += outcome.duplicates
        self.rows += outcome.rows
        self.quarantined += outcome.quarantined
        self.orphans += outcome.orphans
        if outcome.wrong:
            self.failed.append(name)

    def text(self, *, seed: int, seconds: float, missing: list[str]) -> str:
        """The report as it is printed."""
        lines = [
            f"seed {seed}, {self.scenarios.total()} rounds in {seconds / 60:.1f} minutes",
            *_table("rounds by scenario", self.scenarios),
            *_table(f"{self.kills.total()} kills (SIGKILL) by role", self.kills),
            *_table(f"{self.points.total()} of them at named points", self.points),
            *_table(f"{self.windows} fault scenarios; faults made by kind", self.faults),
            f"{self.acknowledged} events acknowledged; {self.rows} rows of events, {self.quarantined} of quarantine",
            f"{self.duplicates} copies that were acknowledged and are no rows; {self.orphans} files for a vacuum",
            *[f"not tried here: {sentence}" for sentence in missing],
            f"{len(self.failed)} rounds failed{': ' + ', '.join(self.failed) if self.failed else ''}",
        ]
        return "\n".join(lines)


def _table(title: str, counts: Mapping[str, int]) -> list[str]:
    width = max(map(len, counts), default=0)
    return [f"{title}:", *(f"  {name:{width}}  {count}" for name, count in sorted(counts.items()))]
