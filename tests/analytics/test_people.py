"""Timeline, segments side by side, audiences and accounts, against what was written out by hand."""

from __future__ import annotations

import csv
import datetime
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from polku_analytics.analyses.audience import AudienceQuestion, run_audience
from polku_analytics.analyses.person import PersonQuestion, run_person
from polku_analytics.analyses.scope import Scope
from polku_analytics.analyses.segment_sizes import SegmentsQuestion, run_overlap, run_rfm, run_segments
from polku_analytics.commands import options
from polku_analytics.commands.audience import audience
from polku_analytics.commands.person import person
from polku_analytics.commands.segments import segments
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import BUILT_TABLES, Journeys, open_journeys
from polku_analytics.period import Period

Make = Callable[..., Any]
DAY = 86_400


@pytest.fixture(scope="module")
def shop(new_history: Make, built: Make) -> Journeys:
    event = new_history()
    rows = [
        event("ad_clicked", 0, anonymous_id="phone"),
        event("identify", 5, anonymous_id="phone", user_id="aino", trait_city="Oulu", trait_email="aino@x.fi"),
        event("product_viewed", 10, anonymous_id="phone", user_id="aino", price=20.0, product_id="p1", group_id="acme"),
        event("product_added", 20, user_id="aino", price=20.0, product_id="p1", quantity=2.0),
        event("order_completed", 30, user_id="aino", order_id="o1", revenue=40.0, currency="EUR"),
        event("product_added", 40, user_id="aino", price=5.0, product_id="p2"),
        event("product_added", 50, user_id="aino", price=7.0, product_id="p3", quantity=2.0),
        event("product_removed", 60, user_id="aino", price=5.0, product_id="p2"),
        event("agent_contacted", 2 * DAY, user_id="aino", agent_role="service", contact_reason="delivery"),
        event("store_order_completed", 25, user_id="eino", order_id="o2", revenue=10.0, group_id="acme"),
        event("product_added", 3600, user_id="eino", price=9.0, product_id="p9", group_id="beta"),
        event("product_viewed", 3700, user_id="eino", product_id="p9"),
        event("product_viewed", 3701, user_id="eino", product_id="p8"),
        event("product_added", 2 * DAY, anonymous_id="x", price=1.0, product_id="p1"),
        event("order_completed", 2 * DAY + 1, anonymous_id="x", order_id="o3", revenue=1.0, currency="SEK"),
    ]
    journeys = built(rows)
    return open_journeys(journeys.lake, journeys.plan, BUILT_TABLES)


def test_a_timeline_is_found_by_any_id_and_keeps_personal_values_back(shop: Journeys) -> None:
    result = run_person(shop, PersonQuestion(id="phone"))
    places = [result.columns.index(name) for name in ("session", "channel", "touchpoint", "event", "revenue", "said")]
    assert [[row[place] for place in places] for row in result.rows][:4] == [
        [1, "ads", "ad", "ad_clicked", None, None],
        [1, "web", "product", "product_viewed", None, '{"price":20.0}'],
        [1, "web", "cart", "product_added", None, '{"price":20.0}'],
        [1, "web", "order", "order_completed", 40.0, '{"order_id":"o1","revenue":40.0,"currency":"EUR"}'],
    ]
    assert [row[0] for row in result.rows] == sorted(row[0] for row in result.rows)
    assert result.rows[-1][1] == 2 and result.coverage["touchpoints"] == 8
    assert result.options["profile"]["person_id"] == "aino" and result.options["profile"]["contacts"] == 1
    assert run_person(shop, PersonQuestion(id="aino", last=1)).rows == result.rows[-1:]
    late = Period(datetime.date(2026, 3, 4))
    assert [row[3] for row in run_person(shop, PersonQuestion(id="aino", period=late)).rows] == ["agent_contacted"]
    with pytest.raises(UnknownNameError, match=r"unknown person 'ainu'\. Did you mean aino"):
        run_person(shop, PersonQuestion(id="ainu"))


def test_sizes_stand_side_by_side_and_nobody_is_zero(shop: Journeys) -> None:
    conditions = ("orders >= 1", "trait_city = Oulu", "orders >= 5", "contacts >= 1")
    result = run_segments(shop, SegmentsQuestion(scope=Scope(segments=conditions)))
    assert result.columns[:5] == ["segment", "count", "share", "known", "buyers"]
    assert [row[:5] for row in result.rows] == [
        ["orders >= 1", 3, 1.0, 2, 3],
        ["trait_city = Oulu", 1, 0.333333, 1, 1],
        ["orders >= 5", 0, 0, 0, 0],
        ["contacts >= 1", 1, 0.333333, 1, 1],
    ]
    stages = tuple(f"stage:{stage}" for stage in shop.plan.stages)
    present = run_segments(shop, SegmentsQuestion(scope=Scope(segments=stages)))
    counts = {row[0].removeprefix("stage:"): row[1] for row in present.rows}
    assert counts == dict.fromkeys(shop.plan.stages, 0) | {"purchase": 3}, "a stage that nobody is in is there with 0"
    assert result.rows[0][5:] == [3, 40.0, "EUR", 2]  # one order in EUR, one in SEK, one in none: the first by name
    by_channel = run_segments(shop, SegmentsQuestion(scope=Scope(segments=("orders >= 1",), breakdown="trait_city")))
    assert [row[:3] for row in by_channel.rows] == [["orders >= 1", "Oulu", 1], ["orders >= 1", "(none)", 2]]
    period = Period(datetime.date(2026, 3, 3), datetime.date(2026, 3, 5))
    some = ("orders >= 1", "orders >= 5")
    before = run_segments(shop, SegmentsQuestion(scope=Scope(segments=some, period=period, previous=True)))
    assert before.rows[0][1] == 2 and before.rows[0][-2:] == [2, 0.0]
    assert before.rows[1][1] == 0 and before.rows[1][-2:] == [0, None]
    accounts = run_segments(shop, SegmentsQuestion(scope=Scope(segments=("orders >= 1",), unit="account")))
    assert accounts.rows[0][1:5] == [2, 1.0, 2, 1]
    with pytest.raises(AnalyticsError, match="the plan has no segments"):
        run_segments(shop, SegmentsQuestion())
    assert run_segments(shop, SegmentsQuestion(scope=Scope(segments=("orders >= 5",)))).rows[0][:3] == [
        "orders >= 5",
        0,
        0,
    ]


def test_overlap_and_scores(shop: Journeys) -> None:
    rows = run_overlap(shop, ("orders >= 1", "known_person")).rows
    assert rows == [["orders >= 1", "known_person", 3, 2, 0.666667], ["known_person", "orders >= 1", 2, 2, 1.0]]
    with pytest.raises(AnalyticsError, match="at least two"):
        run_overlap(shop, ("orders >= 1",))
    scores = run_rfm(shop, Scope())
    assert [row[:4] for row in scores.rows] == [["EUR", 2, 1, 1], ["SEK", 4, 1, 1], [None, 1, 1, 1]]
    assert run_rfm(shop, Scope(segments=("trait_city = Oulu",))).rows[0][:5] == ["trait_city = Oulu", "EUR", 2, 1, 1]


def test_who_left_a_cart_is_listed_with_what_is_in_it(shop: Journeys) -> None:
    result = run_audience(shop, AudienceQuestion(cart_idle_seconds=24 * 3600))
    assert [[row[0], *row[5:]] for row in result.rows] == [
        ["aino", 47.9836, 14.0, None, ["p3"]],
        ["eino", 47.0003, 9.0, None, ["p9"]],
    ]
    exact = run_audience(shop, AudienceQuestion(cart_idle_seconds=47 * 3600 + 3000))
    assert [row[0] for row in exact.rows] == ["aino"]
    looked = run_audience(
        shop, AudienceQuestion(segments=("known_person",), products="viewed", columns=("trait_email",))
    )
    assert [[row[0], row[5], row[6]] for row in looked.rows] == [
        ["aino", "aino@x.fi", []],  # what she looked at before her order
        ["eino", None, ["p8", "p9"]],
    ]
    assert run_audience(shop, AudienceQuestion(segments=("orders >= 9",), products="cart")).rows == []
    with pytest.raises(UnknownNameError, match="Did you mean trait_email"):
        run_audience(shop, AudienceQuestion(columns=("trait_emial",)))


def test_accounts_stand_beside_people(shop: Journeys) -> None:
    found = shop.rows(
        "SELECT account_id, people, known_people, stage, orders, currency, net_revenue FROM accounts ORDER BY 1"
    )
    assert found == [("acme", 2, 2, "purchase", 2, "EUR", 40.0), ("beta", 1, 1, "purchase", 0, None, 0.0)]


def test_the_commands_print_and_write(shop: Journeys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(options, "load_plan", lambda folder: shop.plan)

    def run(command: Any, *arguments: str) -> str:
        result = CliRunner().invoke(command, ["--lake", shop.lake.uri, *arguments], standalone_mode=False)
        if result.exception is not None:
            raise result.exception
        return str(result.stdout)

    text = run(person, "aino", "--last", "2")
    assert "agent_contacted" in text and "6 earlier touchpoints are not shown" in text and "aino@x.fi" not in text
    told = dict(line.split(maxsplit=1) for line in text.splitlines() if line.startswith(("known_person", "revenue")))
    assert told["known_person"] == "true", "in the words of the other tables"
    assert "aino@x.fi" in run(person, "aino", "--personal")
    assert "How many people are in each segment?" in run(segments, "orders >= 1", "contacts >= 1")
    assert json.loads(run(segments, "--overlap", "orders >= 1", "contacts >= 1", "--json"))["rows"][0][3] == 1
    lines = list(csv.reader(io.StringIO(run(audience, "--cart-idle", "1h"))))
    assert lines[0][:2] == ["person_id", "known_person"] and lines[1][-1] == '["p3"]'
    out = tmp_path / "carts.ndjson"
    run(audience, "--cart-idle", "1h", "--out", "ndjson", "--to", str(out))
    assert [json.loads(line)["product_ids"] for line in out.read_text().splitlines()] == [["p3"], ["p9"]]
    with pytest.raises(AnalyticsError, match="an audience needs"):
        run(audience)


def test_a_timeline_has_each_event_once_also_where_it_was_sent_again(
    built: Callable[..., Journeys], event: Callable[..., Any]
) -> None:
    look = event("product_viewed", 0, user_id="aino", price=5.0)
    again = look | {"stream": "in-2", "price": 6.0, "received_at": look["received_at"] + datetime.timedelta(days=1)}
    journeys = built([again, look, event("order_completed", 60, user_id="aino", order_id="1")])
    found = run_person(journeys, PersonQuestion(id="aino"))
    assert [(row[4], row[9]) for row in found.rows] == [
        ("product_viewed", '{"price":5.0}'),
        ("order_completed", '{"order_id":"1"}'),
    ]
    assert found.coverage["touchpoints"] == 2


@pytest.mark.parametrize("idle", [400, 3900])
def test_a_cart_left_alone_for_exactly_so_long_is_left_alone(
    built: Callable[..., Journeys], event: Callable[..., Any], idle: int
) -> None:
    """As hours with four decimals 400 seconds are less; 3900 seconds as hours, times 3600, are less, too."""
    journeys = built([event("product_added", 0, user_id="aino", price=5.0), event("page_viewed", idle, user_id="eino")])
    asked = [run_audience(journeys, AudienceQuestion(cart_idle_seconds=idle + more)).rows for more in (0, 1)]
    assert [len(rows) for rows in asked] == [1, 0]
