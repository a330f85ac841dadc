"""A collector that records what it gets over real HTTP and answers as a test tells it to."""

import contextlib
import json
import socket
import ssl
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@dataclass
class Reply:
    """One scripted answer; `drop` closes the connection instead, `delay_seconds` comes before either."""

    status: int = 200
    body: bytes = b'{"success":true}'
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    delay_seconds: float = 0.0


@dataclass
class Received:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    raw: bytes
    at: float
    client: tuple[str, int]
    status: int | None

    @property
    def body(self) -> bytes:
        """The body, decompressed."""
        if self.headers.get("content-encoding") == "gzip":
            return zlib.decompress(self.raw, wbits=31)
        if self.headers.get("content-encoding") == "zstd":
            return bytes(zstd.decompress(self.raw))
        return self.raw

    @property
    def items(self) -> list[dict[str, Any]]:
        """The events of the batch."""
        batch: list[dict[str, Any]] = json.loads(self.body)["batch"]
        return batch


class RecordingCollector:
    """Answers from `script` while there is something in it, then as `answer` says, then 200."""

    def __init__(self, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.script: list[Reply] = []
        self.answer: Callable[[bytes], Reply] = lambda body: Reply()
        self.received: list[Received] = []
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                collector._handle(self)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_address[1]}"

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        self._connections.add(handler.connection)
        raw = handler.rfile.read(int(handler.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        got = Received(handler.path, headers, raw, time.monotonic(), handler.client_address, None)
        with self._lock:
            reply = self.script.pop(0) if self.script else self.answer(got.body)
            got.status = None if reply.drop else reply.status
            self.received.append(got)
        time.sleep(reply.delay_seconds)
        if reply.drop:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        with contextlib.suppress(OSError):  # the client may have given up waiting
            handler.send_response(reply.status)
            for name, value in reply.headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(reply.body)))
            handler.end_headers()
            handler.wfile.write(reply.body)

    def hang_up(self) -> None:
        """Close all connections, as a server does with those that have been idle for long."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    @property
    def taken(self) -> list[dict[str, Any]]:
        """The events of all requests that were answered with 200, in order."""
        return [item for got in list(self.received) if got.status == 200 for item in got.items]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[RecordingCollector]:
    recording = RecordingCollector()
    yield recording
    recording.close()


@pytest.fixture
def reply() -> type[Reply]:
    """The class of scripted answers, for tests to make them with."""
    return Reply
