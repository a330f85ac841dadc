"""How events differ: by which names and calls they are reached, where they stand in the journey, what they carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from polku_schemas.columns import table_columns
from polku_schemas.compare.differences import Difference, DifferenceKind, difference
from polku_schemas.compare.properties import Place, column_clash, property_differences
from polku_schemas.compile import snake_case
from polku_schemas.model import Event, Plan, Rule
from polku_schemas.rules import when_sql

Route = tuple[str, str]
"""A way of the wire to an event: ("track", a name), or ("page", "") for the calls that need none."""


def event_differences(old: Plan, new: Plan) -> Iterator[Difference]:
    """All differences, by the name of the event (the old one, of those renamed)."""
    columns = table_columns(old)
    before, now = _Routes(old), _Routes(new)
    renamed = {event.name: target for event in old.events.values() if (target := _target(event, new, now))}
    for name in sorted(old.events.keys() | new.events.keys()):
        place = Place("property", name, columns)
        if name not in old.events:
            if name not in renamed.values():
                message = f"the event is new, with version {new.events[name].version}"
                yield difference(DifferenceKind.EVENT_ADDED, "event", message, name)
                clashes = (column_clash(key, prop, place) for key, prop in new.events[name].properties.items())
                yield from (clash for clash in clashes if clash is not None)
            continue
        event, target = old.events[name], renamed.get(name, name)
        if target not in new.events:
            yield difference(DifferenceKind.EVENT_REMOVED, "event", "the event is gone", name)
            continue
        if target != name:
            message = f"the event is taken as `{target}`, and stored under that name"
            yield difference(DifferenceKind.EVENT_RENAMED, "event", message, name)
        yield from _lost_routes(event, target, before, now)
        yield from _won_routes(event, new.events[target], before) if target == name else ()
        yield from _members(event, new.events[target])
        yield from property_differences(event.properties, new.events[target].properties, place)


class _Routes:
    """Which event a call and a name lead to, as `CompiledPlan.find` decides it."""

    def __init__(self, plan: Plan) -> None:
        self.exact: dict[Route, str] = {}
        for event in plan.events.values():
            self.exact |= dict.fromkeys(routes_of(event), event.name)

    def find(self, route: Route) -> str | None:
        call, name = route
        return self.exact.get(route) or self.exact.get((call, snake_case(name)))


def routes_of(event: Event) -> list[Route]:
    """The ways that lead to an event."""
    own = [("track", name) for name in (event.name, *event.aliases)]
    return own if event.call == "track" else [*own, (event.call, "")]


def _target(event: Event, new: Plan, now: _Routes) -> str | None:
    """The event that takes the place of one that is gone: where its name leads to, or an alias, or its call."""
    if event.name in new.events:
        return None
    found = [target for route in routes_of(event) if (target := now.find(route)) is not None]
    return found[0] if found else None


def _lost_routes(event: Event, target: str, before: _Routes, now: _Routes) -> Iterator[Difference]:
    """Ways that led to the event and do not any more; also spellings that another event has taken as its alias."""
    spelled = [route for route in now.exact if before.find(route) == event.name]
    for route in dict.fromkeys([*routes_of(event), *spelled]):
        found = now.find(route)
        if found == target:
            continue
        call, name = route
        where = f"leads to `{found}` now" if found else "leads nowhere now"
        if call != "track":
            yield difference(DifferenceKind.CALL_REMOVED, "event", f"the call `{call}` {where}", event.name)
        else:
            kind = DifferenceKind.ALIAS_MOVED if found else DifferenceKind.ALIAS_REMOVED
            yield difference(kind, "event", f"the name `{name}` {where}", event.name)


def _won_routes(event: Event, new: Event, before: _Routes) -> Iterator[Difference]:
    for route in routes_of(new):
        if before.find(route) == event.name:
            continue
        call, name = route
        if call != "track":
            message = f"the call `{call}` leads to this event"
            yield difference(DifferenceKind.CALL_ADDED, "event", message, event.name)
        else:
            message = f"the name `{name}` leads to this event"
            yield difference(DifferenceKind.ALIAS_ADDED, "event", message, event.name)


_RULES: Final[Mapping[str, tuple[DifferenceKind, str]]] = {
    "stage": (DifferenceKind.STAGE_CHANGED, "counts for the past too, as soon as the journeys are built again"),
    "touchpoint": (
        DifferenceKind.TOUCHPOINT_CHANGED,
        "counts for the past too, as soon as the journeys are built again",
    ),
    "channel": (DifferenceKind.CHANNEL_CHANGED, "counts for new events only: the channel is stored"),
}


def _members(old: Event, new: Event) -> Iterator[Difference]:
    for key, (kind, follows) in _RULES.items():
        before, now = getattr(old, key), getattr(new, key)
        if before != now:
            nothing = "that of the source" if key == "channel" else "none"
            message = f"{key}: {_rules_text(now, nothing)}; was {_rules_text(before, nothing)}; {follows}"
            yield difference(kind, "event", message, old.name)
    if old.owner != new.owner:
        message = f"the owner is {new.owner}, was {old.owner}"
        yield difference(DifferenceKind.WORDING_CHANGED, "event", message, old.name)
    if old.description != new.description:
        yield difference(DifferenceKind.WORDING_CHANGED, "event", "the event has another description", old.name)
    if old.examples != new.examples:
        yield difference(DifferenceKind.WORDING_CHANGED, "event", "the event has other examples", old.name)


def _rules_text(rules: tuple[Rule, ...], nothing: str) -> str:
    if not rules:
        return nothing
    return ", ".join(f"{rule.then} when {when_sql(rule.when)}" if rule.when else rule.then for rule in rules)
