"""Checkpoints beside the flushes: when one is made, who waits for it, and what a failure costs."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest
from structlog.testing import capture_logs

from polku_collector.lake.checkpoints import Checkpoints


class Later(Executor):
    """Does what it is given when the test says so."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, do: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._waiting.append((future, lambda: do(*arguments, **named)))
        return future

    def catch_up(self) -> None:
        for future, do in self._waiting:
            try:
                future.set_result(do())
            except Exception as error:
                future.set_exception(error)
        self._waiting.clear()


class Recorded:
    """A table that writes down what it is asked."""

    name = "events"

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failure: Exception | None = None

    def fold_log(self) -> None:
        self.asked.append("fold")
        if self.failure is not None:
            raise self.failure

    def reopen(self) -> None:
        self.asked.append("reopen")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.5  # so that a checkpoint, which asks twice, takes half a second
        return self.now


def flushed(checkpoints: Checkpoints, table: Recorded, times: int) -> list[str]:
    """What the table was asked in so many flushes."""
    table.asked.clear()
    for _ in range(times):
        checkpoints.committed(table)
        checkpoints.look(table)
    return table.asked


def test_every_so_many_commits_there_is_a_checkpoint_and_a_handle_that_begins_at_it() -> None:
    table, clock = Recorded(), Clock()
    checkpoints = Checkpoints(3, clock=clock)
    assert flushed(checkpoints, table, 2) == []
    assert flushed(checkpoints, table, 1) == ["fold", "reopen"]
    assert flushed(checkpoints, table, 0) == []
    clock.now += 3600
    assert flushed(checkpoints, table, 6)[:2] == ["fold", "reopen"]


def test_a_checkpoint_takes_a_twentieth_of_the_time_at_most_and_a_fresh_handle_does_not_wait_for_it() -> None:
    table, clock = Recorded(), Clock()
    checkpoints = Checkpoints(1, clock=clock)
    assert flushed(checkpoints, table, 1) == ["fold", "reopen"]
    began = clock.now - 0.5
    while (asked := flushed(checkpoints, table, 1)) == ["reopen"]:
        assert clock.now < began + 20
    assert asked == ["fold", "reopen"]
    assert clock.now >= began + 0.5 * 20


def test_no_flush_waits_for_a_checkpoint() -> None:
    table, beside = Recorded(), Later()
    checkpoints = Checkpoints(2, beside)
    assert flushed(checkpoints, table, 3) == []
    assert flushed(checkpoints, table, 1) == ["reopen"], "no second one is begun beside the first"
    table.asked.clear()
    beside.catch_up()
    assert table.asked == ["fold"]
    checkpoints.look(table)
    assert table.asked == ["fold", "reopen"]
    checkpoints.look(table)
    assert table.asked == ["fold", "reopen"]


@pytest.mark.parametrize("beside", [None, Later()])
def test_a_failure_is_told_and_tried_again(beside: Later | None) -> None:
    table = Recorded()
    checkpoints = Checkpoints(1, beside)

    def another() -> list[str]:
        flushed(checkpoints, table, 1)
        if beside is not None:
            beside.catch_up()
            checkpoints.look(table)
        return table.asked

    table.failure = OSError("the store is away")
    with capture_logs() as said:
        assert another() == ["fold"], "the handle stays as it is"
    assert [entry.get("reason") for entry in said] == ["the store is away"]
    table.failure = None
    assert another() == ["fold", "reopen"]
