"""What a lake is said to cost: more commits and more files are more requests, and few events are not many commits."""

import pytest

from polku_collector.lake.budget import usual_files
from polku_collector.lake.gather import OWN_LINES
from polku_collector.maintain.costs import DOLLARS_A_THOUSAND_GETS, DOLLARS_A_THOUSAND_PUTS, Costs, costs


def estimated(events_per_second: float, flush_seconds: float) -> Costs:
    return costs(
        events_per_second=events_per_second,
        flush_seconds=flush_seconds,
        files_per_commit=usual_files(events_per_second * flush_seconds, flush_seconds, OWN_LINES),
        bytes_per_event=60.0,
        checkpoint_commits=100,
        target_bytes=128 * 1024 * 1024,
    )


@pytest.mark.parametrize(
    ("events", "seconds", "files"),
    [
        (10, 10.0, 1.0),  # nothing has enough lines for a file of its own
        (5_000, 1.0, 1.0),  # some have, and the budget of a second is one file
        (5_000, 10.0, 6.0),
        (1_000_000, 10.0, 10.0),  # as many as the budget allows
    ],
)
def test_a_flush_has_the_files_that_the_budget_allows(events: int, seconds: float, files: float) -> None:
    assert usual_files(events, seconds, 1_000) == pytest.approx(files)


def test_a_million_events_in_one_flush_each_second_are_counted_by_hand() -> None:
    found = estimated(1_000.0, 1.0)  # 1,000 commits of one file
    written = 1e6 * 60 * 3
    parts = written / (16 * 1024 * 1024) + written / (128 * 1024 * 1024) * 3
    assert found.put_requests == pytest.approx(1_000 * (1 + 1 + 2) + 10 * 2 + parts)
    assert found.get_requests == pytest.approx(1_000 * 2 + 1_000 * 2 + 1_000)
    dollars = found.put_requests * DOLLARS_A_THOUSAND_PUTS + found.get_requests * DOLLARS_A_THOUSAND_GETS
    assert found.dollars == pytest.approx(dollars / 1_000)
    assert found.dollars_per_month == pytest.approx(found.dollars * 1_000 * 86_400 * 30 / 1e6)


def test_longer_flushes_cost_less_and_rare_events_one_commit_each_at_most() -> None:
    assert estimated(1_000.0, 10.0).dollars < estimated(1_000.0, 1.0).dollars
    assert estimated(0.001, 1.0).put_requests == pytest.approx(estimated(0.5, 1.0).put_requests)
