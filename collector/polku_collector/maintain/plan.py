"""Which files are to be merged. Pure.

Work is begun when a table has more files than it should, and goes on until it has half as many: not by the clock. What
removes most files for the fewest bytes comes first, and a large file is never written again for a few small ones: each
time a row is written, the file it lies in grows by half at least. So a row is written a few times in its life, however
long the table takes events.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from ..lake.replayed import is_replay_file
from ..lake.table import LiveFile

# A file of at least this part of the target is as large as it needs to be.
_FULL = 0.5

# A file is merged if the smaller ones that go with it have at least this part of its bytes and of its rows. (A small
# file is mostly what its columns cost: by bytes alone it would be company for one of a hundred times its rows.)
_COMPANY = 0.5

# Today's files go on coming: fewer than this are left until there are more. A day that is over is finished.
_FEWEST_TODAY = 16

# What one merge takes at most: it bounds time, memory and the space in `scratch`.
MOST_FILES = 1000
MOST_ROWS = 3_000_000

# Opening a small file costs about as much as reading so many bytes of a large one (measured: 12 ms, 93 columns).
_OPENING_BYTES = 400_000
# And a merge costs a commit, whatever it merges: so a few files that come to a day that is over do not go before many.
_MERGE_BYTES = 16_000_000


class Merge(Struct, frozen=True):
    """Files of one day that become one."""

    partition: str
    files: tuple[LiveFile, ...]

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def rows(self) -> int:
        """Of all its files."""
        return sum(file.rows for file in self.files)


def merges(files: Iterable[LiveFile], *, today: str, target_bytes: int, everything: bool = False) -> list[Merge]:
    """What can be merged, the best first. `everything`: also where it costs much and gains little."""
    found: list[Merge] = []
    for (partition, _), members in _groups(files).items():
        fewest = _FEWEST_TODAY if partition >= today and not everything else 2
        bins = _bins(members, target_bytes, everything)
        found += [Merge(partition, tuple(bin_)) for bin_ in bins if len(bin_) >= fewest]
    # A day that is over first, unless today's gain is twice as large: those files are soon merged again.
    weight = {True: 0.5, False: 1.0}
    return sorted(found, key=lambda merge: (-_gain(merge) * weight[merge.partition >= today], merge.partition))


def lone(files: Iterable[LiveFile], *, target_bytes: int) -> list[LiveFile]:
    """The small files that nothing can be merged with, by day. What was replayed is none of them: no row of it goes."""
    found = [
        bin_[0]
        for (_, replayed), members in sorted(_groups(files).items())
        if not replayed
        for bin_ in _bins(members, target_bytes, everything=True)
        if len(bin_) == 1
    ]
    return sorted(found, key=lambda file: (file.partition, file.path))


def is_too_many(files: int, most_files: int, *, begun: bool) -> bool:
    """Whether to merge now. `begun`: it was done already, because there were too many."""
    return files > (most_files // 2 if begun else most_files)


def _groups(files: Iterable[LiveFile]) -> dict[tuple[str, bool], list[LiveFile]]:
    """By day. What was replayed stays in files of its own, which are looked up by their names."""
    groups: dict[tuple[str, bool], list[LiveFile]] = {}
    for file in files:
        groups.setdefault((file.partition, is_replay_file(file.path)), []).append(file)
    return groups


def _bins(files: list[LiveFile], target_bytes: int, everything: bool) -> list[list[LiveFile]]:
    """Small files, from the smallest on, packed up to the target."""
    small = [file for file in files if file.size_bytes < target_bytes * _FULL]
    bins: list[list[LiveFile]] = []
    size = rows = 0
    for file in sorted(small, key=lambda file: (file.size_bytes, file.path)):
        full = bins and (
            size + file.size_bytes > target_bytes or rows + file.rows > MOST_ROWS or len(bins[-1]) >= MOST_FILES
        )
        lonely = not everything and (size < file.size_bytes * _COMPANY or rows < file.rows * _COMPANY)
        if not bins or full or lonely:
            bins.append([])
            size = rows = 0
        bins[-1].append(file)
        size, rows = size + file.size_bytes, rows + file.rows
    return bins


def _gain(merge: Merge) -> float:
    """Files fewer for each byte of work."""
    return (len(merge.files) - 1) / (merge.size_bytes + len(merge.files) * _OPENING_BYTES + _MERGE_BYTES)
