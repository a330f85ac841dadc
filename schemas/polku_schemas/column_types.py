"""The types that columns may have, in a neutral spelling, and how a table's columns and wanted ones stand together.

Neutral types: `string long double boolean date timestamp list<T> struct<a:T,b:T>` (timestamps in microseconds, UTC).
Nothing else, so that every reader of Delta can read the tables (reader version 1, writer version 2). What an engine
calls them is the engine's user's matter; Delta's own names are here because everybody who opens a table needs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class Clash(Struct, frozen=True):
    """A column that can never hold what is wanted of it: a column's type is for life."""

    column: str
    wanted: str
    present: str
    """The type in the table; "" where the table has a column that differs only in case."""
    other: str = ""
    """The column that differs only in case."""

    def __str__(self) -> str:
        if self.other:
            return (
                f"the plan's property `{self.column}` differs from the column `{self.other}` only in case; "
                "rename the property"
            )
        return (
            f"the plan gives `{self.column}` the type {self.wanted}, the table has {self.present}; "
            "a column's type is for life: give the property another name"
        )


class Widening(Struct, frozen=True):
    """What a table needs before files with the wanted columns can be committed to it."""

    added: dict[str, str]
    """Columns the table lacks, with their types."""
    widened: dict[str, str]
    """Columns whose structs lack members, with the type that has the members of both."""
    clashes: list[Clash]


def widening(have: Mapping[str, str], wanted: Mapping[str, str]) -> Widening:
    """Compare a table's columns with wanted ones. What the table has beyond them is left alone."""
    found = Widening({}, {}, [])
    lower = {name.lower(): name for name in have}
    for name, kind in wanted.items():
        present = have.get(name)
        if present is None and name.lower() in lower:
            found.clashes.append(Clash(name, kind, "", lower[name.lower()]))
        elif present is None:
            found.added[name] = kind
        elif (merged := merge(present, kind)) is None:
            found.clashes.append(Clash(name, kind, present))
        elif merged != present:
            found.widened[name] = merged
    return found


def merge(present: str, wanted: str) -> str | None:
    """The type that holds values of both, structs with the members of both; None where there is none.

    The members of `present` stay in front, in their order.
    """
    if present == wanted:
        return present
    if present.startswith("list<") and wanted.startswith("list<"):
        inner = merge(present[5:-1], wanted[5:-1])
        return None if inner is None else f"list<{inner}>"
    if present.startswith("struct<") and wanted.startswith("struct<"):
        members = dict(struct_fields(present))
        for name, kind in struct_fields(wanted):
            merged = kind if name not in members else merge(members[name], kind)
            if merged is None:
                return None
            members[name] = merged
        return f"struct<{','.join(f'{name}:{kind}' for name, kind in members.items())}>"
    return None


def struct_fields(neutral: str) -> list[tuple[str, str]]:
    """The members of `struct<…>`, split at the commas of its own level."""
    fields, depth, start = [], 0, 7
    for position in range(7, len(neutral)):
        mark = neutral[position]
        if mark == "<":
            depth += 1
        elif mark == ">" and depth:
            depth -= 1
        elif (mark == "," and depth == 0) or position == len(neutral) - 1:
            name, _, kind = neutral[start:position].partition(":")
            fields.append((name, kind))
            start = position + 1
    return fields


def delta_type(neutral: str) -> Any:
    """The type as it stands in a Delta schema's JSON."""
    if neutral.startswith("list<"):
        return {"type": "array", "elementType": delta_type(neutral[5:-1]), "containsNull": True}
    if neutral.startswith("struct<"):
        return {"type": "struct", "fields": [delta_field(*field) for field in struct_fields(neutral)]}
    return neutral


def delta_field(name: str, neutral: str) -> dict[str, Any]:
    """One nullable column as it stands in a Delta schema's JSON."""
    return {"name": name, "type": delta_type(neutral), "nullable": True, "metadata": {}}


def neutral_type(delta: Any) -> str:
    """The inverse of `delta_type`, for a column of an existing table. Other types keep their Delta name."""
    if isinstance(delta, str):
        return delta
    if delta["type"] == "array":
        return f"list<{neutral_type(delta['elementType'])}>"
    if delta["type"] == "struct":
        fields = ",".join(f"{field['name']}:{neutral_type(field['type'])}" for field in delta["fields"])
        return f"struct<{fields}>"
    return str(delta["type"])
