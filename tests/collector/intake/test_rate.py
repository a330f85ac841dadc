"""Token buckets: what passes, what waits and how long, one process and several."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polku_collector.intake.rate import Meter, SharedBucket, retry_after
from polku_collector.intake.senders import senders_of
from polku_collector.settings import Source

from .world import GOOD, LIMITS, World, error, intake


class MemoryBucket:
    """The bucket's twin in memory."""

    def __init__(self) -> None:
        self.time = 0.0

    def full_at(self) -> float:
        return self.time

    def change(self, decide: Callable[[float], float]) -> None:
        self.time = decide(self.time)


class Hands:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def test_a_burst_passes_and_then_as_many_as_the_rate_says() -> None:
    clock = Hands()
    meter = Meter(10, 20, MemoryBucket(), clock)
    assert [meter.take(1) == 0 for _ in range(20)] == [True] * 20
    assert meter.take(1) == pytest.approx(0.1)
    clock.at += 0.5
    assert [meter.take(1) == 0 for _ in range(6)] == [True] * 5 + [False]
    clock.at += 1000
    assert [meter.take(10) == 0 for _ in range(3)] == [True, True, False]


def test_after_the_wait_that_was_told_the_same_request_passes_and_not_before() -> None:
    for events in (1, 7, 20, 55):
        clock = Hands()
        meter = Meter(10, 20, MemoryBucket(), clock)
        assert meter.take(18) == 0
        wait = meter.take(events)
        if wait:
            clock.at += wait * 0.99
            assert meter.take(events) > 0
            clock.at += wait * 0.01 + 1e-9
        assert meter.take(events) == 0


def test_more_than_the_burst_passes_when_the_bucket_is_full_and_is_paid_for() -> None:
    clock = Hands()
    meter = Meter(10, 20, MemoryBucket(), clock)
    assert meter.take(100) == 0
    assert meter.take(1) == pytest.approx(10 - 1.9)
    assert meter.overdrawn() == pytest.approx(10)
    clock.at += 10
    assert (meter.overdrawn(), meter.take(100)) == (0, 0)


def test_a_rate_below_one_takes_one() -> None:
    clock = Hands()
    meter = Meter(0.5, None, MemoryBucket(), clock)
    assert (meter.take(1), meter.take(1)) == (0, pytest.approx(2))
    assert (retry_after(0.01), retry_after(1.01)) == (1, 2)


def _add_slowly(path: Path) -> None:
    bucket = SharedBucket(path)

    def decide(full_at: float) -> float:
        time.sleep(0.001)  # the others have time to read the same
        return full_at + 1

    for _ in range(30):
        bucket.change(decide)


def test_no_change_of_a_shared_bucket_is_lost(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_add_slowly, args=(tmp_path / "web",)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert SharedBucket(tmp_path / "web").full_at() == 90


def _take_all(path: Path, tries: int, taken: "multiprocessing.Queue[int]") -> None:
    meter = Meter(0.001, 1000, SharedBucket(path))
    taken.put(sum(meter.take(1) == 0 for _ in range(tries)))


def test_workers_share_a_bucket_and_not_one_event_more_passes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    taken = context.Queue()
    workers = [context.Process(target=_take_all, args=(tmp_path / "rates" / "web", 600, taken)) for _ in range(3)]
    for worker in workers:
        worker.start()
    assert sum(taken.get(timeout=60) for _ in workers) == 1000
    for worker in workers:
        worker.join()


@pytest.fixture
def limited() -> Iterator[World]:
    clock = Hands()
    sources = {
        "web": Source(keys=["web-key"], rate_events_per_second=2, burst=10),
        "app": Source(keys=["app-key"], rate_events_per_second=2, burst=10, rate_status=429),
        "free": Source(keys=["free-key"]),
    }

    def meter_of(name: str, source: Source) -> Meter | None:
        rate = source.rate_events_per_second
        return None if rate is None else Meter(rate, source.burst, MemoryBucket(), clock)

    with intake(senders=senders_of(sources, LIMITS, meter_of=meter_of)) as world:
        world.clock = clock  # type: ignore[attr-defined]
        yield world


def test_a_source_over_its_rate_is_told_how_long_to_wait_and_others_are_not(limited: World) -> None:
    batch = {"batch": [GOOD] * 8}
    assert limited.post(batch).json()["accepted"] == 8
    refused = limited.post(batch)
    assert error(refused) == (503, "rate_limited")
    assert refused.headers["retry-after"] == "3"
    assert len(limited.taken()) == 8
    assert limited.post(batch, key="free-key").status_code == limited.post(batch, key="app-key").status_code == 200
    assert error(limited.post(batch, key="app-key")) == (429, "rate_limited")
    limited.clock.at += 3  # type: ignore[attr-defined]
    assert limited.post(batch).status_code == 200
    assert limited.counted.refusals == [("web", "rate", 8), ("app", "rate", 8)]
    assert limited.counted.errors == ["rate_limited", "rate_limited"], "an answer by its code"


def test_who_is_far_over_it_is_refused_before_the_body_is_read(limited: World) -> None:
    assert limited.post({"batch": [GOOD] * 100}).status_code == 200
    refused = limited.post(b"not even json")
    assert (error(refused), refused.headers["retry-after"]) == ((503, "rate_limited"), "50")
    in_body = limited.client.post("/v1/batch", json={"batch": [GOOD], "writeKey": "web-key"})
    assert error(in_body) == (503, "rate_limited")


def test_now_is_the_same_clock_for_all_processes() -> None:
    """What stands in the bucket is compared with it by every worker."""
    assert time.get_clock_info("monotonic").implementation == "clock_gettime(CLOCK_MONOTONIC)"
