"""Two segments side by side: each row has the other segment's measure, and how far the two lie apart."""

from __future__ import annotations

import datetime
import itertools
import random
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

import pytest

from polku_analytics.analyses.funnel import funnel_question, run_funnel
from polku_analytics.analyses.graph import GraphQuestion, run_graph
from polku_analytics.analyses.paths import PathsQuestion, run_paths
from polku_analytics.analyses.retention import retention_question, run_retention
from polku_analytics.analyses.routes import routes_question, run_routes
from polku_analytics.analyses.scope import Scope
from polku_analytics.journeys import Journeys
from polku_analytics.period import Period
from polku_analytics.result import AnalysisResult

NAMES: Final = {"page_viewed": "page", "product_viewed": "product", "product_added": "cart", "share_clicked": "share"}
SEGMENTS: Final = ("did:share_clicked", "not did:share_clicked")
Way = list[tuple[int, str]]


@pytest.fixture(scope="module")
def ways() -> tuple[list[Way], list[Way]]:
    """Of 20 people who share and of 40 who do not: seconds and items, runs of an item as one."""
    made = random.Random(5)

    def one(names: Sequence[str]) -> Way:
        times = sorted(made.sample(range(30 * 86400), made.randrange(2, 8)))
        found = [(at, made.choice(names)) for at in times]
        return [event for n, event in enumerate(found) if n == 0 or found[n - 1][1] != event[1]]

    sharing: list[Way] = []
    while len(sharing) < 20:
        way = one(list(NAMES))
        if any(name == "share_clicked" for _, name in way):
            sharing.append(way)
    return sharing, [one(list(NAMES)[:3]) for _ in range(40)]


@pytest.fixture(scope="module")
def world(
    built: Callable[..., Journeys],
    new_history: Callable[[], Callable[..., dict[str, Any]]],
    ways: tuple[list[Way], list[Way]],
) -> Journeys:
    event = new_history()
    people = enumerate([*ways[0], *ways[1]])
    return built([event(name, at, user_id=f"p{number:02}") for number, way in people for at, name in way])


def beside(result: AnalysisResult, keys: int) -> dict[str, dict[Any, tuple[Any, Any, Any]]]:
    """Segment → key → other, difference, rate difference."""
    assert result.columns[-3:] == ["other", "difference", "rate_difference"]
    found: dict[str, dict[Any, tuple[Any, Any, Any]]] = {segment: {} for segment in SEGMENTS}
    for row in result.rows:
        key = row[1] if keys == 1 else tuple(row[1 : 1 + keys])
        found[row[0]][key] = tuple(row[-3:])
    return found


def expected(
    counts: tuple[Mapping[Any, int], Mapping[Any, int]], wholes: tuple[int, int], shown: int | None = None
) -> list[dict[Hashable, Any]]:
    """The same by hand, of each segment's largest rows."""
    found = []
    for own, other in ((0, 1), (1, 0)):
        mine, theirs = counts[own], counts[other]
        keys = sorted(mine, key=lambda key: (-mine[key], key))[:shown]
        found.append(
            {
                key: (
                    theirs.get(key, 0),
                    mine[key] - theirs.get(key, 0),
                    pytest.approx(mine[key] / wholes[own] - theirs.get(key, 0) / wholes[other], abs=1e-6),
                )
                for key in keys
            }
        )
    return found


def pairs(way: Way) -> list[tuple[str, str]]:
    items = ["(begin)", *(NAMES[name] for _, name in way), "(end)"]
    return list(itertools.pairwise(items))


@pytest.mark.parametrize("top", [50, 3])
def test_graphs_differ_by_edges_also_by_those_that_the_other_one_does_not_show(
    world: Journeys, ways: tuple[list[Way], list[Way]], top: int
) -> None:
    counts = (Counter(e for way in ways[0] for e in pairs(way)), Counter(e for way in ways[1] for e in pairs(way)))
    result = run_graph(world, GraphQuestion(top=top, scope=Scope(unit="person", segments=SEGMENTS)))
    found = beside(result, 2)
    assert [found[segment] for segment in SEGMENTS] == expected(counts, (20, 40), top)


def test_variants_and_loops_differ(world: Journeys, ways: tuple[list[Way], list[Way]]) -> None:
    variants = tuple(Counter(" → ".join(NAMES[name] for _, name in way) for way in group) for group in ways)
    scope = Scope(unit="person", segments=SEGMENTS)
    found = beside(run_graph(world, GraphQuestion(show="variants", top=4, scope=scope)), 1)
    assert [found[segment] for segment in SEGMENTS] == expected((variants[0], variants[1]), (20, 40), 4)
    returns: list[Counter[str]] = [Counter(), Counter()]
    for group, count in zip(ways, returns, strict=True):
        for way in group:
            for name, times in Counter(NAMES[name] for _, name in way).items():
                count[name] += times - 1
    found = beside(run_graph(world, GraphQuestion(show="loops", scope=scope)), 1)
    wanted = [Counter({name: times for name, times in count.items() if times}) for count in returns]
    assert [found[segment] for segment in SEGMENTS] == expected((wanted[0], wanted[1]), (20, 40))


def test_paths_differ_and_have_the_same_items_by_name(world: Journeys, ways: tuple[list[Way], list[Way]]) -> None:
    steps = 3
    seen = Counter(NAMES[name] for way in ways[0] for _, name in way[:steps])
    named = sorted(seen, key=lambda item: (-seen[item], item))[:2]
    counts: list[Counter[tuple[int, str, str]]] = [Counter(), Counter()]
    for group, count in zip(ways, counts, strict=True):
        for way in group:
            items = [NAMES[name] if NAMES[name] in named else "(other)" for _, name in way]
            items += ["(left)"] if len(items) < steps else []
            count.update((n + 1, a, b) for n, (a, b) in enumerate(itertools.pairwise(items[:steps])))
    scope = Scope(unit="person", segments=SEGMENTS)
    found = beside(run_paths(world, PathsQuestion(top=2, max_steps=steps, scope=scope)), 3)
    assert [found[segment] for segment in SEGMENTS] == expected((counts[0], counts[1]), (20, 40))


def test_funnels_differ(world: Journeys, ways: tuple[list[Way], list[Way]]) -> None:
    counts: list[dict[int, int]] = []
    for group in ways:
        first = [way for way in group if any(name == "page_viewed" for _, name in way)]
        both = [
            way
            for way in first
            if any(name == "product_added" and at >= min(t for t, n in way if n == "page_viewed") for at, name in way)
        ]
        counts.append({1: len(first), 2: len(both)})
    scope = Scope(segments=SEGMENTS)
    question = funnel_question(world, ["page_viewed", "product_added"], window_seconds=60 * 86400, scope=scope)
    found = beside(run_funnel(world, question), 1)
    assert [found[segment] for segment in SEGMENTS] == expected((counts[0], counts[1]), (counts[0][1], counts[1][1]))


def test_routes_differ(world: Journeys, ways: tuple[list[Way], list[Way]]) -> None:
    counts: list[Counter[str]] = [Counter(), Counter()]
    for group, count in zip(ways, counts, strict=True):
        for way in group:
            piece: list[str] = []
            for _, name in way:
                piece.append(NAMES[name])
                if name == "product_added":
                    count[("… → " if len(piece) > 3 else "") + " → ".join(piece[-3:])] += 1
                    piece = []
    question = routes_question(world, "product_added", max_steps=3, top=3, scope=Scope(segments=SEGMENTS))
    found = beside(run_routes(world, question), 1)
    wholes = (counts[0].total(), counts[1].total())
    assert [found[segment] for segment in SEGMENTS] == expected((counts[0], counts[1]), wholes, 3)


def test_within_a_breakdown_the_same_values_are_compared(world: Journeys) -> None:
    scope = Scope(unit="person", segments=SEGMENTS, breakdown="channel")
    broken = run_graph(world, GraphQuestion(scope=scope))
    whole = run_graph(world, GraphQuestion(scope=Scope(unit="person", segments=SEGMENTS)))
    assert {row[1] for row in broken.rows} == {"web"}
    assert [[row[0], *row[2:]] for row in broken.rows] == whole.rows


def test_a_measure_that_is_no_count_has_a_difference_and_no_rates(world: Journeys) -> None:
    question = retention_question(world, None, None, intervals=1, scope=Scope(segments=SEGMENTS))
    result = run_retention(world, question)
    assert result.columns[-2:] == ["other", "difference"]


def test_one_segment_or_three_have_no_other(world: Journeys) -> None:
    for segments in (SEGMENTS[:1], (*SEGMENTS, "orders = 0")):
        assert "other" not in run_graph(world, GraphQuestion(scope=Scope(unit="person", segments=segments))).columns


def test_where_nobody_gets_there_the_rate_is_not_known(world: Journeys) -> None:
    result = run_routes(world, routes_question(world, "share_clicked", scope=Scope(segments=SEGMENTS)))
    assert {row[0] for row in result.rows} == {SEGMENTS[0]}
    assert all(row[-3:] == [0, row[2], None] for row in result.rows)


def test_the_period_before_knows_rows_that_it_does_not_show(world: Journeys, ways: tuple[list[Way], list[Way]]) -> None:
    """A row that is not among the largest was there nonetheless: its change is not that from nothing."""
    start = datetime.date(2026, 3, 2)
    middle, end = start + datetime.timedelta(days=15), start + datetime.timedelta(days=30)
    both: list[Counter[tuple[str, str]]] = []
    noon = 43200
    for low, high in ((15 * 86400 - noon, 30 * 86400 - noon), (-noon, 15 * 86400 - noon)):
        parts = [[event for event in way if low <= event[0] < high] for group in ways for way in group]
        both.append(Counter(edge for part in parts if part for edge in pairs(part)))
    now, before = both
    scope = Scope(unit="person", previous=True, period=Period(middle, end))
    result = run_graph(world, GraphQuestion(top=3, scope=scope))
    shown = {(row[0], row[1]): (row[2], row[-2]) for row in result.rows}
    largest = {*sorted(now, key=lambda key: (-now[key], key))[:3], *sorted(before, key=lambda k: (-before[k], k))[:3]}
    assert shown == {key: (now.get(key), before.get(key)) for key in largest}


def test_the_example(built: Callable[..., Journeys], new_history: Callable[[], Callable[..., Any]]) -> None:
    """As docs/definitions.md has it."""
    event = new_history()
    journeys = built(
        [
            event("product_viewed", 0, user_id="aino"),
            event("product_added", 10, user_id="aino"),
            event("order_completed", 20, user_id="aino", order_id="o1"),
            event("product_viewed", 0, user_id="eino"),
            event("product_added", 10, user_id="eino"),
            event("product_viewed", 0, user_id="maija"),
        ]
    )
    result = run_graph(journeys, GraphQuestion(scope=Scope(unit="person", segments=("orders = 1", "orders = 0"))))
    found = {tuple(row[:3]): row[3:] for row in result.rows}
    assert found["orders = 1", "product", "cart"][-3:] == [1, 0, 0.5]
    assert found["orders = 0", "product", "cart"][-3:] == [1, 0, -0.5]
