"""The hot path as a plain ASGI application: read, take, answer. What may wait for nothing is answered at once.

Plain ASGI because it measures faster than a route with request and response objects; `app` puts it beside the Starlette
application that serves the rest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec

from ..batch import Line, QuarantineLine, Schemas
from ..errors import JournalBroken, JournalFull
from .answer import Taken, answer_of
from .beacon import form_field
from .consent import CONSENT_PATH, judged_ping, ping_of
from .id_cookie import id_cookie, may_have_cookie
from .judged import Arrival
from .paths import parsed
from .receive import ClientGone, Receive, Scope, Send, headers_of, presented_key, read_body
from .refused import Refused
from .senders import RefusedBySource, Sender
from .take import Intake, not_stored
from .wire import Body

Put = Callable[[list[Line | QuarantineLine], Schemas, int, Callable[[Exception | None], object]], object]
"""As `Journal.append`, for who does not wait: the last is called when all are durable, or with the error."""
Respond = Callable[[int, bytes, int | None], object]
"""Answer with a status, a JSON and a `Retry-After`."""


class IntakeEndpoint(Intake):
    """POST /v1/batch and /v1/{track,identify,page,screen,group,alias}; POST /v1/consent; OPTIONS for browsers."""

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
        body = parsed(scope["path"], raw, senders.limits.max_batch_events, senders.shape)
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
                refuse(not_stored(error))
                return
            try:
                ready.stored()
            finally:  # whatever becomes of a count, or of a console that is gone: the events are durable
                say(200, answer_of(ready.taken))

        try:
            body = parsed(scope["path"], raw, senders.limits.max_batch_events, senders.shape)
            ready = self._judged(body, _arrival(headers, body, raw, sender, self._now()), sender, scope)
            if ready.judged.lines:
                put(ready.judged.lines, ready.in_force.schemas, ready.size, settled)
            else:
                settled(None)
        except Refused as refused:
            refuse(refused)
        except (JournalFull, JournalBroken) as error:
            refuse(not_stored(error))
        return True

    async def _take_ping(
        self, raw: bytes, received_at: datetime, sender: Sender | None, headers: Mapping[bytes, bytes]
    ) -> Taken:
        """Count one decision. Neither the headers nor the connection are looked at for more than the key."""
        ping = ping_of(raw)
        if sender is None:
            sender = self.sender_of(ping.write_key, headers)
        if sender.meter is not None:
            sender.take(1)
        in_force = self.in_force
        arrival = Arrival(received_at, None, sender.name, sender.source, raw)
        judged = judged_ping(ping, in_force.validator, arrival)
        # Answered when it is durable, whatever the source says: told late it would be sent, and counted, again.
        return await self._store(self._ready(judged, (), len(raw), len(raw), sender, in_force), sender, False)

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


def _arrival(headers: Mapping[bytes, bytes], body: Body, raw: bytes, sender: Sender, received_at: datetime) -> Arrival:
    sent_at = _time(headers.get(b"x-polku-sent-at")) or body.sent_at
    return Arrival(received_at, sent_at, sender.name, sender.source, raw, sender.address)


def _time(header: bytes | None) -> datetime | None:
    if header is None:
        return None
    try:
        return msgspec.convert(header.decode("latin-1"), datetime, strict=False)
    except (msgspec.ValidationError, ValueError):  # the latter for the first second of the year 10000
        return None
