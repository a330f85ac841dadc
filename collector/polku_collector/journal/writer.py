"""Append lines to a stream: group commit with one fsync for many requests. The loop encodes, a thread waits for it.

Each request is encoded when it comes, while its events are in the processor's caches: kept as objects until the block
is made, they cost a third of all that intake does.

Promise: `append` returns only when every line handed to it is fsynced. After a failed write or fsync nobody who waited
is told it succeeded (nor who waited for the next block: its lines have their numbers), the segment is never touched
again (its end is void), and a new segment begins with the same numbers. A second failure in a row makes the writer
broken.
"""

from __future__ import annotations

import asyncio
import os
import queue
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import msgspec
import structlog

from ..batch import QUARANTINE_RUN, UNPLANNED_RUN, Line, QuarantineLine, Schemas
from ..errors import JournalBroken, JournalFull
from ..files import DISK, Files
from .block import EncodedRun, SegmentHeader, encode_block, encode_header
from .stream import SharedNumber, create_stream, journal_bytes, segment_path

AnyLine = Line | QuarantineLine

# Lines that wait for the disk are bounded: beyond this a slow disk is answered with 503 instead of memory.
MAX_PENDING_BYTES = 64 * 1024 * 1024
# So much goes into one block; what waits beyond it goes into the next.
BLOCK_BYTES = 4 * 1024 * 1024
# After failures, so long no traffic is asked for.
BROKEN_SECONDS = 10.0
# How stale the measured size of the whole journal may be.
MEASURE_SECONDS = 0.25

log = structlog.get_logger("polku.journal")


class _Waiter(msgspec.Struct):
    done: Callable[[Exception | None], object]
    runs: list[EncodedRun]
    schemas: Schemas
    size_bytes: int
    last: int


class _Encoded(msgspec.Struct, frozen=True):
    """A block on its way to the disk, and who waits for it."""

    loop: asyncio.AbstractEventLoop
    waiters: list[_Waiter]
    schemas: Schemas
    parts: list[bytes]
    first: int
    lines: int
    size: int


class StreamWriter:
    """The owner of one new stream. Create it in the process that will append; `close` it last.

    All lines of a segment were judged by one plan, whose schemas stand in its header: other schemas, another segment.
    """

    def __init__(
        self,
        journal: Path,
        *,
        max_bytes: int,
        segment_bytes: int,
        reserve_bytes: int = 0,
        files: Files = DISK,
        observe: Callable[[int, int, float], None] = lambda lines, size, seconds: None,
    ) -> None:
        """`observe(lines, bytes, seconds)` is called after each block, in the writer's thread."""
        self._journal, self._files, self._observe = journal, files, observe
        self._max_bytes, self._segment_bytes, self._reserve_bytes = max_bytes, segment_bytes, reserve_bytes
        self._directory, self._lock = create_stream(journal, files)
        self._durable = SharedNumber(self._directory / "durable")
        self._next_sequence = 1
        self._next_given = 1
        """The number of the next line that comes; those from `_next_sequence` on are on their way to the disk."""
        self._segment, self._descriptor, self._segment_size = 0, -1, 0
        self._segment_schemas: Schemas | None = None
        self._failures, self._failed_at = 0, 0.0
        self._measured, self._measured_at = journal_bytes(journal), time.monotonic()

        self._pending: deque[_Waiter] = deque()
        self._pending_bytes = 0
        self._busy = False
        """A block is being made or is on its way: what comes meanwhile waits for the next."""
        self._closing = False
        self._to_disk: queue.SimpleQueue[_Encoded | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="polku-journal", daemon=True)
        self._thread.start()

    @property
    def stream_id(self) -> str:
        return self._directory.name

    @property
    def broken(self) -> bool:
        """Two failures in a row: the worker should get no traffic for a while; then it is tried again."""
        return self._failures >= 2 and time.monotonic() - self._failed_at < BROKEN_SECONDS

    def full(self) -> str | None:
        """Why nothing more may be stored just now, or None."""
        now = time.monotonic()
        if now - self._measured_at > MEASURE_SECONDS:
            self._measured, self._measured_at = journal_bytes(self._journal), now
            self._free = shutil.disk_usage(self._directory).free
        if self._measured >= self._max_bytes:
            return f"the journal holds {self._measured} of {self._max_bytes} bytes"
        if self._free < self._reserve_bytes:
            return f"the journal's disk has {self._free} bytes left, {self._reserve_bytes} are kept free"
        if self._pending_bytes >= MAX_PENDING_BYTES:
            return f"{self._pending_bytes} bytes already wait for the disk"
        return None

    _free = 1 << 62  # until first measured

    async def append(self, lines: list[AnyLine], schemas: Schemas, size_bytes: int) -> int:
        """Return their last number when the lines are durable; the list is emptied at once.

        `schemas`: how they are read; `size_bytes`: about how large they are.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        last = self.put(lines, schemas, size_bytes, partial(_resolve, future))
        await future
        return last

    def put(
        self, lines: list[AnyLine], schemas: Schemas, size_bytes: int, done: Callable[[Exception | None], object]
    ) -> int:
        """As `append`, without waiting: `done` is called on the loop when the lines are durable, or with the error."""
        reason = self.full()
        if reason is not None:
            raise JournalFull(reason)
        if self._closing:
            raise JournalBroken("the journal is closed")
        try:
            runs = encoded_runs(lines, self._next_given)
        except Exception as error:
            raise self._failure(error) from error
        self._next_given += len(lines)
        lines.clear()
        waiter = _Waiter(done, runs, schemas, size_bytes, self._next_given - 1)
        self._pending.append(waiter)
        self._pending_bytes += size_bytes
        if not self._busy:
            self._busy = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._next_block, loop)  # after the requests that are ready by now
        return waiter.last

    def close(self) -> None:
        """Make durable what is on its way to the disk, then give up ownership of the stream.

        Called when no request is left: who still waits for a block would be told nothing.
        """
        self._closing = True
        self._to_disk.put(None)
        self._thread.join()
        if self._descriptor >= 0:
            self._files.close(self._descriptor)
            self._descriptor = -1
        self._durable.close()
        os.close(self._lock)

    # On the loop ----------------------------------------------------------------------------------------------

    def _next_block(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make a block of what waits, and hand it to the thread."""
        if not self._pending:
            self._busy = False
            return
        group, size = [], 0
        # While a new plan is coming into force, requests that were judged by either may wait side by side.
        schemas = self._pending[0].schemas
        while self._pending and self._pending[0].schemas is schemas and size < BLOCK_BYTES:
            waiter = self._pending.popleft()
            size += waiter.size_bytes
            group.append(waiter)
        self._pending_bytes -= size
        try:
            self._to_disk.put(self._block(loop, group, schemas))
        except Exception as error:
            self._start_anew(group, self._failure(error))
            self._next_block(loop)

    def _block(self, loop: asyncio.AbstractEventLoop, group: list[_Waiter], schemas: Schemas) -> _Encoded:
        """One block for all waiters."""
        first = self._next_sequence
        parts = encode_block(self.stream_id, first, joined_runs(waiter.runs for waiter in group))
        return _Encoded(loop, group, schemas, parts, first, group[-1].last + 1 - first, sum(map(len, parts)))

    def _done(self, block: _Encoded, error: Exception | None) -> None:
        """The block is durable, or is not: go on with the next, and tell who waits."""
        if error is None:
            self._next_block(block.loop)
            _tell(block.waiters, None)
        else:
            self._start_anew(block.waiters, error)
            self._next_block(block.loop)

    def _start_anew(self, waiters: list[_Waiter], error: Exception) -> None:
        """A block was not stored. What waits behind it has numbers that would leave a gap: it fails with it."""
        failed = [*waiters, *self._pending]
        self._pending.clear()
        self._pending_bytes = 0
        self._next_given = self._next_sequence
        _tell(failed, error)

    # In the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (block := self._to_disk.get()) is not None:
            self._store(block)

    def _store(self, block: _Encoded) -> None:
        started = time.perf_counter()
        failure: JournalBroken | None = None
        try:
            self._commit(block)
        except Exception as error:
            # Whatever it was: nobody is told it worked, and this thread lives on.
            self._abandon_segment()
            failure = self._failure(error)
        else:
            self._failures = 0
            self._observe(block.lines, block.size, time.perf_counter() - started)
        try:
            block.loop.call_soon_threadsafe(self._done, block, failure)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._busy = False

    def _commit(self, block: _Encoded) -> None:
        """Write the block and make it durable."""
        rolls = self._segment_size >= self._segment_bytes or block.schemas is not self._segment_schemas
        new_segment = self._descriptor < 0 or rolls
        if new_segment:
            self._open_segment(block.first, block.schemas)
        self._files.write(self._descriptor, block.parts)
        self._files.sync(self._descriptor)
        if new_segment:
            self._files.sync_directory(self._directory)
        self._segment_size += block.size
        self._next_sequence = block.first + block.lines
        self._durable.value = self._next_sequence - 1

    def _failure(self, error: Exception) -> JournalBroken:
        """Count a failure; what those who waited are told of it."""
        self._failures, self._failed_at = self._failures + 1, time.monotonic()
        log.error("journal block not stored", stream=self.stream_id, reason=str(error), failures=self._failures)
        return JournalBroken(f"the journal could not store the events: {error}")

    def _open_segment(self, first_sequence: int, schemas: Schemas) -> None:
        if self._descriptor >= 0:
            self._files.close(self._descriptor)
            self._descriptor = -1
        self._segment += 1
        header = SegmentHeader(self.stream_id, self._segment, first_sequence, schemas)
        path = segment_path(self._directory, self._segment)
        self._descriptor = self._files.create(path)
        data = encode_header(header)
        try:
            self._files.write(self._descriptor, [data])
        except OSError:
            self._files.remove(path)  # nothing stands in it; best effort, readers pass over it
            raise
        self._segment_size, self._segment_schemas = len(data), schemas

    def _abandon_segment(self) -> None:
        """After a failure the segment's end is unknown: it is closed and never fsynced again."""
        if self._descriptor >= 0:
            try:
                self._files.close(self._descriptor)
            except OSError as error:  # the descriptor is gone either way
                log.warning("segment not closed", stream=self.stream_id, reason=str(error))
            self._descriptor = -1


def run_name(line: AnyLine) -> str:
    """The run a line belongs to: lines of one run are read with one schema."""
    if type(line) is Line:
        return line.event_name if line.schema_version is not None else UNPLANNED_RUN
    return QUARANTINE_RUN


def joined_runs(requests: Iterable[list[EncodedRun]]) -> list[EncodedRun]:
    """The runs of several requests as those of one block."""
    members: dict[str, list[EncodedRun]] = {}
    for runs in requests:
        for run in runs:
            same = members.get(run.name)
            if same is None:
                members[run.name] = [run]
            else:
                same.append(run)
    return [runs[0] if len(runs) == 1 else _joined(runs) for runs in members.values()]


def _joined(runs: list[EncodedRun]) -> EncodedRun:
    lines = sum([run.lines for run in runs])
    return EncodedRun(runs[0].name, lines, b"".join([run.data for run in runs]), any(run.traits for run in runs))


def encoded_runs(lines: Iterable[AnyLine], first: int) -> list[EncodedRun]:
    """The lines by their runs, numbered from `first` on."""
    members: dict[str, list[AnyLine]] = {}
    for line in lines:
        name = run_name(line)
        run = members.get(name)
        if run is None:
            members[name] = [line]
        else:
            run.append(line)
    runs, number = [], first
    for name, run in members.items():
        for line in run:
            line.sequence = number
            number += 1
        traits = any(type(line) is Line and line.t is not None for line in run)
        runs.append(EncodedRun(name, len(run), _encode_lines(run), traits))
    return runs


_encode_lines = msgspec.json.Encoder().encode_lines


def _tell(group: list[_Waiter], error: Exception | None) -> None:
    """Tell the waiters. What goes wrong with one is not the business of the others, nor of the journal."""
    for waiter in group:
        try:
            waiter.done(error)
        except Exception as fault:
            log.error("an answer failed", reason=f"{type(fault).__name__}: {fault}")


def _resolve(future: asyncio.Future[None], error: Exception | None) -> None:
    """Wake who waits; not one whose client went away meanwhile."""
    if not future.done():
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
