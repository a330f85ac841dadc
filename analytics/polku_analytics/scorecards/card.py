"""One scorecard: the figures of a role with target, period before, and the decision each serves."""

from __future__ import annotations

import datetime
from typing import Any, Final

from msgspec import structs

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.scope import Part, Scope, check_unit
from polku_analytics.errors import UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.period import Period, zone
from polku_analytics.result import AnalysisResult
from polku_analytics.scorecards.figure import Figure, missing, orders_without_value
from polku_analytics.scorecards.figures import ORDER_VALUE
from polku_analytics.scorecards.roles import FIGURES, QUESTIONS
from polku_schemas import Target

COLUMNS: Final = (
    "figure",
    "value",
    "of",
    "target",
    "target_met",
    "target_not_compared_because",
    "decision",
    "formula",
    "definition",
    "left_out_because",
)

DEFAULT_DAYS: Final = 28
"""Four whole weeks: as many of each weekday as in the four before."""

_DAYS: Final = {"day": 1.0, "week": 7.0, "month": 365.25 / 12, "quarter": 365.25 / 4, "year": 365.25}


def run_scorecard(journeys: Journeys, role: str, scope: Scope) -> AnalysisResult:
    """The scorecard of a role; without a beginning of the period, the last 28 days that are over."""
    check_unit(scope, ("person",), "a scorecard")
    if role not in FIGURES:
        raise UnknownNameError("role", role, FIGURES)
    figures = FIGURES[role]
    scope = structs.replace(scope, period=_period(journeys, scope.period), previous=True)
    reasons = {figure.name: missing(journeys, figure) for figure in figures}
    return answer(
        journeys,
        scope,
        lambda part: Finding(
            rows=[_row(part, figure, reasons[figure.name]) for figure in figures],
            sql="",
            coverage={"orders_without_value": orders_without_value(part)} if ORDER_VALUE in figures else {},
        ),
        question=f"{role}: {QUESTIONS[role]}",
        columns=COLUMNS,
        keys=("figure",),
        measure="value",
        options={"role": role},
    )


def _period(journeys: Journeys, period: Period) -> Period:
    if period.since is not None:
        return period.closed(journeys.as_of)
    as_of = journeys.as_of or datetime.datetime.now(datetime.UTC)
    # The day of the newest event is not over.
    until = period.until or as_of.astimezone(zone(period.time_zone)).date()
    return structs.replace(period, since=until - datetime.timedelta(days=DEFAULT_DAYS), until=until)


def _row(part: Part, figure: Figure, reason: str | None) -> list[Any]:
    said = [figure.decision, figure.formula, figure.definition]
    if reason is not None:
        return [figure.name, None, None, None, None, None, *said, reason]
    value = figure.find(part)
    target = _target(part, figure)
    if target is None:
        return [figure.name, value.number, value.of, None, None, None, *said, None]
    aim, met, why = _scaled(target, part.period), None, None
    # Nothing is 0 in every currency.
    if target.currency is not None and value.number and value.of != target.currency:
        why = f"the target is in {target.currency}, the figure in {value.of or 'no currency that orders name'}"
    elif value.number is not None:
        met = value.number <= aim if figure.smaller_is_better else value.number >= aim
    return [figure.name, value.number, value.of, aim, met, why, *said, None]


def _target(part: Part, figure: Figure) -> Target | None:
    """The plan's target of a figure. It is meant for all people: a segment has none."""
    if figure.target is None or part.segment is not None or part.value is not None:
        return None
    targets = part.journeys.plan.targets.values()
    return next((target for target in targets if (target.measure, target.of) == figure.target), None)


def _scaled(target: Target, period: Period) -> float:
    """What is to be reached in a period as long as this one."""
    if period.since is None or period.until is None or target.measure in ("conversion", "return_on_spend"):
        return target.value
    return round(target.value * (period.until - period.since).days / _DAYS[target.period], 6)
