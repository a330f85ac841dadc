"""What a lake is said to cost: more commits and more files are more requests, and few events are not many commits.

That a piece of work asks of a store what it is said to ask is counted in tests/e2e/test_costs.py.
"""

from typing import Any

import pytest

from polku_collector.lake.gather import files_a_day
from polku_collector.maintain.costs import DOLLARS_A_THOUSAND_GETS, DOLLARS_A_THOUSAND_PUTS, Costs, costs


def estimated(events_per_second: float, flush_seconds: float, **given: Any) -> Costs:
    usual: dict[str, Any] = {
        "refused_per_second": 0.0,
        "bytes_per_event": 60.0,
        "streams": 1,
        "checkpoint_commits": 20,
        "maintenance_seconds": 60.0,
        "compact_files": 1000,
    }
    files = files_a_day(events_per_second * flush_seconds, 1, among=2)
    return costs(
        events_per_second=events_per_second, flush_seconds=flush_seconds, files_per_commit=files, **usual | given
    )


def test_a_million_events_in_one_flush_each_second_are_counted_by_hand() -> None:
    found = estimated(1_000.0, 1.0)  # 1,000 commits of one file, 50 checkpoints, 1,000 / 60 looks of maintenance
    log_lists = 2 * 86_400 / 1000
    parts = 1e6 * 60 * 3 / (8 << 20)
    assert found.put_requests == pytest.approx(
        1_000 * (2 + 1 + 1 + 2) + 50 * (2 + 4 + log_lists) + 1_000 / 60 * 2 + 2 * 7 + parts
    )
    assert found.get_requests == pytest.approx(
        1_000 * (1 + 4 + 2 * 9.5) + 50 * (43 + 80) + 1_000 / 60 * (14 + 3 * 9.5) + 2 * 7 + 1_000 + parts
    )
    dollars = found.put_requests * DOLLARS_A_THOUSAND_PUTS + found.get_requests * DOLLARS_A_THOUSAND_GETS
    assert found.dollars == pytest.approx(dollars / 1_000)
    assert found.dollars_per_month == pytest.approx(found.dollars * 1_000 * 86_400 * 30 / 1e6)


def test_longer_flushes_cost_less_and_so_does_a_lake_that_nothing_is_refused_in_or_nobody_looks_after() -> None:
    usual = estimated(1_000.0, 10.0)
    assert usual.dollars < estimated(1_000.0, 1.0).dollars
    assert usual.dollars < estimated(1_000.0, 10.0, refused_per_second=1.0).dollars
    assert usual.dollars > estimated(1_000.0, 10.0, maintenance_seconds=None).dollars


def test_rare_events_are_a_commit_each_and_the_flushes_between_them_cost_nothing() -> None:
    rare, rarest = estimated(0.01, 1.0), estimated(0.001, 1.0)
    assert rarest.dollars > rare.dollars, "of an event"
    assert rarest.dollars_per_month < rare.dollars_per_month
    assert estimated(0.01, 10.0).dollars == pytest.approx(rare.dollars)
