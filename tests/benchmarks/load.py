"""The load generator: kept-alive connections that each send the next request when the last is answered. Own process.

`generate(…)` starts `python -m tests.benchmarks.load SPEC` and returns what it saw. It speaks just enough HTTP/1.1 to
find the end of an answer, so that one core of it outruns one core of the server.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NotRequired, TypedDict, Unpack, cast

import msgspec
import uvloop
from msgspec import Struct

from .bodies import Template, patched, saved
from .figures import NotAsExpected

FIRST_IDS = itertools.count(0, 10**9)
"""Each run of the generator has a billion ids of its own."""

# The last answers may take this long; a server that hangs must not hang the suite.
_PATIENCE_SECONDS = 30.0
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class Spec(Struct, frozen=True, kw_only=True):
    """What to send where. An answer that is not 200 with a body that begins with `answer` voids the run."""

    port: int
    templates: str
    answer: str
    connections: int
    seconds: float
    first_id: int
    requests_per_second: float | None = None
    """Of all connections together; None: each sends as soon as it has its answer."""
    write_key: str = "bench"


class Load(Struct, frozen=True, kw_only=True):
    """What the generator saw. `first` and `last`: Unix time of the first request and of the last answer."""

    requests: int
    events: int
    body_bytes: int
    first: float
    last: float
    busy: float
    """Share of a core the generator itself used: near 1 it is what was measured."""
    latencies: list[float]
    """Seconds from request to answer, sorted."""

    @property
    def seconds(self) -> float:
        return self.last - self.first

    def latency(self, share: float) -> float:
        """The latency that this share of the requests stayed within."""
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


class Pace(TypedDict):
    """How much load: by so many connections, for so long, and no faster than this if it is given."""

    connections: int
    seconds: float
    requests_per_second: NotRequired[float]


def generate(port: int, templates: Path, answer: str, **pace: Unpack[Pace]) -> Load:
    """Put load on a server for so many seconds, from a process of its own. Raises NotAsExpected."""
    return finish(start(port, templates, answer, **pace))


def start(port: int, templates: Path, answer: str, **pace: Unpack[Pace]) -> subprocess.Popen[bytes]:
    """Begin to put load on a server; for who wants to look on meanwhile."""
    spec = Spec(port=port, templates=str(templates), answer=answer, first_id=next(FIRST_IDS), **pace)
    command = [sys.executable, "-m", "tests.benchmarks.load", msgspec.json.encode(spec).decode()]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(generator: subprocess.Popen[bytes]) -> Load:
    """What a generator saw, once it is done. Raises NotAsExpected."""
    out, err = generator.communicate()
    if generator.returncode:
        raise NotAsExpected(f"the load generator gave up: {err.decode(errors='replace').strip().splitlines()[-1:]}")
    return msgspec.json.decode(out, type=Load)


# Of the sorted latencies, so many evenly spaced ones are handed on: enough for any percentile, and they fit in a pipe.
_KEPT_LATENCIES = 1000


class _Run:
    """What the connections of one run share: the next request, the clock, the count."""

    def __init__(self, spec: Spec, templates: list[Template]) -> None:
        self.spec = spec
        self._templates = itertools.cycle(templates)
        self._key = base64.b64encode(f"{spec.write_key}:".encode())
        self._next_id = spec.first_id
        self.deadline = time.monotonic() + spec.seconds
        self.done = asyncio.get_running_loop().create_future()
        self.open = spec.connections
        self.requests = self.events = self.body_bytes = 0
        self.latencies: list[float] = []
        self._requests = self._rendered()
        self._due = time.monotonic()

    def pause(self) -> float:
        """Seconds until the next request is due. What is late is not made up for all at once."""
        if self.spec.requests_per_second is None:
            return 0.0
        now, step = time.monotonic(), 1 / self.spec.requests_per_second
        self._due = max(self._due + step, now - 10 * step)
        return max(0.0, self._due - now)

    def next_request(self) -> bytes:
        return next(self._requests)

    def _rendered(self) -> Iterator[bytes]:
        head = (
            b"POST /v1/batch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: Basic "
            + self._key
            + b"\r\nContent-Length: "
        )
        for template in self._templates:
            body = patched(template, self._next_id)
            self._next_id += len(template.ids)
            self.events += len(template.ids)
            self.body_bytes += len(body)
            yield b"%b%d\r\n\r\n%b" % (head, len(body), body)

    def fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(NotAsExpected(reason))

    def finished(self) -> None:
        self.open -= 1
        if not self.open and not self.done.done():
            self.done.set_result(None)


class _Connection(asyncio.Protocol):
    """One kept-alive connection with one request under way."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._answer = run.spec.answer.encode()
        self._received = b""
        self._sent = 0.0
        self._over = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        self._send_when_due()

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data
        head = received.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(received, 0, head + 2)
        if (
            length is None
            or not received.startswith(b"HTTP/1.1 200")
            or not received.startswith(self._answer, head + 4)
        ):
            if length is None or len(received) >= head + 4 + min(int(length[1]), len(self._answer)):
                self._run.fail(f"unexpected answer: {received[:600]!r}")
            return
        if len(received) < head + 4 + int(length[1]):
            return
        self._received = b""
        now = time.monotonic()
        self._run.latencies.append(now - self._sent)
        self._run.requests += 1
        if now < self._run.deadline:
            self._send_when_due()
        else:
            self._over = True
            assert self._transport is not None
            self._transport.close()
            self._run.finished()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._over:
            self._run.fail(f"the server closed a connection: {error}")

    def _send_when_due(self) -> None:
        if pause := self._run.pause():
            asyncio.get_running_loop().call_later(pause, self._send)
        else:
            self._send()

    def _send(self) -> None:
        assert self._transport is not None
        request = self._run.next_request()
        self._sent = time.monotonic()
        self._transport.write(request)


async def _generate(spec: Spec) -> Load:
    templates = saved(Path(spec.templates))
    loop = asyncio.get_running_loop()
    run = _Run(spec, templates)
    loop.set_exception_handler(lambda loop, context: run.fail(f"{context['message']}: {context.get('exception')!r}"))
    first, busy = time.time(), time.process_time()
    for _ in range(spec.connections):
        await loop.create_connection(lambda: _Connection(run), "127.0.0.1", spec.port)
    await asyncio.wait_for(run.done, spec.seconds + _PATIENCE_SECONDS)
    last = time.time()
    return Load(
        requests=run.requests,
        events=run.events,
        body_bytes=run.body_bytes,
        first=first,
        last=last,
        busy=(time.process_time() - busy) / (last - first),
        latencies=sorted(run.latencies)[:: 1 + len(run.latencies) // _KEPT_LATENCIES],
    )


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_generate(msgspec.json.decode(sys.argv[1], type=Spec)))))
