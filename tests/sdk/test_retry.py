"""What follows on an answer, case by case; the cases are shared with other SDKs."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from polku.errors import LossReason
from polku.retry import Decision, GiveUp, Wait, backoff_bound_seconds, decide, retry_after_seconds
from polku.settings import Settings
from polku.transport import Answer

CASES = json.loads((Path(__file__).parents[1] / "contract" / "sdk" / "answers.json").read_text())
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
SETTINGS = Settings(write_key="k", endpoint="http://c")


def decision(case: dict[str, Any], jitter: float) -> Decision:
    return decide(
        Answer(case["status"], retry_after=case.get("retry_after")),
        attempt=case.get("attempt", 1),
        elapsed_seconds=case.get("elapsed_seconds", 0),
        events=case.get("events", 10),
        settings=SETTINGS,
        at=NOON,
        jitter=lambda: jitter,
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['status']}-{case['then']}")
def test_every_answer_has_the_agreed_consequence(case: dict[str, Any]) -> None:
    for jitter in (0.0, 0.999):
        result = decision(case, jitter)
        name = "give_up" if isinstance(result, GiveUp) else type(result).__name__.lower()
        assert name == case["then"]
        if isinstance(result, Wait):
            assert case.get("at_least_seconds", 0) <= result.seconds <= case["at_most_seconds"]
        if isinstance(result, GiveUp):
            assert result.reason.value == case["reason"]


def test_the_bound_of_the_wait_doubles_up_to_the_cap() -> None:
    bounds = [backoff_bound_seconds(attempt, SETTINGS) for attempt in range(1, 9)]
    assert bounds == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_the_jitter_is_full() -> None:
    """Any wait from nothing to the bound, or clients that failed together would come back together."""
    waits = [decision({"status": 500, "attempt": 4}, jitter) for jitter in (0.0, 0.25, 0.5)]
    assert waits == [Wait(0.0), Wait(1.0), Wait(2.0)]


@pytest.mark.parametrize("text", ["", "x", "-5", "1e3", "١", "Sun, 99 Foo 2026", "1.2.3"])
def test_a_retry_after_that_says_nothing_is_ignored(text: str) -> None:
    assert retry_after_seconds(text, NOON) is None


def test_giving_up_says_what_was_tried_last() -> None:
    answer = Answer(401, b'{"error":"unknown_key","message":"no source has this key"}')
    result = decide(answer, attempt=1, elapsed_seconds=0, events=1, settings=SETTINGS)
    assert isinstance(result, GiveUp)
    assert result.reason is LossReason.REFUSED
    assert "no source has this key" in result.detail
    assert "write key" in result.detail
