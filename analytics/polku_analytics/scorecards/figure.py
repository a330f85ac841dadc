"""What a figure of a scorecard is, and how one asks a part for numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from polku_analytics.analyses.scope import Part
from polku_analytics.currencies import usual_currency
from polku_analytics.journeys import PUSHED_CHANNELS, Journeys
from polku_schemas import stage_values
from polku_schemas.rules import sql_literal


class Value(Struct, frozen=True):
    """A number and, where it has one, what it is of: a currency, a product group."""

    number: float | int | None
    of: str | None = None


class Figure(Struct, frozen=True, kw_only=True):
    """One figure of a scorecard."""

    name: str
    formula: str
    definition: str
    """What the words of the formula mean."""
    decision: str
    """What one does with it."""
    find: Callable[[Part], Value]
    table: str = "touchpoints"
    """The table it cannot do without, and of that the columns."""
    columns: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    """At least one of these has to occur in the data: what nobody collects is not 0."""
    counted: tuple[str, ...] = ()
    """And at least one of these, where a figure is a share of the others: nobody sees who opens what was only sent."""
    stage: str | None = None
    """And one that leads to this stage."""
    target: tuple[str, str] | None = None
    """The measure and the goal or funnel whose target of the plan is the figure's."""
    smaller_is_better: bool = False


def missing(journeys: Journeys, figure: Figure) -> str | None:
    """Why a figure cannot be computed from this lake; None where it can."""
    held = journeys.columns_of(figure.table)
    if not held and journeys.with_loaded(figure.table):
        held = journeys.columns_of(figure.table)
    if not held:
        return f"the lake has no table {figure.table}"
    lacking = [name for name in figure.columns if name not in held]
    if lacking:
        return f"{figure.table} has no column {', '.join(lacking)}"
    needed = [figure.events, figure.counted]
    if figure.stage is not None:
        events = journeys.plan.events.values()
        needed.append(tuple(event.name for event in events if figure.stage in stage_values(event)))
        if not needed[-1]:
            return f"the plan has no event of the stage {figure.stage}"
    for some in filter(None, needed):
        names = ", ".join(sql_literal(name) for name in some)
        if not journeys.rows(f"SELECT 1 FROM touchpoints WHERE event_name IN ({names}) LIMIT 1"):
            return f"not collected: no event {' or '.join(some)} was ever seen"
    return None


def first_row(part: Part, sql: str) -> tuple[Any, ...]:
    """The one row of a query."""
    return part.journeys.rows(sql)[0]


def ratio(above: float | int | None, below: float | int | None) -> Value:
    """A quotient; no number where there is nothing to divide by."""
    return Value(round(float(above or 0) / float(below), 6) if below else None)


def visits_sql(part: Part) -> str:
    """The sessions of the part that are visits: they began where people come to us."""
    pushed = ", ".join(sql_literal(channel) for channel in PUSHED_CHANNELS)
    rows = part.rows("sessions", "started_at")
    return f"(SELECT v.* FROM {rows} AS v WHERE v.channel IS NULL OR v.channel NOT IN ({pushed}))"


def events_in(part: Part, *names: str) -> int:
    """How many touchpoints of the part are one of these events."""
    listed = ", ".join(sql_literal(name) for name in names)
    return int(first_row(part, f"SELECT COUNT(*) FROM {part.rows()} AS t WHERE t.event_name IN ({listed})")[0])


def orders_in(part: Part) -> int:
    """How many orders the part has."""
    return int(first_row(part, f"SELECT COUNT(*) FROM {part.rows('orders', 'ordered_at')} AS o")[0])


def money_column(part: Part) -> str:
    """Revenue net of returns, where the build knows it."""
    return "net_revenue" if "net_revenue" in part.journeys.columns_of("orders") else "revenue"


def valued_term(part: Part) -> str:
    """1 for an order `o` whose value is known: what is not known is not 0."""
    return f"CASE WHEN o.{money_column(part)} IS NOT NULL THEN 1 ELSE 0 END"


def orders_without_value(part: Part) -> int:
    """How many orders of the part, in whatever currency, do not say what they are worth."""
    orders = f"{part.rows('orders', 'ordered_at')} AS o"
    return int(first_row(part, f"SELECT COUNT(*) FROM {orders} WHERE o.{money_column(part)} IS NULL")[0])


def main_currency(part: Part) -> str:
    """The currency of most of the orders in the period, of whomever; empty where orders say none.

    The period before is in that of the one it is compared with, so that a change is not one of currencies.
    """
    for period in dict.fromkeys([part.asked or part.period, part.period]):
        whole = Part(journeys=part.journeys, unit="person", period=period)
        rows = part.journeys.rows(
            "SELECT COALESCE(o.currency, '') AS currency, COUNT(*) AS orders "
            f"FROM {whole.rows('orders', 'ordered_at')} AS o GROUP BY COALESCE(o.currency, '')"
        )
        if rows:
            return usual_currency(dict(rows)) or ""
    return ""


def money(part: Part, terms: Sequence[str]) -> tuple[list[float], str]:
    """Sums over the orders `o` in the main currency, and that currency."""
    currency = main_currency(part)
    sums = ", ".join(f"SUM({term})" for term in terms)
    row = first_row(
        part,
        f"SELECT {sums} FROM {part.rows('orders', 'ordered_at')} AS o "
        f"WHERE COALESCE(o.currency, '') = {sql_literal(currency)}",
    )
    return [round(float(value or 0), 6) for value in row], currency
