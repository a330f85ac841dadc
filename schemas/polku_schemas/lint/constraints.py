"""Which constraints contradict each other, say the same thing twice, or loosen what the dictionary says.

Pure: properties in, faults out. Where a fault stands in a file is `property_reader.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from polku_schemas.check import build_checker
from polku_schemas.finding_codes import FindingCode
from polku_schemas.model import Property
from polku_schemas.problems import Problem

CONSTRAINTS: Final[dict[str, tuple[str, ...]]] = {
    "string": ("enum", "min_length", "max_length", "format", "pattern"),
    "integer": ("enum", "minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "array": ("min_length", "max_length"),
}
"""Which constraints a type can have; the other types have none."""

ALL_CONSTRAINTS: Final = ("enum", "minimum", "maximum", "min_length", "max_length", "format", "pattern")

_BOUNDS: Final = (("minimum", "maximum"), ("min_length", "max_length"))


class Fault(Struct, frozen=True):
    """Something wrong with the constraints of a property. It stands at the first of `keys` that its author wrote."""

    code: FindingCode
    keys: tuple[str, ...]
    message: str
    remedy: str


def faults(prop: Property) -> Iterator[Fault]:
    """What is wrong with the constraints in force, taken together."""
    for low, high in _BOUNDS:
        least, most = getattr(prop, low), getattr(prop, high)
        if least is not None and most is not None and least > most:
            message = f"no value fits: {low} {least} is above {high} {most}"
            yield Fault(FindingCode.IMPOSSIBLE_CONSTRAINT, (low, high), message, "Correct one of the two")
    others = tuple(key for key in ALL_CONSTRAINTS[1:] if getattr(prop, key) is not None)
    if not prop.enum or not others:
        return
    broken = False
    for value in prop.enum:
        problem = value_problem(without(prop, "enum"), value)
        if problem is not None:
            broken = True
            message = f"`{value}` of the enum breaks the other constraints: {problem}"
            remedy = "Take the value out, or the constraint away"
            yield Fault(FindingCode.IMPOSSIBLE_CONSTRAINT, (*others, "enum"), message, remedy)
    if not broken:
        for key in others:
            message = f"the enum already says what `{key}` says"
            yield Fault(FindingCode.REDUNDANT_CONSTRAINT, (key,), message, "Remove it")


def looser(own: Mapping[str, Any], known: Property) -> Iterator[Fault]:
    """Where the constraints `own` of a use allow what the dictionary's `known` forbids."""
    for key, value in own.items():
        said = getattr(known, key)
        if said is None or said == () or value == said:
            continue
        remedy = f"Tighten it here, or loosen it for every use in the dictionary ({key}: {said})"
        if key in ("format", "pattern"):
            message = f"the dictionary has another `{key}`, and a value must fit both"
            remedy = "Remove it here, or take it out of the dictionary and write it at each use"
            yield Fault(FindingCode.LOOSER_CONSTRAINT, (key,), message, remedy)
        elif key == "enum":
            if extra := [member for member in value if member not in said]:
                listed = ", ".join(f"`{member}`" for member in extra)
                message = f"{listed} {'is' if len(extra) == 1 else 'are'} not in the enum of the dictionary"
                yield Fault(
                    FindingCode.LOOSER_CONSTRAINT, (key,), message, "Add it to the dictionary, or remove it here"
                )
        elif (value < said) == key.startswith("min"):
            message = f"{key} {value} allows what the dictionary forbids ({said})"
            yield Fault(FindingCode.LOOSER_CONSTRAINT, (key,), message, remedy)


def value_problem(prop: Property, value: Any) -> str | None:
    """What is wrong with a value of the property, as a verdict would say it; None if nothing is."""
    check = build_checker({prop.name: replace(prop, required=True, nullable=False)}, "$")
    result = check(msgspec.json.encode({prop.name: value}))
    if isinstance(result, Problem):
        return result.message
    return "it holds what the property has not" if result.unplanned else None


def without(prop: Property, *keys: str) -> Property:
    """The property without some of its constraints."""
    return replace(prop, **{key: () if key == "enum" else None for key in keys})
