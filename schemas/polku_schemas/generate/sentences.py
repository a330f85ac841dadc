"""What the comments of generated code say about an event and a property, in words, for every language alike."""

from __future__ import annotations

import json
from typing import Any, Final

from polku_schemas.generate.literals import prose
from polku_schemas.generate.shapes import Shape
from polku_schemas.model import Event, Plan, Property, Rule

_LONGEST_EXAMPLE: Final = 60

_PRIVACY: Final = {
    "none": "",
    "pseudonymous": "Pseudonymous",
    "personal": "Personal data",
    "sensitive": "Sensitive data",
}


def about_plan(plan: Plan) -> str:
    """Which plan this is."""
    return prose(f"Tracking plan {plan.name} {plan.version}", plan.description)


def about_shape(shape: Shape) -> tuple[str, str]:
    """Two paragraphs: what it is, and for an event its place in the plan."""
    return prose(shape.description), "" if shape.event is None else _place(shape.event)


def about_property(prop: Property) -> str:
    """What a property means, what it may be, what it says about a person."""
    return prose(
        prop.description,
        _bounds(prop),
        _PRIVACY[prop.privacy],
        f"Stored as {_shown(prop.default)} where it is left out" if prop.default is not None else "",
        _example(prop),
    )


def _place(event: Event) -> str:
    return prose(
        f"Event {event.name} {event.version}, owner {event.owner}",
        _said("Stage", event.stage),
        _said("Touchpoint", event.touchpoint),
        "" if event.call == "track" else f"Sent with the call {event.call}",
    )


def _said(what: str, rules: tuple[Rule, ...]) -> str:
    words = list(dict.fromkeys(rule.then for rule in rules))
    return f"{what} {' or '.join(words)}" if words else ""


def _bounds(prop: Property) -> str:
    """The constraints that a type does not show."""
    value = prop.items or prop
    words = [
        _range(prop.min_length, prop.max_length, "item" if prop.items else "character"),
        _range(value.min_length, value.max_length, "character", " each") if prop.items else "",
        _range(value.minimum, value.maximum),
        f"must be a valid {value.format}" if value.format else "",
        f"matches `{value.pattern}`" if value.pattern else "",
        "with a time zone" if value.type == "date-time" else "",
    ]
    said = ", ".join(word for word in words if word)
    return said[:1].upper() + said[1:]


def _range(low: float | None, high: float | None, noun: str = "", each: str = "") -> str:
    """`1 to 128 characters`; an end that is open is not said."""
    if low is None and high is None:
        return ""
    unit = f" {noun}{'' if (low if high is None else high) == 1 else 's'}{each}" if noun else ""
    if high is None:
        return f"at least {low}{unit}"
    if low is None:
        return f"at most {high}{unit}"
    return f"exactly {low}{unit}" if low == high else f"{low} to {high}{unit}"


def _example(prop: Property) -> str:
    for example in prop.examples:
        text = _shown(example)
        if len(text) <= _LONGEST_EXAMPLE:
            return f"Example: {text}"
    return ""


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
