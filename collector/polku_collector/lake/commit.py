"""One fenced commit, and the certainty about its outcome. The same files are committed, however often it takes.

An application transaction fences a stale handle; it does not filter a repeated one. So a commit is always made from
the handle from which the watermark was read, and no failure is believed before the watermark has been read again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from ..errors import CommitUncertain, StoreUnreachable, TableMismatch
from .parquet import DataFile
from .table import NewFile

log = structlog.get_logger("polku.lake")

ATTEMPTS = 8
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 5.0


class CommitTable(Protocol):
    """What a commit needs of a table."""

    name: str

    def commit(self, files: Sequence[NewFile], watermarks: dict[str, int]) -> None:
        """Add the files and move the watermarks, both or neither."""

    def reopen(self) -> None:
        """Read the table anew."""

    def watermark(self, stream: str) -> int:
        """Up to where the table has this stream."""


def add_actions(files: list[DataFile], partition_column: str, *, data_change: bool = True) -> list[NewFile]:
    """The log entries of files that already stand in the table's folder. No `data_change`: their rows were there."""
    now = int(time.time() * 1000)
    return [
        NewFile(
            path=file.key,
            size=file.size_bytes,
            partition_values={partition_column: file.partition},
            modification_time=now,
            data_change=data_change,
            stats=file.statistics,
            places=file.places,
        )
        for file in files
    ]


def commit(
    table: CommitTable,
    files: Sequence[NewFile],
    before: dict[str, int],
    after: dict[str, int],
    wait: Callable[[float], None] = time.sleep,
    check: Callable[[], None] = lambda: None,
) -> int:
    """Move the watermark of each stream from `before` to `after` together with the files; returns the attempts made.

    Raises CommitUncertain when somebody else moved a watermark (the flush must be read again from there), TableMismatch
    when a file has columns that the table lacks, and StoreUnreachable when the store stays away. `check` is asked
    before each attempt; what it raises is passed on.
    """
    _fence(table, before, after)
    failure: Exception | None = None
    for attempt in range(1, ATTEMPTS + 1):
        check()
        try:
            table.commit(files, after)
        except TableMismatch:  # nothing was tried
            raise
        except Exception as error:
            log.warning("commit not confirmed", table=table.name, attempt=attempt, reason=str(error))
            failure = error
        else:
            return attempt
        wait(random.uniform(0, min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2**attempt)))  # noqa: S311  (jitter)
        try:
            table.reopen()
        except Exception as error:
            failure = error
            continue
        if all(table.watermark(stream) >= last for stream, last in after.items()):
            return attempt
        _fence(table, before, after)
    raise StoreUnreachable(f"{table.name}: not committed after {ATTEMPTS} attempts: {failure}")


def _fence(table: CommitTable, before: dict[str, int], after: dict[str, int]) -> None:
    for stream in after:
        seen = table.watermark(stream)
        if seen != before[stream]:
            raise CommitUncertain(
                f"{table.name}: stream {stream} stands at {seen}, expected {before[stream]}: another committer was here"
            )
