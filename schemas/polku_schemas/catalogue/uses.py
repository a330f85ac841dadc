"""Where the plan uses a thing: the goals, funnels, segments, targets and rules that rest on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from msgspec import Struct

from polku_schemas.columns import TRAIT_PREFIX
from polku_schemas.model import Comparison, Event, Plan, Rule

UseKind = Literal["goal", "funnel", "segment", "target", "event"]


class Use(Struct, frozen=True):
    """One place that would change its meaning if the thing did."""

    kind: UseKind
    name: str
    """Of the goal, funnel, segment, target or (for a rule) event."""
    how: str
    """What the thing does there: `step 2 of 4`, `value`, `condition`."""


class Uses(Struct, frozen=True):
    """The uses of everything in a plan, by name; what is not used is absent."""

    events: dict[str, tuple[Use, ...]]
    properties: dict[str, tuple[Use, ...]]
    traits: dict[str, tuple[Use, ...]]


def uses_of(plan: Plan) -> Uses:
    """All uses, in the order goals, funnels, targets, segments, rules."""
    return Uses(
        events=_gathered(_event_uses(plan)),
        properties=_gathered(_property_uses(plan)),
        traits=_gathered(_trait_uses(plan)),
    )


def _gathered(found: Iterable[tuple[str, Use]]) -> dict[str, tuple[Use, ...]]:
    uses: dict[str, dict[Use, None]] = {}
    for name, use in found:
        uses.setdefault(name, {})[use] = None
    return {name: tuple(of_name) for name, of_name in uses.items()}


def _event_uses(plan: Plan) -> Iterator[tuple[str, Use]]:
    for goal in plan.goals.values():
        for event in goal.events:
            yield event, Use("goal", goal.name, "reaches it, where its condition holds" if goal.when else "reaches it")
    for funnel in plan.funnels.values():
        for number, step in enumerate(funnel.steps, 1):
            optional = ", optional" if step.optional else ""
            yield step.event, Use("funnel", funnel.name, f"step {number} of {len(funnel.steps)}{optional}")
    for target in plan.targets.values():
        if target.measure == "conversion":
            steps = plan.funnels[target.of].steps
            for event in dict.fromkeys(step.event for step in steps):
                yield event, Use("target", target.name, f"by the funnel {target.of}")
        else:
            for event in plan.goals[target.of].events:
                yield event, Use("target", target.name, f"by the goal {target.of}")


def _property_uses(plan: Plan) -> Iterator[tuple[str, Use]]:
    # A condition may ask a fact of the envelope or of the person's past; those are no properties.
    for goal in plan.goals.values():
        asked = [name for name in _names(goal.when) if name in plan.properties]
        yield from ((name, Use("goal", goal.name, "condition")) for name in asked)
        if goal.value is not None:
            yield goal.value, Use("goal", goal.name, "value")
    for funnel in plan.funnels.values():
        for number, step in enumerate(funnel.steps, 1):
            asked = [name for name in _names(step.when) if name in plan.properties]
            yield from ((name, Use("funnel", funnel.name, f"condition of step {number}")) for name in asked)
    for target in plan.targets.values():
        goal_of = None if target.measure == "conversion" else plan.goals[target.of]
        if goal_of is not None and goal_of.value is not None and target.measure == "value":
            yield goal_of.value, Use("target", target.name, f"by the goal {target.of}")
    for event in plan.events.values():
        for what, rules in _rules(event):
            asked = [name for rule in rules for name in _names(rule.when) if name in event.properties]
            yield from ((name, Use("event", event.name, f"decides the {what}")) for name in asked)


def _trait_uses(plan: Plan) -> Iterator[tuple[str, Use]]:
    for segment in plan.segments.values():
        for name in _names(segment.when):
            trait = name.removeprefix(TRAIT_PREFIX)
            if name.startswith(TRAIT_PREFIX) and trait in plan.traits:
                yield trait, Use("segment", segment.name, "condition")


def _rules(event: Event) -> tuple[tuple[str, Sequence[Rule]], ...]:
    return (("stage", event.stage), ("touchpoint", event.touchpoint), ("channel", event.channel))


def _names(when: Sequence[Comparison]) -> list[str]:
    return [comparison.name for comparison in when]
