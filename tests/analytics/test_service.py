"""Contacts, complaints, satisfaction, task times and hours of the week, against counts that share no code."""

from __future__ import annotations

import datetime
import json
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from polku_analytics.analyses.contacts import ContactsQuestion, run_complaints, run_contacts
from polku_analytics.analyses.satisfaction import SatisfactionQuestion, run_bands, run_satisfaction
from polku_analytics.analyses.scope import Scope
from polku_analytics.analyses.survival import median_or_none, percentile_or_none, quantile_seconds
from polku_analytics.analyses.tasks import run_tasks, tasks_of, tasks_question
from polku_analytics.analyses.when import cells_of, run_when, when_question
from polku_analytics.commands import options
from polku_analytics.commands.contacts import contacts
from polku_analytics.commands.satisfaction import satisfaction
from polku_analytics.commands.tasks import tasks
from polku_analytics.commands.when import when
from polku_analytics.errors import UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.period import Period
from polku_analytics.result import AnalysisResult

Make = Callable[..., Any]
DAY = 86_400
NOBODY = Period(datetime.date(2020, 1, 1), datetime.date(2020, 1, 2))


def column(result: AnalysisResult, *names: str) -> list[list[Any]]:
    places = [result.columns.index(name) for name in names]
    return [[row[place] for place in places] for row in result.rows]


@pytest.fixture(scope="module")
def service(new_history: Make, built: Make) -> Journeys:
    event = new_history()
    role = {"agent_role": "service", "contact_reason": "delivery"}
    rows = [
        event("order_completed", 0, user_id="u", order_id="o1", revenue=9.0),
        event("order_delivered", 50, user_id="u", order_id="o1"),
        event("agent_contacted", 100, user_id="u", **role, duration_seconds=60.0, wait_seconds=4.0, resolved=False),
        event("agent_contacted", 200, user_id="u", **role, duration_seconds=120.0, resolved=True),
        event("survey_answered", 300, user_id="u", scale="nps", score=2.0),
        event("agent_contacted", 8 * DAY, user_id="v", agent_role="store", duration_seconds=30.0, resolved=True),
        event("survey_answered", 15 * DAY, user_id="v", scale="nps", score=9.0),  # seven days later, end included
        event("share_clicked", 15 * DAY + 5, user_id="v"),
        event("order_completed", 15 * DAY + 9, user_id="v", order_id="o2", revenue=9.0),
        event("order_completed", 15 * DAY + 10, user_id="v", order_id="o3", revenue=9.0),
        event("agent_contacted", 8 * DAY, user_id="w"),
        event("survey_answered", 15 * DAY + 1, user_id="w", scale="nps", score=9.0),  # a second too late
        event("share_clicked", 10, user_id="w"),
        event("complaint_opened", 400, user_id="u", complaint_id="c1", complaint_topic="delivery"),
        event("complaint_solved", 400 + DAY, user_id="u", complaint_id="c1"),
        event("complaint_opened", 15 * DAY, user_id="w", complaint_id="c2", complaint_topic="price"),
        event("review_submitted", 20 * DAY, user_id="x", rating=3.0),
    ]
    journeys: Journeys = built(rows)
    return journeys


def test_contacts_by_role(service: Journeys) -> None:
    result = run_contacts(service, ContactsQuestion())
    assert result.columns[0] == "agent_role"
    assert [row[:6] for row in result.rows] == [
        ["(all)", 4, 3, 1.333333, 60.0, 108.0],
        ["service", 2, 1, 0.666667, 90.0, 114.0],
        ["(none)", 1, 1, 0.333333, None, None],
        ["store", 1, 1, 0.333333, 30.0, 30.0],
    ]
    assert column(result, "median_wait_seconds", "resolved_share", "repeat_share") == [
        [4.0, 0.666667, 0.25],
        [4.0, 0.5, 0.5],
        [None, None, 0.0],
        [None, 1.0, 0.0],
    ]
    answered = column(result, "answers", "promoter_share", "detractor_share")
    assert answered == [[2, 0.5, 0.5], [1, 0.0, 1.0], [0, None, None], [1, 1.0, 0.0]]


def test_contacts_take_the_scope(service: Journeys) -> None:
    first = Period(datetime.date(2026, 3, 2), datetime.date(2026, 3, 9))
    assert run_contacts(service, ContactsQuestion(scope=Scope(period=first))).rows[0][:3] == ["(all)", 2, 1]
    next_week = Period(datetime.date(2026, 3, 9), datetime.date(2026, 3, 16))
    compared = run_contacts(service, ContactsQuestion(scope=Scope(period=next_week, previous=True)))
    assert column(compared, "agent_role", "contacts", "previous") == [
        ["(all)", 2, 2],
        ["(none)", 1, 0],
        ["store", 1, 0],
        ["service", None, 2],
    ]
    parts = run_contacts(service, ContactsQuestion(by="reason", scope=Scope(segments=("orders >= 2", "orders = 1"))))
    assert [row[:3] for row in parts.rows if row[1] == "(all)"] == [
        ["orders >= 2", "(all)", 1],
        ["orders = 1", "(all)", 2],
    ]
    assert run_contacts(service, ContactsQuestion(scope=Scope(period=NOBODY))).rows == [
        ["(all)", 0, 0, None, None, None, None, None, None, 0, None, None]
    ]
    with pytest.raises(UnknownNameError, match="Did you mean agent_role"):
        run_contacts(service, ContactsQuestion(by="agent_rol"))  # type: ignore[arg-type]


def test_an_answer_is_of_the_last_contact_before_it(new_history: Make, built: Make) -> None:
    """Also where that one lies in another week, and of two at the same moment it is one."""
    event, monday = new_history(), 6.5 * DAY
    said = {"scale": "nps", "score": 10.0}
    journeys = built(
        [
            event("agent_contacted", monday - 600, user_id="u", agent_role="sales"),
            event("agent_contacted", monday, user_id="u", agent_role="care"),
            event("survey_answered", monday + 600, user_id="u", **said),
            event("agent_contacted", monday - 900, user_id="v", agent_role="sales"),
            event("agent_contacted", monday - 900, user_id="v", agent_role="care"),
            event("survey_answered", monday - 600, user_id="v", **said),
        ]
    )
    first = datetime.date(2026, 3, 2)
    weeks = [Period(first + datetime.timedelta(weeks=n), first + datetime.timedelta(weeks=n + 1)) for n in (0, 1)]
    for period, expected in [
        (weeks[0], [["(all)", 3, 1], ["sales", 2, 0], ["care", 1, 1]]),
        (weeks[1], [["(all)", 1, 1], ["care", 1, 1]]),
        (Period(), [["(all)", 4, 2], ["care", 2, 2], ["sales", 2, 0]]),
    ]:
        result = run_contacts(journeys, ContactsQuestion(scope=Scope(period=period)))
        assert column(result, "agent_role", "contacts", "answers") == expected


def test_complaints_count_as_open_until_now(service: Journeys) -> None:
    result = run_complaints(service, Scope())
    assert result.rows == [
        ["(all)", 2, 2, 0.666667, 1, 0.5, 86400.0, None],
        ["delivery", 1, 1, 0.333333, 1, 1.0, 86400.0, 86400.0],
        ["price", 1, 1, 0.333333, 0, 0.0, None, None],
    ]
    assert run_complaints(service, Scope(period=NOBODY)).rows == [["(all)", 0, 0, None, 0, None, None, None]]


def test_scores_by_what_came_before(service: Journeys) -> None:
    result = run_satisfaction(service, SatisfactionQuestion())
    assert result.rows == [
        ["agent_contacted", "nps", 2, 2, 5.5, 1, 0, 1, 0.0],
        ["(none)", "stars", 1, 1, 3.0, 0, 1, 0, 0.0],
        ["complaint_opened", "nps", 1, 1, 9.0, 1, 0, 0, 1.0],
    ]
    by_event = run_satisfaction(service, SatisfactionQuestion(by="event_name", scope=Scope(unit="session")))
    assert column(by_event, "event_name", "answers", "net_share") == [
        ["survey_answered", 3, 0.333333],
        ["review_submitted", 1, 0.0],
    ]
    assert run_satisfaction(service, SatisfactionQuestion(scope=Scope(period=NOBODY))).rows == []


def test_what_people_of_each_band_do_afterwards(service: Journeys) -> None:
    assert run_bands(service, Scope()).rows == [
        ["promoter", 2, 1, 1.0, 1, 0.5, 1, 0.5],
        ["passive", 0, 0, None, 0, None, 0, None],
        ["detractor", 1, 1, 0.0, 0, 0.0, 0, 0.0],
    ]
    by_order = run_bands(service, Scope(segments=("orders >= 2",)), "order_completed")
    assert by_order.rows[0] == ["orders >= 2", "promoter", 1, 1, 1.0, 1, 1.0, 1, 1.0]


def test_task_times_by_hand(service: Journeys) -> None:
    question = tasks_question(service, "order_completed", "order_delivered")
    result = run_tasks(service, question)
    # u took 50 s; v's two orders are one task that runs to the end of the data.
    assert result.rows == [[2, 2, 1, 1, 1, 0.5, 50.0, None, 50.0]]
    limited = tasks_question(service, "order_completed", "order_delivered", limit_seconds=49)
    assert run_tasks(service, limited).rows == [[2, 2, 0, 2, 0, 0.0, None, None, None]]
    side = tasks_question(service, "order_completed", "order_delivered", scope=Scope(segments=("orders = 1",)))
    assert run_tasks(service, side).rows == [["orders = 1", 1, 1, 1, 0, 0, 1.0, 50.0, 50.0, 50.0]]
    empty = tasks_question(service, "order_completed", "order_delivered", scope=Scope(period=NOBODY))
    assert run_tasks(service, empty).rows == [[0, 0, 0, 0, 0, None, None, None, None]]


def test_a_task_that_is_not_decided_is_in_no_share(service: Journeys) -> None:
    """v's task runs at the end of the data: within a limit that is longer, nobody knows yet."""
    week = tasks_question(service, "order_completed", "order_delivered", limit_seconds=100 * DAY)
    assert column(run_tasks(service, week), "tasks", "finished", "unfinished", "open", "share_finished") == [
        [2, 1, 1, 1, 1.0]
    ]


def test_a_start_in_the_period_may_belong_to_a_task_from_before_it(new_history: Make, built: Make) -> None:
    event, monday = new_history(), 6.5 * DAY
    journeys = built(
        [
            event("product_viewed", monday - 600, user_id="u"),
            event("product_viewed", monday + 600, user_id="u"),
            event("order_completed", monday + 1200, user_id="u", order_id="o1", revenue=9.0),
            event("product_viewed", monday + 1800, user_id="u"),
            event("order_completed", monday + 1860, user_id="u", order_id="o2", revenue=9.0),
        ]
    )
    first, second = datetime.date(2026, 3, 2), datetime.date(2026, 3, 9)
    for since, until, seconds in ((first, second, 1800.0), (second, None, 60.0)):
        scope = Scope(period=Period(since, until))
        result = run_tasks(journeys, tasks_question(journeys, "product_viewed", "order_completed", scope=scope))
        assert column(result, "tasks", "finished", "median_seconds") == [[1, 1, seconds]]


a_row = st.tuples(st.integers(0, 2), st.integers(0, 12), st.booleans(), st.booleans())


@given(st.lists(a_row, max_size=14), st.sampled_from([None, 3, 5]))
def test_tasks_are_what_walking_along_gives(rows: Sequence[tuple[int, int, bool, bool]], limit: int | None) -> None:
    ordered = sorted((unit, at, begins, ends) for unit, at, begins, ends in rows if begins or ends)
    expected: Counter[tuple[int, float, bool]] = Counter()
    for unit in range(3):
        mine = [row for row in ordered if row[0] == unit]
        free_from = 0
        while True:
            start = next((i for i in range(free_from, len(mine)) if mine[i][2]), None)
            if start is None:
                break
            begun = mine[start][1]
            # What is later than the limit does not belong to the task any more.
            within = [i for i in range(start + 1, len(mine)) if limit is None or mine[i][1] - begun <= limit]
            end = next((i for i in within if mine[i][3]), None)
            if end is not None:
                expected[unit, float(mine[end][1] - begun), True] += 1
                free_from = end
            else:
                lasted = 20 - begun if limit is None else min(limit, 20 - begun)
                expected[unit, float(lasted), False] += 1
                free_from = start + 1 + len(within)
    found = tasks_of(
        [(unit, at * 1_000_000, int(begins), int(ends)) for unit, at, begins, ends in ordered],
        limit_seconds=limit,
        as_of_microseconds=20_000_000,
    )
    assert Counter((task.unit, task.seconds, task.finished) for task in found) == expected


def survival_by_hand(seconds: Sequence[int], finished: Sequence[bool], share: Fraction) -> int | None:
    alive = Fraction(1)
    for moment in sorted(set(seconds)):
        at_risk = sum(other >= moment for other in seconds)
        ended = sum(over for other, over in zip(seconds, finished, strict=True) if other == moment)
        alive *= 1 - Fraction(ended, at_risk)
        if alive <= 1 - share:
            return moment
    return None


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=20), st.sampled_from([(1, 2), (9, 10), (1, 4)]))
def test_quantiles_are_those_of_the_product_limit(known: list[tuple[int, bool]], share: tuple[int, int]) -> None:
    seconds, finished = [row[0] for row in known], [row[1] for row in known]
    found = quantile_seconds([float(value) for value in seconds], finished, share[0] / share[1])
    assert found == survival_by_hand(seconds, finished, Fraction(*share))


def test_middle_values() -> None:
    assert median_or_none([3.0, 1.0, 2.0, 10.0]) == statistics.median([3, 1, 2, 10])
    assert median_or_none([]) is None and percentile_or_none([], 0.9) is None
    assert percentile_or_none([1.0, 2.0], 0.9) == 1.9


def test_hours_are_those_of_the_clock_also_when_it_changes() -> None:
    night = [datetime.datetime(2026, 3, 29, hour, 30, tzinfo=datetime.UTC) for hour in range(4)]
    microseconds = np.array([int(at.timestamp()) * 1_000_000 for at in night])
    assert (cells_of(microseconds, "Europe/Helsinki") % 24).tolist() == [2, 4, 5, 6]
    assert (cells_of(microseconds, "Asia/Kathmandu") % 24).tolist() == [6, 7, 8, 9]  # 5:45 ahead


@given(st.lists(st.integers(0, 400 * DAY), max_size=20), st.sampled_from(["UTC", "Europe/Helsinki", "Asia/Kathmandu"]))
def test_every_moment_is_in_the_cell_of_its_clock(seconds: list[int], time_zone: str) -> None:
    expected = []
    for second in seconds:
        local = datetime.datetime.fromtimestamp(1_760_000_000 + second, datetime.UTC).astimezone(ZoneInfo(time_zone))
        expected.append(local.weekday() * 24 + local.hour)
    microseconds = np.array([(1_760_000_000 + second) * 1_000_000 for second in seconds], dtype=np.int64)
    assert cells_of(microseconds, time_zone).tolist() == expected


def test_when_counts_each_unit_by_its_rule(service: Journeys) -> None:
    def cells(unit: Any, step: str | None = None) -> dict[tuple[str, int], int]:
        result = run_when(service, when_question(service, step, Scope(unit=unit)))
        assert len(result.rows) == 168
        return {(row[0], row[1]): row[2] for row in result.rows if row[2]}

    assert cells("event", "agent_contacted") == {("Monday", 12): 2, ("Tuesday", 12): 2}
    assert cells("person", "agent_contacted") == {("Monday", 12): 1, ("Tuesday", 12): 2}
    assert cells("session", "agent_contacted") == {("Monday", 12): 1, ("Tuesday", 12): 2}
    assert cells("person", "order_completed") == {("Monday", 12): 1, ("Tuesday", 12): 1}
    nobody = run_when(service, when_question(service, None, Scope(unit="session", period=NOBODY)))
    assert {(row[2], row[3]) for row in nobody.rows} == {(0, None)}


def test_the_commands_print(service: Journeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "load_plan", lambda folder: service.plan)

    def run(command: Any, *arguments: str) -> str:
        result = CliRunner().invoke(command, ["--lake", service.lake.uri, *arguments], standalone_mode=False)
        if result.exception is not None:
            raise result.exception
        return str(result.stdout)

    assert "How do people fare who contact us?" in run(contacts)
    assert "delivery" in run(contacts, "--complaints")
    assert "detractor" in run(satisfaction, "--bands", "--referral", "share_clicked")
    assert json.loads(run(satisfaction, "--by", "about", "--json"))["options"]["by"] == "about"
    assert "Kaplan-Meier" in run(tasks, "order_completed", "order_delivered", "--limit", "1d")
    printed = run(when, "order_completed", "--unit", "event", "--time-zone", "Europe/Helsinki").splitlines()
    monday = next(line.split() for line in printed if line.startswith("Mon"))
    assert monday[1:].count("0") == 23 and monday[15] == "1"  # noon in UTC is 14 h in Helsinki
