"""The files of the duplicate index: sorted runs that never change, and the manifest that says which of them
count.

A run is `run-<n>.keys`, its columns one after the other: hi, lo, sequence (uint64 each), digest (uint32),
stream (uint16), little-endian, sorted by hi. `manifest.json` is replaced atomically: a checksum, a line
break, JSON.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from isal.isal_zlib import crc32
from msgspec import Struct
from numpy.typing import NDArray

from polku_collector.files import Files

U64 = NDArray[np.uint64]
U32 = NDArray[np.uint32]
U16 = NDArray[np.uint16]

FORMAT = 1
MANIFEST = "manifest.json"
ENTRY_BYTES = 8 + 8 + 8 + 4 + 2

MERGED_ROWS = 1 << 20
"""So many entries are put in order at a time: 24 MiB of work, where a merge of everything would take 24 bytes each."""

_MAP_EAGERLY = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)  # only Linux has it


class Columns(NamedTuple):
    """The columns of a run, in the order they are stored."""

    hi: U64
    lo: U64
    sequence: U64
    digest: U32
    stream: U16

    def take(self, rows: Any) -> Columns:
        """The rows named by positions, by a mask or by a slice, which copies none."""
        return Columns(*(column[rows] for column in self))


class Piece(NamedTuple):
    """Neighbouring keys of one run or several: where they lie in each, and the order in which they come."""

    parts: Sequence[Columns]
    order: NDArray[np.uint32]
    """Places in the parts one after the other."""


def merged(runs: Sequence[Columns]) -> Iterator[Piece]:
    """The entries of sorted runs (oldest first) as one, by key; of those of one key the one that counts.

    Piece by piece: however large the runs are, about MERGED_ROWS are put in order at a time.
    """
    largest = max((run.hi for run in runs), key=len)
    pieces = -(-sum(len(run.hi) for run in runs) // MERGED_ROWS)
    ends = [largest[len(largest) * number // pieces] for number in range(1, pieces)]
    starts = [0] * len(runs)
    for end in [*ends, None]:
        stops = [len(run.hi) if end is None else int(np.searchsorted(run.hi, end)) for run in runs]
        parts = [run.take(slice(*span)) for run, *span in zip(runs, starts, stops, strict=True)]
        yield Piece(parts, _order(parts))
        starts = stops


def _order(parts: Sequence[Columns]) -> NDArray[np.uint32]:
    hi = np.concatenate([part.hi for part in parts])
    # Stable sorting of sorted pieces is a merge in numpy, and keeps the older of two equal keys in front.
    order = np.argsort(hi, kind="stable")
    in_order = hi[order]
    if (in_order[1:] == in_order[:-1]).any():
        order = _without_repeats(parts)
    return order.astype(np.uint32)


def _without_repeats(parts: Sequence[Columns]) -> NDArray[np.intp]:
    """The order by (hi, lo) with one entry a key: the oldest, or an earlier position of the same stream."""
    hi, lo, sequence, _, stream = (np.concatenate(pieces) for pieces in zip(*parts, strict=True))
    order = np.lexsort((lo, hi))
    repeats = np.zeros(len(order), np.bool_)
    repeats[1:] = (hi[order][1:] == hi[order][:-1]) & (lo[order][1:] == lo[order][:-1])
    first = 0
    for position in np.flatnonzero(repeats).tolist():
        if not repeats[position - 1]:
            first = position - 1
        winner, rival = order[first], order[position]
        if stream[rival] == stream[winner] and sequence[rival] < sequence[winner]:
            order[first] = rival
    return order[~repeats]


class RunInfo(Struct, frozen=True):
    """What the manifest says of a run."""

    file: str
    rows: int
    checksum: int
    oldest: float
    newest: float
    last: dict[str, int]
    """The highest sequence of each stream among its entries."""
    since: dict[str, int]
    """Up to where each stream was covered before it: where to read again when it is lost."""


class Manifest(Struct):
    """What counts. `covered`: up to where the index knows the table. Times are seconds since the epoch."""

    format: int = FORMAT
    streams: list[str] = []
    runs: list[RunInfo] = []
    covered: dict[str, int] = {}
    next_run: int = 1
    evicted_until: float = float("-1e18")


class RunDamaged(Exception):
    """A run file that is not what the manifest says; the text continues its name."""


class Run:
    """One sorted run: its columns, mapped from the file."""

    def __init__(self, info: RunInfo, columns: Columns) -> None:
        self.info = info
        self.rows = info.rows
        self.columns = columns

    @classmethod
    def read(cls, path: Path, info: RunInfo) -> Run:
        """Map a run after proving that it is whole."""
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            raise RunDamaged("is missing") from None
        if size != info.rows * ENTRY_BYTES:
            raise RunDamaged(f"has {size} bytes instead of {info.rows * ENTRY_BYTES}")
        run = cls.map(path, info)
        if _checksum(run.columns) != info.checksum:
            raise RunDamaged("does not have the checksum it was written with")
        return run

    @classmethod
    def map(cls, path: Path, info: RunInfo) -> Run:
        """Map a run just written."""
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            # Searches jump about in `hi`; a page fault at each jump costs more than the jump.
            eager = mmap.mmap(file.fileno(), info.rows * 8, flags=_MAP_EAGERLY, prot=mmap.PROT_READ)
        rows = info.rows
        columns = Columns(
            hi=np.frombuffer(eager, np.uint64, rows),
            lo=np.frombuffer(mapped, np.uint64, rows, offset=8 * rows),
            sequence=np.frombuffer(mapped, np.uint64, rows, offset=16 * rows),
            digest=np.frombuffer(mapped, np.uint32, rows, offset=24 * rows),
            stream=np.frombuffer(mapped, np.uint16, rows, offset=28 * rows),
        )
        return cls(info, columns)

    def search(self, hi: U64, lo: U64) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """(positions in the question, rows of the run) of the keys found. `hi` is sorted."""
        own_hi, own_lo = self.columns.hi, self.columns.lo
        row = np.searchsorted(own_hi, hi)
        row[row == self.rows] = 0  # beyond the end; the comparison below tells
        asked = np.flatnonzero(own_hi[row] == hi)
        if not len(asked):
            return asked, row[:0]
        row, wanted = row[asked], lo[asked]
        exact = own_lo[row] == wanted
        # Two keys share their first 64 bits by an accident of 2^-64, or on purpose: look through the others.
        for position in np.flatnonzero(~exact):
            end = np.searchsorted(own_hi, own_hi[row[position]], side="right")
            others = np.flatnonzero(own_lo[row[position] : end] == wanted[position])
            if len(others):
                row[position] += others[0]
                exact[position] = True
        return asked[exact], row[exact]


def write_run(directory: Path, number: int, info: RunInfo, pieces: Sequence[Piece], files: Files) -> Run:
    """Write a run; its bytes are durable on return, its directory entry only with the manifest that names it."""
    path = directory / f"run-{number:08d}.keys"
    checksum = 0
    files.remove(path)  # an orphan of a crash, at most
    descriptor = files.create(path)
    try:
        for column in range(len(Columns._fields)):
            for parts, order in pieces:
                values = _bytes(np.concatenate([part[column] for part in parts])[order])
                files.write(descriptor, [values])
                checksum = crc32(values, checksum)
        files.sync(descriptor)
    except OSError:  # a full disk, say: each attempt would leave as much as there is room for
        files.remove(path)
        raise
    finally:
        files.close(descriptor)
    rows = sum(len(piece.order) for piece in pieces)
    info = msgspec.structs.replace(info, file=path.name, rows=rows, checksum=checksum)
    return Run.map(path, info) if rows else Run(info, pieces[0].parts[0].take(slice(0)))


def write_manifest(directory: Path, manifest: Manifest, files: Files) -> None:
    """Replace the manifest: run files and their directory entries are durable before it names them."""
    body = msgspec.json.encode(manifest)
    path = directory / MANIFEST
    new = path.with_name(f"{MANIFEST}.new")
    files.remove(new)
    descriptor = files.create(new)
    try:
        files.write(descriptor, [b"%08x\n" % crc32(body), body])
        files.sync(descriptor)
    finally:
        files.close(descriptor)
    files.sync_directory(directory)
    files.rename(new, path)
    files.sync_directory(directory)


def read_manifest(directory: Path, files: Files) -> tuple[Manifest, str | None]:
    """The manifest, or an empty one with the reason why what lies there was set aside."""
    path = directory / MANIFEST
    try:
        checksum, _, body = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        checksum, body = b"", b""
        if not run_files(directory):
            return Manifest(), None
    try:
        if not body:
            raise ValueError("it is missing or empty")
        if int(checksum, 16) != crc32(body):
            raise ValueError("its checksum does not fit")
        manifest = msgspec.json.decode(body, type=Manifest)
        if manifest.format != FORMAT:
            raise ValueError(f"it has format {manifest.format}, this release reads {FORMAT}")
    except ValueError as error:  # msgspec's errors are ValueErrors too
        if path.exists():
            files.rename(path, path.with_name("manifest.damaged"))
        # Run numbers go on behind what lies there, so that no old file is taken for a new one.
        used = max((_number(run) for run in run_files(directory)), default=0)
        return Manifest(next_run=used + 1), f"{path} cannot be used, {error}"
    return manifest, None


def run_files(directory: Path) -> list[Path]:
    """All run files, named by the manifest or not."""
    return list(directory.glob("run-*.keys"))


def _bytes(column: NDArray[Any]) -> memoryview:
    contiguous: Any = np.ascontiguousarray(column)
    return memoryview(contiguous).cast("B")


def _checksum(columns: Columns) -> int:
    checksum = 0
    for column in columns:
        if len(column):
            checksum = crc32(_bytes(column), checksum)
    return checksum


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("run-")
    return int(digits) if digits.isdigit() else 0
