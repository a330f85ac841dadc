"""Names of column types: Delta's, the plan's neutral ones and DuckDB's, translated into each other.

A table that every engine reads holds long, double, string, timestamp (UTC), date, boolean, and lists and structs of
these. What a model computes in another type is narrowed to one of them here.
"""

from __future__ import annotations

from typing import Any, Final

from polku_analytics.errors import BuildError
from polku_schemas.column_types import struct_fields

_FROM_DELTA: Final = {
    "string": "VARCHAR",
    "long": "BIGINT",
    "integer": "INTEGER",
    "short": "SMALLINT",
    "byte": "TINYINT",
    "double": "DOUBLE",
    "float": "FLOAT",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "timestamp_ntz": "TIMESTAMP",
    "binary": "BLOB",
}

_TO_NEUTRAL: Final = {
    "VARCHAR": "string",
    "BIGINT": "long",
    "INTEGER": "long",
    "SMALLINT": "long",
    "TINYINT": "long",
    "UTINYINT": "long",
    "USMALLINT": "long",
    "UINTEGER": "long",
    "UBIGINT": "long",
    "HUGEINT": "long",
    "DOUBLE": "double",
    "FLOAT": "double",
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
    "TIMESTAMP": "timestamp",
}


def duckdb_type(delta: Any) -> str:
    """The DuckDB type of a Delta type as the schema's JSON has it: a name, or an array or struct of types."""
    if isinstance(delta, str):
        if delta.startswith("decimal"):
            return delta.upper()
        return _FROM_DELTA[delta]
    if delta["type"] == "array":
        return f"{duckdb_type(delta['elementType'])}[]"
    if delta["type"] == "map":
        return f"MAP({duckdb_type(delta['keyType'])}, {duckdb_type(delta['valueType'])})"
    fields = ", ".join(f"{quoted(field['name'])} {duckdb_type(field['type'])}" for field in delta["fields"])
    return f"STRUCT({fields})"


def duckdb_type_of_neutral(neutral: str) -> str:
    """The DuckDB type of a neutral type: `list<struct<a:long,b:string>>` is `STRUCT(a BIGINT, b VARCHAR)[]`."""
    if neutral.startswith("list<"):
        return duckdb_type_of_neutral(neutral[5:-1]) + "[]"
    if neutral.startswith("struct<"):
        fields = ", ".join(f"{quoted(name)} {duckdb_type_of_neutral(kind)}" for name, kind in struct_fields(neutral))
        return f"STRUCT({fields})"
    return _FROM_DELTA[neutral]


def neutral_type(duckdb_name: str, column: str) -> str:
    """The neutral type a computed column is stored as. BuildError for one that not every engine could read."""
    if duckdb_name.endswith("[]"):
        return f"list<{neutral_type(duckdb_name[:-2], column)}>"
    if duckdb_name.startswith("DECIMAL"):
        return "double"
    if duckdb_name in _TO_NEUTRAL:
        return _TO_NEUTRAL[duckdb_name]
    raise BuildError(f"column {column} would have the type {duckdb_name}, which not every engine reads: cast it")


def quoted(identifier: str) -> str:
    """An identifier in double quotes, whatever is in it."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in single quotes, whatever is in it."""
    return "'" + text.replace("'", "''") + "'"
