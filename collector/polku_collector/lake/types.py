"""The column types of the tables, in their neutral spelling, as DuckDB and Delta call them.

Neutral types: string, long, double, boolean, date, timestamp (microseconds, UTC), list<T>, struct<a:T,b:T>. Nothing
else, so that every reader of Delta can read the tables (reader version 1, writer version 2).
"""

from __future__ import annotations

import json
from typing import Any

from deltalake import Schema
from deltalake.schema import Field

_DUCKDB = {
    "string": "VARCHAR",
    "long": "BIGINT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMPTZ",
}


def duckdb_type(neutral: str) -> str:
    """`list<struct<a:long>>` → `STRUCT("a" BIGINT)[]`."""
    if neutral.startswith("list<"):
        return duckdb_type(neutral[5:-1]) + "[]"
    if neutral.startswith("struct<"):
        fields = ", ".join(f"{quoted(name)} {duckdb_type(kind)}" for name, kind in struct_fields(neutral))
        return f"STRUCT({fields})"
    return _DUCKDB[neutral]


def delta_type(neutral: str) -> Any:
    """The type as it stands in a Delta schema's JSON."""
    if neutral.startswith("list<"):
        return {"type": "array", "elementType": delta_type(neutral[5:-1]), "containsNull": True}
    if neutral.startswith("struct<"):
        return {"type": "struct", "fields": [_delta_field(*field) for field in struct_fields(neutral)]}
    return neutral


def neutral_type(delta: Any) -> str:
    """The inverse of `delta_type`, for a column of an existing table."""
    if isinstance(delta, str):
        return delta
    if delta["type"] == "array":
        return f"list<{neutral_type(delta['elementType'])}>"
    if delta["type"] == "struct":
        fields = ",".join(f"{field['name']}:{neutral_type(field['type'])}" for field in delta["fields"])
        return f"struct<{fields}>"
    return str(delta["type"])


def delta_schema(columns: dict[str, str]) -> Schema:
    """A Delta schema of nullable columns."""
    fields = [_delta_field(name, kind) for name, kind in columns.items()]
    return Schema.from_json(json.dumps({"type": "struct", "fields": fields}))


def delta_field(name: str, neutral: str) -> Field:
    """One nullable column."""
    return Field.from_json(json.dumps(_delta_field(name, neutral)))


def columns_of(schema: Schema) -> dict[str, str]:
    """A table's columns in their neutral spelling."""
    return {field["name"]: neutral_type(field["type"]) for field in json.loads(schema.to_json())["fields"]}


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


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def _delta_field(name: str, neutral: str) -> dict[str, Any]:
    return {"name": name, "type": delta_type(neutral), "nullable": True, "metadata": {}}
