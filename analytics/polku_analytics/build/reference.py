"""The reference tables: as the models read them, with the columns they ask for, there or not; and what rests on them.

A changed row concerns the tables that are made whole from it, and the people whose rows have its key. The others stay.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import duckdb
from deltalake.exceptions import DeltaError
from msgspec import structs

from polku_analytics.build.record import Loaded
from polku_analytics.delta_types import duckdb_type_of_neutral, quoted
from polku_analytics.errors import LakeError
from polku_analytics.fillings import REFERENCE_TABLES
from polku_analytics.lake import Lake, attach, relation_sql
from polku_analytics.model_files import Model

READ_BY_KEY: Final[Mapping[str, tuple[str, str]]] = {"products": ("order_lines", "product_id")}
"""The reference tables that people's rows rest on: the one model that reads it, and the column, in both, by which it
does. A row of the model rests on the rows of its own key alone."""


def attach_reference_tables(connection: duckdb.DuckDBPyConnection, lake: Lake) -> dict[str, Loaded | None]:
    """A view for each reference table that models read, an empty one for what was not loaded; which they are.

    A plan may give the columns other types than the models expect; what does not fit is null.
    """
    present = lake.tables()
    return {name: _attach(connection, lake, name, name, name in present) for name in REFERENCE_TABLES}


def reference_sql(expected: Mapping[str, str], source: str) -> str:
    """The columns (name → DuckDB type) that models read of a reference table, from `source`."""
    terms = ", ".join(f"TRY_CAST({quoted(column)} AS {kind}) AS {quoted(column)}" for column, kind in expected.items())
    return f"SELECT {terms} FROM {source}"


def downstream(models: Sequence[Model], names: Collection[str]) -> list[Model]:
    """Of models in the order in which they run those that rest on these tables, at first or at second hand."""
    reached, found = set(names), []
    for model in models:
        if reached & set(model.inputs):
            reached.add(model.name)
            found.append(model)
    return found


def find_changed_keys(
    connection: duckdb.DuckDBPyConnection, lake: Lake, name: str, before: Loaded | None, now: Loaded | None, sql: str
) -> bool:
    """Make `changed_keys` (key): those of rows that are new, gone or different in a column that `sql` reads.

    False if that cannot be told: what was read before is not there any more.
    """
    if before is not None and now is not None and before.table_id != now.table_id:
        return False
    was, key, words = f"{name}_before", READ_BY_KEY[name][1], set(re.findall(r"\w+", sql))
    read = ", ".join(quoted(column) for column in REFERENCE_TABLES[name] if column in words)
    version = None if before is None else before.version
    try:
        _attach(connection, lake, name, was, before is not None, version)
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE changed_keys AS SELECT DISTINCT {quoted(key)} AS key FROM ("
            f"(SELECT {read} FROM {quoted(name)} EXCEPT ALL SELECT {read} FROM {quoted(was)}) UNION ALL "
            f"(SELECT {read} FROM {quoted(was)} EXCEPT ALL SELECT {read} FROM {quoted(name)}))"
        )
    except (LakeError, DeltaError, duckdb.Error):
        return False
    return True


def _attach(
    connection: duckdb.DuckDBPyConnection, lake: Lake, name: str, view: str, there: bool, version: int | None = None
) -> Loaded | None:
    expected = {column: duckdb_type_of_neutral(kind) for column, kind in REFERENCE_TABLES[name].items()}
    source, loaded = f"({relation_sql(expected, [])})", None
    if there:
        snapshot = structs.replace(lake.snapshot(name, version=version), name=f"loaded_{view}")
        attach(connection, lake, snapshot, expected)
        source, loaded = quoted(snapshot.name), Loaded(snapshot.table_id, snapshot.version)
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(view)} AS {reference_sql(expected, source)}")
    return loaded
