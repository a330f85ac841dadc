"""Recommendations and prompts against loops over plain sets."""

from __future__ import annotations

import datetime
import random
from collections import defaultdict
from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest

from polku_analytics.analyses.prompts import PromptQuestion, run_prompt
from polku_analytics.analyses.recommend import RecommendQuestion, run_recommend
from polku_analytics.analyses.scope import Scope
from polku_analytics.build import build
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys, open_journeys
from polku_analytics.lake import Lake
from polku_analytics.period import Period
from polku_analytics.printing import explained
from polku_analytics.session_rules import SessionRules
from polku_schemas import Plan

DAY = 86_400


@pytest.fixture(scope="module")
def shop(
    new_history: Callable[[], Callable[..., dict[str, Any]]], built: Callable[..., Journeys]
) -> tuple[Journeys, dict[str, set[str]], dict[str, list[tuple[str, ...]]]]:
    """Sixty people: tents go with stoves, everybody buys socks. What each owns, and their unknown sessions."""
    draw, event, rows = random.Random(8), new_history(), []
    owned: dict[str, set[str]] = defaultdict(set)
    sessions: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    for number in range(60):
        person = f"p{number:02}"
        basket = {"socks"} if draw.random() < 0.9 else set()
        if draw.random() < 0.3:
            basket |= {"tent"} | ({"stove"} if draw.random() < 0.7 else set())
        basket |= {name for name in ("rope", "lamp", "stove") if draw.random() < 0.2}
        for place, product in enumerate(sorted(basket)):
            order = {
                "order_id": f"{person}-{place}",
                "revenue": 5.0,
                "products": [{"product_id": product, "quantity": 1}],
            }
            rows.append(event("order_completed", 30 * DAY + place, user_id=person, **order))
        owned[person] = basket
        steps = tuple(draw.choice(["product", "search", "cart"]) for _ in range(draw.randrange(1, 5)))
        if draw.random() < 0.5 and steps[-1] == "search":
            steps += ("delivery",)
        names = {"product": "product_viewed", "search": "products_searched", "cart": "product_added"}
        for place, step in enumerate(steps):
            at = number * 3600 + place
            rows.append(event(names.get(step, "order_delivered"), at, anonymous_id=f"a{number}", device="phone"))
            rows.append(event("logged_out", at + 0.5, anonymous_id=f"x{number}"))  # has no stage
        sessions[f"a{number}"].append(steps)
    return built(rows), {person: basket for person, basket in owned.items() if basket}, sessions


def by_hand(owned: dict[str, set[str]], fewest: int) -> dict[tuple[str, str], float]:
    count: dict[str, int] = defaultdict(int)
    pairs: dict[tuple[str, str], int] = defaultdict(int)
    for basket in owned.values():
        for product in basket:
            count[product] += 1
        for pair in permutations(sorted(basket), 2):
            pairs[pair] += 1
    lifts = {(a, b): both * len(owned) / (count[a] * count[b]) for (a, b), both in pairs.items() if both >= fewest}
    return {pair: lift for pair, lift in lifts.items() if lift > 1}


Shop = tuple[Journeys, dict[str, set[str]], dict[str, list[tuple[str, ...]]]]


def test_lift_is_what_a_plain_loop_says(shop: Shop) -> None:
    journeys, owned, _ = shop
    expected = by_hand(owned, 3)
    result = run_recommend(journeys, RecommendQuestion(fewest=3, top=99))
    assert {(row[0], row[1]): row[3] for row in result.rows} == pytest.approx(expected, abs=1e-5)
    assert [row[3] for row in result.rows] == sorted((row[3] for row in result.rows), reverse=True)
    of_tent = run_recommend(journeys, RecommendQuestion(product="tent", fewest=3))
    assert of_tent.rows[0][1] == "stove"
    # Nearly everybody who has a tent has socks, as has everybody else: that is no advice.
    assert "socks" not in {row[1] for row in of_tent.rows if row[3] > 1.2}


def test_a_person_is_not_told_what_they_own(shop: Shop) -> None:
    journeys, owned, _ = shop
    for person, basket in list(owned.items())[:8]:
        result = run_recommend(journeys, RecommendQuestion(person=person, fewest=3, top=99))
        lifts = {pair: lift for pair, lift in by_hand(owned, 3).items() if pair[0] in basket and pair[1] not in basket}
        best: dict[str, float] = {}
        for (_, product), lift in lifts.items():
            best[product] = max(lift, best.get(product, 0.0))
        assert {row[1]: row[3] for row in result.rows} == pytest.approx(best, abs=1e-5)


def test_what_was_cancelled_was_not_bought(
    new_history: Callable[[], Callable[..., dict[str, Any]]], built: Callable[..., Journeys]
) -> None:
    """Three buy a tent and a stove, five a rope; two order a rope and a lamp, and cancel that."""
    event, rows = new_history(), []
    baskets = [("tent", "stove")] * 3 + [("rope",)] * 5 + [("rope", "lamp")] * 2
    for number, basket in enumerate(baskets):
        lines = [{"product_id": product, "quantity": 1} for product in basket]
        rows.append(event("order_completed", number, user_id=f"u{number}", order_id=f"o{number}", products=lines))
    rows += [event("order_cancelled", DAY, user_id=f"u{number}", order_id=f"o{number}") for number in (8, 9)]
    result = run_recommend(built(rows), RecommendQuestion(fewest=1))
    # 3 × 8 ÷ (3 × 3)
    assert [(*row[:2], *row[3:]) for row in result.rows] == [
        ("stove", "tent", 2.666667, 3, 1.0, 3, 3, 8),
        ("tent", "stove", 2.666667, 3, 1.0, 3, 3, 8),
    ]


def test_what_is_suggested_to_a_person_is_compared_whatever_leads_to_it(
    new_history: Callable[[], Callable[..., dict[str, Any]]], built: Callable[..., Journeys]
) -> None:
    """Somebody with tent and lamp: last week the lamp led to the stove (3 × 10 ÷ (3 × 4)), this week the tent does."""
    event, rows, number = new_history(), [], 0
    weeks = (
        [("lamp", "stove")] * 3 + [("tent", "stove"), ("tent",)] + [("rope",)] * 5,
        [("tent", "stove")] * 3 + [("lamp", "stove"), ("lamp",)] + [("rope",)] * 4 + [("tent", "lamp")],
    )
    for week, baskets in enumerate(weeks):
        for basket in baskets:
            number += 1
            lines = [{"product_id": product, "quantity": 1} for product in basket]
            ordered = {"user_id": f"u{number}", "order_id": f"o{number}", "products": lines}
            rows.append(event("order_completed", week * 7 * DAY, **ordered))
    this_week = Scope(period=Period(datetime.date(2026, 3, 9), datetime.date(2026, 3, 16)), previous=True)
    result = run_recommend(built(rows), RecommendQuestion(person=f"u{number}", fewest=1, scope=this_week))
    # 3 × 10 ÷ (4 × 4) now, 2.5 before.
    assert [(*row[:2], row[3], *row[-2:]) for row in result.rows] == [("tent", "stove", 1.875, 2.5, -0.25)]


def test_the_options_of_every_question(shop: Shop) -> None:
    journeys, *_ = shop
    early = Period(datetime.date(2026, 3, 2), datetime.date(2026, 3, 20))
    assert run_recommend(journeys, RecommendQuestion(scope=Scope(period=early))).rows == []
    later = Period(datetime.date(2026, 3, 25), datetime.date(2026, 4, 10))
    compared = run_recommend(journeys, RecommendQuestion(fewest=3, top=1, scope=Scope(period=later, previous=True)))
    assert compared.rows[0][-2:] == [None, None]
    both = run_recommend(
        journeys, RecommendQuestion(fewest=3, top=1, scope=Scope(segments=("orders >= 1", "orders > 1")))
    )
    assert [row[0] for row in both.rows] == ["orders >= 1", "orders > 1"]
    assert run_recommend(journeys, RecommendQuestion(fewest=1, scope=Scope(unit="session", breakdown="source"))).rows
    with pytest.raises(UnknownNameError, match="Did you mean stove"):
        run_recommend(journeys, RecommendQuestion(product="stoves"))
    with pytest.raises(AnalyticsError, match="nobody has the person_id"):
        run_recommend(journeys, RecommendQuestion(person="nobody"))
    with pytest.raises(AnalyticsError, match="no product_id"):
        run_recommend(journeys, RecommendQuestion(based_on="viewed"))
    with pytest.raises(AnalyticsError, match="not both"):
        run_recommend(journeys, RecommendQuestion(product="tent", person="p00"))


def test_the_step_after_which_unknown_people_leave_or_ask(shop: Shop) -> None:
    journeys, _, sessions = shop
    passes: dict[str, int] = defaultdict(int)
    ended: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for steps in (steps for mine in sessions.values() for steps in mine):
        for place, step in enumerate(steps):
            if step != "delivery":
                passes[step] += 1
                following = steps[place + 1] if place + 1 < len(steps) else None
                ended[step][0] += following == "delivery"
                ended[step][1] += following is None
    result = run_prompt(journeys, PromptQuestion(contact="touchpoint:delivery", fewest=1))
    assert {row[0]: [row[1], row[4], row[5]] for row in result.rows} == {
        step: [count, *ended[step]] for step, count in passes.items()
    }
    assert [row[7] for row in result.rows] == sorted((row[7] for row in result.rows), reverse=True)
    assert all(row[7] < row[6] for row in result.rows)
    broken = run_prompt(journeys, PromptQuestion(fewest=1, scope=Scope(unit="event", breakdown="device")))
    assert {row[0] for row in broken.rows} == {"phone"}
    assert run_prompt(journeys, PromptQuestion(fewest=10_000)).rows == []
    with pytest.raises(UnknownNameError, match="Did you mean delivery"):
        run_prompt(journeys, PromptQuestion(contact="touchpoint:deliver"))


@pytest.mark.parametrize(
    ("rules", "newest", "expected"),
    [
        # The session goes on at exactly 30:00, and what could go on is not left.
        (SessionRules(), 1800, [4, 1, 1, 1, 0.666667]),
        (SessionRules(), 1801, [4, 0, 1, 2, 0.75]),
        (SessionRules(new_at_gap=True), 1800, [4, 0, 1, 2, 0.75]),
        (SessionRules(gap_seconds=3600), 3500, [4, 1, 1, 1, 0.666667]),
    ],
)
def test_whose_visit_may_go_on_has_not_left(
    make_lake: Callable[..., Lake],
    event: Callable[..., dict[str, Any]],
    plan: Plan,
    rules: SessionRules,
    newest: int,
    expected: list[float],
) -> None:
    """Yesterday three looked: one left, one asked for help, one filled the cart. Today somebody looks at a product."""
    rows = [
        event("product_viewed", -DAY, anonymous_id="left"),
        event("product_viewed", -DAY, anonymous_id="asked"),
        event("order_delivered", 60 - DAY, anonymous_id="asked"),
        event("product_viewed", -DAY, anonymous_id="filled"),
        event("product_added", 60 - DAY, anonymous_id="filled"),
        event("product_viewed", 0, anonymous_id="here"),
        event("order_completed", newest, user_id="another", order_id="o1"),
    ]
    lake = make_lake(rows)
    build(lake, plan, sessions=rules)
    asked = PromptQuestion(contact="touchpoint:delivery", fewest=2)
    (found,) = run_prompt(open_journeys(lake, plan), asked).dicts()
    assert [found[name] for name in ("passes", "open", "then_service", "then_left", "share")] == expected
    fewest = expected[0] - expected[1] + 1
    nothing = run_prompt(open_journeys(lake, plan), PromptQuestion(contact="touchpoint:delivery", fewest=int(fewest)))
    assert nothing.rows == [] and f"lower --fewest to {fewest - 1}" in nothing.coverage["no_rows_because"]


def test_an_answer_without_rows_says_why_and_what_to_lower(shop: Shop) -> None:
    journeys, owned, sessions = shop

    def why(**asked: Any) -> str:
        result = run_recommend(journeys, RecommendQuestion(**asked))
        assert result.rows == [] and f"(no rows) {result.coverage['no_rows_because']}" in explained(result)
        return str(result.coverage["no_rows_because"])

    pairs = permutations(sorted(set().union(*owned.values())), 2)
    most = max(sum({*pair} <= basket for basket in owned.values()) for pair in pairs)
    assert why(fewest=1000) == (
        f"the most frequent pair stands on {most} people, and a row must stand on 1000: lower --fewest to {most}, "
        "or ask about a longer period"
    )
    before = Period(datetime.date(2026, 3, 2), datetime.date(2026, 3, 9))
    assert why(scope=Scope(period=before)) == "there are no people that bought a product"
    assert why(person="a0") == "a0 has bought nothing to start from"
    everything = next(person for person, basket in owned.items() if len(basket) == 1)
    assert why(scope=Scope(segments=(f"person_id = '{everything}'",))) == (
        "no people bought two products, of 1 that bought any"
    )
    has_all = max(owned, key=lambda person: len(owned[person]))
    assert "more often than by chance" in why(person=has_all, fewest=most)

    prompts = run_prompt(journeys, PromptQuestion(fewest=1000))
    counts: dict[str, int] = defaultdict(int)
    for ways in sessions.values():
        for step in (step for way in ways for step in way):
            counts[step] += 1
    assert prompts.rows == []
    assert f"passed the most frequent step {max(counts.values())} times" in prompts.coverage["no_rows_because"]
