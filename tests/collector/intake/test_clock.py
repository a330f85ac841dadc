"""The time of an event is corrected by a clock that is far off, and stays within the bounds of its source."""

from datetime import UTC, datetime, timedelta

import pytest

from polku_collector.intake.clock import Clock
from polku_collector.intake.judged import Arrival
from polku_collector.settings import Source

from .world import NOW, SOURCES

WEB = SOURCES["web"]


def corrected_time(
    claimed: datetime | None, sent_at: datetime | None, received_at: datetime, source: Source
) -> tuple[datetime, bool]:
    return Clock.of(Arrival(received_at, sent_at, "web", source, b"")).event_time(claimed)


@pytest.mark.parametrize(
    ("claimed", "sent_at", "expected", "adjusted"),
    [
        (None, None, NOW, False),
        (NOW - timedelta(hours=1), None, NOW - timedelta(hours=1), False),
        (NOW - timedelta(hours=1), NOW - timedelta(seconds=60), NOW - timedelta(hours=1), False),  # within a minute
        (NOW - timedelta(hours=3), NOW - timedelta(hours=2), NOW - timedelta(hours=1), True),  # the clock is 2 h behind
        (NOW + timedelta(hours=2), NOW + timedelta(hours=2), NOW, True),
        (NOW + timedelta(hours=2), None, NOW, True),
        (NOW - timedelta(days=31), None, NOW, True),
        (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC), NOW, True),
        (NOW.replace(tzinfo=None), None, NOW, False),
    ],
)
def test_event_times_are_corrected_and_bounded(
    claimed: datetime | None, sent_at: datetime | None, expected: datetime, adjusted: bool
) -> None:
    assert corrected_time(claimed, sent_at, NOW, WEB) == (expected, adjusted)
    item_sent_at = Clock.of(Arrival(NOW, None, "web", WEB, b"")).event_time(claimed, sent_at)
    assert item_sent_at == (expected, adjusted)


def test_a_historical_source_is_believed() -> None:
    past = datetime(2017, 1, 1, tzinfo=UTC)
    assert corrected_time(past, NOW - timedelta(days=1), NOW, SOURCES["past"]) == (past, False)


def test_retries_of_an_event_agree_on_its_time() -> None:
    """The second attempt comes ten minutes later; the claimed time is the same and so is the stored one."""
    claimed = NOW - timedelta(minutes=5)
    first = corrected_time(claimed, NOW - timedelta(seconds=1), NOW, WEB)
    later = NOW + timedelta(minutes=10)
    assert corrected_time(claimed, later - timedelta(seconds=1), later, WEB) == first
