"""Attribution against a loop over plain lists, against published figures, and through tables against the same loop."""

from __future__ import annotations

import datetime
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from polku_analytics.analyses.attribution import (
    MODELS,
    UNATTRIBUTED,
    Attribution,
    AttributionQuestion,
    By,
    attribution_models,
    match_touches,
    run_attribution,
    weigh,
)
from polku_analytics.analyses.scope import Scope
from polku_analytics.build import build
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys, open_journeys
from polku_analytics.lake import Lake
from polku_analytics.period import Period
from polku_schemas import Goal, Plan

DAY = 86_400
HALF_LIFE = 7 * DAY

Touch = tuple[int, str]
"""(seconds, item)"""


def shares(model: str, ages: list[float], items: list[str]) -> list[float]:
    """The credit of each touch, oldest first, said as plainly as it can be."""
    n = len(ages)
    if model == "first":
        return [1.0] + [0.0] * (n - 1)
    if model == "last":
        return [0.0] * (n - 1) + [1.0]
    if model == "last_non_direct":
        sent = [place for place, item in enumerate(items) if item != "direct"] or [n - 1]
        return [float(place == sent[-1]) for place in range(n)]
    if model == "linear":
        return [1 / n] * n
    if model == "time_decay":
        faded = [2 ** (-age / HALF_LIFE) for age in ages]
        return [value / sum(faded) for value in faded]
    if model == "participation":
        return [float(item not in items[:place]) for place, item in enumerate(items)]
    if n == 1:
        return [1.0]
    if n == 2:
        return {"position": [0.5, 0.5], "j": [0.25, 0.75], "inverse_j": [0.75, 0.25]}[model]
    first, last = {"position": (0.4, 0.4), "j": (0.2, 0.6), "inverse_j": (0.6, 0.2)}[model]
    return [first, *[(1 - first - last) / (n - 2)] * (n - 2), last]


def by_hand(
    model: str, touches: dict[int, list[Touch]], conversions: list[tuple[int, int, float]], lookback: int
) -> dict[str, tuple[float, float]]:
    """Item → conversions and value."""
    found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for unit, at, value in conversions:
        mine = [touch for touch in touches.get(unit, []) if at - lookback <= touch[0] <= at]
        given = shares(model, [at - time for time, _ in mine], [item for _, item in mine]) if mine else [1.0]
        for item, credit in zip([item for _, item in mine] or [UNATTRIBUTED], given, strict=True):
            found[item][0] += credit
            found[item][1] += credit * value
    return {item: (counted, worth) for item, (counted, worth) in found.items() if counted}


ITEMS = ["ads", "direct", "email"]
histories = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 12), st.sampled_from(ITEMS)), max_size=6),
        st.lists(st.integers(0, 12), max_size=3),
    ),
    max_size=4,
)


@given(histories, st.integers(1, 6), st.sampled_from(MODELS))
@settings(max_examples=300)
def test_every_model_is_what_a_plain_loop_says(
    people: list[tuple[list[Touch], list[int]]], lookback: int, model: Attribution
) -> None:
    touches = {unit: sorted(mine, key=lambda touch: touch[0]) for unit, (mine, _) in enumerate(people)}
    conversions = [(unit, at, 0.0) for unit, (_, times) in enumerate(people) for at in sorted(times)]
    rows = [(unit, at, ITEMS.index(item)) for unit, mine in touches.items() for at, item in mine]
    flat = np.array(rows, dtype=np.int64).reshape(-1, 3)
    done = np.array([row[:2] for row in conversions], dtype=np.int64).reshape(-1, 2)
    day = DAY * 1_000_000
    seen = match_touches(flat[:, 0], flat[:, 1] * day, done[:, 0], done[:, 1] * day, lookback * day)
    weights = weigh(model, seen, flat[:, 2], flat[:, 2] == 1, HALF_LIFE * 1_000_000)
    counted: dict[str, float] = defaultdict(float)
    for touch, weight in zip(seen.touch, weights, strict=True):
        counted[ITEMS[flat[touch, 2]]] += weight
    counted[UNATTRIBUTED] = float((seen.first == seen.last).sum())
    scaled = {unit: [(at * DAY, item) for at, item in mine] for unit, mine in touches.items()}
    expected = by_hand(model, scaled, [(unit, at * DAY, value) for unit, at, value in conversions], lookback * DAY)
    assert {item: value for item, value in counted.items() if value} == pytest.approx(
        {item: counts for item, (counts, _) in expected.items()}
    )


def visit(event: Callable[..., Any], person: str, at: int, channel: str, number: int, **more: Any) -> dict[str, Any]:
    row = event("page_viewed", at, user_id=person, session_id=f"v{number}", marketing_channel=channel, **more)
    assert isinstance(row, dict)
    return row


@pytest.fixture(scope="module")
def shop(
    new_history: Callable[[], Callable[..., dict[str, Any]]], built: Callable[..., Journeys]
) -> tuple[Journeys, dict[int, list[Touch]], list[tuple[int, int, float]]]:
    """Forty people whose visits and orders are drawn; and what was drawn."""
    draw, event = random.Random(5), new_history()
    rows, touches, conversions, number = [], defaultdict(list), [], 0
    for person in range(40):
        rows.append(event("identify", -1, user_id=f"p{person}", trait_city=draw.choice(["Oulu", "Turku"])))
        for _ in range(draw.randrange(6)):
            at, channel, number = draw.randrange(60) * DAY, draw.choice(["ads", "direct", "email"]), number + 1
            rows.append(visit(event, f"p{person}", at, channel, number, device=draw.choice(["phone", "computer"])))
            touches[person].append((at, channel, number))
        # A day after the visits of its day: an order is a session without a marketing channel here.
        for _ in range(draw.randrange(3)):
            at, value, number = (
                draw.randrange(60) * DAY + draw.choice([0, 1]),
                draw.randrange(1, 9999) / 100,
                number + 1,
            )
            rows.append(
                event(
                    "order_completed",
                    at,
                    user_id=f"p{person}",
                    session_id=f"v{number}",
                    order_id=f"o{number}",
                    revenue=value,
                    currency="EUR",
                )
            )
            conversions.append((person, at, value))
            if draw.random() < 0.2:  # reported twice, counted once
                rows.append(event("order_completed", at + 5, user_id=f"p{person}", order_id=f"o{number}", revenue=9.0))
    # Visits at one time are in the order of their events.
    plain = {
        unit: [(at, item) for at, item, _ in sorted(mine, key=lambda t: (t[0], t[2]))] for unit, mine in touches.items()
    }
    return built(rows), plain, conversions


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("days", [3, 20])
def test_through_the_tables_it_is_the_same_and_adds_up_to_the_total(
    shop: tuple[Journeys, dict[int, list[Touch]], list[tuple[int, int, float]]], model: Attribution, days: int
) -> None:
    journeys, touches, conversions = shop
    result = run_attribution(journeys, AttributionQuestion(models=(model,), lookback_seconds=days * DAY))
    found = {row[1]: (row[2], row[4]) for row in result.rows}
    expected = by_hand(model, touches, conversions, days * DAY)
    assert found.keys() == expected.keys()
    for item, (counted, worth) in expected.items():
        assert found[item][0] == pytest.approx(counted, abs=2e-6)
        assert found[item][1] == pytest.approx(worth, abs=0.02)
    assert result.coverage["conversions"] == len(conversions)
    assert result.coverage["unattributed_conversions"] == found.get(UNATTRIBUTED, (0, 0))[0]
    if model != "participation":
        assert sum(round(row[2] * 10**6) for row in result.rows) == len(conversions) * 10**6
        assert sum(round(row[4] * 100) for row in result.rows) == round(100 * sum(value for *_, value in conversions))


def test_a_published_case_of_time_decay(event: Callable[..., dict[str, Any]], built: Callable[..., Journeys]) -> None:
    """Adobe: 50 USD, touches 0, 0, 6 and 9 days before, a half-life of seven days."""
    visits = [(0, "display"), (3 * DAY, "email"), (9 * DAY, "search"), (9 * DAY, "social")]
    rows = [visit(event, "p", at, channel, number) for number, (at, channel) in enumerate(visits)]
    rows.append(
        event("order_completed", 9 * DAY, user_id="p", session_id="x", order_id="1", revenue=50.0, currency="USD")
    )
    result = run_attribution(built(rows), AttributionQuestion(models=("time_decay",)))
    assert {row[1]: row[4] for row in result.rows} == {"search": 16.88, "social": 16.88, "email": 9.32, "display": 6.92}


def test_what_was_spent_stands_beside_what_came_back(
    event: Callable[..., dict[str, Any]], built: Callable[..., Journeys]
) -> None:
    rows = [
        visit(event, "a", 0, "ads", 1, utm_campaign="spring"),
        event("order_completed", 5, user_id="a", session_id="v1", order_id="1", revenue=30.0, currency="EUR"),
        visit(event, "b", 0, "ads", 2, utm_campaign="spring"),
        event("order_completed", 5, user_id="b", session_id="v2", order_id="2", revenue=20.0, currency="SEK"),
    ]
    journeys = built(rows)
    day = datetime.date(2026, 3, 2)
    spend = [
        {"date": day, "marketing_channel": "ads", "utm_campaign": "spring", "amount": 10.0, "currency": "EUR"},
        {"date": day, "marketing_channel": "social", "utm_campaign": "viral", "amount": 7.0, "currency": "EUR"},
        {"date": day + datetime.timedelta(days=9), "marketing_channel": "ads", "amount": 99.0, "currency": "EUR"},
    ]
    write_deltalake(str(Path(journeys.lake.uri) / "spend"), pa.Table.from_pylist(spend))
    first_week = Scope(period=Period(None, day + datetime.timedelta(days=7)))
    result = run_attribution(journeys, AttributionQuestion(scope=first_week))
    assert [row[1:] for row in result.rows] == [
        ["ads", 1.0, 0.5, 30.0, "EUR", 10.0, 3.0],
        ["ads", 1.0, 0.5, 20.0, "SEK", None, None],
        ["social", 0.0, 0.0, 0.0, "EUR", 7.0, 0.0],
    ]
    by_campaign = run_attribution(journeys, AttributionQuestion(by="campaign", scope=first_week))
    assert [row[1:3] for row in by_campaign.rows] == [["spring", 1.0], ["spring", 1.0], ["viral", 0.0]]
    assert result.coverage["conversions_without_value"] == 0
    # A step is worth nothing that is known, whether something led to it or not.
    of_step = run_attribution(journeys, AttributionQuestion(conversion="order_completed", scope=first_week))
    assert [row[1:] for row in of_step.rows] == [
        ["ads", 2.0, 1.0, None, None, None, None],
        ["ads", 0.0, 0.0, None, "EUR", 10.0, None],
        ["social", 0.0, 0.0, None, "EUR", 7.0, None],
    ]


def test_what_was_spent_on_no_campaign_is_not_what_visits_without_one_cost(
    event: Callable[..., dict[str, Any]], built: Callable[..., Journeys]
) -> None:
    """A visit of a campaign and one without; 4 EUR were spent on ads in general, and 3 on who knows what."""
    rows = [
        visit(event, "a", 0, "ads", 1, utm_campaign="spring"),
        event("order_completed", 5, user_id="a", session_id="v1", order_id="1", revenue=30.0, currency="EUR"),
        visit(event, "b", 0, "search", 2),
        event("order_completed", 5, user_id="b", session_id="v2", order_id="2", revenue=20.0, currency="EUR"),
        event("order_completed", 6, user_id="b", session_id="v2", order_id="3", currency="EUR"),
    ]
    journeys = built(rows)
    spend = [
        {"date": datetime.date(2026, 3, 2), "marketing_channel": channel, "utm_campaign": campaign, "amount": amount}
        for channel, campaign, amount in [("ads", "spring", 10.0), ("ads", None, 4.0), (None, None, 3.0)]
    ]
    table = pa.Table.from_pylist(spend).append_column("currency", pa.array(["EUR"] * 3))
    write_deltalake(str(Path(journeys.lake.uri) / "spend"), table)
    by_campaign = run_attribution(journeys, AttributionQuestion(by="campaign"))
    assert [row[1:] for row in by_campaign.rows] == [
        ["(none)", 2.0, 0.666667, 20.0, "EUR", None, None],
        ["spring", 1.0, 0.333333, 30.0, "EUR", 10.0, 3.0],
        ["(spend without campaign)", 0.0, 0.0, None, "EUR", 7.0, None],
    ]
    assert by_campaign.coverage["conversions_without_value"] == 1
    last = run_attribution(
        built([row | {"revenue": None} if row.get("order_id") in ("2", "3") else row for row in rows]),
        AttributionQuestion(by="campaign"),
    )
    assert [row[1:6] for row in last.rows] == [
        ["(none)", 2.0, 0.666667, None, "EUR"],
        ["spring", 1.0, 0.333333, 30.0, "EUR"],
    ], "nobody knows what it brought"
    by_channel = run_attribution(journeys, AttributionQuestion())
    assert [[row[1], *row[6:]] for row in by_channel.rows] == [
        ["search", None, None],
        ["ads", 14.0, round(30 / 14, 6)],
        ["(spend without marketing channel)", 3.0, None],
    ]


@pytest.mark.parametrize("by", ["touchpoint", "marketing_channel"])
def test_touches_of_an_account_at_one_time_are_in_the_order_of_the_events(
    by: By, event: Callable[..., dict[str, Any]], built: Callable[..., Journeys]
) -> None:
    """Of two people, the first of whom has done more before: neither counts for the order of what both do now."""
    acme = {"group_id": "acme"}
    rows = [
        event("page_viewed", -2 * DAY, user_id="a", **acme),
        event("page_viewed", -DAY, user_id="a", **acme),
        event("product_viewed", 0, user_id="a", event_id="2", marketing_channel="search", **acme),
        event("ad_clicked", 0, user_id="b", event_id="1", marketing_channel="ads", **acme),
        event("order_completed", 10, user_id="b", order_id="1", revenue=5.0, **acme),
    ]
    journeys = built(rows)
    asked = AttributionQuestion(models=("first", "last"), by=by, lookback_seconds=60, scope=Scope(unit="account"))
    found = [row[1] for row in run_attribution(journeys, asked).rows]
    assert found == (["ad", "product"] if by == "touchpoint" else ["ads", "search"])


def test_spend_that_somebody_else_wrote_may_lack_columns_and_not_hold_others(
    event: Callable[..., dict[str, Any]], built: Callable[..., Journeys]
) -> None:
    journeys = built([visit(event, "a", 0, "ads", 1, utm_campaign="spring")])
    spend = Path(journeys.lake.uri) / "spend"
    write_deltalake(str(spend), pa.table({"date": [datetime.date(2026, 3, 2)], "amount": [7]}))
    result = run_attribution(journeys, AttributionQuestion(by="campaign"))
    assert [row[1:] for row in result.rows] == [["(spend without campaign)", 0.0, 0.0, None, None, 7.0, None]]

    texts = pa.table({"date": [datetime.date(2026, 3, 2)], "amount": ["7"]})
    write_deltalake(str(spend), texts, mode="overwrite", schema_mode="overwrite")
    with pytest.raises(AnalyticsError, match="amount of the table spend holds VARCHAR, and DOUBLE is needed: write"):
        run_attribution(journeys, AttributionQuestion(by="campaign"))


def test_touchpoints_and_goals_and_the_options_of_every_question(
    event: Callable[..., dict[str, Any]], built: Callable[..., Journeys]
) -> None:
    rows = [
        event("ad_clicked", 0, user_id="a", channel=None),
        event("product_viewed", 10, user_id="a", price=5.0, device="phone"),
        event("product_viewed", 20, user_id="a", price=5.0),
        event("product_added", 20, user_id="a", price=5.0),
        event("share_clicked", 30 * DAY + 1, user_id="a"),
        event("product_viewed", 8 * DAY, user_id="b", price=5.0),
        event("product_added", 8 * DAY + 1, user_id="b", price=5.0),
    ]
    journeys = built(rows)

    def ask(**more: Any) -> list[list[Any]]:
        question = AttributionQuestion(**{"models": ("linear",), "by": "touchpoint", **more})
        return [[cell for cell in row if cell is not None] for row in run_attribution(journeys, question).rows]

    assert ask(conversion="product_added") == [
        ["linear", "product", pytest.approx(1.666667), pytest.approx(0.833334, abs=1e-5)],
        ["linear", "ad", pytest.approx(0.333333), pytest.approx(0.166667, abs=1e-5)],
    ]
    # The advertisement is a second too old.
    assert [row[1:3] for row in ask(conversion="share_clicked")] == [["product", 0.666667], ["cart", 0.333333]]
    # Nobody has bought, and nobody visited by a known channel: that is an answer, too.
    assert ask() == []
    assert ask(conversion="touchpoint:cart", by="marketing_channel") == [["linear", UNATTRIBUTED, 2.0, 1.0]]
    second_week = Scope(period=Period(datetime.date(2026, 3, 9), datetime.date(2026, 3, 16)), previous=True)
    assert ask(conversion="product_added", scope=second_week)[0][:2] == ["linear", "product"]
    assert ask(conversion="product_added", scope=second_week)[0][-2:] == [0.666667, pytest.approx(0.5, abs=1e-5)]
    broken = ask(conversion="product_added", scope=Scope(breakdown="device"))
    assert [row[0] for row in broken] == ["phone", "phone", "(none)"]
    segments = Scope(segments=("did:ad_clicked", "not did:ad_clicked"))
    assert [row[0] for row in ask(conversion="product_added", scope=segments)] == ["did:ad_clicked"] * 2 + [
        "not did:ad_clicked"
    ]


def test_an_order_that_was_reported_twice_is_one_conversion_of_a_goal_of_other_events_too(
    event: Callable[..., dict[str, Any]], make_lake: Callable[..., Lake], plan: Plan
) -> None:
    either = Goal(name="either", description="bought or told", events=("order_completed", "share_clicked"))
    goals = {**plan.goals, "either": structs.replace(either, value="revenue")}
    order = {"user_id": "a", "session_id": "v1", "order_id": "1", "revenue": 10.0, "currency": "EUR"}
    rows = [
        visit(event, "a", 0, "ads", 1),
        event("order_completed", 10, **order),
        event("order_completed", 20, **order),
        event("share_clicked", 30, user_id="a", session_id="v1"),
    ]
    lake, plan = make_lake(rows), structs.replace(plan, goals=goals)
    build(lake, plan)
    journeys = open_journeys(lake, plan)
    result = run_attribution(journeys, AttributionQuestion(models=("last",), conversion="either"))
    assert [row[1:6] for row in result.rows] == [["ads", 1.0, 0.5, None, None], ["ads", 1.0, 0.5, 10.0, "EUR"]]
    # As the table has it.
    reached = "SELECT COUNT(*) FROM journeys WHERE goal = 'either' AND outcome = 'reached'"
    assert journeys.rows(reached) == [(2,)]


def test_names_that_mean_nothing_are_told(shop: tuple[Journeys, Any, Any]) -> None:
    assert attribution_models(["Time-Decay", "all"])[0] == "time_decay"
    with pytest.raises(UnknownNameError, match="Did you mean linear"):
        attribution_models(["liner"])
    with pytest.raises(UnknownNameError, match="Did you mean product_added"):
        run_attribution(shop[0], AttributionQuestion(conversion="product_add"))
    with pytest.raises(AnalyticsError, match="looks at visits"):
        run_attribution(shop[0], AttributionQuestion(by="channel"))
    every = run_attribution(shop[0], AttributionQuestion(models=MODELS, by="channel"))
    assert {row[0] for row in every.rows} == set(MODELS) - {"last_non_direct"}
    with pytest.raises(AnalyticsError, match="counts person or account"):
        run_attribution(shop[0], AttributionQuestion(scope=Scope(unit="event")))
