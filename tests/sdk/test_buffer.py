"""The queue when the code inside it is interrupted, as signal handlers and finalisers do it."""

import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

import polku
from polku.buffer import Bell, Buffer
from polku.settings import settings_from
from polku.worker import Worker

from .test_delivery import wait_until


def at_line(number: int, files: str, then: Callable[[], None]) -> Callable[[FrameType, str, Any], Any]:
    """A trace function that calls `then` before the `number`-th line run in the file, once."""
    left = [number]

    def trace(frame: FrameType, kind: str, _: object) -> Any:
        if not frame.f_code.co_filename.endswith(files):
            return None
        if kind == "line":
            left[0] -= 1
            if left[0] == 0:
                then()
        return trace

    return trace


def test_an_event_tracked_in_the_middle_of_another_counts_once() -> None:
    interrupted = 0
    for line in range(1, 400):
        buffer = Buffer(settings_from("k", "http://c", {"batch_events": 3, "batch_bytes": 10}), lambda: None)
        inner = [b"%d-%d" % (line, n) for n in range(4)]
        put: list[bytes] = []

        def interrupt(buffer: Buffer = buffer, inner: list[bytes] = inner, put: list[bytes] = put) -> None:
            put += inner
            for raw in inner:
                assert buffer.put(raw) is None

        outer = [b"%d" % n for n in range(7)]
        before = sys.gettrace()
        sys.settrace(at_line(line, "polku/buffer.py", interrupt))
        try:
            for raw in outer:
                assert buffer.put(raw) is None
        finally:
            sys.settrace(before)
        interrupted += bool(put)
        buffer.seal()
        taken: list[bytes] = []
        while (batch := buffer.take()) is not None:
            taken += batch.events
            buffer.settle(batch.events)
        assert sorted(taken) == sorted(outer + put), line
        assert (buffer.queued, buffer.queued_bytes, buffer.delivered) == (0, 0, len(taken)), line
    assert 60 < interrupted < 399, "every line of the calls was interrupted, and no more there are"


@pytest.mark.parametrize("held", [1, 2])
def test_an_event_that_opens_a_batch_wakes_the_worker_whatever_comes_between(held: int) -> None:
    for line in range(1, 30):
        bell = Bell()
        buffer = Buffer(settings_from("k", "http://c", {"batch_events": 10}), bell.ring)

        def interrupt(buffer: Buffer = buffer) -> None:
            for _ in range(held):
                buffer.put(b"x")

        before = sys.gettrace()
        sys.settrace(at_line(line, "polku/buffer.py", interrupt))
        try:
            buffer.put(b"a")
        finally:
            sys.settrace(before)
        assert bell._lock.acquire(blocking=False), line


@pytest.mark.parametrize(("looks_in", "rings"), [(-1.0, True), (0.3, False), (9.0, True)])
def test_an_event_wakes_the_worker_unless_it_looks_in_time(looks_in: float, rings: bool) -> None:
    rung: list[bool] = []
    buffer = Buffer(settings_from("k", "http://c", {"batch_age_seconds": 0.5}), lambda: rung.append(True))
    buffer.looks_at = time.monotonic() + looks_in
    buffer.put(b"a")
    assert bool(rung) is rings


def test_where_one_batch_follows_another_the_worker_looks_by_itself() -> None:
    client = polku.Client("k", "http://c", transport=polku.MemoryTransport(), batch_age_seconds=0.5)
    worker = client._delivery
    rung: list[int] = []

    def count() -> None:
        rung.append(1)
        Bell.ring(worker._bell)

    client.track("first", user_id="u")
    assert client.flush(5)
    wait_until(lambda: worker.buffer.looks_at > time.monotonic())
    worker._bell.ring = count  # type: ignore[method-assign]
    client.track("second", user_id="u")
    assert not rung
    wait_until(lambda: client.stats().delivered == 2)
    wait_until(lambda: worker.buffer.looks_at == 0.0)  # nothing came any more: it sleeps
    client.track("third", user_id="u")
    assert rung
    wait_until(lambda: client.stats().delivered == 3)
    assert client.close(5)


class Idle:
    """A transport that is never asked to send."""

    def send(self, body: bytes, headers: Any, timeout_seconds: float) -> Any:
        raise AssertionError("nothing was queued")

    def close(self) -> None: ...

    def forget(self) -> None: ...


def test_only_one_thread_is_started_whatever_comes_between() -> None:
    started: set[int] = set()
    for line in range(1, 40):
        running: list[threading.Thread] = []
        worker = Worker(settings_from("k", "http://c", {}), Idle(), b"{}", Any)  # type: ignore[arg-type]
        real = worker._run

        def run(real: Callable[[], None] = real, running: list[threading.Thread] = running) -> None:
            running.append(threading.current_thread())
            real()

        worker._run = run  # type: ignore[method-assign]
        before = sys.gettrace()
        sys.settrace(at_line(line, "polku/worker.py", worker._wake))
        try:
            worker._wake()
        finally:
            sys.settrace(before)
        assert worker.close(5)
        started.add(len(running))
    assert started == {1}
