"""Conversations with a collector, answer by answer, that all SDKs lead alike: retries, waits, batches, ids.

They say in our words what the generic contracts of PostHog's SDK test harness (MIT) ask: retry, backoff, Retry-After,
deduplication, batching, compression. The clock is in our hand: what an SDK waits for is passed at once, and exactly.
"""

import asyncio
import contextlib
import gzip
import json
import selectors
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from polku import retry, task
from polku.client import encoded_context
from polku.delivery import Delivery, Send
from polku.report import Reporter
from polku.settings import Settings
from polku.task import AsyncTransport, TaskWorker
from polku.tracker import Stats, Tracker
from polku.transport import Answer

CASES = json.loads((Path(__file__).parents[1] / "contract" / "sdk" / "deliveries.json").read_text())
NEARLY_ALL = 0.999
"""Of what the jitter may add: then a wait is nearly as long as it may be."""
CLOCK_GRAIN = 0.01
"""An event loop wakes up to so many seconds after the moment it was told."""


class Clock:
    """The part of `time` that delivery goes by."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Walked(Delivery):
    """Delivery whose steps are walked by the test."""

    def _wake(self) -> None: ...


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("polku.delivery.time", clock)
    monkeypatch.setattr("polku.worker.time", clock)
    monkeypatch.setattr("polku.buffer.time", clock)
    monkeypatch.setattr(retry, "_random", lambda: NEARLY_ALL)
    return clock


class Conversation:
    """The collector's side of a case: answers in turn, and keeps what was asked and when."""

    def __init__(self, case: dict[str, Any], clock: Clock) -> None:
        self._case, self._clock = case, clock
        self._answers = iter(case.get("answers", ()))
        self.requests: list[tuple[float, dict[str, str], dict[str, Any]]] = []

    def answer(self, body: bytes, headers: dict[str, str]) -> Answer:
        assert headers["Content-Encoding"] == "gzip"
        self.requests.append((self._clock.now, headers, json.loads(gzip.decompress(body))))
        return _answer(self._case.get("forever") or next(self._answers, {"status": 200}))


class Overheard(AsyncTransport):
    """The collector of a case, for an event loop."""

    def __init__(self, conversation: Conversation) -> None:
        super().__init__("http://c")
        self._conversation = conversation

    async def send(self, body: bytes, headers: dict[str, str], timeout_seconds: float) -> Answer:
        return self._conversation.answer(body, headers)


class Jumping(selectors.DefaultSelector):
    """Lets an event loop that has nothing to do pass the time at once."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout:
            self._clock.now += timeout
        return ready


def settings() -> Settings:
    return Settings(write_key="k", endpoint="http://c")


def track(tracker: Tracker, number: int) -> list[str | None]:
    return [tracker.track("x", {"same": 1}, user_id="u") for _ in range(number)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_conversation_is_the_agreed_one(case: dict[str, Any], clock: Clock) -> None:
    delivery = Walked(settings(), encoded_context(None), Reporter())
    tracker = Tracker(settings(), delivery, None, ())
    conversation = Conversation(case, clock)

    def converse() -> Iterator[None]:
        steps = delivery.steps()
        step = next(steps)
        while True:
            if isinstance(step, Send):
                step = steps.send(conversation.answer(step.body, step.headers))
            elif not delivery.buffer.queued:
                yield
                step = steps.send(None)
            else:
                assert step.seconds is not None
                clock.now += step.seconds
                step = steps.send(None)

    tracked = []
    walking = converse()
    for number in case["rounds"]:
        tracked += track(tracker, number)
        delivery.buffer.seal()
        next(walking)
    check(case, tracked, conversation, tracker.stats())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_it_is_the_same_on_an_event_loop(case: dict[str, Any], clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "time", clock)
    conversation = Conversation(case, clock)

    async def converse() -> None:
        worker = TaskWorker(settings(), Overheard(conversation), encoded_context(None), Reporter())
        tracker = Tracker(settings(), worker, None, ())
        tracked = []
        for number in case["rounds"]:
            tracked += track(tracker, number)
            assert await worker.flushed(1e9)
        check(case, tracked, conversation, tracker.stats())
        assert await worker.closed(None)

    loop = asyncio.SelectorEventLoop(Jumping(clock))
    monkeypatch.setattr(loop, "time", clock.monotonic)
    with contextlib.closing(loop):
        loop.run_until_complete(converse())


def check(case: dict[str, Any], tracked: list[str | None], conversation: Conversation, stats: Stats) -> None:
    """That it went as the case says."""
    requests = conversation.requests
    batches = [body["batch"] for _, _, body in requests]
    if "requests" in case:
        assert [len(batch) for batch in batches] == case["requests"]
    for (before, *_), (after, *_), wait in zip(requests, requests[1:], case.get("waits", ()), strict=False):
        assert wait is None or 0.99 * wait <= after - before <= wait + CLOCK_GRAIN
    assert (stats.delivered, stats.lost) == (case.get("delivered", 0), case.get("lost", {}))
    told = {loss["reason"]: loss["count"] for loss in requests[-1][2].get("lost", ())} if requests else {}
    assert told == case.get("told", {})
    # However often it is sent an event is the same; no two are.
    sent: dict[str, str] = {}
    for batch in batches:
        assert len({item["messageId"] for item in batch}) == len(batch)
        for item in batch:
            assert sent.setdefault(item["messageId"], json.dumps(item)) == json.dumps(item)
    assert list(sent) == tracked
    # Each attempt is numbered, and says when it was made.
    for (_, first, one), (_, second, other) in pairwise(requests):
        again = one["batch"] == other["batch"]
        assert second["X-Polku-Attempt"] == (str(int(first["X-Polku-Attempt"]) + 1) if again else "1")
        assert second["X-Polku-Sent-At"] > first["X-Polku-Sent-At"]


def _answer(answer: dict[str, Any]) -> Answer:
    if answer["status"] is None:
        return Answer(error="no connection")
    rejected = [
        {"index": index, "code": "wrong_type", "path": "$", "message": "no"} for index in answer.get("rejected", ())
    ]
    body = answer.get("body") or json.dumps({"success": True, "accepted": 0, "rejected": rejected})
    return Answer(answer["status"], body.encode(), answer.get("retry_after"))
