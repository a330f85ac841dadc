"""Lifecycle and stickiness: whose activity is new, goes on, comes back or ends; on how many days people are active."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.intervals import (
    Activity,
    Interval,
    WeekStart,
    active_sql,
    activity,
    calendar,
    first_interval,
    intervals_since,
    next_begin,
    span,
)
from polku_analytics.analyses.scope import Part, Scope, check_unit
from polku_analytics.analyses.steps import Step, parse_step, vocabulary
from polku_analytics.journeys import Journeys, period_sql
from polku_analytics.result import UNIT_WORDS, AnalysisResult, share

LIFECYCLE_COLUMNS: Final = (
    "interval",
    "begins",
    "active",
    "new",
    "returning",
    "resurrecting",
    "dormant",
    "pulse",
    "complete",
)
STICKINESS_COLUMNS: Final = ("intervals", "count", "share", "at_least", "share_at_least")


class ActivityQuestion(Struct, frozen=True, kw_only=True):
    """Who is active in which intervals."""

    step: Step | None = None
    """What makes a unit active; None: any touchpoint."""
    interval: Interval = "week"
    week_start: WeekStart = "monday"
    scope: Scope = Scope()


def activity_question(journeys: Journeys, step: str | None, **options: Any) -> ActivityQuestion:
    """Read the step as people write it."""
    return ActivityQuestion(step=None if step is None else parse_step(step, vocabulary(journeys)), **options)


def run_lifecycle(journeys: Journeys, question: ActivityQuestion) -> AnalysisResult:
    """Per interval: new, returning, resurrecting and dormant units."""
    return _run(journeys, question, "lifecycle", LIFECYCLE_COLUMNS, "interval", "active")


def run_stickiness(journeys: Journeys, question: ActivityQuestion) -> AnalysisResult:
    """In how many intervals of the period units are active."""
    return _run(journeys, question, "stickiness", STICKINESS_COLUMNS, "intervals", "count")


def _run(
    journeys: Journeys, question: ActivityQuestion, what: str, columns: tuple[str, ...], key: str, measure: str
) -> AnalysisResult:
    check_unit(question.scope, ("person", "account"), what)
    if question.step is not None and question.step.when:
        journeys.with_events()
    step = question.step.label if question.step else "any touchpoint"
    units = UNIT_WORDS[question.scope.unit]
    intervals = f"{'On' if question.interval == 'day' else 'In'} how many {question.interval}s"
    asked = {
        "lifecycle": f"How many {units} with {step} are new, returning, back or gone each {question.interval}?",
        "stickiness": f"{intervals} do {units} have {step}?",
    }
    find = _lifecycle if what == "lifecycle" else _stickiness
    return answer(
        journeys,
        question.scope,
        lambda part: find(question, part),
        question=asked[what],
        options={
            "step": step,
            "interval": question.interval,
            "week_start": question.week_start if question.interval == "week" else None,
        },
        columns=columns,
        keys=(key,),
        measure=measure,
        # Who is gone in the first interval of the period need not have been there in the period at all.
        asked_of=_ever if what == "lifecycle" else None,
    )


def _ever(part: Part) -> str:
    return f"(SELECT x.* FROM touchpoints AS x WHERE {part.members('x')})"


def _lifecycle(question: ActivityQuestion, part: Part) -> Finding:
    known = span(part)
    if known is None:
        return Finding(rows=[], sql="")
    days = calendar(*known, question.interval, part.period.time_zone, question.week_start)
    sql = active_sql(part, question.step, days)
    counts = count_lifecycle(activity(part, sql, days), len(days.days) - 1)
    as_of = part.journeys.as_of
    end = None if as_of is None else round(as_of.timestamp() * 1_000_000)
    rows: list[list[Any]] = []
    first = first_interval(part, question.interval, question.week_start)
    if part.period.since is not None and first < part.period.since:
        first = next_begin(first, question.interval)  # it has begun before the period
    for place in days.inside(part.period):
        number = 1 + intervals_since(first, days.days[place], question.interval)
        new, returning, resurrecting, dormant = (int(count) for count in counts[:, place])
        pulse = None if dormant == 0 else round((new + resurrecting) / dormant, 6)
        complete = end is not None and int(days.begins[place + 1]) <= end
        active = new + returning + resurrecting
        rows.append(
            [number, days.days[place].isoformat(), active, new, returning, resurrecting, dormant, pulse, complete]
        )
    return Finding(rows=rows, sql=sql)


def count_lifecycle(active: Activity, intervals: int) -> np.ndarray:
    """Units per interval (second axis): new, returning, resurrecting, dormant."""
    counts = np.zeros((4, intervals), dtype=np.int64)
    if active.units == 0:
        return counts
    first = np.append(True, active.unit[1:] != active.unit[:-1])
    after_one = ~first & np.append(False, active.place[1:] == active.place[:-1] + 1)
    last_or_gap = np.append(~after_one[1:], True)
    for row, wanted in enumerate((first, after_one, ~first & ~after_one)):
        counts[row] = np.bincount(active.place[wanted], minlength=intervals)
    gone = active.place[last_or_gap] + 1
    counts[3] = np.bincount(gone[gone < intervals], minlength=intervals)
    return counts


def _stickiness(question: ActivityQuestion, part: Part) -> Finding:
    known = span(part)
    if known is None:
        return Finding(rows=[], sql="")
    days = calendar(*known, question.interval, part.period.time_zone, question.week_start)
    sql = active_sql(part, question.step, days, period_sql(part.period, "t", dialect=part.journeys.engine.dialect))
    active = activity(part, sql, days)
    if active.units == 0:
        return Finding(rows=[], sql=sql, why_empty="nobody was active")
    exactly = np.bincount(np.bincount(active.unit, minlength=active.units))
    rows: list[list[Any]] = []
    at_least = active.units
    for number in range(1, len(exactly)):
        count = int(exactly[number])
        rows.append([number, count, share(count, active.units), at_least, share(at_least, active.units)])
        at_least -= count
    return Finding(rows=rows, sql=sql)
