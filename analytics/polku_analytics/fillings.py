"""What the placeholders of the models stand for: with this plan, these columns of events, these rules of sessions.

Also what the models read at all: names of events, columns of `events` and of the reference tables.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final, cast

from polku_analytics.currencies import USUAL_FIRST_SQL
from polku_analytics.delta_types import duckdb_type_of_neutral, neutral_type, quoted
from polku_analytics.engines.dialect import Dialect
from polku_analytics.errors import BuildError
from polku_analytics.model_files import Filling
from polku_analytics.session_rules import DEFAULT_RULES, SessionRules
from polku_schemas import (
    ENVELOPE_COLUMNS,
    Plan,
    channel_sql,
    stage_sql,
    table_columns,
    touchpoint_sql,
    trait_columns,
    when_sql,
)
from polku_schemas.rules import sql_literal

ORDER_EVENTS: Final = ("order_completed", "store_order_completed")
"""The events that are orders."""

CART_ADDING_EVENTS: Final = ("product_added", "wishlist_product_added_to_cart")
"""The events that put something into a cart."""

CART_EVENTS: Final = (*CART_ADDING_EVENTS, "product_removed", "cart_viewed", "checkout_started")
"""The events of a cart, but for the order that ends it."""

COMMERCE_EVENTS: Final = (
    *ORDER_EVENTS,
    *("order_returned", "order_refunded", "order_cancelled", "order_shipped", "order_delivered"),
    *CART_EVENTS,
    *("checkout_step_viewed", "checkout_step_completed", "payment_info_entered"),
    *("products_searched", "search_results_viewed", "search_result_clicked"),
    *("subscription_started", "subscription_renewed"),
)
"""The events whose properties the models of commerce read."""

AD_EVENTS: Final = ("ad_viewed", "ad_clicked")
"""The events that earn something where others' advertisements are shown."""

PRODUCT_LOOKS: Final = ("product_viewed", "product_clicked", *CART_ADDING_EVENTS)
"""The events by which a search has led to a product."""

CONTENT_LOOKS: Final = ("article_read", "playback_started")
"""The events by which a search has led to something to read or watch."""

CART_IDLE_HOURS: Final = 24
"""A cart in which nothing has happened for so long is abandoned."""

REFERENCE_TABLES: Final[dict[str, dict[str, str]]] = {
    "products": {
        "product_id": "string",
        "name": "string",
        "category": "string",
        "brand": "string",
        "cost": "double",
        "currency": "string",
        "stock": "double",
    },
    "spend": {
        "date": "date",
        "marketing_channel": "string",
        "utm_campaign": "string",
        "amount": "double",
        "currency": "string",
    },
}
"""The reference tables that models read, with the columns they ask for (neutral types): nulls until they are loaded."""

SENT_EVENTS: Final = ("email_sent", "campaign_received", "ad_viewed")
OPENED_EVENTS: Final = ("email_opened",)
CLICKED_EVENTS: Final = ("email_clicked", "ad_clicked")
"""The events by which a campaign reaches a person, is looked at, and is followed."""

PERFORMANCE_EVENTS: Final = ("page_performance_measured",)
"""The events that say how fast a page was."""

ORDER_COLUMNS: Final = {"order_id": "string", "revenue": "double", "currency": "string"}
"""What the models read of an order; a plan without them gives nulls."""

EVENT_ROW: Final = "_event_row"
"""A column of `events` that is a number of the row's own while a build runs. No property begins with an underscore."""

CONTACT_EVENTS: Final = ("agent_contacted",)
"""The events that are contacts with an employee or a chatbot."""

REPEAT_CONTACT_DAYS: Final = 7
"""A contact at most so long after one for the same reason is a repeat: the week that contact centres look at."""

ANSWER_EVENTS: Final = ("survey_answered", "review_submitted", "content_rated")
"""The events in which somebody says how good something was."""

NOT_EXPERIENCED_EVENTS: Final = (
    *ANSWER_EVENTS,
    "feedback_requested",
    "email_sent",
    "email_opened",
    "email_clicked",
    "page_viewed",
    "screen_viewed",
    "page_performance_measured",
    "logged_in",
    "logged_out",
)
"""What may stand between an experience and the answer about it without being one."""

TOLD_EVENTS: Final = (
    *CONTACT_EVENTS,
    "complaint_opened",
    "complaint_solved",
    *ANSWER_EVENTS,
    "product_viewed",
    *CART_ADDING_EVENTS,
)
"""The events that contacts, complaints, satisfaction and preferences are made of."""

PEOPLE_COLUMNS: Final = {
    "contact_medium": "string",
    "agent_id": "string",
    "agent_role": "string",
    "contact_reason": "string",
    "reason": "string",
    "duration_seconds": "double",
    "wait_seconds": "double",
    "resolved": "boolean",
    "store_id": "string",
    "complaint_id": "string",
    "complaint_topic": "string",
    "resolution": "string",
    "value": "double",
    "survey_id": "string",
    "scale": "string",
    "score": "double",
    "rating": "double",
    "about": "string",
    "about_id": "string",
    "product_id": "string",
    "content_id": "string",
    "category": "string",
    "price": "double",
    "quantity": "double",
}
"""What the models read of contacts, complaints, answers and products; a plan without them gives nulls."""

_CARRIED: Final = frozenset({"page_path", "channel", "marketing_channel", *ORDER_COLUMNS})

_RENAMED: Final = {"revenue": "order_revenue", "currency": "order_currency"}
"""What `ordered_events` calls otherwise than `events`."""


def fillings(
    plan: Plan,
    event_columns: Mapping[str, str],
    sessions: SessionRules = DEFAULT_RULES,
    held: Collection[str] | None = None,
) -> dict[str, Filling]:
    """What the placeholders stand for with this plan; `event_columns` are those that `events` has.

    `held`: those of them in which anything is, if that is known. The others are not carried through joins.
    """
    told = {name: kind for name, kind in event_columns.items() if held is None or name in held}
    traits = [name for name in trait_columns(plan) if name in event_columns]
    stages = " ".join(f"WHEN {sql_literal(stage)} THEN {n}" for n, stage in enumerate(plan.stages, start=1))
    lines = struct_members(event_columns.get("products", ""))
    named_stages = " ".join(f"WHEN {n} THEN {sql_literal(stage)}" for n, stage in enumerate(plan.stages, start=1))
    return {
        "stage": stage_sql(plan),
        "touchpoint": touchpoint_sql(plan),
        "channel": channel_sql(plan),
        "stage_number": f"CASE stage {stages} END",
        "stage_name": lambda number: f"CASE {number} {named_stages} END",
        "order_events": " and ".join(ORDER_EVENTS),
        "order_event_names": _listed(ORDER_EVENTS),
        "cart_event_names": _listed(CART_EVENTS),
        "cart_adding_event_names": _listed(CART_ADDING_EVENTS),
        "commerce_event_names": _listed(COMMERCE_EVENTS),
        "ad_event_names": _listed(AD_EVENTS),
        "product_look_names": _listed(PRODUCT_LOOKS),
        "content_look_names": _listed(CONTENT_LOOKS),
        "cart_idle_hours": str(CART_IDLE_HOURS),
        "session_rule": sessions.words,
        "session_begins": session_begins(sessions),
        "client_session_id": "e.session_id" if sessions.client_ids else "CAST(NULL AS VARCHAR)",
        "campaign_of_session": ", e.utm_campaign" if sessions.new_on_campaign else "",
        "previous_campaign": _PREVIOUS_CAMPAIGN if sessions.new_on_campaign else "",
        "event_row": lambda event: f"{event}.{EVENT_ROW}",
        "same_event": lambda one, other: f"{one}.{EVENT_ROW} = {other}.{EVENT_ROW}",
        "items": _items_sql(plan),
        "goals": _goals_sql(plan),
        "goal_events": _goal_events_sql(plan),
        "rule_columns": _after_comma(f"e.{quoted(name)}" for name in rule_columns(plan)),
        "trait_columns": _after_comma(f"l.{quoted(name)}" for name in traits),
        "latest_traits": _after_comma(f"{_latest(quoted(name))} AS {quoted(name)}" for name in traits),
        "person_traits": _after_comma(f"p.{quoted(name)}" for name in traits),
        "contact_events": " and ".join(CONTACT_EVENTS),
        "contact_event_names": ", ".join(sql_literal(name) for name in CONTACT_EVENTS),
        "repeat_contact_days": str(REPEAT_CONTACT_DAYS),
        "answer_event_names": ", ".join(sql_literal(name) for name in ANSWER_EVENTS),
        "not_experienced_event_names": ", ".join(sql_literal(name) for name in NOT_EXPERIENCED_EVENTS),
        "told_event_names": ", ".join(sql_literal(name) for name in TOLD_EVENTS),
        "read": lambda name, kind: _read_as(name, kind, told),
        "day_of": lambda column: f"CAST({column} AS DATE)",
        "seconds_between": _seconds_between,
        "property": lambda name, kind: _cast(f"e.{quoted(name)}", told.get(name), kind),
        "sent_event_names": _listed(SENT_EVENTS),
        "opened_event_names": _listed(OPENED_EVENTS),
        "clicked_event_names": _listed(CLICKED_EVENTS),
        "performance_event_names": _listed(PERFORMANCE_EVENTS),
        "microseconds_between": _microseconds_between,
        "products": "e.products" if lines else "NULL",
        "no_products": "COALESCE(LEN(products), 0) = 0" if lines else "TRUE",
        "line": lambda name, kind: _cast(f"line.{quoted(name)}", lines.get(name), kind),
        "each_product": lambda table, columns: _each_product(table, columns, known=bool(lines)),
        "sorted_list": lambda column: f"LIST({column} ORDER BY {column})",
        "in_order": "(event_time, event_id, source)",
        "id_or_own": _id_or_own,
        "usual_currency_first": USUAL_FIRST_SQL,
    }


def expected_event_columns(plan: Plan) -> dict[str, str]:
    """The columns (name → DuckDB type) that the models may read of `events`, there or not."""
    neutral = {**PEOPLE_COLUMNS, **ORDER_COLUMNS, **table_columns(plan), **ENVELOPE_COLUMNS}
    return {name: duckdb_type_of_neutral(kind) for name, kind in neutral.items()}


def rule_columns(plan: Plan) -> list[str]:
    """The property columns that the plan's goals and its stage and touchpoint rules ask about, sorted."""
    asked = {
        comparison.name
        for event in plan.events.values()
        for rule in (*event.stage, *event.touchpoint)
        for comparison in rule.when
    }
    for goal in plan.goals.values():
        asked |= {comparison.name for comparison in goal.when} | ({goal.value} if goal.value else set())
    return sorted(asked & set(table_columns(plan)) - _CARRIED)


def _goals_sql(plan: Plan) -> str:
    """One row a goal."""
    rows = [f"SELECT {sql_literal(goal)} AS goal" for goal in sorted(plan.goals)]
    return "\n  UNION ALL ".join(rows) or "SELECT CAST(NULL AS VARCHAR) AS goal WHERE FALSE"


def _goal_events_sql(plan: Plan) -> str:
    """One row for each event that reaches a goal; a second report of an order does not."""
    columns = "e.person_key, e.touchpoint_number, e.event_time, e.event_id"
    rows = []
    for goal in plan.goals.values():
        names = ", ".join(sql_literal(event) for event in goal.events)
        value = f"CAST(e.{quoted(_RENAMED.get(goal.value, goal.value))} AS DOUBLE)" if goal.value else "NULL"
        terms = [f"e.event_name IN ({names})"]
        if set(goal.events) & set(ORDER_EVENTS):
            orders = ", ".join(sql_literal(event) for event in ORDER_EVENTS)
            terms.append(
                f"(e.event_name NOT IN ({orders}) OR (e.source, e.event_id) IN (SELECT source, event_id FROM orders))"
            )
        if goal.when:
            terms.append(f"({when_sql(goal.when, 'e', _RENAMED)})")
        rows.append(
            f"SELECT {columns}, {sql_literal(goal.name)} AS goal, CAST({value} AS DOUBLE) AS goal_value "
            f"FROM ordered_events AS e WHERE {' AND '.join(terms)}"
        )
    nothing = (
        f"SELECT {columns}, CAST(NULL AS VARCHAR) AS goal, CAST(NULL AS DOUBLE) AS goal_value "
        "FROM ordered_events AS e WHERE FALSE"
    )
    return "\n  UNION ALL ".join(rows) or nothing


# What follows is DuckDB's way of saying what engines say differently; another engine brings its own.


_PREVIOUS_CAMPAIGN: Final = """,
    LAST_VALUE(CASE WHEN session_id IS NULL AND NOT is_call THEN utm_campaign END IGNORE NULLS) OVER before
      AS previous_campaign"""


def session_begins(rules: SessionRules, say: Dialect | None = None) -> str:
    """The condition that an event begins a session of its own, seen from the last event before it."""
    compared = ">=" if rules.new_at_gap else ">"
    terms = [f"event_time {compared} previous_unsessioned_time + INTERVAL '{rules.gap_seconds}' SECOND"]
    if rules.new_on_campaign:
        terms.append("(utm_campaign IS NOT NULL AND COALESCE(utm_campaign <> previous_campaign, TRUE))")
    if rules.midnight is not None:
        times = "event_time", "previous_unsessioned_time"
        terms.append(" <> ".join((say or Dialect()).local_day(time, rules.midnight) for time in times))
    return "(" + " OR ".join(terms) + ")"


def _seconds_between(start: str, end: str) -> str:
    return f"(EPOCH_US({end}) - EPOCH_US({start})) / 1000000.0"


def _cast(expression: str, kind: str | None, wanted: str) -> str:
    """A property in the type that a model needs; null where there is no such column, or what it holds does not fit."""
    of_type = duckdb_type_of_neutral(wanted)
    if kind is None or kind.endswith("]") or kind.startswith(("STRUCT", "MAP")):
        return f"CAST(NULL AS {of_type})"
    return expression if kind == of_type else f"TRY_CAST({expression} AS {of_type})"


def _id_or_own(told: str, source: str, event_id: str) -> str:
    """The id that is told; without one the event's own, which is told apart by its source."""
    return f"COALESCE({told}, COALESCE({source}, '') || ':' || {event_id})"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sql_literal(name) for name in names)


def _microseconds_between(start: str, end: str) -> str:
    return f"(EPOCH_US({end}) - EPOCH_US({start}))"


def struct_members(kind: str) -> dict[str, str]:
    """The members (name → type) of a list of structs as DuckDB names its type; none of any other type."""
    match = re.fullmatch(r"STRUCT\((.*)\)\[\]", kind, re.DOTALL)
    if match is None:
        return {}
    members: dict[str, str] = {}
    for text in _split_at_commas(match[1]):
        name, of_type = re.match(r'\s*("(?:[^"]|"")*"|\S+)\s+(.*)', text, re.DOTALL).groups()  # type: ignore[union-attr]
        members[name[1:-1].replace('""', '"') if name.startswith('"') else name] = of_type.strip()
    return members


def _split_at_commas(text: str) -> list[str]:
    """Split at the commas that stand in no bracket and no quotes."""
    parts, depth, in_quotes, start = [], 0, False, 0
    for at, mark in enumerate(text):
        if mark == '"':
            in_quotes = not in_quotes
        elif not in_quotes and mark in "()":
            depth += 1 if mark == "(" else -1
        elif mark == "," and depth == 0 and not in_quotes:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


def _each_product(table: str, columns: str, *, known: bool) -> str:
    """The rows of a table, one for each of its products: `line`, and `line_number` from 1."""
    if not known:
        return f"(SELECT {columns}, NULL AS line, CAST(NULL AS BIGINT) AS line_number FROM {table} WHERE FALSE)"
    return (
        f"(SELECT {columns}, UNNEST(products) AS line, GENERATE_SUBSCRIPTS(products, 1) AS line_number FROM {table} "
        "WHERE LEN(products) > 0)"
    )


def _read_as(name: str, kind: str, event_columns: Mapping[str, str]) -> str:
    """A property as the type a model wants. A plan may give the name another meaning: then there is nothing to read."""
    try:
        held = neutral_type(event_columns.get(name, ""), name)
    except BuildError:  # a structure, or no such column
        held = ""
    fits = {"string": ("string", "long", "double", "boolean"), "double": ("double", "long"), "boolean": ("boolean",)}
    wanted = duckdb_type_of_neutral(kind)
    if held not in fits[kind]:
        return f"CAST(NULL AS {wanted})"
    return quoted(name) if held == kind else f"CAST({quoted(name)} AS {wanted})"


def _latest(column: str) -> str:
    return f"MAX_BY({column}, (event_time, event_id, source)) FILTER (WHERE {column} IS NOT NULL)"


def _items_sql(plan: Plan) -> str:
    """How many things an order event is about: the quantities of its products, one where a line says none."""
    products = plan.properties.get("products")
    if products is None or products.items is None or "quantity" not in products.items.fields:
        return "CAST(NULL AS DOUBLE)"
    return "LIST_SUM(LIST_TRANSFORM(products, lambda line: COALESCE(line.quantity, 1)))"


def _after_comma(columns: object) -> str:
    return "".join(f",\n  {column}" for column in cast("list[str]", columns))
