"""Scorecards against figures counted by hand; what cannot be known is left out with a reason, never 0."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from polku_analytics.analyses.scope import Scope
from polku_analytics.build import build
from polku_analytics.commands import options
from polku_analytics.commands.scorecard import scorecard
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys, open_journeys
from polku_analytics.lake import Lake
from polku_analytics.period import Period
from polku_analytics.scorecards.card import COLUMNS, run_scorecard
from polku_analytics.scorecards.roles import FIGURES
from polku_schemas import Goal, Plan, Target

Make = Callable[..., Any]
DAY = 86_400
DEFINITIONS = (Path(__file__).parents[2] / "docs" / "definitions.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shop(new_history: Make, make_lake: Callable[..., Lake], plan: Plan) -> Journeys:
    event = new_history()
    money = {"currency": "EUR"}
    week = 7 * DAY
    rows = [
        event("order_completed", 0, user_id="u", order_id="1", revenue=10.0, **money),
        event("order_completed", week, user_id="u", order_id="2", revenue=30.0, device="mobile", **money),
        event("store_order_completed", week + 5, user_id="v", order_id="3", revenue=10.0, **money),
        event("order_completed", week + 6, user_id="w", order_id="4", revenue=99.0, currency="SEK"),
        event("page_viewed", week + 7, user_id="x", device="mobile"),
        event("email_sent", week + 8, user_id="x"),
        event("checkout_started", week - 5, user_id="u"),
        event("checkout_started", week + 20, user_id="x"),
        event("agent_contacted", week + 9, user_id="x", duration_seconds=60.0, resolved=True),
        event("complaint_opened", week + 10, user_id="x", complaint_id="c"),
        event("survey_answered", week + 30, user_id="x", scale="nps", score=3.0),
        event("survey_answered", week + 31, user_id="w", scale="nps", score=10.0),
        event("page_performance_measured", week + 40, user_id="x", browser="Firefox", load_ms=100.0),
        event("page_performance_measured", week + 41, user_id="x", browser="Safari", load_ms=300.0),
        event("page_viewed", 2 * week, user_id="x"),
    ]
    order = Goal(name="order", description="", events=("order_completed",), value="revenue")
    target = Target(name="orders", description="", measure="count", of="order", value=2, period="week")
    aimed = replace(plan, goals={"order": order}, targets={"orders": target})
    lake = make_lake(rows)
    build(lake, aimed)
    return open_journeys(lake, aimed)


WEEK = Period(datetime.date(2026, 3, 9), datetime.date(2026, 3, 16))


def card(journeys: Journeys, role: str, **scope: Any) -> dict[str, list[Any]]:
    result = run_scorecard(journeys, role, Scope(**{"period": WEEK, **scope}))
    at = result.columns.index("figure")
    assert [name for name in result.columns if name in COLUMNS] == list(COLUMNS)
    return {row[at]: row[at + 1 :] for row in result.rows}


def numbers(figures: dict[str, list[Any]]) -> dict[str, Any]:
    """The value of each figure that is not left out."""
    return {name: row[0] for name, row in figures.items() if row[-3] is None}


def test_management(shop: Journeys) -> None:
    figures = card(shop, "management")
    assert numbers(figures) == {
        "orders": 3,
        "net_revenue": 40.0,
        "digital_share": 0.75,
        "average_order_value": 20.0,
        "buyers": 3,
        "new_customers": 2,
        "repeat_order_share": 0.333333,
        "complaints_per_order": 0.333333,
        "net_promoter_score": 0.0,
        # Nothing was delivered, no cost is known and no order line has a category: there is no figure, and it is not 0.
        "late_delivery_share": None,
        "margin_share": None,
        "best_product_group": None,
        "worst_product_group": None,
    }
    assert figures["net_revenue"][1] == "EUR"
    assert figures["orders"][2:4] == [2.0, True] and figures["orders"][-2:] == [1, 2.0]
    fortnight = card(shop, "management", period=Period(WEEK.since, datetime.date(2026, 3, 23)))
    assert fortnight["orders"][2:4] == [4.0, False]
    of_segment = card(shop, "management", segments=("orders >= 2",))
    assert of_segment["orders"][:4] == [1, None, None, None]


def test_the_other_roles(shop: Journeys) -> None:
    marketing = card(shop, "marketing")
    assert marketing["visits"][0] == 4
    assert marketing["ads_clicked"][-3] == "not collected: no event ad_viewed was ever seen"
    # Mails are sent and nobody sees who opens them; nor has anything been shared that could be.
    assert marketing["mails_opened"][-3] == "not collected: no event email_opened was ever seen"
    assert marketing["referrers"][-3] == "not collected: no event share_clicked was ever seen"
    ecommerce = card(shop, "ecommerce")
    assert ecommerce["checkout_completion"][0] == 0.5 and ecommerce["checkout_median_seconds"][0] == 5.0
    it = card(shop, "it")
    assert it["page_load_p75_ms"][0] == 250.0 and it["slowest_browser_p75_ms"][:2] == [300.0, "Safari"]
    assert it["peak_hour_visits"][0] == 3 and it["mobile_visit_share"][0] == 0.5
    service = card(shop, "service")
    assert service["contacts_per_order"][0] == 0.333333 and service["handling_median_seconds"][0] == 60.0
    assert service["satisfaction_after_contact"][0] == -1.0 and service["complaints_solved_share"][0] == 0.0
    assert service["waiting_median_seconds"][0] is None and service["waiting_median_seconds"][-3] is None


def test_every_figure_says_what_it_is_and_what_for() -> None:
    for figures in FIGURES.values():
        assert len({figure.name for figure in figures}) == len(figures)
        for figure in figures:
            assert figure.formula and figure.definition and figure.decision
            assert f"| {figure.name} | " in DEFINITIONS and f"{figure.formula}; {figure.definition}" in DEFINITIONS


def test_nothing_in_the_period_is_no_crash(shop: Journeys) -> None:
    nobody = Period(datetime.date(2020, 1, 1), datetime.date(2020, 1, 8))
    for role in FIGURES:
        for row in card(shop, role, period=nobody).values():
            assert row[0] in (None, 0, 0.0)
    with pytest.raises(UnknownNameError, match="Did you mean management"):
        run_scorecard(shop, "managment", Scope())
    with pytest.raises(AnalyticsError, match="counts person"):
        run_scorecard(shop, "it", Scope(unit="session"))


def coat(product: str, category: str, price: float) -> dict[str, Any]:
    return {"product_id": product, "category": category, "price": price, "quantity": 1, "revenue": None}


def test_money_is_compared_in_one_currency(new_history: Make, make_lake: Callable[..., Lake], plan: Plan) -> None:
    """Last week most orders were in SEK, this week most are in EUR: what changed is what the euros did."""
    event, week, rows = new_history(), 7 * DAY, []

    def buy(at: float, currency: str, revenue: float, category: str) -> None:
        line, number = coat(category, category, revenue), f"{at}"
        ordered = {"order_id": number, "revenue": revenue, "currency": currency, "products": [line]}
        rows.append(event("order_completed", at, user_id=f"u{number}", **ordered))

    for second in range(3):
        buy(second, "SEK", 100.0, "lamps")
        buy(week + second, "EUR", 12.0 + second, "tents")
    buy(10, "EUR", 26.0, "tents")
    buy(week + 10, "SEK", 200.0, "lamps")
    rows.append(event("page_viewed", 3 * week, user_id="x"))
    lake = make_lake(rows)
    build(lake, plan)
    journeys = open_journeys(lake, plan)
    figures = card(journeys, "management")
    assert figures["net_revenue"][:2] == [39.0, "EUR"] and figures["net_revenue"][-2:] == [26.0, 0.5]
    assert figures["average_order_value"][0] == 13.0 and figures["average_order_value"][-2:] == [26.0, -0.5]
    # 200 SEK are not more than 39 EUR, nor is a sum in SEK the smallest.
    for name in ("best_product_group", "worst_product_group"):
        assert figures[name][:2] == [39.0, "tents"] and figures[name][-2:] == [26.0, 0.5]
    # A week without orders has no currency of its own, and is held against what the one before was in.
    empty = card(journeys, "management", period=Period(WEEK.until, datetime.date(2026, 3, 23)))
    assert empty["net_revenue"][0] == 0.0 and empty["net_revenue"][-2:] == [39.0, -1.0]


def test_an_order_whose_value_is_not_known_is_not_worth_nothing(
    new_history: Make, make_lake: Callable[..., Lake], plan: Plan
) -> None:
    """This week 10 and 30 EUR, and an order that says no revenue; the week before only such a one."""
    event, week = new_history(), 7 * DAY
    rows = [
        event("order_completed", 0, user_id="t", order_id="0", currency="EUR"),
        event("order_completed", week, user_id="u", order_id="1", revenue=10.0, currency="EUR"),
        event("order_completed", week + 1, user_id="v", order_id="2", revenue=30.0, currency="EUR"),
        event("order_completed", week + 2, user_id="w", order_id="3", currency="EUR"),
        event("page_viewed", 2 * week, user_id="x"),
    ]
    lake = make_lake(rows)
    build(lake, plan)
    journeys = open_journeys(lake, plan)
    figures = card(journeys, "management")
    assert (figures["orders"][0], figures["net_revenue"][0], figures["average_order_value"][0]) == (3, 40.0, 20.0)
    # What nobody knows is no figure to compare with.
    assert figures["net_revenue"][-2:] == figures["average_order_value"][-2:] == [None, None]
    for role, without in (("management", 1), ("ecommerce", 1), ("it", None)):
        result = run_scorecard(journeys, role, Scope(period=WEEK))
        assert result.coverage.get("orders_without_value") == without


@pytest.mark.parametrize(
    ("currency", "met", "why"),
    [
        ("EUR", True, None),
        (None, True, None),
        ("SEK", None, "the target is in SEK, the figure in EUR"),
    ],
)
def test_a_target_of_money_is_compared_in_its_currency(
    shop: Journeys, monkeypatch: pytest.MonkeyPatch, currency: str | None, met: bool | None, why: str | None
) -> None:
    """40 EUR in a week: 30 are reached, and 30 SEK are something else."""
    a_week = {"name": "money", "description": "", "measure": "value", "of": "order", "value": 30.0, "period": "week"}
    plan = replace(shop.plan, targets={"money": Target(**a_week, currency=currency)})
    aimed, nobody = replace(shop, plan=plan), Period(datetime.date(2020, 1, 1), datetime.date(2020, 1, 8))
    for period, expected in ((WEEK, [40.0, "EUR", 30.0, met, why]), (nobody, [0.0, None, 30.0, False, None])):
        assert card(aimed, "management", period=period)["net_revenue"][:5] == expected
    monkeypatch.setattr(options, "load_plan", lambda folder: plan)
    asked = ["--lake", shop.lake.uri, "management", "--since", "2026-03-09", "--until", "2026-03-16"]
    printed = CliRunner().invoke(scorecard, asked, standalone_mode=False).stdout
    assert ("net_revenue is not compared with its target: " in printed) == (why is not None)
    assert why is None or why in printed


def test_shares_are_of_what_is_known_and_of_all_visits(
    new_history: Make, make_lake: Callable[..., Lake], plan: Plan
) -> None:
    event, rows = new_history(), []
    for number in range(201):
        # Two visits with Opera are a tenth of those of known browsers, but less than a hundredth of all.
        browser = "Opera" if number < 2 else "Safari" if number < 20 else None
        rows.append(event("page_viewed", 7 * DAY + number, user_id=f"v{number}", browser=browser))
    bought = {"order_id": "1", "revenue": 9.0, "currency": "EUR"}
    rows.append(event("order_completed", 7 * DAY + 300, user_id="v2", browser="Safari", **bought))
    for number, results in enumerate((0, 4, None)):
        rows.append(event("products_searched", 7 * DAY + 400, user_id=f"v{number}", query="a", results_count=results))
    for number, days in enumerate((8, 9, 9)):
        shipped = {"user_id": f"d{number}", "order_id": f"d{number}"}
        rows.append(event("order_completed", 6 * DAY, revenue=9.0, currency="EUR", **shipped))
        promise = rows[0]["event_time"] + datetime.timedelta(days=1)
        rows.append(event("order_delivered", days * DAY, promised_at=promise, **shipped))
    rows.append(event("order_cancelled", 7 * DAY, user_id="d2", order_id="d2"))
    rows.append(event("page_viewed", 14 * DAY, user_id="x"))
    lake = make_lake(rows)
    build(lake, plan)
    journeys = open_journeys(lake, plan)
    # One came on the promised moment, one a day later; who cancelled waits for nothing.
    assert card(journeys, "management")["late_delivery_share"][0] == 0.5
    weakest = card(journeys, "it")["weakest_browser_conversion"]
    assert weakest[:2] == [0.055556, "Safari"] and isinstance(weakest[0], float)
    assert card(journeys, "ecommerce")["searches_without_result"][0] == 0.5


def test_what_is_told_twice_counts_once_and_what_is_not_there_is_not_0(
    new_history: Make, make_lake: Callable[..., Lake], plan: Plan
) -> None:
    event, rows, at = new_history(), [], 7 * DAY
    for number, (browser, milliseconds) in enumerate((("Firefox", 100.0), ("Firefox", 200.0), ("Safari", 3000.0))):
        measured = {"user_id": f"m{number}", "browser": browser, "load_ms": milliseconds, "device": "desktop"}
        rows.append(event("page_performance_measured", at + number, **measured))
    slowest, later = rows[-1], datetime.timedelta(seconds=60)
    rows += [{**slowest, "received_at": slowest["received_at"] + later * copy} for copy in (1, 2)]
    ordered = {"order_id": "1", "revenue": 9.0, "currency": "EUR", "user_id": "m0", "device": "desktop"}
    rows += [event("order_completed", at + 10, **ordered), event("order_completed", at + 11, **ordered)]
    rows += [event("payment_failed", at + 9, user_id="m0"), event("page_viewed", 14 * DAY, user_id="x")]
    lake = make_lake(rows)
    build(lake, plan)
    it = card(open_journeys(lake, plan), "it")
    assert it["page_load_p75_ms"][0] == 1600.0  # of 100, 200 and 3000
    assert it["payments_failed"][0] == 0.5
    assert it["mobile_visit_share"][0] == 0.0
    # No visit on a phone: what such visits lead to is not known, and not 0 times as much.
    assert it["mobile_conversion_ratio"][0] is None and it["mobile_conversion_ratio"][-3] is None


def test_who_collects_no_orders_has_no_conversion(
    new_history: Make, make_lake: Callable[..., Lake], plan: Plan
) -> None:
    event = new_history()
    lake = make_lake([event("page_viewed", 7 * DAY, user_id="x", browser="Safari", device="mobile")])
    build(lake, plan)
    journeys = open_journeys(lake, plan)
    why = "not collected: no event order_completed or store_order_completed was ever seen"
    assert card(journeys, "marketing")["visit_conversion"][-3] == why
    it = card(journeys, "it")
    assert it["weakest_browser_conversion"][-3] == it["mobile_conversion_ratio"][-3] == why


def test_what_was_cancelled_is_no_best_product_group(
    new_history: Make, make_lake: Callable[..., Lake], plan: Plan
) -> None:
    event, rows = new_history(), []
    for number, (category, price) in enumerate((("lamps", 900.0), ("tents", 40.0), ("ropes", 5.0), ("pegs", 1.0))):
        ordered = {"user_id": f"u{number}", "order_id": f"{number}", "revenue": price, "currency": "EUR"}
        rows.append(event("order_completed", 7 * DAY, products=[coat(category, category, price)], **ordered))
    rows += [event("order_cancelled", 8 * DAY, user_id=f"u{number}", order_id=f"{number}") for number in (0, 3)]
    lake = make_lake(rows)
    build(lake, plan)
    figures = card(open_journeys(lake, plan), "management")
    assert figures["best_product_group"][:2] == [40.0, "tents"]
    assert figures["worst_product_group"][:2] == [5.0, "ropes"]


def test_the_command_prints_the_last_four_weeks(shop: Journeys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "load_plan", lambda folder: shop.plan)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(scorecard, ["--lake", shop.lake.uri, *arguments], standalone_mode=False)
        if result.exception is not None:
            raise result.exception
        return str(result.stdout)

    text = run("service", "--formulas")
    assert "contacts ÷ orders" in text and "since: 2026-02-16; until: 2026-03-16" in text
    assert "left out:\n" in run("marketing")
    # No order of the shop has a margin: the empty cell is explained below the table.
    assert "could be of:\n  margin_share: over orders whose margin is known\n" in run("management")
    told = json.loads(run("it", "--json", "--since", "2026-03-09", "--until", "2026-03-16"))
    assert told["options"]["compared"] == "value"
    assert told["options"]["compared_with"] == "2026-03-02 up to 2026-03-09"
    assert told["columns"][-2:] == ["previous", "change"]
