"""Spark, over Spark Connect: a cluster of Spark or Databricks, or Sail.

The cluster reads the lake itself, so it must reach it under the same address; only answers come here.
"""

from __future__ import annotations

import contextlib
import datetime
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from polku_analytics.engines.dialect import Dialect, code_by_case, utc_text
from polku_analytics.engines.engine import table_arrays, table_rows
from polku_analytics.engines.files import arrow_schema
from polku_analytics.engines.spelling import Spelling
from polku_analytics.errors import AnalyticsError, QueryError
from polku_analytics.lake import Lake, TableSnapshot
from polku_schemas.rules import sql_literal

_DEFAULT_PORT: Final = 15002
_KNOCK_SECONDS: Final = 10
_SAILS_PLACE: Final = "execution.checkpoint.path"
"""The setting that Sail misses; what it complains about has no condition and no SQLSTATE."""
_NOT_SUPPORTED: Final = "0A"
"""The class of SQLSTATE of a feature that is not supported."""


class SparkDialect(Dialect):
    """What Spark says otherwise."""

    name = "spark"
    reads_times = False
    spelling = Spelling(
        backslash_escapes=True,
        backslash_in_like=True,
        backticks=True,
        nulls_first=True,
        ignores_outside=True,
        types={"VARCHAR": "STRING", "TIMESTAMPTZ": "TIMESTAMP"},
    )

    def microseconds(self, column: str) -> str:
        """A timestamp as microseconds since 1970 in UTC, a whole number."""
        return f"UNIX_MICROS({column})"

    def moment(self, at: datetime.datetime) -> str:
        """A timestamp literal."""
        return f"TIMESTAMP '{utc_text(at)}Z'"

    def local_day(self, column: str, time_zone: str) -> str:
        """The date a timestamp falls on in a time zone."""
        # The session is in UTC, so what is shifted is read as it stands.
        return f"CAST(FROM_UTC_TIMESTAMP({column}, {sql_literal(time_zone)}) AS DATE)"

    def code(self, column: str, names: Sequence[str]) -> str:
        """A text as its place in `names`, which hold all that occur."""
        return code_by_case(column, names)


class Spark:
    """A session of its own on the cluster, with a temporary view for each table of the lake."""

    dialect = SparkDialect()

    def __init__(self, remote: str) -> None:
        try:
            _knock(remote)
            self.session = SparkSession.builder.remote(remote).create()
            self.session.conf.set("spark.sql.session.timeZone", "UTC")
        except Exception as error:
            raise AnalyticsError(f"no Spark Connect server answers at {remote}: {spark_words(error)}") from error

    def open(self, lake: Lake, snapshot: TableSnapshot, expected: Mapping[str, str]) -> None:
        """Let SQL read one version of a table under the snapshot's name; expected columns that it lacks are null."""
        uri = server_uri(lake, snapshot.table)
        try:
            frame = self.session.read.format("delta").option("versionAsOf", str(snapshot.version))
            found = frame.load(uri)
            lacking = {name: kind for name, kind in expected.items() if name not in snapshot.columns}
            nulls = [f"CAST(NULL AS {spark_type(field.type)}) AS `{field.name}`" for field in arrow_schema(lacking)]
            (found.selectExpr("*", *nulls) if nulls else found).createOrReplaceTempView(snapshot.name)
        except Exception as error:
            raise QueryError(f"Spark cannot open {uri}: {spark_words(error)}") from error

    def arrow(self, sql: str) -> pa.Table:
        """All rows as Arrow. QueryError with Spark's words."""
        try:
            table: pa.Table = self.session.sql(self.dialect.spelling.spell(sql)).toArrow()
            return table
        except Exception as error:
            raise QueryError(spark_words(error)) from error

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows as tuples; times are aware, in UTC."""
        return table_rows(self.arrow(sql))

    def columns(self, sql: str) -> dict[str, np.ndarray[Any, Any]]:
        """All rows as one array a column."""
        return table_arrays(self.arrow(sql))

    def show(self, name: str, sql: str) -> None:
        """Let later queries read a query under this name, in the place of an earlier one of the name."""
        try:
            self.session.sql(self.dialect.spelling.spell(sql)).createOrReplaceTempView(name)
        except Exception as error:
            raise QueryError(spark_words(error)) from error

    def batches(self, sql: str, rows: int) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
        """All rows at once."""
        yield self.columns(sql)

    def runs_in_order(self, table: str) -> int:
        """It promises no order that is not asked for."""
        return 0

    def keep(self, name: str, sql: str) -> None:
        """Compute a query once, on the cluster, in the place of an earlier one of the name."""
        try:
            with _active(self.session):
                computed(self.session.sql(self.dialect.spelling.spell(sql))).createOrReplaceTempView(name)
        except Exception as error:
            raise QueryError(spark_words(error)) from error


def server_uri(lake: Lake, name: str) -> str:
    """Where the server finds a folder of the lake: of a local one the whole path, since it begins elsewhere."""
    uri = lake.table_uri(name)
    return uri if lake.is_remote else str(Path(uri).absolute())


@contextlib.contextmanager
def _active(session: Any) -> Iterator[None]:
    """Make it the active session for the block: PySpark looks there for a checkpoint, whichever session made it.

    The first session of a thread is the active one until it ends, and no public call chooses another.
    """
    active = type(session)._active_session
    before = getattr(active, "session", None)
    active.session = session
    try:
        yield
    finally:
        active.session = before


def computed(frame: Any) -> Any:
    """A query's rows instead of the query, for as long as the session lasts; the query where no rows can be kept."""
    try:
        # Not persist: Spark keeps what is persisted until it ends, for all sessions, and looks through it at every
        # query; Sail does nothing at it.
        return frame.localCheckpoint()
    except PySparkException as error:
        if not _keeps_nothing(error):
            raise
        return frame


def _keeps_nothing(error: PySparkException) -> bool:
    """Whether it is no complaint about the query: Sail was given no place for a checkpoint, or a server has none."""
    state = error.getSqlState()
    return _SAILS_PLACE in str(error) if state is None else state.startswith(_NOT_SUPPORTED)


def _knock(remote: str) -> None:
    """OSError where nobody listens: the client would try for ten minutes before it says so."""
    address = urlsplit(remote)
    with socket.create_connection((address.hostname or "", address.port or _DEFAULT_PORT), _KNOCK_SECONDS):
        pass


def spark_words(error: Exception) -> str:
    """What Spark complains about, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def spark_type(kind: pa.DataType) -> str:
    """The name of an Arrow type in Spark."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"ARRAY<{spark_type(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"STRUCT<{', '.join(f'`{field.name}`: {spark_type(field.type)}' for field in kind)}>"
    if pa.types.is_map(kind):
        return f"MAP<{spark_type(kind.key_type)}, {spark_type(kind.item_type)}>"
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    return _TYPES[str(kind)]


_TYPES: Final = {
    "string": "STRING",
    "binary": "BINARY",
    "int64": "BIGINT",
    "int32": "INT",
    "int16": "SMALLINT",
    "int8": "TINYINT",
    "double": "DOUBLE",
    "float": "FLOAT",
    "bool": "BOOLEAN",
    "date32[day]": "DATE",
    "timestamp[us, tz=UTC]": "TIMESTAMP",
    "timestamp[us]": "TIMESTAMP_NTZ",
}
