"""From journal blocks to Parquet files: parse narrowly, find duplicates, enrich, write. Rows out equal rows in.

DuckDB does the work per column. Each event name is parsed with its own narrow schema (the one its segment carries);
a file holds only the columns that occur in it. A line that does not convert goes to quarantine by a pure function of
the line; everything else is counted twice, going in and coming out, and a difference stops the commit.
"""

from __future__ import annotations

import queue
import shutil
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import structlog
from msgspec import Struct
from numpy.typing import NDArray

from polku_schemas import TRAIT_PREFIX

from ..batch import (
    LINE_COLUMNS,
    QUARANTINE_LINE_COLUMNS,
    QUARANTINE_RUN,
    Block,
    QuarantineLine,
)
from ..errors import LakeError
from .channels import create_lookup, create_visits
from .enriched import VISIT_COLUMNS, enriched_select
from .gather import OWN_LINES, SHARED, Clashes, Group, gathered
from .layout import Layout, layout_of
from .parquet import MANY_ROWS, DataFile, FileWriter, copy_by_day, write_by_day
from .types import literal, quoted

log = structlog.get_logger("polku.lake")

# DuckDB's own limit on one JSON value; a line is at most a few times the largest accepted event.
_MAX_LINE_BYTES = 64 * 1024 * 1024

# What DuckDB says of a line that does not convert. Out of memory, a full disk and the like are no verdict on a line.
_BAD_DATA = (duckdb.DataError, duckdb.InvalidInputException)

Flags = NDArray[np.bool_]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class TooManyDays(Exception):
    """A flush would write files for more days than it should at once: take fewer blocks."""


class Keys(Struct, frozen=True):
    """One entry per event of a flush, in no particular order: its 128-bit key and where it stands."""

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    digest: NDArray[np.uint32]
    stream: NDArray[np.uint32]  # index into the flush's streams
    sequence: NDArray[np.uint64]


class Repeats(Struct, frozen=True):
    """What the duplicate index says of a flush's keys: copies to drop, and ids reused for other content."""

    duplicate: Flags
    conflicting: Flags


class Written(Struct, frozen=True):
    """What became of a flush. `rows_in = event_rows + quarantine_rows + duplicates`, always."""

    events: list[DataFile]
    quarantine: list[DataFile]
    rows_in: int
    event_rows: int
    quarantine_rows: int
    duplicates: int
    unconvertible: int


class _Lines(Struct):
    """The lines of one event name read with one schema, as a DuckDB table."""

    table: str
    name: str
    properties: dict[str, str]
    traits: dict[str, str]
    rows: int = 0
    days: int = 0
    in_use: frozenset[str] = frozenset()


KEY_SQL = "concat(source, chr(31), event_id)"
"""What makes an event the same event; its 128-bit MD5 is the key of the duplicate index."""


class ColumnsStep:
    """Turns flushes into files. One DuckDB connection, one flush at a time."""

    def __init__(
        self,
        scratch: Path,
        resolve_agents: Callable[[Sequence[str]], pa.Table],
        threads: int = 2,
    ) -> None:
        """`resolve_agents`: distinct user agents → a table of user_agent, device, os, browser, is_bot."""
        self._scratch, self._resolve_agents = scratch, resolve_agents
        self._connection = duckdb.connect(config={"threads": threads})
        self._run("SET enable_progress_bar = false")
        self._run(f"SET temp_directory = {literal(str(scratch / 'spill'))}")
        create_lookup(self._connection)
        # One event name keeps one thread busy: names are read and written side by side, each on a connection.
        self._free: queue.SimpleQueue[duckdb.DuckDBPyConnection] = queue.SimpleQueue()
        for connection in (self._connection, *(self._connection.cursor() for _ in range(threads))):
            connection.execute("SET TimeZone = 'UTC'").fetchall()
            if connection is not self._connection:
                self._free.put(connection)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="polku-columns")

    def write(
        self,
        blocks: list[Block],
        find_repeats: Callable[[Keys, list[str]], Repeats],
        own_files: int = 0,
        max_days: int = 1_000_000,
        clashes: Clashes = MappingProxyType({}),
    ) -> Written:
        """Files for all lines of the blocks. `find_repeats` is asked once, with the keys of all events.

        At most `own_files` event names get a file of their own columns; the others share one (a day). Raises
        TooManyDays, before anything is written, when the events are of more than `max_days` days. Lines that bring a
        column that clashes with the table's go to quarantine.
        """
        work = self._scratch / "flush"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        streams = sorted({block.stream for block in blocks})
        rows_in = sum(run.lines for block in blocks for run in block.runs)
        bad: list[tuple[str, QuarantineLine]] = []
        tables: list[_Lines] = []
        groups = list(enumerate(gathered(blocks, clashes)))
        try:
            for table, unreadable in self._side_by_side(lambda item, free: self._load(free, work, *item), groups):
                tables.append(table)
                bad += unreadable
            events = [table for table in tables if table.name != QUARANTINE_RUN]
            refused = [table.table for table in tables if table.name == QUARANTINE_RUN]
            unconvertible = len(bad)
            if sum(table.days for table in events) > max_days and self._days(events) > max_days:
                raise TooManyDays(f"more than {max_days} days")
            duplicates = self._drop_repeats(events, streams, find_repeats, bad)
            if bad:
                refused.append(self._quarantine_table(bad))
            event_files = self._write_events(work, events, own_files)
            quarantine_files = self._write_quarantine(work, refused)
        finally:
            for number in range(len(groups)):
                self._run(f"DROP TABLE IF EXISTS lines_{number}")
            self._run("DROP TABLE IF EXISTS refused")
        event_rows = sum(file.rows for file in event_files)
        quarantine_rows = sum(file.rows for file in quarantine_files)
        if rows_in != event_rows + quarantine_rows + duplicates:
            raise LakeError(
                f"{rows_in} lines went in, but {event_rows} event rows, {quarantine_rows} quarantine rows and "
                f"{duplicates} duplicates came out; nothing was committed"
            )
        return Written(
            events=event_files,
            quarantine=quarantine_files,
            rows_in=rows_in,
            event_rows=event_rows,
            quarantine_rows=quarantine_rows,
            duplicates=duplicates,
            unconvertible=unconvertible,
        )

    def close(self) -> None:
        """Let go of the threads and the database."""
        self._pool.shutdown()
        self._connection.close()

    def _side_by_side(
        self, work: Callable[[_Item, duckdb.DuckDBPyConnection], _Result], items: Iterable[_Item]
    ) -> list[_Result]:
        """The results for all items, in order; each item has a connection of its own while it is worked on."""

        def one(item: _Item) -> _Result:
            connection = self._free.get()
            try:
                return work(item, connection)
            finally:
                self._free.put(connection)

        futures = [self._pool.submit(one, item) for item in items]
        wait(futures)  # all of them, also when one fails: the next flush uses the same names
        return [future.result() for future in futures]

    # Reading --------------------------------------------------------------------------------------------------

    def _load(
        self, connection: duckdb.DuckDBPyConnection, work: Path, number: int, group: Group
    ) -> tuple[_Lines, list[tuple[str, QuarantineLine]]]:
        """Read all lines of one group into a table of their own; those that do not convert come back as refused."""
        bad: list[tuple[str, QuarantineLine]] = []
        if group.clashes:
            group, bad = _without_clashes(group)
        lines = _Lines(f"lines_{number}", group.name, group.properties, group.traits)
        layout = layout_of(group)
        connection.execute(f"CREATE OR REPLACE TABLE {lines.table} ({layout.columns}, stream VARCHAR)").fetchall()
        for stream, parts in group.parts.items():
            path = work / f"{number}.ndjson"
            with path.open("wb") as file:
                file.writelines(parts)
            found = _insert(connection, lines.table, layout, stream, path)
            bad.extend((stream, line) for line in found)
            path.unlink()
        _count(connection, lines)
        if lines.rows + len(bad) != group.lines:
            raise LakeError(f"{group.lines} lines of {group.name!r} went in, {lines.rows} rows were read")
        return lines, bad

    def _days(self, tables: list[_Lines]) -> int:
        union = " UNION ".join(f"SELECT DISTINCT event_time::DATE FROM {table.table}" for table in tables)
        return self._scalar(f"SELECT count(*) FROM ({union})")

    # Duplicates -----------------------------------------------------------------------------------------------

    def _drop_repeats(
        self,
        tables: list[_Lines],
        streams: list[str],
        find_repeats: Callable[[Keys, list[str]], Repeats],
        bad: list[tuple[str, QuarantineLine]],
    ) -> int:
        """Delete copies of earlier events; move ids that were reused for other content to `bad`."""
        if not tables:
            return 0
        keys = self._keys(tables, streams)
        repeats = find_repeats(keys, streams)
        gone = repeats.duplicate | repeats.conflicting
        if not gone.any():
            return 0
        listed = {
            "stream": pa.array([streams[index] for index in keys.stream[gone]], pa.string()),
            "sequence": pa.array(keys.sequence[gone].astype(np.int64)),
            "conflicting": pa.array(repeats.conflicting[gone]),
        }
        self._connection.register("repeats", pa.table(listed))
        same = "r.stream = l.stream AND r.sequence = l.sequence"
        for table in tables:
            if repeats.conflicting.any():
                whole = "to_json(struct_pack(*COLUMNS(l.* EXCLUDE (stream))))::VARCHAR"
                bad.extend(
                    (stream, _conflict(line))
                    for stream, line in self._run(
                        f"SELECT l.stream, {whole} FROM {table.table} l JOIN repeats r ON {same} AND r.conflicting"
                    )
                )
            self._run(f"DELETE FROM {table.table} l USING repeats r WHERE {same}")
            table.rows = self._scalar(f"SELECT count(*) FROM {table.table}")
        self._connection.unregister("repeats")
        return int(repeats.duplicate.sum())

    def _keys(self, tables: list[_Lines], streams: list[str]) -> Keys:
        order = "{" + ", ".join(f"{literal(stream)}: {index}" for index, stream in enumerate(streams)) + "}"
        parts = self._side_by_side(
            lambda table, connection: connection.execute(
                "SELECT md5_number_upper(key) AS high, md5_number_lower(key) AS low, digest, stream, sequence FROM ("
                f"SELECT {KEY_SQL} AS key, coalesce(digest, 0)::UINTEGER AS digest, "
                f"map_extract_value(MAP {order}, stream)::UINTEGER AS stream, sequence::UBIGINT AS sequence "
                f"FROM {table.table})"
            ).fetchnumpy(),
            tables,
        )
        return Keys(**{name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]})

    # Writing --------------------------------------------------------------------------------------------------

    def _write_events(self, work: Path, tables: list[_Lines], own_files: int) -> list[DataFile]:
        tables = sorted((table for table in tables if table.rows), key=lambda table: -table.rows)
        if not tables:
            return []
        self._register_agents(table.table for table in tables if "user_agent" in table.in_use)
        create_visits(self._connection, [table.table for table in tables if table.in_use & VISIT_COLUMNS])
        own = [table for table in tables if table.name != SHARED and table.rows >= OWN_LINES * table.days][:own_files]
        shared = [table for table in tables if table not in own]
        selects = [(_select(table), "event_date, event_time", copy_by_day) for table in own]
        if shared:
            union = " UNION ALL BY NAME ".join(f"({_select(table)})" for table in shared)
            many = sum(table.rows for table in shared) > MANY_ROWS * max(table.days for table in shared)
            write = copy_by_day if many else write_by_day
            selects.append((union, "event_date, event_name, event_time", write))

        def files(item: tuple[str, str, FileWriter], connection: duckdb.DuckDBPyConnection) -> list[DataFile]:
            select, order, write = item
            return write(connection, select, _folder(work), "event_date", order)

        return [file for written in self._side_by_side(files, selects) for file in written]

    def _write_quarantine(self, work: Path, tables: list[str]) -> list[DataFile]:
        if not tables:
            return []
        moments = "received_at::TIMESTAMPTZ AS received_at, sent_at::TIMESTAMPTZ AS sent_at"
        union = " UNION ALL BY NAME ".join(
            f"(SELECT * REPLACE ({moments}), received_at::DATE AS received_date FROM {table})" for table in tables
        )
        order = "received_date, received_at"
        return write_by_day(self._connection, union, _folder(work), "received_date", order)

    def _register_agents(self, tables: Iterable[str]) -> None:
        union = " UNION ".join(  # of distinct rows, also when there is but one table
            f"SELECT DISTINCT user_agent FROM {table} WHERE user_agent IS NOT NULL" for table in tables
        )
        distinct = [text for (text,) in self._run(union)] if union else []
        self._connection.register("agents_arrow", self._resolve_agents(distinct))
        self._run("CREATE OR REPLACE TABLE agents AS SELECT * FROM agents_arrow")
        self._connection.unregister("agents_arrow")

    def _quarantine_table(self, bad: list[tuple[str, QuarantineLine]]) -> str:
        rows = [{**msgspec.structs.asdict(line), "stream": stream} for stream, line in bad]
        kinds = {"string": pa.string(), "long": pa.int64(), "timestamp": pa.timestamp("us")}
        columns = {name: kinds[kind] for name, kind in QUARANTINE_LINE_COLUMNS.items()} | {"stream": pa.string()}
        for row in rows:
            for moment in ("received_at", "sent_at"):
                row[moment] = row[moment] and row[moment].astimezone(UTC).replace(tzinfo=None)
        arrays = {name: pa.array([row[name] for row in rows], kind) for name, kind in columns.items()}
        self._connection.register("refused_arrow", pa.table(arrays))
        self._run("CREATE OR REPLACE TEMP TABLE refused AS SELECT * FROM refused_arrow")
        self._connection.unregister("refused_arrow")
        return "refused"

    def _run(self, sql: str) -> list[tuple[Any, ...]]:
        """Run to the end: DuckDB refuses to go on beside a result that was not fetched."""
        return self._connection.execute(sql).fetchall()

    def _scalar(self, sql: str) -> int:
        return int(self._run(sql)[0][0])


def _without_clashes(group: Group) -> tuple[Group, list[tuple[str, QuarantineLine]]]:
    """The group without the columns that clash with the table's, and its lines that bring one as refused."""
    bad: list[tuple[str, QuarantineLine]] = []
    kept: dict[str, list[memoryview]] = {}
    for stream, parts in group.parts.items():
        for line in b"".join(parts).splitlines(keepends=True):
            brought = _columns_of_line(line) & group.clashes.keys()
            if brought:
                bad.append((stream, unconvertible(line, "; ".join(group.clashes[name] for name in sorted(brought)))))
            else:
                kept.setdefault(stream, []).append(memoryview(line))
    fitting = msgspec.structs.replace(
        group,
        properties={name: kind for name, kind in group.properties.items() if name not in group.clashes},
        traits={name: kind for name, kind in group.traits.items() if name not in group.clashes},
        parts=kept,
    )
    return fitting, bad


def _columns_of_line(line: bytes) -> set[str]:
    document: dict[str, Any] = msgspec.json.decode(line)
    return {*(document.get("p") or ()), *(TRAIT_PREFIX + name for name in document.get("t") or ())}


def _insert(
    connection: duckdb.DuckDBPyConnection, table: str, layout: Layout, stream: str, path: Path
) -> list[QuarantineLine]:
    """Read a file of lines into a table; on failure find the lines that do not convert by halving."""
    try:
        _read(connection, table, layout, stream, path)
    except _BAD_DATA:
        return _bisect(connection, table, layout, stream, path, path.read_bytes().splitlines(keepends=True))
    return []


def _read(connection: duckdb.DuckDBPyConnection, table: str, layout: Layout, stream: str, path: Path) -> None:
    connection.execute(
        f"INSERT INTO {table} SELECT {layout.select}, {literal(stream)} "
        f"FROM read_json({literal(str(path))}, columns = {layout.members}, "
        f"format = 'newline_delimited', maximum_object_size = {_MAX_LINE_BYTES}, compression = 'none')"
    ).fetchall()


def _bisect(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    layout: Layout,
    stream: str,
    path: Path,
    lines: list[bytes],
) -> list[QuarantineLine]:
    if not lines:
        return []
    part = path.with_suffix(".part")
    part.write_bytes(b"".join(lines))
    try:
        _read(connection, table, layout, stream, part)
    except _BAD_DATA as error:
        if len(lines) == 1:
            return [unconvertible(lines[0], str(error))]
        middle = len(lines) // 2
        return [
            *_bisect(connection, table, layout, stream, path, lines[:middle]),
            *_bisect(connection, table, layout, stream, path, lines[middle:]),
        ]
    finally:
        part.unlink(missing_ok=True)
    return []


def _count(connection: duckdb.DuckDBPyConnection, lines: _Lines) -> None:
    """How many rows and days there are, and which columns have any value: the others are left out of the file."""
    places: dict[str, str] = {}
    if lines.name != QUARANTINE_RUN:
        places = {name: quoted(name) for name in LINE_COLUMNS if name not in ("sequence", "digest")}
        places |= {name: f"p.{quoted(name)}" for name in lines.properties}
        places |= {name: f"t.{quoted(name.removeprefix('trait_'))}" for name in lines.traits}
    day = "count(DISTINCT event_time::DATE)" if places else "0"
    counted = ", ".join(["count(*)", day, *(f"count({place})" for place in places.values())])
    ((lines.rows, lines.days, *counts),) = connection.execute(f"SELECT {counted} FROM {lines.table}").fetchall()
    lines.in_use = frozenset(name for name, count in zip(places, counts, strict=True) if count)


def unconvertible(line: bytes, reason: str) -> QuarantineLine:
    """The quarantine line of an accepted event that the lake cannot read. A pure function of the line."""
    document: dict[str, Any] = msgspec.json.decode(line)
    return _refused(document, "unconvertible", reason.splitlines()[0][:500], line.decode("utf-8", "replace"))


def _conflict(line: str) -> QuarantineLine:
    document: dict[str, Any] = msgspec.json.decode(line)
    message = "this id was used before, by the same source, for an event with other content"
    return _refused(document, "duplicate_id", message, line)


def _refused(document: dict[str, Any], code: str, message: str, original: str) -> QuarantineLine:
    context = document.get("context") or {}
    # Of a row of columns, as of a line of format 1, it stands beside the context.
    library = context.get("library") or {"name": document.get("library"), "version": document.get("library_version")}
    return QuarantineLine(
        sequence=document["sequence"],
        received_at=_moment(document["received_at"]),
        source=document["source"],
        event_id=document.get("event_id"),
        event_type=document.get("event_type"),
        event_name=document.get("event_name"),
        code=code,
        path="$.messageId" if code == "duplicate_id" else "$",
        message=message,
        original=original.rstrip("\n"),
        sent_at=_moment(document["sent_at"]) if document.get("sent_at") else None,
        library=library.get("name"),
        library_version=library.get("version"),
    )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)  # DuckDB writes times without a zone: UTC


def _select(table: _Lines) -> str:
    return enriched_select(table.table, table.in_use, table.properties, table.traits)


def _folder(work: Path) -> Path:
    """A new folder for files; its name, a part of theirs, is never used again."""
    return work / uuid.uuid4().hex
