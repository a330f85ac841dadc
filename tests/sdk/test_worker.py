"""The thread that delivers: one is started, whatever comes between, and it looks by itself where batches follow."""

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import polku
from polku.settings import settings_from
from polku.worker import Bell, Worker

from .interrupts import at_line
from .waiting import wait_until


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
