"""How many bytes of refused events a source may leave in `quarantine` in a day: beyond it they are counted, not kept.

Whoever knows a write key, and those of browsers everybody knows, could fill a disk with events that nobody wants. Kept
as two numbers, a day and the bytes of that day, in a file that all workers of a node map, as `rate` keeps its bucket.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from datetime import date
from pathlib import Path
from typing import Final, Protocol

from msgspec import structs

from ..batch import QuarantineLine
from .judged import Judged

# What a row has beside the original: reason, path, message, source, times.
_ROW_BYTES: Final = 256
_DAY_AND_BYTES: Final = struct.Struct("qq")


class Allowance(Protocol):
    """What is left of one source's day."""

    def take(self, size_bytes: int, day: date) -> bool:
        """Whether so many bytes still find room on this day; then they are taken."""


class SharedAllowance:
    """The allowance of one source, shared by the processes that open the same path. A day is one of UTC."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._most = most_bytes
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size < _DAY_AND_BYTES.size:
            os.ftruncate(self._file, _DAY_AND_BYTES.size)
        self._memory = mmap.mmap(self._file, _DAY_AND_BYTES.size)

    def take(self, size_bytes: int, day: date) -> bool:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            of_day, taken = _DAY_AND_BYTES.unpack_from(self._memory)
            if of_day != day.toordinal():
                taken = 0
            if taken + size_bytes > self._most:
                return False
            _DAY_AND_BYTES.pack_into(self._memory, 0, day.toordinal(), taken + size_bytes)
            return True
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def __del__(self) -> None:
        self._memory.close()
        os.close(self._file)


def within(judged: Judged, allowance: Allowance, day: date) -> Judged:
    """The same without the lines for `quarantine` that find no room. Their verdicts stay: the sender is told."""
    kept = [line for line in judged.lines if type(line) is not QuarantineLine or allowance.take(_size(line), day)]
    unkept = len(judged.lines) - len(kept)
    return structs.replace(judged, lines=kept, unkept=unkept) if unkept else judged


def _size(line: QuarantineLine) -> int:
    return _ROW_BYTES + len(line.original or line.original_base64 or "") + len(line.context or "")
