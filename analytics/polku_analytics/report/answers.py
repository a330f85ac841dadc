"""What the analyses answer on the report page, asked as anybody would from Python, and what has no answer here."""

from __future__ import annotations

from typing import Final

from msgspec import Struct, structs

from polku_analytics.api import OpenLake
from polku_analytics.fillings import CART_EVENTS
from polku_analytics.journeys import Journeys
from polku_analytics.result import NO_ROWS, AnalysisResult

RECENT_DAYS: Final = 28
"""The period of the scorecards."""

MOST_WEEKS: Final = 26
"""Longer data is shown by month where people come back: as many rows still fit on a screen."""

ROUTES: Final = 6
MORE_TERMS: Final = 50
"""Of so many words that found nothing those are shown that several people searched for."""

_EVENTS: Final[dict[str, tuple[str, ...]]] = {
    "carts": CART_EVENTS,
    "checkout": ("checkout_started", "checkout_step_viewed", "checkout_step_completed", "payment_info_entered"),
    "search": ("products_searched",),
    "deliveries": ("order_shipped", "order_delivered"),
    "returns": ("order_returned",),
    "performance": ("page_performance_measured",),
}
"""At least one of these has to occur: what nobody collects is not 0."""

_COUNTS: Final[dict[str, tuple[str, str]]] = {
    "carts": ("created", "no cart was made"),
    "deliveries": ("shipments", "nothing was sent, or only what was cancelled"),
    "returns": ("sold", "nothing was sold"),
}
"""These answer with zeros where there is nothing: the column that counts, and what to say when it is 0."""


class Answers(Struct, frozen=True, kw_only=True):
    """An answer for each section; its name is that of the section."""

    recent: AnalysisResult
    """The scorecard of management, and below it the first figures of the one of e-commerce."""
    routes: AnalysisResult | None
    """To the first goal of the plan that anybody has reached; None where nobody has reached one."""
    lost: AnalysisResult | None
    """Where on the way to it people are lost."""
    anomalies: AnalysisResult
    carts: AnalysisResult
    checkout: AnalysisResult
    campaigns: AnalysisResult
    lifecycle: AnalysisResult
    retention: AnalysisResult
    search: AnalysisResult
    searched_in_vain: AnalysisResult
    deliveries: AnalysisResult
    returns: AnalysisResult
    return_reasons: AnalysisResult
    performance: AnalysisResult
    friction: AnalysisResult


def ask(journeys: Journeys, zone: str, days: int, seen: frozenset[str]) -> Answers:
    """Ask everything, in days of the time zone. `days`: how many the data covers; `seen`: the names of its events."""
    lake = OpenLake(journeys)
    interval = "week" if days <= 7 * MOST_WEEKS else "month"
    routes = _routes(lake, zone, seen)
    return Answers(
        recent=_recent(lake, zone),
        routes=routes,
        lost=None if routes is None else lake.routes(routes.options["goal"], micro=True, staged=True, top=3),
        anomalies=lake.anomalies(time_zone=zone),
        carts=lake.carts(),
        checkout=lake.checkout(),
        campaigns=lake.campaigns(),
        lifecycle=lake.lifecycle(interval=interval, time_zone=zone),
        retention=lake.retention(interval=interval, time_zone=zone),
        search=lake.search(),
        searched_in_vain=lake.search(show="zero", top=MORE_TERMS),
        deliveries=lake.deliveries(),
        returns=lake.returns(),
        return_reasons=lake.returns(by="reason", top=6),
        performance=lake.performance(top=20),
        friction=lake.friction(top=8),
    )


def missing(answers: Answers, seen: frozenset[str]) -> dict[str, str]:
    """Why there is nothing to show, by the name of the section."""
    if answers.recent.as_of is None:
        return dict.fromkeys(answers.__struct_fields__, "there are no events yet")
    reasons = {}
    for name in answers.__struct_fields__:
        result: AnalysisResult | None = getattr(answers, name)
        wanted = _EVENTS.get(name, ())
        if result is None:
            reasons[name] = "nobody has reached a goal of the plan"
        elif wanted and not seen.intersection(wanted):
            reasons[name] = f"not collected: no event {' or '.join(wanted)} was ever seen"
        elif name == "recent":
            if all(row[1] is None for row in result.rows):
                reasons[name] = f"no figure is known of the last {RECENT_DAYS} days"
        elif name in _COUNTS and not any(row[_COUNTS[name][0]] for row in result.dicts()):
            reasons[name] = _COUNTS[name][1]
        elif not result.rows and not (name == "anomalies" and result.coverage["days_judged"]):
            reasons[name] = result.coverage[NO_ROWS]
    return reasons


def _recent(lake: OpenLake, zone: str) -> AnalysisResult:
    management = lake.scorecard("management", time_zone=zone)
    shop = lake.scorecard("ecommerce", time_zone=zone)
    there = {row[0] for row in management.rows}
    return structs.replace(management, rows=[*management.rows, *(row for row in shop.rows if row[0] not in there)])


def _routes(lake: OpenLake, zone: str, seen: frozenset[str]) -> AnalysisResult | None:
    for goal in lake.journeys.plan.goals.values():
        if not seen.intersection(goal.events):
            continue
        found = lake.routes(goal.name, staged=True, top=ROUTES, time_zone=zone)
        if found.rows:
            return found
    return None
