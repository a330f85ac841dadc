"""Graph and routes against brute force over generated histories, and examples by hand."""

from __future__ import annotations

import datetime
import itertools
import random
from collections import Counter
from collections.abc import Callable
from statistics import median
from typing import Any

import pytest

from polku_analytics.analyses.graph import GraphQuestion, run_graph
from polku_analytics.analyses.routes import routes_question, run_routes
from polku_analytics.analyses.scope import Scope
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.period import Period

NAMES = {"page_viewed": "page", "product_viewed": "product", "product_added": "cart", "order_completed": "order"}
PERSON = Scope(unit="person")


@pytest.fixture(scope="module")
def histories() -> dict[str, list[tuple[int, str]]]:
    made = random.Random(11)
    return {
        f"p{number:02}": sorted(
            (made.randrange(0, 40 * 86400), made.choice(list(NAMES))) for _ in range(made.randrange(1, 9))
        )
        for number in range(50)
    }


@pytest.fixture(scope="module")
def world(
    built: Callable[..., Journeys],
    new_history: Callable[[], Callable[..., dict[str, Any]]],
    histories: dict[str, list[tuple[int, str]]],
) -> Journeys:
    event = new_history()
    return built([event(name, at, user_id=person) for person, events in histories.items() for at, name in events])


def collapsed(events: list[tuple[int, str]]) -> list[tuple[int, str]]:
    return [event for n, event in enumerate(events) if n == 0 or events[n - 1][1] != event[1]]


@pytest.mark.parametrize("collapse", [False, True])
def test_edges_variants_and_loops_equal_brute_force(
    world: Journeys, histories: dict[str, list[tuple[int, str]]], collapse: bool
) -> None:
    ways = [collapsed(events) if collapse else events for events in histories.values()]
    edges: dict[tuple[str, str], list[tuple[int, float | None]]] = {}
    for person, way in enumerate(ways):
        for a, b in itertools.pairwise([(None, "(begin)"), *way, (None, "(end)")]):
            gap = None if a[0] is None or b[0] is None else float(b[0] - a[0])
            edges.setdefault((NAMES.get(a[1], a[1]), NAMES.get(b[1], b[1])), []).append((person, gap))

    result = run_graph(world, GraphQuestion(scope=PERSON, collapse=collapse))
    assert {(row[0], row[1]): row[2:] for row in result.rows} == {
        key: [
            len(found),
            len({person for person, _ in found}),
            len({person for person, _ in found}),
            None if found[0][1] is None else median(gap for _, gap in found if gap is not None),
        ]
        for key, found in edges.items()
    }
    variants = Counter(" → ".join(NAMES[name] for _, name in way) for way in ways)
    result = run_graph(world, GraphQuestion(show="variants", scope=PERSON, collapse=collapse, top=100))
    assert {row[0]: row[1] for row in result.rows} == variants
    assert [row[1] for row in result.rows] == sorted(variants.values(), reverse=True)
    returns: Counter[str] = Counter()
    for way in ways:
        for name, count in Counter(name for _, name in way).items():
            returns[NAMES[name]] += count - 1
    result = run_graph(world, GraphQuestion(show="loops", scope=PERSON, collapse=collapse))
    assert {row[0]: row[1] for row in result.rows} == {name: count for name, count in returns.items() if count}


def cut(events: list[tuple[int, str]]) -> list[list[tuple[int, str]]]:
    pieces: list[list[tuple[int, str]]] = [[]]
    for event in events:
        pieces[-1].append(event)
        if event[1] == "order_completed":
            pieces.append([])
    return [piece for piece in pieces if piece]


@pytest.mark.parametrize("max_steps", [2, 8])
def test_routes_equal_brute_force(world: Journeys, histories: dict[str, list[tuple[int, str]]], max_steps: int) -> None:
    found: dict[str, list[tuple[str, int, int]]] = {}
    for person, events in histories.items():
        for piece in cut(events):
            if piece[-1][1] == "order_completed":
                way = collapsed(piece)
                shown = ["…"] * (len(way) > max_steps) + [NAMES[name] for _, name in way][-max_steps:]
                found.setdefault(" → ".join(shown), []).append((person, len(way), way[-1][0] - way[0][0]))
    total = sum(len(one) for one in found.values())

    result = run_routes(world, routes_question(world, "order", max_steps=max_steps, top=1000))
    assert {row[0]: row[1:6] for row in result.rows} == {
        route: [
            len(taken),
            len({person for person, _, _ in taken}),
            round(len(taken) / total, 6),
            median(steps for _, steps, _ in taken),
            median(seconds for _, _, seconds in taken),
        ]
        for route, taken in found.items()
    }
    assert [row[0] for row in result.rows if row[6]] == ["order"]  # nothing is shorter
    assert result.coverage["journeys_that_reached_it"] == total


@pytest.mark.parametrize("length", [2, 3])
def test_micro_paths_equal_brute_force(
    world: Journeys, histories: dict[str, list[tuple[int, str]]], length: int
) -> None:
    end = max(events[-1][0] for events in histories.values())
    having: dict[str, set[str]] = {}
    got_there: dict[str, set[str]] = {}
    for person, events in histories.items():
        for piece in cut(events):
            reached = piece[-1][1] == "order_completed"
            if not reached and piece[-1][0] > end - 86400:
                continue
            items = [NAMES[name] for _, name in collapsed(piece)]
            for place in range(len(items) - length + 1):
                micro = " → ".join(items[place : place + length])
                having.setdefault(micro, set()).add(person)
                if reached:
                    got_there.setdefault(micro, set()).add(person)

    question = routes_question(world, "order", show="micro-paths", length=length, top=1000, idle_seconds=86400)
    result = run_routes(world, question)
    assert {row[0]: row[1:4] for row in result.rows} == {
        micro: [len(people), len(got_there.get(micro, ())), len(people - got_there.get(micro, set()))]
        for micro, people in having.items()
    }
    lost = [row[3] for row in result.rows]
    assert lost == sorted(lost, reverse=True)


@pytest.fixture(scope="module")
def example(built: Callable[..., Journeys], new_history: Callable[[], Callable[..., Any]]) -> Journeys:
    """The example of docs/definitions.md."""
    event = new_history()
    return built(
        [
            event("product_viewed", 0, user_id="aino", price=5.0),
            event("product_viewed", 10, user_id="aino", price=5.0),
            event("product_added", 20, user_id="aino", price=5.0),
            event("order_completed", 60, user_id="aino", order_id="1"),
            event("product_viewed", 0, user_id="eino", price=5.0),
            event("product_added", 30, user_id="eino", price=5.0),
            event("product_viewed", 30 * 86400, user_id="veikko", device="phone", price=200.0),
        ]
    )


def test_the_example(example: Journeys) -> None:
    result = run_routes(example, routes_question(example, "order"))
    assert result.rows == [["product → cart → order", 1, 1, 1.0, 3.0, 60.0, True]]
    micro = run_routes(example, routes_question(example, "order", show="micro-paths"))
    assert micro.rows == [["product → cart", 2, 1, 1, 0.5], ["cart → order", 1, 1, 0, 0.0]]
    graph = run_graph(example, GraphQuestion(scope=PERSON))
    assert graph.rows[:2] == [["(begin)", "product", 3, 3, 3, None], ["product", "cart", 2, 2, 2, 20.0]]


def test_parts_goals_and_steps(example: Journeys) -> None:
    costly = run_routes(example, routes_question(example, "costly"))
    assert costly.rows == [["product", 1, 1, 1.0, 1.0, 0.0, True]]
    step = run_routes(example, routes_question(example, "touchpoint:cart", scope=Scope(breakdown="device")))
    assert [row[:3] for row in step.rows] == [["(none)", "product → cart", 2]]
    period = Period(datetime.date(2026, 4, 1), datetime.date(2026, 5, 1))
    before = run_graph(example, GraphQuestion(scope=Scope(unit="person", period=period, previous=True)))
    assert before.rows[0] == ["(begin)", "product", 1, 1, 1, None, 2, -0.5]


def test_nothing_there_and_names_nobody_knows(example: Journeys) -> None:
    assert run_routes(example, routes_question(example, "share_clicked")).rows == []
    far = Scope(unit="person", period=Period(datetime.date(2030, 1, 1), None))
    assert run_routes(example, routes_question(example, "order", scope=far)).rows == []
    assert run_routes(example, routes_question(example, "order", scope=far, show="micro-paths")).rows == []
    for what in ("edges", "variants", "loops"):
        assert run_graph(example, GraphQuestion(show=what, scope=far)).rows == []  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match=r"unknown goal or event 'ordr'. Did you mean order"):
        routes_question(example, "ordr")
    with pytest.raises(AnalyticsError, match="at least two items"):
        routes_question(example, "order", length=1)
    with pytest.raises(AnalyticsError, match="at least one row"):
        run_graph(example, GraphQuestion(top=0))


def test_who_was_there_just_before_the_period_ended_is_not_lost(
    built: Callable[..., Journeys], event: Callable[..., Any]
) -> None:
    """Aino orders on the day after the period; the data goes on for two months. Eino never comes back."""
    journeys = built(
        [
            event("product_viewed", 0, user_id="eino"),
            event("product_added", 5, user_id="eino"),
            event("product_viewed", 9 * 86400, user_id="aino"),
            event("product_added", 9 * 86400 + 5, user_id="aino"),
            event("order_completed", 10 * 86400, user_id="aino", order_id="1"),
            event("product_viewed", 60 * 86400, user_id="veikko"),
        ]
    )
    until = Scope(period=Period(datetime.date(2026, 3, 2), datetime.date(2026, 3, 12)))
    found = run_routes(journeys, routes_question(journeys, "order", show="micro-paths", scope=until))
    assert found.rows == [["product → cart", 1, 0, 1, 1.0]]
