"""Campaigns, page speed and daily figures against counts by hand and plain loops."""

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
from msgspec import structs
from scipy import stats

from polku_analytics.analyses.campaigns import CampaignsQuestion, run_campaigns
from polku_analytics.analyses.performance import PerformanceQuestion, run_performance
from polku_analytics.analyses.scope import Scope
from polku_analytics.build import build
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys, open_journeys
from polku_analytics.lake import Lake
from polku_analytics.period import Period
from polku_analytics.scorecards.card import run_scorecard
from polku_schemas import Plan, Target
from tests.analytics.conftest import write_table

DAY = 86_400
WINDOW = 7 * DAY
SENT = 10 * DAY


@pytest.fixture(scope="module")
def shop(
    new_history: Callable[[], Callable[..., dict[str, Any]]], built: Callable[..., Journeys]
) -> tuple[Journeys, dict[bool, list[int]]]:
    """A hundred people who were there before; half get a mail after which they order more. And two who came by it."""
    draw, event, rows, number = random.Random(4), new_history(), [], 0
    more: dict[bool, list[int]] = defaultdict(list)
    for person in range(100):
        user, treated = f"p{person}", person % 2 == 0
        rows.append(event("page_viewed", 0, user_id=user))
        counts = []
        for begun, chance in ((SENT - WINDOW, 0.3), (SENT, 0.7 if treated else 0.3)):
            orders = sum(draw.random() < chance for _ in range(2))
            for _ in range(orders):
                number += 1
                at = begun + draw.randrange(1, WINDOW)
                rows.append(event("order_completed", at, user_id=user, order_id=f"o{number}", revenue=1.0))
            counts.append(orders)
        more[treated].append(counts[1] - counts[0])
        if treated:
            mail = {"user_id": user, "campaign_id": "spring", "email_id": f"m{person}", "channel": None}
            rows += [event("email_sent", SENT, **mail), event("email_opened", SENT + 60, **mail)][: 1 + (person < 60)]
    for place, (user, money) in enumerate((("p0", "EUR"), ("p2", "EUR"), ("p4", "SEK"))):
        visit = {"user_id": user, "session_id": f"s{place}", "utm_campaign": "spring", "device": "phone"}
        at = SENT + WINDOW + DAY
        rows.append(event("email_clicked", at - 9, user_id=user, campaign_id="spring", channel=None))
        rows.append(event("page_viewed", at, **visit))
        rows.append(event("product_added", at + 10, **visit))
        rows.append(event("product_added", at + 15, **visit))
        rows.append(event("order_completed", at + 20, order_id=f"c{place}", revenue=30.0, currency=money, **visit))
    return built(rows), more


def test_a_campaign_from_sent_to_earned(shop: tuple[Journeys, dict[bool, list[int]]]) -> None:
    journeys, more = shop
    result = run_campaigns(journeys, CampaignsQuestion(window_seconds=WINDOW))
    rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
    assert [row["currency"] for row in rows] == ["EUR", "SEK"]
    for row in rows:
        counts = [row[name] for name in ("sent", "opened", "clicked", "visited", "with_cart", "ordered")]
        assert counts == [50, 30, 3, 3, 3, 3]
    assert [(row["orders"], row["net_revenue"], row["result"], row["spend"]) for row in rows] == [
        (2, 60.0, 60.0, None),
        (1, 30.0, 30.0, None),
    ]
    tested = stats.ttest_ind(more[True], more[False], equal_var=False)
    assert rows[0]["extra_orders_per_person"] == pytest.approx(np.mean(more[True]) - np.mean(more[False]), abs=1e-6)
    assert rows[0]["extra_p_value"] == pytest.approx(tested.pvalue, abs=1e-8)
    assert tested.pvalue < 0.05


def test_the_table_has_the_same(shop: tuple[Journeys, dict[bool, list[int]]]) -> None:
    journeys, _ = shop
    told = journeys.rows(
        "SELECT campaign, sent, opened, clicked, visits, carts, orders, orders_in_other_currencies, net_revenue, "
        "margin, currency FROM campaigns"
    )
    assert told == [("spring", 50, 30, 3, 3, 3, 3, 1, 60.0, None, "EUR")]


def test_spend_and_the_options_of_every_question(shop: tuple[Journeys, dict[bool, list[int]]]) -> None:
    journeys, _ = shop

    def ask(**scope: Any) -> list[list[Any]]:
        return run_campaigns(journeys, CampaignsQuestion(window_seconds=WINDOW, scope=Scope(**scope))).rows

    assert [row[:7] for row in ask(breakdown="device")] == [
        ["phone", "spring", 3, 3, 3, 3, 3],
        ["phone", "spring", 3, 3, 3, 3, 3],
        ["(none)", "spring", 47, 27, 0, 0, 0],
    ]
    before = datetime.date(2026, 3, 2), datetime.date(2026, 3, 9)
    assert ask(period=Period(*before)) == []
    week = Period(datetime.date(2026, 3, 9), datetime.date(2026, 3, 16))
    assert [row[1] for row in ask(period=week, unit="session")] == [50]
    assert ask(period=week, previous=True)[0][-2:] == [0, None]
    assert [row[0] for row in ask(segments=("orders > 2", "orders > 0"), period=week)] == ["orders > 2", "orders > 0"]
    with pytest.raises(UnknownNameError, match="Did you mean spring"):
        run_campaigns(journeys, CampaignsQuestion(campaign="sprin"))
    spend = [
        {"date": datetime.date(2026, 3, 12), "utm_campaign": "spring", "amount": 20.0, "currency": "EUR"},
        {"date": datetime.date(2026, 3, 12), "utm_campaign": "spring", "amount": 0.5, "currency": "EUR"},
    ]
    table = Path(journeys.lake.uri) / "spend"
    write_deltalake(str(table), pa.Table.from_pylist(spend).append_column("marketing_channel", pa.array(["email"] * 2)))
    told = {row[10]: row[11:14] for row in run_campaigns(journeys, CampaignsQuestion(campaign="spring")).rows}
    assert told == {"EUR": [20.5, 39.5, pytest.approx(60 / 20.5, abs=1e-6)], "SEK": [None, 30.0, None]}


def test_what_was_paid_for_and_reached_nobody_is_a_row_of_zeros(
    make_lake: Callable[..., Lake], plan: Plan, event: Callable[..., dict[str, Any]]
) -> None:
    visit = {"user_id": "u", "session_id": "s", "utm_campaign": "spring", "device": "phone"}
    rows = [
        event("page_viewed", 0, **visit),
        event("order_completed", 5, order_id="o", revenue=30.0, currency="EUR", **visit),
        event("email_sent", 9, user_id="u", campaign_id="letter", channel=None),
    ]
    lake = make_lake(rows)
    build(lake, plan)
    first, later = datetime.date(2026, 3, 2), datetime.date(2026, 3, 20)
    spend = [
        (first, "spring", 10.0, "EUR"),
        (first, "spring", 4.0, "SEK"),
        (first, "poster", 7.0, "EUR"),
        (first, "poster", 1.0, "SEK"),
        (later, "tram", 5.0, "EUR"),
        (first, "empty", None, "EUR"),
        (first, None, 99.0, "EUR"),
    ]
    columns = ("date", "utm_campaign", "amount", "currency")
    table = pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in spend])
    write_deltalake(
        lake.table_uri("spend"), table.append_column("marketing_channel", pa.array(["ads"] * len(spend), pa.string()))
    )
    journeys = open_journeys(lake, plan)

    def ask(campaign: str | None = None, **scope: Any) -> list[Any]:
        result = run_campaigns(journeys, CampaignsQuestion(campaign=campaign, scope=Scope(**scope)))
        wanted = ("campaign", "currency", "sent", "visited", "orders", "net_revenue", "spend", "result")
        return [tuple(row[name] for name in wanted) for row in result.dicts()]

    assert ask() == [
        ("spring", "EUR", 0, 1, 1, 30.0, 10.0, 20.0),
        ("letter", None, 1, 0, 0, 0.0, None, 0.0),
        ("tram", "EUR", 0, 0, 0, 0.0, 5.0, -5.0),
        ("poster", "EUR", 0, 0, 0, 0.0, 7.0, -7.0),
        ("poster", "SEK", 0, 0, 0, 0.0, 1.0, -1.0),
        ("spring", "SEK", 0, 1, 0, 0.0, 4.0, -4.0),
    ]
    assert {row[0] for row in ask()} == {row[0] for row in journeys.rows("SELECT campaign FROM campaigns")} | {
        "poster",
        "tram",
    }
    assert [row[:2] for row in ask("tram")] == [("tram", "EUR")]
    # Money is of days, and of nobody in particular: other days, or some people only, have no such row.
    assert [row[0] for row in ask(period=Period(later, later + datetime.timedelta(days=7)))] == ["tram"]
    assert [row[0] for row in ask(breakdown="device")] == ["spring", "letter"]
    assert [row[0] for row in ask("tram", segments=("orders > 0",))] == []
    with pytest.raises(UnknownNameError, match="Did you mean poster"):
        ask("postre")
    week = Period(datetime.date(2026, 3, 9), datetime.date(2026, 3, 16))
    compared = run_campaigns(journeys, CampaignsQuestion(scope=Scope(period=week, previous=True))).dicts()
    # Of a campaign that is over it is told who ordered, which is of all its currencies.
    assert {(row["campaign"], row["currency"], row["previous"]) for row in compared} == {
        ("spring", None, 1),
        ("letter", None, 0),
        ("poster", None, 0),
    }


def test_days(shop: tuple[Journeys, dict[bool, list[int]]]) -> None:
    journeys, _ = shop
    rows = journeys.rows(
        "SELECT event_time, channel, person_key, session_key, order_id IS NOT NULL, revenue FROM touchpoints"
    )
    days: dict[Any, list[Any]] = defaultdict(lambda: [set(), set(), 0, 0])
    for at, channel, person, session, ordered, _ in rows:
        of_day = days[at.date(), channel]
        of_day[0].add(person)
        of_day[1].add(session)
        of_day[2] += 1
        of_day[3] += ordered
    expected = {key: (len(a), len(b), c, d) for key, (a, b, c, d) in days.items()}
    found = journeys.rows("SELECT day, channel, people, sessions, touchpoints, orders FROM daily_metrics")
    assert {(row[0], row[1]): row[2:] for row in found} == expected


def test_the_orders_behind_a_days_revenue_are_counted(
    event: Callable[..., dict[str, Any]], built: Callable[..., Journeys]
) -> None:
    """A day's net_revenue ÷ `valued_orders` is its average order, whatever orders say no value or are in kronor."""
    euros = {"user_id": "u", "currency": "EUR"}
    rows = [
        event("order_completed", 0, order_id="1", revenue=10.0, **euros),
        event("order_completed", 1, order_id="2", revenue=30.0, **euros),
        event("order_completed", 2, order_id="3", **euros),
        event("order_completed", 3, order_id="4", revenue=99.0, user_id="v", currency="SEK"),
        event("order_completed", DAY, order_id="5", **euros),
        event("page_viewed", 2 * DAY, user_id="u"),
    ]
    found = built(rows).rows("SELECT orders, valued_orders, net_revenue, currency FROM daily_metrics ORDER BY day")
    assert found == [(4, 2, 40.0, "EUR"), (1, 0, None, "EUR"), (0, 0, 0.0, None)]


def test_page_speed_and_conversion(event: Callable[..., dict[str, Any]], built: Callable[..., Journeys]) -> None:
    draw, rows, loads, sessions = random.Random(1), [], defaultdict(list), defaultdict(set)
    bought = set()
    for number in range(120):
        browser = draw.choice(["Chrome", "Old"])
        at, visit = number * DAY, {"user_id": f"u{number}", "session_id": f"s{number}", "browser": browser}
        for place in range(draw.randrange(3)):
            page = draw.choice(["/a", "/b"])
            load = float(draw.randrange(500, 5000) * (2 if browser == "Old" else 1))
            lcp = load * 0.8 if draw.random() < 0.5 else None
            measured = {"page_path": page, "load_ms": load, "lcp_ms": lcp, **visit}
            rows.append(event("page_performance_measured", at + place, **measured))
            loads[page, browser].append((load, lcp))
            sessions[page, browser].add(number)
        if draw.random() < 0.4:
            rows.append(event("order_completed", at + 60, order_id=f"{number}", revenue=1.0, **visit))
            bought.add(number)
    journeys = built(rows)
    result = run_performance(journeys, PerformanceQuestion(fewest=1))
    found = {(row[0], row[2]): dict(zip(result.columns, row, strict=True)) for row in result.rows}
    assert found.keys() == loads.keys()
    for key, measured in loads.items():
        row, there = found[key], sessions[key]
        assert row["samples"] == len(measured)
        assert row["p75_load_ms"] == pytest.approx(np.percentile([load for load, _ in measured], 75), abs=1e-3)
        painted = [lcp for _, lcp in measured if lcp is not None]
        assert row["p75_lcp_ms"] == pytest.approx(np.percentile(painted, 75), abs=1e-3)
        assert row["slow"] == sum((load if lcp is None else lcp) > 2500 for load, lcp in measured)
        assert (row["sessions"], row["converted"]) == (len(there), len(there & bought))
        assert row["p75_cls"] is None
    slow = [row[result.columns.index("slow")] for row in result.rows]
    assert slow == sorted(slow, reverse=True)

    none, most = run_performance(journeys, PerformanceQuestion(fewest=1000)), max(map(len, loads.values()))
    assert none.rows == []
    assert none.coverage["no_rows_because"] == (
        f"of {sum(map(len, loads.values()))} measurements at most {most} are of one page, device and browser, and a "
        f"row must stand on 1000: lower --fewest to {most}, or ask about a longer period"
    )
    assert run_performance(journeys, PerformanceQuestion(fewest=most)).rows
    only = run_performance(journeys, PerformanceQuestion(fewest=1, scope=Scope(unit="session", breakdown="browser")))
    assert {(row[0], row[3]) for row in only.rows} == {("Chrome", "Chrome"), ("Old", "Old")}
    first = Period(datetime.date(2026, 4, 2), datetime.date(2026, 5, 2))
    compared = run_performance(
        journeys, PerformanceQuestion(by="page", fewest=1, scope=Scope(unit="session", period=first, previous=True))
    )
    assert any(row[-1] is not None for row in compared.rows)
    buyers = run_performance(
        journeys, PerformanceQuestion(fewest=1, scope=Scope(unit="session", segments=("orders > 0",)))
    )
    assert all(row[-1] == 1.0 for row in buyers.rows)
    with pytest.raises(AnalyticsError, match="counts session"):
        run_performance(journeys, PerformanceQuestion(scope=Scope()))
    with pytest.raises(UnknownNameError, match="goal or event"):
        run_performance(journeys, PerformanceQuestion(conversion="sale"))


def test_what_says_nothing_of_speed_is_not_fast(
    event: Callable[..., dict[str, Any]], built: Callable[..., Journeys]
) -> None:
    """Two of three pages were slow; what else was measured of three others, their layout, does not say how fast."""
    told = [{"lcp_ms": 3000.0}, {"load_ms": 2600.0}, {"lcp_ms": 900.0}, *[{"cls": 0.1}] * 3]
    rows = [
        event("page_performance_measured", number, user_id=f"u{number}", page_path="/a", **measured)
        for number, measured in enumerate(told)
    ]
    (row,) = run_performance(built(rows), PerformanceQuestion(fewest=1)).dicts()
    assert (row["samples"], row["slow"], row["slow_share"]) == (6, 2, pytest.approx(2 / 3, abs=1e-6))


def test_the_table_knows_what_was_spent(
    make_lake: Callable[..., Lake], plan: Plan, new_history: Callable[[], Any]
) -> None:
    """Against plain Python: campaigns with orders and spend in several currencies, and each without the other."""
    draw, event, rows, spend = random.Random(8), new_history(), [], []
    earned: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    paid: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    bills: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for number in range(60):
        campaign, currency, amount = f"c{draw.randrange(8)}", draw.choice(["EUR", "SEK"]), float(draw.randrange(1, 50))
        visit = {"user_id": f"u{number}", "session_id": f"s{number}", "utm_campaign": campaign}
        rows.append(event("page_viewed", number * 100, **visit))
        if campaign not in ("c0", "c1"):
            made = {"order_id": f"o{number}", "revenue": amount, "currency": currency}
            rows.append(event("order_completed", number * 100 + 5, **made, **visit))
            earned[campaign][currency].append(amount)
    for number in range(40):
        campaign, currency, amount = f"c{draw.randrange(12)}", draw.choice(["EUR", "SEK"]), float(draw.randrange(1, 20))
        day = datetime.date(2026, 3, 2) + datetime.timedelta(days=number)
        if campaign not in ("c0", "c7"):
            paid[campaign][currency] += amount
            bills[campaign][currency] += 1
            spend.append((day, "email", campaign, amount, currency))
    spend.append((datetime.date(2026, 3, 2), "email", None, 1000.0, "EUR"))
    # Kronor are small money: one large bill in SEK beside two in EUR is not more.
    for currency, amount in (("SEK", 100.0), ("EUR", 7.0), ("EUR", 8.0)):
        paid["d"][currency] += amount
        bills["d"][currency] += 1
        spend.append((datetime.date(2026, 3, 2), "email", "d", amount, currency))
    columns = ("date", "marketing_channel", "utm_campaign", "amount", "currency")
    table = pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in spend])

    lake = make_lake(rows)
    build(lake, plan)
    assert {row[0] for row in told(lake, plan)} == {f"c{number}" for number in range(8)}
    assert all(row[3:] == (None, None) for row in told(lake, plan))
    write_deltalake(lake.table_uri("spend"), table)
    assert [table.name for table in build(lake, plan).tables] == ["campaigns"]

    wanted = []
    for campaign in sorted({*(f"c{number}" for number in range(8)), *paid}):
        counts, costs = earned.get(campaign), paid.get(campaign, {})
        if counts:
            currency: str | None = min(counts, key=lambda one: (-len(counts[one]), one))
        else:
            currency = min(costs, key=lambda one: (-bills[campaign][one], one), default=None)
        revenue = sum(counts[str(currency)]) if counts else 0.0
        cost = costs.get(str(currency))
        wanted.append((campaign, currency, revenue, cost, pytest.approx(revenue / cost) if cost else None))
    assert told(lake, plan) == wanted
    assert any(row[3] is None for row in wanted) and any(row[2] == 0 and row[3] for row in wanted)


def told(lake: Lake, plan: Plan) -> list[tuple[Any, ...]]:
    return open_journeys(lake, plan).rows(
        "SELECT campaign, currency, net_revenue, spend, return_on_spend FROM campaigns ORDER BY campaign"
    )


def test_return_on_spend_of_a_period(
    make_lake: Callable[..., Lake], plan: Plan, new_history: Callable[[], Any]
) -> None:
    """The scorecard of marketing: orders in visits of what was paid for in the period, against the plan's target."""
    event, rows = new_history(), []
    for number, (day, campaign, currency, revenue) in enumerate(
        [
            (0, "a", "EUR", 10.0),
            (7, "a", "EUR", 30.0),
            (8, "b", "EUR", 50.0),
            (9, "a", "SEK", 70.0),
            (20, "a", "EUR", 9.0),
        ]
    ):
        visit = {"user_id": f"u{number}", "session_id": f"s{number}", "utm_campaign": campaign}
        rows.append(
            event("order_completed", day * DAY, order_id=str(number), revenue=revenue, currency=currency, **visit)
        )
    columns = ("date", "marketing_channel", "utm_campaign", "amount", "currency")
    spend = [
        (datetime.date(2026, 3, 3), "ads", "a", 40.0, "EUR"),
        (datetime.date(2026, 3, 10), "ads", "a", 12.0, "EUR"),
        (datetime.date(2026, 3, 11), "ads", None, 99.0, "EUR"),
        (datetime.date(2026, 3, 11), "ads", "a", 5.0, "SEK"),
    ]
    lake = make_lake(rows)
    target = Target(name="paying", description="", measure="return_on_spend", of="order", value=2.0, period="month")
    aimed = structs.replace(plan, targets={"paying": target})
    build(lake, aimed)
    week = Period(datetime.date(2026, 3, 9), datetime.date(2026, 3, 16))

    def figure(**scope: Any) -> dict[str, Any]:
        result = run_scorecard(open_journeys(lake, aimed), "marketing", Scope(period=week, **scope))
        rows = [dict(zip(result.columns, row, strict=True)) for row in result.rows]
        return next(row for row in rows if row["figure"] == "return_on_spend")

    assert figure()["left_out_because"] == "the lake has no table spend"
    write_deltalake(
        lake.table_uri("spend"), pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in spend])
    )
    found = figure()
    assert (found["value"], found["of"]) == (2.5, "EUR")  # 30 ÷ 12
    assert (found["previous"], found["target"], found["target_met"]) == (0.25, 2.0, True)  # 10 ÷ 40
    assert figure(segments=("orders >= 1",))["value"] is None


def test_return_on_spend_is_compared_in_one_currency(
    make_lake: Callable[..., Lake], plan: Plan, new_history: Callable[[], Any]
) -> None:
    """Twice something was spent in EUR this week, and once in SEK, which is more as a bare number: EUR it is, also of
    the week before."""
    event, rows = new_history(), []
    orders = [(0, "EUR", 30.0), (0, "SEK", 1000.0), (7, "EUR", 60.0), (7, "SEK", 50.0)]
    for number, (day, currency, revenue) in enumerate(orders):
        visit = {"user_id": f"u{number}", "session_id": f"s{number}", "utm_campaign": "a", "order_id": f"{number}"}
        rows.append(event("order_completed", day * DAY, revenue=revenue, currency=currency, **visit))
    lake = make_lake(rows)
    build(lake, plan)
    before, now = datetime.date(2026, 3, 2), datetime.date(2026, 3, 9)
    spend = [(before, 10.0, "EUR"), (before, 100.0, "SEK"), (now, 15.0, "EUR")]
    spend += [(now, 5.0, "EUR"), (now, 500.0, "SEK")]
    table = pa.Table.from_pylist([dict(zip(("date", "amount", "currency"), row, strict=True)) for row in spend])
    for name, value in (("utm_campaign", "a"), ("marketing_channel", "ads")):
        table = table.append_column(name, pa.array([value] * len(spend)))
    write_deltalake(lake.table_uri("spend"), table)
    scope = Scope(period=Period(now, now + datetime.timedelta(days=7)))
    result = run_scorecard(open_journeys(lake, plan), "marketing", scope)
    row = next(row for row in result.dicts() if row["figure"] == "return_on_spend")
    assert (row["value"], row["of"], row["previous"], row["change"]) == (3.0, "EUR", 3.0, 0.0)


def test_a_campaign_is_compared_with_itself_whatever_its_orders_are_in(
    event: Callable[..., dict[str, Any]], built: Callable[..., Journeys]
) -> None:
    """Three people ordered in SEK, then two in EUR; another campaign is over."""
    rows, number = [], 0
    for week, campaign, currencies in (
        (0, "spring", ("SEK", "SEK", "SEK")),
        (0, "winter", ("SEK", "EUR")),
        (1, "spring", ("EUR", "EUR")),
    ):
        for currency in currencies:
            number += 1
            visit = {"user_id": f"u{number}", "session_id": f"s{number}", "utm_campaign": campaign}
            ordered = {"order_id": f"o{number}", "revenue": 5.0, "currency": currency}
            rows.append(event("order_completed", week * WINDOW, **ordered, **visit))
    rows.append(event("page_viewed", 20 * DAY, user_id="x"))
    week = Period(datetime.date(2026, 3, 9), datetime.date(2026, 3, 16))
    result = run_campaigns(built(rows), CampaignsQuestion(scope=Scope(period=week, previous=True)))
    told = [(row["campaign"], row["ordered"], row["previous"], row["change"]) for row in result.dicts()]
    assert told == [("spring", 2, 3, pytest.approx(-1 / 3, abs=1e-6)), ("winter", None, 2, -1.0)]


def test_who_was_sent_a_campaign_at_another_time_is_no_control(
    event: Callable[..., dict[str, Any]], built: Callable[..., Journeys]
) -> None:
    """Forty get it on day 20, forty on day 28, forty never. Of the second, who are asked about, half order once and
    half twice; of the last, every other one orders once: 1.5 − 0.5. Those who had it before order nothing any more."""
    rows, number = [], 0
    for person in range(120):
        user, group = f"p{person:03}", person // 40
        rows.append(event("page_viewed", 0, user_id=user))
        if group < 2:
            rows.append(event("email_sent", (20, 28)[group] * DAY, user_id=user, campaign_id="spring", channel=None))
        for place in range((0, 1 + person % 2, person % 2)[group]):
            number += 1
            at = 28 * DAY + 3600 * (1 + place)
            rows.append(event("order_completed", at, user_id=user, order_id=f"o{number}", revenue=1.0, currency="EUR"))
    days = Period(datetime.date(2026, 3, 29), datetime.date(2026, 4, 2))
    result = run_campaigns(built(rows), CampaignsQuestion(window_seconds=WINDOW, scope=Scope(period=days)))
    (row,) = result.dicts()
    assert (row["sent"], row["extra_orders_per_person"]) == (40, 1.0)
    tested = stats.ttest_ind([1, 2] * 20, [0, 1] * 20, equal_var=False)
    assert row["extra_p_value"] == pytest.approx(tested.pvalue, abs=1e-8)


def test_what_no_order_says_is_not_zero(
    event: Callable[..., dict[str, Any]], make_lake: Callable[..., Lake], plan: Plan
) -> None:
    """Of orders without a value nobody knows what they brought; without an order it is 0."""
    silent = {"user_id": "u", "session_id": "s", "utm_campaign": "silent", "group_id": "acme"}
    rows = [
        event("page_viewed", 0, **silent),
        event("order_completed", 1, order_id="1", currency="EUR", **silent),
        event("page_viewed", DAY, user_id="v", session_id="v", utm_campaign="idle", group_id="beta"),
        event("order_completed", 2 * DAY, order_id="2", revenue=5.0, currency="SEK", user_id="w"),
        event("page_viewed", 3 * DAY, user_id="w", session_id="w"),
    ]
    lake = make_lake(rows)
    spend = {"date": datetime.date(2026, 3, 2), "utm_campaign": "silent", "amount": 7.0, "currency": "EUR"}
    write_deltalake(lake.table_uri("spend"), pa.Table.from_pylist([spend]))

    build(lake, plan)
    journeys = open_journeys(lake, plan)
    told = {
        "SELECT campaign, net_revenue, return_on_spend FROM campaigns": [("idle", 0.0, None), ("silent", None, None)],
        "SELECT person_id, net_revenue, lifetime_value FROM profiles": [
            *(("u", None, None), ("v", 0.0, 0.0), ("w", 5.0, 5.0))
        ],
        "SELECT person_id, revenue FROM persons": [("u", None), ("v", 0.0), ("w", 5.0)],
        "SELECT account_id, net_revenue FROM accounts": [("acme", None), ("beta", 0.0)],
        # The one order of the third day is in SEK, of which these figures are not.
        "SELECT day, net_revenue, valued_orders, currency FROM daily_metrics": [
            (datetime.date(2026, 3, 2), None, 0, "EUR"),
            (datetime.date(2026, 3, 3), 0.0, 0, None),
            (datetime.date(2026, 3, 4), 0.0, 0, "EUR"),
            (datetime.date(2026, 3, 5), 0.0, 0, None),
        ],
        "SELECT session_id, revenue FROM sessions": [("s", None), ("v", 0.0), ("w", 0.0), (None, 5.0)],
    }
    for sql, expected in told.items():
        assert journeys.rows(f"{sql} ORDER BY 1") == expected
    card = {row["figure"]: row for row in run_scorecard(journeys, "marketing", Scope()).dicts()}
    assert (card["return_on_spend"]["value"], card["return_on_spend"]["of"]) == (None, "EUR")

    more = event("order_completed", 3, order_id="3", currency="EUR", **silent) | {"sequence": 90}
    write_table(Path(lake.uri) / "events", [more | {"revenue": 14.0}])
    assert build(lake, plan).kind == "incremental"
    assert open_journeys(lake, plan).rows("SELECT net_revenue FROM profiles WHERE person_id = 'u'") == [(14.0,)]


def test_ranks_are_within_a_currency(event: Callable[..., dict[str, Any]], built: Callable[..., Journeys]) -> None:
    """500 SEK are not more than 100 EUR: first the currency of most orders, with what brought nothing; others ."""
    rows, number = [], 0
    for campaign, amounts, currency in (
        ("a", [60.0], "EUR"),
        ("b", [500.0, 500.0], "SEK"),
        ("c", [40.0, 60.0], "EUR"),
        ("c", [1.0], "SEK"),
        ("d", [None], "EUR"),
        ("e", [], None),
        ("f", [9999.0], None),
    ):
        visit = {"user_id": f"{campaign}{currency}", "session_id": f"{campaign}{currency}", "utm_campaign": campaign}
        rows.append(event("page_viewed", 0, **visit))
        for amount in amounts:
            number += 1
            money = {"revenue": amount, "currency": currency}
            told = {name: value for name, value in money.items() if value is not None}
            rows.append(event("order_completed", number, order_id=str(number), **told, **visit))
    found = run_campaigns(built(rows), CampaignsQuestion()).dicts()
    assert [(row["campaign"], row["currency"], row["result"]) for row in found] == [
        *(("c", "EUR", 100.0), ("a", "EUR", 60.0), ("e", None, 0.0), ("d", "EUR", None)),
        *(("b", "SEK", 1000.0), ("c", "SEK", 1.0), ("f", None, 9999.0)),
    ]
