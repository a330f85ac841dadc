"""Carts, checkout, search, deliveries and returns against counts by hand over the reckoning of `commerce.py`."""

from __future__ import annotations

import datetime
import statistics
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner

from polku_analytics.analyses.carts import CartsQuestion, run_carts
from polku_analytics.analyses.checkout import CheckoutQuestion, run_checkout
from polku_analytics.analyses.deliveries import DeliveriesQuestion, run_deliveries
from polku_analytics.analyses.returns import By, ReturnsQuestion, run_returns
from polku_analytics.analyses.scope import Scope
from polku_analytics.analyses.searches import SearchQuestion, Shown, position_rows, run_search
from polku_analytics.build import build
from polku_analytics.commands.carts import carts as carts_command
from polku_analytics.commands.checkout import checkout as checkout_command
from polku_analytics.commands.deliveries import deliveries as deliveries_command
from polku_analytics.commands.returns import returns as returns_command
from polku_analytics.commands.search import search as search_command
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys, open_journeys
from polku_analytics.period import Period
from polku_analytics.result import AnalysisResult
from polku_schemas import Plan, builtin_plan_path, load_plan
from tests.analytics import commerce

Make = Callable[..., Any]
Rows = list[dict[str, Any]]
HOUR = 3600
DAY = 24 * HOUR
NOWHEN = Period(datetime.date(2030, 1, 1), datetime.date(2030, 2, 1))


@pytest.fixture(scope="module")
def shop_plan() -> Plan:
    return load_plan(builtin_plan_path())


@pytest.fixture(scope="module")
def shop(make_lake: Make, shop_plan: Plan) -> Make:
    def make(rows: Rows) -> Journeys:
        lake = make_lake(rows)
        build(lake, shop_plan)
        return open_journeys(lake, shop_plan)

    return make


@pytest.fixture(scope="module")
def crowd(shop: Make, new_history: Make) -> tuple[Journeys, Rows]:
    """Six hundred people who do everything that can be done, and what they did."""
    start = new_history()("page_viewed", 0)["event_time"]
    rows = commerce.rows_of(commerce.histories(Random(11), 200), new_history(), start)
    return shop(rows), rows


def newest(rows: Rows) -> datetime.datetime:
    return max(row["event_time"] for row in rows)


def on(device: str, person: str) -> bool:
    return {"phone": 1, "computer": 2, "(none)": 0}[device] == int(person[1:]) % 3


def table(result: AnalysisResult) -> list[dict[str, Any]]:
    return [dict(zip(result.columns, row, strict=True)) for row in result.rows]


def shared(part: int, whole: int) -> Any:
    return pytest.approx(part / whole, abs=1e-6) if whole else None


def reckoned_carts(rows: Rows, idle_seconds: int, who: Callable[[str], bool] = lambda person: True) -> dict[str, Any]:
    mine = [cart for cart in commerce.carts(rows) if who(cart[0])]
    outcomes, checkout, left, in_checkout = Counter[str](), 0, 0.0, 0
    for _, _, _, added, items, _, value, _, started, order, last in mine:
        idle = (newest(rows) - last).total_seconds()
        outcome = (
            "ordered"
            if order is not None
            else "emptied"
            if added and items == 0
            else "abandoned"
            if idle >= idle_seconds
            else "open"
        )
        outcomes[outcome] += 1
        checkout += started is not None
        if outcome == "abandoned":
            left += value or 0.0
            in_checkout += started is not None
    return {
        "currency": None,
        "units": len({cart[0] for cart in mine}),
        "created": len(mine),
        **{name: outcomes[name] for name in ("ordered", "emptied", "abandoned", "open")},
        "abandonment_share": shared(outcomes["abandoned"], len(mine) - outcomes["open"]),
        "checkout_started": checkout,
        "abandoned_in_checkout": in_checkout,
        "value_left": pytest.approx(left),
    }


@pytest.mark.parametrize("idle", [1, 2 * HOUR, DAY])
def test_carts_are_counted_by_outcome(crowd: tuple[Journeys, Rows], idle: int) -> None:
    journeys, rows = crowd
    expected = reckoned_carts(rows, idle)
    if expected["abandoned"] == 0:
        expected["value_left"] = None
    assert table(run_carts(journeys, CartsQuestion(idle_seconds=idle))) == [expected]


def test_carts_of_a_breakdown_are_those_of_its_people(crowd: tuple[Journeys, Rows]) -> None:
    journeys, rows = crowd
    found = table(run_carts(journeys, CartsQuestion(idle_seconds=1, scope=Scope(breakdown="device"))))
    assert {row["device"] for row in found} == {"phone", "computer", "(none)"}
    for row in found:
        device = row.pop("device")
        assert row == reckoned_carts(rows, 1, lambda person, device=device: on(device, person))


def test_carts_of_segments_sessions_accounts_and_the_period_before(shop: Make, event: Make) -> None:
    def added(seconds: float, person: str, **more: Any) -> dict[str, Any]:
        return event("product_added", seconds, user_id=person, product_id="p", price=10.0, **more)

    journeys = shop(
        [
            event("group", -9, user_id="a", group_id="acme"),
            added(0, "a", currency="EUR"),
            event("order_completed", 5, user_id="a", order_id="1", revenue=10.0),
            added(10, "a", currency="EUR"),
            added(7 * DAY, "b", currency="SEK"),
            added(7 * DAY, "c", currency="EUR"),
            event("page_viewed", 9 * DAY, user_id="c"),
        ]
    )

    def shown(**scope: Any) -> list[list[Any]]:
        result = run_carts(journeys, CartsQuestion(scope=Scope(**scope)))
        return [row[: result.columns.index("abandonment_share") + 1] for row in result.rows]

    assert shown() == [["EUR", 2, 3, 1, 0, 2, 0, 0.666667], ["SEK", 1, 1, 0, 0, 1, 0, 1.0]]
    assert shown(unit="session") == [["EUR", 2, 3, 1, 0, 2, 0, 0.666667], ["SEK", 1, 1, 0, 0, 1, 0, 1.0]]
    assert shown(unit="account") == [["EUR", 1, 2, 1, 0, 1, 0, 0.5]]
    assert shown(segments=("orders >= 1", "orders = 0")) == [
        ["orders >= 1", "EUR", 1, 2, 1, 0, 1, 0, 0.5],
        ["orders = 0", "EUR", 1, 1, 0, 0, 1, 0, 1.0],
        ["orders = 0", "SEK", 1, 1, 0, 0, 1, 0, 1.0],
    ]
    week = Period(datetime.date(2026, 3, 9), datetime.date(2026, 3, 16))
    compared = run_carts(journeys, CartsQuestion(scope=Scope(period=week, previous=True)))
    assert [(row[0], row[2], row[-2], row[-1]) for row in compared.rows] == [
        ("EUR", 1, 0.5, 1.0),
        ("SEK", 1, None, None),
    ]


def without_p90(row: list[Any]) -> list[Any]:
    return [*row[:10], *row[11:]]


def reckoned_steps(rows: Rows, open_seconds: int, who: Callable[[str], bool] = lambda person: True) -> list[Any]:
    mine = [(person, events) for person, events in commerce.checkouts(rows) if who(person)]
    entered: dict[int, list[Any]] = {}
    to_order, buyers = [], set()
    for person, events in mine:
        recent = (newest(rows) - max(row["event_time"] for row in events)).total_seconds() < open_seconds
        ordered = [row["event_time"] for row in events if row["is_order"]]
        if ordered:
            to_order.append((min(ordered) - min(row["event_time"] for row in events)).total_seconds())
            buyers.add(person)
        for step, at, done, outcome, _ in commerce.steps_of(events):
            taken = None if done is None else (done - at).total_seconds()
            told = commerce.told_value(events)
            entered.setdefault(step, []).append((person, outcome == "left", recent, taken, told))
    found = []
    currencies = [told[1] for _, events in mine if (told := commerce.told_value(events))[0] is not None]
    usual = max(sorted(currencies, key=str), key=currencies.count, default=None)
    for step, steps in sorted(entered.items()):
        left = sum(gone and not recent for _, gone, recent, *_ in steps)
        still = sum(gone and recent for _, gone, recent, *_ in steps)
        times = [taken for _, gone, _, taken, _ in steps if not gone and taken is not None]
        amounts = [
            told[0] for _, gone, recent, _, told in steps if gone and not recent and told[0] and told[1] == usual
        ]
        name = "checkout_started" if step == 0 else None
        people = len({person for person, *_ in steps})
        completed = len(steps) - left - still
        median = pytest.approx(statistics.median(times)) if times else None
        abandonment = shared(left, len(steps) - still)
        reached = shared(len(steps), len(mine))
        amount = (pytest.approx(sum(amounts)), usual) if amounts else (None, None)
        found.append([step, name, people, len(steps), completed, left, still, abandonment, reached, median, *amount])
    if mine:
        count, median = len(to_order), pytest.approx(statistics.median(to_order)) if to_order else None
        ended = shared(count, len(mine))
        found.append([None, "order", len(buyers), count, count, 0, 0, None, ended, median, None, None])
    return found


@pytest.mark.parametrize("open_seconds", [1, 2 * HOUR])
def test_steps_of_the_checkout_are_entered_completed_and_left(crowd: tuple[Journeys, Rows], open_seconds: int) -> None:
    journeys, rows = crowd
    result = run_checkout(journeys, CheckoutQuestion(open_seconds=open_seconds))
    assert [without_p90(row) for row in result.rows] == reckoned_steps(rows, open_seconds)
    assert {row[-1] for row in result.rows} > {None}, "something was left"

    broken = run_checkout(journeys, CheckoutQuestion(open_seconds=open_seconds, scope=Scope(breakdown="device")))
    for device in ("phone", "computer", "(none)"):
        mine = [without_p90(row[1:]) for row in broken.rows if row[0] == device]
        assert mine == reckoned_steps(rows, open_seconds, lambda person, device=device: on(device, person))


def test_the_time_of_a_step_is_that_of_those_who_went_on(shop: Make, event: Make) -> None:
    """The example of docs/definitions.md, Checkouts."""
    rows = []
    for person, seconds in (("a", 10), ("b", 20), ("c", 60)):
        rows += [
            event("checkout_started", 0, user_id=person, revenue=float(seconds), currency="EUR"),
            event("checkout_step_viewed", 5, user_id=person, step=1, step_name="address"),
            event("checkout_step_completed", 5 + seconds, user_id=person, step=1, step_name="address"),
        ]
    rows += [
        event("order_completed", 100, user_id="a", order_id="1"),
        event("checkout_step_viewed", 100, user_id="b", step=2, step_name="payment", value=25.0),
        event("page_viewed", 2 * HOUR, user_id="a"),
    ]
    assert run_checkout(shop(rows), CheckoutQuestion()).rows == [
        [0, "checkout_started", 3, 3, 3, 0, 0, 0.0, 1.0, 5.0, 5.0, None, None],
        [1, "address", 3, 3, 2, 1, 0, 0.333333, 1.0, 15.0, 19.0, 60.0, "EUR"],
        [2, "payment", 1, 1, 0, 1, 0, 1.0, 0.333333, None, None, 25.0, "EUR"],
        [None, "order", 1, 1, 1, 0, 0, None, 0.333333, 100.0, 100.0, None, None],
    ]


def test_what_is_left_in_other_currencies_is_not_added(shop: Make, event: Make) -> None:
    rows = [
        event("checkout_started", 0, user_id=person, value=value, **({"currency": currency} if currency else {}))
        for person, value, currency in (("a", 1.0, "SEK"), ("b", 2.0, "SEK"), ("c", 4.0, "EUR"), ("d", 8.0, None))
    ]
    rows.append(event("page_viewed", 2 * HOUR, user_id="a"))
    result = run_checkout(shop(rows), CheckoutQuestion())
    assert [row[-2:] for row in result.rows] == [[3.0, "SEK"], [None, None]]


SEARCH = ("person", "at", "query", "results", "zero", "refined", "position", "lowest", "clicked", "success", "exit")


def reckoned_searches(rows: Rows) -> list[dict[str, Any]]:
    return [dict(zip(SEARCH, search, strict=True)) for search in commerce.searches(rows)]


def test_searches_in_all(crowd: tuple[Journeys, Rows]) -> None:
    journeys, rows = crowd
    found = reckoned_searches(rows)

    def measured(name: str, is_so: Callable[[Any], Any], known: Callable[[Any], bool] = lambda s: True) -> list[Any]:
        asked = [search for search in found if known(search)]
        so = [search for search in asked if is_so(search)]
        return [name, len(so), len(asked), shared(len(so), len(asked)), len({search["person"] for search in so})]

    assert run_search(journeys, SearchQuestion()).rows == [
        measured("searches", lambda s: True),
        measured("zero results", lambda s: s["zero"], lambda s: s["results"] is not None),
        measured("refined", lambda s: s["refined"]),
        measured("chosen from", lambda s: s["clicked"]),
        measured(
            "scrolled to the last",
            lambda s: s["lowest"] >= s["results"],
            lambda s: s["lowest"] is not None and (s["results"] or 0) > 0,
        ),
        measured("success", lambda s: s["success"]),
        measured("exit without a product", lambda s: s["exit"]),
    ]


def test_whether_a_search_without_words_was_refined_is_not_known(
    event: Callable[..., dict[str, Any]], built: Callable[..., Journeys]
) -> None:
    """Words may be kept out of the lake. Searched: nobody knows what, socks, wool; nothing follows the last one."""
    words = (None, "socks", "wool")
    journeys = built([event("products_searched", at, user_id="u", query=query) for at, query in enumerate(words)])
    found = {row["measure"]: row for row in table(run_search(journeys, SearchQuestion()))}
    assert [found["refined"][name] for name in ("searches", "of", "share")] == [1, 2, 0.5]


@pytest.mark.parametrize("show", ["terms", "zero"])
def test_words_that_were_searched_for(crowd: tuple[Journeys, Rows], show: Shown) -> None:
    journeys, rows = crowd
    found = {row["term"]: row for row in table(run_search(journeys, SearchQuestion(show=show)))}
    assert set(found) == {"wool", "socks"}
    for term, row in found.items():
        mine = [s for s in reckoned_searches(rows) if s["query"].strip().lower() == term]
        told = [s["zero"] for s in mine if s["zero"] is not None]
        assert row == {
            "term": term,
            "searches": len(mine),
            "units": len({s["person"] for s in mine}),
            "zero_results": sum(told),
            "zero_share": shared(sum(told), len(told)),
            "refined": sum(s["refined"] for s in mine),
            "chosen": sum(s["clicked"] for s in mine),
            "success": sum(s["success"] for s in mine),
            "success_share": shared(sum(s["success"] for s in mine), len(mine)),
            "exits": sum(s["exit"] for s in mine),
        }
    assert list(found) == sorted(
        found, key=lambda term: -found[term]["searches" if show == "terms" else "zero_results"]
    )


def test_places_that_were_chosen_and_seen(crowd: tuple[Journeys, Rows]) -> None:
    journeys, rows = crowd
    searches = reckoned_searches(rows)
    chosen = Counter(s["position"] for s in searches if s["position"] is not None)
    total = chosen.total()
    assert run_search(journeys, SearchQuestion(show="positions")).rows == [
        [
            place,
            chosen[place],
            shared(chosen[place], total),
            shared(sum(chosen[at] for at in range(1, place + 1)), total),
            sum(max(s["position"] or 0, s["lowest"] or 0) >= place for s in searches),
        ]
        for place in range(1, 5)
    ]
    assert len(run_search(journeys, SearchQuestion(show="positions", top=2)).rows) == 2


def test_a_first_place_that_nobody_chose_is_shown() -> None:
    assert position_rows([(3, None, 2), (None, 1, 1)], 20) == [
        [1, 0, 0.0, 0.0, 3],
        [2, 0, 0.0, 0.0, 2],
        [3, 2, 1.0, 1.0, 2],
    ]
    assert [row[:2] for row in position_rows([(0, None, 2)], 20)] == [[0, 2]]
    assert position_rows([(None, 4, 2)], 20) == []


def test_promises_kept_by_carrier(crowd: tuple[Journeys, Rows]) -> None:
    journeys, rows = crowd
    cancelled = {row[1] for row in commerce.orders(rows) if row[5]}
    shipments = [shipment for shipment in commerce.deliveries(rows) if shipment[0] not in cancelled]
    as_of = newest(rows)

    def row(name: str, mine: list[Any]) -> list[Any]:
        kept = sum(s[6] is True for s in mine)
        late = [(s[5] - s[4]).total_seconds() / HOUR for s in mine if s[6] is False]
        waiting = [s for s in mine if s[5] is None]
        overdue = sum(s[4] is not None and s[4] < as_of for s in waiting)
        return [
            name,
            len({s[0].split("-")[0] for s in mine}),
            len(mine),
            len(mine) - len(waiting),
            sum(s[4] is not None for s in mine),
            kept,
            len(late),
            overdue,
            len(waiting) - overdue,
            shared(kept, kept + len(late) + overdue),
            pytest.approx(statistics.median(late), abs=1e-6) if late else None,
        ]

    carriers: dict[str, list[Any]] = {}
    for shipment in shipments:
        carriers.setdefault(shipment[2] or "(none)", []).append(shipment)
    ranked = sorted(carriers.items(), key=lambda item: (-len(item[1]), item[0]))
    found = run_deliveries(journeys, DeliveriesQuestion()).rows
    assert [r[:-1] for r in found] == [row("(all)", shipments), *(row(name, mine) for name, mine in ranked)]


def test_what_comes_back_in_all_and_by_product(crowd: tuple[Journeys, Rows]) -> None:
    journeys, rows = crowd
    people = {row["event_id"]: row["user_id"] for row in rows}
    orders: dict[str | None, list[Any]] = {}
    lines: dict[tuple[str | None, str], list[Any]] = {}
    back_of = {(name, key): (value, cancelled) for name, key, _, value, _, cancelled, _ in commerce.orders(rows)}
    returned_lines = {
        (name, key, number): (back, gone) for name, key, number, _, _, _, back, gone in commerce.order_lines(rows)
    }
    for mine in commerce.by_person(rows).values():
        for order, events in commerce.orders_of(mine):
            key = (order["event_name"], order.get("order_id", f"{order['source']}:{order['event_id']}"))
            value, cancelled = back_of[key]
            if cancelled:
                continue
            person, currency = people[order["event_id"]], order.get("currency")
            came = bool(events["order_returned"])
            orders.setdefault(currency, []).append((person, came, order.get("revenue"), value if came else 0.0))
            for number, line in enumerate(commerce.lines_of(order), 1):
                pieces, _ = returned_lines[(*key, number)]
                came, revenue = pieces > 0, line["revenue"]
                worth = 0.0 if not came else None if revenue is None else revenue * pieces / line["quantity"]
                told = (person, came, revenue, worth)
                lines.setdefault((currency, line["product_id"]), []).append(told)

    def row(currency: str | None, name: str, mine: list[Any]) -> list[Any]:
        sold = [value for _, _, value, _ in mine if value is not None]
        known = [worth for _, came, _, worth in mine if came and worth is not None]
        count = sum(came for _, came, _, _ in mine)
        back = None if count and not known else sum(known)
        total = pytest.approx(sum(sold), abs=0.01) if sold else None
        part = pytest.approx(back / sum(sold), abs=1e-5) if sum(sold) and back is not None else None
        who = len({person for person, *_ in mine})
        return [
            currency,
            name,
            who,
            len(mine),
            count,
            shared(count, len(mine)),
            total,
            None if back is None else pytest.approx(back, abs=0.01),
            part,
        ]

    found = run_returns(journeys, ReturnsQuestion()).rows
    assert found == [row(currency, "(all)", orders[currency]) for currency in ("EUR", None, "USD")]
    by_product = run_returns(journeys, ReturnsQuestion(by="product")).rows
    assert len(by_product) == len(lines)
    for told in by_product:
        assert told == row(told[0], told[1], lines[(told[0], told[1])])


def test_returns_by_reason_category_and_brand(shop: Make, event: Make) -> None:
    """The example of docs/definitions.md, Returns."""
    coat = {"product_id": "coat", "category": "outer", "price": 60.0}
    sock = {"product_id": "sock", "category": "socks", "price": 40.0}
    rows = []
    for number in range(4):
        order = str(number)
        rows.append(
            event(
                "order_completed", number, user_id=f"u{number}", order_id=order, revenue=100.0, currency="EUR",
                products=[coat, sock],
            )
        )  # fmt: skip
    rows += [
        event("order_returned", 10, user_id="u0", order_id="0", reason="small", products=[{"product_id": "coat"}]),
        event("order_returned", 20, user_id="u1", order_id="1", reason="late"),
        event("order_cancelled", 30, user_id="u3", order_id="3"),
    ]
    journeys = shop(rows)

    def shown(by: By, **more: Any) -> list[list[Any]]:
        return run_returns(journeys, ReturnsQuestion(by=by, **more)).rows

    assert shown("order") == [["EUR", "(all)", 3, 3, 2, 0.666667, 300.0, 160.0, 0.533333]]
    assert shown("reason") == [
        ["EUR", "late", 1, 3, 1, 0.333333, 300.0, 100.0, 0.333333],
        ["EUR", "small", 1, 3, 1, 0.333333, 300.0, 60.0, 0.2],
    ]
    assert shown("category") == [
        ["EUR", "outer", 3, 3, 2, 0.666667, 180.0, 120.0, 0.666667],
        ["EUR", "socks", 3, 3, 1, 0.333333, 120.0, 40.0, 0.333333],
    ]
    assert shown("brand") == [["EUR", "(none)", 3, 6, 3, 0.5, 300.0, 160.0, 0.533333]]
    assert shown("product", top=1)[1] == ["EUR", "(other)", None, 3, 1, 0.333333, 120.0, 40.0, 0.333333]


def test_what_is_not_among_the_largest_has_its_figures_beside_the_period_before(shop: Make, event: Make) -> None:
    """Last week two of three b came back and one a, this week it is the other way round; only one row is shown."""
    rows: Rows = []
    for week, back in enumerate((("a1", "b1", "b2"), ("b1", "a1", "a2"))):
        for name in ("a1", "a2", "a3", "b1", "b2", "b3"):
            at, line = week * 7 * DAY, {"product_id": name[0], "price": 10.0, "quantity": 1, "revenue": None}
            order = {"user_id": f"{week}{name}", "order_id": f"{week}{name}", "products": [line], "currency": "EUR"}
            rows.append(event("order_completed", at, revenue=10.0, **order))
            if name in back:
                rows.append(event("order_returned", at + 60, **order))
                rows.append(event("products_searched", at + 90, user_id=order["user_id"], query=name[0]))
    shipped = {"order_id": "0a1", "user_id": "0a1", "carrier": "Swift"}
    rows.append(event("order_shipped", HOUR, promised_at=rows[0]["event_time"] + datetime.timedelta(days=1), **shipped))
    rows.append(event("order_delivered", 2 * HOUR, **shipped))
    rows.append(event("page_viewed", 14 * DAY, user_id="x"))
    journeys, monday = shop(rows), datetime.date(2026, 3, 9)
    scope = Scope(period=Period(monday, monday + datetime.timedelta(days=7)), previous=True)
    found = table(run_returns(journeys, ReturnsQuestion(by="product", top=1, scope=scope)))
    seen = [(row["name"], row["returned"], row["previous"], row["change"]) for row in found]
    # Both rows are of the same products in both weeks.
    assert seen == [("a", 2, 0.333333, 1.000003), ("(other)", 1, 0.666667, -0.500001)]
    found = table(run_search(journeys, SearchQuestion(show="terms", top=1, scope=scope)))
    seen = [(row["term"], row["searches"], row["previous"], row["change"]) for row in found]
    assert seen == [("a", 2, 1, 1.0), ("b", 1, 2, -0.5)]
    # Who brought nothing has not broken a promise.
    found = table(run_deliveries(journeys, DeliveriesQuestion(scope=scope)))
    assert [(row["carrier"], row["previous"], row["change"]) for row in found] == [
        ("(all)", 1.0, None),
        ("Swift", 1.0, None),
    ]


def test_nothing_is_an_answer_too(crowd: tuple[Journeys, Rows]) -> None:
    journeys, _ = crowd
    scope = Scope(period=NOWHEN)
    assert run_carts(journeys, CartsQuestion(scope=scope)).rows == [[None, 0, 0, 0, 0, 0, 0, None, 0, 0, None]]
    assert run_checkout(journeys, CheckoutQuestion(scope=scope)).rows == []
    assert [row[1:] for row in run_search(journeys, SearchQuestion(scope=scope)).rows] == [[0, 0, None, 0]] * 7
    for show in ("zero", "terms", "positions"):
        assert run_search(journeys, SearchQuestion(scope=scope, show=show)).rows == []
    assert run_deliveries(journeys, DeliveriesQuestion(scope=scope)).rows == [["(all)", *[0] * 8, None, None, None]]
    assert run_returns(journeys, ReturnsQuestion(scope=scope)).rows == [[None, "(all)", 0, 0, 0, *[None] * 4]]
    for by in ("product", "reason"):
        assert run_returns(journeys, ReturnsQuestion(scope=scope, by=by)).rows == []


@pytest.mark.parametrize("run", [run_carts, run_checkout, run_search, run_deliveries, run_returns])
def test_every_question_takes_every_scope(crowd: tuple[Journeys, Rows], run: Make) -> None:
    journeys, _ = crowd
    questions = {
        run_carts: CartsQuestion,
        run_checkout: CheckoutQuestion,
        run_search: SearchQuestion,
        run_deliveries: DeliveriesQuestion,
        run_returns: ReturnsQuestion,
    }

    def ask(**scope: Any) -> AnalysisResult:
        result: AnalysisResult = run(journeys, questions[run](scope=Scope(**scope)))
        assert result.arrow().num_columns == len(result.columns)
        return result

    whole = ask()
    period = Period(datetime.date(2026, 3, 2), datetime.date(2026, 3, 4))
    assert ask(period=period).rows == whole.rows
    compared = ask(period=period, previous=True)
    assert compared.columns == [*whole.columns, "previous", "change"]
    assert [row[:-2] for row in compared.rows][: len(whole.rows)] == whole.rows
    beside = ask(segments=("orders >= 0", "orders = 0"))
    assert beside.columns[:2] + beside.columns[-2:] == ["segment", whole.columns[0], "other", "difference"]
    assert [row[1:-2] for row in beside.rows if row[0] == "orders >= 0"] == whole.rows
    assert ask(unit="account").rows == ask(unit="account", period=NOWHEN).rows  # nobody belongs to one
    with pytest.raises(UnknownNameError, match="Did you mean device"):
        ask(breakdown="devise")
    with pytest.raises(AnalyticsError, match="not event"):
        ask(unit="event")


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        (carts_command, ["--idle", "1s"], "What became of the carts of people?"),
        (checkout_command, ["--open", "1s", "--unit", "session"], "At which step of the checkout do sessions leave?"),
        (search_command, ["--show", "zero", "--top", "1"], "What do people search for in vain?"),
        (deliveries_command, [], "Are the deliveries to people made when they were promised?"),
        (returns_command, ["--by", "product"], "How much of what people order comes back?"),
    ],
)
def test_commands(crowd: tuple[Journeys, Rows], command: Any, arguments: list[str], said: str) -> None:
    lake = crowd[0].lake.uri
    shown = CliRunner().invoke(command, [*arguments, "--lake", lake])
    assert shown.exception is None and said in shown.output
    as_json = CliRunner().invoke(command, [*arguments, "--lake", lake, "--json"])
    assert '"question":' in as_json.output and "NaN" not in as_json.output


def test_a_cart_that_lies_for_exactly_so_long_is_abandoned(shop: Make, event: Make) -> None:
    """65 minutes as hours, times 3600, are a little less than 3900 seconds."""
    journeys = shop([event("product_added", 0, user_id="a", product_id="p"), event("page_viewed", 3900, user_id="b")])
    found = [table(run_carts(journeys, CartsQuestion(idle_seconds=3900 + more)))[0] for more in (0, 1)]
    assert [(row["abandoned"], row["open"]) for row in found] == [(1, 0), (0, 1)]
