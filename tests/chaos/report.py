"""The figures of a run: what was killed, what went wrong outside, what was acknowledged, what the oracle found.

A report can be kept in a file and gone on with by another run: the figures are then the sum of the runs that it names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct, field

from .director import Outcome


class Run(Struct):
    """One run of the harness."""

    seed: int
    rounds: int = 0
    kills: int = 0
    windows: int = 0
    seconds: float = 0.0


class Report(Struct):
    """Adds up rounds."""

    runs: list[Run] = field(default_factory=list)
    """the last one is the present one"""
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
    looked_up: int = 0
    failed: list[str] = field(default_factory=list)

    @staticmethod
    def read(path: Path | None) -> Report:
        """What earlier runs have added up; nothing if there is no such file."""
        if path is None or not path.exists():
            return Report()
        return msgspec.json.decode(path.read_bytes(), type=Report, dec_hook=lambda kind, value: kind(value))

    def write(self, path: Path) -> None:
        fresh = path.with_name(f".{path.name}")
        fresh.write_bytes(msgspec.json.format(msgspec.json.encode(self)))
        fresh.replace(path)

    def add(self, scenario: str, name: str, outcome: Outcome) -> None:
        run = self.runs[-1]
        run.rounds += 1
        run.kills += outcome.kills.total()
        run.windows += outcome.windows
        run.seconds += outcome.seconds
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
        self.looked_up += outcome.looked_up
        if outcome.wrong:
            self.failed.append(name)

    def text(self, *, missing: list[str]) -> str:
        """The report as it is printed."""
        minutes = sum(run.seconds for run in self.runs) / 60
        lines = [
            f"sum of {len(self.runs)} runs:" if len(self.runs) > 1 else "one run:",
            *[
                f"  seed {run.seed}: {run.rounds} rounds, {run.kills} kills, {run.windows} fault scenarios"
                for run in self.runs
            ],
            f"{self.scenarios.total()} rounds in {minutes:.1f} minutes",
            *_table("rounds by scenario", self.scenarios),
            *_table(f"{self.kills.total()} kills (SIGKILL) by role", self.kills),
            *_table(f"{self.points.total()} of them at named points", self.points),
            *_table(f"{self.windows} fault scenarios; faults made by kind", self.faults),
            f"{self.acknowledged} events acknowledged; {self.rows} rows of events, {self.quarantined} of quarantine",
            f"{self.duplicates} copies that were acknowledged and are no rows; {self.orphans} files for a vacuum",
            f"{self.looked_up} requests answered after their commit, and seen by a fresh reader at that moment",
            *[f"not tried here: {sentence}" for sentence in missing],
            f"{len(self.failed)} rounds failed{': ' + ', '.join(self.failed) if self.failed else ''}",
        ]
        return "\n".join(lines)


def _table(title: str, counts: Mapping[str, int]) -> list[str]:
    width = max(map(len, counts), default=0)
    return [f"{title}:", *(f"  {name:{width}}  {count}" for name, count in sorted(counts.items()))]
