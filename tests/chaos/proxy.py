"""A proxy before an S3-compatible server that makes faults, and tells of each request before and after its effect.

It takes in a request whole before it sends it on, as a store does that never keeps half an object. Which faults are in
force is set from outside (`faults`), each scoped by method and key. `on_moment` is called with every request, before
and after the store has done it; if it returns True the client is taken to be dead, and nothing more is done.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Literal
from urllib.parse import unquote

from msgspec import Struct

Kind = Literal[
    "refuse",  # nobody listens
    "reset",  # the connection is reset while the request is still being read
    "delay",  # the request waits before it is sent on
    "error_500",
    "slow_down",  # 503, as S3 says that it has enough
    "lost_answer",  # the store did it, and the connection is reset before the answer
    "error_after",  # the store did it, and a 500 is answered
    "stall_request",  # half of the body is read, then nothing for a while; after that it goes on or is reset
    "stall_answer",  # the same with the answer
]
Moment = Literal["before", "after"]

_LIMIT = 1 << 20


class Fault(Struct, frozen=True):
    """A fault, which requests it meets, and how often."""

    kind: Kind
    method: str = ""
    """GET, PUT, …; empty: any"""
    keys: str = ""
    """a regular expression, searched in path and query"""
    probability: float = 1.0
    seconds: float = 0.0
    """how long a delay or a stall is"""

    def meets(self, request: Request) -> bool:
        return self.method in ("", request.method) and re.search(self.keys, request.key) is not None


class Request(Struct, frozen=True):
    """One request, as far as faults and points look at it."""

    method: str
    key: str
    """the path with its query, decoded, without the bucket"""


class Proxy:
    """Listens on a port of its own in a thread of its own."""

    def __init__(
        self,
        upstream_port: int,
        port: int,
        *,
        seed: str = "",
        on_moment: Callable[[Moment, Request, int], bool] = lambda moment, request, peer_port: False,
    ) -> None:
        """`on_moment(moment, request, peer_port)` is called in the proxy's thread."""
        self.faults: tuple[Fault, ...] = ()
        self.made: Counter[str] = Counter()
        """how often each kind of fault was made"""
        self.port = port
        self._upstream_port, self._on_moment, self._chance = upstream_port, on_moment, random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-proxy", daemon=True)
        self._thread.start()
        self._call(self._listen())

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def refuse(self) -> None:
        """Stop listening and reset every connection."""
        self.made["refuse"] += 1
        self._call(self._stop_listening())

    def listen(self) -> None:
        """Listen again."""
        self._call(self._listen())

    def close(self) -> None:
        self._call(self._stop_listening())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=_LIMIT, backlog=512)

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._connections):
            _reset(writer)
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        store = _Upstream(self._upstream_port)
        try:
            while await self._exchange(reader, writer, store):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            _reset(writer)  # the client went away, or the store did
        finally:
            self._connections.discard(writer)
            store.close()
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, store: _Upstream) -> bool:
        """One request and its answer; False when the connection is done with."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        request, fields = _parse_head(head)
        peer = int(writer.get_extra_info("peername")[1])
        fault = self._draw(request)
        kind = fault.kind if fault else ""
        body = _Body(reader, fields)
        if "100-continue" in fields.get("expect", ""):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = re.sub(rb"(?i)\r\nexpect:[^\r]*", b"", head)
        if kind == "reset":
            await body.read_half()
            _reset(writer)
            return False
        if kind == "stall_request" and fault is not None:
            await body.read_half()
            await asyncio.sleep(fault.seconds)
            if self._chance.random() < 0.5:
                _reset(writer)
                return False
        payload = await body.read()
        if kind in ("error_500", "slow_down"):
            writer.write(_ERRORS[kind])
            await writer.drain()
            return True
        if kind == "delay" and fault is not None:
            await asyncio.sleep(fault.seconds)
        if self._on_moment("before", request, peer):
            _reset(writer)
            return False
        answer = await store.ask(head + payload, has_body=request.method != "HEAD")
        if self._on_moment("after", request, peer) or kind == "lost_answer":
            _reset(writer)
            return False
        if kind == "error_after":
            answer = _ERRORS["error_500"]
        if kind == "stall_answer" and fault is not None:
            half = len(answer) // 2
            writer.write(answer[:half])
            await writer.drain()
            await asyncio.sleep(fault.seconds)
            if self._chance.random() < 0.5:
                _reset(writer)
                return False
            answer = answer[half:]
        writer.write(answer)
        await writer.drain()
        return True

    def _draw(self, request: Request) -> Fault | None:
        for fault in self.faults:
            if fault.meets(request) and self._chance.random() < fault.probability:
                self.made[fault.kind] += 1
                return fault
        return None


class _Body:
    """The body of a request, taken in as slowly as one wants, kept as it is encoded."""

    def __init__(self, reader: asyncio.StreamReader, fields: dict[str, str]) -> None:
        self._reader = reader
        self._chunked = "chunked" in fields.get("transfer-encoding", "")
        self._length = int(fields.get("content-length", "0"))
        self._taken = b""

    async def read_half(self) -> None:
        if not self._chunked:
            self._taken = await self._reader.readexactly(self._length // 2)

    async def read(self) -> bytes:
        if not self._chunked:
            return self._taken + await self._reader.readexactly(self._length - len(self._taken))
        parts = []
        while True:
            size = await self._reader.readuntil(b"\r\n")
            parts += [size, await self._reader.readexactly(int(size.split(b";")[0], 16) + 2)]
            if int(size.split(b";")[0], 16) == 0:
                return b"".join(parts)


class _Upstream:
    """A kept-alive connection to the store; a fresh one when that is gone."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, data: bytes, *, has_body: bool) -> bytes:
        """Send a request; the whole answer, as it came. Raises OSError or IncompleteReadError."""
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=_LIMIT)
        self._writer.write(data)
        await self._writer.drain()
        head = await self._reader.readuntil(b"\r\n\r\n")
        fields = _fields(head)
        if not has_body or head.split(b" ", 2)[1] in (b"204", b"304"):
            return head
        if "chunked" in fields.get("transfer-encoding", ""):
            return head + await _Body(self._reader, fields).read()
        return head + await self._reader.readexactly(int(fields.get("content-length", "0")))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def _parse_head(head: bytes) -> tuple[Request, dict[str, str]]:
    method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
    _, _, key = unquote(target).lstrip("/").partition("/")
    return Request(method, key if "?" not in target.split("/")[1] else unquote(target)), _fields(head)


def _fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST, as a crashed peer or a firewall does."""
    end: socket.socket | None = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        if end is not None:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _error(status: str, code: str) -> bytes:
    body = f'<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>chaos</Message></Error>'.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_ERRORS = {
    "error_500": _error("500 Internal Server Error", "InternalError"),
    "slow_down": _error("503 Slow Down", "SlowDown"),
}
