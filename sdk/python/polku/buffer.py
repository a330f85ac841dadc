"""The bounded queue between the host program and the worker: cuts batches as events arrive and keeps the
count.

Every event ends in exactly one of `delivered` and `lost`; until then it is `queued` in memory or `spooled` on disk. One
lock guards it all. It is reentrant, because a signal handler or a finaliser may track an event while the same thread is
in here.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from polku import forks
from polku.errors import LossReason, WithheldReason
from polku.settings import Settings

if TYPE_CHECKING:
    from polku.spool import Spool, Taken

TAKE_OVER_SECONDS = 86_400.0
"""A copy of events that is older is not delivered: the collector knows ids for seven days, if it has the room."""


class Batch(msgspec.Struct, frozen=True):
    """Encoded events that travel together."""

    events: list[bytes]
    taken: "Taken | None" = None
    """Where they stand in the spool, if they come from there."""


class Mark(msgspec.Struct, frozen=True):
    """A moment in the count of events, for `wait_settled`."""

    queued: int
    spooled: int


class Counts(msgspec.Struct, frozen=True):
    """The figures of one moment."""

    queued: int
    queued_bytes: int
    spooled: int
    delivered: int
    recovered: int
    lost: dict[LossReason, int]
    withheld: dict[WithheldReason, int]


class Buffer:
    """Takes events from any thread, hands batches to one."""

    def __init__(self, settings: Settings, wake: Callable[[], None], spool: "Spool | None" = None) -> None:
        self._settings = settings
        self._wake = wake
        self._spool = spool
        self._spools_all = spool is not None and settings.full_queue != "spill"
        self.worker_thread: threading.Thread | None = None
        """Calls from this thread never wait for room: it is the one that makes room."""
        self.reset()

    def reset(self) -> None:
        """Forget everything, locks included: for a forked child, whose parent keeps what was queued."""
        self._lock = threading.RLock()
        self._settled = threading.Condition(self._lock)
        self._sealed: deque[list[bytes]] = deque()
        self._on_their_way: list[bytes] = []
        self.held = 0
        """Sealed or being sent; what is open comes on top of it."""
        self._held_bytes = 0
        self._open: list[bytes] = []
        self._open_bytes = 0
        self._opened_at = 0.0
        self.looks_at = 0.0
        """When (on the monotonic clock) the worker looks here without being woken; past, if only a ring wakes it."""
        self._closed = False
        self.abandoned = False
        self._taken = 0
        """Sealed so far."""
        self._dropped_ahead = 0
        """Of the oldest that are waiting, since something was settled last: what is being sent is older still."""
        self._spool_taken = 0
        self._spool_waiting = 0
        self._spool_due_at: float | None = None
        self.spooled = 0
        self.delivered = 0
        self.recovered = 0
        self.lost: dict[LossReason, int] = {}
        self.withheld: dict[WithheldReason, int] = {}
        self._untold: dict[LossReason, int] = {}
        if self._spool is not None:
            self._spool.reset()
        self._measure()

    @property
    def queued(self) -> int:
        """Events in memory, those being sent included."""
        return self.held + len(self._open)

    @property
    def queued_bytes(self) -> int:
        """What they take."""
        return self._held_bytes + self._open_bytes

    def waiting(self) -> list[bytes]:
        """What is in memory, unless that is long ago. Asks for no lock: after a fork nobody may be there to release it.

        Somebody else's copies of these events may be delivered too, which a collector notices for some days.
        """
        if time.monotonic() - self._opened_at > TAKE_OVER_SECONDS:
            return []
        return [*self._on_their_way, *(raw for batch in self._sealed for raw in batch), *self._open]

    def put(self, raw: bytes) -> LossReason | None:
        """Keep one encoded event; the reason if it got no place. Waits only if the settings say so."""
        if not forks.mark[0]:
            forks.in_child()
        with self._lock:
            # Nearly every event joins others and fills nothing. One expression up to the append, so that it joins the
            # batch that is open then, whatever a signal handler tracks in between.
            if 0 < len(self._open) < self._plain_events and self._open_bytes + len(raw) <= self._plain_bytes:
                self._open.append(raw)
                self._open_bytes += len(raw)
                return None
        return self._put_at_an_edge(raw)

    def _put_at_an_edge(self, raw: bytes) -> LossReason | None:
        """As `put`, for the first and the last of a batch, and where there may be no room."""
        settings = self._settings
        size = len(raw)
        with self._lock:
            if self._spools_all and not self._closed and self._to_spool(raw):
                return None
            if self._closed or not self._has_room(size):
                if settings.full_queue == "spill" and not self._closed and self._to_spool(raw):
                    return None
                reason = self._refusal(size)
                if reason is not None:
                    self.count_lost(reason)
                    return reason
            wake = False
            if self._open_bytes + size > settings.batch_bytes and self._open:
                self._seal()
                wake = True
            first = not self._open  # asked before the append, at which another event may come in between
            self._open.append(raw)
            self._open_bytes += size
            if first:
                self._opened_at = now = time.monotonic()
                # Waking a thread costs as much as four events.
                wake = wake or not now < self.looks_at <= now + settings.batch_age_seconds
            if len(self._open) >= settings.batch_events:
                self._seal()
                wake = True
        if wake:
            self._wake()
        return None

    def count_lost(self, reason: LossReason, count: int = 1) -> None:
        """Count events that never got a place in the queue, and have it told."""
        with self._lock:
            self.lost[reason] = self.lost.get(reason, 0) + count
            first = not self._untold
            self._untold[reason] = self._untold.get(reason, 0) + count
        if first:
            self._wake()

    def count_withheld(self, reason: WithheldReason) -> None:
        """Count an event that was held back on purpose."""
        with self._lock:
            self.withheld[reason] = self.withheld.get(reason, 0) + 1

    def take(self) -> Batch | None:
        """The oldest batch that is full, sealed or old enough; it counts as queued until it is settled."""
        with self._lock:
            if not self._sealed and self._open and self._memory_due_in() == 0:
                self._seal()
            if self._sealed:
                self._on_their_way = self._sealed.popleft()
                return Batch(self._on_their_way)
        if self._spool is None:
            return None
        due = self._spool_due_at
        if due is not None and due > time.monotonic() and not self._closed:
            return None
        self._spool_due_at, self._spool_waiting = None, 0
        taken = self._spool.take(self._settings.batch_events, self._settings.batch_bytes)
        if taken is None:
            return None
        if self._spool_due_at is None and self._spool.unread():
            self._spool_due_at = time.monotonic()
        if taken.damaged:
            if taken.own:
                with self._lock:
                    self.spooled -= taken.damaged
            self.count_lost(LossReason.SPOOL_DAMAGED, taken.damaged)
        return Batch(taken.events, taken)

    def due_in(self) -> float | None:
        """Seconds until `take` has something, None if there is nothing to wait for."""
        with self._lock:
            memory = self._memory_due_in()
            if self._spool is None:
                return memory
            due_at = self._spool.looks_at() if self._spool_due_at is None else self._spool_due_at
            until = max(0.0, due_at - time.monotonic())
            return until if memory is None else min(memory, until)

    def settle(self, events: list[bytes], lost: LossReason | None = None, taken: "Taken | None" = None) -> None:
        """Count events that were taken as delivered, or as lost, unless `abandon` has done so already."""
        count = len(events)
        with self._lock:
            if taken is not None:
                if taken.own:
                    self.spooled -= count
                elif lost is None:
                    self.recovered += count
                    count = 0
            elif self.abandoned:
                return
            else:
                self._no_more_waiting(events)
            if lost is None:
                self.delivered += count
            else:
                self.lost[lost] = self.lost.get(lost, 0) + count
            self._settled.notify_all()

    def done(self, taken: "Taken", *, sent: bool) -> None:
        """A batch of the spool was sent, or could not be and stays there."""
        assert self._spool is not None  # noqa: S101  (it came from there)
        if sent:
            self._spool.settle(taken)
        else:
            self._spool.give_back(taken)

    def give_back(self) -> None:
        """Who was sending a batch has been stopped: what is not settled of it is next."""
        with self._lock:
            left, self._on_their_way = self._on_their_way, []
            if left and not self.abandoned:
                self._sealed.appendleft(left)

    def spill(self, events: list[bytes]) -> list[bytes]:
        """Move queued events that were taken to the spool; returns those that found no place there."""
        if self._spool is None:
            return events
        with self._lock:
            if self.abandoned:
                return []
            placed: list[bytes] = []
            left: list[bytes] = []
            for raw in events:
                (placed if self._spool.append(raw) else left).append(raw)
            self._spool_taken += len(placed)
            self.spooled += len(placed)
            self._no_more_waiting(placed)
            self._settled.notify_all()
            return left

    def seal(self) -> Mark:
        """Make what is queued a batch now; returns the mark for `wait_settled`."""
        with self._lock:
            self._seal()
            if self._spool_due_at is not None:
                self._spool_due_at = time.monotonic()
            return Mark(self._taken, self._spool_taken)

    def wait_settled(self, mark: Mark, timeout_seconds: float) -> bool:
        """Wait until what was queued before the mark is settled; False if the time was too short."""
        deadline = time.monotonic() + timeout_seconds
        with self._lock:
            while not self.is_settled(mark):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                self._settled.wait(remaining)
        return True

    def is_settled(self, mark: Mark) -> bool:
        """Whether what was queued before the mark is settled."""
        # In order, each in its place: what is settled is what was taken first.
        return (
            self._taken - self.held - self._dropped_ahead >= mark.queued
            and self._spool_taken - self.spooled >= mark.spooled
        )

    def close(self) -> None:
        """Take no more events; what is queued can be taken at once."""
        with self._lock:
            self._closed = True
            self._seal()
            self._measure()
            self._settled.notify_all()

    def abandon(self, reason: LossReason) -> int:
        """Give up what is still queued: to the spool if there is one, the rest is lost. Returns how many were lost."""
        with self._lock:
            # What is on its way just now may arrive as well: then the collector knows its ids.
            self.spill([*self._on_their_way, *(raw for batch in self._sealed for raw in batch)])
            count = self.queued
            if count:
                self.lost[reason] = self.lost.get(reason, 0) + count
            self.abandoned = True
            self._sealed.clear()
            self._open = []
            self.held = self._held_bytes = self._open_bytes = 0
            self._measure()
            self._settled.notify_all()
            return count

    def _no_more_waiting(self, events: list[bytes]) -> None:
        """These were in memory and are settled, or on disk."""
        self.held -= len(events)
        self._held_bytes -= sum(map(len, events))
        self._dropped_ahead = 0
        self._measure()
        if len(events) == len(self._on_their_way):
            self._on_their_way = []
        elif self._on_their_way:
            gone = {id(raw) for raw in events}
            self._on_their_way = [raw for raw in self._on_their_way if id(raw) not in gone]

    def close_spool(self) -> None:
        """Leave what is on disk to whoever comes next."""
        if self._spool is not None:
            self._spool.close()

    def untold(self) -> dict[LossReason, int]:
        """Losses counted by `count_lost` since this was last asked for."""
        with self._lock:
            untold, self._untold = self._untold, {}
            return untold

    def has_untold(self) -> bool:
        """Whether `untold` would return any."""
        return bool(self._untold)

    def counts(self) -> Counts:
        """All figures of one moment."""
        with self._lock:
            return Counts(
                queued=self.queued,
                queued_bytes=self.queued_bytes,
                spooled=self.spooled,
                delivered=self.delivered,
                recovered=self.recovered,
                lost=dict(self.lost),
                withheld=dict(self.withheld),
            )

    def _memory_due_in(self) -> float | None:
        if self._sealed:
            return 0.0
        if not self._open:
            return None
        return max(0.0, self._opened_at + self._settings.batch_age_seconds - time.monotonic())

    def _seal(self) -> None:
        # First out of reach, then sealed: a signal handler that tracks between two of these lines may seal too.
        fresh: list[bytes] = []
        batch, self._open = self._open, fresh
        size, self._open_bytes = self._open_bytes, 0
        self.held += len(batch)
        self._held_bytes += size
        self._taken += len(batch)
        if batch:
            self._sealed.append(batch)
        self._measure()

    def _measure(self) -> None:
        """Up to where the open batch takes events without a second look."""
        settings = self._settings
        plain = 0 if self._closed or self._spools_all else settings.queue_events - self.held
        self._plain_events = min(plain, settings.batch_events - 1)
        self._plain_bytes = min(settings.queue_bytes - self._held_bytes, settings.batch_bytes)

    def _has_room(self, size: int) -> bool:
        settings = self._settings
        return self.queued < settings.queue_events and self.queued_bytes + size <= settings.queue_bytes

    def _to_spool(self, raw: bytes) -> bool:
        """Put an event on disk; False if it found no place there."""
        assert self._spool is not None  # noqa: S101  (the settings ask for one)
        if not self._spool.append(raw):
            return False
        self._spool_taken += 1
        self._spool_waiting += 1
        self.spooled += 1
        if self._spool_waiting == self._settings.batch_events:
            self._spool_due_at = 0.0
            self._wake()
        elif self._spool_due_at is None:
            self._spool_due_at = time.monotonic() + self._settings.batch_age_seconds
            self._wake()
        return True

    def _refusal(self, size: int) -> LossReason | None:
        """Why an event gets no place, after what the settings say is done for it; None if there is one now."""
        full_queue = self._settings.full_queue
        if full_queue == "drop_oldest" and not self._closed:
            self._drop_oldest(size)
        elif full_queue == "block" and threading.current_thread() is not self.worker_thread:
            self._wait_for_room(size)
        if self._closed:
            return LossReason.CLOSED
        return None if self._has_room(size) else LossReason.QUEUE_FULL

    def _wait_for_room(self, size: int) -> None:
        deadline = time.monotonic() + self._settings.block_seconds
        # A batch that waits for its age would make no room.
        self._seal()
        self._wake()
        while not self._closed and not self._has_room(size):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            self._settled.wait(remaining)

    def _drop_oldest(self, size: int) -> None:
        """Make room by what is waiting longest. What is being sent stays: it may have arrived."""
        self._seal()
        while self._sealed and not self._has_room(size):
            oldest = self._sealed[0]
            raw = oldest.pop(0)
            if not oldest:
                self._sealed.popleft()
            self.held -= 1
            self._held_bytes -= len(raw)
            self._dropped_ahead += 1
            self._measure()
            self.count_lost(LossReason.QUEUE_FULL)
