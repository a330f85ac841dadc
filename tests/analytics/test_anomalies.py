"""Anomalies: how often ordinary days are named, which strange days are found, and the counts against plain Python."""

from __future__ import annotations

import datetime
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from polku_analytics.analyses.anomalies import COLUMNS, anomalies_question, judge, run_anomalies
from polku_analytics.analyses.scope import Scope
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.period import Period

START = datetime.date(2026, 3, 2)
WEEK = np.array([1.0, 1.1, 1.0, 1.2, 1.5, 0.6, 0.5])


def alarms(counts: np.ndarray, false_alarms: float) -> list[int]:
    judged = judge(counts, np.ones(len(counts), dtype=bool), false_alarms)
    return np.flatnonzero((counts < judged.low) | (counts > judged.high)).tolist()


@pytest.mark.parametrize("days", [40, 84])
# A variance of 4 times the mean; not for few a day, whose tail is longer, as docs/definitions.md says.
@pytest.mark.parametrize(("mean", "spread"), [(0.3, 1), (4.0, 1), (60.0, 1), (2000.0, 1), (60.0, 4), (2000.0, 4)])
def test_ordinary_days_are_named_as_seldom_as_is_said(mean: float, spread: int, days: int) -> None:
    """Counts by chance, and such as vary more than that, over a week and a slow season."""
    made = np.random.default_rng(3)
    season = 1 + 0.3 * np.sin(np.arange(days) / 365 * 2 * np.pi)
    level = mean * WEEK[np.arange(days) % 7] * season

    def draw() -> np.ndarray:
        if spread == 1:
            return made.poisson(level)
        return made.negative_binomial(level / (spread - 1), 1 / spread)

    tries = 400
    named = sum(bool(alarms(draw(), 0.05)) for _ in range(tries))
    # 5 % of 400 are 20; more than 35 would come once in two thousand times.
    assert named <= 35


def test_a_day_without_service_is_found_whatever_else_is_strange() -> None:
    made = np.random.default_rng(4)
    for _ in range(50):
        counts = made.poisson(100 * WEEK[np.arange(84) % 7])
        counts[40], counts[47], counts[12] = counts[40] // 4, counts[47] // 4, counts[12] * 3
        assert {12, 40, 47} <= set(alarms(counts, 0.01))


def test_a_month_and_empty_days_are_not_judged_by_too_little() -> None:
    assert np.isnan(judge(np.full(28, 5), np.ones(28, dtype=bool), 0.01).score).all()
    assert alarms(np.zeros(84, dtype=np.int64), 0.01) == []
    assert len(judge(np.array([], dtype=np.int64), np.array([], dtype=bool), 0.01).score) == 0


Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def shop(
    new_history: Callable[[], Callable[..., dict[str, Any]]], built: Callable[..., Journeys]
) -> tuple[Journeys, Rows]:
    """Seven weeks; on the 24th day nobody comes."""
    made, event, rows = random.Random(6), new_history(), []
    for day in range(49):
        for number in range(0 if day == 24 else made.randrange(14, 19)):
            at = day * 86400 + made.randrange(-43200, 43200)
            person = f"p{made.randrange(60):02}"
            visit = {"session_id": f"s{day}-{number}", "user_id": person, "device": made.choice(["phone", "desktop"])}
            rows.append(event("page_viewed", at, **visit))
            rows.append(event("email_sent", at, user_id=person, channel="email"))
    return built(rows), rows


def told(journeys: Journeys, step: str | None = None, **options: Any) -> list[dict[str, Any]]:
    result = run_anomalies(journeys, anomalies_question(journeys, step, **options))
    assert tuple(name for name in result.columns if name in COLUMNS) == COLUMNS
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows]


@pytest.mark.parametrize("time_zone", ["UTC", "Europe/Helsinki"])
@pytest.mark.parametrize("unit", ["person", "event"])
def test_days_are_counted_and_the_empty_one_is_named(shop: tuple[Journeys, Rows], time_zone: str, unit: Any) -> None:
    journeys, rows = shop
    scope = Scope(unit=unit, period=Period(time_zone=time_zone))
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["channel"] == "web":
            day = row["event_time"].astimezone(ZoneInfo(time_zone)).date().isoformat()
            found[day].add(row["user_id"] if unit == "person" else row["event_id"])
    days = told(journeys, all_days=True, scope=scope)
    assert {row["day"]: row["count"] for row in days} == {row["day"]: len(found[row["day"]]) for row in days}
    assert len(days) == (47 if time_zone == "UTC" else 48)
    assert all(row["low"] <= row["expected"] <= row["high"] for row in days)
    if time_zone == "UTC":
        (strange,) = told(journeys, scope=scope)
        assert strange["day"] == "2026-03-26" and strange["weekday"] == "Thursday"
        assert (strange["count"], strange["verdict"]) == (0, "lower") and strange["score"] < -3


def test_options_of_every_question(shop: tuple[Journeys, Rows]) -> None:
    journeys, _ = shop
    inside = Period(datetime.date(2026, 3, 20), datetime.date(2026, 3, 30))
    assert [row["day"] for row in told(journeys, scope=Scope(unit="event", period=inside))] == ["2026-03-26"]
    outside = Period(datetime.date(2026, 3, 28), datetime.date(2026, 4, 10))
    assert told(journeys, scope=Scope(unit="event", period=outside)) == []
    mails = told(journeys, "email_sent", scope=Scope(unit="event"))
    assert [row["day"] for row in mails] == ["2026-03-26"]
    by_device = told(journeys, all_days=True, scope=Scope(unit="event", breakdown="device"))
    assert {row["device"] for row in by_device} == {"phone", "desktop", "(none)"}
    both = told(journeys, all_days=True, scope=Scope(unit="event"))
    summed: dict[str, int] = defaultdict(int)
    for row in by_device:
        summed[row["day"]] += row["count"]
    assert summed == {row["day"]: row["count"] for row in both}
    two = told(journeys, all_days=True, scope=Scope(unit="event", segments=("orders = 0", "did:page_viewed")))
    assert {row["difference"] for row in two} == {0}


def test_bad_input_and_too_little_data(shop: tuple[Journeys, Rows], built: Callable[..., Journeys]) -> None:
    journeys, _ = shop
    with pytest.raises(AnalyticsError, match=r"already.* leave out --previous, and ask .* --since and --until"):
        told(journeys, scope=Scope(previous=True, period=Period(START)))
    with pytest.raises(AnalyticsError, match="between 0 and 1"):
        told(journeys, false_alarms=1.0)
    with pytest.raises(UnknownNameError, match="Did you mean page_viewed"):
        told(journeys, "page_vewed")
    result = run_anomalies(built([]), anomalies_question(journeys, None))
    assert result.rows == [] and result.coverage["days_judged"] == 0
    assert "no day can be judged: each needs 4" in result.coverage["no_rows_because"]


def test_the_example() -> None:
    """As docs/definitions.md has it."""
    counts = np.tile([100] * 7, 9)
    counts[31] = 60
    judged = judge(counts, np.ones(63, dtype=bool), 0.01)
    assert [round(float(one[31]), 2) for one in (judged.expected, judged.low, judged.high)] == [100.0, 56.77, 155.32]
    assert alarms(counts, 0.01) == []
    counts[31] = 40
    assert alarms(counts, 0.01) == [31]
