"""Reads what may stand at a property besides its type: constraints, default, and how an event or object uses it."""

from __future__ import annotations

import math
import re
from typing import Any, Final, get_args

from msgspec.structs import replace

from polku_schemas.finding_codes import FindingCode
from polku_schemas.foreign_words import format_remedy
from polku_schemas.lint.constraints import ALL_CONSTRAINTS, CONSTRAINTS, faults, looser, value_problem, without
from polku_schemas.lint.patterns import dialect_notes
from polku_schemas.members import Members
from polku_schemas.model import Property, StringFormat
from polku_schemas.tolerant import INT64_MAX, INT64_MIN

_INSTEAD: Final = {
    ("minimum", "string"): "Write `min_length`: it counts characters",
    ("maximum", "string"): "Write `max_length`: it counts characters",
    ("minimum", "array"): "Write `min_length`: it counts items",
    ("maximum", "array"): "Write `max_length`: it counts items",
    ("min_length", "integer"): "Write `minimum`",
    ("max_length", "integer"): "Write `maximum`",
    ("min_length", "number"): "Write `minimum`",
    ("max_length", "number"): "Write `maximum`",
    ("enum", "number"): "Use `minimum` and `maximum`, or the type integer or string",
    ("enum", "boolean"): "Remove it: a boolean is true or false",
    ("enum", "array"): "Write it at `items`",
    ("pattern", "array"): "Write it at `items`",
    ("format", "array"): "Write it at `items`",
}
"""A constraint that a type has not → what was probably meant."""


def read_use(entry: Members, known: Property) -> Property:
    """The dictionary's property as an event or object uses it: required or not, tighter, closer described."""
    for key in ("type", "privacy", "nullable", "items", "examples"):
        remedy = f"Remove it here; properties.yaml or traits.yaml says it for every use of `{known.name}`"
        entry.misplaced(key, f"`{key}` of `{known.name}` is given in the dictionary", remedy)
    if "properties" in entry:
        remedy = f"Give `{known.name}` its properties in the dictionary; objects have one level"
        entry.misplaced("properties", "the members of an object are given in the dictionary", remedy)
    required = entry.flag("required")
    prop = replace(known, required=required, description=entry.text("description", required=False) or known.description)
    prop = read_constraints(entry, prop, known)
    prop = read_default(entry, prop)
    entry.leftover()
    return prop


def read_constraints(entry: Members, prop: Property, known: Property | None = None) -> Property:
    """The property with the constraints of `entry` over its own.

    `known` is the dictionary's, which a use may only tighten. A constraint with a finding is left out, so that one
    mistake is one finding.
    """
    allowed = CONSTRAINTS.get(prop.type, ())
    own: dict[str, Any] = {}
    for key in ALL_CONSTRAINTS:
        if key in entry and key not in allowed:
            possible = f"Remove it; possible here: {', '.join(allowed) or 'none'}"
            remedy = _INSTEAD.get((key, prop.type), possible)
            entry.report(FindingCode.CONSTRAINT_TYPE, (key,), f"the type {prop.type} has no `{key}`", remedy)
            entry.raw(key)
        elif key in allowed:
            value = _read_constraint(entry, key, prop)
            if value is not None:
                own[key] = value
    for fault in tuple(looser(own, known)) if known else ():
        entry.report(fault.code, fault.keys, fault.message, fault.remedy)
        own.pop(fault.keys[0])
    constrained = replace(prop, **own)
    for fault in faults(constrained):
        written = [key for key in fault.keys if key in own]
        if written:
            names = (prop.name,) if fault.code is FindingCode.REDUNDANT_CONSTRAINT else ()
            entry.report(fault.code, (written[0],), fault.message, fault.remedy, names)
            constrained = without(constrained, *fault.keys)
    # The enum says it all, and whoever reads the property further on need not look twice.
    return without(constrained, *ALL_CONSTRAINTS[1:]) if constrained.enum else constrained


def read_default(entry: Members, prop: Property) -> Property:
    """The property with the default of `entry`, or with the one it has where that can be used and still fits."""
    value = entry.raw("default")
    if value is None:
        if prop.default is None or prop.required:
            return replace(prop, default=None)
        problem = value_problem(prop, prop.default)
        if problem is None:
            return prop
        message, remedy = f"the dictionary's default does not fit here: {problem}", "Give a `default` here that does"
        entry.report(FindingCode.INVALID_DEFAULT, (), message, remedy)
        return replace(prop, default=None)
    if prop.type in ("array", "object") or isinstance(value, (list, dict)):
        message, remedy = "a default is a text, a number or a boolean", "Remove it"
    elif prop.required:
        message, remedy = "a required property never takes its default", "Remove `default` or `required`"
    else:
        problem = value_problem(prop, value)
        if problem is None:
            return replace(prop, default=value)
        message, remedy = f"the default does not fit: {problem}", "Correct the default or the constraint"
    entry.report(FindingCode.INVALID_DEFAULT, ("default",), message, remedy)
    return replace(prop, default=None)


def _read_constraint(entry: Members, key: str, prop: Property) -> Any:
    if key == "enum":
        return _enum(entry, prop) or None
    if key == "format":
        return entry.one_of("format", get_args(StringFormat), "", format_remedy) or None
    if key == "pattern":
        return _pattern(entry, prop)
    if key in ("min_length", "max_length"):
        return entry.count(key)
    return _bound(entry, key, prop)


def _enum(entry: Members, prop: Property) -> tuple[str | int, ...]:
    expected: type[str | int] = str if prop.type == "string" else int
    values: list[str | int] = []
    for index, value in enumerate(entry.items("enum", required="enum" in entry)):
        if type(value) is not expected:
            written = entry.document.written((*entry.path, "enum", index))
            remedy = f'Put it in quotes: "{written}"' if written and expected is str else "Correct or remove it"
            message = f"`{written or value}` is no {prop.type}"
            entry.report(FindingCode.WRONG_TYPE, ("enum", index), message, remedy)
        elif value in values:
            message = f"`{value}` stands here twice"
            entry.report(FindingCode.REPEATED_VALUE, ("enum", index), message, "Keep one of them")
        else:
            values.append(value)
    return tuple(values)


def _pattern(entry: Members, prop: Property) -> str | None:
    pattern = entry.text("pattern", required=False)
    if not pattern:
        return None
    try:
        re.compile(pattern)
    except re.error as error:
        message = f"this is not a regular expression: {error}"
        entry.report(FindingCode.INVALID_PATTERN, ("pattern",), message, "Correct it")
        return None
    for note in dialect_notes(pattern):
        entry.report(FindingCode.PATTERN_DIALECT, ("pattern",), note.message, note.remedy, (prop.name,))
    return pattern


def _bound(entry: Members, key: str, prop: Property) -> int | float | None:
    value = entry.number(key)
    if prop.type == "integer" and isinstance(value, float):
        if value.is_integer() and INT64_MIN <= value <= INT64_MAX:
            return int(value)
        whole = math.ceil(value) if key == "minimum" else math.floor(value)
        message = f"`{key}` of an integer is not whole"
        entry.report(FindingCode.WRONG_TYPE, (key,), message, f"Write {key}: {whole}")
        return None
    return value
