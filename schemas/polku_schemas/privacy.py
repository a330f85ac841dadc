"""Keeps what a plan does not let be stored out of what is stored: a value is dropped, or a pseudonym takes its place.

    protection = Protection(plan, key)
    protect = protection.events.get("order_completed")
    if protect is not None:
        protect(values)                            # the decoded properties, changed where they stand
    extra = protection.of_properties(unplanned)    # any JSON object, by the names of the plan's dictionaries

A pseudonym is a keyed hash (HMAC-SHA-256, RFC 2104): the same value has the same one in every event, so it can be
counted and joined, and nobody without the key can try out values until one fits.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import force_setattr

from polku_schemas.compile import MAX_EVENT_NAME, snake_case
from polku_schemas.model import Plan, Property, Treatment

_PREFIX: Final = "psn-"
_DIGITS: Final = 32

PSEUDONYM: Final = re.compile(rf"{_PREFIX}[0-9a-f]{{{_DIGITS}}}")
"""What a pseudonym looks like. A value of this form is left as it is, so that nothing is hashed twice."""

Protect = Callable[[Struct], None]
"""Changes the values of a decoded record where they stand."""

_Change = Callable[[Any], Any]
_Rule = Treatment | Literal["look inside"]
"""What is done with the value of a member of any JSON object. "look inside": its own members are protected."""


def pseudonyms(key: bytes) -> Callable[[str], str]:
    """Makes the pseudonyms of this key, for what is no value of a plan."""
    begun = hmac.new(key, digestmod="sha256")
    return lambda text: _pseudonym(begun, text)


def needs_key(plan: Plan) -> bool:
    """Whether the plan cannot be enforced without a key for pseudonyms."""
    return "pseudonymise" in plan.privacy.values()


def treatment_of(plan: Plan, prop: Property) -> Treatment | None:
    """What is done with the values of a property instead of storing them; None if they are stored as they come."""
    treatment = plan.privacy.get(prop.privacy)
    if treatment == "pseudonymise" and not _is_text(prop):
        return "drop"
    return treatment


def as_stored(plan: Plan) -> Plan:
    """The plan as stored values fulfil it: what was dropped may be missing, and a pseudonym fits its property.

    For judging again what has been through a `Protection`.
    """

    def loosened(properties: Mapping[str, Property]) -> dict[str, Property]:
        return {name: _loosened(plan, prop) for name, prop in properties.items()}

    if not plan.privacy:
        return plan
    events = {
        name: msgspec.structs.replace(event, properties=loosened(event.properties))
        for name, event in plan.events.items()
    }
    return msgspec.structs.replace(plan, events=events, traits=loosened(plan.traits))


class Protection:
    """The `privacy` of a plan, ready to be enforced. Doing it twice changes nothing more.

    Raises ValueError when the plan asks for pseudonyms and there is no key.
    """

    __slots__ = ("_anywhere", "_begun", "_in_properties", "_in_traits", "events", "traits")

    events: dict[str, Protect]
    """By event name; events with nothing to protect are not there."""
    traits: Protect | None

    def __init__(self, plan: Plan, key: bytes = b"") -> None:
        if needs_key(plan) and not key:
            raise ValueError("the plan asks for pseudonyms, and there is no key")
        self._begun = hmac.new(key, digestmod="sha256")  # each pseudonym goes on from here: a third faster than anew
        found = ((name, self._protect(plan, event.properties)) for name, event in plan.events.items())
        self.events = {name: protect for name, protect in found if protect is not None}
        self.traits = self._protect(plan, plan.traits)
        properties, traits = _rules(plan, plan.properties), _rules(plan, plan.traits)
        # A name that both dictionaries have means the one where it stands; elsewhere nobody knows.
        self._in_properties = _Names(traits | properties)
        self._in_traits = _Names(properties | traits)
        self._anywhere = _Names(properties | {name: rule or properties.get(name) for name, rule in traits.items()})

    def __bool__(self) -> bool:
        """Whether there is anything that is not stored as it comes."""
        return bool(self._anywhere)

    def of_properties(self, document: dict[str, Any]) -> dict[str, Any]:
        """A JSON object among an event's properties, protected by the names of its members, however deep."""
        return self._members(document, self._in_properties)

    def of_traits(self, document: dict[str, Any]) -> dict[str, Any]:
        """The same among traits."""
        return self._members(document, self._in_traits)

    def of_anything(self, document: dict[str, Any]) -> dict[str, Any]:
        """The same where nobody knows what its members are."""
        return self._members(document, self._anywhere)

    def pseudonym(self, text: str) -> str:
        """What stands for a text: `psn-` and the first 128 bits of its keyed hash."""
        return _pseudonym(self._begun, text)

    def _members(self, document: dict[str, Any], names: _Names) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for name, value in document.items():
            rule = names.rule_of(name)
            if rule is None or rule == "look inside":
                kept[name] = self._unknown(value, names, objects=rule is not None)
            elif rule == "pseudonymise" and (changed := self._pseudonyms(value)) is not None:
                kept[name] = changed
        return kept

    def _unknown(self, value: Any, names: _Names, *, objects: bool) -> Any:
        """A value without what its members' names forbid. `objects`: it is objects that hold such members."""
        if isinstance(value, dict):
            return self._members(value, names)
        if isinstance(value, list):
            return [self._unknown(item, names, objects=objects) for item in value]
        # In place of such an object it may be that object as a text. Empty, it is still what it should not be.
        return type(value)() if objects and value is not None else value

    def _pseudonyms(self, value: Any) -> Any:
        """Of a text or a list of texts; None for what has none."""
        if isinstance(value, list):
            return [self.pseudonym(item) for item in value if isinstance(item, str)]
        return self.pseudonym(value) if isinstance(value, str) else None

    def _protect(self, plan: Plan, properties: Mapping[str, Property]) -> Protect | None:
        changes: list[tuple[str, _Change]] = []
        for name, prop in properties.items():
            treatment = treatment_of(plan, prop)
            inner = self._protect(plan, (prop.items or prop).fields)
            if treatment == "drop":
                changes.append((name, _dropped))
            elif treatment == "pseudonymise":
                changes.append((name, self._texts if prop.items is not None else self._text))
            elif inner is not None:
                changes.append((name, _each(inner) if prop.items is not None else _inside(inner)))
        if not changes:
            return None

        def protect(values: Struct) -> None:
            for name, change in changes:
                value = getattr(values, name)
                if value is not None:
                    force_setattr(values, name, change(value))

        return protect

    def _text(self, value: Any) -> str:
        return self.pseudonym(str(value))  # a UUID is text by now in every table

    def _texts(self, values: list[Any]) -> list[str]:
        return [self.pseudonym(str(value)) for value in values]


def _pseudonym(begun: hmac.HMAC, text: str) -> str:
    if text.startswith(_PREFIX) and PSEUDONYM.fullmatch(text):
        return text
    hashed = begun.copy()
    hashed.update(text.encode("utf-8", "surrogatepass"))
    return _PREFIX + hashed.hexdigest()[:_DIGITS]


def _dropped(_: Any) -> None:
    return None


def _inside(protect: Protect) -> _Change:
    def change(value: Struct) -> Struct:
        protect(value)
        return value

    return change


def _each(protect: Protect) -> _Change:
    def change(values: list[Any]) -> list[Any]:
        for value in values:
            if value is not None:
                protect(value)
        return values

    return change


class _Names:
    """What the names of JSON members mean, however they are spelled: `eMail` and `E-Mail` are `email`.

    A name that is in the dictionaries as it is, or in snake case, is that one and no other.
    """

    __slots__ = ("_rules", "_run_together")

    def __init__(self, rules: Mapping[str, _Rule | None]) -> None:
        self._rules = rules
        self._run_together = {name.replace("_", ""): rule for name, rule in rules.items() if rule is not None}

    def __bool__(self) -> bool:
        return bool(self._run_together)

    def rule_of(self, name: str) -> _Rule | None:
        if name in self._rules:
            return self._rules[name]
        if len(name) > MAX_EVENT_NAME:
            return None
        name = snake_case(name)
        return self._rules[name] if name in self._rules else self._run_together.get(name.replace("_", ""))


def _rules(plan: Plan, properties: Mapping[str, Property]) -> dict[str, _Rule | None]:
    """Every name of a dictionary, with None where values are stored as they come."""
    rules: dict[str, _Rule | None] = {}
    for name, prop in properties.items():
        fields = (prop.items or prop).fields.values()
        holds = any(treatment_of(plan, field) is not None for field in fields)
        rules[name] = treatment_of(plan, prop) or ("look inside" if holds else None)
    return rules


def _loosened(plan: Plan, prop: Property) -> Property:
    treatment = treatment_of(plan, prop)
    if treatment is not None:
        item = None if prop.items is None else Property(name="", type=_stored_type(prop.items), description="")
        if prop.items is not None and prop.items.type == "object":
            item = msgspec.structs.replace(prop.items, fields=_all_loose(prop.items.fields))
        return Property(
            name=prop.name,
            type=_stored_type(prop),
            description=prop.description,
            privacy=prop.privacy,
            nullable=prop.nullable,
            items=item,
            fields=_all_loose(prop.fields),
        )
    if prop.items is not None and prop.items.fields:
        return msgspec.structs.replace(prop, items=_loosened_fields(plan, prop.items))
    return _loosened_fields(plan, prop) if prop.fields else prop


def _loosened_fields(plan: Plan, prop: Property) -> Property:
    return msgspec.structs.replace(prop, fields={name: _loosened(plan, field) for name, field in prop.fields.items()})


def _all_loose(fields: Mapping[str, Property]) -> dict[str, Property]:
    return {
        name: Property(name=name, type=_stored_type(field), description=field.description, privacy=field.privacy)
        for name, field in fields.items()
    }


def _stored_type(prop: Property) -> Any:
    return "string" if prop.type == "uuid" else prop.type


def _is_text(prop: Property) -> bool:
    return (prop.items or prop).type in ("string", "uuid")
