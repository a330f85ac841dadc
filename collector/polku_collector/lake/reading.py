"""From the lines of a group to columns: DuckDB reads the JSON straight into Arrow, and no table of its own.

(Measured: a table in between costs as much again as parsing, and reading it back half of that.) A line that does not
convert is found and becomes a line for `quarantine` by a pure function of the line.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
from msgspec import Struct

from polku_schemas import TRAIT_PREFIX

from ..batch import QUARANTINE_LINE_COLUMNS, QUARANTINE_RUN, Block, QuarantineLine
from ..errors import LakeError
from .gather import Group, Part
from .layout import Layout, layout_of
from .types import literal

# DuckDB's own limit on one JSON value; a line is at most a few times the largest accepted event.
_MAX_LINE_BYTES = 64 * 1024 * 1024

# What DuckDB says of a line that does not convert. Out of memory, a full disk and the like are no verdict on a line.
_BAD_DATA = (duckdb.DataError, duckdb.InvalidInputException)

KEPT_BYTES = 32 * 1024 * 1024
"""So much of the files in memory stays with a reader when it has read, for the next flush of the same size."""

# Where DuckDB read a line from: no property of the line, and no other the next time.
_PLACE = re.compile(r' in file "[^"]*", in line \d+')

KEY_SQL = "md5_number(concat(source, chr(31), event_id))"
"""The key of the duplicate index: 128 bits of what makes an event the same event."""

HALVES_SQL = f"(_key & {2**64 - 1}::UHUGEINT)::UBIGINT AS _high, (_key >> 64)::UBIGINT AS _low"
"""A key `_key` in its two columns, as `md5_number_upper` and `md5_number_lower` name them; those hash once each."""

KEY_COLUMNS = ("_high", "_low")
STREAM = "_stream"
"""Which of the flush's streams a row is of, by its number."""

Refusals = list[tuple[str, QuarantineLine]]
"""Lines for `quarantine`, each with its stream."""


class _Numbered(Struct):
    sequence: int


_decode_numbered = msgspec.json.Decoder(_Numbered).decode


class Reader:
    """A connection to read with, and files in memory that the lines are put into.

    In memory, because nothing of them is to outlive the flush; the same files again, because their pages are there
    already (measured: writing to files on disk took 1 µs a line, a fifth of parsing it; this a quarter of that).
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        connection.execute("SET TimeZone = 'UTC'").fetchall()
        # A path here has other lines each time; to keep them for the next would cost a twentieth of reading.
        connection.execute("SET enable_external_file_cache = false").fetchall()
        self._files: list[int] = []

    def put(self, number: int, parts: Iterable[memoryview | bytes]) -> Path:
        """Where these bytes are to be read from, until something else is put there."""
        while len(self._files) <= number:
            self._files.append(os.memfd_create(f"polku-lines-{len(self._files)}"))
        descriptor, size = self._files[number], 0
        os.lseek(descriptor, 0, os.SEEK_SET)
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            for part in parts:
                size += file.write(part)
        os.ftruncate(descriptor, size)
        return Path(f"/proc/self/fd/{descriptor}")

    def give_back(self) -> None:
        """Give back the memory of what was put, if it is more than KEPT_BYTES: large flushes are rare."""
        if sum(os.fstat(descriptor).st_size for descriptor in self._files) > KEPT_BYTES:
            for descriptor in self._files:
                os.ftruncate(descriptor, 0)

    def close(self) -> None:
        """Give all the memory back."""
        self.connection.close()
        for descriptor in self._files:
            os.close(descriptor)
        self._files.clear()


def read_group(reader: Reader, group: Group, streams: Sequence[str]) -> tuple[pa.Table | None, Refusals]:
    """The rows of a group, with the columns that have any value, and its lines that do not convert. None: no rows.

    `streams`: all of the flush, in the order of their numbers.
    """
    bad: Refusals = []
    lines_in = group.lines
    if group.clashes:
        group, bad = _without_clashes(group)
    layout = layout_of(group)
    sources = [
        _Source(stream, streams.index(stream), parts, group.name == QUARANTINE_RUN)
        for stream, parts in group.parts.items()
    ]
    tables, unreadable = _read_all(reader, layout, sources)
    reader.give_back()
    bad += unreadable
    rows = _in_use(pa.concat_tables(tables)) if tables else None
    read = 0 if rows is None else rows.num_rows
    if read + len(bad) != lines_in:
        raise LakeError(f"{lines_in} lines of {group.name!r} went in, {read} rows were read")
    return rows if read else None, bad


class _Source(Struct, frozen=True):
    """Lines of one stream."""

    stream: str
    number: int
    parts: list[Part]
    is_quarantine: bool

    def select(self, layout: Layout, path: Path) -> str:
        lines = (
            f"read_json({literal(str(path))}, columns = {layout.members}, format = 'newline_delimited', "
            f"maximum_object_size = {_MAX_LINE_BYTES}, compression = 'none')"
        )
        columns = f"{layout.select}, {self.number}::UINTEGER AS {STREAM}"
        if self.is_quarantine:
            return f"SELECT {columns} FROM {lines}"
        return f"SELECT * EXCLUDE (_key), {HALVES_SQL} FROM (SELECT {columns}, {KEY_SQL} AS _key FROM {lines})"


def _read_all(reader: Reader, layout: Layout, sources: Sequence[_Source]) -> tuple[list[pa.Table], Refusals]:
    """The rows of all sources, and the lines that do not convert."""
    paths = [reader.put(place, (part.text for part in source.parts)) for place, source in enumerate(sources)]
    union = " UNION ALL ".join(source.select(layout, path) for source, path in zip(sources, paths, strict=True))
    try:
        return [_arrow(reader, union)] if union else [], []
    except _BAD_DATA:
        pass
    tables: list[pa.Table] = []
    bad: Refusals = []
    for source in sources:
        lines = b"".join(part.text for part in source.parts).splitlines(keepends=True)
        bad += ((source.stream, line) for line in _bisect(reader, layout, source, lines, tables))
    return tables, bad


def _bisect(
    reader: Reader,
    layout: Layout,
    source: _Source,
    lines: Sequence[bytes],
    tables: list[pa.Table],
) -> list[QuarantineLine]:
    """Read what can be read into `tables`; the lines that do not convert are found by halving."""
    if not lines:
        return []
    try:
        tables.append(_arrow(reader, source.select(layout, reader.put(0, lines))))
    except _BAD_DATA as error:
        if len(lines) == 1:
            return [unconvertible(lines[0], str(error))]
        middle = len(lines) // 2
        return [
            *_bisect(reader, layout, source, lines[:middle], tables),
            *_bisect(reader, layout, source, lines[middle:], tables),
        ]
    return []


def _arrow(reader: Reader, select: str) -> pa.Table:
    rows: pa.Table = reader.connection.sql(select).to_arrow_table()
    return rows


def _in_use(rows: pa.Table) -> pa.Table:
    """The columns that have a value, their times marked as the UTC that they are."""
    used = [name for name in rows.column_names if rows[name].null_count < rows.num_rows]
    utc = pa.timestamp("us", "UTC")
    columns: dict[str, Any] = {}
    for name in used:
        column = whole(rows[name])
        columns[name] = column.view(utc) if column.type == pa.timestamp("us") else column
    return pa.table(columns)


def whole(column: Any) -> Any:  # Arrow's arrays have no types
    """One array of a column that nearly always is one already: joining would copy it."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


# Lines that become no rows ------------------------------------------------------------------------------------


def _without_clashes(group: Group) -> tuple[Group, Refusals]:
    """The group without the columns that clash with the table's, and its lines that bring one as refused."""
    bad: Refusals = []
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


def unconvertible(line: bytes, reason: str) -> QuarantineLine:
    """The quarantine line of an accepted event that the lake cannot read. A pure function of the line."""
    return _refused(line, "unconvertible", "$", _PLACE.sub("", reason.splitlines()[0], count=1)[:500])


def conflicting(blocks: Iterable[Block], sequences: Mapping[str, set[int]]) -> Refusals:
    """The quarantine lines of those events, by stream, whose ids were used before for other content."""
    message = "this id was used before, by the same source, for an event with other content"
    ordered = {stream: sorted(found) for stream, found in sequences.items()}
    return [
        (block.stream, _refused(line, "duplicate_id", "$.messageId", message))
        for block in blocks
        if _any_within(ordered.get(block.stream, ()), block.first_sequence, block.last_sequence)
        for line in bytes(block.lines).splitlines(keepends=True)
        if _decode_numbered(line).sequence in sequences[block.stream]
    ]


def _any_within(ordered: Sequence[int], first: int, last: int) -> bool:
    place = bisect_left(ordered, first)
    return place < len(ordered) and ordered[place] <= last


def _refused(line: bytes, code: str, path: str, message: str) -> QuarantineLine:
    document: dict[str, Any] = msgspec.json.decode(line)
    context = document.get("context") or {}
    # In a line of format 1 it stands beside the context.
    library = context.get("library") or {"name": document.get("library"), "version": document.get("library_version")}
    return QuarantineLine(
        sequence=document["sequence"],
        received_at=datetime.fromisoformat(document["received_at"]),
        source=document["source"],
        event_id=document.get("event_id"),
        event_type=document.get("event_type"),
        event_name=document.get("event_name"),
        code=code,
        path=path,
        message=message,
        original=line.decode("utf-8", "replace").rstrip("\n"),
        sent_at=datetime.fromisoformat(document["sent_at"]) if document.get("sent_at") else None,
        library=library.get("name"),
        library_version=library.get("version"),
    )


def refused_rows(refusals: Refusals, streams: Sequence[str]) -> pa.Table:
    """Such lines as the rows that `read_group` makes of those that intake refused."""
    lines = [line for _, line in refusals]
    columns: dict[str, Any] = {
        name: pa.array([getattr(line, name) for line in lines], kind) for name, kind in _QUARANTINE_TYPES.items()
    }
    columns["received_date"] = pa.array([line.received_at.astimezone(UTC).date() for line in lines], pa.date32())
    columns[STREAM] = pa.array([streams.index(stream) for stream, _ in refusals], pa.uint32())
    return _in_use(pa.table(columns))


_ARROW = {"string": pa.string(), "long": pa.int64(), "timestamp": pa.timestamp("us", "UTC")}
_QUARANTINE_TYPES = {name: _ARROW[kind] for name, kind in QUARANTINE_LINE_COLUMNS.items()}
