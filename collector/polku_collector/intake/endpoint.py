"""The hot path as a plain ASGI application: read, judge, journal, answer. Everything else it is handed.

Plain ASGI because it measures faster than a route with request and response objects; `app` puts it beside the Starlette
application that serves the rest.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

import msgspec
import structlog
from msgspec import Struct

from ..batch import Journal, Schemas
from ..errors import JournalBroken, JournalFull
from ..settings import Limits, Source
from .beacon import form_field
from .id_cookie import id_cookie, may_have_cookie
from .receive import ClientGone, Receive, Refused, Scope, Send, headers_of, presented_key, read_body
from .split import TooMany
from .validate import CALLS, Arrival, Judged, Validator, Verdict
from .wire import Body, Unreadable, parse_batch, parse_single

RETRY_AFTER_SECONDS = 5
MAX_BLOCK_BYTES = 64 * 1024 * 1024

BATCH_PATHS = frozenset(("/v1/batch", "/v1/b", "/v1/import"))
SINGLE_PATHS = {f"/v1/{call}": call for call in CALLS} | {f"/v1/{call[0]}": call for call in sorted(CALLS - {"alias"})}
SINGLE_PATHS["/v1/a"] = "alias"
PATHS = BATCH_PATHS | SINGLE_PATHS.keys()

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

    def judged(self, source: str, judged: Judged, body_bytes: int) -> None: ...

    def answered(self, status: int, seconds: float) -> None: ...


class InForce(Struct, frozen=True):
    """The plan by which events are judged, and how lines judged by it are read: they change together or not at all."""

    validator: Validator
    schemas: Schemas


class IntakeEndpoint:
    """POST /v1/batch and /v1/{track,identify,page,screen,group,alias}; OPTIONS for browsers."""

    def __init__(
        self,
        *,
        in_force: InForce,
        journal: Journal,
        sources: Mapping[str, Source],
        source_of_key: Mapping[str, str],
        limits: Limits,
        observer: Observer,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self.in_force = in_force
        """Put another in its place at any time, from any thread: each request is judged and stored by one."""
        self._journal, self._limits = journal, limits
        self._sources, self._source_of_key = sources, source_of_key
        self._observer, self._now, self._new_id = observer, now, new_id
        self._origins = frozenset(origin for source in sources.values() for origin in source.cors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        headers = headers_of(scope)
        origin = headers.get(b"origin")
        retry_after = None
        cookie: bytes | None = None
        try:
            if scope["method"] == "POST":
                status, (body, cookie) = 200, await self._accept(scope, headers, receive)
            elif scope["method"] == "OPTIONS":
                status, body = 204, b""
            else:
                raise Refused(405, "method_not_allowed", "send events with POST")
        except Refused as refused:
            status, retry_after = refused.status, refused.retry_after
            body = refusal_of(refused)
        except (ClientGone, asyncio.CancelledError):
            self._observer.answered(499, time.perf_counter() - started)
            return
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        if retry_after is not None:
            head.append((b"retry-after", b"%d" % retry_after))
        if status == 405:
            head.append((b"allow", b"POST, OPTIONS"))
        if cookie is not None:
            head.append((b"set-cookie", cookie))
        if origin is not None:
            head += self._cors(origin, headers)
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})
        self._observer.answered(status, time.perf_counter() - started)

    async def _accept(
        self, scope: Scope, headers: Mapping[bytes, bytes], receive: Receive
    ) -> tuple[bytes, bytes | None]:
        """The answer's body, and the cookie that goes with it."""
        key = presented_key(headers, scope["query_string"])
        if key is not None and key not in self._source_of_key:
            raise wrong_key()
        raw = form_field(await self.body_of(receive, headers))
        body = self._parse(scope["path"], raw)
        name = self.source_of(body.write_key if key is None else key)
        source = self._sources[name]
        cookie = None
        if source.cookie is not None and may_have_cookie(headers, source):
            cookie = id_cookie(source.cookie, body, headers.get(b"cookie", b""), self._new_id)
        sent_at = _time(headers.get(b"x-polku-sent-at")) or body.sent_at
        judged = await self.take(body, self.arrival(name, sent_at, raw))
        return answer_of(judged), cookie

    def source_of(self, key: str | None) -> str:
        """The source a write key belongs to. Raises Refused."""
        name = self._source_of_key.get(key or "")
        if name is None:
            raise wrong_key()
        return name

    @property
    def max_events(self) -> int:
        """The most events that one request may bring."""
        return self._limits.max_batch_events

    async def take(self, body: Body, arrival: Arrival, *, size: int | None = None) -> Judged:
        """Judge every event of a body and return when all of them are durable. Raises Refused.

        The one way into the journal, for batches and for everything else that brings events. `size`: about how many
        bytes its lines have, where that is not about the size of what arrived.
        """
        size = len(arrival.body) if size is None else size
        if body.context is not None:  # it goes into every line: a small body must not become a large block
            size += len(_encode(body.context)) * len(body)
            if size > MAX_BLOCK_BYTES:
                raise Refused(413, "too_large", "the batch's context is too large for so many events", "$.context")
        if len(body) > self._limits.max_batch_events:
            limit = self._limits.max_batch_events
            raise Refused(413, "too_many_events", f"{len(body)} events in one batch, at most {limit}", "$.batch")
        in_force = self.in_force
        judged = in_force.validator.judge(body, arrival)
        if judged.lines:
            try:
                await self._journal.append(judged.lines, in_force.schemas, size)
            except (JournalFull, JournalBroken) as error:
                code = "journal_full" if isinstance(error, JournalFull) else "journal_unavailable"
                raise Refused(503, code, f"{error}; send again later", retry_after=RETRY_AFTER_SECONDS) from None
        self._observer.judged(arrival.source_name, judged, len(arrival.body))
        return judged

    def arrival(self, source_name: str, sent_at: datetime | None, raw: bytes) -> Arrival:
        """What is known of a request that came just now."""
        return Arrival(self._now(), sent_at, source_name, self._sources[source_name], raw)

    def property_types(self, call: str, name: str) -> Mapping[str, str]:
        """The column types of an event's properties, by the plan in force; none if the plan does not know it."""
        in_force = self.in_force
        planned = in_force.validator.planned(call, name)
        return {} if planned is None else in_force.schemas.events.get(planned.name, {})

    def answered(self, status: int, started: float) -> None:
        """Tell the observer of an answer; `started` by `time.perf_counter`."""
        self._observer.answered(status, time.perf_counter() - started)

    async def body_of(self, receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
        """A request's body, decompressed and within the limits. Raises Refused or ClientGone."""
        return await read_body(receive, headers, self._limits.max_body_bytes, self._limits.body_seconds)

    def _parse(self, path: str, raw: bytes) -> Body:
        try:
            if path in BATCH_PATHS:
                return parse_batch(raw, self._limits.max_batch_events)
            return parse_single(raw, SINGLE_PATHS[path])
        except Unreadable as error:
            raise Refused(400, "invalid_json", str(error), error.path) from None
        except TooMany as error:
            raise Refused(413, "too_many_events", f"{error}; send smaller batches", "$.batch") from None

    def _cors(self, origin: bytes, headers: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
        """Browsers: the origin is echoed when some source allows it; a preflight cannot carry the key."""
        if "*" not in self._origins and origin.decode("latin-1") not in self._origins:
            return []
        wanted = headers.get(b"access-control-request-headers", b"authorization, content-type, content-encoding")
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-methods", b"POST, OPTIONS"),
            (b"access-control-allow-headers", wanted),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-max-age", b"86400"),
            (b"vary", b"origin"),
        ]


_encode = msgspec.json.Encoder().encode


def answer_of(judged: Judged) -> bytes:
    """The JSON of a 200."""
    accepted = len(judged.lines) - len(judged.rejected)
    if not judged.rejected and not judged.warnings:
        return b'{"success":true,"accepted":%d,"rejected":[]}' % accepted
    return _encode(Answer(True, accepted, judged.rejected, judged.warnings))


def refusal_of(refused: Refused) -> bytes:
    """The JSON of every other status."""
    return _encode(ErrorAnswer(False, refused.error, refused.message, refused.path))


def wrong_key() -> Refused:
    message = "the write key is missing or unknown; give it as the Basic user name, a Bearer token or `writeKey`"
    return Refused(401, "invalid_write_key", message)


def _time(header: bytes | None) -> datetime | None:
    if header is None:
        return None
    try:
        return msgspec.convert(header.decode("latin-1"), datetime, strict=False)
    except msgspec.ValidationError:
        return None
