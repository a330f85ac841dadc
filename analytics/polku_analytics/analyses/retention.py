"""Retention: of those who began in an interval, how many came back in the ones after it.

A cohort is the units whose start lies in one day, week or month of the time zone: their first ever, or any. Returns
count until the end of the data, also beyond the period, which is that of the starts. docs/definitions.md has it all.
"""

from __future__ import annotations

import datetime
from typing import Any, Final, Literal

import numpy as np
from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.attempts import begins
from polku_analytics.analyses.intervals import (
    ROLLING_SECONDS,
    Calendar,
    Interval,
    WeekStart,
    bucket_sql,
    calendar,
    first_interval,
    intervals_since,
    span,
)
from polku_analytics.analyses.pieces import count_by_time, cut_by_unit
from polku_analytics.analyses.scope import BY_TIME, Arrays, Part, Scope, check_unit
from polku_analytics.analyses.steps import Step, parse_step, step_sql, vocabulary
from polku_analytics.errors import AnalyticsError
from polku_analytics.journeys import Journeys, period_sql
from polku_analytics.result import UNIT_WORDS, AnalysisResult, share

Mode = Literal["on", "on-or-after", "on-or-before"]
"""Back in that interval; in it or a later one; in it or an earlier one."""

_MODE_WORDS: Final[dict[Mode, str]] = {"on": "in", "on-or-after": "in or after", "on-or-before": "in or before"}
Cohorts = Literal["first-time", "recurring"]
"""A unit belongs to the cohort of its first start of all, or to that of each interval with a start."""

ALL: Final = "(all)"

MOST_INTERVALS: Final = 4000
"""Ten years of days, and more."""

COLUMNS: Final = ("cohort_number", "cohort", "size", "interval", "count", "share", "complete")


class RetentionQuestion(Struct, frozen=True, kw_only=True):
    """A retention to compute."""

    start: Step | None = None
    """What makes a unit part of a cohort; None: any touchpoint."""
    back: Step | None = None
    """What counts as coming back; None: any touchpoint."""
    mode: Mode = "on"
    cohorts: Cohorts = "first-time"
    interval: Interval = "week"
    rolling: bool = False
    """Intervals of 24 hours, 7 or 30 days from each unit's own start, not those of the calendar."""
    intervals: int = 8
    """So many after the first."""
    week_start: WeekStart = "monday"
    scope: Scope = Scope()


def retention_question(journeys: Journeys, start: str | None, back: str | None, **options: Any) -> RetentionQuestion:
    """Read the steps as people write them."""
    known = vocabulary(journeys)
    question = RetentionQuestion(
        start=None if start is None else parse_step(start, known),
        back=None if back is None else parse_step(back, known),
        **options,
    )
    if not 1 <= question.intervals <= MOST_INTERVALS:
        raise AnalyticsError(
            f"retention needs at least one interval after the first, and at most {MOST_INTERVALS}: --intervals 12"
        )
    return question


def run_retention(journeys: Journeys, question: RetentionQuestion) -> AnalysisResult:
    """Compute a retention over the built tables."""
    check_unit(question.scope, ("person", "account"), "retention")
    if any(step is not None and step.when for step in (question.start, question.back)):
        journeys.with_events()
    start, back = (step.label if step else "any touchpoint" for step in (question.start, question.back))
    return answer(
        journeys,
        question.scope,
        lambda part: _find(question, part),
        question=f"Of {UNIT_WORDS[question.scope.unit]} with {start}, how many have {back} "
        f"{_MODE_WORDS[question.mode]} later {question.interval}s?",
        options={
            "start": start,
            "return": back,
            "mode": question.mode,
            "cohorts": question.cohorts,
            "interval": question.interval,
            "rolling": question.rolling,
            "week_start": question.week_start if question.interval == "week" else None,
        },
        columns=COLUMNS,
        keys=("cohort_number", "interval"),
        measure="share",
        adds_up=False,
    )


class Entries(Struct, frozen=True):
    """Units in cohorts: which unit, which interval, and when it started."""

    unit: np.ndarray
    cohort: np.ndarray
    at: np.ndarray


def _find(question: RetentionQuestion, part: Part) -> Finding:
    sql = ""
    known = span(part)
    if known is None:
        return Finding(rows=[], sql=sql)
    days = calendar(*known, question.interval, part.period.time_zone, question.week_start)
    sql, counted = _read(question, part, days)
    why = "nobody began" if question.start is None else f"nobody has {question.start.label}"
    if not counted:
        return Finding(rows=[], sql=sql, why_empty=why)
    as_of = part.journeys.as_of
    end = days.begins[0] if as_of is None else round(as_of.timestamp() * 1_000_000)
    first = first_interval(part, question.interval, question.week_start)
    rows = _rows(question, np.sum(counted, axis=0), days, int(end), first)
    return Finding(rows=rows, sql=sql, why_empty=why)


class _Moments(Struct, frozen=True):
    """Moments in the order of units, which are numbers, and within a unit of time."""

    unit: np.ndarray
    at: np.ndarray


def _read(question: RetentionQuestion, part: Part, days: Calendar) -> tuple[str, list[np.ndarray]]:
    """The SQL, and what was counted of each piece of its rows.

    Of an interval of the calendar the first start and the latest return will do, so an engine that has to sort adds up
    first; where rows lie in order already, nothing is as fast as reading them.
    """
    joins = any(step is not None and step.when for step in (question.start, question.back))
    every = question.rolling or (part.lies_in_order and not joins)
    sql = retention_sql(question, part, days, every=every)

    def counted(rows: Arrays) -> np.ndarray:
        started, returned = (_moments(rows, name, every=every) for name in ("started", "returned"))
        return _counted(question, part, started, returned, days)

    if every:
        return f"{sql} ORDER BY {BY_TIME}", count_by_time(part, sql, counted, joins=joins)
    sql = f"{sql} ORDER BY unit, MIN({part.journeys.engine.dialect.microseconds('t.event_time')})"
    return sql, [counted(piece) for piece in cut_by_unit(part.journeys.engine.columns(sql))]


def _moments(rows: Arrays, name: str, *, every: bool) -> _Moments:
    """The starts or the returns. Of `every` moment a column says whether it is one, where not each is."""
    if not every:
        there = rows[name] >= 0
        return _Moments(rows["unit"][there], rows[name][there])
    if name not in rows:
        return _Moments(rows["unit"], rows["microseconds"])
    there = rows[name] > 0
    return _Moments(rows["unit"][there], rows["microseconds"][there])


def retention_sql(question: RetentionQuestion, part: Part, days: Calendar, *, every: bool) -> str:
    """Per unit and interval (or day) the first start and the latest return, -1 where there is none.

    `every`: each moment for itself, and what it is, if not every one is both. Only the starts of recurring cohorts are
    bound to the period: which start was the first is known only from all of them.
    """
    say = part.journeys.engine.dialect
    at = say.microseconds("t.event_time")
    start = "TRUE" if question.start is None else step_sql(question.start, "t")
    back = "TRUE" if question.back is None else step_sql(question.back, "t")
    started = start
    if question.cohorts == "recurring":
        started = f"{start} AND {period_sql(part.period, 't', dialect=say)}"
    source = f"FROM touchpoints AS t WHERE ({start} OR {back}) AND {part.members('t')}"
    if every:
        kinds = [
            f", CASE WHEN {condition} THEN 1 ELSE 0 END AS {name}"
            for name, condition in (("started", started), ("returned", back))
            if condition not in ("TRUE", "TRUE AND TRUE")
        ]
        read = say.read_microseconds("t.event_time")
        return f"SELECT t.{part.unit_column} AS unit, {read} AS microseconds{''.join(kinds)} {source}"
    return (
        f"SELECT t.{part.unit_column} AS unit, COALESCE(MIN(CASE WHEN {started} THEN {at} END), -1) AS started, "
        f"COALESCE(MAX(CASE WHEN {back} THEN {at} END), -1) AS returned {source} "
        f"GROUP BY t.{part.unit_column}, {bucket_sql(part, days)}"
    )


def _counted(
    question: RetentionQuestion, part: Part, started: _Moments, returned: _Moments, days: Calendar
) -> np.ndarray:
    """Per cohort (second axis) how many units are in it, and how many of them came back in each interval."""
    entries = _entries(question, part, started, days)
    came = _rolling if question.rolling else _by_calendar
    hits = came(question, entries, returned.unit, returned.at, days)
    cohorts = [entries.cohort, *(entries.cohort[hits[k]] for k in range(question.intervals + 1))]
    return np.stack([np.bincount(cohort, minlength=len(days.begins)) for cohort in cohorts])


def _entries(question: RetentionQuestion, part: Part, started: _Moments, days: Calendar) -> Entries:
    unit, at = started.unit, started.at
    kept = begins(unit)
    if question.cohorts == "first-time":
        first = np.flatnonzero(kept)
        unit, at = unit[first], at[first]
        kept = np.ones(len(unit), dtype=bool)
    cohort = days.place(at)
    if question.cohorts == "recurring":
        kept |= begins(cohort)
    for edge, later in ((part.period.start, True), (part.period.end, False)):
        if edge is not None:
            moment = round(edge.timestamp() * 1_000_000)
            kept = kept & ((at >= moment) if later else (at < moment))
    return Entries(unit[kept], cohort[kept], at[kept])


def _by_calendar(
    question: RetentionQuestion, entries: Entries, unit: np.ndarray, at: np.ndarray, days: Calendar
) -> np.ndarray:
    """Whether each entry (second axis) has come back in each interval (first axis), by the mode."""
    width = len(days.days) + question.intervals + 1
    place = days.place(at)
    hits = np.zeros((question.intervals + 1, len(entries.unit)), dtype=bool)
    if len(unit) == 0:
        return hits
    # The last of a unit's rows of the interval has its latest return.
    differs = unit[1:] != unit[:-1]
    differs |= place[1:] != place[:-1]
    last = np.append(np.flatnonzero(differs), len(unit) - 1)  # few: numbers of rows find them faster than a mask
    unit, at, place = unit[last], at[last], place[last]
    if question.mode == "on" and question.cohorts == "first-time":
        # One entry a unit: each return finds it, and need not be looked for once an interval.
        entry = np.minimum(np.searchsorted(entries.unit, unit), max(len(entries.unit) - 1, 0))
        if len(entries.unit):
            later = place - entries.cohort[entry]
            counts = (entries.unit[entry] == unit) & (later >= 0) & (later <= question.intervals)
            counts &= (later > 0) | (at > entries.at[entry])
            hits[later[counts], entry[counts]] = True
        return hits
    key = unit * width + place  # grows along the rows
    for number in range(question.intervals + 1):
        wanted = entries.unit * width + entries.cohort + number
        found = np.searchsorted(key, wanted, side="right") - 1
        hits[number] = (found >= 0) & (key[found] == wanted)
        if number == 0:
            hits[0] &= at[found] > entries.at
    if question.mode == "on-or-before":
        return np.asarray(np.logical_or.accumulate(hits, axis=0))
    if question.mode == "on-or-after":
        last = np.searchsorted(unit, entries.unit, side="right") - 1
        has = (last >= 0) & (unit[last] == entries.unit)
        hits[0] = has & (at[last] > entries.at)
        for number in range(1, question.intervals + 1):
            hits[number] = has & (place[last] >= entries.cohort + number)
    return hits


def _rolling(
    question: RetentionQuestion, entries: Entries, unit: np.ndarray, at: np.ndarray, days: Calendar
) -> np.ndarray:
    """The same for intervals that begin with each entry's own start."""
    length = ROLLING_SECONDS[question.interval] * 1_000_000
    hits = np.zeros((question.intervals + 1, len(entries.unit)), dtype=bool)
    low, high = np.searchsorted(unit, entries.unit), np.searchsorted(unit, entries.unit, side="right")
    counts = high - low
    entry = np.repeat(np.arange(len(entries.unit)), counts)
    row = np.arange(len(entry)) - np.repeat(np.cumsum(counts) - counts, counts) + low[entry]
    later = at[row] > entries.at[entry]
    entry, row = entry[later], row[later]
    number = (at[row] - entries.at[entry]) // length
    if question.mode == "on-or-after":
        last = np.full(len(entries.unit), -1, dtype=np.int64)
        np.maximum.at(last, entry, number)
        return np.asarray(last[None, :] >= np.arange(question.intervals + 1)[:, None])
    near = number <= question.intervals
    hits[number[near], entry[near]] = True
    return np.asarray(np.logical_or.accumulate(hits, axis=0)) if question.mode == "on-or-before" else hits


def _rows(
    question: RetentionQuestion, counted: np.ndarray, days: Calendar, end: int, first: datetime.date
) -> list[list[Any]]:
    sizes, counts = counted[0], counted[1:]
    present = np.flatnonzero(sizes)
    if len(present) == 0:
        return []
    rows: list[list[Any]] = []
    totals = [[0, 0] for _ in counts]
    for cohort in range(int(present[0]), int(present[-1]) + 1):
        size, day = int(sizes[cohort]), days.days[cohort]
        number = 1 + intervals_since(first, day, question.interval)
        for k in range(question.intervals + 1):
            begin, finish = _reach(question, days, cohort, k)
            if begin > end:
                break
            count, complete = int(counts[k][cohort]), finish <= end
            if complete:
                totals[k][0] += count
                totals[k][1] += size
            rows.append([number, day.isoformat(), size, k, count, share(count, size), complete])
    overall: list[list[Any]] = [
        [0, ALL, size, k, count, share(count, size), True] for k, (count, size) in enumerate(totals) if size
    ]
    return overall + rows


def _reach(question: RetentionQuestion, days: Calendar, cohort: int, k: int) -> tuple[int, int]:
    """When interval k of a cohort begins for the first, and has passed for the last that can be in it."""
    if question.rolling:
        length = ROLLING_SECONDS[question.interval] * 1_000_000
        return int(days.begins[cohort]) + k * length, int(days.begins[cohort + 1]) + (k + 1) * length
    if cohort + k + 1 < len(days.begins):
        return int(days.begins[cohort + k]), int(days.begins[cohort + k + 1])
    never = int(datetime.datetime.max.replace(tzinfo=datetime.UTC).timestamp()) * 1_000_000
    return (int(days.begins[-1]), never) if cohort + k + 1 == len(days.begins) else (never, never)
