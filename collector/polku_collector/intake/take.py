"""The one way into the journal: who sends, what the events of a body are judged to be, and when they are durable."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec
from msgspec import Struct

from ..batch import Commits, Journal, Schemas
from ..errors import JournalBroken, JournalFull
from .allowance import within
from .answer import Taken, error_of
from .bots import without_bots
from .client_address import Proxies, addresses_said, note_addresses
from .judged import Arrival, Judged, Verdict
from .losses import losses_of, with_losses
from .receive import Held, Receive, Scope, Share, read_body
from .refused import NotCommitted, Refused
from .senders import RefusedBySource, Sender, Senders
from .validate import Validator
from .wire import Body

RETRY_AFTER_SECONDS = 5
# What one request may come to in the journal, however small it came.
MAX_BLOCK_BYTES = 64 * 1024 * 1024
# What a request keeps while it waits for the lake, beside its events: tasks, headers, frames.
_WAITING_BYTES = 16 * 1024

_encode = msgspec.json.Encoder().encode


class Intake:
    """Takes events, whichever way they came, and answers for what is refused."""

    def __init__(
        self,
        *,
        in_force: InForce,
        journal: Journal,
        commits: Commits,
        observer: Observer,
        proxies: Proxies = Proxies(),  # noqa: B008  (frozen)
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self.in_force = in_force
        """Put another in its place at any time, from any thread: each request is judged and stored by one."""
        self._journal, self._commits, self._observer, self._proxies = journal, commits, observer, proxies
        self._now, self._new_id = now, new_id
        self._held = Held()

    def sender_of(self, key: str | None, headers: Mapping[bytes, bytes]) -> Sender:
        """Whose key it is, if he may send just now. Raises Refused."""
        sender = self.in_force.senders.keys.owner_of(key or "")
        if sender is None:
            raise wrong_key()
        if sender.meter is not None or b"origin" in headers:
            sender.admit(headers)
        return sender

    def sender_named(self, name: str) -> Sender:
        """A source that is known by something else than a key, if it may send just now. Raises Refused."""
        sender = self.in_force.senders.by_name.get(name)
        if sender is None:  # the settings were read anew without it
            raise wrong_key()
        if sender.meter is not None:
            sender.admit({})
        return sender

    def arrival(self, sender: Sender, raw: bytes) -> Arrival:
        """What is known of a request that came just now."""
        return Arrival(self._now(), None, sender.name, sender.source, raw, sender.address)

    async def body_of(self, receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
        """A request's body, its encoding undone, within the limits. Raises Refused or ClientGone."""
        return await read_body(receive, headers, self.in_force.senders.limits, self._held)

    async def take(
        self, body: Body, arrival: Arrival, sender: Sender, scope: Scope | None, *, size: int | None = None
    ) -> Taken:
        """Judge every event of a body and return when all of them are durable, or committed if the source says so.
        Raises Refused.

        The one way into the journal, for batches and for everything else that brings events. Without `scope` nothing
        is noted of who connects: it is not the person's device. `size`: about how many bytes the lines have, where
        that is not about the size of what arrived.
        """
        ready = self._judged(body, arrival, sender, scope, size)
        return await self._store(ready, sender, sender.waits_for_lake)

    def _judged(
        self, body: Body, arrival: Arrival, sender: Sender, scope: Scope | None, size: int | None = None
    ) -> _Ready:
        """All of it that needs no waiting. Raises Refused."""
        size = len(arrival.body) if size is None else size
        limits = self.in_force.senders.limits
        if body.context is not None:  # it goes into every line: a small body must not become a large block
            size += len(_encode(body.context)) * len(body)
            if size > MAX_BLOCK_BYTES:
                raise Refused(413, "too_large", "the batch's context is too large for so many events", "$.context")
        if len(body) > limits.max_batch_events:
            limit = limits.max_batch_events
            raise Refused(413, "too_many_events", f"{len(body)} events in one batch, at most {limit}", "$.batch")
        losses = losses_of(body.lost)
        if sender.meter is not None:
            sender.take(len(body) + len(losses))
        in_force = self.in_force
        said = () if sender.source.ip == "drop" else addresses_said(body)
        judged = in_force.validator.judge(body, arrival)
        bots: Sequence[Verdict] = ()
        if not sender.plain:
            if sender.source.ip != "drop":
                client = None if scope is None else self._proxies.client_of(scope)
                note_addresses(judged.lines, said, sender.address, client)
            if sender.is_bot is not None:
                judged, bots = without_bots(judged, sender.is_bot)
                if bots:
                    self._observer.refused(sender.name, "bot", len(bots))
        if sender.quarantine is not None and judged.rejected:
            judged = within(judged, sender.quarantine, arrival.received_at.date())
        judged = with_losses(judged, losses, arrival)
        body.clear()
        return self._ready(judged, bots, len(arrival.body), size, sender, in_force)

    def _ready(
        self,
        judged: Judged,
        bots: Sequence[Verdict],
        body_bytes: int,
        size: int,
        sender: Sender,
        in_force: InForce,
    ) -> _Ready:
        stored = self._observer.judged(sender.name, judged, body_bytes)
        return _Ready(judged, in_force, size, Taken(judged.accepted, judged.rejected, judged.warnings, bots), stored)

    async def _store(self, ready: _Ready, sender: Sender, waits_for_lake: bool) -> Taken:
        """Append what was judged, and return when it is durable, or committed. Raises Refused."""
        judged, in_force, taken = ready.judged, ready.in_force, ready.taken
        limits = in_force.senders.limits
        share, sequence = None, 0
        if waits_for_lake and judged.lines:
            share = Share(self._held, limits.max_held_bytes)
        try:
            if share is not None:  # before anything is stored: a 503 for want of room shall cost little
                share.add(ready.size + _WAITING_BYTES)
            if judged.lines:
                try:
                    sequence = await self._journal.append(judged.lines, in_force.schemas, ready.size)
                except (JournalFull, JournalBroken) as error:
                    raise not_stored(error) from None
            ready.stored()
            if share is not None:
                taken.waited_seconds = await self._until_committed(sender, sequence, limits.ack_lake_seconds)
        finally:
            if share is not None:
                share.give_back()
        return taken

    async def _until_committed(self, sender: Sender, sequence: int, most_seconds: float) -> float:
        """Return when the lake has all lines up to this one, with the seconds it took. Raises NotCommitted."""
        started = time.perf_counter()
        why = await self._commits.why_not_committed(sequence, most_seconds)
        waited = time.perf_counter() - started
        self._observer.waited(sender.name, waited, late=why is not None)
        if why is not None:
            raise NotCommitted(why, RETRY_AFTER_SECONDS, waited)
        return waited

    def property_types(self, call: str, name: str) -> Mapping[str, str]:
        """The column types of an event's properties, by the plan in force; none if the plan does not know it."""
        in_force = self.in_force
        planned = in_force.validator.planned(call, name)
        return {} if planned is None else in_force.schemas.events.get(planned.name, {})

    def refusal(self, refused: Refused) -> bytes:
        """The JSON of a status other than 200, which is counted, as is what a limit of a source kept out."""
        self._observer.error(refused.error)
        if isinstance(refused, RefusedBySource):
            self._observer.refused(refused.source, refused.reason, refused.events)
        return error_of(refused)

    def answered(self, status: int, started: float, waited_seconds: float = 0.0) -> None:
        """Tell the observer of an answer; `started` by `time.perf_counter`."""
        self._observer.answered(status, time.perf_counter() - started - waited_seconds)


class InForce(Struct, frozen=True):
    """The plan by which events are judged, how lines judged by it are read, and who may send: they change together."""

    validator: Validator
    schemas: Schemas
    senders: Senders


class Observer(Protocol):
    """What is told of each request: for metrics, and for the console of --dev."""

    def judged(self, source: str, judged: Judged, body_bytes: int) -> Callable[[], None]:
        """Look at the lines: they are gone after this call. What it returns is called once they are stored."""

    def refused(self, source: str, reason: str, events: int) -> None:
        """A limit of the source kept events out, or a whole request (then `events` may be 0)."""

    def error(self, error: str) -> None:
        """A request was answered with an error: its code."""

    def waited(self, source: str, seconds: float, *, late: bool) -> None:
        """A request with journalled events waited for the lake, and was answered before it had them if `late`."""

    def answered(self, status: int, seconds: float) -> None:
        """A request was answered; without the time that the lake was waited for."""


class _Ready(Struct):
    """A request that is judged, and not stored yet. `stored` is to be called once it is."""

    judged: Judged
    in_force: InForce
    size: int
    taken: Taken
    stored: Callable[[], None]


def wrong_key() -> Refused:
    """What is said to who shows no key that is known."""
    message = "the write key is missing or unknown; give it as the Basic user name, a Bearer token or `writeKey`"
    return Refused(401, "invalid_write_key", message)


def not_stored(error: Exception) -> Refused:
    """What is said when the journal cannot take the events."""
    code = "journal_full" if isinstance(error, JournalFull) else "journal_unavailable"
    return Refused(503, code, f"{error}; send again later", retry_after=RETRY_AFTER_SECONDS)
