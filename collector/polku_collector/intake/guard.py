"""Connections that send too slowly, too much of a head, or nothing at all: uvicorn's protocol, with bounds.

uvicorn bounds the time between two requests and nothing else. Here nothing is timed per request: once a second all
connections are looked at, and whoever is where it was for too long is closed. A request that does nothing wrong pays
for a few comparisons.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any, Final, Literal

import httptools
import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ..settings import Limits
from .client_address import Proxies, parsed
from .endpoint import EVENT_PATHS

# After an answer the rest of the body is still read for so long: who is cut off while sending does not see the answer.
LINGER_SECONDS: Final = 5.0
# A piece of it is read so seldom, of all connections together, since read as fast as they come megabytes would hold up
# the others. Who sends alone gets some 60 MB a second through, so that he comes to see his answer: many clients look
# for it only when they have sent all.
_LINGERING_PIECE_SECONDS: Final = 0.004
# But no piece waits longer than this, however many connections there are and were.
_LINGERING_PAUSE_SECONDS: Final = 0.02
# What a closed connection may take to get rid of the last bytes.
_CLOSING_SECONDS: Final = 5.0
_TICKS_A_SWEEP: Final = 10  # uvicorn's, of a tenth of a second
_MAX_HEADERS: Final = 200
# When there is no room, this part of the connections is looked for among those that do nothing, and not all the time.
_EVICTED_PART: Final = 32
_EVICTION_PAUSE_SECONDS: Final = 0.1
_YOUNG_SECONDS: Final = 1.0
# Files a worker needs beside its connections: journal, metrics, plan, libraries.
_OWN_FILES: Final = 256

Closed = Literal["head_timeout", "head_too_large", "idle", "lingering", "stalled", "crowded", "address", "not_http"]
"""Why a connection was closed from this side."""

Stage = Literal["head", "idle", "body", "lingering", "closing"]

AtOnce = Callable[[Any, bytes, Callable[[int, bytes, int | None], object]], bool]
"""Answers a request that came in one piece, with its scope, body and how to respond; False: the application has to."""


class Guard:
    """What all connections of a worker have in common: the limits in force, and how many there are."""

    def __init__(
        self,
        limits: Limits,
        proxies: Proxies,
        on_close: Callable[[Closed], None],
        on_error: Callable[[str], None] = lambda error: None,
        *,
        files: int | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_error` is told the code of each answer given here. `files`: how many may be open in this process.

        `at_once`, where it is set, is asked about each POST to one of `EVENT_PATHS` before the application is called.
        """
        self._files, self._proxies, self._on_close, self.now = files, proxies, on_close, now
        self.on_error = on_error
        self._of_address: Counter[str] = Counter()
        self._room, self._next_eviction, self._next_piece = 0, 0.0, 0.0
        self.at_once: AtOnce | None = None
        self.limits = limits
        self.use(limits)

    def use(self, limits: Limits) -> None:
        """Other limits from now on."""
        self.limits = limits
        self.max_header_bytes = limits.max_header_bytes
        self.max_connections = limits.max_connections
        if self._files is not None:
            self.max_connections = max(1, min(limits.max_connections, self._files - _OWN_FILES))

    def refuses(self, connection: GuardedProtocol) -> Closed | None:
        """Why a new connection, which is among the others already, cannot stay."""
        most = self.limits.max_connections_per_address
        if most is not None and connection.client is not None:
            address = connection.client[0]
            if not self._proxies.trusts(parsed(address)):
                connection.counted_address = address
                self._of_address[address] += 1
                if self._of_address[address] > most:
                    return "address"
        if len(connection.connections) <= self.max_connections:
            self._room = 0
            return None
        if self._room <= 0:
            self._room = self._evict(connection.connections)
        self._room -= 1
        return None if self._room >= 0 else "crowded"

    def forget(self, connection: GuardedProtocol) -> None:
        """A connection is gone."""
        if (address := connection.counted_address) is not None:
            self._of_address[address] -= 1
            if self._of_address[address] <= 0:
                del self._of_address[address]

    def sweep(self, connections: Iterable[Any]) -> None:
        """Close whoever has been where it is for too long. Any: uvicorn's protocols, all of which are ours."""
        now, limits = self.now(), self.limits
        longest = {
            "head": limits.header_seconds,
            "idle": limits.idle_seconds,
            "body": limits.idle_seconds,  # only while it does not take our answer: the body has a time of its own
            "lingering": LINGER_SECONDS,
            "closing": _CLOSING_SECONDS,
        }
        for connection in list(connections):
            connection.call_application()
            stage = connection.stage()
            if connection.seen_stage != stage or connection.seen_scope is not connection.scope:
                connection.seen_stage, connection.seen_scope, connection.seen_at = stage, connection.scope, now
            elif now - connection.seen_at > longest[stage]:
                self._close(connection, stage)

    def lingering_pause(self) -> float:
        """For how many seconds the rest of a body that is answered already is to be left where it is."""
        now = self.now()
        turn = max(now, self._next_piece) + _LINGERING_PIECE_SECONDS
        self._next_piece = min(turn, now + _LINGERING_PAUSE_SECONDS)
        return self._next_piece - now

    def closed(self, reason: Closed) -> None:
        """Count a connection that was closed."""
        self._on_close(reason)

    def _close(self, connection: GuardedProtocol, stage: Stage) -> None:
        if stage == "closing":
            connection.transport.abort()
        elif stage == "head":
            if connection.head_bytes:
                connection.answer(408, "timeout", "the head of the request did not arrive in time")
            connection.close("head_timeout")
        elif stage == "lingering":
            connection.close("lingering")
        elif stage == "idle":
            connection.close("idle")
        elif connection.flow.write_paused:
            connection.close("stalled", at_once=True)

    def _evict(self, connections: Collection[Any]) -> int:
        """Close some that do nothing, for those that come: first who never sent a request, then the longest idle."""
        now = self.now()
        if now < self._next_eviction:
            return 0
        self._next_eviction = now + _EVICTION_PAUSE_SECONDS
        useless = [
            connection
            for connection in connections
            if connection.seen_stage in ("head", "idle")
            and now - connection.seen_at > _YOUNG_SECONDS
            and connection.seen_stage == connection.stage()
            and connection.seen_scope is connection.scope
        ]
        useless.sort(key=lambda connection: (connection.cycle is not None, connection.seen_at))
        chosen = useless[: max(1, self.max_connections // _EVICTED_PART)]
        for connection in chosen:
            connection.close("crowded")
        return len(chosen)


class GuardedProtocol(HttpToolsProtocol):
    """One connection. `guard` is set on a subclass: uvicorn makes these itself."""

    guard: Guard

    def __init__(self, *arguments: Any, **options: Any) -> None:  # Any: uvicorn's business
        super().__init__(*arguments, **options)
        self.counted_address: str | None = None
        self.head_bytes = 0
        self.seen_stage: Stage | None = None
        self.seen_scope: object = None
        self.seen_at = 0.0
        self._large_read = False
        self._head_is_uncounted = False
        self._reading = False
        self._message_ended = False
        self._head_to_reread: bytes | None = None
        self._at_once: Any = None
        """The request whose body may come in one piece, so that it needs no task. Many clients send the head first."""

    def stage(self) -> Stage:
        """What the connection is doing just now."""
        if self.transport.is_closing():
            return "closing"
        cycle = self.cycle
        if cycle is None or (cycle.scope is not self.scope and cycle.response_complete):
            return "head"
        if not cycle.response_complete:
            return "body"
        return "lingering" if cycle.more_body else "idle"

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        reason = self.guard.refuses(self)
        if reason is not None:
            self.answer(503, "busy", "too many connections; send again later", retry_after=1)
            self.close(reason)

    def connection_lost(self, exc: Exception | None) -> None:
        self.guard.forget(self)
        super().connection_lost(exc)
        self.call_application()  # which is told of it

    def data_received(self, data: bytes) -> None:
        size = len(data)
        self._large_read = size > self.guard.max_header_bytes or self._head_is_uncounted
        self._reading, self._message_ended = True, False
        self._read(data)
        self._reading = False
        if self._at_once is not None and self._at_once.body:  # and there is more to come
            self.call_application()
        elif self.cycle is not None and self.cycle.response_complete and self.cycle.more_body:
            self._pause()
        if self.cycle is None or self.cycle.scope is not self.scope:  # the head is not complete
            if self._message_ended:  # it began somewhere in what was read, most of which is of the request before
                self.head_bytes, self._head_is_uncounted = 0, self._large_read
            else:
                self.head_bytes += size
            if self.head_bytes > self.guard.max_header_bytes and not self.transport.is_closing():
                self._refuse_head()

    def _read(self, data: bytes) -> None:
        """As uvicorn does, which takes the body of a request that asks for another protocol for the next request."""
        pieces = [memoryview(data)]
        while pieces:
            piece = pieces.pop()
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserError:
                self.send_400_response("")
                return
            except httptools.HttpParserUpgrade as upgrade:
                head, self._head_to_reread = self._head_to_reread, None
                if head is None:  # CONNECT: this is no proxy
                    self.send_400_response("")
                    return
                pieces += [piece[upgrade.args[0] :], memoryview(head)]

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            if self.parser.get_method() != b"CONNECT":
                self._head_to_reread = self._head_without_upgrade()
            return
        self.head_bytes, self._head_is_uncounted = 0, False
        if self._large_read or len(self.headers) > _MAX_HEADERS:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self.guard.max_header_bytes or len(self.headers) > _MAX_HEADERS:
                self._refuse_head()
                return  # without a request to belong to, the rest of what was read ends in `send_400_response`
        super().on_headers_complete()
        if not self.cycle.keep_alive:
            self.cycle.transport = _ClosedLate(self.transport, self.cycle)  # type: ignore[assignment]  # all it uses

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:  # Any: uvicorn's business
        if (
            self._reading
            and cycle.more_body
            and self.guard.at_once is not None
            and cycle.scope["method"] == "POST"
            and cycle.scope["path"] in EVENT_PATHS
            and not cycle.waiting_for_100_continue
            and not self.flow.write_paused
        ):
            self._at_once = cycle
        else:
            super()._start_asgi_task(cycle, app)

    def _head_without_upgrade(self) -> bytes:
        """The head at hand, as who does not know the other protocol reads it (RFC 9110, 7.8)."""
        parts = [b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        parts += [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        return b"".join([*parts, b"\r\n"])

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._message_ended = True
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:
            self.cycle.more_body = False  # what followed the answer has come to its end
            if not self.cycle.keep_alive:
                self.transport.close()
        cycle = self._at_once
        if cycle is None or cycle is not self.cycle:
            return
        assert self.guard.at_once is not None  # noqa: S101  (else there were none)
        try:
            taken = self.guard.at_once(cycle.scope, bytes(cycle.body), partial(self._respond, cycle))
        except Exception as error:
            self.logger.error("Exception in intake", exc_info=error)
            taken = True
            if not cycle.response_complete:
                cycle.keep_alive = False
                self._respond(cycle, 500, b'{"success":false,"error":"internal","message":"send again later"}')
        if taken:
            self._at_once = None
        else:
            self.call_application()

    def call_application(self) -> None:
        """For the request whose body did not come in one piece: the application bounds how long that takes."""
        cycle, self._at_once = self._at_once, None
        if cycle is not None:
            super()._start_asgi_task(cycle, self.app)

    def shutdown(self) -> None:
        self.call_application()
        super().shutdown()

    def _respond(self, cycle: Any, status: int, body: bytes, retry_after: int | None = None) -> None:
        """As uvicorn's `send`, once for all of an answer."""
        if cycle.disconnected:
            return
        parts = [STATUS_LINE[status]]
        for name, value in cycle.default_headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body))
        if retry_after is not None:
            parts.append(b"retry-after: %d\r\n" % retry_after)
        parts += (b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n", body)
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"".join(parts))
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()

    def on_response_complete(self) -> None:
        """uvicorn's, without the timer that it sets for each answer: the sweep closes who is idle."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.cycle.response_complete and self.cycle.more_body:
            self._pause()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def _pause(self) -> None:
        """Read on in a while: the rest of a body that is answered already is of no use."""
        self.flow.pause_reading()
        self.loop.call_later(self.guard.lingering_pause(), self._read_on)

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's answer to what is no HTTP, in our form."""
        if not self.transport.is_closing():
            self.answer(400, "invalid_http", "this is not HTTP/1.1")
            self.close("not_http")

    def answer(self, status: int, error: str, message: str, retry_after: int | None = None) -> None:
        """Answer without a request that could be handed on; the connection is of no use after it."""
        self.guard.on_error(error)
        body = msgspec.json.encode({"success": False, "error": error, "message": message})
        wait = b"" if retry_after is None else b"retry-after: %d\r\n" % retry_after
        head = b"content-type: application/json\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head % (len(body), wait) + body)

    def close(self, reason: Closed, *, at_once: bool = False) -> None:
        """Close, and count why."""
        self.guard.closed(reason)
        if at_once:
            self.transport.abort()
        else:
            self.transport.close()

    def _refuse_head(self) -> None:
        most = self.guard.max_header_bytes
        self.answer(431, "head_too_large", f"address and headers are larger than {most} bytes")
        self.close("head_too_large")


class _ClosedLate:
    """The transport of a request that is the last of its connection: it is closed when all of its body was read too.

    Closed before, it would be reset under who still sends, and he would not see the answer. Proxies send like this.
    """

    def __init__(self, transport: asyncio.Transport, cycle: Any) -> None:  # Any: uvicorn's business
        self._transport, self._cycle = transport, cycle
        self.write, self.is_closing = transport.write, transport.is_closing

    def close(self) -> None:
        if self._cycle.response_complete and self._cycle.more_body and not self.is_closing():
            self._transport.write_eof()
        else:
            self._transport.close()


class GuardedServer(uvicorn.Server):
    """uvicorn that looks after its connections once a second, and says how many there are."""

    def __init__(self, config: uvicorn.Config, guard: Guard, observe: Callable[[int], None] = lambda number: None):
        config.http = protocol_of(guard)
        super().__init__(config)
        self._guard, self._observe = guard, observe

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_A_SWEEP == 0:
            connections = self.server_state.connections
            self._guard.sweep(connections)
            self._observe(len(connections))
        return await super().on_tick(counter)


def protocol_of(guard: Guard) -> type[GuardedProtocol]:
    """The class uvicorn makes a connection of."""
    return type("GuardedConnection", (GuardedProtocol,), {"guard": guard})


def raise_open_files(wanted: int) -> int:
    """Let this process open as many files as it wants and may; returns how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted += _OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
        return max(soft, allowed)
    return wanted if soft == resource.RLIM_INFINITY else soft
