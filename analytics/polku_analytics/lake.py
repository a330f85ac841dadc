"""Opening a lake: one consistent snapshot of its Delta tables, shown to DuckDB as one view a table.

A data file holds only the columns that occur in it, so a view reads the snapshot's own list of files, unites them by
column name, gives what no file holds as typed nulls and casts what a file holds in another type to the table's. DuckDB
needs no extension for that. Where the bytes of a remote lake come from is `file_cache.py`'s matter.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import duckdb
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from msgspec import Struct, structs

from polku_analytics.delta_types import duckdb_type, literal, quoted
from polku_analytics.errors import LakeError
from polku_analytics.file_cache import FileCache
from polku_analytics.period import Period

EVENT_DATE: Final = "event_date"
"""The partition column a period prunes by."""

MAX_REASON: Final = 500
"""So much of what a store says about a failure is told: some send a whole page."""

COLLECTED_TABLES: Final = ("events", "quarantine")
"""What the collector writes; all other tables are made by `polku build`."""

_TABLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class DataFile(Struct, frozen=True):
    """One live file of a table: where it is, how big, and the partition it belongs to."""

    uri: str
    size_bytes: int
    partition: Mapping[str, str | None]
    rows: int = 0
    """As the log says; 0 where it says nothing."""


class TableSnapshot(Struct, frozen=True):
    """One version of one table: its live files and its columns (name → DuckDB type), in order."""

    name: str
    version: int
    files: tuple[DataFile, ...]
    columns: Mapping[str, str]
    partition_columns: tuple[str, ...]
    metadata: Mapping[str, Any]
    """What the commit says about itself; models carry `polku_build`."""
    table: str = ""
    """Its name in the lake, if it is opened under another."""
    table_id: str = ""
    """Of the table as long as it lives: one that was deleted and made again has another, and versions from 0."""

    def only(self, files: Iterable[DataFile]) -> TableSnapshot:
        """The same with some of its files."""
        return structs.replace(self, files=tuple(files))


class Lake:
    """A folder of Delta tables, local or on an S3-compatible store (`s3://bucket/prefix`)."""

    def __init__(self, uri: str | Path, environ: Mapping[str, str] = os.environ) -> None:
        self.uri = str(uri).rstrip("/")
        self.environ = environ
        self.is_remote = "://" in self.uri and not self.uri.startswith("file://")
        if self.uri.startswith("file://"):
            self.uri = unquote(urlsplit(self.uri).path)
        self.cache = FileCache.from_environ(environ) if self.is_remote else None

    def tables(self) -> list[str]:
        """The names of the tables, sorted. LakeError if there is no such lake."""
        if self.cache is not None:
            found = self.cache.store(self.uri).folders(self.uri)
            return sorted(name for name in found if _TABLE_NAME.match(name))
        folder = Path(self.uri)
        if not folder.is_dir():
            raise LakeError(f"no lake at {folder}: {_HOW_TO_FILL}")
        return sorted(
            entry.name
            for entry in folder.iterdir()
            if _TABLE_NAME.match(entry.name) and (entry / "_delta_log").is_dir()
        )

    def table_uri(self, name: str) -> str:
        """Where a table of this lake is, or would be."""
        return f"{self.uri}/{name}"

    def delta(self, name: str, version: int | None = None) -> DeltaTable:
        """A version of a table, the newest if none is named. LakeError says what to run if it is not there."""
        try:
            return DeltaTable(self.table_uri(name), version=version, storage_options=self.storage_options())
        except TableNotFoundError:
            raise LakeError(f"no table {name} in {self.uri}: {_how_to_make(name)}") from None
        except (DeltaError, OSError) as error:
            raise LakeError(f"table {name} in {self.uri} cannot be read: {_in_one_line(error)}") from error

    def missing(self, name: str, made: Collection[str] = ()) -> LakeError:
        """What to say about a table that is not there: how to make it, if `made` names it, else what there is."""
        if name.lower() in (*COLLECTED_TABLES, *made):
            return LakeError(f"no table {name.lower()} in {self.uri}: {_how_to_make(name.lower())}")
        return LakeError(f"no table {name} in {self.uri}; there are {', '.join(self.tables())}")

    def snapshot(self, name: str, period: Period | None = None, version: int | None = None) -> TableSnapshot:
        """One version of a table, with only the files that may hold rows of the period."""
        table = self.delta(name, version)
        schema = json.loads(table.schema().to_json())
        files = tuple(file for file in _live_files(table) if period is None or period.holds(_day(file.partition)))
        history, about = table.history(1), table.metadata()
        return TableSnapshot(
            name=name,
            version=table.version(),
            files=files,
            columns={field["name"]: duckdb_type(field["type"]) for field in schema["fields"]},
            partition_columns=tuple(about.partition_columns),
            metadata=history[0] if history else {},
            table=name,
            table_id=str(about.id),
        )

    def storage_options(self) -> dict[str, str] | None:
        """What deltalake needs besides the AWS_… variables, which it reads itself."""
        if not self.is_remote:
            return None
        options = {key: value for key, value in self.environ.items() if key.startswith("AWS_")}
        if options.get("AWS_ENDPOINT_URL", "").startswith("http://"):
            options["AWS_ALLOW_HTTP"] = "true"
        return options

    def local_paths(self, files: Sequence[DataFile]) -> list[str]:
        """Paths that DuckDB can open: the files themselves, or their copies in the cache."""
        if self.cache is None:
            return [file.uri for file in files]
        return self.cache.fetch([(file.uri, file.size_bytes) for file in files])


def connect(
    lake: Lake,
    names: Iterable[str],
    *,
    period: Period | None = None,
    expected: Mapping[str, Mapping[str, str]] | None = None,
    versions: Mapping[str, int] | None = None,
) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with a view for each named table.

    `expected` gives columns (table → column → DuckDB type) that a table shall have even before the first event that
    brings them; they are null. `versions`: those to read, the newest of the others.
    """
    connection = open_duckdb()
    for name in names:
        snapshot = lake.snapshot(name, period, (versions or {}).get(name))
        attach(connection, lake, snapshot, (expected or {}).get(name, {}))
    return connection


def open_duckdb() -> duckdb.DuckDBPyConnection:
    """DuckDB as all our readers use it: UTC, spilling to the temporary directory, no extension site."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET autoinstall_known_extensions = false")
    connection.execute(f"SET temp_directory = {literal(str(Path(tempfile.gettempdir()) / 'polku-duckdb'))}")
    # Footers of the same files are read by every query of a session.
    connection.execute("SET parquet_metadata_cache = true")
    return connection


def attach(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    snapshot: TableSnapshot,
    expected: Mapping[str, str],
    *,
    row_number: str | None = None,
) -> frozenset[str]:
    """Create the view of one snapshot; returns the columns that are not null throughout, as far as the files tell.

    `row_number` names a column more, which numbers its rows (not densely).
    """
    scans = []
    for partition, files in _by_partition(snapshot, connection, lake):
        paths = lake.local_paths(files)
        scans.append(Scan(partition, paths, _held_columns(connection, paths)))
    columns = {**expected, **snapshot.columns}
    connection.execute(f"CREATE OR REPLACE VIEW {quoted(snapshot.name)} AS {relation_sql(columns, scans, row_number)}")
    held = {name for scan in scans for name in (*scan.held, *scan.partition)}
    return frozenset(held & columns.keys() | ({row_number} if row_number else set()))


class Scan(Struct, frozen=True):
    """Files that are read together, the columns they hold, and the partition values that stand only in the log."""

    partition: Mapping[str, str | None]
    paths: list[str]
    held: Mapping[str, str]


def relation_sql(columns: Mapping[str, str], scans: Sequence[Scan], row_number: str | None = None) -> str:
    """The SELECT that gives exactly `columns`, in order and type, over files that hold some of them.

    `row_number`: and a column of this name that numbers the rows; DuckDB's way.
    """
    if not scans:
        kinds = {**columns, **({row_number: "BIGINT"} if row_number else {})}
        nulls = ", ".join(f"CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in kinds.items())
        return f"SELECT {nulls} WHERE FALSE"
    selects = []
    first_file = 0
    for scan in scans:
        number = (
            f"(CAST(file_index AS BIGINT) + {first_file}) * {_MOST_ROWS_OF_A_FILE} + CAST(file_row_number AS BIGINT)"
        )
        selects.append(_scan_sql(columns, scan, [f"{number} AS {quoted(row_number)}"] if row_number else []))
        first_file += len(scan.paths)
    return " UNION ALL ".join(selects)


_MOST_ROWS_OF_A_FILE: Final = 2**32


def _scan_sql(columns: Mapping[str, str], scan: Scan, more: Sequence[str]) -> str:
    terms = []
    for name, kind in columns.items():
        column = quoted(name)
        if name in scan.held:
            # A cast that changes nothing would still keep filters from reaching the file's statistics.
            terms.append(column if scan.held[name] == kind else f"CAST({column} AS {kind}) AS {column}")
        else:
            value = scan.partition.get(name)
            terms.append(f"CAST({'NULL' if value is None else literal(value)} AS {kind}) AS {column}")
    return f"SELECT {', '.join([*terms, *more])} FROM {_read_parquet(scan.paths)}"


def _read_parquet(paths: Sequence[str]) -> str:
    listed = ", ".join(literal(path) for path in paths)
    return f"read_parquet([{listed}], union_by_name = true, hive_partitioning = false)"


def _held_columns(connection: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> dict[str, str]:
    rows = connection.execute(f"DESCRIBE SELECT * FROM {_read_parquet(paths)}").fetchall()
    return {row[0]: row[1] for row in rows}


def _by_partition(
    snapshot: TableSnapshot, connection: duckdb.DuckDBPyConnection, lake: Lake
) -> list[tuple[Mapping[str, str | None], list[DataFile]]]:
    """All files in one group, or one group a partition where the files lack the partition columns.

    Our own files hold them; those of other writers, as Delta allows, may not.
    """
    files = list(snapshot.files)
    if not files:
        return []
    if snapshot.partition_columns:
        held = _held_columns(connection, lake.local_paths(files[:1]))
        if any(column not in held for column in snapshot.partition_columns):
            groups: dict[tuple[tuple[str, str | None], ...], list[DataFile]] = {}
            for file in files:
                groups.setdefault(tuple(file.partition.items()), []).append(file)
            return [(dict(key), members) for key, members in groups.items()]
    return [({}, files)]


def _live_files(table: DeltaTable) -> list[DataFile]:
    actions = table.get_add_actions(flatten=True)
    data = {name: actions.column(name).to_pylist() for name in actions.column_names}
    partitions = [name for name in data if name.startswith("partition.")]
    root = table.table_uri.rstrip("/").removeprefix("file://")
    files = []
    for index, path in enumerate(data["path"]):
        uri = path if "://" in path or path.startswith("/") else f"{root}/{unquote(path)}"
        values = {name.removeprefix("partition."): _text(data[name][index]) for name in partitions}
        rows = data["num_records"][index] if "num_records" in data else None
        files.append(DataFile(uri, data["size_bytes"][index], values, rows or 0))
    return sorted(files, key=lambda file: file.uri)


def _day(partition: Mapping[str, str | None]) -> datetime.date | None:
    value = partition.get(EVENT_DATE)
    return None if value is None else datetime.date.fromisoformat(value[:10])


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _in_one_line(error: Exception) -> str:
    """The causes stand in the further lines of deltalake's errors, which it colours."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())[:MAX_REASON] or type(error).__name__


_HOW_TO_FILL: Final = (
    "start `polku collector --lake DIR --dev` and send events, run `polku demo`, or name another with --lake"
)


def _how_to_make(name: str) -> str:
    if name in COLLECTED_TABLES:
        return _HOW_TO_FILL
    return "run `polku build` first"
