"""From the findings of each part to one answer: segments, values of a breakdown and the period before in one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct, structs

from polku_analytics.analyses.scope import Part, Scope, parts
from polku_analytics.journeys import Journeys
from polku_analytics.result import AnalysisResult

PREVIOUS = "previous"
CHANGE = "change"
"""The columns that a comparison adds: the measure in the period before, and by which share it has changed."""


class Finding(Struct, frozen=True, kw_only=True):
    """What an analysis found in one part."""

    rows: list[list[Any]]
    sql: str
    """That read the data."""
    coverage: dict[str, Any] = {}
    """What it could not see or decide, beyond what is told of every answer; numbers of several parts are added up."""


def answer(
    journeys: Journeys,
    scope: Scope,
    compute: Callable[[Part], Finding],
    *,
    question: str,
    columns: Sequence[str],
    keys: Sequence[str],
    measure: str,
    options: dict[str, Any],
    window: str | None = None,
) -> AnalysisResult:
    """Ask every part and put the rows together.

    `keys` are the columns that tell the rows of one part apart, `measure` the one that a comparison with the period
    before is about. Leading columns `segment` and, named as asked, the breakdown are there when they were asked for.
    """
    if scope.previous:
        scope = structs.replace(scope, period=scope.period.closed(journeys.as_of))
    rows: list[list[Any]] = []
    coverage: dict[str, Any] = {}
    sql = ""
    for part in parts(journeys, scope):
        found = compute(part)
        sql = sql or found.sql
        for name, value in found.coverage.items():
            coverage[name] = coverage.get(name, 0) + value if isinstance(value, int | float) else value
        label = [part.segment.label] if part.segment else []
        label += [part.value] if part.value is not None else []
        more = _compared(part, found, compute, columns, keys, measure) if scope.previous else found.rows
        rows.extend([*label, *row] for row in more)
    leading = ["segment"] if scope.segments else []
    leading += [scope.breakdown] if scope.breakdown else []
    return AnalysisResult(
        question=question,
        unit=scope.unit,
        window=window,
        options={
            **options,
            "segments": list(scope.segments) or None,
            "breakdown": scope.breakdown,
            "since": scope.period.since,
            "until": scope.period.until,
            "time_zone": scope.period.time_zone,
            "compared_with": _shown(journeys, scope) if scope.previous else None,
        },
        coverage={**journeys.coverage(scope.period), **coverage},
        as_of=journeys.as_of,
        columns=[*leading, *columns, *([PREVIOUS, CHANGE] if scope.previous else [])],
        rows=rows,
        sql=sql,
    )


def _compared(
    part: Part,
    found: Finding,
    compute: Callable[[Part], Finding],
    columns: Sequence[str],
    keys: Sequence[str],
    measure: str,
) -> list[list[Any]]:
    """The rows with what the measure was before; rows that only the period before has come last, without figures."""
    places = [columns.index(key) for key in keys]
    at = columns.index(measure)
    earlier = compute(part.before())
    before = {tuple(row[place] for place in places): row for row in earlier.rows}
    rows = []
    for row in found.rows:
        old = before.pop(tuple(row[place] for place in places), None)
        was = None if old is None else old[at]
        rows.append([*row, was, _change(row[at], was)])
    for key, old in before.items():
        blank: list[Any] = [None] * len(columns)
        for place, value in zip(places, key, strict=True):
            blank[place] = value
        rows.append([*blank, old[at], None if old[at] is None else -1.0 if old[at] else None])
    return rows


def _change(now: Any, was: Any) -> float | None:
    if now is None or not was:
        return None
    # By the size of what was: a balance that falls from -0.2 to -0.4 has become less, not more.
    return round((float(now) - float(was)) / abs(float(was)), 6)


def _shown(journeys: Journeys, scope: Scope) -> str:
    before = scope.period.previous(journeys.as_of)
    return f"{before.since} up to {before.until}"
