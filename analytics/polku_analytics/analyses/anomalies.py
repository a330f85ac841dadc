"""Anomalies: days on which far fewer or far more came than on the same weekday in the weeks around.

A day's count is judged on the scale on which counts by chance spread alike whatever their size (Anscombe's square
root), against the median of its like, in units of the spread that the days have among themselves (median absolute
deviation), which a few strange days cannot widen.
"""

from __future__ import annotations

import datetime
import math
from typing import Any, Final

import numpy as np
from msgspec import Struct
from scipy import stats

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.intervals import calendar
from polku_analytics.analyses.scope import Part, Scope
from polku_analytics.analyses.steps import Step, parse_step, vocabulary
from polku_analytics.analyses.when import WEEKDAYS, came_sql
from polku_analytics.errors import AnalyticsError
from polku_analytics.journeys import Journeys, period_sql
from polku_analytics.period import zone
from polku_analytics.result import UNIT_WORDS, AnalysisResult

COLUMNS: Final = ("day", "weekday", "count", "expected", "low", "high", "score", "verdict")

WEEKS: Final = 4
"""So many weeks before and after give the days that a day is compared with: a season longer than that is no anomaly."""

FEWEST_LIKE: Final = 4
"""A day with fewer of its like is not judged."""

_FOR_CHANCE: Final = 1.4826
"""The median absolute deviation times this is the standard deviation, where chance is normal."""

_OF_MEDIAN: Final = math.pi / 2
"""The variance of a median of k values, times k, where chance is normal with variance 1."""

_WORTH: Final = 0.37
"""What a spread told by a median absolute deviation is worth: that of so many values, told by the best way."""


class AnomaliesQuestion(Struct, frozen=True, kw_only=True):
    """What is counted by day."""

    step: Step | None = None
    """Only touchpoints of this step; without one all but those in channels where we come to people."""
    false_alarms: float = 0.01
    """How likely an answer about ordinary days may be to name any of them, for each segment and value."""
    all_days: bool = False
    """All days that can be judged, not only the strange ones."""
    scope: Scope = Scope(unit="session")


def anomalies_question(journeys: Journeys, step: str | None, **options: Any) -> AnomaliesQuestion:
    """Read the step as people write it."""
    return AnomaliesQuestion(step=None if step is None else parse_step(step, vocabulary(journeys)), **options)


def run_anomalies(journeys: Journeys, question: AnomaliesQuestion) -> AnalysisResult:
    """The strange days, in their order. The first and the last day of the data need not be whole and are left out."""
    if question.scope.previous:
        raise AnalyticsError(
            "anomalies are compared with the days around them already, not with the period before: leave out "
            "--previous, and ask about earlier days with --since and --until"
        )
    if not 0 < question.false_alarms < 1:
        raise AnalyticsError("the chance of a false alarm lies between 0 and 1, such as 0.01")
    if question.step is not None and question.step.when:
        journeys.with_events()
    what = "" if question.step is None else f" with {question.step.label}"
    return answer(
        journeys,
        question.scope,
        lambda part: _find(question, part),
        question=f"On which days did strangely few or many {UNIT_WORDS[question.scope.unit]}{what} come?",
        columns=COLUMNS,
        keys=("day",),
        measure="count",
        options={
            "step": None if question.step is None else question.step.label,
            "false_alarms": question.false_alarms,
            "compared_weeks": WEEKS,
        },
    )


def _find(question: AnomaliesQuestion, part: Part) -> Finding:
    sql = days_sql(question.step, part)
    found = part.journeys.engine.columns(sql)
    days = _days_of(part)
    judged: list[list[Any]] = []
    if days:
        ends = datetime.datetime.combine(days[-1], datetime.time(12), tzinfo=zone(part.period.time_zone))
        begins = datetime.datetime.combine(days[0], datetime.time(12), tzinfo=zone(part.period.time_zone))
        place = calendar(begins, ends, "day", part.period.time_zone, "monday").place(
            np.asarray(found["microseconds"], dtype=np.int64)
        )
        inside = (place >= 0) & (place < len(days))
        counts = np.zeros(len(days), dtype=np.int64)
        np.add.at(counts, place[inside], np.asarray(found["found"], dtype=np.int64)[inside])
        judged = _rows(days, counts, part, question.false_alarms)
    rows = [row for row in judged if question.all_days or row[-1] is not None]
    why = None
    if not rows:
        why = f"none of the {len(judged)} days that can be judged is strange"
        if not judged:
            why = f"no day can be judged: each needs {FEWEST_LIKE} of the same weekday within {WEEKS} weeks around it"
    return Finding(rows=rows, sql=sql, coverage={"days_judged": len(judged)}, why_empty=why)


def days_sql(step: Step | None, part: Part) -> str:
    """How many units came on each local day: a moment of the day, and their number."""
    say = part.journeys.engine.dialect
    # The value of a unit in a breakdown is that of the period: outside of it there is none to compare with.
    within = period_sql(part.period, "t", "event_time", say) if part.value is not None else "TRUE"
    day = say.local_day("t.event_time", part.period.time_zone)
    units = "COUNT(*)" if part.unit == "event" else f"COUNT(DISTINCT t.{part.unit_column})"
    return (
        f"SELECT MIN({say.microseconds('t.event_time')}) AS microseconds, {units} AS found FROM touchpoints AS t "
        f"WHERE {came_sql(step)} AND {part.members('t')} AND {within} GROUP BY {day}"
    )


def _days_of(part: Part) -> list[datetime.date]:
    """The whole days of the data, and with a breakdown only those of the period."""
    first = part.journeys.rows("SELECT MIN(event_time) FROM touchpoints")[0][0]
    if first is None or part.journeys.as_of is None:
        return []
    low = part.period.local_day(first) + datetime.timedelta(days=1)
    high = part.period.local_day(part.journeys.as_of)
    if part.value is not None:
        low, high = max(low, part.period.since or low), min(high, part.period.until or high)
    return [low + datetime.timedelta(days=number) for number in range((high - low).days)]


def _rows(days: list[datetime.date], counts: np.ndarray, part: Part, false_alarms: float) -> list[list[Any]]:
    since, until = part.period.since or days[0], part.period.until or datetime.date.max
    asked = np.array([since <= day < until for day in days])
    judged = judge(counts, asked, false_alarms)
    rows: list[list[Any]] = []
    for number in np.flatnonzero(~np.isnan(judged.score)).tolist():
        count, low, high = int(counts[number]), float(judged.low[number]), float(judged.high[number])
        rows.append(
            [
                days[number].isoformat(),
                WEEKDAYS[days[number].weekday()],
                count,
                *(round(float(one), 2) for one in (judged.expected[number], low, high)),
                round(float(judged.score[number]), 2),
                "lower" if count < low else "higher" if count > high else None,
            ]
        )
    return rows


class Judged(Struct, frozen=True):
    """A number for each day; none (nan) for days that are not judged."""

    expected: np.ndarray
    low: np.ndarray
    high: np.ndarray
    """Between these chance leaves all ordinary days, but for one answer in 1 ÷ false_alarms."""
    score: np.ndarray
    """How many standard deviations a day lies away from its like."""


def judge(counts: np.ndarray, asked: np.ndarray, false_alarms: float) -> Judged:
    """Judge the days that are asked about, of consecutive ones."""
    level = 2 * np.sqrt(counts + 3 / 8)
    like = _like(level)
    members = np.count_nonzero(~np.isnan(like), axis=0)
    known = members >= FEWEST_LIKE
    middle, wide = np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    if not known.any():
        return Judged(middle, middle, middle, middle)
    middle[known] = np.nanmedian(like[:, known], axis=0)
    # The median they are held against is known only so well.
    wide[known] = np.sqrt(1 + _OF_MEDIAN / members[known])
    away = (level - middle) / wide
    # Counts spread at least as chance spreads them: 1 on this scale.
    spread = max(1.0, _FOR_CHANCE * float(np.median(np.abs(away[known]))))
    judged = known & asked
    days = max(1, int(judged.sum()))
    limit = float(stats.t.ppf(1 - false_alarms / (2 * days), max(1.0, _WORTH * known.sum())))
    away[~asked] = np.nan
    return Judged(
        _count_of(middle),
        _count_of(middle - limit * spread * wide),
        _count_of(middle + limit * spread * wide),
        away / spread,
    )


def _like(level: np.ndarray) -> np.ndarray:
    """For each day (column) the same weekday in the weeks around; nan where the data does not go so far."""
    like = np.full((2 * WEEKS, len(level)), np.nan)
    for week in range(1, WEEKS + 1):
        like[2 * week - 2, 7 * week :] = level[: -7 * week]
        like[2 * week - 1, : -7 * week] = level[7 * week :]
    return like


def _count_of(level: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum((np.maximum(level, 0.0) / 2) ** 2 - 3 / 8, 0.0))
