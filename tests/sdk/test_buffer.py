"""The queue when the code inside it is interrupted, as signal handlers and finalisers do it."""

import sys
import time

import pytest

from polku.buffer import Buffer
from polku.settings import settings_from
from polku.worker import Bell

from .interrupts import at_line


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
