"""What recomputed people change in the tables: rows that go, rows that come, and the files to be written again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import duckdb
from msgspec import Struct

from polku_analytics.build.compute import ROWS_A_FILE, Computed, NewFile, no_rows, read_as, write_files
from polku_analytics.delta_types import literal, quoted
from polku_analytics.lake import Lake, TableSnapshot
from polku_analytics.model_files import Filling, Model, fill

SMALL_FILE_ROWS: Final = ROWS_A_FILE // 2
MANY_SMALL_FILES: Final = 12
"""So many small files of a table are written again as one, in order."""


class Change(Struct, frozen=True):
    """The next version of a table: the files that stay (as the lake names them), and the new ones."""

    model: Model
    kept: tuple[str, ...]
    new: tuple[NewFile, ...]
    columns: Mapping[str, str]
    rows: int
    changed_rows: int
    seconds: float

    def paths(self, local: Mapping[str, str]) -> list[Path | str]:
        """Where its rows can be read now; `local` says where files of the lake are."""
        return [*(local[uri] for uri in self.kept), *(file.path for file in self.new)]


def before_name(table: str) -> str:
    """The name of the rows that the affected people had in a table before."""
    return f"before_{table}"


def read_before(connection: duckdb.DuckDBPyConnection, computed: Computed, paths: Sequence[str]) -> None:
    """Make `before_<table>`: the rows of the affected people, with `filename` and `file_row_number`."""
    name = computed.model.name
    if paths:
        listed = ", ".join(literal(path) for path in paths)
        rows = f"SELECT * FROM read_parquet([{listed}], filename = true, file_row_number = true)"
    else:
        rows = no_rows({**computed.columns, "filename": "string", "file_row_number": "long"})
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {before_name(name)} AS SELECT * FROM ({rows}) "
        "WHERE person_key IN (SELECT person_key FROM affected_keys)"
    )


def change_of(
    connection: duckdb.DuckDBPyConnection, lake: Lake, old: TableSnapshot, computed: Computed, scratch: Path
) -> Change:
    """The change of a table of person grain: only rows that differ go and come. Needs `before_<table>`."""
    clock = time.perf_counter()
    model, columns = computed.model, ", ".join(quoted(name) for name in computed.columns)
    before = before_name(model.name)
    now = ", ".join(literal(str(file.path)) for file in computed.files)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE now_rows AS SELECT *, HASH({columns}) AS row_hash FROM read_parquet([{now}])"
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE gone_rows AS SELECT filename, file_row_number FROM {before} AS b "
        f"WHERE HASH({columns}) NOT IN (SELECT row_hash FROM now_rows)"
    )
    come = f"SELECT {columns} FROM now_rows WHERE row_hash NOT IN (SELECT HASH({columns}) FROM {before})"
    gone, arrived = connection.execute(
        f"SELECT (SELECT COUNT(*) FROM gone_rows), (SELECT COUNT(*) FROM ({come}))"
    ).fetchall()[0]
    total = sum(file.rows for file in old.files) - gone + arrived
    if not gone and not arrived:
        kept = tuple(file.uri for file in old.files)
        return Change(model, kept, (), computed.columns, total, 0, computed.seconds + time.perf_counter() - clock)
    local = dict(zip((file.uri for file in old.files), lake.local_paths(old.files), strict=True))
    touched = {row[0] for row in connection.execute("SELECT DISTINCT filename FROM gone_rows").fetchall()}
    small = [local[file.uri] for file in old.files if file.rows < SMALL_FILE_ROWS]
    if len(small) >= MANY_SMALL_FILES:
        touched.update(small)
    sql = come
    if touched:
        again = ", ".join(literal(path) for path in sorted(touched))
        sql += (
            f" UNION ALL SELECT {columns} FROM read_parquet([{again}], filename = true, file_row_number = true) AS o "
            "ANTI JOIN gone_rows AS g ON g.filename = o.filename AND g.file_row_number = o.file_row_number"
        )
    new = write_files(connection, sql, model, computed.columns, scratch / f"{model.name}-changed")
    kept = tuple(file.uri for file in old.files if local[file.uri] not in touched)
    seconds = computed.seconds + time.perf_counter() - clock
    return Change(model, kept, _filled(new), computed.columns, total, gone + arrived, seconds)


def sum_change_of(
    connection: duckdb.DuckDBPyConnection,
    old_paths: Sequence[str],
    computed: Computed,
    filled: Mapping[str, Filling],
    scratch: Path,
) -> Change:
    """The change of a table of sums over people: what the affected ones gave before goes, what they give now comes.

    Needs `before_<input>` for the inputs of the model; their views are those of before afterwards.
    """
    clock = time.perf_counter()
    model = computed.model
    for name in model.inputs:
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS SELECT * FROM {before_name(name)}")
    keys = [key.strip() for key in model.keys.split(",")]
    sums = [name for name in computed.columns if name not in keys]
    listed = ", ".join(quoted(key) for key in keys)
    read_as(connection, "sums_before", old_paths, computed.columns)
    read_as(connection, "sums_now", [file.path for file in computed.files])
    signed = ", ".join(f"-{quoted(name)} AS {quoted(name)}" for name in sums)
    added = ", ".join(f"CAST(SUM({quoted(name)}) AS BIGINT) AS {quoted(name)}" for name in sums)
    sql = (
        f"SELECT {listed}, {added} FROM (SELECT * FROM sums_before UNION ALL BY NAME SELECT * FROM sums_now "
        f"UNION ALL BY NAME SELECT {listed}, {signed} FROM ({fill(model.sql, filled)})) GROUP BY {listed} "
        f"HAVING SUM({quoted(sums[0])}) <> 0"
    )
    new = write_files(connection, sql, model, computed.columns, scratch / f"{model.name}-changed")
    rows = sum(file.rows for file in new)
    return Change(model, (), new, computed.columns, rows, rows, computed.seconds + time.perf_counter() - clock)


def whole_change_of(computed: Computed) -> Change:
    """A table that is written whole."""
    rows = computed.rows
    return Change(computed.model, (), computed.files, computed.columns, rows, rows, computed.seconds)


def _filled(files: Sequence[NewFile]) -> tuple[NewFile, ...]:
    return tuple(file for file in files if file.rows)
