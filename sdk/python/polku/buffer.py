"""The bounded queue between the host program and the worker: cuts batches as events arrive and keeps the
count.

Every event ends in exactly one of `delivered` and `lost`; until then it is `queued`. One lock guards it all.
It is reentrant, because a signal handler or a finaliser may track an event while the same thread is in here.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

from polku.errors import LossReason
from polku.settings import Settings


class Batch(msgspec.Struct, frozen=True):
    """Encoded events that travel together."""

    events: list[bytes]


class Bell:
    """Wakes one waiting thread. Unlike a `threading.Event`, `ring` never blocks and may interrupt itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Let the next or the current `wait` return."""
        with contextlib.suppress(RuntimeError):  # it has been rung already
            self._lock.release()

    def wait(self, timeout_seconds: float | None) -> None:
        """Wait for a ring, at most so long."""
        if timeout_seconds is None:
            self._lock.acquire()
        elif timeout_seconds > 0:
            self._lock.acquire(timeout=min(timeout_seconds, threading.TIMEOUT_MAX))


class Buffer:
    """Takes events from any thread, hands batches to one."""

    def __init__(self, settings: Settings, wake: Callable[[], None]) -> None:
        self._settings = settings
        self._wake = wake
        self.worker_thread: threading.Thread | None = None
        """Calls from this thread never wait for room: it is the one that makes room."""
        self.reset()

    def reset(self) -> None:
        """Forget everything, locks included: for a forked child, whose parent keeps what was queued."""
        self._lock = threading.RLock()
        self._settled = threading.Condition(self._lock)
        self._sealed: deque[list[bytes]] = deque()
        self._open: list[bytes] = []
        self._open_bytes = 0
        self._opened_at = 0.0
        self._closed = False
        self.abandoned = False
        self._taken = 0
        self.queued = 0
        self.queued_bytes = 0
        self.delivered = 0
        self.lost: dict[LossReason, int] = {}
        self._untold: dict[LossReason, int] = {}

    def put(self, raw: bytes) -> LossReason | None:
        """Queue one encoded event; the reason if it got no place. Waits only if the settings say so."""
        settings = self._settings
        size = len(raw)
        with self._lock:
            if self._closed or not self._has_room(size):
                reason = self._refusal(size)
                if reason is not None:
                    self.count_lost(reason)
                    return reason
            wake = False
            if self._open_bytes + size > settings.batch_bytes and self._open:
                self._seal()
                wake = True
            batch = self._open
            first = not batch  # asked before the append, at which another event may come in between
            batch.append(raw)
            self._open_bytes += size
            self.queued += 1
            self.queued_bytes += size
            self._taken += 1
            if first:
                self._opened_at = time.monotonic()
                wake = True
            if len(batch) >= settings.batch_events:
                self._seal()
                wake = True
        if wake:
            self._wake()
        return None

    def count_lost(self, reason: LossReason) -> None:
        """Count an event that never got a place in the queue, and have it told."""
        with self._lock:
            self.lost[reason] = self.lost.get(reason, 0) + 1
            first = not self._untold
            self._untold[reason] = self._untold.get(reason, 0) + 1
        if first:
            self._wake()

    def take(self) -> Batch | None:
        """The oldest batch that is full, sealed or old enough; it counts as queued until it is settled."""
        with self._lock:
            if not self._sealed and self._open and self.due_in() == 0:
                self._seal()
            return Batch(self._sealed.popleft()) if self._sealed else None

    def due_in(self) -> float | None:
        """Seconds until `take` has something, None if there is nothing to wait for."""
        with self._lock:
            if self._sealed:
                return 0.0
            if not self._open:
                return None
            return max(0.0, self._opened_at + self._settings.batch_age_seconds - time.monotonic())

    def settle(self, events: list[bytes], lost: LossReason | None = None) -> None:
        """Count events that were taken as delivered, or as lost, unless `abandon` has done so already."""
        with self._lock:
            if self.abandoned:
                return
            self.queued -= len(events)
            self.queued_bytes -= sum(map(len, events))
            if lost is None:
                self.delivered += len(events)
            else:
                self.lost[lost] = self.lost.get(lost, 0) + len(events)
            self._settled.notify_all()

    def seal(self) -> int:
        """Make what is queued a batch now; returns the mark for `wait_settled`."""
        with self._lock:
            self._seal()
            return self._taken

    def wait_settled(self, mark: int, timeout_seconds: float) -> bool:
        """Wait until what was queued before the mark is settled; False if the time was too short."""
        deadline = time.monotonic() + timeout_seconds
        with self._lock:
            # In order: what is settled is what was taken first.
            while self._taken - self.queued < mark:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                self._settled.wait(remaining)
        return True

    def close(self) -> None:
        """Take no more events; what is queued can be taken at once."""
        with self._lock:
            self._closed = True
            self._seal()
            self._settled.notify_all()

    def abandon(self, reason: LossReason) -> int:
        """Count everything that is still queued as lost; returns how many that were."""
        with self._lock:
            count = self.queued
            if count:
                self.lost[reason] = self.lost.get(reason, 0) + count
            self.abandoned = True
            self._sealed.clear()
            self._open = []
            self.queued = self.queued_bytes = 0
            self._settled.notify_all()
            return count

    def untold(self) -> dict[LossReason, int]:
        """Losses counted by `count_lost` since this was last asked for."""
        with self._lock:
            untold, self._untold = self._untold, {}
            return untold

    def has_untold(self) -> bool:
        """Whether `untold` would return any."""
        return bool(self._untold)

    def counts(self) -> tuple[int, int, int, dict[LossReason, int]]:
        """Queued events and bytes, delivered events, lost events by reason: all of one moment."""
        with self._lock:
            return self.queued, self.queued_bytes, self.delivered, dict(self.lost)

    def _seal(self) -> None:
        # First out of reach, then sealed: a signal handler that tracks between two of these lines may seal too.
        fresh: list[bytes] = []
        batch, self._open = self._open, fresh
        self._open_bytes = 0
        if batch:
            self._sealed.append(batch)

    def _has_room(self, size: int) -> bool:
        settings = self._settings
        return self.queued < settings.queue_events and self.queued_bytes + size <= settings.queue_bytes

    def _refusal(self, size: int) -> LossReason | None:
        """Why an event gets no place, after waiting for one if the settings say so; None if it got one."""
        settings = self._settings
        if settings.full_queue == "block" and threading.current_thread() is not self.worker_thread:
            deadline = time.monotonic() + settings.block_seconds
            # A batch that waits for its age would make no room.
            self._seal()
            self._wake()
            while not self._closed and not self._has_room(size):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    break
                self._settled.wait(remaining)
        if self._closed:
            return LossReason.CLOSED
        return None if self._has_room(size) else LossReason.QUEUE_FULL
