"""One connection: where it stands, how large a head it may send, how it is answered and closed.

How long it may stay where it is, and whether there is room for it, says the guard. A plain request whose body came in
one piece is answered here, without a task of its own.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from .guard import Closed, Guard, Stage
from .paths import EVENT_PATHS

_MAX_HEADERS: Final = 200


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with bounds. `guard` is set on a subclass: uvicorn makes these itself."""

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
