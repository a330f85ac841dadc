"""The reference tables as the models read them: with the columns they ask for, there or not."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
from msgspec import structs

from polku_analytics.delta_types import duckdb_type_of_neutral, quoted
from polku_analytics.fillings import REFERENCE_TABLES
from polku_analytics.lake import Lake, attach, relation_sql


def attach_reference_tables(connection: duckdb.DuckDBPyConnection, lake: Lake) -> dict[str, int | None]:
    """A view for each reference table that models read, an empty one for what was not loaded; their versions.

    A plan may give the columns other types than the models expect; what does not fit is null.
    """
    present = lake.tables()
    versions: dict[str, int | None] = {}
    for name, columns in REFERENCE_TABLES.items():
        expected = {column: duckdb_type_of_neutral(kind) for column, kind in columns.items()}
        source, versions[name] = f"({relation_sql(expected, [])})", None
        if name in present:
            snapshot = structs.replace(lake.snapshot(name), name=f"loaded_{name}")
            attach(connection, lake, snapshot, expected)
            source, versions[name] = quoted(snapshot.name), snapshot.version
        connection.execute(f"CREATE TEMP VIEW {quoted(name)} AS {reference_sql(expected, source)}")
    return versions


def reference_sql(expected: Mapping[str, str], source: str) -> str:
    """The columns (name → DuckDB type) that models read of a reference table, from `source`."""
    terms = ", ".join(f"TRY_CAST({quoted(column)} AS {kind}) AS {quoted(column)}" for column, kind in expected.items())
    return f"SELECT {terms} FROM {source}"
