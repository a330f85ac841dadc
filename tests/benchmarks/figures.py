"""What a subject reports, and how it is printed: figures beside their baselines, on a described machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

PACKAGES = ("uvicorn", "uvloop", "httptools", "msgspec", "duckdb", "deltalake", "pyarrow", "numpy")


class NotAsExpected(Exception):
    """An answer, a count or a process was not what the subject rests on."""


class Figure(Struct, frozen=True, kw_only=True):
    """One line of the table. `ratio` is the value over the baseline; a `target` is met from the `better` side."""

    subject: str
    what: str
    value: float
    unit: str
    baseline: float | None = None
    baseline_what: str = ""
    target: float | None = None
    lower_is_better: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.value / self.baseline if self.baseline else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        return self.value <= self.target if self.lower_is_better else self.value >= self.target


class Machine(Struct, frozen=True):
    """Where the figures were taken."""

    cores: int
    processor: str
    system: str
    python: str
    packages: dict[str, str]
    load_average: float
    """Of the minute before the run: beyond about half the cores, other programs are in the figures."""


def machine() -> Machine:
    """This machine, now."""
    return Machine(
        len(os.sched_getaffinity(0)),
        _processor(),
        platform.platform(),
        platform.python_version(),
        {name: importlib.metadata.version(name) for name in PACKAGES},
        os.getloadavg()[0],
    )


def machine_lines(where: Machine) -> str:
    """The machine as the two lines above the table."""
    versions = " · ".join(f"{name} {version}" for name, version in where.packages.items())
    return (
        f"{where.cores} cores ({where.processor}) · {where.system} · Python {where.python} · load before the run "
        f"{where.load_average:.1f}\n{versions}"
    )


def table(figures: Sequence[Figure]) -> str:
    """The figures as one aligned table."""
    head = ("", "what", "figure", "", "baseline", "of what", "ratio", "target", "note")
    rows = [head, *(_cells(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    right = {2, 4, 6}
    lines: list[str] = []
    previous = ""
    for row in rows:
        if row[0] != previous and lines:
            lines.append("─" * (sum(widths) + 2 * len(widths)))
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        if row[0] == previous:
            cells[0] = " " * widths[0]
        previous = row[0]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def as_json(where: Machine, figures: Sequence[Figure]) -> bytes:
    """Machine and figures for a program that compares runs."""
    listed = [{**msgspec.structs.asdict(figure), "ratio": figure.ratio, "met": figure.met} for figure in figures]
    return msgspec.json.format(msgspec.json.encode({"machine": where, "figures": listed}), indent=2)


def _cells(figure: Figure) -> tuple[str, ...]:
    target = ""
    if figure.target is not None:
        sign = "≤" if figure.lower_is_better else "≥"
        target = f"{sign} {_number(figure.target)}: {'met' if figure.met else 'NOT met'}"
    return (
        figure.subject,
        figure.what,
        _number(figure.value),
        figure.unit,
        "" if figure.baseline is None else _number(figure.baseline),
        figure.baseline_what,
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        target,
        figure.note,
    )


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()
