"""What is generated, before any language: the objects, enumerations and events of a plan, named and in a fixed order.

The order of a plan's files plays no part, so that plans of one fingerprint give the same bytes: events, objects and
enumerations stand by name, properties by name with the required ones first.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Set
from typing import Final, Literal

from msgspec import Struct

from polku_schemas.errors import SchemasError
from polku_schemas.generate.naming import Names
from polku_schemas.model import Call, Event, Plan, Property

TRAITS: Final = "traits"
"""What selects the traits beside the names of events; no event can have this name."""

Kind = Call | Literal["traits", "object"]
"""The call of an event; traits go with `identify`, an object is inside one of the others."""


class SelectionError(SchemasError):
    """Events were asked for that the plan has not."""


class Field(Struct, frozen=True):
    """A property where it stands, and the generated type its value (or each item of it) has, if it has one."""

    prop: Property
    type_name: str = ""

    @property
    def value(self) -> Property:
        """The property, or what an array of it holds."""
        return self.prop.items or self.prop


class Enumeration(Struct, frozen=True):
    """A named list of values."""

    type_name: str
    prop: Property


class Shape(Struct, frozen=True):
    """An event's properties, the traits, or an object inside of these."""

    type_name: str
    kind: Kind
    description: str
    fields: tuple[Field, ...]
    event: Event | None = None


class Shapes(Struct, frozen=True):
    """Everything that is generated, each kind by name."""

    plan: Plan
    enumerations: tuple[Enumeration, ...]
    objects: tuple[Shape, ...]
    events: tuple[Shape, ...]
    traits: Shape | None

    def with_fields(self) -> Iterator[Shape]:
        """Every shape, so that what one names stands before it."""
        yield from self.objects
        yield from self.events
        if self.traits is not None:
            yield self.traits


def shapes_of(plan: Plan, reserved: Set[str], selected: Set[str] | None = None) -> Shapes:
    """The shapes of `selected` (names of events, and `traits`; None: all) and of what they use.

    `reserved` are the names the generated file needs itself. A name does not depend on the selection.
    """
    _check_selection(plan, selected)
    names = Names(plan, reserved)
    collected = _Collected(names)
    events = tuple(
        collected.shape(names.event(event.name), event.call, event.description, event.properties, event)
        for event in sorted(plan.events.values(), key=lambda event: event.name)
        if selected is None or event.name in selected
    )
    traits = None
    if plan.traits and (selected is None or TRAITS in selected):
        traits = collected.shape("Traits", TRAITS, "What is known about a person.", plan.traits)
    return Shapes(
        plan,
        tuple(collected.enumerations[name] for name in sorted(collected.enumerations)),
        tuple(collected.objects[name] for name in sorted(collected.objects)),
        events,
        traits,
    )


class _Collected:
    """Makes shapes, and keeps the enumerations and objects they name."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self.enumerations: dict[str, Enumeration] = {}
        self.objects: dict[str, Shape] = {}

    def shape(
        self,
        type_name: str,
        kind: Kind,
        description: str,
        properties: Mapping[str, Property],
        event: Event | None = None,
    ) -> Shape:
        ordered = sorted(properties.values(), key=lambda prop: (not prop.required, prop.name))
        return Shape(type_name, kind, description, tuple(self._field(prop, type_name) for prop in ordered), event)

    def _field(self, prop: Property, owner: str) -> Field:
        value = prop.items or prop
        if value.type == "object":
            name = self._names.object(prop, owner)
            description = f"One of `{prop.name}`. {prop.description}" if prop.items else prop.description
            self.objects[name] = self.shape(name, "object", description, value.fields)
            return Field(prop, name)
        name = self._names.enumeration(prop)
        if name:
            self.enumerations[name] = Enumeration(name, value)
        return Field(prop, name)


def _check_selection(plan: Plan, selected: Set[str] | None) -> None:
    if selected is None:
        return
    if not selected:
        raise SelectionError("no event is selected: name events of the plan, separated by commas")
    known = [*plan.events, *([TRAITS] if plan.traits else [])]
    unknown = sorted(selected - set(known))
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=3)
        remedy = f"did you mean {' or '.join(f'`{name}`' for name in near)}?" if near else "see `polku plan list`"
        raise SelectionError(f"the plan has no event {', '.join(f'`{name}`' for name in unknown)}: {remedy}")
