"""From journal blocks to Parquet files: read, find duplicates, enrich, write. Rows out equal rows in.

Lines are read with the schemas that their segments carry, and stay columns in Arrow from there to their files; a file
holds only the columns that occur in it. A line that does not convert goes to quarantine; everything else is counted
twice, going in and coming out, and a difference stops the commit.
"""

from __future__ import annotations

import queue
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import date
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import structlog
from msgspec import Struct
from numpy.typing import NDArray

from ..batch import QUARANTINE_RUN, Block
from ..engine import open_duckdb
from ..errors import LakeError
from .channels import VISIT_KEY, create_lookup, visits_of
from .enriched import VISIT_PARTS, Coded, coded, enriched, of_agents, of_visits, spread, together
from .gather import Clashes, Group, files_a_day, gathered, shared_out
from .layout import AGENT, DIGEST
from .parquet import DataFile, write_by_day
from .reading import STREAM, Reader, Refusals, conflicting, read_group, refused_rows
from .types import literal

log = structlog.get_logger("polku.lake")

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


class _Reading(Struct, frozen=True):
    """The lines of blocks on their way to rows, in threads of the pool."""

    blocks: list[Block]
    clashes: Clashes
    streams: list[str]
    groups: list[Group]
    results: list[Future[tuple[pa.Table | None, Refusals]]]


def _nothing_follows(ahead: int) -> list[Block]:
    return []


class ColumnsStep:
    """Turns flushes into files. One flush at a time."""

    def __init__(
        self,
        scratch: Path,
        resolve_agents: Callable[[Sequence[str]], pa.Table],
        threads: int = 2,
        spill_max_bytes: int | None = None,
    ) -> None:
        """`resolve_agents`: distinct user agents → a table of user_agent, device, os, browser, is_bot."""
        self._scratch, self._resolve_agents, self._threads = scratch, resolve_agents, threads
        # Groups are read and written side by side, each on a thread of ours. Threads of DuckDB's own
        # beside them cost a third more processor time for the same rows (measured).
        self._connection = open_duckdb(threads=1, spill_max_bytes=spill_max_bytes)
        self._run("SET enable_progress_bar = false")
        self._run(f"SET temp_directory = {literal(str(scratch / 'spill'))}")
        create_lookup(self._connection)
        self._readers: queue.LifoQueue[Reader] = queue.LifoQueue()  # its memory is warm, who has just read
        for _ in range(threads):
            self._readers.put(Reader(self._connection.cursor()))
        # What is written does not wait for what is read ahead, and that goes on whenever a core is idle.
        self._reading = ThreadPoolExecutor(threads, thread_name_prefix="polku-read")
        self._writing = ThreadPoolExecutor(threads, thread_name_prefix="polku-write")
        self._ahead: deque[_Reading] = deque()

    def write(
        self,
        blocks: list[Block],
        find_repeats: Callable[[Keys, list[str]], Repeats],
        max_days: int = 1_000_000,
        clashes: Clashes = MappingProxyType({}),
        following: Callable[[int], list[Block]] = _nothing_follows,
    ) -> Written:
        """Files for all lines of the blocks. `find_repeats` is asked once, with the keys of all events.

        Raises TooManyDays, before anything is written, when the events are of more than `max_days` days. Lines that
        bring a column that clashes with the table's go to quarantine. `following`: the blocks that will be written
        after these and so many flushes that are read ahead already, if that is known; they are read beside, for when
        this very list is given.
        """
        reading = self._read_before(blocks, clashes) or self._begin(blocks, clashes)
        if not self._ahead:
            self._read_on(following, clashes)
        written = self._files(reading, find_repeats, max_days)
        del reading  # its rows are in files: there is room for others
        if self._ahead:  # whoever is behind by that much has a core for it while this flush is committed
            self._read_on(following, clashes)
        return written

    def _files(self, reading: _Reading, find_repeats: Callable[[Keys, list[str]], Repeats], max_days: int) -> Written:
        work = self._scratch / "flush"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        blocks, streams = reading.blocks, reading.streams
        rows_in = sum(run.lines for block in blocks for run in block.runs)
        events: list[pa.Table] = []
        refused: list[pa.Table] = []
        bad: Refusals = []
        for group, (rows, unreadable) in zip(reading.groups, _results(reading.results), strict=True):
            bad += unreadable
            if rows is not None:
                (refused if group.name == QUARANTINE_RUN else events).append(rows)
        unconvertible = len(bad)
        if len(_days(events)) > max_days:
            raise TooManyDays(f"more than {max_days} days")
        events, duplicates, conflicts = _without_repeats(events, streams, find_repeats)
        bad += conflicting(blocks, conflicts)
        if bad:
            refused.append(refused_rows(bad, streams))
        event_files = self._write_events(work, events, streams)
        quarantine_files = _write_quarantine(work, refused, streams)
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
        self._reading.shutdown(cancel_futures=True)  # of what was ahead
        self._writing.shutdown()
        while not self._readers.empty():
            self._readers.get().close()
        self._connection.close()

    def _side_by_side(self, work: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
        """The results for all items, in order."""
        return _results([self._writing.submit(work, item) for item in items])

    def _begin(self, blocks: list[Block], clashes: Clashes) -> _Reading:
        streams = sorted({block.stream for block in blocks})
        groups = shared_out(gathered(blocks, clashes), self._threads)
        results = [self._reading.submit(self._read, group, streams) for group in groups]
        return _Reading(blocks, clashes, streams, groups, results)

    def _read_before(self, blocks: list[Block], clashes: Clashes) -> _Reading | None:
        """What was read ahead, if it is this: how lines are read follows from the lines and the clashes alone."""
        reading = self._ahead.popleft() if self._ahead else None
        if reading is not None and reading.blocks is blocks and reading.clashes == clashes:
            return reading
        self._ahead.clear()
        return None

    def _read_on(self, following: Callable[[int], list[Block]], clashes: Clashes) -> None:
        try:
            if after := following(len(self._ahead)):
                self._ahead.append(self._begin(after, clashes))
        except Exception as error:  # raised when it is their turn: nobody waits for what is wrong with others
            log.info("nothing is read ahead", reason=str(error))

    def _read(self, group: Group, streams: Sequence[str]) -> tuple[pa.Table | None, Refusals]:
        reader = self._readers.get()
        try:
            return read_group(reader, group, streams)
        finally:
            self._readers.put(reader)

    def _write_events(self, work: Path, tables: Sequence[pa.Table], streams: Sequence[str]) -> list[DataFile]:
        if not tables:
            return []
        by_agent, by_visit = zip(*self._side_by_side(_coded, tables), strict=True)
        agents = spread(partial(of_agents, self._resolve_agents), by_agent)
        visits = spread(self._of_visits, by_visit)
        found = [(rows, {**agent, **visit}) for rows, agent, visit in zip(tables, agents, visits, strict=True)]
        lots = _balanced(found, files_a_day(sum(map(_rows, found)), len(_days(tables)), self._threads))

        def files(lot: list[_Found]) -> list[DataFile]:
            rows = together([enriched(*part, streams) for part in lot])
            return write_by_day(rows, _folder(work), "event_date")

        return [file for written in self._side_by_side(files, lots) for file in written]

    def _of_visits(self, values: pa.Table) -> pa.Table:
        return of_visits(visits_of(self._connection, values), values)

    def _run(self, sql: str) -> list[tuple[Any, ...]]:
        """Run to the end: DuckDB refuses to go on beside a result that was not fetched."""
        return self._connection.execute(sql).fetchall()


def _results(futures: Sequence[Future[_Result]]) -> list[_Result]:
    wait(futures)  # all of them, also when one fails: the next flush uses the same folder
    return [future.result() for future in futures]


_Found = tuple[pa.Table, dict[str, Any]]
"""Rows, and what was found of them, as columns."""


def _without_repeats(
    tables: Sequence[pa.Table], streams: list[str], find_repeats: Callable[[Keys, list[str]], Repeats]
) -> tuple[list[pa.Table], int, dict[str, set[int]]]:
    """The rows that are no copies of earlier events, the number of those that are, and where ids were used again for
    other content: sequences by stream."""
    if not tables:
        return [], 0, {}
    keys = Keys(
        high=_joined(tables, "_high", np.uint64),
        low=_joined(tables, "_low", np.uint64),
        digest=_joined(tables, DIGEST, np.uint32),
        stream=_joined(tables, STREAM, np.uint32),
        sequence=_joined(tables, "sequence", np.uint64),
    )
    repeats = find_repeats(keys, streams)
    gone = repeats.duplicate | repeats.conflicting
    if not gone.any():
        return [*tables], 0, {}
    conflicts: dict[str, set[int]] = {}
    for stream, sequence in zip(keys.stream[repeats.conflicting], keys.sequence[repeats.conflicting], strict=True):
        conflicts.setdefault(streams[stream], set()).add(int(sequence))
    kept, start = [], 0
    for rows in tables:
        end = start + rows.num_rows
        if not gone[start:end].all():
            kept.append(rows.filter(pa.array(~gone[start:end])))
        start = end
    return kept, int(repeats.duplicate.sum()), conflicts


def _joined(tables: Sequence[pa.Table], name: str, kind: type[Any]) -> Any:  # an array of that type
    return np.concatenate([rows[name].to_numpy() for rows in tables]).astype(kind, copy=False)


def _write_quarantine(work: Path, tables: Sequence[pa.Table], streams: Sequence[str]) -> list[DataFile]:
    if not tables:
        return []
    rows = together([enriched(rows, {}, streams) for rows in tables])
    return write_by_day(rows, _folder(work), "received_date")


def _coded(rows: pa.Table) -> tuple[Coded | None, Coded | None]:
    """What is to be looked up of the rows: user agents, and visits (a path alone says no more than it is)."""
    has_visits = any(name in rows.column_names for name in VISIT_KEY)
    return coded(rows, [AGENT]), coded(rows, VISIT_PARTS if has_visits else ())


def _rows(found: _Found) -> int:
    return found[0].num_rows


def _balanced(tables: Iterable[_Found], among: int) -> list[list[_Found]]:
    """The tables in at most so many lots of about as many rows each."""
    lots: list[list[_Found]] = [[] for _ in range(among)]
    for table in sorted(tables, key=_rows, reverse=True):
        min(lots, key=lambda lot: sum(map(_rows, lot))).append(table)
    return [lot for lot in lots if lot]


def _days(tables: Iterable[pa.Table]) -> frozenset[date]:
    days: Any = [rows["event_date"].unique().to_pylist() for rows in tables]
    return frozenset(day for found in days for day in found)


def _folder(work: Path) -> Path:
    """A new folder for files; its name, a part of theirs, is never used again."""
    return work / uuid.uuid4().hex
