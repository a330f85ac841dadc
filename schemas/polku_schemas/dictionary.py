"""Reads `properties.yaml` and `traits.yaml`: the one place where a property's type, meaning and privacy are
given."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Any, Final, cast, get_args

import msgspec
from msgspec.structs import replace

from polku_schemas.check import build_checker
from polku_schemas.columns import ENVELOPE_COLUMNS, EXTRA_COLUMN, TRAIT_PREFIX
from polku_schemas.documents import read_document
from polku_schemas.errors import Finding
from polku_schemas.members import Members
from polku_schemas.model import HISTORY_FACTS, Privacy, Property, PropertyType
from polku_schemas.problems import Problem
from polku_schemas.tolerant import INT64_MAX, INT64_MIN

_CONSTRAINTS: Final[dict[str, tuple[str, ...]]] = {
    "string": ("enum", "min_length", "max_length", "pattern"),
    "integer": ("enum", "minimum", "maximum"),
    "number": ("minimum", "maximum"),
    "array": ("min_length", "max_length"),
}
"""Which constraints a type can have; the other types have none."""

_ALL_CONSTRAINTS: Final = ("enum", "minimum", "maximum", "min_length", "max_length", "pattern")

RESERVED_NAMES: Final = frozenset({*ENVELOPE_COLUMNS, *HISTORY_FACTS, EXTRA_COLUMN, "p", "t"})
"""Names that no property may have: columns of the envelope and the models, and keys of the journal's
lines."""

# They would have to be quoted in SQL, and engines do not agree on the quotes.
_SQL_WORDS: Final = frozenset(
    """
    all and any array as asc between both by case cast check collate column constraint create cross
    current_date current_time current_timestamp current_user default delete desc distinct drop else end
    escape except exists false fetch filter for foreign from full grant group having in inner insert
    intersect into is join lateral leading left like limit natural not null offset on only or order
    outer overlaps partition primary qualify references right select session_user set some table
    tablesample then to trailing true union unique unnest update user using values when where window
    with
    """.split()  # noqa: SIM905 - ninety quoted words would not be easier to read
)


def read_dictionary(folder: Path, file: str, findings: list[Finding], *, traits: bool) -> dict[str, Property]:
    """Read a dictionary; what is wrong is added to `findings` and left out or taken as unconstrained."""
    document = read_document(folder, file, findings)
    if document is None:
        return {}
    members = Members(document, (), findings)
    pending: dict[str, Members] = {}
    properties: dict[str, Property] = {}
    for name, entry in members.named():
        _check_name(entry, name, traits=traits)
        prop = _read_entry(entry, name)
        properties[name] = prop
        if prop.type in ("array", "object"):
            pending[name] = entry
        else:
            entry.leftover()
    # Objects name other entries of the dictionary as their fields, so they are completed last.
    scalars = {name: prop for name, prop in properties.items() if name not in pending}
    for name, entry in pending.items():
        properties[name] = _complete(entry, properties[name], scalars)
        entry.leftover()
    for name, prop in properties.items():
        _check_examples(members, prop, name)
    return properties


def read_use(entry: Members, prop: Property) -> Property:
    """The property as an event or object uses it: required or not, with its own constraints and
    description."""
    prop = replace(prop, required=entry.flag("required"))
    description = entry.text("description", required=False)
    if description:
        prop = replace(prop, description=description)
    prop = _read_constraints(entry, prop)
    entry.leftover()
    return prop


def _read_constraints(entry: Members, prop: Property) -> Property:
    """The property with the constraints of `entry` in place of its own."""
    allowed = _CONSTRAINTS.get(prop.type, ())
    found: dict[str, Any] = {}
    for constraint in _ALL_CONSTRAINTS:
        if constraint not in entry:
            continue
        if constraint not in allowed:
            remedy = f"Remove it; possible here: {', '.join(allowed) or 'none'}"
            entry.report((constraint,), f"`{constraint}` does not fit the type {prop.type}", remedy)
            entry.raw(constraint)
        elif constraint == "enum":
            found["enum"] = _enum(entry, prop)
        elif constraint == "pattern":
            found["pattern"] = _pattern(entry)
        elif constraint in ("min_length", "max_length"):
            found[constraint] = entry.count(constraint)
        else:
            found[constraint] = _bound(entry, constraint, prop)
    constrained = replace(prop, **found)
    if constrained.enum and any(getattr(constrained, name) is not None for name in _ALL_CONSTRAINTS[1:]):
        entry.report((), "an enum has other constraints beside it", "Remove them: the enum says it all")
    low, high = constrained.minimum, constrained.maximum
    if low is not None and high is not None and low > high:
        entry.report((), f"the minimum {low} is above the maximum {high}", "Swap or correct them")
    shortest, longest = constrained.min_length, constrained.max_length
    if shortest is not None and longest is not None and shortest > longest:
        entry.report((), "min_length is above max_length", "Swap or correct them")
    return constrained


def _check_name(entry: Members, name: str, *, traits: bool) -> None:
    if keyword.iskeyword(name) or name in _SQL_WORDS:
        entry.report((), f"`{name}` is a word of Python or SQL", "Use another name, such as one with a noun before it")
    elif not traits and (name in RESERVED_NAMES or name.startswith(TRAIT_PREFIX)):
        entry.report((), f"`{name}` is reserved: the table has a column of this name", "Use another name")


def _read_entry(entry: Members, name: str) -> Property:
    prop = Property(
        name=name,
        type=cast("PropertyType", entry.one_of("type", get_args(PropertyType))),
        description=entry.text("description"),
        privacy=cast("Privacy", entry.one_of("privacy", get_args(Privacy))),
        nullable=entry.flag("nullable"),
        examples=tuple(entry.items("examples")),
    )
    return _read_constraints(entry, prop)


def _check_examples(members: Members, prop: Property, name: str) -> None:
    check = build_checker({name: prop}, "$")
    for index, example in enumerate(prop.examples):
        result = check(msgspec.json.encode({name: example}))
        if isinstance(result, Problem):
            remedy = "Correct the example or the constraint"
            members.report((name, "examples", index), f"the example breaks the plan: {result.message}", remedy)


def _complete(entry: Members, prop: Property, scalars: dict[str, Property]) -> Property:
    if prop.type == "object":
        return replace(prop, fields=_read_fields(entry, scalars))
    items = entry.mapping("items", required=True)
    item_type = items.one_of("type", [t for t in get_args(PropertyType) if t != "array"])
    item = Property(
        name=prop.name,
        type=cast("PropertyType", item_type),
        description=items.text("description", required=False) or prop.description,
        privacy=prop.privacy,
    )
    item = _read_constraints(items, item)
    if item.type == "object":
        item = replace(item, fields=_read_fields(items, scalars))
    items.leftover()
    return replace(prop, items=item)


def _read_fields(entry: Members, scalars: dict[str, Property]) -> dict[str, Property]:
    """The fields of an object: names from the same dictionary, so that a name has one type inside objects
    too."""
    fields = {}
    for name, use in entry.mapping("properties", required=True).named():
        known = scalars.get(name)
        if known is None:
            use.report((), f"the field `{name}` is not a scalar of this dictionary", "Add it at the top level")
            continue
        fields[name] = read_use(use, known)
    return fields


def _enum(entry: Members, prop: Property) -> tuple[str | int, ...]:
    expected: type = str if prop.type == "string" else int
    values = entry.items("enum", required=True)
    if any(type(value) is not expected for value in values):
        entry.report(("enum",), f"a value is not of the type {prop.type}", "Correct it, or put it in quotes")
        return ()
    if len(set(values)) != len(values):
        entry.report(("enum",), "a value stands here twice", "Keep one of them")
    return tuple(dict.fromkeys(values))


def _pattern(entry: Members) -> str | None:
    pattern = entry.text("pattern")
    try:
        re.compile(pattern)
    except re.error as error:
        entry.report(("pattern",), f"this is not a regular expression: {error}", "Correct it")
        return None
    return pattern or None


def _bound(entry: Members, constraint: str, prop: Property) -> int | float | None:
    value = entry.number(constraint)
    if prop.type == "integer" and isinstance(value, float):
        entry.report((constraint,), f"`{constraint}` of an integer is not whole", "Write a whole number")
        return None
    if isinstance(value, int) and not INT64_MIN <= value <= INT64_MAX:
        entry.report((constraint,), f"`{constraint}` is outside 64 bits", "Leave it out: 64 bits are always checked")
        return None
    return value
