"""Conversations with a collector, answer by answer, that all SDKs lead alike: retries, waits, batches, ids.

They say in our words what the generic contracts of PostHog's SDK test harness (MIT) ask: retry, backoff, Retry-After,
deduplication, batching, compression. The clock is in our hand: what an SDK waits for is passed at once, and exactly.
"""

import gzip
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from polku import retry, worker
from polku.client import Tracker, encoded_context
from polku.report import Reporter
from polku.settings import Settings
from polku.transport import Answer
from polku.worker import Delivery, Send

CASES = json.loads((Path(__file__).parents[1] / "contract" / "sdk" / "deliveries.json").read_text())
NEARLY_ALL = 0.999
"""Of what the jitter may add: then a wait is nearly as long as it may be."""


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
    monkeypatch.setattr(worker, "time", clock)
    monkeypatch.setattr("polku.buffer.time", clock)
    monkeypatch.setattr(retry, "_random", lambda: NEARLY_ALL)
    return clock


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_conversation_is_the_agreed_one(case: dict[str, Any], clock: Clock) -> None:
    settings = Settings(write_key="k", endpoint="http://c")
    delivery = Walked(settings, encoded_context(None), Reporter())
    tracker = Tracker(settings, delivery, None, ())
    answers = iter(case.get("answers", ()))
    requests: list[tuple[float, dict[str, str], dict[str, Any]]] = []

    def converse() -> Iterator[None]:
        steps = delivery.steps()
        step = next(steps)
        while True:
            if isinstance(step, Send):
                assert step.headers["Content-Encoding"] == "gzip"
                requests.append((clock.now, step.headers, json.loads(gzip.decompress(step.body))))
                step = steps.send(_answer(case.get("forever") or next(answers, {"status": 200})))
            elif not delivery.buffer.queued:
                yield
                step = steps.send(None)
            else:
                assert step.seconds is not None
                clock.now += step.seconds
                step = steps.send(None)

    tracked = []
    conversation = converse()
    for number in case["rounds"]:
        tracked += [tracker.track("x", {"same": 1}, user_id="u") for _ in range(number)]
        delivery.buffer.seal()
        next(conversation)
    batches = [body["batch"] for _, _, body in requests]
    if "requests" in case:
        assert [len(batch) for batch in batches] == case["requests"]
    for (before, *_), (after, *_), wait in zip(requests, requests[1:], case.get("waits", ()), strict=False):
        assert wait is None or 0.99 * wait <= after - before <= wait
    stats = tracker.stats()
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
