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

from polku_analytics.analyses.attempts import Excluded, FunnelOutcome, Reentry, Rules, count_funnel
from polku_analytics.analyses.funnel import expected_shares, funnel_question, run_funnel
from polku_analytics.analyses.scope import Scope
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.result import parse_window, window_text
from polku_schemas import Plan

History = list[tuple[int, str]]


def outcome(
    histories: Sequence[History],
    steps: Sequence[str],
    window: int | None,
    *,
    optional: Sequence[bool] | None = None,
    as_of: int | None = None,
    excluded: Sequence[tuple[str, int, int]] = (),
    **rules: Any,
) -> FunnelOutcome:
    rows = [
        (unit, at, name) for unit, history in enumerate(histories) for at, name in sorted(history, key=lambda e: e[0])
    ]
    if rules.get("order") != "strict":
        rows = [row for row in rows if row[2] in {*steps, *(name for name, _, _ in excluded)}]
    bits = [np.array([row[2] == name for row in rows], dtype=bool) for name in [*steps, *(one[0] for one in excluded)]]
    return count_funnel(
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.int64),
        bits[: len(steps)],
        optional=optional or [False] * len(steps),
        as_of_microseconds=as_of,
        rules=Rules(
            window_microseconds=window,
            excluded=tuple(
                Excluded(rows, after, before)
                for rows, (_, after, before) in zip(bits[len(steps) :], excluded, strict=True)
            ),
            **rules,
        ),
    )


def level(history: History, steps: str, window: int = 100, **rules: Any) -> int:
    return sum(outcome([history], list(steps), window, **rules).counts)


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


@settings(max_examples=400)
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


@settings(max_examples=100)
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


@pytest.mark.parametrize(
    ("history", "steps", "rules", "expected"),
    [
        ([(5, "B"), (5, "A")], "AB", {"ties": "strict"}, 1),
        ([(5, "B"), (5, "A")], "AB", {"distinct_events": True}, 2),
        ([(0, "A")], "AA", {"distinct_events": True}, 1),
        ([(0, "A"), (1, "A")], "AA", {"distinct_events": True}, 2),
        ([(0, "A"), (1, "X"), (2, "B")], "AB", {"order": "strict"}, 1),
        ([(0, "A"), (1, "C"), (2, "B")], "AB", {"order": "strict"}, 1),
        ([(0, "A"), (1, "B"), (2, "B"), (3, "C")], "ABC", {"order": "strict"}, 2),
    ],
)
def test_answers_measured_on_clickhouse_with_its_options(
    history: History, steps: str, rules: dict[str, Any], expected: int
) -> None:
    assert level(history, steps, **rules) == expected


Rule = dict[str, Any]


def valid(chain: Sequence[tuple[int, int, str]], history: list[tuple[int, int, str]], rules: Rule, depth: int) -> bool:
    """Whether events (place, time, name), one a step, are an attempt by the definition."""
    pairs = list(itertools.pairwise(chain))
    if rules["order"] == "strict" and any(b[0] != a[0] + 1 for a, b in pairs):
        return False
    if rules["distinct_events"] and rules["order"] == "in-order" and any(b[0] <= a[0] for a, b in pairs):
        return False
    if any(b[1] < a[1] or (rules["ties"] == "strict" and b[1] == a[1]) for a, b in pairs):
        return False
    if rules["window"] is not None and chain[-1][1] - chain[0][1] > rules["window"]:
        return False
    gap = rules["step_window"]
    if gap is not None and any(b[1] - a[1] > gap for a, b in pairs):
        return False
    if rules["reentry"] == "first" and chain[0][0] != rules["first"]:
        return False
    for name, after, before in rules["excluded"]:
        begin, end = chain[after][1] if after < depth else None, chain[min(before, depth - 1)][1]
        if begin is not None and any(begin < at < end for _, at, found in history if found == name):
            return False
    return True


@settings(max_examples=200)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ABCX")), max_size=8), min_size=1, max_size=5),
    st.lists(st.sampled_from("ABC"), min_size=2, max_size=3),
    st.fixed_dictionaries(
        {
            "order": st.sampled_from(["in-order", "strict"]),
            "ties": st.sampled_from(["ordered", "strict"]),
            "distinct_events": st.booleans(),
            "reentry": st.sampled_from(["any", "first"]),
            "window": st.none() | st.integers(1, 7),
            "step_window": st.none() | st.integers(1, 4),
        }
    ),
    st.lists(st.sampled_from([("X", 0, 1), ("X", 0, 2), ("X", 1, 2), ("A", 0, 1), ("C", 0, 2)]), max_size=2),
    st.integers(9, 14),
)
def test_every_option_equals_trying_out_every_attempt(
    people: list[History], steps: list[str], rules: Rule, excluded: list[tuple[str, int, int]], as_of: int
) -> None:
    excluded = [one for one in excluded if one[2] < len(steps) and rules["order"] == "in-order"]
    found = outcome(
        people,
        steps,
        rules["window"],
        as_of=as_of,
        excluded=excluded,
        step_window_microseconds=rules["step_window"],
        **{name: rules[name] for name in ("order", "ties", "distinct_events", "reentry")},
    )

    firsts: list[list[tuple[int, int] | None]] = []
    is_open = []
    for history in people:
        place = (lambda name: steps.index(name) if name in steps else len(steps)) if rules["distinct_events"] else len
        if rules["order"] == "strict":
            place = len
        ordered = sorted(history, key=lambda e: (e[0], place(e[1]) if place is not len else 0))
        events = [(number, at, name) for number, (at, name) in enumerate(ordered)]
        own = {**rules, "excluded": excluded}
        own["first"] = next((number for number, _, name in events if name == steps[0]), None)
        reached: list[tuple[int, int] | None] = []
        may_go_on = False
        for depth in range(1, len(steps) + 1):
            choices = itertools.product(*([one for one in events if one[2] == step] for step in steps[:depth]))
            chains = [
                chain
                for chain in choices
                if all(valid(chain[:part], events, own, part) for part in range(1, depth + 1))
            ]
            best = min(((chain[-1][0], -chain[0][1], chain[-1][1]) for chain in chains), default=None)
            reached.append(None if best is None else (-best[1], best[2]))
            beyond = (len(events), as_of + 1, "later")
            may_go_on |= depth < len(steps) and any(
                valid((*chain, beyond), [*events, beyond], own, depth + 1) for chain in chains
            )
        firsts.append(reached)
        is_open.append(may_go_on)
    for number in range(len(steps)):
        here = [person[number] for person in firsts if person[number] is not None]
        assert found.counts[number] == len(here)
        if number and here:
            assert found.median_seconds[number] == pytest.approx(median(b - a for a, b in here) / 1e6, abs=1e-6)
        if number + 1 < len(steps):
            stopped = [
                may
                for may, person in zip(is_open, firsts, strict=True)
                if person[number] is not None and person[number + 1] is None
            ]
            assert (found.still_in_window[number], found.dropped[number]) == (sum(stopped), len(stopped) - sum(stopped))


@settings(max_examples=150)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ABCX")), max_size=8), min_size=1, max_size=5),
    st.lists(st.sampled_from("ABC"), min_size=2, max_size=3),
    st.none() | st.integers(1, 7),
    st.sampled_from(["any", "first"]),
    st.booleans(),
)
def test_any_order_equals_trying_out_every_set_of_steps(
    people: list[History], steps: list[str], window: int | None, reentry: Reentry, exclude: bool
) -> None:
    excluded = [("X", 0, len(steps) - 1)] if exclude else []
    found = outcome(people, steps, window, order="any", reentry=reentry, excluded=excluded)

    for wanted in range(1, len(steps) + 1):
        firsts = []
        for history in people:
            start = min((at for at, name in history if name in steps), default=None)
            ends = []
            for chosen in itertools.combinations(steps, wanted):
                for chain in itertools.product(*([at for at, name in history if name == step] for step in chosen)):
                    low = min(chain) if reentry == "any" or start is None else start
                    high = max(chain)
                    if window is not None and high - low > window:
                        continue
                    if exclude and any(low < at < high for at, name in history if name == "X"):
                        continue
                    ends.append((high, -low))
            if ends:
                firsts.append(min(ends))
        assert found.counts[wanted - 1] == len(firsts)
        if wanted > 1 and firsts:
            seconds = median(high + low for high, low in firsts) / 1e6
            assert found.median_seconds[wanted - 1] == pytest.approx(seconds, abs=1e-6)


def test_options_over_built_tables(shop: Journeys) -> None:
    steps = ("product_viewed", "product_added", "order_completed")
    assert rows(shop, *steps, step_window_seconds=60) == [*zip(steps, (3, 3, 1), strict=True)]
    assert rows(shop, *steps, step_window_seconds=59)[1:] == [("product_added", 2), ("order_completed", 0)]
    assert rows(shop, "order_completed", "product_viewed", order="any") == [("any 1 of 2", 3), ("any 2 of 2", 1)]
    assert rows(shop, "product_viewed", "order_completed", order="strict") == [
        ("product_viewed", 3),
        ("order_completed", 0),
    ]
    assert rows(shop, "product_viewed", "order_completed", exclude=["product_added[price < 25]"])[1][1] == 0
    assert rows(shop, *steps, exclude=["product_added between 2 and 3"])[2][1] == 1
    broken_down = funnel_question(shop, steps, order="any", scope=Scope(breakdown="channel"))
    assert [row[:4] for row in run_funnel(shop, broken_down).rows][2] == ["web", 3, "any 3 of 3", 1]


def test_what_those_who_drop_out_do_instead(shop: Journeys) -> None:
    steps = ["product_viewed", "product_added", "order_completed"]
    result = run_funnel(shop, funnel_question(shop, steps, drop_off="product_added"))
    assert (result.columns[0], result.rows) == ("next", [["order", 1, 1.0, 604771.0]])  # a second too late
    result = run_funnel(shop, funnel_question(shop, steps, drop_off="product_added", window_seconds=86400))
    assert result.rows == [["(nothing)", 1, 1.0, None]]
    steps = ["product_viewed", "order_completed[revenue > 20]"]
    result = run_funnel(shop, funnel_question(shop, steps, drop_off="1", window_seconds=100))
    assert result.rows == [["cart", 2, 1.0, 45.0]]
    assert result.coverage["dropped"] == 2


def test_how_long_it_takes_and_would_take(shop: Journeys) -> None:
    result = run_funnel(
        shop, funnel_question(shop, ["product_viewed", "order_completed"], show="times", window_seconds=14 * 86400)
    )
    assert [row[:3] for row in result.rows if row[2]] == [["5m", 300, 1], ["14d", 1209600, 1]]
    assert result.rows[-1][3:] == [0.333333, 0.666667, 1.0]
    assert (result.coverage["began"], result.coverage["median_seconds"]) == (3, 302460.5)
    none = funnel_question(shop, ["order_completed", "share_clicked"], show="times")
    assert run_funnel(shop, none).rows == []


def test_the_expected_share_counts_out_those_not_known_of_any_more() -> None:
    at, expected = expected_shares(np.array([1, 2, 2, 4]), np.array([1, 3]))
    # 1 of 6 after 1; then 2 of the 4 that are left; then 1 of 1.
    assert at.tolist() == [1, 2, 4]
    assert expected == pytest.approx([1 / 6, 1 - 5 / 6 * 1 / 2, 1.0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"order": "any", "step_window_seconds": 5}, "window in total"),
        ({"order": "strict", "exclude": ["share_clicked"]}, "exclusions mean nothing"),
        ({"exclude": ["share_clicked between 2 and 1"]}, "do not follow each other"),
        ({"drop_off": "order_completed"}, "nobody drops out at the last step"),
        ({"drop_off": "product_viewd"}, "Did you mean product_viewed"),
        ({"exclude": ["share_clickd"]}, "Did you mean share_clicked"),
    ],
)
def test_options_that_mean_nothing_are_refused(shop: Journeys, options: dict[str, Any], words: str) -> None:
    with pytest.raises(AnalyticsError, match=words):
        funnel_question(shop, ["product_viewed", "order_completed"], **options)
