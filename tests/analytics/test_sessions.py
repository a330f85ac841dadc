"""Where sessions end, by each rule; and what is known of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polku_analytics.build import build
from polku_analytics.errors import AnalyticsError
from polku_analytics.journeys import open_journeys
from polku_analytics.lake import Lake
from polku_analytics.session_rules import DEFAULT_RULES, SessionRules
from polku_schemas import Plan
from tests.analytics.conftest import write_table

MINUTE = 60
EVENING = 9 * 3600 + 50 * MINUTE
"""From noon to ten before ten in UTC, when it is ten before midnight in Helsinki."""


@pytest.fixture(scope="module")
def lake(make_lake: Callable[..., Lake], new_history: Callable[[], Callable[..., dict[str, Any]]]) -> Lake:
    event = new_history()
    return make_lake(
        [
            event("page_viewed", 0, user_id="gap"),
            event("page_viewed", 30 * MINUTE, user_id="gap"),
            event("page_viewed", 60 * MINUTE + 1, user_id="gap"),
            event("page_viewed", 0, user_id="campaign"),
            event("page_viewed", 5, user_id="campaign", utm_campaign="spring"),
            event("page_viewed", 10, user_id="campaign"),
            event("page_viewed", 15, user_id="campaign", utm_campaign="spring"),
            event("page_viewed", 20, user_id="campaign", utm_campaign="summer"),
            event("page_viewed", EVENING, user_id="night"),
            event("page_viewed", EVENING + 15 * MINUTE, user_id="night"),
            event("page_viewed", 0, user_id="client", session_id="s1"),
            event("page_viewed", 2 * 3600, user_id="client", session_id="s1"),
        ]
    )


@pytest.mark.parametrize(
    ("rules", "sessions"),
    [
        ({}, {"gap": 2, "campaign": 1, "night": 1, "client": 1}),
        ({"new_at_gap": True}, {"gap": 3, "campaign": 1, "night": 1, "client": 1}),
        ({"gap_seconds": 3600}, {"gap": 1, "campaign": 1, "night": 1, "client": 1}),
        ({"new_on_campaign": True}, {"gap": 2, "campaign": 3, "night": 1, "client": 1}),
        ({"midnight": "Europe/Helsinki"}, {"gap": 2, "campaign": 1, "night": 2, "client": 1}),
        ({"client_ids": False}, {"gap": 2, "campaign": 1, "night": 1, "client": 2}),
    ],
)
def test_each_rule(lake: Lake, plan: Plan, rules: dict[str, Any], sessions: dict[str, int]) -> None:
    build(lake, plan, sessions=SessionRules(**rules))

    found = open_journeys(lake, plan).rows("SELECT person_id, COUNT(*) FROM sessions GROUP BY person_id")
    assert dict(found) == sessions


def test_other_rules_than_before_make_everything_new(lake: Lake, plan: Plan) -> None:
    build(lake, plan)
    assert build(lake, plan).kind == "nothing new"
    again = build(lake, plan, sessions=SessionRules(gap_seconds=600))
    assert again.kind == "full" and "rules of sessions" in str(again.why_full)


def test_the_lake_keeps_its_rules(
    make_lake: Callable[..., Lake], plan: Plan, event: Callable[..., dict[str, Any]]
) -> None:
    def sessions() -> int:
        return int(open_journeys(lake, plan).rows("SELECT COUNT(*) FROM sessions")[0][0])

    def came(*minutes: int) -> None:
        write_table(Path(lake.uri) / "events", [event("page_viewed", at * MINUTE, user_id="u") for at in minutes])

    lake = make_lake([event("page_viewed", at * MINUTE, user_id="u") for at in (0, 50)])
    first = build(lake, plan)
    assert (first.sessions, sessions()) == (DEFAULT_RULES, 2)

    hour = SessionRules(gap_seconds=3600)
    told = build(lake, plan, sessions=hour)
    assert told.kind == "full" and "now the client's session id" in str(told.why_full) and "1h" in str(told.why_full)
    assert (told.sessions, sessions()) == (hour, 1)
    came(100)
    told = build(lake, plan)
    assert (told.kind, told.sessions, sessions()) == ("incremental", hour, 1)
    told = build(lake, plan, full=True)
    assert (told.kind, told.sessions, sessions()) == ("full", hour, 1)
    assert build(lake, plan, sessions=hour).kind == "nothing new"

    told = build(lake, plan, sessions=DEFAULT_RULES)
    assert (told.kind, told.sessions, sessions()) == ("full", DEFAULT_RULES, 3)
    came(200)
    assert (build(lake, plan).kind, sessions()) == ("incremental", 4)


def test_engaged_time_counts_a_minute_between_touchpoints_at_most(
    make_lake: Callable[..., Lake], plan: Plan, event: Callable[..., dict[str, Any]]
) -> None:
    lake = make_lake(
        [
            event("page_viewed", 0, user_id="a"),
            event("product_viewed", 20, user_id="a"),
            event("product_viewed", 620, user_id="a"),
            event("product_viewed", 0, user_id="b"),
            event("product_viewed", 10, user_id="b"),
            event("page_viewed", 0, user_id="c"),
            event("page_viewed", 1, user_id="c"),
            event("order_completed", 0, user_id="d"),
        ]
    )
    build(lake, plan)
    assert open_journeys(lake, plan).rows(
        "SELECT person_id, duration_seconds, engaged_seconds, engaged FROM sessions ORDER BY 1"
    ) == [("a", 620.0, 80.0, True), ("b", 10.0, 10.0, False), ("c", 1.0, 1.0, True), ("d", 0.0, 0.0, True)]


def test_the_rules_say_what_they_are() -> None:
    assert SessionRules().words.endswith("ends when more than 30m pass without an event")
    rules = SessionRules(gap_seconds=3600, new_at_gap=True, midnight="UTC", client_ids=False)
    assert rules.words == "one that ends when 1h pass without an event, or when it is midnight in UTC"
    with pytest.raises(AnalyticsError, match="unknown time zone"):
        SessionRules(midnight="Helsinki")
