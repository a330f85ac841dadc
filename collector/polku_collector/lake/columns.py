"""From journal blocks to Parquet files: parse, find duplicates, enrich, write. Rows out equal rows in.

DuckDB does the work per column. Lines are parsed with the schemas that their segments carry; a file holds only the
columns that occur in it. A line that does not convert goes to quarantine by a pure function of the line; everything
else is counted twice, going in and coming out, and a difference stops the commit.
"""

from __future__ import annotations

import queue
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, date, datetime
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
from ..engine import open_duckdb
from ..errors import LakeError
from .channels import VISIT_SQL, create_lookup, create_visits
from .enriched import VISIT_COLUMNS, enriched_select, utc_sql
from .gather import Clashes, Group, Part, files_a_day, gathered, shared_out
from .layout import Layout, layout_of
from .parquet import DataFile, write_by_day
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
    days: frozenset[date] = frozenset()
    in_use: frozenset[str] = frozenset()


KEY_SQL = "md5_number(concat(source, chr(31), event_id))"
"""The key of the duplicate index: 128 bits of what makes an event the same event."""

HALVES_SQL = f"(key & {2**64 - 1}::UHUGEINT)::UBIGINT AS high, (key >> 64)::UBIGINT AS low"
"""A key in its two columns, as `md5_number_upper` and `md5_number_lower` name them; those hash once each."""


class ColumnsStep:
    """Turns flushes into files. One DuckDB connection, one flush at a time."""

    def __init__(
        self,
        scratch: Path,
        resolve_agents: Callable[[Sequence[str]], pa.Table],
        threads: int = 2,
        spill_max_bytes: int | None = None,
    ) -> None:
        """`resolve_agents`: distinct user agents → a table of user_agent, device, os, browser, is_bot."""
        self._scratch, self._resolve_agents, self._threads = scratch, resolve_agents, threads
        # Groups are read and written side by side, each on a connection and a thread of ours. Threads of DuckDB's own
        # beside them cost a third more processor time for the same rows (measured).
        self._connection = open_duckdb(threads=1, spill_max_bytes=spill_max_bytes)
        self._run("SET enable_progress_bar = false")
        self._run(f"SET temp_directory = {literal(str(scratch / 'spill'))}")
        create_lookup(self._connection)
        self._free: queue.SimpleQueue[duckdb.DuckDBPyConnection] = queue.SimpleQueue()
        for connection in (self._connection, *(self._connection.cursor() for _ in range(threads))):
            connection.execute("SET TimeZone = 'UTC'").fetchall()
            if connection is not self._connection:
                self._free.put(connection)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="polku-columns")
        self._ever_in_use: frozenset[str] = frozenset()
        """Columns that lines have had a value in."""

    def write(
        self,
        blocks: list[Block],
        find_repeats: Callable[[Keys, list[str]], Repeats],
        max_days: int = 1_000_000,
        clashes: Clashes = MappingProxyType({}),
    ) -> Written:
        """Files for all lines of the blocks. `find_repeats` is asked once, with the keys of all events.

        Raises TooManyDays, before anything is written, when the events are of more than `max_days` days. Lines that
        bring a column that clashes with the table's go to quarantine.
        """
        work = self._scratch / "flush"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        streams = sorted({block.stream for block in blocks})
        rows_in = sum(run.lines for block in blocks for run in block.runs)
        bad: list[tuple[str, QuarantineLine]] = []
        tables: list[_Lines] = []
        groups = list(enumerate(shared_out(gathered(blocks, clashes), self._threads)))
        try:
            for table, unreadable in self._side_by_side(lambda item, free: self._load(free, work, *item), groups):
                tables.append(table)
                bad += unreadable
            events = [table for table in tables if table.name != QUARANTINE_RUN]
            refused = [table.table for table in tables if table.name == QUARANTINE_RUN]
            unconvertible = len(bad)
            if len(_days(events)) > max_days:
                raise TooManyDays(f"more than {max_days} days")
            duplicates = self._drop_repeats(events, streams, find_repeats, bad)
            if bad:
                refused.append(self._quarantine_table(bad))
            event_files = self._write_events(work, events)
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
        lines_in = group.lines
        if group.clashes:
            group, bad = _without_clashes(group)
        lines = _Lines(f"lines_{number}", group.name, group.properties, group.traits)
        layout = layout_of(group)
        paths: dict[str, Path] = {}
        for number_of_stream, (stream, parts) in enumerate(group.parts.items()):
            paths[stream] = work / f"{number}-{number_of_stream}.ndjson"
            with paths[stream].open("wb") as file:
                file.writelines(part.text for part in parts)
        for stream, line in _read_all(connection, lines.table, layout, paths):
            bad.append((stream, line))
        for path in paths.values():
            path.unlink()
        _count(connection, lines, self._ever_in_use)
        self._ever_in_use |= lines.in_use  # what another worker adds just now is found again
        if lines.rows + len(bad) != lines_in:
            raise LakeError(f"{lines_in} lines of {group.name!r} went in, {lines.rows} rows were read")
        return lines, bad

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
                whole = "to_json(struct_pack(*COLUMNS(l.* EXCLUDE (stream, visit))))::VARCHAR"
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
                f"SELECT {HALVES_SQL}, digest, stream, sequence FROM ("
                f"SELECT {KEY_SQL} AS key, coalesce(digest, 0)::UINTEGER AS digest, "
                f"map_extract_value(MAP {order}, stream)::UINTEGER AS stream, sequence::UBIGINT AS sequence "
                f"FROM {table.table})"
            ).fetchnumpy(),
            tables,
        )
        return Keys(**{name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]})

    # Writing --------------------------------------------------------------------------------------------------

    def _write_events(self, work: Path, tables: list[_Lines]) -> list[DataFile]:
        tables = [table for table in tables if table.rows]
        if not tables:
            return []
        self._register_agents(table.table for table in tables if "user_agent" in table.in_use)
        create_visits(self._connection, [table.table for table in tables if table.in_use & VISIT_COLUMNS])
        lots = _balanced(tables, files_a_day(sum(map(_rows, tables)), len(_days(tables)), self._threads))

        def files(tables: list[_Lines], connection: duckdb.DuckDBPyConnection) -> list[DataFile]:
            union = " UNION ALL BY NAME ".join(f"({_select(table)})" for table in tables)
            return write_by_day(connection, union, _folder(work), "event_date")

        return [file for written in self._side_by_side(files, lots) for file in written]

    def _write_quarantine(self, work: Path, tables: list[str]) -> list[DataFile]:
        if not tables:
            return []
        moments = f"{utc_sql('received_at')} AS received_at, {utc_sql('sent_at')} AS sent_at"
        union = " UNION ALL BY NAME ".join(
            f"(SELECT * REPLACE ({moments}), received_at::DATE AS received_date FROM {table})" for table in tables
        )
        return write_by_day(self._connection, union, _folder(work), "received_date")

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
    kept: dict[str, list[Part]] = {}
    for stream, parts in group.parts.items():
        for line in b"".join(part.text for part in parts).splitlines(keepends=True):
            brought = _columns_of_line(line) & group.clashes.keys()
            if brought:
                bad.append((stream, unconvertible(line, "; ".join(group.clashes[name] for name in sorted(brought)))))
            else:
                kept.setdefault(stream, []).append(Part(memoryview(line), 1))
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


def _read_all(
    connection: duckdb.DuckDBPyConnection, table: str, layout: Layout, paths: Mapping[str, Path]
) -> list[tuple[str, QuarantineLine]]:
    """Read the files of lines of each stream into a new table; the lines that do not convert are returned."""
    union = " UNION ALL ".join(_rows_of(layout, stream, path) for stream, path in paths.items())
    try:
        if union:
            # Into a table made for it: a third cheaper than INSERT into one that is there.
            connection.execute(f"CREATE OR REPLACE TABLE {table} AS {union}").fetchall()
            return []
    except _BAD_DATA:
        pass
    stream_and_visit = "stream VARCHAR, visit UHUGEINT" if layout.has_visit else "stream VARCHAR"
    connection.execute(f"CREATE OR REPLACE TABLE {table} ({layout.columns}, {stream_and_visit})").fetchall()
    return [
        (stream, line) for stream, path in paths.items() for line in _insert(connection, table, layout, stream, path)
    ]


def _insert(
    connection: duckdb.DuckDBPyConnection, table: str, layout: Layout, stream: str, path: Path
) -> list[QuarantineLine]:
    """Read a file of lines into a table that is there; on failure find the lines that do not convert by halving."""
    try:
        connection.execute(f"INSERT INTO {table} {_rows_of(layout, stream, path)}").fetchall()
    except _BAD_DATA:
        return _bisect(connection, table, layout, stream, path, path.read_bytes().splitlines(keepends=True))
    return []


def _rows_of(layout: Layout, stream: str, path: Path) -> str:
    visit = f", {VISIT_SQL} AS visit" if layout.has_visit else ""
    return (
        f"SELECT {layout.select}, {literal(stream)} AS stream{visit} "
        f"FROM read_json({literal(str(path))}, columns = {layout.members}, "
        f"format = 'newline_delimited', maximum_object_size = {_MAX_LINE_BYTES}, compression = 'none')"
    )


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
        connection.execute(f"INSERT INTO {table} {_rows_of(layout, stream, part)}").fetchall()
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


def _count(connection: duckdb.DuckDBPyConnection, lines: _Lines, ever_in_use: frozenset[str]) -> None:
    """How many rows and days there are, and which columns may have a value: the others need not be worked out.

    That is what had one before and what is found to have one now. To look into the columns that never had one is a
    fifth of the work of counting all, a twentieth of that of a flush.
    """
    places: dict[str, str] = {}
    if lines.name != QUARANTINE_RUN:
        places = {name: quoted(name) for name in LINE_COLUMNS if name not in ("sequence", "digest")}
        places |= {name: f"p.{quoted(name)}" for name in lines.properties}
        places |= {name: f"t.{quoted(name.removeprefix('trait_'))}" for name in lines.traits}
    never = {name: place for name, place in places.items() if name not in ever_in_use}
    any_of_them = " OR ".join(f"{place} IS NOT NULL" for place in never.values()) or "false"
    days = "list(DISTINCT event_time::DATE)" if places else "[]"
    ((lines.rows, found, new),) = connection.execute(
        f"SELECT count(*), {days}, count(*) FILTER (WHERE {any_of_them}) FROM {lines.table}"
    ).fetchall()
    if new:
        counted = ", ".join(f"count({place})" for place in never.values())
        (counts,) = connection.execute(f"SELECT {counted} FROM {lines.table}").fetchall()
        ever_in_use |= {name for name, count in zip(never, counts, strict=True) if count}
    lines.days = frozenset(found or ())
    lines.in_use = ever_in_use.intersection(places)


def _rows(table: _Lines) -> int:
    return table.rows


def _balanced(tables: Iterable[_Lines], among: int) -> list[list[_Lines]]:
    """The tables in at most so many lots of about as many rows each."""
    lots: list[list[_Lines]] = [[] for _ in range(among)]
    for table in sorted(tables, key=_rows, reverse=True):
        min(lots, key=lambda lot: sum(map(_rows, lot))).append(table)
    return [lot for lot in lots if lot]


def _days(tables: Iterable[_Lines]) -> frozenset[date]:
    return frozenset[date]().union(*(table.days for table in tables))


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
