"""Scope against counts by hand: units, segments side by side, breakdowns, the period before, time zones."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polku_analytics.analyses.conversions import conversions_sql, parse_conversion
from polku_analytics.analyses.deliveries import DeliveriesQuestion, run_deliveries
from polku_analytics.analyses.funnel import funnel_question, run_funnel
from polku_analytics.analyses.lifecycle import ActivityQuestion, run_lifecycle
from polku_analytics.analyses.person import PersonQuestion, run_person
from polku_analytics.analyses.scope import Part, Scope
from polku_analytics.analyses.segments import parse_segment
from polku_analytics.analyses.when import WhenQuestion, run_when
from polku_analytics.api import OpenLake
from polku_analytics.build import build
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import TABLES, Journeys, open_journeys
from polku_analytics.lake import Lake
from polku_analytics.period import Period
from polku_schemas import Plan
from tests.analytics.conftest import START, write_table

DAY = 86_400
STEPS = ["product_viewed", "order_completed"]


@pytest.fixture(scope="module")
def shop(new_history: Callable[[], Callable[..., dict[str, Any]]], built: Callable[..., Journeys]) -> Journeys:
    event = new_history()
    rows = [
        # Two people of one account, on two kinds of device; one comes back on another device.
        event("identify", -5, user_id="aino", trait_city="Oulu"),
        event("group", -4, user_id="aino", group_id="acme"),
        event("product_viewed", 0, user_id="aino", device="phone", price=5.0),
        event("order_completed", 60, user_id="aino", device="phone", order_id="1", revenue=10.0),
        event("group", -3, user_id="eino", group_id="acme"),
        event("product_viewed", 100, user_id="eino", device="computer", price=50.0),
        event("product_viewed", DAY, user_id="aino", device="computer", price=5.0),
        event("product_viewed", 8 * DAY, user_id="veikko", price=7.0),
        event("product_viewed", 8 * DAY + 5, user_id="eino", device="phone", price=5.0),
        event("order_completed", 8 * DAY + 60, user_id="eino", device="phone", order_id="2", revenue=20.0),
        event("product_viewed", 9 * DAY, anonymous_id="nobody", device="phone", price=7.0),
    ]
    return built(rows)


def counts(journeys: Journeys, **scope: Any) -> list[list[Any]]:
    result = run_funnel(journeys, funnel_question(journeys, STEPS, scope=Scope(**scope)))
    labels = result.columns.index("step")
    wanted = [*range(labels), labels, labels + 2]
    if "previous" in result.columns:
        wanted += [result.columns.index("previous"), result.columns.index("change")]
    return [[row[place] for place in wanted] for row in result.rows]


def test_units(shop: Journeys) -> None:
    assert counts(shop) == [[1, 4], [2, 2]]
    assert counts(shop, unit="session") == [[1, 6], [2, 2]]
    assert counts(shop, unit="account") == [[1, 1], [2, 1]]
    with pytest.raises(AnalyticsError, match="counts person or session or account, not event"):
        counts(shop, unit="event")


def test_a_breakdown_decides_the_value_of_a_unit_once(shop: Journeys) -> None:
    assert counts(shop, breakdown="device") == [
        ["phone", 1, 2],
        ["phone", 2, 1],
        ["computer", 1, 1],
        ["computer", 2, 1],
        ["(none)", 1, 1],
        ["(none)", 2, 0],
    ]
    assert counts(shop, breakdown="trait_city")[:2] == [["Oulu", 1, 1], ["Oulu", 2, 1]]
    assert counts(shop, breakdown="price", top=1) == [
        ["7.0", 1, 2],
        ["7.0", 2, 0],
        ["(other)", 1, 2],
        ["(other)", 2, 2],
    ]


@pytest.fixture(scope="module")
def imported(new_history: Callable[[], Callable[..., dict[str, Any]]], built: Callable[..., Journeys]) -> Journeys:
    """What other systems write for a value that they do not know, or that is rare, as a value of its own."""
    event = new_history()
    rows = []
    devices = ["(none)", "(other)", "(other)", "(other)", "phone", "phone", "computer", "", None, "watch"]
    for number, device in enumerate(devices):
        who = {"user_id": f"p{number}", **({} if device is None else {"device": device})}
        rows += [
            event("product_viewed", number, **who),
            event("product_added", 60 + number, product_id="p", price=2.0, quantity=1.0, currency="EUR", **who),
            event("order_completed", 120 + number, order_id=f"{number}", revenue=2.0, currency="EUR", **who),
        ]
    # What is not known at first is known later.
    late = event("product_viewed", 200, user_id="p0", device="watch")
    return built([*rows, late])


def test_reserved_names_in_the_data_join_the_groups_of_these_names(imported: Journeys) -> None:
    def first_step(top: int) -> list[list[Any]]:
        return [[name, units] for name, step, units in counts(imported, breakdown="device", top=top) if step == 1]

    assert first_step(10) == [["phone", 2], ["watch", 2], ["computer", 1], ["(other)", 3], ["(none)", 2]]
    assert first_step(2) == [["phone", 2], ["watch", 2], ["(other)", 4], ["(none)", 2]]


@pytest.mark.parametrize("values", [1, 10])
@pytest.mark.parametrize(
    ("name", "steps", "measures"),
    [
        ("funnel", ("product_viewed", "order_completed"), ("count", "dropped")),
        ("attribution", (), ("conversions", "value")),
        ("carts", (), ("units", "created", "ordered")),
        ("lifecycle", (), ("active", "new")),
        ("retention", ("product_viewed", "order_completed"), ("size", "count")),
        ("stickiness", (), ("count",)),
        ("tasks", ("product_viewed", "order_completed"), ("tasks", "finished")),
        ("graph", (), ("transitions",)),
        ("paths", (), ("transitions",)),
        ("routes", ("order_completed",), ("journeys",)),
    ],
)
def test_the_values_of_a_breakdown_add_up_to_all(
    imported: Journeys, name: str, steps: tuple[str, ...], measures: tuple[str, ...], values: int
) -> None:
    ask = getattr(OpenLake(imported), name)
    whole = ask(*steps, unit="person").dicts()
    broken = ask(*steps, unit="person", breakdown="device", values=values).dicts()
    assert whole and len({row["device"] for row in broken}) == min(values, 3) + 2
    for measure in measures:
        assert sum(row[measure] for row in broken) == pytest.approx(sum(row[measure] for row in whole)), measure


def test_who_is_counted_without_having_been_there_in_the_period_has_a_value_too(
    event: Callable[..., dict[str, Any]], built: Callable[..., Journeys]
) -> None:
    """Aino is gone in the second week, in which her order is sent; Eino stays, Veikko comes."""
    week = 7 * DAY
    rows = [
        event("order_completed", 0, user_id="aino", device="phone", order_id="1", revenue=5.0),
        event("page_viewed", 0, anonymous_id="eino", device="computer"),
        event("page_viewed", week, anonymous_id="eino", device="computer"),
        event("page_viewed", week, anonymous_id="veikko", device="computer"),
        event("order_shipped", week, order_id="1", carrier="Swift", channel="delivery"),
        event("page_viewed", 3 * week, anonymous_id="veikko", device="computer"),
    ]
    journeys = built(rows)
    second = Period(datetime.date(2026, 3, 9), datetime.date(2026, 3, 16))

    def lifecycle(breakdown: str | None) -> dict[str, tuple[int, int, int]]:
        scope = Scope(period=second, breakdown=breakdown)
        found = run_lifecycle(journeys, ActivityQuestion(scope=scope)).dicts()
        return {row.get(breakdown or "", ""): (row["new"], row["returning"], row["dormant"]) for row in found}

    assert lifecycle(None) == {"": (1, 1, 1)}
    # What she was there with in these days is not known; who she is, is.
    assert lifecycle("device") == {"computer": (1, 1, 0), "(none)": (0, 0, 1)}
    assert lifecycle("known_person") == {"false": (1, 1, 0), "true": (0, 0, 1)}

    def sent(breakdown: str) -> dict[str, int]:
        found = run_deliveries(journeys, DeliveriesQuestion(scope=Scope(period=second, breakdown=breakdown))).dicts()
        return {row[breakdown]: row["shipments"] for row in found if row["carrier"] == "Swift"}

    assert sent("known_person") == {"true": 1}
    assert sent("device") == {"(none)": 1}


def test_events_of_two_sources_with_one_id_have_values_of_their_own(
    event: Callable[..., dict[str, Any]], built: Callable[..., Journeys]
) -> None:
    journeys = built(
        [
            event("page_viewed", 0, anonymous_id="a", event_id="1", device="phone"),
            event("page_viewed", 3600, user_id="b", event_id="1", device="computer", source="till"),
        ]
    )

    def hours(breakdown: str) -> dict[str, int]:
        found = run_when(journeys, WhenQuestion(scope=Scope(unit="event", breakdown=breakdown))).dicts()
        return {row[breakdown]: row["hour"] for row in found if row["count"]}

    assert hours("device") == {"phone": 12, "computer": 13}
    assert hours("known_person") == {"false": 12, "true": 13}


def test_segments_stand_side_by_side(shop: Journeys) -> None:
    segments = (
        "trait_city = Oulu",
        "not did:order_completed",
        "orders >= 1 and stage:repeat",
        "did:product_viewed[price > 20]",
    )
    with pytest.raises(AnalyticsError, match=r"nobody is in the segment 'orders >= 1 and stage:repeat'"):
        counts(shop, segments=segments)
    assert counts(shop, segments=(*segments[:2], segments[3])) == [
        ["trait_city = Oulu", 1, 1],
        ["trait_city = Oulu", 2, 1],
        ["not did:order_completed", 1, 2],
        ["not did:order_completed", 2, 0],
        ["did:product_viewed[price > 20]", 1, 1],
        ["did:product_viewed[price > 20]", 2, 1],
    ]


def test_the_period_before_is_of_equal_length_and_has_its_own_values(shop: Journeys) -> None:
    period = Period(datetime.date(2026, 3, 9), datetime.date(2026, 3, 16))
    assert counts(shop, period=period, previous=True) == [[1, 3, 2, 0.5], [2, 1, 1, 0.0]]
    assert counts(shop, period=period, previous=True, breakdown="device") == [
        ["phone", 1, 2, 1, 1.0],
        ["phone", 2, 1, 1, 0.0],
        # Only the week before knows it.
        ["computer", 1, 0, 1, -1.0],
        ["computer", 2, 0, 0, None],
        ["(none)", 1, 1, 0, None],
        ["(none)", 2, 0, 0, None],
    ]
    # Those with a name are the largest of now, and what is gone is seen among the others.
    assert counts(shop, period=period, previous=True, breakdown="device", top=1)[2:4] == [
        ["(other)", 1, 0, 1, -1.0],
        ["(other)", 2, 0, 0, None],
    ]
    with pytest.raises(AnalyticsError, match="needs --since"):
        counts(shop, previous=True)


def test_days_are_those_of_the_time_zone_also_when_the_clocks_change() -> None:
    night = Period(datetime.date(2026, 3, 29), datetime.date(2026, 3, 30), "Europe/Helsinki")
    assert night.start == datetime.datetime(2026, 3, 28, 22, tzinfo=datetime.UTC)
    assert night.end == datetime.datetime(2026, 3, 29, 21, tzinfo=datetime.UTC)
    assert night.holds(datetime.date(2026, 3, 28)) and not night.holds(datetime.date(2026, 3, 30))
    with pytest.raises(AnalyticsError, match="unknown time zone 'Helsinki'"):
        _ = Period(datetime.date(2026, 3, 29), None, "Helsinki").start


@pytest.mark.parametrize(
    ("scope", "near"),
    [
        ({"breakdown": "devise"}, "device"),
        ({"segments": ("trait_citi = Oulu",)}, "trait_city"),
        ({"segments": ("did:order_complete",)}, "order_completed"),
        ({"segments": ("stage:purchas",)}, "purchase"),
    ],
)
def test_unknown_names_are_told_with_near_ones(shop: Journeys, scope: dict[str, Any], near: str) -> None:
    with pytest.raises(UnknownNameError, match=f"Did you mean .*{near}"):
        counts(shop, **scope)


def test_each_segment_has_its_own_values_in_the_period_before(
    built: Callable[..., Journeys], event: Callable[..., Any]
) -> None:
    """Of those who share, two were on a phone last week and one is now; of the others one was, and two are."""
    week, rows = 7 * 86_400, []
    for name, counts in (("sharer", (2, 1)), ("other", (1, 2))):
        for number, people in enumerate(counts):
            for person in range(people):
                visit = {"user_id": f"{name}{number}{person}", "device": "mobile"}
                rows.append(event("product_viewed", number * week + person, **visit))
                if name == "sharer":
                    rows.append(event("share_clicked", number * week + person + 10, **visit))
    scope = Scope(
        period=Period(datetime.date(2026, 3, 9), datetime.date(2026, 3, 16)),
        segments=("did:share_clicked", "not did:share_clicked"),
        breakdown="device",
        previous=True,
    )
    journeys = built(rows)
    result = run_funnel(journeys, funnel_question(journeys, STEPS, scope=scope))
    assert [
        (row["segment"], row["device"], row["count"], row["previous"]) for row in result.dicts() if row["step"] == 1
    ] == [
        ("did:share_clicked", "mobile", 1, 2),
        ("not did:share_clicked", "mobile", 2, 1),
    ]


def test_a_text_in_quotes_may_look_like_a_comparison(
    built: Callable[..., Journeys], event: Callable[..., dict[str, Any]]
) -> None:
    """A word before `in`, `like` or `=` within the text is no property, and `and` within it joins nothing."""
    words = ("made in finland", "it's like new", "kind = a", "salt and pepper")
    journeys = built([event("products_searched", n, user_id=f"u{n}", query=text) for n, text in enumerate(words)])
    for text in words:
        step = f'products_searched[query = "{text}"]'
        counts = [row[2] for row in run_funnel(journeys, funnel_question(journeys, [step, "order_completed"])).rows]
        assert counts == [1, 0]
    cities = built([event("identify", n, user_id=f"u{n}", trait_city=text) for n, text in enumerate(words)])
    for text in words:
        found = cities.rows(parse_segment(cities, f'trait_city = "{text}" and orders = 0').keys_sql)
        assert found == [(words.index(text),)]


def test_only_the_copy_that_counts_meets_a_condition(
    event: Callable[..., dict[str, Any]],
    make_lake: Callable[..., Lake],
    plan: Plan,
) -> None:
    """Of two copies of an event the one received first, also where the other came after the build."""
    first = event("product_viewed", 0, user_id="aino", price=5.0)
    later = {"sequence": 50, "received_at": START + datetime.timedelta(seconds=1)}
    rows = [
        first,
        event("order_completed", 60, user_id="aino", order_id="1", revenue=10.0),
        first | later | {"price": 500.0},
        event("product_viewed", 9, user_id="eino", price=7.0),
    ]
    lake = make_lake(rows)
    build(lake, plan)
    write_table(Path(lake.uri) / "events", [rows[3] | {"sequence": 51, "price": 700.0}])
    journeys = open_journeys(lake, plan)
    assert [step[-1] for step in counts(journeys, segments=("did:product_viewed[price <= 7]",))] == [2, 1]
    with pytest.raises(AnalyticsError, match="nobody is in the segment"):
        counts(journeys, segments=("did:product_viewed[price > 100]",))
    assert counts(journeys, breakdown="price") == [["5.0", 1, 1], ["5.0", 2, 1], ["7.0", 1, 1], ["7.0", 2, 0]]
    asked = funnel_question(journeys, ["product_viewed[price > 100]", "order_completed"])
    assert [row[2] for row in run_funnel(journeys, asked).rows] == [0, 0]
    costly = parse_conversion(journeys, "costly")
    whole = Part(journeys=journeys, unit="person", period=Period())
    assert journeys.rows(f"SELECT 1 FROM {conversions_sql(costly, whole)} AS c") == []
    told = run_person(open_journeys(lake, plan, (*TABLES, "person_links")), PersonQuestion(id="eino")).rows
    assert [json.loads(row[-1])["price"] for row in told] == [7.0]
