"""Friction against a loop over plain lists; a fault that is put in ranks first, and its shuffled twin shows nothing."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polku_analytics.analyses.friction import FrictionQuestion, count_signs, find_signs, run_friction
from polku_analytics.analyses.scope import Scope
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.period import Period

DAY = 86_400
SECOND = 1_000_000

Event = tuple[int, int, int, bool, bool, bool]
"""Seconds, place (-1: not known), page (-1: none), staged, error, converts. The event is the place."""


def signs_by_hand(visit: list[Event]) -> list[tuple[str, int]]:
    """(kind, place) of every sign of one visit."""
    found = []
    for i, (_, place, _, staged, error, _) in enumerate(visit):
        if error:
            before = [e[1] for e in visit[:i] if e[3] and not e[4]]
            found.append(("error", place if staged or not before else before[-1]))
        same = [
            j
            for j in (i, i - 1)
            if j >= 1 and visit[j][1:3] == visit[j - 1][1:3] and visit[j][2] >= 0 and not visit[j][4]
        ]
        if i in same:
            found.append(("repeat", place))
        if len(same) == 2 and visit[i][0] - visit[i - 2][0] <= 10:
            found.append(("rage", place))
        if (
            i >= 2
            and visit[i - 2][1] == place >= 0
            and place != visit[i - 1][1]
            and not any(e[4] for e in visit[i - 2 : i + 1])
        ):
            found.append(("back", visit[i - 1][1]))
    return [sign for sign in found if sign[1] >= 0]


def count_by_hand(visits: list[list[Event]]) -> dict[tuple[str, int], tuple[int, int, int, int]]:
    """(kind, place) → with it, of them converted, without, of them converted; among visits that pass the place."""
    told = [set(signs_by_hand(visit)) for visit in visits]
    counts = {}
    for kind, place in set().union(*told) if told else set():
        groups: dict[bool, list[bool]] = {True: [], False: []}
        for visit, signs in zip(visits, told, strict=True):
            passed = [event[0] for event in visit if event[1] == place]
            if passed:
                won = any(event[5] and event[0] >= passed[0] for event in visit)
                groups[(kind, place) in signs].append(won)
        counts[kind, place] = (len(groups[True]), sum(groups[True]), len(groups[False]), sum(groups[False]))
    return counts


events = st.tuples(
    st.integers(0, 30), st.integers(-1, 2), st.integers(-1, 1), st.booleans(), st.booleans(), st.booleans()
)


@given(st.lists(st.lists(events, min_size=1, max_size=7), max_size=5))
@settings(max_examples=300)
def test_signs_and_counts_are_what_a_plain_loop_says(drawn: list[list[Event]]) -> None:
    visits = [sorted(visit, key=lambda event: event[0]) for visit in drawn]
    flat = [(unit, *event) for unit, visit in enumerate(visits) for event in visit]
    columns = [np.array(column) for column in zip(*flat, strict=True)] or [np.array([], dtype=np.int64)] * 7
    units, times, places, pages, staged, errors, converts = columns
    signs = find_signs(units, times * SECOND, places, places, pages, staged.astype(bool), errors.astype(bool))
    counted = count_signs(units, units, times * SECOND, places, converts.astype(bool), signs, 3)
    assert {
        (sign.kind, sign.place): (sign.units, sign.converted, sign.without, sign.converted_without) for sign in counted
    } == count_by_hand(visits)
    assert all(sign.people == sign.units for sign in counted)


def visits(event: Callable[..., Any], *, shuffled: bool) -> list[dict[str, Any]]:
    """400 visits to a cart; one in five meets an error there, which keeps people from ordering, or not if shuffled."""
    draw = random.Random(6)
    faults = [number % 5 == 0 for number in range(400)]
    ordered = [draw.random() < (0.1 if fault else 0.5) for fault in faults]
    if shuffled:
        draw.shuffle(faults)
    rows = []
    for number, (fault, orders) in enumerate(zip(faults, ordered, strict=True)):
        at, visit = number * 3600, {"user_id": f"u{number}", "session_id": f"s{number}"}
        browser = "Old" if number % 2 else "New"
        rows.append(event("product_viewed", at, page_path="/p", browser=browser, **visit))
        if number % 3 == 0:  # harmless: looked at twice
            rows.append(event("product_viewed", at + 5, page_path="/p", **visit))
        rows.append(event("product_added", at + 10, page_path="/p", **visit))
        if fault:
            rows.append(event("error_shown", at + 11, **visit))
        if orders:
            rows.append(event("order_completed", at + 60, order_id=f"o{number}", revenue=1.0, **visit))
    return rows


def test_an_injected_fault_ranks_first_and_its_shuffled_twin_shows_nothing(
    event: Callable[..., dict[str, Any]], built: Callable[..., Journeys]
) -> None:
    journeys = built(visits(event, shuffled=False))
    result = run_friction(journeys, FrictionQuestion())
    top = dict(zip(result.columns, result.rows[0], strict=True))
    assert (top["friction"], top["place"], top["units"], top["verdict"]) == ("error", "cart", 80, "costly")
    assert top["lost"] == pytest.approx(80 * (top["conversion_without"] - top["conversion"]), abs=1e-3)
    assert [row[-1] for row in result.rows[1:]] == ["not shown to cost"] * (len(result.rows) - 1)

    broken = run_friction(journeys, FrictionQuestion(top=1, scope=Scope(unit="session", breakdown="browser")))
    assert [row[:3] for row in broken.rows] == [["New", "error", "cart"], ["Old", "error", "cart"]]
    assert run_friction(journeys, FrictionQuestion(by="page", scope=Scope(unit="person"))).rows[0][:2] == [
        "error",
        "/p",
    ]
    week = Period(datetime.date(2026, 3, 9), datetime.date(2026, 3, 16))
    compared = run_friction(journeys, FrictionQuestion(scope=Scope(unit="session", period=week, previous=True)))
    assert compared.rows[0][-2] is not None
    buyers = run_friction(journeys, FrictionQuestion(scope=Scope(unit="session", segments=("orders > 0",))))
    assert {row[-1] for row in buyers.rows} <= {"not shown to cost"}
    early = Period(datetime.date(2020, 1, 1), datetime.date(2020, 2, 1))
    assert run_friction(journeys, FrictionQuestion(scope=Scope(unit="session", period=early))).rows == []
    few = run_friction(journeys, FrictionQuestion(fewest=1000))
    # Every third of 400 visits looked twice, every fifth met the error: as few as these there are with any sign.
    assert few.rows == [] and few.coverage["no_rows_because"] == (
        "of 2 signs none has 1000 sessions with it and as many without, the most have 134: lower --fewest to 134, or "
        "ask about a longer period"
    )
    assert run_friction(journeys, FrictionQuestion(fewest=134)).rows
    with pytest.raises(UnknownNameError, match="Did you mean error_shown"):
        run_friction(journeys, FrictionQuestion(errors=("error_show",)))
    with pytest.raises(AnalyticsError, match="friction counts session or person or account"):
        run_friction(journeys, FrictionQuestion(scope=Scope(unit="event")))

    twin = run_friction(built(visits(event, shuffled=True)), FrictionQuestion())
    assert {row[-1] for row in twin.rows} == {"not shown to cost"}


def test_nobody_turns_back_from_a_page_between_two_that_are_not_known(
    event: Callable[..., dict[str, Any]], built: Callable[..., Journeys]
) -> None:
    rows = []
    for number in range(40):
        at, visit = number * 3600, {"user_id": f"u{number}", "session_id": f"s{number}"}
        if number < 20:
            rows.append(event("products_searched", at, query="tent", **visit))
        rows.append(event("product_viewed", at + 5, page_path="/tent", **visit))
        rows.append(event("products_searched", at + 10, query="lamp", **visit))
    journeys = built(rows)
    assert run_friction(journeys, FrictionQuestion(by="page")).rows == []
    (back,) = run_friction(journeys, FrictionQuestion(by="touchpoint")).rows
    assert back[:3] == ["back", "product", 20]
