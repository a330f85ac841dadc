"""The neutral column types (`polku_schemas.column_types`) as DuckDB and deltalake take them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from deltalake import Schema
from deltalake.schema import Field

from polku_schemas.column_types import delta_field, neutral_type, struct_fields

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


def schema_of(columns: dict[str, str]) -> Schema:
    """A Delta schema of nullable columns."""
    fields = [delta_field(name, kind) for name, kind in columns.items()]
    return Schema.from_json(json.dumps({"type": "struct", "fields": fields}))


def field_of(name: str, neutral: str) -> Field:
    """One nullable column."""
    return Field.from_json(json.dumps(delta_field(name, neutral)))


def columns_of(schema: Schema) -> dict[str, str]:
    """A table's columns in their neutral spelling."""
    return {field["name"]: neutral_type(field["type"]) for field in json.loads(schema.to_json())["fields"]}


def places(columns: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Where values stand: the names of columns, and of the members of structs, as `offer.price`."""
    for name, kind in columns:
        while kind.startswith("list<"):
            kind = kind[5:-1]
        yield name
        if kind.startswith("struct<"):
            yield from places((f"{name}.{member}", of) for member, of in struct_fields(kind))


def arrow_places(fields: Iterable[Any]) -> Iterator[str]:  # Any: pyarrow's classes have no types
    """The same of an Arrow schema, or of a file's."""
    import pyarrow as pa  # here: who compares a plan with a table at a start has no other use for it

    for field in fields:
        kind = field.type
        while pa.types.is_list(kind):
            kind = kind.value_type
        yield field.name
        if pa.types.is_struct(kind):
            yield from (f"{field.name}.{place}" for place in arrow_places(kind))


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
