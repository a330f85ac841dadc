"""Funnel: how many people (or sessions) take given steps in this order within a window, and where they stop.

A unit reaches step k if it has events e1 … ek that match the steps, in time order, with time(ek) - time(e1) within
the window, both ends included; anything may lie between. This is the rule of ClickHouse's `windowFunnel` in its default
mode: equal times count as in order, one event may serve two different steps, and a later first step starts a new
attempt (`reentry="first"` lets only the first one count). docs/definitions.md has it with examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.scope import Part, Scope, check_unit
from polku_analytics.analyses.steps import Step, funnel_steps, parse_step, step_sql, vocabulary
from polku_analytics.engines.engine import unit_numbers
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.period import Period
from polku_analytics.result import UNIT_WORDS, AnalysisResult, share, window_text

Reentry = Literal["any", "first"]
"""Which first step starts an attempt: every one, or only the unit's first ever (in the period)."""

DEFAULT_WINDOW_SECONDS: Final = 7 * 86400

_STEPS_PER_MASK: Final = 62
"""Steps are read as bits of a signed 64-bit number; more steps take more numbers."""

COLUMNS: Final = (
    "step",
    "name",
    "count",
    "share_of_previous",
    "share_of_first",
    "median_seconds",
    "median_seconds_from_previous",
    "dropped",
    "still_in_window",
    "optional",
)


class FunnelQuestion(Struct, frozen=True, kw_only=True):
    """A funnel to compute."""

    steps: tuple[Step, ...]
    window_seconds: int = DEFAULT_WINDOW_SECONDS
    reentry: Reentry = "any"
    scope: Scope = Scope()
    name: str | None = None
    """Of the saved funnel, if it is one."""


def funnel_question(
    journeys: Journeys,
    steps: Sequence[str],
    *,
    window_seconds: int | None = None,
    reentry: Reentry = "any",
    scope: Scope | None = None,
) -> FunnelQuestion:
    """Read steps as people write them: at least two, or the name of one saved funnel of the plan.

    Without a scope a saved funnel counts its own unit.
    """
    known = vocabulary(journeys)
    saved = journeys.plan.funnels
    if len(steps) == 1 and steps[0] in saved:
        funnel = saved[steps[0]]
        return FunnelQuestion(
            steps=tuple(funnel_steps(funnel)),
            window_seconds=window_seconds or funnel.window_seconds,
            reentry=reentry,
            scope=scope or Scope(unit=funnel.unit),
            name=funnel.name,
        )
    if len(steps) == 1 and known.event(steps[0]) is None and ":" not in steps[0] and "[" not in steps[0]:
        raise UnknownNameError("saved funnel or event", steps[0], {*saved, *known.event_names}, known.aliases)
    if len(steps) < 2:
        listed = f" Saved funnels: {', '.join(sorted(saved))}." if saved else ""
        raise AnalyticsError(f"a funnel needs at least two steps, or the name of a saved one.{listed}")
    return FunnelQuestion(
        steps=tuple(parse_step(text, known) for text in steps),
        window_seconds=window_seconds or DEFAULT_WINDOW_SECONDS,
        reentry=reentry,
        scope=scope or Scope(),
    )


def run_funnel(journeys: Journeys, question: FunnelQuestion) -> AnalysisResult:
    """Compute a funnel over the built tables."""
    check_unit(question.scope, ("person", "session", "account"), "a funnel")
    if any(step.when for step in question.steps):
        journeys.with_events()
    names = " → ".join(step.label for step in question.steps)
    window = window_text(question.window_seconds)
    return answer(
        journeys,
        question.scope,
        lambda part: _find(question, part),
        question=f"How many {UNIT_WORDS[question.scope.unit]} go {names} within {window}?",
        window=window,
        options={
            "funnel": question.name,
            "steps": [step.label for step in question.steps],
            "window_seconds": question.window_seconds,
            "reentry": question.reentry,
            "order": "in order, equal times count as in order",
        },
        columns=COLUMNS,
        keys=("step",),
        measure="count",
    )


def _find(question: FunnelQuestion, part: Part) -> Finding:
    sql = funnel_sql(question.steps, part)
    arrays = part.journeys.engine.columns(sql)
    masks = [arrays[f"steps_{n}"] for n in range(_mask_count(len(question.steps)))]
    outcome = count_funnel(
        unit_numbers(arrays["unit"]),
        arrays["microseconds"],
        [(masks[n // _STEPS_PER_MASK] >> (n % _STEPS_PER_MASK)) & 1 == 1 for n in range(len(question.steps))],
        optional=[step.optional for step in question.steps],
        window_microseconds=question.window_seconds * 1_000_000,
        reentry=question.reentry,
        as_of_microseconds=data_end(part.journeys, part.period),
    )
    return Finding(
        rows=_rows(question.steps, outcome), sql=sql, coverage={"still_in_window": sum(outcome.still_in_window)}
    )


def funnel_sql(steps: Sequence[Step], part: Part) -> str:
    """The rows that match a step, with a bit per step, ordered by unit and time."""
    say = part.journeys.engine.dialect
    conditions = [step_sql(step, "t") for step in steps]
    masks = []
    for number in range(_mask_count(len(conditions))):
        of_mask = conditions[number * _STEPS_PER_MASK : (number + 1) * _STEPS_PER_MASK]
        bits = " + ".join(
            f"CASE WHEN {condition} THEN CAST({1 << bit} AS BIGINT) ELSE 0 END" for bit, condition in enumerate(of_mask)
        )
        masks.append(f"CAST({bits} AS BIGINT) AS steps_{number}")
    either = " OR ".join(dict.fromkeys(conditions))
    return (
        f"SELECT t.{part.unit_column} AS unit, {say.microseconds('t.event_time')} AS microseconds, {', '.join(masks)} "
        f"FROM touchpoints AS t WHERE ({either}) AND {part.condition('t')} "
        "ORDER BY unit, microseconds"
    )


class FunnelOutcome(Struct, frozen=True, kw_only=True):
    """Per step: units that reach it, how fast, and of those that stop there, who has left and who may still go on."""

    counts: list[int]
    median_seconds: list[float | None]
    median_seconds_from_previous: list[float | None]
    dropped: list[int]
    still_in_window: list[int]


def count_funnel(
    units: np.ndarray,
    times: np.ndarray,
    matches: Sequence[np.ndarray],
    *,
    optional: Sequence[bool],
    window_microseconds: int,
    reentry: Reentry,
    as_of_microseconds: int | None,
) -> FunnelOutcome:
    """The funnel over rows ordered by unit and time; `matches[k]` says which rows are step k.

    Of all attempts that reach a step, the one that started last reaches everything the others can still reach. So one
    number per row and step suffices: the row of the latest start. Along the rows of a unit it never falls, which makes
    "the best so far" the value at the last row that has one.
    """
    rows = len(units)
    if rows == 0:
        zeros = [0] * len(matches)
        nothing: list[float | None] = [None] * len(matches)
        return FunnelOutcome(
            counts=zeros,
            median_seconds=nothing,
            median_seconds_from_previous=nothing,
            dropped=zeros,
            still_in_window=zeros,
        )
    first_of_unit = np.empty(rows, dtype=bool)
    first_of_unit[0] = True
    np.not_equal(units[1:], units[:-1], out=first_of_unit[1:])
    unit_number = np.cumsum(first_of_unit) - 1
    last_at_same_time = _last_at_same_time(first_of_unit, times)

    starts = np.flatnonzero(matches[0])
    if reentry == "first" and len(starts):
        starts = starts[_first_per_unit(unit_number[starts])]
    start_of = np.full(rows, -1, dtype=np.int64)
    start_of[starts] = starts
    reached = starts  # rows that reach the last step which holds people back
    required_level = np.zeros(int(unit_number[-1]) + 1, dtype=np.int32)
    required_level[unit_number[starts]] = 1

    counts = [len(np.unique(unit_number[starts]))]
    to_convert: list[float | None] = [None]
    from_previous: list[float | None] = [None]
    required = [0]
    for step in range(1, len(matches)):
        latest = np.full(rows, -1, dtype=np.int64)
        latest[reached] = reached
        np.maximum.accumulate(latest, out=latest)
        candidates = np.flatnonzero(matches[step])
        before = latest[last_at_same_time[candidates]]
        fits = before >= 0
        candidates, before = candidates[fits], before[fits]
        begun = start_of[before]
        fits = (unit_number[before] == unit_number[candidates]) & (
            times[candidates] - times[begun] <= window_microseconds
        )
        candidates, before, begun = candidates[fits], before[fits], begun[fits]
        firsts = _first_per_unit(unit_number[candidates])
        counts.append(len(firsts))
        done = times[candidates[firsts]]
        to_convert.append(_median_seconds(done - times[begun[firsts]]))
        # Of several rows at one time the later one may stand before: time does not run backwards there, it is equal.
        from_previous.append(_median_seconds(done - times[before[firsts]]))
        if not optional[step]:
            start_of = np.full(rows, -1, dtype=np.int64)
            start_of[candidates] = begun
            reached = candidates
            required.append(step)
            required_level[unit_number[candidates]] = len(required)
    dropped, waiting = _stops(
        required_level, required, len(matches), unit_number, times, starts, window_microseconds, as_of_microseconds
    )
    return FunnelOutcome(
        counts=counts,
        median_seconds=to_convert,
        median_seconds_from_previous=from_previous,
        dropped=dropped,
        still_in_window=waiting,
    )


def _stops(
    level: np.ndarray,
    required: Sequence[int],
    steps: int,
    unit_number: np.ndarray,
    times: np.ndarray,
    starts: np.ndarray,
    window: int,
    as_of: int | None,
) -> tuple[list[int], list[int]]:
    """Per step: units whose furthest step it is and that can no longer, or can still, go on.

    A unit can go on as long as the window of its latest start is open: that attempt may yet overtake the earlier ones.
    """
    latest_start = np.full(len(level), np.iinfo(np.int64).min, dtype=np.int64)
    latest_start[unit_number[starts]] = times[starts]  # rows are in time order: the last assignment stays
    is_open = np.zeros(len(level), dtype=bool)
    if as_of is not None:
        begun = level > 0
        is_open[begun] = latest_start[begun] > as_of - window
    dropped, waiting = [0] * steps, [0] * steps
    for number, step in enumerate(required[:-1], start=1):
        stops_here = level == number
        waiting[step] = int(np.count_nonzero(stops_here & is_open))
        dropped[step] = int(np.count_nonzero(stops_here & ~is_open))
    return dropped, waiting


def _last_at_same_time(first_of_unit: np.ndarray, times: np.ndarray) -> np.ndarray:
    """For each row, the last row of its unit with the same time: equal times count as in order."""
    begins = first_of_unit.copy()
    begins[1:] |= times[1:] != times[:-1]
    group = np.cumsum(begins) - 1
    ends = np.append(np.flatnonzero(begins)[1:] - 1, len(times) - 1)
    return np.asarray(ends[group])


def _first_per_unit(unit_numbers: np.ndarray) -> np.ndarray:
    """Positions of the first of each run of equal unit numbers."""
    if len(unit_numbers) == 0:
        return np.empty(0, dtype=np.int64)
    return np.flatnonzero(np.append(True, unit_numbers[1:] != unit_numbers[:-1]))


def _median_seconds(microseconds: np.ndarray) -> float | None:
    return None if len(microseconds) == 0 else round(float(np.median(microseconds)) / 1e6, 6)


def _mask_count(steps: int) -> int:
    return (steps + _STEPS_PER_MASK - 1) // _STEPS_PER_MASK


def data_end(journeys: Journeys, period: Period) -> int | None:
    """The last moment the answer knows of, in microseconds: the newest event, or the end of the period before that."""
    if journeys.as_of is None:
        return None
    end = journeys.as_of
    if period.end is not None:
        end = min(end, period.end)
    return round(end.timestamp() * 1_000_000)


def _rows(steps: Sequence[Step], outcome: FunnelOutcome) -> list[list[Any]]:
    rows = []
    previous = 0
    for number, step in enumerate(steps):
        count = outcome.counts[number]
        rows.append(
            [
                number + 1,
                step.label,
                count,
                share(count, outcome.counts[previous]) if number else None,
                share(count, outcome.counts[0]),
                outcome.median_seconds[number],
                outcome.median_seconds_from_previous[number],
                outcome.dropped[number],
                outcome.still_in_window[number],
                step.optional,
            ]
        )
        if not step.optional:
            previous = number
    return rows
