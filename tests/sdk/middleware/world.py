"""Real servers on loopback for the applications of these tests, and a client of ours whose events are looked at."""

import contextlib
import functools
import socket
import threading
from collections.abc import Iterator
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx
import uvicorn

import polku
from tests.sdk.waiting import wait_until

# What sends no HTTPS needs no certificates, which take longer to load than a test takes.
Browser = functools.partial(httpx.Client, verify=False, timeout=30)
browser = Browser(limits=httpx.Limits(max_keepalive_connections=0))

HEADERS = {
    "User-Agent": "Mozilla/5.0 (test)",
    "Accept-Language": "fi-FI,fi;q=0.9,en;q=0.5",
    "Referer": "https://news.example/story?token=SECRET#SECRET",
    "Cookie": "theme=dark; polku_id=a-cookie; session=SECRET",
}
"""What a browser says; nothing called SECRET may be in an event."""


class Sent:
    """A client, and what it sends."""

    def __init__(self, **options: Any) -> None:
        self.transport = polku.MemoryTransport()
        self.client = polku.Client("key", "http://collector", transport=self.transport, **options)

    @property
    def events(self) -> list[dict[str, Any]]:
        assert self.client.flush()
        return self.transport.events

    def named(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        """The events of a name, once there are so many: an answer may be there before its request is tracked."""
        wait_until(lambda: len([event for event in self.events if event.get("event") == name]) >= count, 20)
        return [event for event in self.events if event.get("event") == name]

    def request(self) -> dict[str, Any]:
        """The properties of the one request that was tracked."""
        (event,) = self.named("request_completed")
        properties: dict[str, Any] = event["properties"]
        return properties


@contextlib.contextmanager
def asgi(app: Any, **options: Any) -> Iterator[str]:
    """The address of an ASGI application under uvicorn."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5, **options)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive(), 20)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


class _Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def wsgi(app: Any) -> Iterator[str]:
    """The address of a WSGI application under wsgiref's server, a thread for each request."""
    server = make_server("127.0.0.1", 0, app, _Threads, _Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
