"""From the findings of each part to one answer: segments, values of a breakdown and the period before in one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct, structs

from polku_analytics.analyses.scope import Part, Scope, parts
from polku_analytics.journeys import Journeys
from polku_analytics.result import NO_ROWS, AnalysisResult

PREVIOUS = "previous"
CHANGE = "change"
"""The columns that a comparison adds: the measure in the period before, and by which share it has changed."""

OTHER = "other"
DIFFERENCE = "difference"
RATE_DIFFERENCE = "rate_difference"
"""The columns that two segments side by side add: the measure in the other one; the measure less that; and the same of
the measure as a share of its whole, since segments differ in size."""

NOBODY = "nobody was there of those that are asked about"


class Finding(Struct, frozen=True, kw_only=True):
    """What an analysis found in one part."""

    rows: list[list[Any]]
    rest: list[list[Any]] = []
    """Rows that are there and not shown, such as those beyond the largest: a comparison knows them."""
    whole: int | None = None
    """What the measure is a part of, where it is a count; a row that is not there counts 0 then."""
    sql: str
    """That read the data."""
    coverage: dict[str, Any] = {}
    """What it could not see or decide, beyond what is told of every answer; numbers of several parts are added up."""
    why_empty: str | None = None
    """Why there are no rows, and what to ask instead."""


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
    adds_up: bool = True,
    window: str | None = None,
    asked_of: Callable[[Part], str] | None = None,
) -> AnalysisResult:
    """Ask every part and put the rows together.

    `keys` are the columns that tell the rows of one part apart, `measure` the one that a comparison with the period
    before is about; one that does not add up (a share, a mean, a time) is not known of a row that is not there, where
    one that does is 0. `asked_of`: as for `parts`. Leading columns `segment` and, named as asked, the breakdown are
    there when they were asked for.
    """
    if scope.previous:
        scope = structs.replace(scope, period=scope.period.closed(journeys.as_of))
    answered: list[tuple[Part, Finding]] = []
    before: list[Finding] = []
    rows: list[list[Any]] = []
    coverage: dict[str, Any] = {}
    sql = ""
    for part in parts(journeys, scope, asked_of):
        found = compute(part)
        answered.append((part, found))
        if scope.previous:
            # At once: the values of units in a breakdown are those of one segment at a time.
            before.append(compute(part.before()))
        sql = sql or found.sql
        for name, value in found.coverage.items():
            coverage[name] = coverage.get(name, 0) + value if isinstance(value, int | float) else value
    places, at = [columns.index(key) for key in keys], columns.index(measure)
    two = len(scope.segments) == 2
    counted = two and any(found.whole is not None for _, found in answered)
    for number, (part, found) in enumerate(answered):
        label = [part.segment.label] if part.segment else []
        label += [part.value] if part.value is not None else []
        more = _compared(found, before[number], columns, places, at, adds_up) if scope.previous else found.rows
        if two:
            more = _beside(more, found, _other(answered, number), places, at, counted)
        rows.extend([*label, *row] for row in more)
    if not rows:
        reasons = dict.fromkeys(found.why_empty for _, found in answered if found.why_empty)
        coverage[NO_ROWS] = "; ".join(reasons) or NOBODY
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
            "compared": measure if scope.previous or two else None,
            "compared_with": _shown(journeys, scope) if scope.previous else None,
        },
        coverage={**journeys.coverage(scope.period), **coverage},
        as_of=journeys.as_of,
        columns=[
            *leading,
            *columns,
            *([PREVIOUS, CHANGE] if scope.previous else []),
            *([OTHER, DIFFERENCE] if two else []),
            *([RATE_DIFFERENCE] if counted else []),
        ],
        rows=rows,
        sql=sql,
    )


def _compared(
    found: Finding,
    earlier: Finding,
    columns: Sequence[str],
    places: Sequence[int],
    at: int,
    adds_up: bool,
) -> list[list[Any]]:
    """The rows with what the measure was before; rows that only the period before has come last, without figures."""
    before = _by_key([*earlier.rows, *earlier.rest], places)
    now = _by_key([*found.rows, *found.rest], places)
    # What the period before shows is shown here too, with its figures of now where it has any.
    seen = _by_key(found.rows, places)
    more = [now[key] for key in _by_key(earlier.rows, places) if key in now and key not in seen]
    absent = 0 if adds_up else None
    rows = []
    for row in [*found.rows, *more]:
        old = before.get(tuple(row[place] for place in places))
        was = absent if old is None else old[at]
        rows.append([*row, was, _change(row[at], was)])
    for key, old in _by_key(earlier.rows, places).items():
        if key in now:
            continue
        blank: list[Any] = [None] * len(columns)
        for place, value in zip(places, key, strict=True):
            blank[place] = value
        rows.append([*blank, old[at], _change(absent, old[at])])
    return rows


def _by_key(rows: Sequence[list[Any]], places: Sequence[int]) -> dict[tuple[Any, ...], list[Any]]:
    return {tuple(row[place] for place in places): row for row in rows}


def _other(answered: Sequence[tuple[Part, Finding]], number: int) -> Finding | None:
    """Of two segments, the finding in the other one for the same value of the breakdown."""
    part = answered[number][0]
    first = answered[0][0].segment
    for other, found in answered:
        if other.value == part.value and (other.segment is first) != (part.segment is first):
            return found
    return None


def _beside(
    rows: list[list[Any]], found: Finding, other: Finding | None, places: Sequence[int], at: int, counted: bool
) -> list[list[Any]]:
    """The rows with the measure of the other segment, and how far they lie apart."""
    known = _by_key([*other.rows, *other.rest], places) if other is not None else {}
    absent = 0 if other is not None and other.whole is not None else None
    beside = []
    for row in rows:
        there = known.get(tuple(row[place] for place in places))
        theirs = absent if there is None else there[at]
        mine = row[at]
        apart = None if mine is None or theirs is None else mine - theirs
        more = [theirs, round(apart, 6) if isinstance(apart, float) else apart]
        if counted:
            more.append(_rates_apart(mine, found.whole, theirs, other.whole if other is not None else None))
        beside.append([*row, *more])
    return beside


def _rates_apart(mine: Any, whole: int | None, theirs: Any, other_whole: int | None) -> float | None:
    if mine is None or theirs is None or not whole or not other_whole:
        return None
    return round(float(mine) / whole - float(theirs) / other_whole, 6)


def _change(now: Any, was: Any) -> float | None:
    if now is None or not was:
        return None
    # By the size of what was: a balance that falls from -0.2 to -0.4 has become less, not more.
    return round((float(now) - float(was)) / abs(float(was)), 6)


def _shown(journeys: Journeys, scope: Scope) -> str:
    before = scope.period.previous(journeys.as_of)
    return f"{before.since} up to {before.until}"
