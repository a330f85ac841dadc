"""The models as files: what the header of each says, in which order they run, and what their placeholders stand for.

A model is one SELECT in `models/<table>.sql`. Its header comment gives grain, keys, inputs, order, how it is brought up
to date, and definition. What
depends on the plan or on the engine stands as `{{ name }}` or `{{ name argument | argument }}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final, Literal, cast

from msgspec import Struct

from polku_analytics.delta_types import duckdb_type_of_neutral, neutral_type, quoted
from polku_analytics.errors import BuildError, UnknownNameError
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

MODELS_FOLDER: Final = Path(__file__).parent / "models"

ORDER_EVENTS: Final = ("order_completed", "store_order_completed")
"""The events that are orders."""

ORDER_COLUMNS: Final = {"order_id": "string", "revenue": "double", "currency": "string"}
"""What the models read of an order; a plan without them gives nulls."""

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
    "product_added",
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

_HEADER: Final = re.compile(r"^-- (Grain|Keys|Inputs|Order|Stored|Increment|Definition): *(.*)$")
_PLACEHOLDER: Final = re.compile(r"\{\{ *([a-z_]+)((?: [^{}|]+(?:\| *[^{}|]+)*)?) *\}\}")

Filling = str | Callable[..., str]
"""What a placeholder stands for: a text, or a function of its arguments."""


class Model(Struct, frozen=True, kw_only=True):
    """One model as its file has it."""

    name: str
    grain: str
    keys: str
    inputs: tuple[str, ...]
    order: str
    stored: Literal["yes", "no", "view"]
    """In the lake; only while the build runs; or not even then."""
    increment: Literal["person", "sum", "whole"]
    """How an incremental build brings it up to date.

    `person`: every row has a `person_key` and rests on rows of that person alone (across people only by `order_id`),
    so that the rows of the people with new events are computed again; `sum`: all but the keys are whole numbers that
    add up over people, the first one never 0; `whole`: computed again from tables that stay in the lake.
    """
    definition: str
    sql: str


def read_models(folder: Path = MODELS_FOLDER) -> dict[str, Model]:
    """All models of a folder, by name."""
    return {path.stem: _read(path.stem, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.sql"))}


def chosen(models: Mapping[str, Model], names: Sequence[str]) -> dict[str, Model]:
    """The named models and those they rest on; without names all. UnknownNameError for a table that is not one."""
    if not names:
        return dict(models)
    tables = {name for name, model in models.items() if model.stored == "yes"}
    wanted = list(names)
    found: dict[str, Model] = {}
    for name in wanted:
        if name not in tables:
            raise UnknownNameError("table", name, tables)
    while wanted:
        name = wanted.pop()
        if name in models and name not in found:
            found[name] = models[name]
            wanted.extend(models[name].inputs)
    return found


def run_order(models: Mapping[str, Model]) -> list[Model]:
    """The models, each after its inputs, by name where there is a choice. BuildError on a circle."""
    graph = {name: {i for i in model.inputs if i in models} for name, model in sorted(models.items())}
    try:
        return [models[name] for name in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        raise BuildError(f"the models need each other in a circle: {' → '.join(error.args[1])}") from None


def fill(sql: str, fillings: Mapping[str, Filling]) -> str:
    """The SQL with every placeholder replaced. BuildError for one that stands for nothing."""

    def replace(match: re.Match[str]) -> str:
        filling = fillings.get(match[1])
        if filling is None:
            raise BuildError(f"a model uses {{{{ {match[1]} }}}}, which stands for nothing")
        if isinstance(filling, str):
            return filling
        return filling(*(part.strip() for part in match[2].split("|")))

    return _PLACEHOLDER.sub(replace, sql)


def fillings(
    plan: Plan, event_columns: Mapping[str, str], sessions: SessionRules = DEFAULT_RULES
) -> dict[str, Filling]:
    """What the placeholders stand for with this plan; `event_columns` are those that `events` has."""
    traits = [name for name in trait_columns(plan) if name in event_columns]
    stages = " ".join(f"WHEN {sql_literal(stage)} THEN {n}" for n, stage in enumerate(plan.stages, start=1))
    named_stages = " ".join(f"WHEN {n} THEN {sql_literal(stage)}" for n, stage in enumerate(plan.stages, start=1))
    return {
        "stage": stage_sql(plan),
        "touchpoint": touchpoint_sql(plan),
        "channel": channel_sql(plan),
        "stage_number": f"CASE stage {stages} END",
        "stage_name": lambda number: f"CASE {number} {named_stages} END",
        "order_events": " and ".join(ORDER_EVENTS),
        "order_event_names": ", ".join(sql_literal(name) for name in ORDER_EVENTS),
        "session_rule": sessions.words,
        "session_begins": _session_begins(sessions),
        "client_session_id": "session_id" if sessions.client_ids else "CAST(NULL AS VARCHAR)",
        "previous_campaign": _PREVIOUS_CAMPAIGN if sessions.new_on_campaign else "",
        "items": _items_sql(plan),
        "goals": _goals_sql(plan),
        "goal_events": _goal_events_sql(plan),
        "rule_columns": _after_comma(quoted(name) for name in rule_columns(plan)),
        "trait_columns": _after_comma(f"l.{quoted(name)}" for name in traits),
        "latest_traits": _after_comma(f"{_latest(quoted(name))} AS {quoted(name)}" for name in traits),
        "person_traits": _after_comma(f"p.{quoted(name)}" for name in traits),
        "contact_events": " and ".join(CONTACT_EVENTS),
        "contact_event_names": ", ".join(sql_literal(name) for name in CONTACT_EVENTS),
        "repeat_contact_days": str(REPEAT_CONTACT_DAYS),
        "answer_event_names": ", ".join(sql_literal(name) for name in ANSWER_EVENTS),
        "not_experienced_event_names": ", ".join(sql_literal(name) for name in NOT_EXPERIENCED_EVENTS),
        "told_event_names": ", ".join(sql_literal(name) for name in TOLD_EVENTS),
        "read": lambda name, kind: _read_as(name, kind, event_columns),
        "day_of": lambda column: f"CAST({column} AS DATE)",
        "seconds_between": _seconds_between,
        "microseconds_between": _microseconds_between,
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


def _read(name: str, sql: str) -> Model:
    fields: dict[str, str] = {}
    current = ""
    for line in sql.splitlines():
        if not line.startswith("--"):
            break
        match = _HEADER.match(line)
        if match:
            current = match[1].lower()
            fields[current] = match[2]
        elif current:
            fields[current] += " " + line.removeprefix("--").strip()
    missing = {"grain", "keys", "inputs", "definition"} - fields.keys()
    if missing:
        raise BuildError(f"the header of models/{name}.sql lacks {', '.join(sorted(missing))}")
    return Model(
        name=name,
        grain=fields["grain"],
        keys=fields["keys"],
        inputs=tuple(part.strip() for part in fields["inputs"].split(",")),
        order=fields.get("order", ""),
        stored=cast("Literal['yes', 'no', 'view']", fields.get("stored", "yes")),
        increment=cast("Literal['person', 'sum', 'whole']", fields.get("increment", "person")),
        definition=fields["definition"],
        sql=sql,
    )


# What follows is DuckDB's way of saying what engines say differently; another engine brings its own.


_PREVIOUS_CAMPAIGN: Final = """,
    LAST_VALUE(CASE WHEN session_id IS NULL AND NOT is_group_call THEN utm_campaign END IGNORE NULLS) OVER before
      AS previous_campaign"""


def _session_begins(rules: SessionRules) -> str:
    """The condition that an event begins a session of its own, seen from the last event before it."""
    compared = ">=" if rules.new_at_gap else ">"
    terms = [f"event_time {compared} previous_unsessioned_time + INTERVAL '{rules.gap_seconds}' SECOND"]
    if rules.new_on_campaign:
        terms.append("(utm_campaign IS NOT NULL AND COALESCE(utm_campaign <> previous_campaign, TRUE))")
    if rules.midnight is not None:
        here = sql_literal(rules.midnight)
        days = [f"CAST(TIMEZONE({here}, {at}) AS DATE)" for at in ("event_time", "previous_unsessioned_time")]
        terms.append(" <> ".join(days))
    return "(" + " OR ".join(terms) + ")"


def _seconds_between(start: str, end: str) -> str:
    return f"(EPOCH_US({end}) - EPOCH_US({start})) / 1000000.0"


def _microseconds_between(start: str, end: str) -> str:
    return f"(EPOCH_US({end}) - EPOCH_US({start}))"


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
    return f"MAX_BY({column}, (event_time, event_id)) FILTER (WHERE {column} IS NOT NULL)"


def _items_sql(plan: Plan) -> str:
    """How many things an order event is about: the quantities of its products, one where a line says none."""
    products = plan.properties.get("products")
    if products is None or products.items is None or "quantity" not in products.items.fields:
        return "CAST(NULL AS DOUBLE)"
    return "LIST_SUM(LIST_TRANSFORM(products, lambda line: COALESCE(line.quantity, 1)))"


def _after_comma(columns: object) -> str:
    return "".join(f",\n  {column}" for column in cast("list[str]", columns))
