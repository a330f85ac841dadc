"""The committer's memory of event ids: the duplicate index, asked per flush, level with the table at start."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import structlog
from numpy.typing import NDArray

from ..batch import REPLAY_STREAM
from ..engine import open_duckdb
from ..files import DISK, Files
from .columns import Keys, Repeats
from .dedup import DedupIndex, duplicates_in_flush
from .reading import HALVES_SQL, KEY_SQL
from .replayed import replayed_rows
from .table import Table

log = structlog.get_logger("polku.lake")

# A position as one number for comparing positions inside one flush: stream index above, sequence below.
_SEQUENCE_BITS = np.uint64(48)


class Memory:
    """Which ids are in the lake already. `find` before a commit, `remember` after it is proven."""

    def __init__(self, index: DedupIndex, window_seconds: float) -> None:
        self.index, self._window_seconds = index, window_seconds
        self._asked: tuple[Keys, list[str], NDArray[np.bool_]] | None = None

    def find(self, keys: Keys, streams: list[str]) -> Repeats:
        """Copies of events that are in the lake or earlier in this flush; ids that come back with other content."""
        here = duplicates_in_flush(
            keys.high,
            keys.low,
            keys.digest,
            (keys.stream.astype(np.uint64) << _SEQUENCE_BITS) | keys.sequence,
        )
        known = self.index.judge(keys.high, keys.low, keys.digest, self._numbers(keys, streams), keys.sequence)
        found = known.duplicate | known.conflicting
        repeats = Repeats(
            duplicate=known.duplicate | (here.duplicate & ~found),
            conflicting=known.conflicting | (here.conflicting & ~found),
        )
        self._asked = keys, streams, ~(repeats.duplicate | repeats.conflicting)
        return repeats

    def remember(self, watermarks: Mapping[str, int]) -> None:
        """Keep the ids of the flush last asked about: its commit is proven."""
        if self._asked is None:  # nothing but quarantine
            none = np.zeros(0, np.uint64)
            self._asked = Keys(none, none, none.astype(np.uint32), none.astype(np.uint32), none), [], none.astype(bool)
        keys, streams, rows = self._asked
        self._asked = None
        self.index.append_run(
            keys.high[rows],
            keys.low[rows],
            stream=self._numbers(keys, streams)[rows],
            sequence=keys.sequence[rows],
            digest=keys.digest[rows],
            watermarks=watermarks,
            now=time.time(),
        )

    def level(self, table: Table, streams: Iterable[str]) -> None:
        """Take in what the table holds beyond the index: after a crash, a commit proven only later, or a replay.

        A flush begins with it: what was asked about for one that failed is forgotten.
        """
        self._asked = None
        _level(self.index, table, {*streams}, self._window_seconds, time.time())

    def _numbers(self, keys: Keys, streams: list[str]) -> NDArray[np.uint16]:
        if not streams:
            return np.zeros(0, np.uint16)
        numbers = np.array([self.index.stream_number(stream) for stream in streams], np.uint16)
        return numbers[keys.stream]


def open_memory(
    directory: Path,
    table: Table,
    streams: Iterable[str],
    *,
    window_seconds: float,
    max_bytes: int,
    files: Files = DISK,
) -> Memory:
    """Open the index and add what the table holds beyond it: after a crash, or when the index was lost."""
    now = time.time()
    index = DedupIndex.open(
        directory,
        window_seconds=window_seconds,
        max_bytes=max_bytes,
        proven=_Proven(table),
        now=now,
        files=files,
    )
    for report in index.reports:
        log.warning("duplicate index", report=report)
    _level(index, table, {*streams, *index.covered()}, window_seconds, now, anew=not index.run_count)
    return Memory(index, window_seconds)


_POSITION = ["source", "event_id", "stream", "sequence"]


def _level(
    index: DedupIndex, table: Table, streams: set[str], window_seconds: float, now: float, *, anew: bool = False
) -> None:
    """Read from the table what the index lacks of these streams, and what was replayed by whoever it was."""
    covered = index.covered()
    behind = {name for name in {*streams, REPLAY_STREAM} if table.watermark(name) > covered.get(name, 0)}
    if anew or behind - {REPLAY_STREAM}:
        since = datetime.fromtimestamp(now, UTC) - timedelta(seconds=window_seconds)
        recent = (ds.field("received_at") >= since) & (ds.field("stream") != REPLAY_STREAM)
        rows = table.handle.to_pyarrow_dataset().scanner(columns=_POSITION, filter=recent).to_reader()
        _fill(index, table, rows, {*streams, *covered} - {REPLAY_STREAM}, covered, now)
    if REPLAY_STREAM in behind:  # of any age: they got into the table only now
        replayed = replayed_rows(table, covered.get(REPLAY_STREAM, 0), _POSITION)
        _fill(index, table, replayed, {REPLAY_STREAM}, covered, now)


def _fill(index: DedupIndex, table: Table, rows: Any, streams: set[str], covered: dict[str, int], now: float) -> None:
    """Add the ids of rows that the index does not cover. Their digests are not known any more."""
    connection = open_duckdb()
    connection.register("rows", rows)
    connection.execute("CREATE TABLE covered (stream VARCHAR, last BIGINT)")
    if covered:
        connection.executemany("INSERT INTO covered VALUES (?, ?)", list(covered.items()))
    found = connection.execute(
        f"SELECT {HALVES_SQL}, stream, sequence FROM (SELECT {KEY_SQL} AS _key, r.stream, r.sequence "
        "FROM rows r LEFT JOIN covered c ON c.stream = r.stream WHERE r.sequence > coalesce(c.last, 0))"
    ).fetchnumpy()
    connection.close()
    names = np.asarray(found["stream"], dtype=object)
    distinct = sorted(set(names.tolist()))
    numbers = {name: index.stream_number(name) for name in distinct}
    index.append_run(
        np.asarray(found["_high"]),
        np.asarray(found["_low"]),
        stream=np.array([numbers[name] for name in names], np.uint16),
        sequence=np.asarray(found["sequence"]).astype(np.uint64),
        digest=np.zeros(len(names), np.uint32),
        # Of all streams: one whose last lines became no rows is level with the table too.
        watermarks={name: table.watermark(name) for name in {*distinct, *streams}},
        now=now,
    )
    log.info("duplicate index level with the table from the table", ids=len(names), streams=len(distinct))


class _Proven(Mapping[str, int]):
    """The table's watermark of any stream, asked when needed; a stream it never saw stands at 0."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __getitem__(self, stream: str) -> int:
        return self._table.watermark(stream)

    def __contains__(self, stream: object) -> bool:
        return isinstance(stream, str)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0
