"""The figures of the report: what is asked of the tables, as plain values that the page only has to show."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from polku_analytics.analyses.funnel import funnel_question, run_funnel
from polku_analytics.analyses.paths import LEFT, PathsQuestion, run_paths
from polku_analytics.analyses.scope import Scope
from polku_analytics.currencies import usual_currency
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import PUSHED_CHANNELS, Journeys
from polku_analytics.period import Period
from polku_analytics.report.answers import Answers, ask, missing
from polku_analytics.report.wording import percent
from polku_analytics.result import AnalysisResult
from polku_schemas import Plan, stage_values
from polku_schemas.amounts import counted
from polku_schemas.rules import sql_literal

PATH_STEPS: Final = 5
PATH_ITEMS: Final = 8
"""What fits beside each other on a laptop and still has readable labels."""

SMALLEST_FLOW_SHARE: Final = 0.004
"""Flows of less than this share of all paths are too thin to see; the table below the diagram has them."""

_PUSHED_SQL: Final = ", ".join(f"'{name}'" for name in PUSHED_CHANNELS)
_IS_VISIT: Final = f"COALESCE(channel, '') NOT IN ({_PUSHED_SQL})"
"""The condition on `sessions`."""


class Link(Struct, frozen=True):
    """A link to another page, shown in the head of the report."""

    text: str
    url: str


class ReportContext(Struct, frozen=True, kw_only=True):
    """What the caller says about a report that the data cannot."""

    title: str = "Customer journeys"
    notes: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    not_collected: tuple[str, ...] = ()
    """Stages the data cannot show, beside those that are found out: stages none of whose events was ever seen."""
    time_zone: str = "UTC"


class KeyFigure(Struct, frozen=True):
    """One number of the head, with its unit and a sentence."""

    label: str
    value: float | None
    unit: str
    note: str


class StageFigure(Struct, frozen=True):
    """One stage: how many people have entered it, how many are there now; None where it is not collected."""

    stage: str
    people: int | None
    present: int | None
    share: float | None


class Series(Struct, frozen=True):
    """Orders and revenue per `bucket` (day, week or month), from the first to the last, gaps filled with 0."""

    bucket: str
    starts: tuple[datetime.date, ...]
    orders: tuple[int, ...]
    revenue: tuple[float | None, ...]
    """Of the orders in `currency`; None where there are some and none says its revenue."""
    currency: str
    in_other_currencies: int
    partial: tuple[bool, ...]
    """Whether the data covers only a part of the bucket."""


class HeatMap(Struct, frozen=True):
    """Counts by weekday (Monday first) and hour."""

    unit: str
    counts: tuple[tuple[int, ...], ...]


class ChannelFigure(Struct, frozen=True):
    """What happened in one channel."""

    channel: str
    people: int
    touchpoints: int
    orders: int
    revenue: float | None
    """None where none of the orders says its revenue."""


class ReportFigures(Struct, frozen=True, kw_only=True):
    """Everything a report shows."""

    as_of: datetime.datetime | None
    built: str
    lake: str
    plan: str
    coverage: Mapping[str, Any]
    key_figures: tuple[KeyFigure, ...]
    stages: tuple[StageFigure, ...]
    funnel: AnalysisResult | None
    paths: AnalysisResult
    touchpoint_stages: Mapping[str, str]
    orders: Series | None
    heat_maps: tuple[HeatMap, ...]
    channels: tuple[ChannelFigure, ...]
    marketing_channels: tuple[ChannelFigure, ...]
    currency: str
    seen_events: tuple[str, ...]
    """The names of all events in the data: what a funnel asks for beyond them was not collected."""
    answers: Answers
    missing: Mapping[str, str]
    """Why an answer has nothing to show, by its name."""


def collect(journeys: Journeys, context: ReportContext) -> ReportFigures:
    """Ask the tables for everything the report shows."""
    _check(journeys.plan, context)
    coverage = journeys.coverage(Period())
    currency = _currency(journeys)
    people = int(coverage["people"])
    seen = _seen_events(journeys)
    answers = ask(journeys, context.time_zone, _days(coverage), seen)
    return ReportFigures(
        as_of=journeys.as_of,
        built=journeys.build_id,
        lake=journeys.lake.uri,
        plan=f"{journeys.plan.name} {journeys.plan.version}",
        coverage=coverage,
        key_figures=_key_figures(journeys, currency),
        stages=_stages(journeys, people, collected_stages(journeys.plan, seen, frozenset(context.not_collected))),
        funnel=_fitting_funnel(journeys, seen),
        paths=run_paths(journeys, _path_question(journeys)),
        touchpoint_stages=_touchpoint_stages(journeys),
        orders=_orders_over_time(journeys, context.time_zone, currency),
        heat_maps=_heat_maps(journeys, context.time_zone),
        channels=_channels(journeys, currency),
        marketing_channels=_marketing_channels(journeys, currency),
        currency=currency,
        seen_events=tuple(sorted(seen)),
        answers=answers,
        missing=missing(answers, seen),
    )


def _days(coverage: Mapping[str, Any]) -> int:
    first, last = coverage["first_event"], coverage["last_event"]
    return 0 if first is None else (last - first).days + 1


def collected_stages(plan: Plan, seen_events: frozenset[str], passed: frozenset[str]) -> frozenset[str]:
    """The stages the data can show: those some event that was seen can lead to, without those in `passed`."""
    possible = {stage for name in seen_events if name in plan.events for stage in stage_values(plan.events[name])}
    return frozenset(possible) - passed


def bucket_for(days: int) -> str:
    """Day, week or month, so that a period of so many days has a readable number of bars."""
    if days <= 62:
        return "day"
    return "week" if days <= 750 else "month"


def _check(plan: Plan, context: ReportContext) -> None:
    for stage in context.not_collected:
        if stage not in plan.stages:
            raise UnknownNameError("stage", stage, plan.stages)
    try:
        ZoneInfo(context.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise AnalyticsError(
            f"unknown time zone {context.time_zone!r}: write an IANA name such as Europe/Helsinki"
        ) from None


def _key_figures(journeys: Journeys, currency: str) -> tuple[KeyFigure, ...]:
    people, known, buyers, repeat_buyers = journeys.rows(
        "SELECT COUNT(*), COUNT(CASE WHEN known_person THEN 1 END), COUNT(CASE WHEN orders > 0 THEN 1 END), "
        "COUNT(CASE WHEN orders > 1 THEN 1 END) FROM persons WHERE touchpoints > 0"
    )[0]
    sessions = journeys.rows("SELECT COUNT(*) FROM sessions")[0][0]
    orders = journeys.rows("SELECT COUNT(*) FROM orders")[0][0]
    summed, valued, revenue = journeys.rows(
        f"SELECT COUNT(*), COUNT(revenue), SUM(revenue) FROM orders WHERE {_in(currency)}"
    )[0]
    without = [f"{counted(summed - valued, 'order')} without a value"] if summed > valued else []
    without += [f"{counted(orders - summed, 'order')} in other currencies"] if orders > summed else []
    others = f"; {' and '.join(without)} left out" if without else ""
    figures = [
        KeyFigure("People", people, "", f"{_percent(known, people)} of them known by a user id"),
        KeyFigure("Sessions", sessions, "", f"{_ratio(sessions, people)} per person"),
    ]
    if orders:
        figures += [
            KeyFigure("Orders", orders, "", f"{_ratio(orders, buyers)} per buyer"),
            KeyFigure("Revenue", revenue, currency, f"{_ratio(revenue or 0.0, valued, 2)} per order{others}"),
            KeyFigure("Buyers", buyers, "", f"{_percent(buyers, people)} of all people"),
            KeyFigure("Repeat buyers", repeat_buyers, "", f"{_percent(repeat_buyers, buyers)} of buyers ordered again"),
        ]
    return tuple(figures)


def _stages(journeys: Journeys, people: int, collected: frozenset[str]) -> tuple[StageFigure, ...]:
    by_stage = {
        row[0]: (row[1], row[2])
        for row in journeys.rows(
            "SELECT stage, COUNT(*), COUNT(CASE WHEN is_present THEN 1 END) FROM stages GROUP BY stage"
        )
    }
    figures = []
    for stage in journeys.plan.stages:
        if stage not in collected:
            figures.append(StageFigure(stage, None, None, None))
            continue
        entered, present = by_stage.get(stage, (0, 0))
        figures.append(StageFigure(stage, entered, present, entered / people if people else None))
    return tuple(figures)


def _seen_events(journeys: Journeys) -> frozenset[str]:
    return frozenset(row[0] for row in journeys.rows("SELECT DISTINCT event_name FROM touchpoints"))


def _fitting_funnel(journeys: Journeys, seen: frozenset[str]) -> AnalysisResult | None:
    """The saved funnel the data says most about: the most of its steps seen, then the most steps, then the widest."""
    best: tuple[tuple[float, int, int], AnalysisResult] | None = None
    for funnel in journeys.plan.funnels.values():
        known = sum(step.event in seen for step in funnel.steps)
        if known < 2:
            continue
        result = run_funnel(journeys, funnel_question(journeys, [funnel.name]))
        rank = (known / len(funnel.steps), known, result.rows[0][2])
        if best is None or rank > best[0]:
            best = (rank, result)
    return None if best is None else best[1]


def _path_question(journeys: Journeys) -> PathsQuestion:
    """First steps of people through the stages; through everything where the plan places nothing."""
    staged = journeys.rows("SELECT COUNT(*) FROM stages")[0][0] > 0
    return PathsQuestion(scope=Scope(unit="person"), top=PATH_ITEMS, max_steps=PATH_STEPS, staged=staged)


def _touchpoint_stages(journeys: Journeys) -> dict[str, str]:
    """The stage each touchpoint mostly stands for."""
    rows = journeys.rows(
        "SELECT touchpoint, stage, COUNT(*) AS n FROM touchpoints WHERE stage IS NOT NULL "
        "GROUP BY touchpoint, stage ORDER BY n, stage"
    )
    return {row[0]: row[1] for row in rows}


def _currency(journeys: Journeys) -> str:
    """That of most orders; empty where they say none. Amounts in others are not added to it."""
    orders = journeys.rows("SELECT COALESCE(currency, ''), COUNT(*) FROM orders GROUP BY COALESCE(currency, '')")
    return usual_currency(dict(orders)) or ""


def _in(currency: str) -> str:
    """The condition that an order is in a currency."""
    return f"COALESCE(currency, '') = {sql_literal(currency)}"


def _orders_over_time(journeys: Journeys, zone: str, currency: str) -> Series | None:
    local = f"CAST(ordered_at AT TIME ZONE '{zone}' AS DATE)"
    first, last = journeys.rows(f"SELECT MIN({local}), MAX({local}) FROM orders")[0]
    if first is None:
        return None
    bucket = bucket_for((last - first).days + 1)
    rows = {
        start: (orders, revenue, others)
        for start, orders, revenue, others in journeys.rows(
            f"SELECT CAST(DATE_TRUNC('{bucket}', {local}) AS DATE) AS start, COUNT(*), "
            f"CASE WHEN COUNT(CASE WHEN {_in(currency)} THEN 1 END) = 0 THEN 0.0 "
            f"ELSE ROUND(SUM(CASE WHEN {_in(currency)} THEN revenue END), 2) END, "
            f"COUNT(CASE WHEN NOT {_in(currency)} THEN 1 END) FROM orders GROUP BY start"
        )
    }
    starts = list(_buckets(min(rows), max(rows), bucket))
    return Series(
        bucket=bucket,
        starts=tuple(starts),
        orders=tuple(rows.get(start, (0, 0.0, 0))[0] for start in starts),
        revenue=tuple(rows.get(start, (0, 0.0, 0))[1] for start in starts),
        currency=currency,
        in_other_currencies=sum(row[2] for row in rows.values()),
        partial=tuple(
            start < first or _next_bucket(start, bucket) > last + datetime.timedelta(days=1) for start in starts
        ),
    )


def _buckets(first: datetime.date, last: datetime.date, bucket: str) -> Sequence[datetime.date]:
    starts = [first]
    while starts[-1] < last:
        starts.append(_next_bucket(starts[-1], bucket))
    return starts


def _next_bucket(start: datetime.date, bucket: str) -> datetime.date:
    if bucket == "month":
        return (start.replace(day=1) + datetime.timedelta(days=32)).replace(day=1)
    return start + datetime.timedelta(days=7 if bucket == "week" else 1)


def _heat_maps(journeys: Journeys, zone: str) -> tuple[HeatMap, ...]:
    visits = _heat_map(journeys, zone, "visits", "started_at", f"sessions WHERE {_IS_VISIT}")
    orders = _heat_map(journeys, zone, "orders", "ordered_at", "orders")
    maps = [heat_map for heat_map in (visits, orders) if heat_map is not None]
    # Where most visits are orders (store receipts), the orders are what says when people come.
    if len(maps) == 2 and 3 * _total(maps[1]) > _total(maps[0]):
        maps.reverse()
    return tuple(maps)


def _heat_map(journeys: Journeys, zone: str, unit: str, column: str, source: str) -> HeatMap | None:
    local = f"({column} AT TIME ZONE '{zone}')"
    rows = journeys.rows(f"SELECT ISODOW({local}) - 1, HOUR({local}), COUNT(*) FROM {source} GROUP BY ALL")
    if not rows:
        return None
    counts = [[0] * 24 for _ in range(7)]
    for weekday, hour, count in rows:
        counts[weekday][hour] = count
    return HeatMap(unit, tuple(tuple(row) for row in counts))


def _total(heat_map: HeatMap) -> int:
    return sum(map(sum, heat_map.counts))


def _channels(journeys: Journeys, currency: str) -> tuple[ChannelFigure, ...]:
    rows = journeys.rows(
        "SELECT t.*, CASE WHEN o.name IS NULL THEN 0.0 ELSE o.revenue END FROM ("
        "SELECT COALESCE(channel, 'unknown') AS name, COUNT(DISTINCT person_key) AS people, COUNT(*), COUNT(order_id) "
        "FROM touchpoints GROUP BY name) AS t LEFT JOIN ("
        "SELECT COALESCE(channel, 'unknown') AS name, SUM(revenue) AS revenue FROM orders "
        f"WHERE {_in(currency)} GROUP BY name) AS o ON o.name = t.name ORDER BY t.people DESC, t.name"
    )
    return () if all(row[0] == "unknown" for row in rows) else tuple(ChannelFigure(*row) for row in rows)


def _marketing_channels(journeys: Journeys, currency: str) -> tuple[ChannelFigure, ...]:
    # By session: an order itself rarely says where the visit came from, its first page does.
    rows = journeys.rows(
        "SELECT COALESCE(marketing_channel, 'unknown') AS name, COUNT(DISTINCT person_key) AS people, "
        "CAST(SUM(events) AS BIGINT), CAST(SUM(orders) AS BIGINT), "
        "CASE WHEN COUNT(o.session_key) > 0 THEN SUM(o.earned) ELSE 0.0 END "
        f"FROM sessions AS s LEFT JOIN (SELECT session_key, SUM(revenue) AS earned FROM orders WHERE {_in(currency)} "
        "GROUP BY session_key) AS o ON o.session_key = s.session_key "
        f"WHERE {_IS_VISIT} GROUP BY name ORDER BY people DESC, name"
    )
    return () if all(row[0] == "unknown" for row in rows) else tuple(ChannelFigure(*row) for row in rows)


def flows(result: AnalysisResult) -> list[list[Any]]:
    """The edges of a path result that a diagram can show: no ends, and nothing too thin to see."""
    least = max(1.0, SMALLEST_FLOW_SHARE * result.coverage["paths"])
    return [row for row in result.rows if row[2] != LEFT and row[3] >= least]


def _percent(part: float, whole: float) -> str:
    return percent(part / whole if whole else None)


def _ratio(part: float, whole: float, digits: int = 1) -> str:
    return f"{part / whole:,.{digits}f}" if whole else "–"
