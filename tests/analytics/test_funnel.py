"""The funnel against its definition: ClickHouse's measured answers, and every possible attempt tried out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polku_analytics.analyses.funnel import FunnelOutcome, Reentry, count_funnel, funnel_question, run_funnel
from polku_analytics.analyses.scope import Scope
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.result import parse_window, window_text
from polku_schemas import Plan

History = list[tuple[int, str]]


def outcome(
    histories: Sequence[History],
    steps: Sequence[str],
    window: int,
    *,
    reentry: Reentry = "any",
    optional: Sequence[bool] | None = None,
    as_of: int | None = None,
) -> FunnelOutcome:
    rows = [
        (unit, at, name) for unit, history in enumerate(histories) for at, name in sorted(history, key=lambda e: e[0])
    ]
    rows = [row for row in rows if row[2] in steps]
    return count_funnel(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.int64),
        [np.array([row[2] == step for row in rows], dtype=bool) for step in steps],
        optional=optional or [False] * len(steps),
        window_microseconds=window,
        reentry=reentry,
        as_of_microseconds=as_of,
    )


def level(history: History, steps: str, window: int = 100, reentry: Reentry = "any") -> int:
    return sum(outcome([history], list(steps), window, reentry=reentry).counts)


@pytest.mark.parametrize(
    ("history", "steps", "expected"),
    [
        ([(0, "A"), (100, "B")], "AB", 2),
        ([(0, "A"), (101, "B")], "AB", 1),
        ([(5, "B"), (5, "A")], "AB", 2),
        ([(0, "A")], "AA", 2),
        ([(0, "A"), (1, "X"), (2, "B")], "AB", 2),
        ([(0, "A"), (1, "C"), (2, "B")], "ABC", 2),
        ([(0, "A"), (1, "B"), (2, "B"), (3, "C")], "ABC", 3),
        ([(0, "A"), (60, "A"), (120, "B")], "AB", 2),
        ([(0, "B"), (1, "A")], "AB", 1),
        ([], "AB", 0),
    ],
)
def test_answers_measured_on_clickhouse_window_funnel(history: History, steps: str, expected: int) -> None:
    assert level(history, steps) == expected


def test_only_the_first_start_counts_with_reentry_first() -> None:
    assert level([(0, "A"), (60, "A"), (120, "B")], "AB", reentry="first") == 1


def brute_force(history: History, steps: Sequence[str], window: int, reentry: Reentry) -> list[tuple[int, int] | None]:
    """Per step: (start of the attempt, time of the step) of the first time it is reached, by trying every chain."""
    reached: list[tuple[int, int] | None] = []
    first = min((at for at, name in history if name == steps[0]), default=None)
    for depth in range(1, len(steps) + 1):
        matching = [[at for at, name in history if name == step] for step in steps[:depth]]
        chains = [
            (chain[-1], -chain[0])
            for chain in itertools.product(*matching)
            if list(chain) == sorted(chain)
            and chain[-1] - chain[0] <= window
            and (reentry == "any" or chain[0] == first)
        ]
        best = min(chains, default=None)
        reached.append(None if best is None else (-best[1], best[0]))
    return reached


histories = st.lists(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from("ABCX")), max_size=9), min_size=1, max_size=6
)
step_lists = st.lists(st.sampled_from("ABC"), min_size=2, max_size=4)


@settings(max_examples=400, deadline=None)
@given(histories, step_lists, st.integers(1, 9), st.sampled_from(["any", "first"]), st.integers(12, 20))
def test_the_funnel_equals_trying_out_every_attempt(
    people: list[History], steps: list[str], window: int, reentry: Reentry, as_of: int
) -> None:
    found = outcome(people, steps, window, reentry=reentry, as_of=as_of)

    tried = [brute_force(history, steps, window, reentry) for history in people]
    for number in range(len(steps)):
        here = [person[number] for person in tried if person[number] is not None]
        assert found.counts[number] == len(here)
        if number and here:
            seconds = median(at - start for start, at in here) / 1e6
            assert found.median_seconds[number] == pytest.approx(seconds, abs=1e-6)
        stopped = [
            history
            for history, person in zip(people, tried, strict=True)
            if person[number] is not None and number + 1 < len(steps) and person[number + 1] is None
        ]
        starts = [[at for at, name in history if name == steps[0]] for history in stopped]
        pick = max if reentry == "any" else min
        waiting = sum(pick(times) + window > as_of for times in starts)
        assert found.still_in_window[number] == waiting
        assert found.dropped[number] == len(stopped) - waiting


@settings(max_examples=100, deadline=None)
@given(histories, st.integers(1, 9))
def test_an_optional_step_holds_nobody_back(people: list[History], window: int) -> None:
    with_optional = outcome(people, ["A", "B", "C"], window, optional=[False, True, False])

    assert with_optional.counts[0::2] == outcome(people, ["A", "C"], window).counts
    assert with_optional.counts[1] == outcome(people, ["A", "B"], window).counts[1]


def test_seventy_steps_are_counted_like_two() -> None:
    steps = [f"s{number}" for number in range(70)]
    assert outcome([list(enumerate(steps))], steps, 100).counts == [1] * 70


def test_time_from_the_previous_step_is_from_its_latest_event() -> None:
    found = outcome([[(0, "A"), (2_000_000, "A"), (3_000_000, "B"), (9_000_000, "C")]], ["A", "B", "C"], 100_000_000)
    assert found.median_seconds == [None, 1.0, 7.0]
    assert found.median_seconds_from_previous == [None, 1.0, 6.0]


def rows(journeys: Journeys, *steps: str, **options: Any) -> list[tuple[str, int]]:
    result = run_funnel(journeys, funnel_question(journeys, steps, **options))
    return [(row[1], row[2]) for row in result.rows]


@pytest.fixture(scope="module")
def shop(built: Callable[..., Journeys], new_history: Callable[[], Callable[..., Any]]) -> Journeys:
    """Three visitors: one buys within the day, one after a week, one adds something cheap and is still looking."""
    event = new_history()
    return built(
        [
            event("product_viewed", 0, anonymous_id="a", session_id="s1", price=20.0),
            event("product_added", 60, anonymous_id="a", session_id="s1", price=20.0),
            event("order_completed", 120, anonymous_id="a", session_id="s1", order_id="o1", revenue=20.0),
            event("product_viewed", 0, anonymous_id="b", session_id="s2", price=5.0),
            event("product_added", 30, anonymous_id="b", session_id="s2", price=30.0),
            event("order_completed", 7 * 86400 + 1, anonymous_id="b", session_id="s3", order_id="o2", revenue=30.0),
            event("product_viewed", 7 * 86400, anonymous_id="c", session_id="s4", price=5.0),
            event("product_added", 7 * 86400, anonymous_id="c", session_id="s4", price=5.0),
        ]
    )


def test_a_funnel_over_built_tables(shop: Journeys) -> None:
    question = funnel_question(shop, ["product_viewed", "product_added", "order_completed"])
    result = run_funnel(shop, question)

    assert [row[2] for row in result.rows] == [3, 3, 1]
    assert [row[3] for row in result.rows] == [None, 1.0, 0.333333]
    dropped, waiting = [[row[i] for row in result.rows] for i in (7, 8)]
    assert dropped == [0, 1, 0]  # b's seven days have passed by one second …
    assert waiting == [0, 1, 0]  # … c's have not
    assert result.coverage["people"] == 3
    assert result.coverage["still_in_window"] == 1
    assert result.window == "7d"
    assert "ORDER BY unit" in result.sql


def test_window_unit_and_period_change_the_answer(shop: Journeys) -> None:
    steps = ("product_viewed", "product_added", "order_completed")
    assert rows(shop, *steps, window_seconds=8 * 86400)[2][1] == 2
    assert rows(shop, *steps, window_seconds=8 * 86400, scope=Scope(unit="session")) == [
        *zip(steps, (3, 3, 1), strict=True)
    ]


def test_steps_may_be_conditions_stages_touchpoints_and_aliases(shop: Journeys) -> None:
    assert rows(shop, "product_viewed[price >= 20]", "order_completed") == [
        ("product_viewed[price >= 20]", 1),
        ("order_completed", 1),
    ]
    assert rows(shop, "stage:interest", "touchpoint:order", window_seconds=8 * 86400) == [
        ("stage:interest", 3),
        ("touchpoint:order", 2),
    ]
    assert rows(shop, "Product Viewed", "order_completed[order_id=o1]")[1][1] == 1


def test_a_saved_funnel_brings_its_steps_window_and_conditions(shop: Journeys) -> None:
    result = run_funnel(shop, funnel_question(shop, ["buying"]))

    assert [(row[1], row[2], row[9]) for row in result.rows] == [
        ("product_viewed", 3, False),
        ("products_searched", 0, True),
        ("product_added[price > 10]", 2, False),
        ("order_completed", 1, False),
    ]
    assert result.window == "1d"
    assert result.options["funnel"] == "buying"


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (["product_view", "order_completed"], "unknown event 'product_view'. Did you mean product_viewed"),
        (["stage:intrest", "order_completed"], "unknown stage 'intrest'. Did you mean interest"),
        (["touchpoint:basket", "order_completed"], "unknown touchpoint 'basket'"),
        (["product_viewed[prise > 1]", "order_completed"], "unknown property 'prise'. Did you mean price"),
        (["byuing"], "unknown saved funnel or event 'byuing'. Did you mean buying"),
    ],
)
def test_unknown_names_list_near_matches(shop: Journeys, steps: list[str], words: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        funnel_question(shop, steps)
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


def test_what_cannot_be_read_says_so(shop: Journeys) -> None:
    with pytest.raises(AnalyticsError, match=r"at least two steps.*Saved funnels: buying"):
        funnel_question(shop, ["product_viewed"])
    with pytest.raises(AnalyticsError, match="`price` is a number"):
        funnel_question(shop, ["product_viewed[price > much]", "order_completed"])
    with pytest.raises(AnalyticsError, match="not a length of time"):
        parse_window("soon")


def test_windows_are_written_as_they_are_read() -> None:
    assert [window_text(parse_window(text)) for text in ("90s", "30m", "12h", "7d", "2w")] == [
        "90s",
        "30m",
        "12h",
        "7d",
        "14d",
    ]


def test_an_event_of_the_plan_that_never_happened_counts_nobody(shop: Journeys, plan: Plan) -> None:
    assert rows(shop, "share_clicked", "order_completed") == [("share_clicked", 0), ("order_completed", 0)]
