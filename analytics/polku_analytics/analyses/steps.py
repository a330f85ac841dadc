"""Steps of a question: reading what a person wrote, checking it against plan and data, and saying it in SQL.

A step is an event (`product_viewed`, or an alias of it), an event with a condition (`product_viewed[price > 100]`), a
touchpoint (`touchpoint:cart`) or a stage (`stage:purchase`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_schemas import ENVELOPE_COLUMNS, Comparison, Funnel, Plan, Property, when_sql
from polku_schemas.rules import Kind, RuleError, parse_when, sql_literal

StepKind = Literal["event_name", "touchpoint", "stage"]
"""The column of `touchpoints` a step looks at."""

_PREFIXES: Final[dict[str, StepKind]] = {"event": "event_name", "touchpoint": "touchpoint", "stage": "stage"}
_STEP: Final = re.compile(r"(?:(?P<prefix>[a-z]+):)?(?P<name>[^\[\]]+?)\s*(?:\[(?P<when>.*)\])?", re.DOTALL)
_QUOTED: Final = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")""")
"""A text in quotes: what looks like a comparison in it is none."""
_BARE_VALUE: Final = re.compile(r"(?P<name>[A-Za-z_]\w*)\s*(?P<op>!=|=|like)\s*(?P<value>[A-Za-z_][\w./-]*)")


class Step(Struct, frozen=True):
    """One step that is known to make sense."""

    label: str
    """As it is shown: what the person wrote, with an alias replaced by the event's name."""
    column: StepKind
    value: str
    when: tuple[Comparison, ...] = ()
    optional: bool = False


class Vocabulary(Struct, frozen=True, kw_only=True):
    """The names a question may use: those of the plan and those seen in the data."""

    event_names: frozenset[str]
    aliases: Mapping[str, str]
    touchpoints: frozenset[str]
    stages: frozenset[str]
    kinds: Mapping[str, Kind]
    """What a condition may ask about, and what it holds."""

    def event(self, name: str) -> str | None:
        """The event's own name, or None if nobody has heard of it."""
        return name if name in self.event_names else self.aliases.get(name)


def vocabulary(journeys: Journeys) -> Vocabulary:
    """All names of the plan and of the built tables."""
    plan = journeys.plan
    planned = {rule.then for event in plan.events.values() for rule in event.touchpoint}
    return Vocabulary(
        event_names=frozenset(plan.events) | {name for name in journeys.unplaced if name},
        aliases={alias: event.name for event in plan.events.values() for alias in event.aliases},
        touchpoints=frozenset(planned | set(touchpoint_names(journeys))),
        stages=frozenset(plan.stages),
        kinds=_kinds(plan),
    )


def touchpoint_names(journeys: Journeys) -> list[str]:
    """The touchpoints that anybody had, sorted."""
    sql = "SELECT DISTINCT touchpoint FROM touchpoints"
    if "transitions" in journeys.tables:  # a few rows, in which every touchpoint comes after another or after nothing
        sql = "SELECT DISTINCT to_touchpoint FROM transitions WHERE scope = 'person'"
    return sorted(row[0] for row in journeys.rows(sql) if row[0] is not None)


def parse_step(text: str, known: Vocabulary) -> Step:
    """Read one step. AnalyticsError or UnknownNameError says what is wrong with it."""
    match = _STEP.fullmatch(text.strip())
    if match is None:
        raise AnalyticsError(
            f"cannot read the step {text!r}: write event, event[property = value], stage:… or touchpoint:…"
        )
    prefix, name, when = match["prefix"], match["name"], match["when"]
    if prefix is not None and prefix not in _PREFIXES:
        raise UnknownNameError("kind of step", prefix, _PREFIXES)
    column = _PREFIXES[prefix or "event"]
    if column == "event_name":
        value = known.event(name)
        if value is None:
            raise UnknownNameError("event", name, known.event_names, known.aliases)
    else:
        names = known.stages if column == "stage" else known.touchpoints
        if name not in names:
            raise UnknownNameError(column, name, names)
        value = name
    label = f"{prefix}:{value}" if prefix and prefix != "event" else value
    if when is None:
        return Step(label, column, value)
    return Step(f"{label}[{when.strip()}]", column, value, condition(when, text, known.kinds))


def funnel_steps(funnel: Funnel) -> list[Step]:
    """The steps of a saved funnel."""
    return [
        Step(
            step.event + _shown(step.when),
            "event_name",
            step.event,
            step.when,
            step.optional,
        )
        for step in funnel.steps
    ]


def step_sql(step: Step, alias: str) -> str:
    """The condition that a row of `touchpoints` (under this alias) is the step.

    A condition on properties looks into `events`, by id: `touchpoints` holds what most questions need and not more.
    """
    term = f"{alias}.{step.column} = {sql_literal(step.value)}"
    if not step.when:
        return term
    return (
        f"({term} AND ({alias}.source, {alias}.event_id) IN "
        f"(SELECT source, event_id FROM events WHERE {_narrowed(step)}{when_sql(step.when)}))"
    )


def _shown(when: tuple[Comparison, ...]) -> str:
    """A condition as one would write it; empty for none."""
    terms = []
    for comparison in when:
        literal = comparison.literal
        value = int(literal) if isinstance(literal, float) and literal.is_integer() else literal
        terms.append(f"{comparison.name} {comparison.op} {value}")
    return f"[{' and '.join(terms)}]" if terms else ""


def _narrowed(step: Step) -> str:
    return f"event_name = {sql_literal(step.value)} AND " if step.column == "event_name" else ""


def condition(when: str, text: str, kinds: Mapping[str, Kind]) -> tuple[Comparison, ...]:
    """Read comparisons joined by `and`; `kinds` says what may be asked about, `text` what the person wrote in all."""
    pieces = _QUOTED.split(when)
    for piece in pieces[::2]:
        for name in re.findall(r"([A-Za-z_]\w*)\s*(?:!=|<=|>=|=|<|>|\bin\b|\blike\b)", piece):
            if name not in kinds:
                raise UnknownNameError("property", name, kinds)

    def quote(match: re.Match[str]) -> str:
        # In a shell nobody wants to quote twice: query=shoes means query = 'shoes'.
        bare = kinds.get(match["name"]) == "string"
        value = f"'{match['value']}'" if bare else match["value"]
        return f"{match['name']} {match['op']} {value}"

    try:
        pieces[::2] = [_BARE_VALUE.sub(quote, piece) for piece in pieces[::2]]
        return parse_when("".join(pieces), kinds)
    except RuleError as error:
        raise AnalyticsError(f"cannot read the condition in {text!r}: {error}") from None


def _kinds(plan: Plan) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {name: "string" for name, kind in ENVELOPE_COLUMNS.items() if kind == "string"}
    for event in plan.events.values():
        for name, prop in event.properties.items():
            kind = _kind(prop)
            if kind is not None:
                kinds[name] = kind
    return kinds


def _kind(prop: Property) -> Kind | None:
    if prop.type in ("string", "uuid"):
        return "string"
    if prop.type in ("integer", "number", "boolean"):
        return prop.type
    return None
