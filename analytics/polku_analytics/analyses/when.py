"""When people come: a weekday × hour table in the shop's time zone."""

from __future__ import annotations

import datetime
from typing import Any, Final

import numpy as np
from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.scope import Part, Scope
from polku_analytics.analyses.steps import Step, parse_step, step_sql, vocabulary
from polku_analytics.engines.engine import unit_numbers
from polku_analytics.journeys import PUSHED_CHANNELS, Journeys
from polku_analytics.period import zone
from polku_analytics.result import UNIT_WORDS, AnalysisResult, share
from polku_schemas.rules import sql_literal

WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
COLUMNS: Final = ("weekday", "hour", "count", "share")


_CELLS: Final = 7 * 24
_QUARTER: Final = 15 * 60 * 1_000_000
"""Every offset of a time zone in use is a multiple of a quarter of an hour."""


class WhenQuestion(Struct, frozen=True, kw_only=True):
    """What is counted by hour."""

    step: Step | None = None
    """Only touchpoints of this step, in whatever channel; without one all but those of PUSHED_CHANNELS."""
    scope: Scope = Scope(unit="session")


def when_question(journeys: Journeys, step: str | None, scope: Scope) -> WhenQuestion:
    """Read the step as people write it."""
    return WhenQuestion(step=None if step is None else parse_step(step, vocabulary(journeys)), scope=scope)


def run_when(journeys: Journeys, question: WhenQuestion) -> AnalysisResult:
    """168 rows, Monday 0 h first. A session counts in the hour of its first touchpoint, a person once in each."""
    if question.step is not None and question.step.when:
        journeys.with_events()
    unit = question.scope.unit
    what = "" if question.step is None else f" with {question.step.label}"
    return answer(
        journeys,
        question.scope,
        lambda part: _find(question, part),
        question=f"When do {UNIT_WORDS[unit]}{what} come?",
        columns=COLUMNS,
        keys=("weekday", "hour"),
        measure="count",
        options={
            "step": None if question.step is None else question.step.label,
            "channels_left_out": None if question.step else list(PUSHED_CHANNELS),
            "week_starts": "Monday",
        },
    )


def _find(question: WhenQuestion, part: Part) -> Finding:
    say = part.journeys.engine.dialect
    of_step = f" WHERE {came_sql(question.step)}"
    at, unit = say.microseconds("t.event_time"), f"t.{part.unit_column}"
    if part.unit in ("person", "account"):
        sql = f"SELECT {unit} AS unit, {at} AS microseconds FROM {part.rows()} AS t{of_step} ORDER BY unit"
    elif part.unit == "session":
        sql = f"SELECT {unit} AS unit, MIN({at}) AS microseconds FROM {part.rows()} AS t{of_step} GROUP BY {unit}"
    else:
        sql = f"SELECT {at} AS microseconds FROM {part.rows()} AS t{of_step}"
    found = part.journeys.engine.columns(sql)
    cells = cells_of(np.asarray(found["microseconds"], dtype=np.int64), part.period.time_zone)
    if part.unit in ("person", "account"):
        cells = np.unique(unit_numbers(found["unit"]) * _CELLS + cells) % _CELLS
    counts = np.bincount(cells, minlength=_CELLS)
    total = int(counts.sum())
    rows: list[list[Any]] = [
        [WEEKDAYS[cell // 24], cell % 24, int(counts[cell]), share(int(counts[cell]), total)] for cell in range(_CELLS)
    ]
    return Finding(rows=rows, sql=sql)


def came_sql(step: Step | None) -> str:
    """The condition on touchpoints `t` that somebody came to us, or took the step."""
    if step is not None:
        return step_sql(step, "t")
    pushed = ", ".join(sql_literal(channel) for channel in PUSHED_CHANNELS)
    return f"(t.channel IS NULL OR t.channel NOT IN ({pushed}))"


def cells_of(microseconds: np.ndarray[Any, Any], time_zone: str) -> np.ndarray[Any, Any]:
    """weekday × 24 + hour of each moment, by the clock of the time zone on that day."""
    local = zone(time_zone)
    quarters, place = np.unique(microseconds // _QUARTER, return_inverse=True)
    of_quarter = np.empty(len(quarters), dtype=np.int64)
    for number, quarter in enumerate(quarters.tolist()):
        moment = datetime.datetime.fromtimestamp(quarter * 900, local)
        of_quarter[number] = moment.weekday() * 24 + moment.hour
    return of_quarter[place]
