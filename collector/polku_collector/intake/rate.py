"""How many events of a source are taken in a second: a token bucket that all workers of a node share.

Kept as one number, the time at which the bucket will be full again (the generic cell rate algorithm), in a file of
eight bytes that every worker maps. A kernel lock is held around each change: it costs a microsecond, and the kernel
takes it back from a worker that is killed.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

# What sums of fractions may be off; nobody waits for it.
_ROUNDING_SECONDS: Final = 1e-6
_FULL_AT: Final = struct.Struct("d")


class Bucket(Protocol):
    """Where the time at which the bucket is full is kept."""

    def full_at(self) -> float:
        """On the clock that all workers share."""

    def change(self, decide: Callable[[float], float]) -> None:
        """Put what `decide` makes of the time in its place, with nobody in between."""


class Meter:
    """One source's rate. `now` is a clock that all workers share."""

    __slots__ = ("_bucket", "_now", "_patience", "_seconds_an_event")

    def __init__(
        self, events_per_second: float, burst: int | None, bucket: Bucket, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds_an_event = 1 / events_per_second
        self._patience = (burst or max(1.0, events_per_second)) / events_per_second
        self._bucket, self._now = bucket, now

    def overdrawn(self) -> float:
        """0 while at least one event could be taken; else the seconds after which any request can be."""
        full_in = self._bucket.full_at() - self._now()
        return full_in if full_in + self._seconds_an_event > self._patience + _ROUNDING_SECONDS else 0.0

    def take(self, events: int) -> float:
        """Take so many events and return 0; or take none, and return the seconds until as many can be taken.

        More events than the burst are taken when the bucket is full, and paid for afterwards: a request that could
        never be taken would be sent for ever.
        """
        wait, now, cost = 0.0, self._now(), events * self._seconds_an_event

        def decide(full_at: float) -> float:
            nonlocal wait
            begin = max(full_at, now)
            wait = min(begin + cost - self._patience, begin) - now
            return begin + cost if wait <= _ROUNDING_SECONDS else full_at

        self._bucket.change(decide)
        return wait if wait > _ROUNDING_SECONDS else 0.0


class SharedBucket:
    """The bucket of one source, shared by the processes that open the same path."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_size < _FULL_AT.size:
            os.ftruncate(self._file, _FULL_AT.size)
        self._memory = mmap.mmap(self._file, _FULL_AT.size)

    def full_at(self) -> float:
        found: float = _FULL_AT.unpack_from(self._memory)[0]
        return found

    def change(self, decide: Callable[[float], float]) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            _FULL_AT.pack_into(self._memory, 0, decide(self.full_at()))
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def __del__(self) -> None:
        self._memory.close()
        os.close(self._file)


def retry_after(seconds: float) -> int:
    """The whole seconds of a Retry-After after which a wait is over."""
    return max(1, math.ceil(seconds))
