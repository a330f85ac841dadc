"""The committer's cycle: read the streams, write files, commit, remember the ids, trim. Retries live here.

Order, per flush: columns are added → files are durable in the store → `quarantine` is committed → `events` is
committed → the ids are remembered → the streams are trimmed. Since `quarantine` goes first, the watermark of `events`
alone tells how far a stream is in the lake: what lies at or below it is in one table or the other.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Protocol

import structlog
from msgspec import Struct

from ..batch import REPLAY_STREAM, Block, StreamSource, received_at_of
from ..errors import CollectorError, CommitUncertain
from .checkpoints import Checkpoints
from .columns import ColumnsStep, TooManyDays, Written
from .commit import add_actions, commit
from .fenced import put
from .gather import Clashes, wanted_columns
from .parquet import DataFile
from .remember import Memory
from .store import Store
from .table import Table

log = structlog.get_logger("polku.lake")

_LONGEST_PAUSE_SECONDS = 30.0
_FRESH_START_AFTER = 10
# A historical source may bring any day: a flush takes the blocks of about a year at most.
MAX_DAYS = 400
_WHOLE = 1 << 60


Check = Callable[[], None]


class LakeStream(StreamSource, Protocol):
    """A stream with what the loop needs beyond reading."""

    @property
    def durable(self) -> int:
        """The last sequence that is known to be fsynced."""


class Flush(Struct, frozen=True):
    """What one flush did, for metrics and the log."""

    written: Written
    seconds: float
    attempts: int
    dedup_window_seconds: float
    commit_seconds: float = 0.0
    """Of its last commit alone, all attempts: to `events`."""
    oldest_received_at: datetime | None = None
    """Of all its events, as far as the journal's blocks tell."""
    steps: dict[str, float] = {}
    """The seconds that each took, in order; together a little less than all of it."""
    positions: dict[str, int] = {}
    """Of each stream it took from, up to where."""


class Observer(Protocol):
    """What is told of the cycle."""

    def flushed(self, flush: Flush) -> None:
        """A flush is in the tables."""

    def failed(self, error: Exception, seconds: float) -> None:
        """A flush failed, so many seconds after it began; what it took is tried again."""


class _Taken(Struct, frozen=True):
    """What a flush takes from the streams: blocks, and where each stream stood before them."""

    blocks: list[Block]
    before: dict[str, int]
    size: int
    """Of their lines, in bytes."""


class Committer:
    """Commits what is durable in the journal. One per node and table; not thread-safe."""

    def __init__(
        self,
        *,
        store: Store,
        events: Table,
        quarantine: Table,
        columns: ColumnsStep,
        memory: Memory,
        streams: Callable[[], Mapping[str, LakeStream]],
        observer: Observer,
        flush_bytes: int,
        checkpoints: Checkpoints,
    ) -> None:
        self._store, self._events, self._quarantine = store, events, quarantine
        self._columns, self._memory, self._streams, self._observer = columns, memory, streams, observer
        self._flush_bytes, self._checkpoints = flush_bytes, checkpoints
        self._commit_seconds = 0.0
        # Of each stream, up to where our own commits went: they are proven, and a handle sees them only when it is
        # refreshed.
        self._reached: dict[str, int] = {}
        # After a failure a table may show a commit that was not made durable. Opened anew, it is settled.
        self._is_settled = True
        self._ahead: deque[_Taken] = deque()
        """What the next flushes take, if nothing intervenes: it was read beside those before."""

    def run(self, interval_seconds: float, stop: threading.Event) -> None:
        """Flush at every interval, at once while there is more than one flush waiting, until told to stop.

        Failures that can pass are waited out; the journal keeps everything meanwhile. Others are raised.
        """
        failures = 0
        while not stop.is_set():
            started = time.monotonic()
            try:
                full = self.flush() >= self._flush_bytes
                failures = 0
            except Exception as error:
                if isinstance(error, CollectorError) and not error.transient:
                    raise
                failures += 1
                self._observer.failed(error, time.monotonic() - started)
                if failures >= _FRESH_START_AFTER and not isinstance(error, CollectorError):
                    raise  # perhaps this process is what is broken: the supervisor starts another
                log.warning("flush failed, trying again", failures=failures, reason=str(error), exc_info=failures == 1)
                pause = min(_LONGEST_PAUSE_SECONDS, interval_seconds * 2**failures)
                stop.wait(random.uniform(pause / 2, pause))  # noqa: S311  (jitter)
                self._reopen()
                continue
            if not full:
                stop.wait(max(0.0, interval_seconds - (time.monotonic() - started)))

    def drain(self, deadline: float) -> int:
        """Flush until nothing durable is left, or until `deadline` (monotonic). Returns the events left."""
        while (left := self.waiting()) and time.monotonic() < deadline:
            started = time.monotonic()
            try:
                self.flush()
            except Exception as error:
                if isinstance(error, CollectorError) and not error.transient:
                    raise
                self._observer.failed(error, time.monotonic() - started)
                log.warning("flush failed while draining", reason=str(error))
                time.sleep(0.5)
                self._reopen()
        return left

    def trim(self) -> None:
        """Let the journal forget what the table holds, as each flush does: also what somebody else committed."""
        self._events.refresh()
        for name, stream in self._streams().items():
            stream.trim(self._events.watermark(name))

    def waiting(self) -> int:
        """Durable events that are not committed yet."""
        return self._waiting(self._streams())

    def flush(self) -> int:
        """One flush of all streams; returns the journal bytes it took (0: there was nothing).

        Each table is refreshed once, and read, judged by and committed from as it was then: what others do meanwhile
        is noticed by the commit, which moves each watermark from what was read here or not at all. With nothing to
        commit nobody is asked: what others committed matters to whoever commits next.
        """
        started = time.perf_counter()
        if not self._is_settled:
            for table in (self._events, self._quarantine):
                table.settle()
            self._is_settled = True
        streams = self._streams()
        if not self._waiting(streams):
            for name, stream in streams.items():  # what an earlier life had no time to trim
                stream.trim(self._committed(name))
            return 0
        self._events.refresh()
        self._quarantine.refresh()
        self._memory.level(self._events, streams)
        replayed = self._events.watermark(REPLAY_STREAM)
        half_done = sorted(name for name in streams if self._quarantine.watermark(name) > self._position(name))
        if half_done:
            self._ahead.clear()
        taken = self._half_done(streams, half_done) if half_done else self._next(streams)
        size = taken.size
        for name in half_done or streams:
            if name not in taken.before:
                streams[name].trim(self._committed(name))
        if not taken.blocks:
            return 0
        read = time.perf_counter()
        clashes = self._room_for(taken.blocks)
        blocks, written = self._written(taken.blocks, clashes, streams)
        after = _ends(blocks)
        before = {name: taken.before[name] for name in after}

        checks = [put(self._store, self._events, written.events)]
        if written.quarantine and not half_done:
            checks.append(put(self._store, self._quarantine, written.quarantine))

        def check() -> None:
            for still_there in checks:
                still_there()

        put_at = time.perf_counter()
        attempts = self._settle(written, before, after, replayed, half_done=bool(half_done), check=check)
        if attempts is None:
            return size
        committed = time.perf_counter()
        self._memory.remember(after)
        for name in after:
            streams[name].trim(self._committed(name))
        window = self._memory.index.window(time.time()).seconds
        seconds, oldest = time.perf_counter() - started, _oldest(blocks)
        steps = {"read": read - started, "write files": put_at - read, "commit": committed - put_at}
        self._observer.flushed(Flush(written, seconds, attempts, window, self._commit_seconds, oldest, steps, after))
        for table in (self._events, self._quarantine):
            self._checkpoints.look(table)
        return size

    def _position(self, stream: str) -> int:
        """Up to where a stream needs no more flushing, as the handle of `events` tells it."""
        return self._events.watermark(stream)

    def _committed(self, stream: str) -> int:
        """Up to where a stream is proven to be in the tables."""
        return max(self._events.watermark(stream), self._reached.get(stream, 0))

    def _waiting(self, streams: Mapping[str, LakeStream]) -> int:
        flushed = {name: max(self._position(name), self._reached.get(name, 0)) for name in streams}
        return sum(max(0, stream.durable - flushed[name]) for name, stream in streams.items())

    def _settle(
        self,
        written: Written,
        before: dict[str, int],
        after: dict[str, int],
        replayed: int,
        *,
        half_done: bool,
        check: Check,
    ) -> int | None:
        """Commit files that are in the store; returns the attempts, or None if the flush has to be looked at again.

        `check`, asked before each attempt, raises when a vacuum took them meanwhile.
        """
        if written.quarantine and not half_done:
            # From the handle that told that this flush is not half done. One refreshed since could have a watermark
            # within these blocks, with their rows.
            stands = {stream: self._quarantine.watermark(stream) for stream in after}
            self._commit(self._quarantine, written.quarantine, stands, after, check)
        # The replay's watermark goes along unchanged, so that this commit and that of a replay exclude each other.
        fence = {REPLAY_STREAM: replayed} if written.events else {}
        try:
            attempts = self._commit(self._events, written.events, before | fence, after | fence, check)
        except CommitUncertain:
            if self._events.watermark(REPLAY_STREAM) == replayed:
                raise
            log.info("events came out of quarantine meanwhile, looking for copies again")
            return None
        self._reached |= after
        return attempts

    def _room_for(self, blocks: list[Block]) -> Clashes:
        """Add the columns that the blocks may bring before any file holds them; says what the table can never hold.

        Intake accepts events under a plan while the store is away; only here is it known what the table thinks of it.
        """
        clashes = {plan: self._events.widen(columns) for plan, columns in wanted_columns(blocks).items()}
        return {plan: {clash.column: str(clash) for clash in found} for plan, found in clashes.items() if found}

    def _half_done(self, streams: Mapping[str, LakeStream], names: Iterable[str]) -> _Taken:
        """A flush of which only the rows for `quarantine` were committed: taken up again whole, to be decided as it
        was."""
        taken = _Taken([], {}, 0)
        for name in names:
            watermark = self._position(name)
            found = self._not_beyond_quarantine(name, streams[name].read(watermark, _WHOLE))
            if not found and streams[name].durable > watermark:
                self._pass_over(name, watermark)
            taken = _with(taken, name, watermark, found)
        return taken

    def _next(self, streams: Mapping[str, LakeStream]) -> _Taken:
        """What was read ahead, if it still is what follows, or what is read now."""
        ahead = self._ahead.popleft() if self._ahead else None
        if ahead is not None and all(
            name in streams and self._position(name) == ahead.before[name] for name in ahead.before
        ):
            return ahead
        self._ahead.clear()
        return self._taken(streams, self._position)

    def _taken(self, streams: Mapping[str, LakeStream], position: Callable[[str], int]) -> _Taken:
        """About as many bytes of the streams as make a flush."""
        taken = _Taken([], {}, 0)
        for name, stream in streams.items():
            watermark = position(name)
            taken = _with(taken, name, watermark, stream.read(watermark, max(1, self._flush_bytes - taken.size)))
        return taken

    def _following(self, streams: Mapping[str, LakeStream], blocks: list[Block], kept: int) -> list[Block]:
        """What will be flushed after these blocks and what is ahead, when flushes are full: who is behind reads on.

        `kept`: so many of those ahead are read; with the others that was in vain.
        """
        while len(self._ahead) > kept:
            self._ahead.pop()
        taken = [blocks, *(ahead.blocks for ahead in self._ahead)]
        if _size(taken[-1]) < self._flush_bytes:
            return []
        after = _ends(block for each in taken for block in each)
        ahead = self._taken(streams, lambda name: after.get(name, self._position(name)))
        if ahead.size < self._flush_bytes:
            return []
        self._ahead.append(ahead)
        return ahead.blocks

    def _written(
        self, blocks: list[Block], clashes: Clashes, streams: Mapping[str, LakeStream]
    ) -> tuple[list[Block], Written]:
        """The files of the blocks, or of the first of them when they are of too many days at once."""
        while True:
            most = MAX_DAYS if len(blocks) > 1 else _WHOLE
            following = partial(self._following, streams, blocks)
            try:
                return blocks, self._columns.write(blocks, self._memory.find, most, clashes, following)
            except TooManyDays:
                blocks = blocks[: len(blocks) // 2]
                self._ahead.clear()

    def _pass_over(self, stream: str, watermark: int) -> None:
        """What a half-done flush had left for `events` is damaged in the journal (and was reported): move on."""
        last = self._quarantine.watermark(stream)
        log.error("damaged part of a half-done flush passed over", stream=stream, after=watermark, until=last)
        commit(self._events, [], {stream: watermark}, {stream: last})
        self._events.settle()

    def _not_beyond_quarantine(self, stream: str, blocks: list[Block]) -> list[Block]:
        """After a crash between the two commits: exactly the blocks whose quarantine rows are already in."""
        done = self._quarantine.watermark(stream)
        return [block for block in blocks if block.last_sequence <= done]

    def _commit(
        self,
        table: Table,
        files: list[DataFile],
        before: dict[str, int],
        after: dict[str, int],
        check: Check,
    ) -> int:
        started = time.perf_counter()
        attempts = commit(table, add_actions(files, table.partition_by), before, after, check=check)
        self._commit_seconds = time.perf_counter() - started
        if not self._store.commits_are_durable:
            table.settle()
        self._checkpoints.committed(table)
        return attempts

    def _reopen(self) -> None:
        self._ahead.clear()
        self._reached.clear()  # from here on the tables alone are believed
        self._is_settled = False
        for table in (self._events, self._quarantine):
            try:
                table.reopen()
            except Exception as error:
                log.warning("table not reopened", table=table.name, reason=str(error))


def _with(taken: _Taken, name: str, watermark: int, found: list[Block]) -> _Taken:
    if not found:
        return taken
    return _Taken([*taken.blocks, *found], {**taken.before, name: watermark}, taken.size + _size(found))


def _size(blocks: Iterable[Block]) -> int:
    return sum(len(block.lines) for block in blocks)


def _ends(blocks: Iterable[Block]) -> dict[str, int]:
    """Up to where the blocks go in their streams."""
    return {block.stream: block.last_sequence for block in blocks}


def _oldest(blocks: Iterable[Block]) -> datetime | None:
    """When the oldest event of a flush was received, by the first line of each block.

    The lines of a block were received within one wait for the disk of each other.
    """
    return min((moment for block in blocks if (moment := received_at_of(bytes(block.lines[:256])))), default=None)
