"""What an analysis needs of a SQL engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from polku_analytics.engines.dialect import Dialect
from polku_analytics.lake import Lake, TableSnapshot


class Engine(Protocol):
    """Tables of one lake that can be asked in SQL. Rows come in the order that the SQL asks for."""

    @property
    def dialect(self) -> Dialect:
        """What it says in its own way."""

    def open(self, lake: Lake, snapshot: TableSnapshot, expected: Mapping[str, str]) -> None:
        """Let SQL read one version of a table under the snapshot's name.

        What no file holds is null; so are the `expected` columns (name → DuckDB type) that the table does not have.
        """

    def arrow(self, sql: str) -> pa.Table:
        """All rows as Arrow, timestamps in UTC. QueryError with the engine's words."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows as tuples; times are aware, in UTC."""

    def columns(self, sql: str) -> dict[str, np.ndarray[Any, Any]]:
        """All rows as one array a column; for numbers, booleans and times that are never null.

        Times are microseconds since 1970 in UTC.
        """

    def keep(self, name: str, sql: str) -> None:
        """Compute a query once and let later ones read it under this name."""

    def show(self, name: str, sql: str) -> None:
        """Let later queries read a query under this name; it is computed whenever they do."""

    def runs_in_order(self, table: str) -> int:
        """In how many runs a SELECT of columns and conditions from this table alone gives its rows, each run in the
        order in which rows are kept, without being asked to: a build of what is new adds a run. 0: there is no order.
        """

    def batches(self, sql: str, rows: int) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
        """The same as `columns`, about so many rows at a time, while the next ones are read."""


def unit_numbers(units: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Numbers for units of any type, equal for equal ones, of an array in which equal ones lie together."""
    if np.issubdtype(units.dtype, np.integer):
        return units
    begins = np.append(True, units[1:] != units[:-1])[: len(units)]
    return np.asarray(np.cumsum(begins), dtype=np.int64)


def table_rows(table: pa.Table) -> list[tuple[Any, ...]]:
    """The rows of an Arrow table as Python values."""
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def table_arrays(table: pa.Table | pa.RecordBatch) -> dict[str, np.ndarray[Any, Any]]:
    """The columns of an Arrow table as arrays; times as microseconds since 1970 in UTC."""
    arrays = {}
    columns: list[Any] = table.columns  # the types of pyarrow do not tell arrays that are chunked from others
    for name, column in zip(table.column_names, columns, strict=True):
        numbers = column.cast(pa.timestamp("us")).cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
        arrays[name] = np.asarray(numbers.to_numpy(zero_copy_only=False))
    return arrays
