"""Retention, lifecycle and stickiness against counting by hand and by brute force over the calendar."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from polku_analytics.analyses import pieces
from polku_analytics.analyses.intervals import Activity, calendar
from polku_analytics.analyses.lifecycle import activity_question, count_lifecycle, run_lifecycle, run_stickiness
from polku_analytics.analyses.retention import retention_question, run_retention
from polku_analytics.analyses.scope import Scope
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.period import Period

HELSINKI = ZoneInfo("Europe/Helsinki")
START = datetime.datetime(2026, 3, 2, 12, 0, tzinfo=datetime.UTC)
NAMES = ("product_viewed", "order_completed", "share_clicked")


@pytest.fixture(scope="module")
def histories() -> dict[str, list[tuple[float, str]]]:
    """Forty people over seven weeks, in which the clocks change; some moments lie on midnights, some together."""
    made = random.Random(5)
    people = {}
    for number in range(40):
        moments = [made.choice([made.randrange(0, 49 * 86400), 36_000 + 86_400 * made.randrange(49)]) for _ in range(7)]
        people[f"p{number:02}"] = [(at, made.choice(NAMES)) for at in moments[: made.randrange(1, 8)] + moments[:1]]
    return people


@pytest.fixture(scope="module")
def world(
    built: Callable[..., Journeys],
    new_history: Callable[[], Callable[..., dict[str, Any]]],
    histories: dict[str, list[tuple[float, str]]],
) -> Journeys:
    event = new_history()
    return built([event(name, at, user_id=person) for person, events in histories.items() for at, name in events])


def begin_of(at: datetime.datetime, interval: str, week_start: str, time_zone: str) -> datetime.date:
    day = at.astimezone(ZoneInfo(time_zone)).date()
    if interval == "month":
        return datetime.date(day.year, day.month, 1)
    while interval == "week" and day.strftime("%A").lower() != week_start:
        day -= datetime.timedelta(days=1)
    return day


def after(day: datetime.date, interval: str, number: int) -> datetime.date:
    for _ in range(number):
        if interval == "month":
            day = datetime.date(day.year + day.month // 12, day.month % 12 + 1, 1)
        else:
            day += datetime.timedelta(days=7 if interval == "week" else 1)
    return day


LENGTH = {"day": 86400, "week": 7 * 86400, "month": 30 * 86400}


def brute_force(
    histories: dict[str, list[tuple[float, str]]], start: str, back: str | None, o: dict[str, Any], period: Period
) -> dict[tuple[str, int], tuple[int, int]]:
    """(cohort, interval) → size and count."""
    cohorts: dict[datetime.date, list[tuple[datetime.datetime, list[datetime.datetime]]]] = {}
    for events in histories.values():
        moments = sorted((START + datetime.timedelta(seconds=at), name) for at, name in events)
        starts = [at for at, name in moments if name == start]
        in_period = [at for at in starts if period.start is None or period.start <= at < (period.end or at)]
        if o["cohorts"] == "first-time":
            in_period = [at for at in starts[:1] if at in in_period]
        seen = set()
        for at in in_period:
            cohort = begin_of(at, o["interval"], o["week_start"], period.time_zone)
            if cohort not in seen:
                seen.add(cohort)
                returns = [other for other, name in moments if other > at and back in (None, name)]
                cohorts.setdefault(cohort, []).append((at, returns))
    found = {}
    for cohort, members in cohorts.items():
        places = [after(cohort, o["interval"], n) for n in range(60)]
        for k in range(o["intervals"] + 1):
            count = 0
            for at, returns in members:
                if o["rolling"]:
                    numbers = [int((other - at).total_seconds() // LENGTH[o["interval"]]) for other in returns]
                else:
                    numbers = [
                        places.index(begin_of(other, o["interval"], o["week_start"], period.time_zone))
                        for other in returns
                    ]
                hit = {
                    "on": any(n == k for n in numbers),
                    "on-or-after": any(n >= k for n in numbers),
                    "on-or-before": any(n <= k for n in numbers),
                }
                count += hit[o["mode"]]
            found[(cohort.isoformat(), k)] = (len(members), count)
    return found


@pytest.mark.parametrize("piece_rows", [1, 500_000])
def test_retention_equals_brute_force_in_every_mode(
    world: Journeys,
    histories: dict[str, list[tuple[float, str]]],
    monkeypatch: pytest.MonkeyPatch,
    piece_rows: int,
) -> None:
    monkeypatch.setattr(pieces, "PIECE_ROWS", piece_rows)
    end = world.as_of
    assert end is not None
    made = random.Random(3)
    for number in range(36):
        options: dict[str, Any] = {
            "mode": ["on", "on-or-after", "on-or-before"][number % 3],
            "cohorts": made.choice(["first-time", "recurring"]),
            "interval": made.choice(["day", "week", "month"]),
            "rolling": made.random() < 0.4,
            "intervals": made.choice([1, 3, 8]),
            "week_start": made.choice(["monday", "sunday"]),
        }
        period = Period(
            *made.choice([(None, None), (datetime.date(2026, 3, 10), datetime.date(2026, 4, 1))]),
            made.choice(["UTC", "Europe/Helsinki"]),
        )
        back = made.choice([None, "order_completed"])
        question = retention_question(world, "product_viewed", back, scope=Scope(period=period), **options)
        rows = run_retention(world, question).rows
        wanted = brute_force(histories, "product_viewed", back, options, period)
        shown = {(row[1], row[3]): (row[2], row[4]) for row in rows if row[0] and row[2]}
        assert shown == {key: value for key, value in wanted.items() if key in shown}
        assert {cohort for cohort, k in shown if k == 0} == {cohort for cohort, k in wanted}
        missing = {key for key in wanted if key not in shown}
        zone = ZoneInfo(period.time_zone)
        for cohort, k in missing:  # only those that lie in the future
            begin = datetime.date.fromisoformat(cohort)
            moment = datetime.datetime.combine(begin, datetime.time(), zone)
            if options["rolling"]:
                moment = moment.astimezone(datetime.UTC) + datetime.timedelta(seconds=k * LENGTH[options["interval"]])
            else:
                moment = datetime.datetime.combine(after(begin, options["interval"], k), datetime.time(), zone)
            assert moment > end, (cohort, k, options)
        for k in range(options["intervals"] + 1):
            complete = [row for row in rows if row[0] and row[3] == k and row[6]]
            overall = [row for row in rows if row[0] == 0 and row[3] == k]
            total = sum(row[2] for row in complete)
            assert [row[2:3] + row[4:5] for row in overall] == (
                [[total, sum(row[4] for row in complete)]] if total else []
            )


@pytest.fixture(scope="module")
def example(built: Callable[..., Journeys], new_history: Callable[[], Callable[..., Any]]) -> Journeys:
    """The example of docs/definitions.md: Monday the 2nd is day 0."""
    event = new_history()
    days = {"aino": (0, 1, 8, 15), "eino": (0, 15), "veikko": (7, 8, 9)}
    return built(
        [
            event("product_viewed", day * 86400, user_id=person, device="phone" if person == "aino" else "computer")
            for person, listed in days.items()
            for day in listed
        ]
    )


def test_the_example_of_retention(example: Journeys) -> None:
    result = run_retention(example, retention_question(example, None, None, intervals=2))
    assert result.rows == [
        [0, "(all)", 3, 0, 2, 0.666667, True],
        [0, "(all)", 2, 1, 1, 0.5, True],
        [1, "2026-03-02", 2, 0, 1, 0.5, True],
        [1, "2026-03-02", 2, 1, 1, 0.5, True],
        [1, "2026-03-02", 2, 2, 2, 1.0, False],
        [2, "2026-03-09", 1, 0, 1, 1.0, True],
        [2, "2026-03-09", 1, 1, 0, 0.0, False],
    ]
    after = run_retention(example, retention_question(example, None, None, intervals=2, mode="on-or-after"))
    assert [row[4] for row in after.rows if row[0] == 1] == [2, 2, 2]


def test_the_example_of_lifecycle_and_stickiness(example: Journeys) -> None:
    result = run_lifecycle(example, activity_question(example, None, interval="week"))
    assert [row[1:] for row in result.rows] == [
        ["2026-03-02", 2, 2, 0, 0, 0, None, True],
        ["2026-03-09", 2, 1, 1, 0, 1, 1.0, True],
        ["2026-03-16", 2, 0, 1, 1, 1, 1.0, False],
    ]
    sticky = run_stickiness(example, activity_question(example, None, interval="day"))
    assert sticky.rows == [
        [1, 0, 0.0, 3, 1.0],
        [2, 1, 0.333333, 3, 1.0],
        [3, 1, 0.333333, 2, 0.666667],
        [4, 1, 0.333333, 1, 0.333333],
    ]


def test_parts_and_the_period_before(example: Journeys) -> None:
    week = Period(datetime.date(2026, 3, 9), datetime.date(2026, 3, 16))
    by_device = run_lifecycle(example, activity_question(example, None, scope=Scope(breakdown="device")))
    assert [row[:4] for row in by_device.rows if row[1] == 2] == [
        ["computer", 2, "2026-03-09", 1],
        ["phone", 2, "2026-03-09", 1],
    ]
    scope = Scope(period=week, previous=True)
    before = run_lifecycle(example, activity_question(example, None, scope=scope))
    assert before.rows == [[1, "2026-03-09", 2, 1, 1, 0, 1, 1.0, True, 2, 0.0]]
    kept = run_retention(example, retention_question(example, None, None, intervals=1, scope=scope))
    assert [row[4:] for row in kept.rows if row[0] == 1] == [[1, 1.0, True, 0.5, 1.0], [0, 0.0, False, 0.5, -1.0]]
    segment = Scope(segments=("did:order_completed", "not did:order_completed"))
    with pytest.raises(AnalyticsError, match="nobody is in the segment"):
        run_stickiness(example, activity_question(example, None, scope=segment))
    with pytest.raises(AnalyticsError, match="counts person or account"):
        run_retention(example, retention_question(example, None, None, scope=Scope(unit="session")))


def test_nothing_there_is_an_answer_without_rows(example: Journeys) -> None:
    none = retention_question(example, "order_completed", None)
    assert run_retention(example, none).rows == []
    assert run_stickiness(example, activity_question(example, "order_completed")).rows == []
    far = Scope(period=Period(datetime.date(2030, 1, 1), datetime.date(2030, 2, 1)))
    assert run_retention(example, retention_question(example, None, None, scope=far)).rows == []
    assert run_lifecycle(example, activity_question(example, None, scope=far)).rows == []
    with pytest.raises(UnknownNameError, match="Did you mean product_viewed"):
        retention_question(example, "product_view", None)
    with pytest.raises(AnalyticsError, match="at least one interval"):
        retention_question(example, None, None, intervals=0)


def test_lifecycle_and_stickiness_equal_brute_force(
    world: Journeys, histories: dict[str, list[tuple[float, str]]]
) -> None:
    period = Period(None, None, "Europe/Helsinki")
    question = activity_question(world, None, interval="week", scope=Scope(period=period))
    weeks: dict[str, set[datetime.date]] = {
        person: {
            begin_of(START + datetime.timedelta(seconds=at), "week", "monday", "Europe/Helsinki") for at, _ in events
        }
        for person, events in histories.items()
    }
    for _, begins, active, new, returning, resurrecting, dormant, _, _ in run_lifecycle(world, question).rows:
        week = datetime.date.fromisoformat(begins)
        before = week - datetime.timedelta(days=7)
        here = [places for places in weeks.values() if week in places]
        assert active == len(here)
        assert new == sum(min(places) == week for places in here)
        assert returning == sum(before in places for places in here)
        assert resurrecting == sum(before not in places and min(places) < week for places in here)
        assert dormant == sum(before in places and week not in places for places in weeks.values())
    for number, count, _, at_least, _ in run_stickiness(world, question).rows:
        assert count == sum(len(places) == number for places in weeks.values())
        assert at_least == sum(len(places) >= number for places in weeks.values())


def test_intervals_are_those_of_the_calendar_also_when_the_clocks_change() -> None:
    noon = datetime.datetime(2026, 3, 28, 12, tzinfo=datetime.UTC)
    days = calendar(noon, noon + datetime.timedelta(days=2), "day", "Europe/Helsinki", "monday")
    assert np.diff(days.begins).tolist() == [24 * 3600 * 10**6, 23 * 3600 * 10**6, 24 * 3600 * 10**6]
    assert days.even_length is None
    months = calendar(noon, noon + datetime.timedelta(days=40), "month", "UTC", "monday")
    assert [day.isoformat() for day in months.days] == ["2026-03-01", "2026-04-01", "2026-05-01", "2026-06-01"]
    assert count_lifecycle(Activity(np.empty(0, np.int64), np.empty(0, np.int64), 0), 2).tolist() == [[0, 0]] * 4


@pytest.fixture(scope="module")
def late_comers(built: Callable[..., Journeys], new_history: Callable[[], Callable[..., dict[str, Any]]]) -> Journeys:
    """Weeks from the 2nd of March on: 3 people come first in the second, 2 in the third, 1 in the fourth.

    One of those of the third shares, all of the others do not.
    """
    event, week = new_history(), 7 * 86_400
    rows = [
        event("product_viewed", number * week + 10 * person, user_id=f"p{number}{person}")
        for number, people in ((1, 3), (2, 2), (3, 1))
        for person in range(people)
    ]
    rows.append(event("share_clicked", 2 * week + 100, user_id="p20"))
    return built(rows)


def test_intervals_are_compared_by_where_they_lie_in_the_period(late_comers: Journeys) -> None:
    """The data begins in the second week of the fortnight before: it is that of the second week, not of the first."""
    fortnight = Period(datetime.date(2026, 3, 16), datetime.date(2026, 3, 30))
    scope = Scope(period=fortnight, previous=True)
    active = run_lifecycle(late_comers, activity_question(late_comers, None, scope=scope)).dicts()
    assert [(row["interval"], row["active"], row["previous"]) for row in active] == [(1, 2, 0), (2, 1, 3)]
    back = run_retention(late_comers, retention_question(late_comers, None, None, intervals=1, scope=scope)).dicts()
    assert [(row["cohort_number"], row["size"], row["previous"]) for row in back if row["interval"] == 0][-2:] == [
        (1, 2, None),
        (2, 1, 0.0),
    ]


def test_segments_are_compared_week_by_week(late_comers: Journeys) -> None:
    """Nobody of those who share was there in the first week that has anybody."""
    scope = Scope(segments=("did:share_clicked", "not did:share_clicked"))
    active = run_lifecycle(late_comers, activity_question(late_comers, None, scope=scope)).dicts()
    told = [(row["segment"], row["begins"], row["active"], row["other"]) for row in active]
    assert told == [
        ("did:share_clicked", "2026-03-16", 1, 1),
        ("did:share_clicked", "2026-03-23", 0, 1),
        ("not did:share_clicked", "2026-03-09", 3, None),
        ("not did:share_clicked", "2026-03-16", 1, 1),
        ("not did:share_clicked", "2026-03-23", 1, 0),
    ]
    back = run_retention(late_comers, retention_question(late_comers, None, None, intervals=1, scope=scope)).dicts()
    shares = [(row["segment"][:3], row["cohort"], row["share"], row["other"]) for row in back if row["interval"] == 0]
    assert [share for share in shares if share[1] != "(all)"] == [
        ("did", "2026-03-16", 1.0, 0.0),
        ("not", "2026-03-09", 0.0, None),
        ("not", "2026-03-16", 0.0, 1.0),
        ("not", "2026-03-23", 0.0, None),
    ]
