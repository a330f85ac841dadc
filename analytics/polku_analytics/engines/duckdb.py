"""DuckDB, embedded: the engine of every command unless another is named."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from polku_analytics.delta_types import quoted
from polku_analytics.engines.dialect import Dialect
from polku_analytics.engines.engine import table_arrays, table_rows
from polku_analytics.engines.files import KEPT_IN_ORDER, files_in_runs
from polku_analytics.errors import MissingTableError, QueryError
from polku_analytics.lake import Lake, TableSnapshot, attach

_MISSING_TABLE: Final = re.compile(r"Table with name (?P<name>\S+) does not exist")
"""How DuckDB says so; its own suggestions are tables of its catalog, which are not the lake's."""


class DuckDB:
    """One connection, with a view for each table of the lake."""

    dialect = Dialect()

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self._runs: dict[str, int] = {}

    def open(self, lake: Lake, snapshot: TableSnapshot, expected: Mapping[str, str]) -> None:
        """Let SQL read one version of a table under its name; what no file holds is null."""
        self._runs.pop(snapshot.name, None)
        if snapshot.name in KEPT_IN_ORDER:
            runs = files_in_runs(lake.local_paths(snapshot.files), KEPT_IN_ORDER[snapshot.name])
            if runs:
                snapshot = snapshot.only(snapshot.files[place] for run in runs for place in run)
                self._runs[snapshot.name] = len(runs)
        attach(self.connection, lake, snapshot, expected)

    def runs_in_order(self, table: str) -> int:
        """DuckDB gives rows as its files hold them, one file after the other."""
        return self._runs.get(table, 0)

    def arrow(self, sql: str) -> pa.Table:
        """All rows as Arrow. QueryError with DuckDB's words."""
        try:
            relation = self.connection.sql(sql)
            # A statement that answers nothing gives no relation.
            table: pa.Table = pa.table({}) if relation is None else relation.to_arrow_table()
            return table
        except duckdb.Error as error:
            raise _told(error) from error

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows as tuples; times are aware, in UTC."""
        return table_rows(self.arrow(sql))

    def columns(self, sql: str) -> dict[str, np.ndarray[Any, Any]]:
        """All rows as one array a column."""
        # Arrow and not `fetchnumpy`, which takes more than twice the time.
        return table_arrays(self.arrow(sql))

    def batches(self, sql: str, rows: int) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
        """All rows as arrays of about so many, while DuckDB reads on."""
        try:
            yield from map(table_arrays, self.connection.sql(sql).to_arrow_reader(rows))
        except duckdb.Error as error:
            raise _told(error) from error

    def keep(self, name: str, sql: str) -> None:
        """Compute a query into a temporary table, in the place of an earlier one of the name."""
        try:
            self.connection.execute(f"CREATE OR REPLACE TEMP TABLE {quoted(name)} AS {sql}")
        except duckdb.Error as error:
            raise _told(error) from error

    def show(self, name: str, sql: str) -> None:
        """Let later queries read a query under this name, in the place of an earlier one of the name."""
        try:
            self.connection.execute(f"CREATE OR REPLACE VIEW {quoted(name)} AS {sql}")
        except duckdb.Error as error:
            raise _told(error) from error


def engine_words(error: Exception) -> str:
    """What an engine complains about, in one line: without class name, caret and position."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("LINE ", "^"))]
    text = " ".join(kept) or type(error).__name__
    head, _, rest = text.partition(": ")
    return rest if head.endswith("Error") and rest else text


def _told(error: duckdb.Error) -> QueryError:
    missing = _MISSING_TABLE.search(str(error)) if isinstance(error, duckdb.CatalogException) else None
    return (
        QueryError(engine_words(error)) if missing is None else MissingTableError(missing["name"], engine_words(error))
    )
