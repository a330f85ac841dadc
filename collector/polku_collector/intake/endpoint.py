"""The hot path as a plain ASGI application: read, judge, journal, answer. Everything else it is handed.

Plain ASGI because it measures faster than a route with request and response objects; `app` puts it beside the Starlette
application that serves the rest.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec
import structlog
from msgspec import Struct

from ..batch import Commits, Journal, Line, QuarantineLine, Schemas
from ..errors import JournalBroken, JournalFull
from .allowance import within
from .beacon import form_field
from .bots import without_bots
from .client_address import Proxies, addresses_said, note_addresses
from .consent import CONSENT_PATH, judged_ping, ping_of
from .envelope import CALLS
from .id_cookie import id_cookie, may_have_cookie
from .judged import Arrival, Judged, Verdict
from .losses import losses_of, with_losses
from .rate import retry_after
from .receive import ClientGone, Held, Receive, Scope, Send, Share, headers_of, presented_key, read_body
from .refused import NotCommitted, Refused
from .senders import RefusedBySource, Sender, Senders
from .shape import Shape
from .split import TooMany
from .validate import Validator
from .wire import Body, Unreadable, parse_batch, parse_single

RETRY_AFTER_SECONDS = 5
MAX_BLOCK_BYTES = 64 * 1024 * 1024
# What a request keeps while it waits for the lake, beside its events: tasks, headers, frames.
_WAITING_BYTES = 16 * 1024

BATCH_PATHS = frozenset(("/v1/batch", "/v1/b", "/v1/import"))
SINGLE_PATHS = {f"/v1/{call}": call for call in CALLS} | {f"/v1/{call[0]}": call for call in sorted(CALLS - {"alias"})}
SINGLE_PATHS["/v1/a"] = "alias"
EVENT_PATHS = BATCH_PATHS | SINGLE_PATHS.keys()
PATHS = EVENT_PATHS | {CONSENT_PATH}

Put = Callable[[list[Line | QuarantineLine], Schemas, int, Callable[[Exception | None], object]], object]
"""As `Journal.append`, for who does not wait: the last is called when all are durable, or with the error."""
Respond = Callable[[int, bytes, int | None], object]
"""Answer with a status, a JSON and a `Retry-After`."""

log = structlog.get_logger("polku.intake")


class Answer(Struct, frozen=True, omit_defaults=True):
    """The JSON of a 200. `warnings`: stored, but not as the plan has it."""

    success: bool
    accepted: int
    rejected: list[Verdict]
    warnings: list[Verdict] = []


class ErrorAnswer(Struct, frozen=True, omit_defaults=True):
    """The JSON of every other status: `error` is stable, `message` says what to do."""

    success: bool
    error: str
    message: str
    path: str | None = None


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

    def answered(self, status: int, seconds: float) -> None: ...


class InForce(Struct, frozen=True):
    """The plan by which events are judged, how lines judged by it are read, and who may send: they change together."""

    validator: Validator
    schemas: Schemas
    senders: Senders


class IntakeEndpoint:
    """POST /v1/batch and /v1/{track,identify,page,screen,group,alias}; POST /v1/consent; OPTIONS for browsers."""

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        headers = headers_of(scope)
        origin = headers.get(b"origin")
        wait: int | None = None
        cookie: bytes | None = None
        waited = 0.0
        try:
            if scope["method"] == "POST":
                status, (body, cookie, waited) = 200, await self._accept(scope, headers, receive)
            elif scope["method"] == "OPTIONS":
                status, body = 204, b""
            else:
                raise Refused(405, "method_not_allowed", "send events with POST")
        except Refused as refused:
            status, wait, waited = refused.status, refused.retry_after, refused.waited_seconds
            body = self.refusal(refused)
            if isinstance(refused, RefusedBySource) and refused.reason == "origin":
                origin = None  # the page is not to read the answer either
        except (ClientGone, asyncio.CancelledError):
            self._observer.answered(499, time.perf_counter() - started)
            return
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        if wait is not None:
            head.append((b"retry-after", b"%d" % wait))
        if status == 405:
            head.append((b"allow", b"POST, OPTIONS"))
        if cookie is not None:
            head.append((b"set-cookie", cookie))
        if origin is not None:
            head += self._cors(origin, headers)
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})
        self._observer.answered(status, time.perf_counter() - started - waited)

    async def _accept(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive
    ) -> tuple[bytes, bytes | None, float]:
        """The answer's body, the cookie that goes with it, and how long the lake was waited for."""
        senders = self.in_force.senders
        key = presented_key(headers, scope["query_string"])
        # Before the body is read, if it can be known: what is refused shall cost little.
        sender = None if key is None else self.sender_of(key, headers)
        raw = form_field(await read_body(receive, headers, senders.limits, self._held))
        received_at = self._now()
        if scope["path"] == CONSENT_PATH:
            return answer_of(await self._take_ping(raw, received_at, sender, headers)), None, 0.0
        body = _parsed(scope["path"], raw, senders.limits.max_batch_events, senders.shape)
        if sender is None:
            sender = self.sender_of(body.write_key, headers)
        cookie = None
        if sender.source.cookie is not None and may_have_cookie(headers, sender.source):
            cookie = id_cookie(sender.source.cookie, body, headers.get(b"cookie", b""), self._new_id)
        taken = await self.take(body, _arrival(headers, body, raw, sender, received_at), sender, scope)
        return answer_of(taken), cookie, taken.waited_seconds

    def at_once(self, scope: Scope, raw: bytes, put: Put, respond: Respond) -> bool:
        """Answer a plain request that is all there, without a task of its own: with one event a request that is felt.

        False: it is not plain, and nothing was done for it; it has to be called as an application.
        """
        started = time.perf_counter()
        headers, senders = headers_of(scope), self.in_force.senders
        if b"origin" in headers or b"content-encoding" in headers or raw[:1] != b"{":
            return False
        key = presented_key(headers, scope["query_string"])
        sender = None if key is None else senders.keys.owner_of(key)
        if sender is None or not sender.answers_at_once or len(raw) > senders.limits.max_body_bytes:
            return False

        def say(status: int, body: bytes, wait: int | None = None) -> None:
            respond(status, body, wait)
            self._observer.answered(status, time.perf_counter() - started)

        def refuse(refused: Refused) -> None:
            say(refused.status, self.refusal(refused), refused.retry_after)

        def settled(error: Exception | None) -> None:
            if error is not None:
                refuse(_not_stored(error))
                return
            try:
                ready.stored()
            finally:  # whatever becomes of a count, or of a console that is gone: the events are durable
                say(200, answer_of(ready.taken))

        try:
            body = _parsed(scope["path"], raw, senders.limits.max_batch_events, senders.shape)
            ready = self._judged(body, _arrival(headers, body, raw, sender, self._now()), sender, scope)
            if ready.judged.lines:
                put(ready.judged.lines, ready.in_force.schemas, ready.size, settled)
            else:
                settled(None)
        except Refused as refused:
            refuse(refused)
        except (JournalFull, JournalBroken) as error:
            refuse(_not_stored(error))
        return True

    def sender_of(self, key: str | None, headers: Mapping[bytes, bytes]) -> Sender:
        """Whose key it is, if he may send just now. Raises Refused."""
        sender = self.in_force.senders.keys.owner_of(key or "")
        if sender is None:
            raise wrong_key()
        if sender.meter is not None or b"origin" in headers:
            _admit(sender, headers)
        return sender

    def sender_named(self, name: str) -> Sender:
        """A source that is known by something else than a key, if it may send just now. Raises Refused."""
        sender = self.in_force.senders.by_name.get(name)
        if sender is None:  # the settings were read anew without it
            raise wrong_key()
        if sender.meter is not None:
            _admit(sender, {})
        return sender

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
            _take(sender, len(body) + len(losses))
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

    async def _take_ping(
        self, raw: bytes, received_at: datetime, sender: Sender | None, headers: Mapping[bytes, bytes]
    ) -> Taken:
        """Count one decision. Neither the headers nor the connection are looked at for more than the key."""
        ping = ping_of(raw)
        if sender is None:
            sender = self.sender_of(ping.write_key, headers)
        if sender.meter is not None:
            _take(sender, 1)
        in_force = self.in_force
        arrival = Arrival(received_at, None, sender.name, sender.source, raw)
        judged = judged_ping(ping, in_force.validator, arrival)
        # Answered when it is durable, whatever the source says: told late it would be sent, and counted, again.
        return await self._store(self._ready(judged, (), len(raw), len(raw), sender, in_force), sender, False)

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
                    raise _not_stored(error) from None
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

    def arrival(self, sender: Sender, raw: bytes) -> Arrival:
        """What is known of a request that came just now."""
        return Arrival(self._now(), None, sender.name, sender.source, raw, sender.address)

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
        return _encode(ErrorAnswer(False, refused.error, refused.message, refused.path))

    def answered(self, status: int, started: float, waited_seconds: float = 0.0) -> None:
        """Tell the observer of an answer; `started` by `time.perf_counter`."""
        self._observer.answered(status, time.perf_counter() - started - waited_seconds)

    async def body_of(self, receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
        """A request's body, its encoding undone, within the limits. Raises Refused or ClientGone."""
        return await read_body(receive, headers, self.in_force.senders.limits, self._held)

    def _cors(self, origin: bytes, headers: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        """Browsers: the origin is echoed when some source allows it; a preflight cannot carry the key."""
        origins = self.in_force.senders.origins
        if "*" not in origins and origin.decode("latin-1") not in origins:
            return []
        wanted = headers.get(b"access-control-request-headers", b"authorization, content-type, content-encoding")
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-methods", b"POST, OPTIONS"),
            (b"access-control-allow-headers", wanted),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-max-age", b"86400"),
            (b"access-control-expose-headers", b"retry-after"),
            (b"vary", b"origin"),
        ]


_encode = msgspec.json.Encoder().encode


class Taken(Struct):
    """What became of a request that was stored. `bots`: verdicts on events of robots, which were not."""

    accepted: int
    rejected: list[Verdict]
    warnings: list[Verdict]
    bots: Sequence[Verdict]
    waited_seconds: float = 0.0
    """For the lake, after all was durable."""


class _Ready(Struct):
    """A request that is judged, and not stored yet. `stored` is to be called once it is."""

    judged: Judged
    in_force: InForce
    size: int
    taken: Taken
    stored: Callable[[], None]


def _arrival(headers: Mapping[bytes, bytes], body: Body, raw: bytes, sender: Sender, received_at: datetime) -> Arrival:
    sent_at = _time(headers.get(b"x-polku-sent-at")) or body.sent_at
    return Arrival(received_at, sent_at, sender.name, sender.source, raw, sender.address)


def _not_stored(error: Exception) -> Refused:
    code = "journal_full" if isinstance(error, JournalFull) else "journal_unavailable"
    return Refused(503, code, f"{error}; send again later", retry_after=RETRY_AFTER_SECONDS)


def answer_of(taken: Taken) -> bytes:
    """The JSON of a 200."""
    rejected, bots = taken.rejected, taken.bots
    if not rejected and not taken.warnings and not bots:
        return b'{"success":true,"accepted":%d,"rejected":[]}' % taken.accepted
    if bots:
        rejected = sorted([*rejected, *bots], key=lambda verdict: verdict.index)
    return _encode(Answer(True, taken.accepted, rejected, taken.warnings))


def _parsed(path: str, raw: bytes, max_events: int, shape: Shape) -> Body:
    try:
        if path in BATCH_PATHS:
            return parse_batch(raw, max_events, shape)
        return parse_single(raw, SINGLE_PATHS[path], shape)
    except Unreadable as error:
        raise Refused(400, "invalid_json", str(error), error.path) from None
    except TooMany as error:
        raise Refused(413, "too_many_events", f"{error}; send smaller batches", "$.batch") from None


def _admit(sender: Sender, headers: Mapping[bytes, bytes]) -> None:
    """What can be refused before anybody has looked at the events."""
    if b"origin" in headers:
        sender.refuse_origin(headers[b"origin"])
    if sender.meter is not None and (wait := sender.meter.overdrawn()):
        raise _over_rate(sender, wait, 0)


def _take(sender: Sender, events: int) -> None:
    if sender.meter is not None and (wait := sender.meter.take(events)):
        raise _over_rate(sender, wait, events)


def _over_rate(sender: Sender, wait: float, events: int) -> RefusedBySource:
    message = f"the source sends more than {sender.source.rate_events_per_second:g} events a second; send again later"
    status = sender.source.rate_status
    return RefusedBySource(sender.name, "rate", status, "rate_limited", message, events, retry_after(wait))


def wrong_key() -> Refused:
    message = "the write key is missing or unknown; give it as the Basic user name, a Bearer token or `writeKey`"
    return Refused(401, "invalid_write_key", message)


def _time(header: bytes | None) -> datetime | None:
    if header is None:
        return None
    try:
        return msgspec.convert(header.decode("latin-1"), datetime, strict=False)
    except (msgspec.ValidationError, ValueError):  # the latter for the first second of the year 10000
        return None
