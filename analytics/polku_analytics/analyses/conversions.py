"""Conversions: reading what shall have happened (orders, a goal of the plan, a step), as rows with a value.

Orders count once however often they were reported; their value is net of returns where `orders` has `net_revenue`.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from polku_analytics.analyses.scope import Part
from polku_analytics.analyses.steps import Vocabulary, parse_step, step_sql, vocabulary
from polku_analytics.delta_types import quoted
from polku_analytics.errors import UnknownNameError
from polku_analytics.fillings import ORDER_EVENTS
from polku_analytics.journeys import Journeys
from polku_schemas import Goal, when_sql
from polku_schemas.rules import sql_literal

ORDERS: Final = "orders"
"""What counts where nothing else is asked for."""

_ORDER_VALUES: Final = ("net_revenue", "revenue")
"""Columns of `orders` that say what an order is worth, the better one first."""


class Conversion(Struct, frozen=True, kw_only=True):
    """What counts as a conversion, known to make sense."""

    label: str
    sql: str
    """The condition on a row of `touchpoints AS t`."""
    value: str | None
    """What it is worth: a column of `orders`, or a property; None if it is worth nothing that is known."""
    of_orders: bool
    """Whether the value stands in `orders`."""


def parse_conversion(journeys: Journeys, text: str = ORDERS) -> Conversion:
    """`orders`, a goal of the plan, or a step. UnknownNameError lists near matches."""
    if text == ORDERS:
        return Conversion(label=ORDERS, sql="t.order_id IS NOT NULL", value=_order_value(journeys), of_orders=True)
    goal = journeys.plan.goals.get(text)
    if goal is not None:
        return _of_goal(journeys, goal)
    known = vocabulary(journeys)
    if not _looks_like_a_step(text, known):
        raise UnknownNameError("goal or event", text, {ORDERS, *journeys.plan.goals, *known.event_names}, known.aliases)
    step = parse_step(text, known)
    if step.when:
        journeys.with_events()
    return Conversion(label=step.label, sql=step_sql(step, "t"), value=None, of_orders=False)


def conversions_sql(conversion: Conversion, part: Part) -> str:
    """The conversions of a part, as something to put after FROM: its touchpoints with `value` and `currency`."""
    if conversion.value is None:
        value, currency, joined = "CAST(NULL AS DOUBLE)", "CAST(NULL AS VARCHAR)", ""
    elif conversion.of_orders:
        value, currency = f"o.{quoted(conversion.value)}", "o.currency"
        joined = "LEFT JOIN orders AS o ON o.source = t.source AND o.event_id = t.event_id"
    else:
        known = "currency" in part.journeys.plan.properties
        value = f"o.{quoted(conversion.value)}"
        currency = f"CASE WHEN {value} IS NOT NULL THEN {'o.currency' if known else 'CAST(NULL AS VARCHAR)'} END"
        joined = "LEFT JOIN events AS o ON o.source = t.source AND o.event_id = t.event_id"
    return (
        f"(SELECT t.*, CAST({value} AS DOUBLE) AS value, {currency} AS currency "
        f"FROM {part.rows()} AS t {joined} WHERE {conversion.sql})"
    )


def _of_goal(journeys: Journeys, goal: Goal) -> Conversion:
    if goal.when:
        journeys.with_events()
    of_orders = set(goal.events) <= set(ORDER_EVENTS)
    value = goal.value
    if value is not None and not (of_orders and value == "revenue"):
        journeys.with_events()
        of_orders = False
    elif of_orders:
        value = _order_value(journeys) if value is not None else None
    return Conversion(label=goal.name, sql=goal_sql(goal), value=value, of_orders=of_orders)


def goal_sql(goal: Goal) -> str:
    """The condition that a row of `touchpoints AS t` reaches the goal; `events` has to be open if the goal has one."""
    names = ", ".join(sql_literal(name) for name in goal.events)
    terms = [f"t.event_name IN ({names})"]
    if set(goal.events) & set(ORDER_EVENTS):
        orders = ", ".join(sql_literal(name) for name in ORDER_EVENTS)
        # A second report of an order reaches nothing.
        terms.append(f"(t.event_name NOT IN ({orders}) OR t.order_id IS NOT NULL)")
    if goal.when:
        terms.append(
            f"(t.source, t.event_id) IN (SELECT source, event_id FROM events "
            f"WHERE event_name IN ({names}) AND {when_sql(goal.when)})"
        )
    return " AND ".join(terms)


def _order_value(journeys: Journeys) -> str:
    held = journeys.columns_of("orders")
    return next(name for name in _ORDER_VALUES if name in held)


def _looks_like_a_step(text: str, known: Vocabulary) -> bool:
    return known.event(text) is not None or ":" in text or "[" in text
