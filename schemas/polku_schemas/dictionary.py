"""Reads `properties` and `traits`: the one place where a property's type, meaning and privacy are given."""

from __future__ import annotations

import keyword
from collections.abc import Collection
from pathlib import Path
from typing import Final, cast, get_args

from msgspec import Struct, field
from msgspec.structs import replace

from polku_schemas.columns import ENVELOPE_COLUMNS, EXTRA_COLUMN, TRAIT_PREFIX
from polku_schemas.documents import Document, read_document
from polku_schemas.errors import Finding
from polku_schemas.finding_codes import FindingCode
from polku_schemas.foreign_words import nearest, type_remedy
from polku_schemas.lint.constraints import value_problem
from polku_schemas.members import Members
from polku_schemas.model import HISTORY_FACTS, Privacy, Property, PropertyType
from polku_schemas.property_reader import read_constraints, read_default, read_use

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

_SCALARS: Final = [kind for kind in get_args(PropertyType) if kind not in ("array", "object")]


class Dictionary(Struct):
    """What one dictionary file says."""

    document: Document | None = None
    properties: dict[str, Property] = field(default_factory=dict)
    unclear: set[str] = field(default_factory=set)
    """Names whose entries could not be understood. That has been said; whoever uses them is not to blame."""

    def find(self, entry: Members, name: str) -> Property | None:
        """The property of this name. A use of one that is not here is a finding."""
        known = self.properties.get(name)
        if known is None and self.document is not None and name not in self.unclear:
            file = self.document.file
            close = nearest(name, self.properties)
            remedy = f"Did you mean `{close}`?" if close else "Add it there, or correct the name"
            entry.report(FindingCode.UNKNOWN_PROPERTY, (), f"the property `{name}` is not in {file}", remedy)
        return known


def read_dictionary(
    folder: Path, stem: str, findings: list[Finding], *, traits: bool, reserved: Collection[str] = ()
) -> Dictionary:
    """Read a dictionary; what is wrong is added to `findings` and left out or taken as unconstrained."""
    document = read_document(folder, stem, findings)
    if document is None:
        return Dictionary()
    members = Members(document, (), findings)
    dictionary = Dictionary(document, unclear=set(document.value) if isinstance(document.value, dict) else set())
    pending: dict[str, Members] = {}
    for name, entry in members.named():
        _check_name(entry, name, reserved, traits=traits)
        prop = _read_entry(entry, name, traits=traits)
        if prop is None:
            continue
        dictionary.properties[name] = prop
        dictionary.unclear.discard(name)
        if prop.type in ("array", "object"):
            pending[name] = entry
        else:
            entry.leftover()
    # Objects name other entries of the dictionary as their fields, so they are completed last.
    for name, entry in pending.items():
        completed = _complete(entry, dictionary.properties[name], dictionary)
        if completed is None:
            del dictionary.properties[name]
            dictionary.unclear.add(name)
        else:
            dictionary.properties[name] = completed
        entry.leftover()
    for prop in dictionary.properties.values():
        _check_examples(members, prop)
    return dictionary


def check_not_reserved(entry: Members, path: tuple[str, ...], name: str, reserved: Collection[str]) -> None:
    """A name that plan.yaml reserves is a finding."""
    if name in reserved:
        remedy = "Use another name, or take it out of `reserved` in plan.yaml"
        entry.report(FindingCode.RESERVED_NAME, path, f"the plan has reserved `{name}`", remedy)


def _check_name(entry: Members, name: str, reserved: Collection[str], *, traits: bool) -> None:
    check_not_reserved(entry, (), name, reserved)
    if keyword.iskeyword(name) or name in _SQL_WORDS:
        remedy = "Use another name, such as one with a noun before it"
        entry.report(FindingCode.KEYWORD_NAME, (), f"`{name}` is a word of Python or SQL", remedy)
    elif not traits and (name in RESERVED_NAMES or name.startswith(TRAIT_PREFIX)):
        message = f"`{name}` is reserved: the table has a column of this name"
        entry.report(FindingCode.RESERVED_NAME, (), message, "Use another name")


def _read_entry(entry: Members, name: str, *, traits: bool) -> Property | None:
    """The entry without what objects and lists hold; None where its type is not known."""
    remedy = "Remove it here and write it where the property is used"
    entry.misplaced("required", "whether a property is required is a matter of each event", remedy)
    kind = entry.one_of("type", get_args(PropertyType), remedy=type_remedy)
    prop = Property(
        name=name,
        type=cast("PropertyType", kind or "string"),
        description=entry.text("description"),
        privacy=cast("Privacy", entry.one_of("privacy", get_args(Privacy)) or "none"),
        nullable=entry.flag("nullable"),
        examples=tuple(entry.items("examples")),
    )
    if not kind:
        # Without a type nobody knows what else may stand here.
        entry.drop()
        return None
    prop = read_constraints(entry, prop)
    if traits and "default" in entry:
        remedy = "Remove it: identify sends what has changed, and a default would undo what was sent before"
        entry.report(FindingCode.INVALID_DEFAULT, ("default",), "a trait has no default", remedy)
        entry.raw("default")
    return read_default(entry, prop)


def _check_examples(members: Members, prop: Property) -> None:
    for index, example in enumerate(prop.examples):
        problem = value_problem(prop, example)
        if problem is not None:
            path = (prop.name, "examples", index)
            remedy = "Correct the example or the constraint"
            members.report(FindingCode.INVALID_EXAMPLE, path, f"the example breaks the plan: {problem}", remedy)


def _complete(entry: Members, prop: Property, dictionary: Dictionary) -> Property | None:
    """The list or object with what it holds; None where that is not known."""
    if prop.type == "object":
        fields = _read_fields(entry, dictionary)
        return None if fields is None else replace(prop, fields=fields)
    is_mapping = isinstance(entry.peek("items"), dict)
    items = entry.mapping("items", required=True)
    if not is_mapping:
        return None
    remedy = "Write the constraints of an item here and the rest at the list"
    for key in ("privacy", "required", "nullable", "examples", "default"):
        items.misplaced(key, f"an item has no `{key}` of its own", remedy)
    if items.peek("type") == "array":
        remedy = "Use a list of objects, or a list of texts"
        items.report(FindingCode.NESTED_TYPE, ("type",), "a list cannot hold lists: it would be no column", remedy)
        items.drop()
        return None
    kind = items.one_of("type", [*_SCALARS, "object"], remedy=type_remedy)
    if not kind:
        items.drop()
        return None
    item = Property(
        name=prop.name,
        type=cast("PropertyType", kind),
        description=items.text("description", required=False) or prop.description,
        privacy=prop.privacy,
    )
    item = read_constraints(items, item)
    if item.type == "object":
        fields = _read_fields(items, dictionary)
        if fields is None:
            items.drop()
            return None
        item = replace(item, fields=fields)
    items.leftover()
    return replace(prop, items=item)


def _read_fields(entry: Members, dictionary: Dictionary) -> dict[str, Property] | None:
    """The fields of an object: names from the same dictionary, so that a name has one type inside objects
    too. None where there is none."""
    members = entry.peek("properties")
    if not members:
        path = ("properties",) if "properties" in entry else ()
        remedy = "Name its properties: `properties: {product_id: {}}`"
        entry.report(FindingCode.EMPTY_OBJECT, path, "an object without properties holds nothing", remedy)
        entry.raw("properties")
        return None
    fields: dict[str, Property] = {}
    for name, use in entry.mapping("properties").named():
        known = None
        if "properties" in use or use.peek("type") in ("object", "array"):
            _report_nested(use, f"`{name}` is nested in an object")
        elif (known := dictionary.find(use, name)) and known.type in ("array", "object"):
            _report_nested(use, f"`{name}` is an {known.type} inside an object")
            known = None
        if known is None:
            use.drop()
        else:
            fields[name] = read_use(use, known)
    return fields or None


def _report_nested(use: Members, message: str) -> None:
    remedy = "Objects have one level: use properties with longer names, such as `address_street`"
    use.report(FindingCode.NESTED_TYPE, (), message, remedy)
