"""chdb: ClickHouse, embedded in this process."""

from __future__ import annotations

import datetime
import itertools
import os.path
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from chdb import session

from polku_analytics.engines.dialect import Dialect, code_by_case, utc_text
from polku_analytics.engines.duckdb import engine_words
from polku_analytics.engines.engine import table_arrays, table_rows
from polku_analytics.engines.files import Files, arrow_schema, files_of
from polku_analytics.engines.spelling import Spelling
from polku_analytics.errors import AnalyticsError, QueryError
from polku_analytics.lake import Lake, TableSnapshot
from polku_schemas.rules import sql_literal

_SETTINGS: Final[dict[str, int | str]] = {
    # Standard SQL where ClickHouse is otherwise: what is missing is null, a column comes before an alias of its name.
    "join_use_nulls": 1,
    "cast_keep_nullable": 1,
    "data_type_default_nullable": 1,
    "aggregate_functions_null_for_empty": 1,
    "prefer_column_name_to_alias": 1,
    "transform_null_in": 0,
    "union_default_mode": "DISTINCT",
    "count_distinct_implementation": "uniqExact",
    "session_timezone": "UTC",
    "use_hive_partitioning": 0,
    "input_format_parquet_allow_missing_columns": 1,
    "output_format_arrow_string_as_string": 1,
    "output_format_arrow_compression_method": "none",
}

_PATHS_AT_ONCE: Final = 500
"""Files in one list; ClickHouse takes no more than 1000."""

_MEANT_OTHERWISE: Final = frozenset("*?{},")
"""What a path must not hold: ClickHouse would take it for a pattern."""

_databases = itertools.count(1)


class ClickHouseDialect(Dialect):
    """What ClickHouse says otherwise."""

    name = "chdb"
    reads_times = False
    spelling = Spelling(backslash_escapes=True, backslash_in_like=True)

    def microseconds(self, column: str) -> str:
        """A timestamp as microseconds since 1970 in UTC, a whole number."""
        return f"toUnixTimestamp64Micro(toDateTime64({column}, 6, 'UTC'))"

    def moment(self, at: datetime.datetime) -> str:
        """A timestamp literal."""
        return f"toDateTime64('{utc_text(at)}', 6, 'UTC')"

    def local_day(self, column: str, time_zone: str) -> str:
        """The date a timestamp falls on in a time zone."""
        return f"toDate32({column}, {sql_literal(time_zone)})"

    def text(self, expression: str) -> str:
        """Any scalar as text."""
        said = f"CAST({expression} AS Nullable(String))"
        # A double is written as one, also where it is whole.
        is_whole = f"toTypeName({expression}) LIKE '%Float%' AND match({said}, '^-?[0-9]+$')"
        return f"CASE WHEN {is_whole} THEN {said} || '.0' ELSE {said} END"

    def code(self, column: str, names: Sequence[str]) -> str:
        """A text as its place in `names`, which hold all that occur."""
        return code_by_case(column, names)


class ClickHouse:
    """A session with a database of its own, and a view in it for each table of the lake."""

    dialect = ClickHouseDialect()

    def __init__(self) -> None:
        self.session = session.Session()
        # All sessions of a process share one server.
        self.database = f"polku_{next(_databases)}"
        self._run(f"CREATE DATABASE {self.database}")
        self._run(f"USE {self.database}")
        for name, value in _SETTINGS.items():
            self._run(f"SET {name} = {sql_literal(value)}")

    def open(self, lake: Lake, snapshot: TableSnapshot, expected: Mapping[str, str]) -> None:
        """Let SQL read one version of a table under its name; what no file holds is null."""
        schema = arrow_schema({**expected, **snapshot.columns})
        groups = files_of(lake, snapshot)
        self._run(f"DROP TABLE IF EXISTS {_name(snapshot.name)}")
        if not groups:
            columns = ", ".join(_column(field) for field in schema)
            self._run(f"CREATE TABLE {_name(snapshot.name)} ({columns}) ENGINE = Memory")
            return
        scans = [_scan(schema, part) for group in groups for part in _portions(group)]
        self._run(f"CREATE VIEW {_name(snapshot.name)} AS {' UNION ALL '.join(scans)}")

    def arrow(self, sql: str) -> pa.Table:
        """All rows as Arrow. QueryError with ClickHouse's words."""
        answer = self._run(self.dialect.spelling.spell(sql))
        table: pa.Table = pa.ipc.open_file(pa.BufferReader(answer)).read_all() if answer else pa.table({})
        return table

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows as tuples; times are aware, in UTC."""
        return table_rows(self.arrow(sql))

    def columns(self, sql: str) -> dict[str, np.ndarray[Any, Any]]:
        """All rows as one array a column."""
        return table_arrays(self.arrow(sql))

    def batches(self, sql: str, rows: int) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
        """All rows at once."""
        yield self.columns(sql)

    def runs_in_order(self, table: str) -> int:
        """It promises no order that is not asked for."""
        return 0

    def keep(self, name: str, sql: str) -> None:
        """Compute a query into a table in memory, in the place of an earlier one of the name."""
        spelled = self.dialect.spelling.spell(sql)
        self._run(f"CREATE OR REPLACE TABLE {_name(name)} ENGINE = Memory AS {spelled}")

    def show(self, name: str, sql: str) -> None:
        """Let later queries read a query under this name, in the place of an earlier one of the name."""
        self._run(f"CREATE OR REPLACE VIEW {_name(name)} AS {self.dialect.spelling.spell(sql)}")

    def _run(self, sql: str) -> bytes:
        try:
            answer = self.session.query(sql, "Arrow")
        except Exception as error:
            raise QueryError(engine_words(error)) from error
        return bytes(answer.bytes()) if answer is not None else b""


def _portions(group: Files) -> Iterator[Files]:
    for begin in range(0, len(group.paths), _PATHS_AT_ONCE):
        yield Files(group.paths[begin : begin + _PATHS_AT_ONCE], group.partition)


def _scan(schema: pa.Schema, group: Files) -> str:
    """Files with the columns that the table has; columns that stand only in the log as their value."""
    held = [field for field in schema if field.name not in group.partition]
    structure = ", ".join(_column(field) for field in held)
    terms = []
    for field in schema:
        if field.name in group.partition:
            value = group.partition[field.name]
            said = "NULL" if value is None else _text(value)
            terms.append(f"CAST({said} AS {_type(field.type)}) AS {_name(field.name)}")
        else:
            terms.append(_name(field.name))
    return f"SELECT {', '.join(terms)} FROM file({_text(_pattern(group.paths))}, 'Parquet', {_text(structure)})"


def _pattern(paths: Sequence[str]) -> str:
    """A list of files as ClickHouse takes it: a folder and what lies in it."""
    for path in paths:
        if _MEANT_OTHERWISE & set(path):
            raise AnalyticsError(f"ClickHouse cannot open {path}: a path must not hold any of * ? {{ }} ,")
    if len(paths) == 1:
        return paths[0]
    folder = os.path.commonpath(paths)
    return f"{folder}/{{{','.join(path.removeprefix(folder).lstrip('/') for path in paths)}}}"


def _column(field: Any) -> str:
    # Without the words a list would become nullable, by the setting for casts, and ClickHouse has no such lists.
    kind = _type(field.type)
    return f"{_name(field.name)} {kind}{'' if kind.startswith('Nullable') else ' NOT NULL'}"


def _type(kind: pa.DataType) -> str:
    """The name of an Arrow type in ClickHouse, where lists and structs are never null themselves."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"Array({_type(kind.value_type)})"
    if pa.types.is_struct(kind):
        return f"Tuple({', '.join(f'{_name(field.name)} {_type(field.type)}' for field in kind)})"
    if pa.types.is_map(kind):
        return f"Map(String, {_type(kind.item_type)})"
    if pa.types.is_decimal(kind):
        return f"Nullable(Decimal({kind.precision}, {kind.scale}))"
    return f"Nullable({_TYPES[str(kind)]})"


_TYPES: Final = {
    "string": "String",
    "binary": "String",
    "int64": "Int64",
    "int32": "Int32",
    "int16": "Int16",
    "int8": "Int8",
    "double": "Float64",
    "float": "Float32",
    "bool": "Bool",
    "date32[day]": "Date32",
    "timestamp[us, tz=UTC]": "DateTime64(6, 'UTC')",
    "timestamp[us]": "DateTime64(6)",
}


def _name(identifier: str) -> str:
    return "`" + identifier.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
