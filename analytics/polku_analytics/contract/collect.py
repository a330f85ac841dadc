"""Gathers what events carry, name by name: all of it, or only what a plan does not know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import msgspec

from polku_analytics.contract.events import EMPTY, PAGE_MEMBERS, UNREADABLE, Batch
from polku_analytics.contract.names import plan_name, unlike
from polku_analytics.contract.profile import Profile
from polku_schemas import CompiledPlan, Property
from polku_schemas.compile import BUILT_IN_CALLS
from polku_schemas.model import Call

MAX_EVENTS: Final = 1_000
"""Event names that are told apart. Where there are more, something that changes stands in the name."""

_SAMPLED: Final = 200
"""Events of a name among which the one with the most members is kept as an example."""

_PAGE_NAMES: Final = {"page": "page_viewed", "screen": "screen_viewed"}
"""What the calls that are events of their own become."""


class Seen:
    """What is known of the events that have, or will have, one name in the plan."""

    __slots__ = ("_richest", "call", "events", "name", "profile", "sample", "sent")

    def __init__(self, name: str) -> None:
        self.name = name
        self.call: Call = "track"
        self.events = 0
        self.sent: Counter[str] = Counter()
        """The names it was sent under."""
        self.profile = Profile()
        """Its properties, as the members of an object."""
        self.sample: dict[str, Any] = {}
        self._richest = 0

    def add(self, members: dict[str, Any]) -> None:
        """Take in the properties of one event."""
        self.events += 1
        self.profile.add_object(members, depth=0)
        if len(members) > self._richest and self.events <= _SAMPLED:
            self.sample, self._richest = members, len(members)


class Collected:
    """Everything gathered. `base`: a plan whose own events are not gathered, only what they carry beside it."""

    def __init__(
        self, base: CompiledPlan | None, is_wanted: Callable[[str, str], bool] = lambda sent, name: True
    ) -> None:
        self.base = base
        self._is_wanted = is_wanted
        self.events: dict[str, Seen] = {}
        """By name in the plan. Of an event that `base` has, the profile holds only what `base` does not know of it."""
        self.traits = Profile()
        self.read = 0
        self.not_objects = 0
        """Events whose properties or traits are no object: no plan accepts them."""
        self.passed_over: set[str] = set()
        """Events that nobody asked for."""
        self.names_left_out: Counter[str] = Counter()
        self.built_in_with_properties: Counter[str] = Counter()
        """Calls that have no properties in any plan, and how many came with some."""

    def take(self, batch: Batch) -> None:
        """Gather what a batch brings."""
        self.read += len(batch)
        self._take_traits(batch)
        if batch.call in BUILT_IN_CALLS:
            self.built_in_with_properties[batch.call] += sum(document != EMPTY for document in batch.properties)
            return
        planned = self.base.find(batch.call, batch.name) if self.base else None
        name = planned.name if planned else _PAGE_NAMES.get(batch.call) or plan_name(batch.name, "event")
        if self.base and not planned and name in self.base.plan.events:
            name = unlike(name, "event", self.base.plan.events)
        if not self._is_wanted(batch.name, name):
            self.passed_over.add(name)
            return
        if name not in self.events and len(self.events) >= MAX_EVENTS:
            self.names_left_out[batch.name] += len(batch)
            return
        seen = self.events.setdefault(name, Seen(name))
        if batch.call == "track":
            seen.sent[batch.name] += len(batch)
        else:
            seen.call = cast("Call", batch.call)
        known = self.base.plan.events[name].properties if self.base and planned else {}
        for document in batch.properties:
            if (members := self._object(document)) is not None:
                if batch.call == "page":
                    members = {name: value for name, value in members.items() if name not in PAGE_MEMBERS - set(known)}
                seen.add(beside(members, known) if known else members)

    def _take_traits(self, batch: Batch) -> None:
        if batch.call == "group":  # a group's traits describe the group
            return
        known = {} if self.base is None else self.base.plan.traits
        for document in filter(None, batch.traits):
            if (members := self._object(document)) is not None:
                self.traits.add_object(beside(members, known), depth=0)

    def _object(self, document: bytes) -> dict[str, Any] | None:
        try:
            members = msgspec.json.decode(document)
        except UNREADABLE:
            members = None
        if isinstance(members, dict):
            return members
        self.not_objects += 1
        return None


def beside(members: Mapping[str, Any], known: Mapping[str, Property]) -> dict[str, Any]:
    """What of an object is not planned; of a planned object or list of objects, what is unplanned inside it."""
    rest: dict[str, Any] = {}
    for name, value in members.items():
        prop = known.get(name)
        if prop is None:
            rest[name] = value
            continue
        fields = prop.fields or (prop.items.fields if prop.items is not None else {})
        if fields and isinstance(value, dict):
            if inner := beside(value, fields):
                rest[name] = inner
        elif fields and isinstance(value, list):
            inners = [beside(item, fields) for item in value if isinstance(item, dict)]
            if any(inners):
                rest[name] = inners
    return rest
