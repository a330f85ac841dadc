"""Contacts, complaints, satisfaction and profiles against histories by hand and counts that share no SQL."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polku_analytics.analyses.satisfaction import SatisfactionQuestion, run_satisfaction
from polku_analytics.analyses.scope import Scope
from polku_analytics.analyses.segment_sizes import run_rfm
from polku_analytics.build import build
from polku_analytics.journeys import Journeys, open_journeys
from polku_analytics.lake import Lake
from polku_schemas import Plan, Property

Make = Callable[..., Any]
DAY = 86_400.0
AT = "EPOCH_US({0}) / 1000000 - EPOCH_US(TIMESTAMPTZ '2026-03-02 12:00:00+00') / 1000000"


def seconds(column: str) -> str:
    """A time as seconds after the fixed noon of the tests."""
    return f"CAST({AT.format(column)} AS BIGINT)"


def test_a_contact_is_a_repeat_within_a_week_of_one_for_the_same_reason_or_order(built: Make, event: Make) -> None:
    week = 7 * DAY
    journeys = built(
        [
            event("agent_contacted", 0, user_id="u", agent_role="service", contact_reason="delivery", resolved=False),
            event("agent_contacted", 60, user_id="u", contact_reason="billing", order_id="o1", duration_seconds=90.0),
            event("agent_contacted", week, user_id="u", contact_reason="delivery", wait_seconds=5.0),
            event("agent_contacted", week + 61, user_id="u", contact_reason="other", order_id="o1"),
            event("agent_contacted", 2 * week + 61, user_id="u", contact_reason="return", order_id="o1"),
            event("agent_contacted", 2 * week + 70, user_id="u"),
            event("agent_contacted", 2 * week + 71, user_id="u"),
            event("agent_contacted", 1, user_id="v", contact_reason="delivery"),
        ]
    )

    found = journeys.rows(
        f"SELECT person_id, {seconds('contacted_at')}, reason, duration_seconds, wait_seconds, resolved, "
        "contact_number, repeat_contact FROM contacts ORDER BY person_id, contact_number"
    )
    assert found == [
        ("u", 0, "delivery", None, None, False, 1, False),
        ("u", 60, "billing", 90.0, None, None, 2, False),
        ("u", week, "delivery", None, 5.0, None, 3, True),  # at exactly seven days
        ("u", week + 61, "other", None, None, None, 4, False),  # the same order, a second later than seven days
        ("u", 2 * week + 61, "return", None, None, None, 5, True),
        ("u", 2 * week + 70, None, None, None, None, 6, False),
        ("u", 2 * week + 71, None, None, None, None, 7, False),  # no reason is not the same reason
        ("v", 1, "delivery", None, None, None, 1, False),
    ]


def test_a_complaint_is_settled_by_the_first_settlement_after_it(built: Make, event: Make) -> None:
    journeys = built(
        [
            event("complaint_solved", -50, user_id="u", complaint_id="c1", resolution="none"),
            event("complaint_opened", 0, user_id="u", complaint_id="c1", complaint_topic="delivery", order_id="o1"),
            event("complaint_opened", 10, user_id="u", complaint_id="c1", complaint_topic="product"),
            event("complaint_solved", 3600, user_id="u", complaint_id="c1", resolution="voucher"),
            event("complaint_solved", 7200, user_id="u", complaint_id="c1", resolution="refund"),
            event("complaint_opened", 20, user_id="u", complaint_topic="price"),
            event("complaint_opened", 5, user_id="v", complaint_id="c2"),
            event("complaint_solved", 9, user_id="u", complaint_id="c2"),
        ]
    )

    found = journeys.rows(
        f"SELECT person_id, complaint_id, {seconds('opened_at')}, topic, order_id, solved_seconds, resolution "
        "FROM complaints ORDER BY person_id, opened_at"
    )
    assert found == [
        ("u", "c1", 0, "delivery", "o1", 3600.0, "voucher"),
        ("u", "shop:e00006", 20, "price", None, None, None),
        ("v", "c2", 5, None, None, None, None),
    ]
    counted = journeys.rows("SELECT person_id, complaints, open_complaints FROM profiles ORDER BY 1")
    assert counted == [("u", 2, 1), ("v", 1, 1)]


@pytest.mark.parametrize(
    ("scale", "bands"),
    [
        (
            "nps",
            {10: "promoter", 9: "promoter", 8.5: "passive", 7: "passive", 6: "detractor", 0: "detractor", 11: None},
        ),
        ("csat", {5: "promoter", 4: "promoter", 3: "passive", 2: "detractor", 1: "detractor", 0: None, 80: None}),
        ("ces", {7: "promoter", 5: "promoter", 4: "passive", 3: "detractor", 1: "detractor", 8: None}),
        ("stars", {5: "promoter", 4: "promoter", 3.5: "passive", 3: "passive", 2.9: "detractor", 0: "detractor"}),
        ("yes_no", {1: "promoter", 0: "detractor", 2: None}),
        ("other", {1: None}),
    ],
)
def test_each_scale_has_its_bands(answers: Journeys, scale: str, bands: dict[float, str | None]) -> None:
    found = answers.rows(
        f"SELECT score, band FROM satisfaction WHERE scale = '{scale}' AND event_name = 'survey_answered'"
    )
    assert {score: band for score, band in found if score in bands} == bands


def test_the_mean_is_of_scores_within_the_scale(answers: Journeys) -> None:
    found = run_satisfaction(answers, SatisfactionQuestion(by="event_name")).rows
    means = {row[1]: row[4] for row in found if row[0] == "survey_answered"}
    assert means == {"nps": 6.214286, "csat": 3.0, "ces": 4.0, "stars": 3.066667, "yes_no": 0.5, "other": 1.0}


@pytest.fixture(scope="module")
def answers(new_history: Make, built: Make) -> Journeys:
    event = new_history()
    scores = {
        "nps": (10, 9, 8.5, 7, 6, 0, 11),
        "csat": (5, 4, 3, 2, 1, 0, 80),
        "ces": (7, 5, 4, 3, 1, 8),
        "stars": (5, 4, 3.5, 3, 2.9, 0),
        "yes_no": (1, 0, 2),
        "other": (1,),
    }
    rows = [
        event("survey_answered", n, user_id=f"{scale} {n}", scale=scale, score=float(score))
        for scale, of_scale in scores.items()
        for n, score in enumerate(of_scale)
    ]
    rows += [
        event("order_delivered", 10, user_id="u", order_id="o1"),
        event("feedback_requested", 20, user_id="u", about="delivery"),
        event("email_opened", 30, user_id="u"),
        event("survey_answered", 40, user_id="u", scale="nps", score=3.0, about="delivery", about_id="o1"),
        event("survey_answered", 41, user_id="u", scale="nps", about="delivery"),
        event("product_viewed", 50, user_id="u", category="lamps"),
        event("review_submitted", 60, user_id="u", rating=4.5, product_id="p1"),
        event("content_rated", 5, user_id="w", rating=2.0, content_id="film"),
    ]
    journeys: Journeys = built(rows)
    return journeys


def test_an_answer_follows_the_experience_before_it(answers: Journeys) -> None:
    found = answers.rows(
        "SELECT event_name, scale, score, band, about, about_id, touchpoint_before, event_before, "
        f"{seconds('before_at')} FROM satisfaction WHERE person_id IN ('u', 'w') ORDER BY person_id, answered_at"
    )
    assert found == [
        ("survey_answered", "nps", 3.0, "detractor", "delivery", "o1", "delivery", "order_delivered", 10),
        ("survey_answered", "nps", None, None, "delivery", None, "delivery", "order_delivered", 10),
        ("review_submitted", "stars", 4.5, "promoter", "product", "p1", "product", "product_viewed", 50),
        ("content_rated", "stars", 2.0, "detractor", "content", "film", None, None, None),
    ]
    # Of a person, the last survey answer with a band counts; a review of a product does not speak of us.
    assert answers.rows("SELECT satisfaction_band FROM profiles WHERE person_id = 'u'") == [("detractor",)]


def test_a_profile_gathers_what_is_known(built: Make, event: Make) -> None:
    journeys = built(
        [
            event("identify", 0, user_id="u", trait_city="Oulu"),
            event("product_viewed", 1, user_id="u", category="lamps", group_id="acme"),
            event("product_viewed", 2, user_id="u", category="chairs"),
            event("product_viewed", 3, user_id="u", category="chairs"),
            event("product_added", 4, user_id="u", category="tables"),
            event("order_completed", 5, user_id="u", order_id="1", revenue=10.0, currency="EUR"),
            event("order_completed", 6, user_id="u", order_id="2", revenue=99.0, currency="SEK"),
            event("order_completed", DAY, user_id="u", order_id="3", revenue=30.0, currency="EUR"),
            event("agent_contacted", DAY + 5, user_id="u", contact_reason="return", group_id="beta"),
            event("product_viewed", 3 * DAY, anonymous_id="nobody"),
        ]
    )

    found = journeys.rows(
        "SELECT person_id, trait_city, orders, currency, currencies, revenue, net_revenue, lifetime_value, frequency, "
        "monetary, recency_days, rfm, preferred_category, contacts, account_id, satisfaction_band FROM profiles "
        "ORDER BY person_key"
    )
    assert found == [
        ("u", "Oulu", 3, "EUR", 2, 40.0, 40.0, 40.0, 2, 20.0, 2.0, "1-1-1", "tables", 1, "beta", None),
        ("nobody", None, 0, None, 0, 0.0, 0.0, 0.0, 0, None, None, None, None, 0, None, None),
    ]


def test_the_money_of_a_day_is_of_days_whose_money_is_known(built: Make, event: Make) -> None:
    """An order that says no revenue, and one in another currency, make a day with an order, and none of 0 EUR."""
    euros = {"currency": "EUR"}
    journeys = built(
        [
            event("order_completed", 0, user_id="u", order_id="1", **euros),
            event("order_completed", DAY, user_id="u", order_id="2", revenue=99.0, currency="SEK"),
            event("order_completed", 2 * DAY, user_id="u", order_id="3", revenue=8.0, **euros),
            event("order_completed", 0, user_id="v", order_id="4", revenue=5.0, **euros),
            event("order_completed", 2 * DAY, user_id="w", order_id="5", **euros),
        ]
    )
    found = journeys.rows(
        "SELECT person_id, frequency, net_revenue, monetary, m_score FROM profiles ORDER BY person_id"
    )
    assert found == [("u", 3, 8.0, 8.0, 4), ("v", 1, 5.0, 5.0, 2), ("w", 1, None, None, 1)]
    scores = {(row["r_score"], row["f_score"]): row["mean_monetary"] for row in run_rfm(journeys, Scope()).dicts()}
    assert scores == {(2, 4): 8.0, (1, 1): 5.0, (2, 1): None}


def test_money_is_scored_among_those_who_pay_in_the_same_currency(built: Make, event: Make) -> None:
    """500 SEK are not more than 100 EUR."""
    orders = (("a", 100.0, "EUR"), ("b", 50.0, "EUR"), ("c", 500.0, "SEK"), ("d", 400.0, "SEK"), ("e", 900.0, "SEK"))
    rows = [
        event("order_completed", 0, user_id=user, order_id=user, revenue=revenue, currency=currency)
        for user, revenue, currency in orders
    ]
    found = built(rows).rows("SELECT person_id, m_score FROM profiles ORDER BY person_id")
    assert found == [("a", 3), ("b", 1), ("c", 2), ("d", 1), ("e", 4)]


def test_of_traits_told_at_one_time_the_last_by_event_and_source_is_known(built: Make, event: Make) -> None:
    told = [
        event("identify", 0, user_id="u", event_id=name, source=source, trait_city=f"{name} {source}")
        for name, source in (("e1", "z"), ("e2", "shop"), ("e2", "till"), ("e2", "app"))
    ]
    rows = built([*told, event("page_viewed", 9, user_id="u")]).rows("SELECT trait_city FROM persons")
    assert rows == [("e2 till",)]


def score(values: dict[str, float], name: str) -> int:
    """1 + floor(5 × the share who are strictly worse)."""
    return 1 + int(5 * sum(other < values[name] for other in values.values()) / len(values))


an_order = st.tuples(st.sampled_from("abcdefg"), st.integers(0, 9), st.sampled_from([5.0, 10.0, 20.0]))


@settings(max_examples=3)
@given(st.lists(an_order, min_size=1, max_size=30))
def test_scores_are_what_counting_by_hand_gives(
    make_lake: Callable[..., Lake], plan: Plan, new_history: Make, orders: list[tuple[str, int, float]]
) -> None:
    event = new_history()
    rows = [
        event("order_completed", day * DAY / 2, user_id=user, order_id=str(n), revenue=revenue)
        for n, (user, day, revenue) in enumerate(orders)
    ]
    lake = make_lake([*rows, event("page_viewed", 5 * DAY, anonymous_id="x")])
    build(lake, plan)

    days: dict[str, set[int]] = defaultdict(set)
    money: Counter[str] = Counter()
    last: dict[str, float] = {}
    for user, day, revenue in orders:
        days[user].add(int((day * DAY / 2 + 12 * 3600) // DAY))  # the histories begin at noon
        money[user] += revenue
        last[user] = max(last.get(user, 0.0), day / 2)
    frequency = {user: float(len(on)) for user, on in days.items()}
    monetary = {user: money[user] / frequency[user] for user in days}
    recent = {user: last[user] for user in days}
    expected = {
        user: (
            5 - last[user],
            len(days[user]),
            round(monetary[user], 9),
            f"{score(recent, user)}-{score(frequency, user)}-{score(monetary, user)}",
        )
        for user in days
    }
    found = open_journeys(lake, plan).rows(
        "SELECT person_id, recency_days, frequency, ROUND(monetary, 9), rfm FROM profiles WHERE orders > 0"
    )
    assert {row[0]: tuple(row[1:]) for row in found} == expected


def test_a_plan_that_means_something_else_by_a_name_gives_nulls(
    make_lake: Callable[..., Lake], plan: Plan, event: Make
) -> None:
    from msgspec.structs import replace

    theirs = {
        "agent_role": Property(name="agent_role", type="integer", description=""),
        "reason": Property(
            name="reason", type="array", description="", items=Property(name="r", type="string", description="")
        ),
    }
    used = replace(plan.events["share_clicked"], properties=theirs)
    other = replace(plan, properties={**plan.properties, **theirs}, events={**plan.events, "share_clicked": used})
    lake = make_lake([event("agent_contacted", 0, user_id="u", contact_reason="delivery")])
    build(lake, other)

    assert open_journeys(lake, other).rows("SELECT reason, reason_text, agent_role FROM contacts") == [
        ("delivery", None, None)
    ]


def test_orders_of_an_account_are_those_of_its_sessions(built: Make, event: Make) -> None:
    """Whose account becomes known only after the order, and who changes the account in the middle of a visit."""
    order = {"revenue": 10.0, "currency": "EUR"}
    journeys = built(
        [
            event("order_completed", 0, user_id="early", order_id="1", **order),
            event("group", 5, user_id="early", group_id="acme"),
            event("page_viewed", 6, user_id="early"),
            event("page_viewed", 0, user_id="both", group_id="beta"),
            event("order_completed", 5, user_id="both", order_id="2", **order),
            event("page_viewed", 9, user_id="both", group_id="gamma"),
        ]
    )
    found = journeys.rows("SELECT account_id, people, orders, net_revenue FROM accounts ORDER BY account_id")
    assert found == [("acme", 1, 1, 10.0), ("gamma", 1, 1, 10.0)]


def test_what_goes_from_the_wishlist_into_the_cart_is_put_into_the_cart(built: Make, event: Make) -> None:
    journeys = built(
        [
            event("product_viewed", 0, user_id="u", category="tents"),
            event("wishlist_product_added_to_cart", 5, user_id="u", category="lamps"),
            event("product_viewed", 9, user_id="u", category="tents"),
        ]
    )
    assert journeys.rows("SELECT preferred_category FROM profiles") == [("lamps",)]
