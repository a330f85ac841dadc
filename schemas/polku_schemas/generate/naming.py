"""The names of generated types. A name is the same whatever part of the plan is generated.

`order_completed` is OrderCompleted, one of the `products` a Product, the values of `page_type` are a PageType.
Where two things would have one name, the event keeps it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Set

from polku_schemas.model import Plan, Property


class Names:
    """The names of one plan's types. `reserved` are never given: words of the language, names the file needs."""

    def __init__(self, plan: Plan, reserved: Set[str]) -> None:
        self._dictionary = {**plan.traits, **plan.properties}
        self._events = _event_names(plan, reserved)
        taken = {*reserved, *self._events.values()}
        self._objects: dict[str, str] = {}
        self._enumerations: dict[str, str] = {}
        for wanted_type, names, suffix in (("object", self._objects, "Item"), ("", self._enumerations, "Value")):
            for name, prop in sorted(self._dictionary.items()):
                value = prop.items or prop
                if value.type == wanted_type or (value.enum and not wanted_type):
                    names[name] = _free(camel_case(singular(name) if prop.items else name), suffix, taken)
        self._own: dict[tuple[str, str], str] = {}
        """Owner and property → the type of an object that is not as the dictionary has it."""
        owners = [(self._events[name], event.properties) for name, event in sorted(plan.events.items())]
        for owner, properties in [*owners, ("Traits", plan.traits)]:
            for name, prop in sorted(properties.items()):
                if (prop.items or prop).type == "object" and not _same_fields(prop, self._dictionary.get(name)):
                    own = owner + camel_case(singular(name) if prop.items else name)
                    self._own[owner, name] = _free(own, "Item", taken)

    def event(self, name: str) -> str:
        """The type of an event's properties."""
        return self._events[name]

    def object(self, prop: Property, owner: str) -> str:
        """The type of an object property, or of the items of a list of objects, where the type `owner` has it."""
        return self._own.get((owner, prop.name)) or self._objects[prop.name]

    def enumeration(self, prop: Property) -> str:
        """The type of the values of an enum; empty for one that a use has narrowed, which is written where it
        stands."""
        known = self._dictionary.get(prop.name)
        if not (prop.items or prop).enum or known is None or (prop.items or prop).enum != (known.items or known).enum:
            return ""
        return self._enumerations[prop.name]


def camel_case(name: str) -> str:
    """`order_completed` → `OrderCompleted`."""
    return "".join(part.capitalize() for part in name.split("_"))


def singular(name: str) -> str:
    """One of `products` is a `product`: what English does to most nouns, and the name itself where it does not."""
    for plural, one in ((r"ies$", "y"), (r"(?<=ss|sh|ch|.x)es$", ""), (r"(?<=[^sui_])s$", "")):
        if re.search(plural, name) and not name.endswith("series"):
            return re.sub(plural, one, name)
    return name


def _event_names(plan: Plan, reserved: Set[str]) -> dict[str, str]:
    """`order_2_completed` and `order2_completed` would both be Order2Completed: such names keep their underscores."""
    counts = Counter(map(camel_case, plan.events))
    names: dict[str, str] = {}
    for name in sorted(plan.events):
        wanted = camel_case(name)
        if counts[wanted] > 1:
            wanted = "_".join(part.capitalize() for part in name.split("_"))
        names[name] = _free(wanted, "Event", {*reserved, *names.values()})
    return names


def _free(wanted: str, suffix: str, taken: set[str]) -> str:
    """`wanted`, or with the suffix as often as it takes to be new; it is taken from then on."""
    while wanted in taken:
        wanted += suffix
    taken.add(wanted)
    return wanted


def _same_fields(prop: Property, known: Property | None) -> bool:
    return known is not None and (prop.items or prop).fields == (known.items or known).fields
