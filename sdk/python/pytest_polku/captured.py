"""Events kept in memory instead of being delivered, and what a test asks of them.

`capture` takes an event where it would be queued: encoded, and with everything done to it that is done in the call.
So it is there when the call returns, whatever thread or task made it, and no thread of the SDK is started.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, overload

import msgspec

import polku.default
from polku.buffer import Buffer
from polku.client import Client
from polku.delivery import Delivery
from polku.errors import LossReason
from polku.planned import JudgingPlan, Unplanned
from polku.task import TaskWorker
from polku.verdicts import Verdict
from polku.worker import Worker

SHOWN_EVENTS = 20
"""How many events a failed assertion lists."""


class CapturedEvent(msgspec.Struct, frozen=True):
    """One event as it would have been sent."""

    item: dict[str, Any]
    """All of it, as on the wire."""

    @property
    def type(self) -> str:
        """`track`, `page`, `screen`, `identify`, `group` or `alias`."""
        return str(self.item["type"])

    @property
    def name(self) -> str:
        """Name of a tracked event; of any other call its type."""
        return str(self.item.get("event") or self.item["type"])

    @property
    def properties(self) -> dict[str, Any]:
        """Empty if it has none; so are `traits` and `context`."""
        return dict(self.item.get("properties") or {})

    @property
    def traits(self) -> dict[str, Any]:
        return dict(self.item.get("traits") or {})

    @property
    def context(self) -> dict[str, Any]:
        """The event's own; that of its client goes with each batch."""
        return dict(self.item.get("context") or {})

    @property
    def user_id(self) -> str | None:
        return self.item.get("userId")

    @property
    def anonymous_id(self) -> str | None:
        return self.item.get("anonymousId")

    @property
    def message_id(self) -> str:
        return str(self.item["messageId"])

    def __getitem__(self, name: str) -> Any:
        """A property."""
        return self.properties[name]

    def __str__(self) -> str:
        who = self.user_id or self.anonymous_id
        return f"{self.name} of {who!r}: {msgspec.json.encode(self.properties or self.traits).decode()}"


class CapturedEvents(Sequence[CapturedEvent]):
    """What was tracked, in the order of the calls."""

    def __init__(self, plan: JudgingPlan | None = None, unplanned: Unplanned = "quarantine") -> None:
        self._plan = plan
        self._unplanned = unplanned
        self._raw: list[bytes] = []

    def add(self, raw: bytes) -> None:
        """Keep an encoded event. From any thread."""
        self._raw.append(raw)

    def clear(self) -> None:
        """Forget what has come so far."""
        self._raw.clear()

    @overload
    def __getitem__(self, index: int) -> CapturedEvent: ...
    @overload
    def __getitem__(self, index: slice) -> list[CapturedEvent]: ...
    def __getitem__(self, index: int | slice) -> CapturedEvent | list[CapturedEvent]:
        raw = self._raw[index]
        return _read(raw) if isinstance(raw, bytes) else [_read(one) for one in raw]

    def __len__(self) -> int:
        return len(self._raw)

    def named(self, name: str) -> list[CapturedEvent]:
        """Those of this name; of calls that have none it is the type, such as `page`.

        With a plan also those that mean the same event of it: `Order Completed`, `page_viewed`.
        """
        meant = {name}
        if self._plan is not None:
            meant.add(self._plan.name_of({"type": "track", "event": name}) or name)
        return [event for event in self if not meant.isdisjoint(self._names_of(event))]

    def only(self, name: str) -> CapturedEvent:
        """The one event of this name. AssertionError if there is none or more than one, or if the plan minds it."""
        __tracebackhide__ = True
        found = self.named(name)
        if len(found) != 1:
            raise AssertionError(f"expected exactly one {name!r}, there are {len(found)}. {self}")
        if self._plan is not None:
            _assert_none(self._judged(found, self._plan, self._unplanned), found)
        return found[0]

    def valid(self, *, unplanned: Unplanned | None = None) -> Literal[True]:
        """True if the plan has nothing against any of them, otherwise an AssertionError with all that it has.

        `unplanned="accept"` lets pass what the plan lacks.
        """
        __tracebackhide__ = True
        _assert_none(self.verdicts(unplanned=unplanned), list(self))
        return True

    def verdicts(self, *, unplanned: Unplanned | None = None) -> list[Verdict]:
        """What the collector would say of those it would reject; `index` is that of the event."""
        if self._plan is None:
            raise RuntimeError("there is no plan to judge by: --polku-plan DIR, or the setting polku_plan")
        return self._judged(list(self), self._plan, unplanned or self._unplanned)

    def __repr__(self) -> str:
        events = list(self)
        if not events:
            return "Nothing was tracked."
        shown = [f"\n  {event}" for event in events[:SHOWN_EVENTS]]
        more = f"\n  and {len(events) - SHOWN_EVENTS} more" if len(events) > SHOWN_EVENTS else ""
        return f"Tracked ({len(events)}):{''.join(shown)}{more}"

    def _names_of(self, event: CapturedEvent) -> tuple[str | None, ...]:
        return (event.name, self._plan.name_of(event.item) if self._plan is not None else None)

    def _judged(self, events: list[CapturedEvent], plan: JudgingPlan, unplanned: Unplanned) -> list[Verdict]:
        rejected = [plan.judge(event.item, unplanned, index).rejected for index, event in enumerate(events)]
        return [verdict for verdict in rejected if verdict is not None]


def _assert_none(verdicts: list[Verdict], events: list[CapturedEvent]) -> None:
    __tracebackhide__ = True
    if verdicts:
        lines = [f"\n  {events[found.index].name}: {found.code} at {found.path}: {found.message}" for found in verdicts]
        raise AssertionError(f"{len(verdicts)} of {len(events)} events are not valid:{''.join(lines)}")


def _read(raw: bytes) -> CapturedEvent:
    return CapturedEvent(msgspec.json.decode(raw))


_capturing = threading.Lock()


@contextmanager
def capture(events: CapturedEvents) -> Iterator[CapturedEvents]:
    """Have every client of this process give its events to `events`, those made before included.

    A client that is closed meanwhile takes no more events until the end, and is as open as before after it: what a
    test closes is not closed for the next one.
    """
    if not _capturing.acquire(blocking=False):
        raise RuntimeError("events are being captured already")
    closed: set[Buffer] = set()

    def keep(buffer: Buffer, raw: bytes) -> LossReason | None:
        if buffer in closed:
            buffer.count_lost(LossReason.CLOSED)
            return LossReason.CLOSED
        with buffer._lock:
            buffer._taken += 1
            buffer.delivered += 1
        events.add(raw)
        return None

    def flush(delivery: Delivery, timeout_seconds: float) -> bool:
        return True

    def close(delivery: Delivery, timeout_seconds: float | None) -> bool:
        closed.add(delivery.buffer)
        return True

    async def flush_later(delivery: Delivery, timeout_seconds: float) -> bool:
        return flush(delivery, timeout_seconds)

    async def close_later(delivery: Delivery, timeout_seconds: float | None) -> bool:
        return close(delivery, timeout_seconds)

    before = polku.default._client
    replacements: dict[tuple[type, str], Any] = {
        (Buffer, "put"): keep,
        (Worker, "flush"): flush,
        (Worker, "close"): close,
        (TaskWorker, "flushed"): flush_later,
        (TaskWorker, "closed"): close_later,
    }
    saved = {place: getattr(*place) for place in replacements}
    _set(replacements)
    try:
        if before is None:
            polku.default._client = Client("captured", "http://captured.invalid")
        yield events
    finally:
        _set(saved)
        polku.default._client = before
        _capturing.release()


def _set(methods: dict[tuple[type, str], Any]) -> None:
    for (owner, name), method in methods.items():
        setattr(owner, name, method)
