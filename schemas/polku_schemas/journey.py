"""The business's journey map as SQL: which stage, touchpoint and channel a row of `events` belongs to.

The expressions read `event_name`, the flat property columns, a few envelope columns and the boolean history
columns `first_order`, `repeat_order`, `known_person` that the models put beside the events. They use nothing
but CASE, IN, LIKE and comparisons, which every engine reads alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from polku_schemas.model import Event, Plan, Rule, Segment
from polku_schemas.rules import sql_literal, when_sql


def stage_sql(plan: Plan, alias: str = "") -> str:
    """The stage of each row, or NULL where the event places nobody in one.

    `alias` is the table's, without the dot.
    """
    return _case(plan, alias, lambda event: event.stage)


def touchpoint_sql(plan: Plan, alias: str = "") -> str:
    """The touchpoint of each row, or NULL for what is not in the plan."""
    return _case(plan, alias, lambda event: event.touchpoint)


def channel_sql(plan: Plan, alias: str = "") -> str:
    """The channel the plan gives each row, or the row's own channel (that of its source) where it gives
    none."""
    own = _column("channel", alias)
    return f"COALESCE({_case(plan, alias, lambda event: event.channel)}, {own})"


def segment_sql(segment: Segment, alias: str = "") -> str:
    """The condition that holds for the persons of a segment, over `trait_` columns and the person facts."""
    return when_sql(segment.when, alias)


def stage_values(event: Event) -> tuple[str, ...]:
    """The stages an event can place somebody in, in the order of its rules."""
    return tuple(dict.fromkeys(rule.then for rule in event.stage))


def _case(plan: Plan, alias: str, rules_of: Callable[[Event], Sequence[Rule]]) -> str:
    """One CASE over the event name: constants grouped into one branch per value, then a branch per event with
    rules."""
    name = _column("event_name", alias)
    constants: dict[str, list[str]] = {}
    branches = []
    for event in plan.events.values():
        rules = rules_of(event)
        if not rules:
            continue
        if not rules[0].when:
            constants.setdefault(rules[0].then, []).append(sql_literal(event.name))
        else:
            branches.append(f"WHEN {name} = {sql_literal(event.name)} THEN {_rules(rules, alias)}")
    grouped = [f"WHEN {name} IN ({', '.join(names)}) THEN {sql_literal(value)}" for value, names in constants.items()]
    if not grouped and not branches:
        return "CAST(NULL AS VARCHAR)"
    lines = "\n  ".join(grouped + branches)
    return f"CASE\n  {lines}\n  ELSE NULL\nEND"


def _rules(rules: Sequence[Rule], alias: str) -> str:
    parts = []
    otherwise = "NULL"
    for rule in rules:
        if not rule.when:
            otherwise = sql_literal(rule.then)
            break
        parts.append(f"WHEN {when_sql(rule.when, alias)} THEN {sql_literal(rule.then)}")
    return f"CASE {' '.join(parts)} ELSE {otherwise} END"


def _column(name: str, alias: str) -> str:
    return f"{alias}.{name}" if alias else name
