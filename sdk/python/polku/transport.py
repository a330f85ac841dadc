"""One POST of one body: the `Transport` protocol, `HttpTransport` over httpx and its twin, `MemoryTransport`.

A transport returns what happened as an `Answer`, failures of the network included, and leaves to `retry.py`
what to make of it. It is used by one thread at a time.
"""

import os
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from polku import forks

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""More than the verdicts of any batch; the rest of a longer answer is not read."""

LONGEST_IMPORT_SECONDS = 10.0
"""A fork waits this long at most for an import of httpx that is under way."""


class Answer(msgspec.Struct, frozen=True):
    """What came back for one request: a status, or an error if there was none."""

    status: int | None = None
    body: bytes = b""
    retry_after: str | None = None
    error: str = ""

    def summary(self) -> str:
        """One line for logs: the error, or the status and what the collector says about it."""
        if self.status is None:
            return self.error
        try:
            said = msgspec.json.decode(self.body, type=_ErrorBody)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return f"status {self.status}"
        return f"status {self.status}, {said.message or said.error}"


class _ErrorBody(msgspec.Struct):
    error: str
    message: str = ""


class Transport(Protocol):
    """Where batches go. Implementations need not be safe for use from several threads.

    With `consent_ping=True` one needs a `ping` too: as `send`, with a decision that is to be counted.
    """

    def send(self, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        """Send one body and return what came back. Should not raise."""

    def close(self) -> None:
        """Let go of connections; called once, after the last `send`."""

    def forget(self) -> None:
        """Called in a forked child: let go of the parent's connections without closing them on the wire."""


class HttpTransport:
    """Posts over one kept-alive HTTP connection. httpx is imported by the first `send`."""

    def __init__(self, url: str, proxy: str | None = None, ca_file: str | None = None) -> None:
        """`proxy` and `ca_file`: instead of what the usual variables say."""
        self._url, self._proxy, self._ca_file = url, proxy, ca_file
        self._httpx: Any = None
        self._connection: Any = None
        self._inherited: list[Any] = []

    def send(self, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        return self._post(self._url, body, headers, timeout_seconds)

    def ping(self, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        return self._post(ping_url(self._url), body, headers, timeout_seconds)

    def _post(self, url: str, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        try:
            if self._connection is None:
                self._open()
            phases = dict.fromkeys(("connect", "read", "write", "pool"), timeout_seconds)
            request = self._httpx.Request(
                "POST", url, headers=dict(headers), content=body, extensions={"timeout": phases}
            )
            ends_at = time.monotonic() + 2 * timeout_seconds
            response = self._connection.handle_request(request)
            try:
                chunks, size = [], 0
                for chunk in response.iter_bytes():
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > MAX_ANSWER_BYTES:
                        break
                    if time.monotonic() > ends_at:
                        return Answer(error="the answer took too long")
            finally:
                response.close()
        except Exception as error:
            return Answer(error=f"{type(error).__name__}: {error}")
        return Answer(response.status_code, b"".join(chunks), response.headers.get("retry-after"))

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def forget(self) -> None:
        # Kept, not dropped: closing a TLS connection here would end the parent's.
        self._inherited.append(self._connection)
        self._connection = None

    def _open(self) -> None:
        # Construction imports too (ssl). After it, sending does not.
        with importing.lock:
            import encodings.idna  # noqa: F401  # the first look-up of a host name would import it

            import httpx

            self._httpx = httpx
            # The transport below `httpx.Client`: half its cost a request, and no INFO line of httpx's logger for each.
            self._connection = httpx.HTTPTransport(**connection_options(self._url, self._proxy, self._ca_file))


def ping_url(batch_url: str) -> str:
    """Where decisions about consent are counted, beside where batches are posted."""
    return f"{batch_url.removesuffix('/batch')}/consent"


class _Importing:
    """Keeps a fork out of the import of httpx: the child would find it half done, and nobody there to finish it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._held = False

    def before_fork(self) -> None:
        # With a limit, because a fork that waits for ever would be worse than a child that cannot send.
        self._held = self.lock.acquire(timeout=LONGEST_IMPORT_SECONDS)

    def after_in_parent(self) -> None:
        if self._held:
            self.lock.release()

    def after_in_child(self) -> None:
        self.lock = threading.RLock()


importing = _Importing()

forks.after_in_child(importing.after_in_child)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=importing.before_fork, after_in_parent=importing.after_in_parent)


def connection_options(url: str, proxy: str | None, ca_file: str | None) -> dict[str, Any]:
    """What httpx's transports, sync and async, are made with."""
    import httpx

    options: dict[str, Any] = {
        "limits": httpx.Limits(max_connections=1, keepalive_expiry=30.0),
        "proxy": proxy or _proxy_for(url),
    }
    if ca_file is not None:
        import ssl

        options["verify"] = ssl.create_default_context(cafile=ca_file)
    return options


def _proxy_for(url: str) -> str | None:
    """The proxy that the usual variables (`HTTPS_PROXY`, `NO_PROXY` …) name for this address."""
    import urllib.parse
    import urllib.request  # loaded by httpx already

    parts = urllib.parse.urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


class MemoryTransport:
    """Keeps what was sent instead of sending it, for tests.

    The first answers are the given ones; then `answer` is asked with the body, or all is well.
    """

    def __init__(self, *answers: Answer, answer: Callable[[bytes], Answer] | None = None) -> None:
        self._script = list(answers)
        self._answer = answer
        self.bodies: list[bytes] = []
        """Every body sent, decompressed, retries included."""
        self.headers: list[dict[str, str]] = []
        """The headers of each."""
        self.events: list[dict[str, Any]] = []
        """The events of the bodies that were answered with success, decoded."""
        self.pings: list[dict[str, Any]] = []
        """What was to be counted of decisions about consent."""

    def send(self, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        if headers.get("Content-Encoding") == "gzip":
            body = zlib.decompress(body, wbits=31)
        self.bodies.append(body)
        self.headers.append(dict(headers))
        if self._script:
            answer = self._script.pop(0)
        elif self._answer is not None:
            answer = self._answer(body)
        else:
            answer = Answer(200, b'{"success":true}')
        if answer.status is not None and 200 <= answer.status < 300:
            self.events += msgspec.json.decode(body)["batch"]
        return answer

    def ping(self, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        self.pings.append(msgspec.json.decode(body))
        return Answer(200, b'{"success":true}')

    def close(self) -> None:
        """Nothing to let go of."""

    def forget(self) -> None:
        """What the parent sent is not the child's."""
        self.bodies, self.headers, self.events, self.pings = [], [], [], []
