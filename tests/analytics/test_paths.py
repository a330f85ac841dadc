"""Paths against their definition, written out one journey after the other."""

from __future__ import annotations

import datetime
import itertools
from collections import Counter
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polku_analytics.analyses import paths
from polku_analytics.analyses.paths import LEFT, PathsQuestion, count_paths, run_paths
from polku_analytics.analyses.scope import Scope
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.period import Period

OTHER, MIDDLE, END = 4, 5, 6
Journey = list[tuple[int, int]]


def counted(journeys: list[Journey], persons: list[int], **options: Any) -> list[tuple[Any, ...]]:
    rows = [(unit, persons[unit], at, item) for unit, journey in enumerate(journeys) for at, item in journey]
    columns = [np.array([row[i] for row in rows], dtype=np.int64) for i in range(4)]
    return sorted(count_paths(*columns, item_count=4, **options).edges)


def by_hand(
    journeys: list[Journey],
    persons: list[int],
    *,
    start: int | None,
    end: int | None,
    collapse: bool,
    top: int,
    max_steps: int,
) -> list[tuple[Any, ...]]:
    kept: list[tuple[int, list[tuple[int, int | None, int]], bool]] = []
    for unit, journey in enumerate(journeys):
        path = [e for i, e in enumerate(journey) if not collapse or i == 0 or journey[i - 1][1] != e[1]]
        if start is not None:
            where = [i for i, (_, item) in enumerate(path) if item == start]
            path = path[where[0] :] if where else []
        if end is not None:
            where = [i for i, (_, item) in enumerate(path) if item == end and (start is None or i > 0)]
            path = path[: where[0] + 1] if where else []
        if not path:
            continue
        steps = [(n, at, item) for n, (at, item) in enumerate(path, start=1)]
        if start is not None and end is not None and len(path) > max_steps:
            steps = [*steps[: max_steps - 2], (max_steps - 1, None, MIDDLE), (max_steps, path[-1][0], path[-1][1])]
        elif start is None and end is not None:
            shift = max_steps - len(path)
            steps = [(n + shift, at, item) for n, at, item in steps][-max_steps:]
        ends = end is None and len(path) < max_steps
        kept.append((persons[unit], steps[:max_steps], ends))
    pinned = {start, end} - {None}
    passed = Counter(item for _, steps, _ in kept for _, _, item in steps if item != MIDDLE and item not in pinned)
    ranked = sorted(passed, key=lambda item: (-passed[item], item))[:top]
    keep_names = {*ranked, *pinned, MIDDLE}
    edges: dict[tuple[int, int, int], list[tuple[int, float | None]]] = {}
    for person, steps, ends in kept:
        named = [(n, at, item if item in keep_names else OTHER) for n, at, item in steps]
        for (n, t0, a), (_, t1, b) in itertools.pairwise(named):
            gap = None if t0 is None or t1 is None else t1 - t0
            edges.setdefault((n, a, b), []).append((person, gap))
        if ends:
            edges.setdefault((named[-1][0], named[-1][2], END), []).append((person, None))
    rows = []
    for (n, a, b), seen in edges.items():
        gaps = [gap for _, gap in seen if gap is not None]
        seconds = round(median(gaps) / 1e6, 6) if gaps else None
        rows.append((n, a, b, len(seen), len({person for person, _ in seen}), seconds))
    return sorted(rows)


@settings(max_examples=250)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 50_000_000), st.integers(0, 3)), min_size=1, max_size=9),
        min_size=1,
        max_size=6,
    ),
    st.one_of(st.none(), st.integers(0, 3)),
    st.one_of(st.none(), st.integers(0, 3)),
    st.booleans(),
    st.integers(1, 4),
    st.integers(3, 6),
    st.sampled_from([1, 7, 500_000]),
    st.booleans(),
)
def test_paths_equal_writing_out_every_journey(
    journeys: list[Journey],
    start: int | None,
    end: int | None,
    collapse: bool,
    top: int,
    max_steps: int,
    piece_rows: int,
    backwards: bool,
) -> None:
    journeys = [sorted(journey, key=lambda e: e[0]) for journey in journeys]
    persons = [(-unit if backwards else unit) // 2 for unit in range(len(journeys))]
    options: dict[str, Any] = {"start": start, "end": end, "collapse": collapse, "top": top, "max_steps": max_steps}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "_PIECE_ROWS", piece_rows)
        found = counted(journeys, persons, **options)
    assert found == by_hand(journeys, persons, **options)


def test_no_journeys_have_no_edges() -> None:
    assert counted([], [], start=None, end=None, collapse=True, top=3, max_steps=4) == []


@pytest.fixture(scope="module")
def shop(built: Callable[..., Journeys], new_history: Callable[[], Callable[..., Any]]) -> Journeys:
    event = new_history()
    return built(
        [
            event("ad_clicked", 0, anonymous_id="a", session_id="s1"),
            event("product_viewed", 10, anonymous_id="a", session_id="s1"),
            event("product_viewed", 20, anonymous_id="a", session_id="s1"),
            event("order_completed", 40, anonymous_id="a", session_id="s1", order_id="1", revenue=1.0),
            event("product_viewed", 9000, anonymous_id="a", session_id="s2"),
            event("ad_clicked", 0, anonymous_id="b", session_id="s3"),
            event("products_searched", 30, anonymous_id="b", session_id="s3"),
        ]
    )


def test_paths_over_built_tables(shop: Journeys) -> None:
    result = run_paths(shop, PathsQuestion())

    assert result.rows == [
        [1, "ad", "product", 1, 1, 10.0],
        [1, "ad", "search", 1, 1, 30.0],
        [1, "product", LEFT, 1, 1, None],
        [2, "product", "order", 1, 1, 30.0],
        [2, "search", LEFT, 1, 1, None],
        [3, "order", LEFT, 1, 1, None],
    ]
    assert result.coverage["paths"] == 3
    assert result.coverage["people_on_paths"] == 2


def test_a_path_is_of_the_period_alone(built: Callable[..., Journeys], event: Callable[..., Any]) -> None:
    """What somebody does after the period is not looked at: (left) says how far the days asked about go."""
    day = 86_400
    journeys = built(
        [
            event("ad_clicked", 0, user_id="a"),
            event("product_viewed", 10, user_id="a"),
            event("product_added", day, user_id="a"),
            event("order_completed", day + 5, user_id="a", order_id="1", revenue=1.0),
        ]
    )
    monday, tuesday, wednesday = (datetime.date(2026, 3, number) for number in (2, 3, 4))

    def edges(since: datetime.date, until: datetime.date) -> list[Any]:
        scope = Scope(unit="person", period=Period(since, until))
        return [row[:3] for row in run_paths(journeys, PathsQuestion(scope=scope)).rows]

    assert edges(monday, tuesday) == [[1, "ad", "product"], [2, "product", LEFT]]
    assert edges(tuesday, wednesday) == [[1, "cart", "order"], [2, "order", LEFT]]
    assert edges(monday, wednesday)[1:3] == [[2, "product", "cart"], [3, "cart", "order"]]


def test_people_paths_run_through_sessions_and_end_where_asked(shop: Journeys) -> None:
    person = run_paths(shop, PathsQuestion(scope=Scope(unit="person")))
    assert [3, "order", "product", 1, 1, 8960.0] in person.rows

    to_order = run_paths(shop, PathsQuestion(by="event", end="order_completed", max_steps=3))
    assert [row[:4] for row in to_order.rows] == [
        [1, "ad_clicked", "product_viewed", 1],
        [2, "product_viewed", "order_completed", 1],
    ]


def test_staged_paths_leave_out_what_the_plan_does_not_place(
    built: Callable[..., Journeys], event: Callable[..., Any]
) -> None:
    journeys = built(
        [
            event("ad_clicked", 0, anonymous_id="a"),
            event("logged_out", 5, anonymous_id="a", user_id="u"),
            event("product_viewed", 9, anonymous_id="x", user_id="u"),
        ]
    )

    assert [row[1:4] for row in run_paths(journeys, PathsQuestion(scope=Scope(unit="person"))).rows][:2] == [
        ["ad", "account", 1],
        ["account", "product", 1],
    ]
    staged = run_paths(journeys, PathsQuestion(scope=Scope(unit="person"), staged=True))
    assert staged.rows[0] == [1, "ad", "product", 1, 1, 9.0]


def test_names_that_nobody_knows_are_errors_with_near_matches(shop: Journeys) -> None:
    with pytest.raises(UnknownNameError, match=r"unknown touchpoint 'prodct'\. Did you mean product"):
        run_paths(shop, PathsQuestion(start="prodct"))
    with pytest.raises(UnknownNameError, match="Did you mean order_completed"):
        run_paths(shop, PathsQuestion(by="event", end="order_complete"))
    with pytest.raises(AnalyticsError, match="at least 3 steps"):
        run_paths(shop, PathsQuestion(start="ad", end="order", max_steps=2))
