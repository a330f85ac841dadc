"""What the versions of a Delta table did to its files, and which of it makes the next snapshot. Pure.

A step takes the versions that only add files together, and those that remove some together: so rows that are new stand
in snapshots that only append, which is all that a streaming reader of Iceberg reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from ..errors import LakeError


class Added(Struct, frozen=True):
    """A live file of the Delta table, as its log describes it."""

    path: str
    size_bytes: int
    rows: int
    partition: str
    lower: dict[str, str]
    upper: dict[str, str]
    nulls: dict[str, int]


class Version(Struct, frozen=True):
    """One commit of the Delta table: what it did to files, and when (milliseconds since 1970)."""

    number: int
    timestamp: int
    added: list[Added]
    removed: list[str]


class Changes(Struct, frozen=True):
    """What one snapshot of the mirror does: it leads to `version`."""

    version: int
    timestamp: int
    added: list[Added]
    removed: set[str]

    @property
    def nothing(self) -> bool:
        """Whether the table has the files that it had."""
        return not self.added and not self.removed


class _Statistics(Struct, rename="camel"):
    num_records: int
    # Texts; what another writer kept of other types is of no use here.
    min_values: dict[str, Any] = {}
    max_values: dict[str, Any] = {}
    null_count: dict[str, Any] = {}


class _Add(Struct, rename="camel"):
    path: str
    size: int
    partition_values: dict[str, str | None]
    stats: str | None = None


class _Remove(Struct, rename="camel"):
    path: str


class _CommitInfo(Struct, rename="camel"):
    timestamp: int = 0


class _Entry(Struct, rename="camel"):
    add: _Add | None = None
    remove: _Remove | None = None
    commit_info: _CommitInfo | None = None


_ENTRIES = msgspec.json.Decoder(_Entry)
_STATISTICS = msgspec.json.Decoder(_Statistics)


def version_of(number: int, commit: bytes, partition_by: str) -> Version:
    """One commit file of the Delta log. Raises LakeError for a file that is none."""
    try:
        entries = _ENTRIES.decode_lines(commit)
        added = [_added(entry.add, partition_by) for entry in entries if entry.add is not None]
    except (msgspec.MsgspecError, KeyError) as error:
        raise LakeError(f"version {number} of the Delta log cannot be read: {error}") from error
    removed = [entry.remove.path for entry in entries if entry.remove is not None]
    timestamp = max((entry.commit_info.timestamp for entry in entries if entry.commit_info is not None), default=0)
    return Version(number, timestamp, added, removed)


def _added(add: _Add, partition_by: str) -> Added:
    # Without statistics there is no number of rows, which a manifest must have. Polku's writers always state it.
    statistics = _STATISTICS.decode(add.stats or "{}")
    return Added(
        path=add.path,
        size_bytes=add.size,
        rows=statistics.num_records,
        partition=add.partition_values[partition_by] or "",
        lower={name: value for name, value in statistics.min_values.items() if isinstance(value, str)},
        upper={name: value for name, value in statistics.max_values.items() if isinstance(value, str)},
        nulls={name: value for name, value in statistics.null_count.items() if isinstance(value, int)},
    )


def next_changes(versions: Iterable[Version]) -> Changes | None:
    """The changes of the first versions that are of one kind; None if none of them touches a file.

    Versions that touch no file go along with whichever they stand beside.
    """
    added: dict[str, Added] = {}
    removed: set[str] = set()
    last, removing = None, None
    for version in versions:
        touches = bool(version.added or version.removed)
        if touches and removing not in (None, bool(version.removed)):
            break
        if touches:
            removing = bool(version.removed)
        for path in version.removed:
            if added.pop(path, None) is None:
                removed.add(path)
        for file in version.added:
            if file.path in removed:  # it was there before, and is again
                removed.remove(file.path)
            else:
                added[file.path] = file
        last = version
    if last is None or removing is None:
        return None
    return Changes(last.number, last.timestamp, [*added.values()], removed)


def difference(version: int, timestamp: int, live: Mapping[str, Added], mirrored: Iterable[str]) -> Changes:
    """What makes the mirrored files those that are live."""
    there = set(mirrored)
    added = [file for path, file in live.items() if path not in there]
    return Changes(version, timestamp, added, there - set(live))
