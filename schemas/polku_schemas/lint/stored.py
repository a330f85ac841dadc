"""Rules and sums over values that the plan's `privacy` keeps from being stored: they would find nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from polku_schemas.columns import TRAIT_PREFIX
from polku_schemas.documents import Document, MemberPath
from polku_schemas.errors import Finding
from polku_schemas.finding_codes import FindingCode
from polku_schemas.lint.places import Places
from polku_schemas.model import Comparison, Plan, Property
from polku_schemas.privacy import treatment_of

_INSTEAD: Final = {"drop": "dropped", "pseudonymise": "stored as a pseudonym"}


def not_stored_findings(plan: Plan, places: Places) -> Iterator[Finding]:
    """Every place of the plan that asks for a value which is never stored as it came."""
    if not plan.privacy:
        return
    for event in plan.events.values():
        for key in ("stage", "touchpoint", "channel"):
            for index, rule in enumerate(getattr(event, key)):
                path = (key, index, "when")
                yield from _asked(plan, places.events[event.name], path, rule.when, event.properties)
    for goal in plan.goals.values():
        document = places.journey["goals"]
        properties = {name: prop for event in goal.events for name, prop in plan.events[event].properties.items()}
        yield from _asked(plan, document, (goal.name, "when"), goal.when, properties)
        if goal.value is not None:
            yield from _names(plan, document, (goal.name, "value"), [goal.value], properties)
    for funnel in plan.funnels.values():
        for index, step in enumerate(funnel.steps):
            properties = plan.events[step.event].properties
            where: MemberPath = (funnel.name, "steps", index, "when")
            yield from _asked(plan, places.journey["funnels"], where, step.when, properties)
    traits = {TRAIT_PREFIX + name: prop for name, prop in plan.traits.items()}
    for segment in plan.segments.values():
        yield from _asked(plan, places.journey["segments"], (segment.name, "when"), segment.when, traits)


def _asked(
    plan: Plan, document: Document, path: MemberPath, when: Iterable[Comparison], properties: Mapping[str, Property]
) -> Iterator[Finding]:
    yield from _names(plan, document, path, dict.fromkeys(comparison.name for comparison in when), properties)


def _names(
    plan: Plan, document: Document, path: MemberPath, names: Iterable[str], properties: Mapping[str, Property]
) -> Iterator[Finding]:
    for name in names:
        prop = properties.get(name)
        treatment = None if prop is None else treatment_of(plan, prop)
        if prop is not None and treatment is not None:
            message = f"`{name}` is never stored as it comes: {prop.privacy} values are {_INSTEAD[treatment]}"
            remedy = "Ask for something else, or change `privacy` in plan.yaml"
            yield document.finding(FindingCode.NOT_STORED, path, message, remedy)
