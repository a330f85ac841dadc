"""Which event ids the table already holds: an index on disk of sorted runs, and the verdicts it gives.

A key is a 128-bit hash of (source, event_id), made by the caller, with where the event stands (stream,
sequence) and a digest of its content. Keys are added only after the commit that holds them is proven, tagged
with its watermarks; so the index is never ahead of the table, and what it lacks after a crash (`covered`) can
be read from the table again. Nothing here decides what happens to a duplicate.

Its files are written and proven by `dedup_runs`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from polku_collector.errors import LakeError
from polku_collector.files import DISK, Files
from polku_collector.lake.dedup_runs import (
    ENTRY_BYTES,
    MANIFEST,
    U16,
    U32,
    U64,
    Columns,
    Manifest,
    Piece,
    Run,
    RunDamaged,
    RunInfo,
    merged,
    read_manifest,
    run_files,
    write_manifest,
    write_run,
)

Mask = NDArray[np.bool_]

UNKNOWN_DIGEST = 0

# Runs are merged only inside one of these parts of the window (and of the bytes), so that whole runs can
# expire: an entry lives at most one part longer than promised, and the byte bound takes a part at once.
PARTS = 6
# A new run swallows older ones while they are less than this many times its size. Each run thus ends at least
# three times the next: a million flushes are a dozen runs, and an entry is rewritten about eight times.
MERGE_RATIO = 3
# Streams are told by a 16-bit number inside the runs.
MAX_STREAMS = 1 << 16


class Lookup(NamedTuple):
    """What the index knows of each key asked for: the earliest position. Unfound rows hold zeros."""

    found: Mask
    stream: U16
    sequence: U64
    digest: U32


class Verdicts(NamedTuple):
    """`duplicate`: the event is in the table already. `conflicting`: its id is, with other content."""

    duplicate: Mask
    conflicting: Mask


class Window(NamedTuple):
    """How far back duplicates are sure to be seen, and whether the byte bound (not the setting) says so."""

    seconds: float
    bounded_by_bytes: bool


def window_of(directory: Path, window_seconds: float, now: float) -> Window | None:
    """The window in force, for somebody who only looks; None while there is no index that can be read."""
    try:
        _, _, body = (directory / MANIFEST).read_bytes().partition(b"\n")
        manifest = msgspec.json.decode(body, type=Manifest)
    except (OSError, msgspec.MsgspecError):
        return None
    since_evicted = now - manifest.evicted_until
    return Window(min(since_evicted, window_seconds), since_evicted < window_seconds)


def duplicates_in_flush(hi: U64, lo: U64, digest: U32, order: NDArray[np.integer]) -> Verdicts:
    """The duplicates among the events of one flush: of each key, the one with the smallest `order` stays."""
    count = len(hi)
    duplicate, conflicting = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    by_hi = np.sort(hi)
    if count < 2 or not (by_hi[1:] == by_hi[:-1]).any():
        return Verdicts(duplicate, conflicting)  # the usual flush: one sort and out
    at = np.lexsort((order, lo, hi))
    repeats = np.zeros(count, np.bool_)
    repeats[1:] = (hi[at][1:] == hi[at][:-1]) & (lo[at][1:] == lo[at][:-1])
    winner = at[np.maximum.accumulate(np.where(repeats, 0, np.arange(count)))]
    differs = _differ(digest[at], digest[winner])
    duplicate[at] = repeats & ~differs
    conflicting[at] = repeats & differs
    return Verdicts(duplicate, conflicting)


class DedupIndex:
    """The index of one lake. One process opens it at a time (it lies beside the locked journal)."""

    def __init__(self, directory: Path, window_seconds: float, max_bytes: int, files: Files = DISK) -> None:
        self._directory = directory
        self._window_seconds = window_seconds
        self._max_bytes = max_bytes
        self._files = files
        self._manifest = Manifest()
        self._stream_numbers: dict[str, int] = {}
        self._runs: list[Run] = []
        self.reports: list[str] = []
        """What was set aside or dropped since it was opened, a sentence each, for log and metrics."""

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        window_seconds: float,
        max_bytes: int,
        proven: Mapping[str, int],
        now: float,
        files: Files = DISK,
    ) -> DedupIndex:
        """Open or create the index, keeping only what the table proves.

        `proven` holds the table's watermark of each stream: entries beyond it, or of a stream it does not
        name, are dropped. Damaged files are set aside and reported; then `covered` falls back, and the caller
        adds what the table holds beyond it. Times are seconds since the epoch.
        """
        index = cls(directory, window_seconds, max_bytes, files)
        files.make_directory(directory)
        index._load(proven)
        index._expire(now)
        index._save()
        index._remove_orphans()
        return index

    def __len__(self) -> int:
        return sum(run.rows for run in self._runs)

    @property
    def run_count(self) -> int:
        """How many files it consists of."""
        return len(self._runs)

    @property
    def size_bytes(self) -> int:
        """What they take on disk."""
        return len(self) * ENTRY_BYTES

    def covered(self) -> dict[str, int]:
        """Up to which sequence of each stream the index knows the table; what lies beyond must be added."""
        return dict(self._manifest.covered)

    def window(self, now: float) -> Window:
        """The window in force."""
        since_evicted = now - self._manifest.evicted_until
        bounded = since_evicted < self._window_seconds
        return Window(since_evicted if bounded else self._window_seconds, bounded)

    def stream_number(self, stream: str) -> int:
        """The number that stands for a stream in the `stream` arrays; given out at first use."""
        number = self._stream_numbers.get(stream)
        if number is None:
            number = len(self._manifest.streams)
            if number >= MAX_STREAMS:
                raise LakeError(
                    f"The duplicate index in {self._directory} has seen {MAX_STREAMS} journal streams, as many as "
                    "it can name. Stop the collector and remove that directory: it is rebuilt from the table."
                )
            self._manifest.streams.append(stream)
            self._stream_numbers[stream] = number
        return number

    def stream_name(self, number: int) -> str:
        """The inverse of `stream_number`."""
        return self._manifest.streams[number]

    def lookup(self, hi: U64, lo: U64) -> Lookup:
        """The earliest position of each key; a key may be asked for more than once."""
        count = len(hi)
        result = Lookup(
            np.zeros(count, np.bool_),
            np.zeros(count, np.uint16),
            np.zeros(count, np.uint64),
            np.zeros(count, np.uint32),
        )
        if not count or not self._runs:
            return result
        # Asked in order, neighbouring searches touch the same pages: six times as fast as at random.
        at = np.argsort(hi)
        hi, lo = hi[at], lo[at]
        for run in self._runs:
            asked, row = run.search(hi, lo)
            if not len(asked):
                continue
            target = at[asked]
            stream, sequence = run.columns.stream[row], run.columns.sequence[row]
            # Runs are asked oldest first; a later one only wins with an earlier position of the same stream.
            better = ~result.found[target] | ((result.stream[target] == stream) & (sequence < result.sequence[target]))
            target, row = target[better], row[better]
            result.found[target] = True
            result.stream[target] = run.columns.stream[row]
            result.sequence[target] = run.columns.sequence[row]
            result.digest[target] = run.columns.digest[row]
        return result

    def judge(self, hi: U64, lo: U64, digest: U32, stream: U16, sequence: U64) -> Verdicts:
        """Which events repeat an earlier position: a lower one of their stream, or any of another stream."""
        known = self.lookup(hi, lo)
        earlier = known.found & ((known.stream != stream) | (known.sequence < sequence))
        differs = _differ(digest, known.digest)
        return Verdicts(earlier & ~differs, earlier & differs)

    def append_run(
        self,
        hi: U64,
        lo: U64,
        *,
        stream: U16,
        sequence: U64,
        digest: U32,
        watermarks: Mapping[str, int],
        now: float,
    ) -> None:
        """Add the keys of a commit that the table is proven to hold; durable on return.

        `watermarks` are those it proved, never below a key's sequence; they may be beyond the last key (the
        rest were duplicates or quarantined). A key that is present already keeps its earlier position.
        """
        last = self._last_sequences(stream, sequence)
        for name, highest in last.items():
            if highest > watermarks.get(name, -1):
                raise ValueError(f"sequence {highest} of stream {name} is beyond its proven watermark")
        covered = self._manifest.covered
        since = {name: covered.get(name, 0) for name in watermarks}
        ahead = covered | {name: max(watermark, since[name]) for name, watermark in watermarks.items()}
        if not len(hi):
            # Written with the next run; a crash before that only means reading a little of the table again.
            self._manifest.covered = ahead
            return
        now = max([now, *(run.info.newest for run in self._runs[-1:])])  # a clock set back does not reorder runs
        self._seal(now)
        order = np.argsort(hi, kind="stable")
        info = RunInfo(file="", rows=len(hi), checksum=0, oldest=now, newest=now, last=last, since=since)
        fresh = Run(info, Columns(hi, lo, sequence, digest, stream).take(order))
        kept = len(self._runs)
        rows = fresh.rows
        while kept and self._swallows(rows, self._runs[kept - 1], now):
            kept -= 1
            rows += self._runs[kept].rows
        self._replace(kept, [*self._runs[kept:], fresh], now, ahead)

    def close(self) -> None:
        """Let the mapped files go."""
        self._runs = []

    # Loading

    def _load(self, proven: Mapping[str, int]) -> None:
        manifest, damage = read_manifest(self._directory, self._files)
        if damage:
            self.reports.append(f"The duplicate index starts anew: {damage}.")
        self._manifest = manifest
        self._stream_numbers = {name: number for number, name in enumerate(manifest.streams)}
        runs: list[Run] = []
        for info in manifest.runs:
            try:
                run = Run.read(self._directory / info.file, info)
            except RunDamaged as damage:
                self._set_aside(info, str(damage))
            else:
                runs.append(run)
        self._runs = runs
        self._drop_unproven(proven)
        manifest.covered = {
            name: min(watermark, proven[name]) for name, watermark in manifest.covered.items() if name in proven
        }

    def _set_aside(self, info: RunInfo, damage: str) -> None:
        path = self._directory / info.file
        if path.exists():
            self._files.rename(path, path.with_suffix(".damaged"))
        for name, watermark in info.since.items():
            covered = self._manifest.covered
            covered[name] = min(covered.get(name, 0), watermark)
        self.reports.append(
            f"{info.rows} keys of the duplicate index are read again from the table: {path.name} {damage}."
        )

    def _drop_unproven(self, proven: Mapping[str, int]) -> None:
        """Entries the table does not prove come from another or a restored table: no event repeats them."""
        for position, run in enumerate(self._runs):
            if all(watermark <= proven.get(name, -1) for name, watermark in run.info.last.items()):
                continue
            limits = np.array([proven.get(name, -1) for name in self._manifest.streams], np.int64)
            keep = run.columns.sequence.astype(np.int64) <= limits[run.columns.stream]
            self.reports.append(
                f"{run.rows - int(keep.sum())} keys beyond the table's watermark left the duplicate index."
            )
            last = self._last_sequences(run.columns.stream[keep], run.columns.sequence[keep])
            info = msgspec.structs.replace(run.info, last=last)
            kept = Piece([run.columns], np.flatnonzero(keep).astype(np.uint32))
            self._runs[position] = self._write(info, [kept])
        self._runs = [run for run in self._runs if run.rows]

    def _remove_orphans(self) -> None:
        """Runs the manifest does not name were left by a crash before or after it was replaced."""
        named = {run.info.file for run in self._runs}
        for path in run_files(self._directory):
            if path.name not in named:
                self._files.remove(path)
        self._files.remove(self._directory / f"{MANIFEST}.new")

    # Merging and expiry

    def _part(self, time: float) -> int:
        return int(time // (self._window_seconds / PARTS))

    def _fits(self, rows: int) -> bool:
        return rows * ENTRY_BYTES <= self._max_bytes // PARTS

    def _swallows(self, rows: int, older: Run, now: float) -> bool:
        return (
            older.rows < MERGE_RATIO * rows
            and self._fits(rows + older.rows)
            and self._part(older.info.oldest) == self._part(now)
        )

    def _seal(self, now: float) -> None:
        """When a new part of the window begins, the runs of the last one become one (as far as they fit)."""
        if not self._runs or self._part(self._runs[-1].info.newest) == self._part(now):
            return
        first = len(self._runs)
        part, rows = self._part(self._runs[-1].info.newest), 0
        while first and self._part(self._runs[first - 1].info.oldest) == part:
            rows += self._runs[first - 1].rows
            if not self._fits(rows):
                break
            first -= 1
        if len(self._runs) - first > 1:
            self._replace(first, self._runs[first:], now, self._manifest.covered)

    def _replace(self, kept: int, group: Sequence[Run], now: float, covered: dict[str, int]) -> None:
        """Write `group` (oldest first) as one run in the place of all runs from position `kept` on."""
        merged = self._merge(group)
        # Only now: had the disk been full, coverage ahead of the keys would hide them for good.
        self._manifest.covered = covered
        replaced = [run.info.file for run in self._runs[kept:]]
        self._runs[kept:] = [merged]
        replaced += self._expire(now)
        self._save()
        for file in replaced:
            self._files.remove(self._directory / file)

    def _merge(self, group: Sequence[Run]) -> Run:
        infos = [run.info for run in group]
        last: dict[str, int] = {}
        since: dict[str, int] = {}
        for info in infos:
            last |= {name: max(watermark, last.get(name, 0)) for name, watermark in info.last.items()}
            since |= {name: min(watermark, since.get(name, watermark)) for name, watermark in info.since.items()}
        info = RunInfo(
            file="",
            rows=0,
            checksum=0,
            oldest=min(info.oldest for info in infos),
            newest=max(info.newest for info in infos),
            last=last,
            since=since,
        )
        return self._write(info, [*merged([run.columns for run in group])])

    def _expire(self, now: float) -> list[str]:
        """Forget runs wholly older than the window, then the oldest beyond the byte bound; name their files."""
        gone = []
        while self._runs and self._runs[0].info.newest + self._window_seconds < now:
            gone.append(self._runs.pop(0))
        while len(self._runs) > 1 and self.size_bytes > self._max_bytes:
            evicted = self._runs.pop(0)
            gone.append(evicted)
            self._manifest.evicted_until = max(self._manifest.evicted_until, evicted.info.newest)
            self.reports.append(
                f"{evicted.rows} keys left the duplicate index before their time: it is bounded to "
                f"{self._max_bytes} bytes (dedup_max_bytes)."
            )
        return [run.info.file for run in gone]

    # Writing

    def _last_sequences(self, stream: U16, sequence: U64) -> dict[str, int]:
        numbers = np.unique(stream)
        return {self._manifest.streams[number]: int(sequence[stream == number].max()) for number in numbers.tolist()}

    def _write(self, info: RunInfo, pieces: Sequence[Piece]) -> Run:
        """Write a run; `info` says everything of it but what follows from the pieces."""
        number = self._manifest.next_run
        self._manifest.next_run += 1
        return write_run(self._directory, number, info, pieces, self._files)

    def _save(self) -> None:
        self._manifest.runs = [run.info for run in self._runs]
        write_manifest(self._directory, self._manifest, self._files)


def _differ(first: U32, second: U32) -> Mask:
    return np.asarray((first != second) & (first != UNKNOWN_DIGEST) & (second != UNKNOWN_DIGEST))
