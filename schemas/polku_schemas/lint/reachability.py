"""Rules that never hold or come too late, and what nobody reaches: stages and properties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from polku_schemas.columns import TRAIT_PREFIX
from polku_schemas.documents import Document, MemberPath
from polku_schemas.errors import Finding
from polku_schemas.finding_codes import FindingCode
from polku_schemas.foreign_words import nearest
from polku_schemas.lint.conditions import Domain, clash, domain_of, implies, unknown_literals
from polku_schemas.lint.places import Places
from polku_schemas.model import (
    HISTORY_FACTS,
    PERSON_FACTS,
    SETTING_FACTS,
    Comparison,
    Event,
    Plan,
    Property,
    Rule,
)
from polku_schemas.rules import Kind

_HISTORY: Final = {name: Domain("boolean", (True, False)) for name in HISTORY_FACTS}
_NO_ORDER: Final = _HISTORY | {"first_order": Domain("boolean", (False,), admits=lambda value: value is False)}
_SETTINGS: Final = {name: Domain("string") for name in SETTING_FACTS}
_COUNT: Final = Domain("integer", low=0, admits=lambda value: int(value) >= 0)
_SCORE: Final = Domain("integer", low=1, high=5, admits=lambda value: 1 <= int(value) <= 5)
_BANDS: Final = ("promoter", "passive", "detractor")
_PERSON: Final = {name: Domain(cast("Kind", kind)) for name, kind in PERSON_FACTS.items()} | {
    **dict.fromkeys(
        ("orders", "sessions", "touchpoints", "frequency", "contacts", "complaints", "open_complaints"), _COUNT
    ),
    **dict.fromkeys(("r_score", "f_score", "m_score"), _SCORE),
    "known_person": Domain("boolean", (True, False)),
    "recency_days": Domain("number", low=0, admits=lambda value: float(value) >= 0),
    "satisfaction_band": Domain("string", _BANDS, admits=lambda value: value in _BANDS),
}

_LISTED: Final = 12
"""How many values of an enum a message lists."""

_ORDER_GOAL: Final = "order"
"""The goal whose events are orders: `first_order` holds for no other event."""


def rule_findings(plan: Plan, places: Places) -> Iterator[Finding]:
    """Every `when` of the plan that can never hold, or comes too late to decide anything."""
    for event in plan.events.values():
        domains = _event_domains(plan, event)
        for key in ("stage", "touchpoint", "channel"):
            yield from _judge(places.events[event.name], key, getattr(event, key), domains)
    yield from _journey_findings(plan, places)


def unreached_findings(plan: Plan, places: Places) -> Iterator[Finding]:
    """Stages of the plan in which no event places anybody."""
    if places.head is None:
        return
    reached = {rule.then for event in plan.events.values() for rule in event.stage}
    for index, stage in enumerate(plan.stages):
        if stage not in reached:
            message, remedy = (
                f"no event places anybody in the stage `{stage}`",
                "Give an event this stage, or remove it",
            )
            yield places.head.finding(FindingCode.UNREACHED_STAGE, ("stages", index), message, remedy, (stage,))


def unused_findings(plan: Plan, places: Places) -> Iterator[Finding]:
    """Properties of the dictionary that no event uses, neither by itself nor inside an object."""
    if places.properties is None:
        return
    used: set[str] = set()
    for event in plan.events.values():
        for prop in event.properties.values():
            inner = prop.items or prop
            used.update((prop.name, *inner.fields))
    for name in plan.properties:
        if name not in used:
            remedy = "Use it in an event, or remove it; `reserved` in plan.yaml keeps the name from being used again"
            message = f"no event uses `{name}`"
            yield places.properties.finding(FindingCode.UNUSED_PROPERTY, (name,), message, remedy, (name,))


def _event_domains(plan: Plan, event: Event) -> dict[str, Domain]:
    orders = plan.goals.get(_ORDER_GOAL)
    # A goal that names unknown events is a finding already.
    is_clear = orders is not None and plan.events.keys() >= set(orders.events)
    history = _NO_ORDER if orders and is_clear and event.name not in orders.events else _HISTORY
    return _domains(event.properties) | history | _SETTINGS


def _domains(properties: Mapping[str, Property], prefix: str = "") -> dict[str, Domain]:
    domains = {prefix + name: domain_of(prop) for name, prop in properties.items()}
    return {name: domain for name, domain in domains.items() if domain is not None}


def _judge(document: Document, key: str, rules: Sequence[Rule], domains: Mapping[str, Domain]) -> Iterator[Finding]:
    """What is wrong with rules of which the first that holds decides."""
    deciding: list[Rule] = []
    for index, rule in enumerate(rules):
        impossible = list(_when_findings(document, (key, index, "when"), rule.when, domains))
        yield from impossible
        if impossible:
            continue
        earlier = next((other for other in deciding if implies(rule.when, other.when, domains)), None)
        if earlier is None:
            deciding.append(rule)
            continue
        holds = f"`{_said(earlier.when)}` holds" if earlier.when else "the rule without `when` holds"
        message = f"this rule decides nothing: before it, {holds} wherever this one would"
        remedy = "Put the narrower rule first, or remove it"
        yield document.finding(FindingCode.HIDDEN_RULE, (key, index), message, remedy)


def _when_findings(
    document: Document, path: MemberPath, when: Sequence[Comparison], domains: Mapping[str, Domain]
) -> Iterator[Finding]:
    """What makes a `when` one that never holds, or asks for what never comes."""
    unknown = False
    for comparison in when:
        domain = domains[comparison.name]
        for literal in unknown_literals(comparison, domain):
            unknown = True
            close = nearest(literal, map(str, domain.among or ()))
            remedy = f"Did you mean {_quoted(close)}?" if close else "Correct it, or what the plan says of the name"
            message = f"`{comparison.name}` is never {_quoted(literal)}: {_why(comparison.name, domain)}"
            yield document.finding(FindingCode.IMPOSSIBLE_VALUE, path, message, remedy)
    if unknown:
        return
    clashing = clash(when, domains)
    if len(clashing) == 1:
        message = f"`{_said(clashing)}` can never hold: {_why(clashing[0].name, domains[clashing[0].name])}"
        yield document.finding(FindingCode.DEAD_RULE, path, message, "Correct or remove it")
    elif clashing:
        said = " and ".join(f"`{_said([comparison])}`" for comparison in clashing)
        message = f"{said} can never hold together"
        yield document.finding(FindingCode.DEAD_RULE, path, message, "Correct one of them; all of `when` must hold")


def _journey_findings(plan: Plan, places: Places) -> Iterator[Finding]:
    domains = {event.name: _event_domains(plan, event) for event in plan.events.values()}
    for goal in plan.goals.values():
        yield from _goal_findings(places.journey["goals"], goal.name, goal.events, goal.when, domains)
    for funnel in plan.funnels.values():
        for index, step in enumerate(funnel.steps):
            if step.when:
                path = (funnel.name, "steps", index, "when")
                yield from _when_findings(places.journey["funnels"], path, step.when, domains[step.event])
    stages = Domain("string", plan.stages, admits=lambda value: value in plan.stages)
    traits = _domains(plan.traits, TRAIT_PREFIX) | _PERSON | {"stage": stages}
    for segment in plan.segments.values():
        yield from _when_findings(places.journey["segments"], (segment.name, "when"), segment.when, traits)


def _goal_findings(
    document: Document,
    name: str,
    events: Sequence[str],
    when: Sequence[Comparison],
    domains: Mapping[str, Mapping[str, Domain]],
) -> Iterator[Finding]:
    """A goal's `when` may hold for some of its events only; for one at least it must."""
    if not when:
        return
    by_event = {event: list(_when_findings(document, (name, "when"), when, domains[event])) for event in events}
    hopeless = [event for event, findings in by_event.items() if findings]
    if len(hopeless) == len(events):
        yield from by_event[hopeless[0]]
        return
    for event in hopeless:
        path = (name, "events", events.index(event))
        message, remedy = f"`when` of the goal can never hold for `{event}`", "Take the event out, or correct `when`"
        yield document.finding(FindingCode.DEAD_RULE, path, message, remedy)


def _why(name: str, domain: Domain) -> str:
    if name == "first_order" and domain.among == (False,):
        return f"the event is not one of the goal `{_ORDER_GOAL}`"
    if domain.among is not None:
        more = f" and {len(domain.among) - _LISTED} more" if len(domain.among) > _LISTED else ""
        return f"it is one of {', '.join(map(_quoted, domain.among[:_LISTED]))}{more}"
    if domain.kind == "string":
        return "its length or pattern forbids it"
    low = "" if domain.low is None else f" from {domain.low}"
    high = "" if domain.high is None else f" up to {domain.high}"
    return f"it goes{low}{high}" if low or high else f"no {domain.kind} does"


def _said(when: Sequence[Comparison]) -> str:
    return " and ".join(_comparison(comparison) for comparison in when)


def _comparison(comparison: Comparison) -> str:
    literal = comparison.literal
    if isinstance(literal, tuple):
        return f"{comparison.name} in ({', '.join(map(_quoted, literal))})"
    if literal is True and comparison.op == "=":
        return comparison.name
    return f"{comparison.name} {comparison.op} {_quoted(literal)}"


def _quoted(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}'" if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
