"""What the catalogue shows of a plan, as frozen values; how it looks is `html.py`'s and `markdown.py`'s."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

from msgspec import Struct

from polku_schemas.catalogue.calls import Calls, event_calls
from polku_schemas.catalogue.uses import Use, uses_of
from polku_schemas.columns import TRAIT_PREFIX, column_type
from polku_schemas.compare import PlanDiff, compare
from polku_schemas.model import Event, Plan, Privacy, Property, Rule

PRIVACY_ORDER: Final[tuple[Privacy, ...]] = ("sensitive", "personal", "pseudonymous", "none")
"""The classes, the one to be most careful with first."""


class EventEntry(Struct, frozen=True, kw_only=True):
    """One event and what follows from the plan about it."""

    event: Event
    stages: tuple[str, ...]
    """The stages it can place a person in, in the plan's order."""
    touchpoints: tuple[str, ...]
    channels: tuple[str, ...]
    """Those its rules name; empty where the source decides."""
    privacy: tuple[Privacy, ...]
    """The classes of what it carries, fields of objects included; `none` is left out."""
    uses: tuple[Use, ...]
    calls: Calls


class PropertyEntry(Struct, frozen=True, kw_only=True):
    """One property of the dictionary, or one trait."""

    prop: Property
    column: str
    """The column of `events` that holds it; for what stands only inside others, its place there (`products[].sku`);
    empty where no event has it yet."""
    column_type: str
    events: tuple[str, ...]
    """The events that have it as a property of their own."""
    within: tuple[str, ...]
    """The properties that have it as a field, as `products[]` or `address`."""
    events_within: tuple[str, ...]
    """The events that have it as such a field only."""
    uses: tuple[Use, ...]


class StageEntry(Struct, frozen=True, kw_only=True):
    """A stage and the events that can place a person in it, by touchpoint."""

    name: str
    """Empty for the events that say nothing about where a person stands."""
    number: int
    touchpoints: dict[str, tuple[str, ...]]
    events: tuple[str, ...]
    """Those whose first stage this is: each event is shown once."""
    elsewhere: tuple[str, ...]
    """Those that are shown under another stage."""


class Catalogue(Struct, frozen=True, kw_only=True):
    """A plan as its readers look at it."""

    title: str
    plan: Plan
    stages: tuple[StageEntry, ...]
    touchpoints: dict[str, tuple[str, ...]]
    """Touchpoint → the events that can be one, in alphabetical order."""
    owners: dict[str, tuple[str, ...]]
    events: dict[str, EventEntry]
    properties: dict[str, PropertyEntry]
    traits: dict[str, PropertyEntry]
    history: tuple[PlanDiff, ...]
    """The steps from older plans to this one, the newest first; empty if no older plan was given."""


def catalogue_of(plan: Plan, title: str | None = None, older: Sequence[Plan] = ()) -> Catalogue:
    """The catalogue of a plan; `older` are plans it came from, the oldest first. The same plans give the same one."""
    uses = uses_of(plan)
    events = {name: _event_entry(plan, event, uses.events.get(name, ())) for name, event in plan.events.items()}
    return Catalogue(
        title=title or f"Tracking plan {plan.name}",
        plan=plan,
        stages=_stages(plan, events),
        touchpoints=_gathered((touchpoint, e.event.name) for e in events.values() for touchpoint in e.touchpoints),
        owners=_gathered((entry.event.owner, entry.event.name) for entry in events.values()),
        events=events,
        properties={
            name: _property_entry(plan, prop, uses.properties.get(name, ())) for name, prop in plan.properties.items()
        },
        traits={name: _trait_entry(prop, uses.traits.get(name, ())) for name, prop in plan.traits.items()},
        history=_history((*older, plan)),
    )


def _history(plans: Sequence[Plan]) -> tuple[PlanDiff, ...]:
    """The steps in which something changed; the last one in any case, so that "nothing changed" can be said."""
    steps = [compare(old, new) for old, new in pairwise(plans)]
    told = [step for step in steps if step.differences or step.old_fingerprint != step.new_fingerprint]
    return tuple(reversed(told or steps[-1:]))


def fields_of(prop: Property) -> Mapping[str, Property]:
    """The fields of an object, or of the objects in a list; empty for what has none."""
    return prop.fields if prop.items is None else prop.items.fields


def short_column_type(prop: Property) -> str:
    """The column's type without the members of objects, which have a table of their own."""
    if not fields_of(prop):
        return column_type(prop)
    return "struct" if prop.items is None else "list<struct>"


def _event_entry(plan: Plan, event: Event, uses: tuple[Use, ...]) -> EventEntry:
    stages = _values(event.stage)
    classes = {p.privacy for prop in event.properties.values() for p in (prop, *fields_of(prop).values())}
    return EventEntry(
        event=event,
        stages=tuple(stage for stage in plan.stages if stage in stages),
        touchpoints=_values(event.touchpoint),
        channels=_values(event.channel),
        privacy=tuple(name for name in PRIVACY_ORDER if name in classes and name != "none"),
        uses=uses,
        calls=event_calls(event),
    )


def _property_entry(plan: Plan, prop: Property, uses: tuple[Use, ...]) -> PropertyEntry:
    within = [other for other in plan.properties.values() if prop.name in fields_of(other)]
    events = tuple(event.name for event in plan.events.values() if prop.name in event.properties)
    inside = tuple(f"{other.name}[]" if other.items is not None else other.name for other in within)
    events_within = tuple(
        event.name
        for event in plan.events.values()
        if event.name not in events and any(other.name in event.properties for other in within)
    )
    column = prop.name if events else ""
    if not events and events_within:
        column = f"{inside[0]}.{prop.name}"
    return PropertyEntry(
        prop=prop,
        column=column,
        column_type=column_type(prop),
        events=events,
        within=inside,
        events_within=events_within,
        uses=uses,
    )


def _trait_entry(trait: Property, uses: tuple[Use, ...]) -> PropertyEntry:
    return PropertyEntry(
        prop=trait,
        column=TRAIT_PREFIX + trait.name,
        column_type=column_type(trait),
        events=(),
        within=(),
        events_within=(),
        uses=uses,
    )


def _stages(plan: Plan, events: Mapping[str, EventEntry]) -> tuple[StageEntry, ...]:
    """The plan's stages in their order, also those without events; then what has no stage, if there is something."""
    entries = []
    for number, stage in enumerate((*plan.stages, ""), 1):
        here = [entry for entry in events.values() if stage in (entry.stages or ("",))]
        if not stage and not here:
            continue
        entries.append(
            StageEntry(
                name=stage,
                number=number if stage else 0,
                touchpoints=_gathered((point, e.event.name) for e in here for point in e.touchpoints),
                events=tuple(entry.event.name for entry in here if stage == (entry.stages or ("",))[0]),
                elsewhere=tuple(entry.event.name for entry in here if stage != (entry.stages or ("",))[0]),
            )
        )
    return tuple(entries)


def _values(rules: Sequence[Rule]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rule.then for rule in rules))


def _gathered(pairs: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for key, name in pairs:
        found.setdefault(key, []).append(name)
    return {key: tuple(found[key]) for key in sorted(found)}
