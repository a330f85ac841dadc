"""The tables of carts, checkouts, orders, searches and deliveries: by hand, and against a reckoning event by event."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from polku_analytics.analyses.returns import ReturnsQuestion, run_returns
from polku_analytics.build import build
from polku_analytics.fillings import struct_members
from polku_analytics.journeys import open_journeys
from polku_analytics.lake import Lake
from polku_schemas import Plan, builtin_plan_path, load_plan
from tests.analytics import commerce

Make = Callable[..., Any]
SHOPPER = "(SELECT person_id FROM persons AS w WHERE w.person_key = x.person_key)"


@pytest.fixture(scope="module")
def shop_plan() -> Plan:
    return load_plan(builtin_plan_path())


@pytest.fixture(scope="module")
def shop(make_lake: Callable[..., Lake], shop_plan: Plan) -> Make:
    """`shop(rows)`: their journeys by the built-in plan."""

    def make(rows: list[dict[str, Any]]) -> Any:
        lake = make_lake(rows)
        build(lake, shop_plan)
        return open_journeys(lake, shop_plan)

    return make


def same(found: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> None:
    """The same rows in any order, amounts up to rounding."""
    assert sorted(map(_plain, found)) == sorted(map(_plain, expected))


def _plain(row: tuple[Any, ...]) -> str:
    return str([_value(value) for value in row])


def _value(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return value.isoformat()
    return value if isinstance(value, bool) or not isinstance(value, int | float) else round(float(value), 6) + 0.0


@settings(max_examples=2, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_all_tables_agree_with_a_reckoning_event_by_event(seed: int, shop: Make, new_history: Make) -> None:
    event = new_history()
    start = new_history()("page_viewed", 0)["event_time"]
    rows = commerce.rows_of(commerce.histories(Random(seed), 150), event, start)
    journeys = shop(rows)

    same(
        journeys.rows(
            f"SELECT {SHOPPER}, cart_id, started_at, items_added, items, value_added, value_left, product_ids, "
            "checkout_started_at, order_id, last_at FROM carts AS x"
        ),
        commerce.carts(rows),
    )
    same(
        journeys.rows(
            f"SELECT {SHOPPER}, step_number, entered_at, completed_at, outcome, order_id, value, currency "
            "FROM checkout_steps AS x"
        ),
        commerce.checkout_steps(rows),
    )
    same(
        journeys.rows(
            f"SELECT {SHOPPER}, searched_at, query, results_count, zero_results, refined, chosen_position, "
            "lowest_position, clicked, success, exit_after FROM searches AS x"
        ),
        commerce.searches(rows),
    )
    same(
        journeys.rows(
            "SELECT event_name, order_id, revenue, returned_value, refunded_value, cancelled, net_revenue FROM orders"
        ),
        commerce.orders(rows),
    )
    same(
        journeys.rows(
            "SELECT event_name, order_id, line_number, product_id, quantity, revenue, returned_quantity, cancelled "
            "FROM order_lines"
        ),
        commerce.order_lines(rows),
    )
    same(
        journeys.rows(
            "SELECT order_id, shipment_id, carrier, shipped_at, promised_at, delivered_at, on_time FROM deliveries"
        ),
        commerce.deliveries(rows),
    )


def test_what_comes_back_is_netted_whoever_says_so(shop: Make, event: Make) -> None:
    """The example of docs/definitions.md, Orders: a warehouse that knows the order and not the person."""
    lines = [
        {"product_id": "coat", "quantity": 1, "price": 60.0},
        {"product_id": "sock", "quantity": 4, "price": 10.0},
    ]
    coat_back = [{"product_id": "coat"}]
    journeys = shop(
        [
            event("order_completed", 0, user_id="a", order_id="1", revenue=90.0, currency="EUR", products=lines),
            event("order_returned", 10, order_id="1", products=coat_back, reason="too small"),
            event("order_refunded", 20, order_id="1", total=50.0, currency="EUR"),
            event("order_completed", 30, user_id="a", order_id="2", revenue=90.0, currency="EUR", products=lines),
            event("order_cancelled", 40, order_id="2"),
            event("order_completed", 50, user_id="b", order_id="3", revenue=90.0, currency="EUR", products=lines),
            event("order_refunded", 60, order_id="3", total=50.0, currency="SEK"),
            event("order_returned", 70, order_id="3"),
            event("order_returned", 80, order_id="unheard of", value=5.0),
        ]
    )

    found = journeys.rows(
        "SELECT order_id, returned_value, refunded_value, cancelled, net_revenue, return_reason FROM orders ORDER BY 1"
    )
    assert found == [
        ("1", 54.0, 50.0, False, 36.0, "too small"),
        ("2", 0.0, 0.0, True, 0.0, None),
        ("3", 90.0, None, False, 0.0, None),  # kronor: nobody knows how many euros
    ]
    lines_found = journeys.rows(
        "SELECT order_id, product_id, revenue, returned_quantity, returned_value FROM order_lines "
        "ORDER BY order_id, line_number"
    )
    assert lines_found == [
        ("1", "coat", 54.0, 1.0, 54.0),
        ("1", "sock", 36.0, 0.0, 0.0),
        ("2", "coat", 54.0, 0.0, 0.0),
        ("2", "sock", 36.0, 0.0, 0.0),
        ("3", "coat", 54.0, 1.0, 54.0),
        ("3", "sock", 36.0, 4.0, 36.0),
    ]


def test_a_cart_is_ordered_emptied_abandoned_or_still_open(shop: Make, event: Make) -> None:
    """The example of docs/definitions.md, Carts."""
    hour = 3600
    journeys = shop(
        [
            event("product_added", 0, user_id="a", product_id="coat", price=60.0, currency="EUR"),
            event("product_added", 10, user_id="a", product_id="sock", price=10.0, quantity=3),
            event("product_removed", 20, user_id="a", product_id="sock", quantity=1),
            event("checkout_started", 30, user_id="a"),
            event("product_added", 0, user_id="b", product_id="coat", price=60.0),
            event("product_removed", 10, user_id="b", product_id="coat"),
            event("product_added", 0, user_id="c", product_id="coat", price=60.0),
            event("order_completed", 60, user_id="c", order_id="1"),
            event("product_added", 2 * hour, user_id="c", product_id="sock", price=10.0),
            event("cart_viewed", 5, user_id="d"),
            event("page_viewed", 30 + 24 * hour, user_id="d"),
        ]
    )

    found = journeys.rows(
        f"SELECT {SHOPPER}, outcome, value_added, value_left, items, product_ids, idle_hours, order_id "
        "FROM carts AS x ORDER BY 1, started_at"
    )
    assert found == [
        ("a", "abandoned", 90.0, 80.0, 3.0, ["coat", "sock"], 24.0, None),
        ("b", "emptied", 60.0, 0.0, 0.0, None, pytest.approx(24 + 20 / 3600), None),
        ("c", "ordered", 60.0, 60.0, 1.0, ["coat"], None, "1"),
        ("c", "open", 10.0, 10.0, 1.0, ["sock"], pytest.approx(22 + 30 / 3600), None),
    ]


def test_prices_of_another_currency_are_not_added_to_those_of_the_cart(shop: Make, event: Make) -> None:
    journeys = shop(
        [
            event("product_added", 0, user_id="a", product_id="coat", price=100.0, currency="SEK"),
            event("product_added", 1, user_id="a", product_id="hat", price=5.0),
            event("product_added", 2, user_id="a", product_id="sock", price=10.0, currency="EUR", quantity=2),
            event("product_removed", 3, user_id="a", product_id="sock", quantity=1),
        ]
    )

    found = journeys.rows("SELECT currency, value_added, value_left, items FROM carts")
    assert found == [("EUR", 25.0, 15.0, 3.0)]


def test_revenue_is_orders_subscriptions_and_advertisements_once_each(shop: Make, event: Make) -> None:
    journeys = shop(
        [
            event("order_completed", 0, user_id="a", order_id="1", revenue=90.0, currency="EUR"),
            event("order_refunded", 5, user_id="a", order_id="1", value=40.0),
            event("subscription_started", 1, user_id="a", subscription_id="s", value=9.0, order_id="1"),
            event("subscription_renewed", 2, user_id="a", subscription_id="s", value=9.0, currency="EUR"),
            event("subscription_renewed", 3, user_id="a", subscription_id="s"),
        ]
    )

    found = journeys.rows("SELECT kind, amount, gross_amount, currency, reference FROM revenue ORDER BY kind")
    assert found == [("order", 50.0, 90.0, "EUR", "1"), ("subscription", 9.0, 9.0, "EUR", "s")]


def test_advertisements_earn_what_they_say_and_do_not_earn_what_they_cost(shop: Make, event: Make) -> None:
    """The built-in plan has both; docs/definitions.md has this example."""
    ours = {"user_id": "a", "currency": "EUR", "channel": None}
    journeys = shop(
        [
            event("ad_viewed", 0, ad_id="theirs", ad_revenue=0.004, **ours),
            event("ad_clicked", 1, ad_id="theirs", ad_revenue=0.25, **ours),
            event("ad_clicked", 2, ad_id="own", ad_cost=0.3, **ours),
        ]
    )
    found = journeys.rows("SELECT kind, amount, gross_amount, currency, reference FROM revenue ORDER BY amount")
    assert found == [("ad", 0.004, 0.004, "EUR", "theirs"), ("ad", 0.25, 0.25, "EUR", "theirs")]


def test_a_plan_without_these_properties_gives_nulls(built: Make, event: Make) -> None:
    journeys = built(
        [
            event("product_added", 0, user_id="a", price=5.0),
            event("products_searched", 1, user_id="a", query="wool"),
            event("order_completed", 5, user_id="a", order_id="1", revenue=9.0),
            event("order_delivered", 9, user_id="a", order_id="1"),
        ]
    )

    assert journeys.rows("SELECT outcome, value_left, items, product_ids FROM carts") == [("ordered", None, None, None)]
    assert journeys.rows("SELECT zero_results, success, exit_after FROM searches") == [(None, False, True)]
    assert journeys.rows("SELECT net_revenue, margin, coupon FROM orders") == [(9.0, None, None)]
    assert journeys.rows("SELECT on_time, late_hours, promised_at FROM deliveries") == [(None, None, None)]
    assert journeys.rows("SELECT * FROM order_lines") == []


def test_members_of_structs_are_read_from_the_name_of_their_type() -> None:
    assert struct_members('STRUCT(a BIGINT, "b, ""c" STRUCT(d BIGINT, e VARCHAR)[], f DECIMAL(9,2))[]') == {
        "a": "BIGINT",
        'b, "c': "STRUCT(d BIGINT, e VARCHAR)[]",
        "f": "DECIMAL(9,2)",
    }
    assert struct_members("VARCHAR") == struct_members("VARCHAR[]") == {}


def test_who_goes_back_to_a_step_completes_it_by_going_on_again(shop: Make, event: Make) -> None:
    def step(at: float, number: int) -> dict[str, Any]:
        return event("checkout_step_viewed", at, user_id="u", checkout_id="k", step=number)

    journeys = shop([step(0, 1), step(10, 3), step(20, 2), step(50, 3), event("order_completed", 900, user_id="u")])
    taken = "EPOCH_US(completed_at) - EPOCH_US(entered_at)"
    found = journeys.rows(f"SELECT step_number, {taken} FROM checkout_steps ORDER BY step_number")
    assert found == [(1, 10_000_000), (2, 30_000_000), (3, 890_000_000)]


def test_a_delivery_that_names_no_shipment_is_that_of_the_first_one_sent(shop: Make, event: Make) -> None:
    """By name the tenth shipment would come before the ninth."""
    journeys = shop(
        [
            event("order_completed", 0, user_id="u", order_id="1"),
            event("order_shipped", 10, user_id="u", order_id="1", shipment_id="9"),
            event("order_shipped", 20, user_id="u", order_id="1", shipment_id="10"),
            event("order_delivered", 30, user_id="u", order_id="1"),
        ]
    )
    found = journeys.rows("SELECT shipment_id, delivered_at IS NOT NULL FROM deliveries ORDER BY shipped_at")
    assert found == [("9", True), ("10", False)]


def test_orders_and_complaints_without_an_id_are_told_apart_by_their_source(event: Make, shop: Make) -> None:
    """Two sources may number their events alike; and the id of one order may be that of another's event."""
    who = {"user_id": "u", "event_id": "e1"}
    journeys = shop(
        [
            event("order_completed", 0, source="shop", revenue=10.0, **who),
            event("order_completed", 5, source="app", revenue=20.0, **who),
            event("order_completed", 7, source="app", user_id="u", order_id="e1", revenue=40.0),
            event("order_completed", 9, source="till", user_id="u", order_id="e1", revenue=40.0),
            event("complaint_opened", 20, source="shop", user_id="u", event_id="e2"),
            event("complaint_opened", 25, source="app", user_id="u", event_id="e2"),
        ]
    )
    ordered = [("shop:e1", "shop", 10.0, 1), ("app:e1", "app", 20.0, 2), ("e1", "app", 40.0, 3)]
    assert journeys.rows("SELECT order_id, source, revenue, order_number FROM orders ORDER BY order_number") == ordered
    touched = (
        "SELECT source, order_id, revenue FROM touchpoints WHERE event_name = 'order_completed' ORDER BY event_time"
    )
    assert journeys.rows(touched) == [
        *((source, name, money) for name, source, money, _ in ordered),
        ("till", None, None),
    ]
    assert journeys.rows("SELECT orders, revenue FROM persons") == [(3, 70.0)]
    assert journeys.rows("SELECT complaint_id FROM complaints ORDER BY opened_at") == [("shop:e2",), ("app:e2",)]


def test_what_came_back_of_unknown_worth_is_not_nothing(event: Make, shop: Make) -> None:
    """Kronor of an order in euros, products without a price, an order without revenue; a refund tells what it was."""
    line = {"product_id": "coat", "quantity": 1, "price": None, "revenue": None}
    rows = []
    for number, back in {
        "kronor": [("order_returned", {"value": 300.0, "currency": "SEK"})],
        "no price": [("order_returned", {"products": [line]})],
        "not in it": [("order_returned", {"products": [line | {"product_id": "socks"}]})],
        "refunded": [("order_returned", {"products": [line]}), ("order_refunded", {"revenue": 40.0})],
        "no revenue": [("order_returned", {})],
    }.items():
        money = {} if number == "no revenue" else {"revenue": 100.0}
        who = {"user_id": "u", "order_id": number}
        rows.append(event("order_completed", 0, currency="EUR", products=[line], **money, **who))
        rows += [event(name, 60, **told, **who) for name, told in back]
    journeys = shop(rows)
    assert journeys.rows("SELECT order_id, returned_value, refunded_value, net_revenue FROM orders ORDER BY 1") == [
        ("kronor", None, 0.0, None),
        ("no price", None, 0.0, None),
        ("no revenue", None, 0.0, None),
        ("not in it", 0.0, 0.0, 100.0),
        ("refunded", None, 40.0, 60.0),
    ]
    (row,) = run_returns(journeys, ReturnsQuestion()).dicts()
    assert (row["sold"], row["returned"], row["value"], row["returned_value"]) == (5, 5, 400.0, 0.0)
    (row,) = run_returns(shop(rows[:2]), ReturnsQuestion()).dicts()
    assert (row["returned"], row["returned_value"], row["returned_value_share"]) == (1, None, None)


def test_of_reasons_at_one_time_the_one_of_the_first_event_is_told(event: Make, shop: Make) -> None:
    rows = []
    for number, names in enumerate(itertools.permutations(("r1", "r2", "r3"))):
        who = {"user_id": "u", "order_id": f"o{number}"}
        rows.append(event("order_completed", 0, revenue=9.0, **who))
        rows += [event("order_returned", 60, event_id=f"{name}-{number}", **who, reason=name) for name in names]
        rows.append(event("order_returned", 59, event_id=f"r0-{number}", **who))
    assert shop(rows).rows("SELECT DISTINCT return_reason FROM orders") == [("r1",)]


def test_what_is_left_is_worth_what_its_own_prices_say(event: Make, shop: Make) -> None:
    """A coat with a price is taken out, a hat without one is left, or one in kronor; a cart that was seen in kronor."""
    coat = {"product_id": "coat", "price": 60.0, "currency": "EUR"}
    hat = {"product_id": "hat", "currency": "EUR"}
    carts = {
        "unpriced": [("product_added", coat), ("product_added", hat), ("product_removed", {"product_id": "coat"})],
        "kronor": [
            *(("product_added", hat | {"price": 300.0, "currency": "SEK"}), ("product_added", coat)),
            ("product_removed", {"product_id": "coat"}),
        ],
        "seen": [("cart_viewed", {"value": 300.0, "currency": "SEK"}), ("product_added", hat)],
        "same": [("cart_viewed", {"value": 30.0}), ("product_added", hat)],
        "emptied": [("product_added", coat), ("product_removed", {"product_id": "coat"})],
    }
    rows = [
        event(name, 10 * number, user_id=cart, **told)
        for cart, moves in carts.items()
        for number, (name, told) in enumerate(moves)
    ]
    found = shop(rows).rows(
        "SELECT p.person_id, c.value_added, c.value_left, c.items FROM carts AS c "
        "JOIN persons AS p ON p.person_key = c.person_key ORDER BY p.person_id"
    )
    assert found == [
        ("emptied", 60.0, 0.0, 0.0),
        ("kronor", 60.0, None, 1.0),
        ("same", None, 30.0, 1.0),
        ("seen", None, None, 1.0),
        ("unpriced", 60.0, None, 1.0),
    ]


def test_parts_of_pieces_are_counted_as_one_would(event: Make, shop: Make) -> None:
    moves = {
        "nothing": [("product_added", 0.1), ("product_added", 0.2), ("product_removed", 0.3)],
        "half": [("product_added", 0.3), ("product_removed", None), ("product_added", 0.5)],
    }
    rows = []
    for person, changes in moves.items():
        for number, (name, pieces) in enumerate(changes):
            told = {} if pieces is None else {"quantity": pieces}
            rows.append(event(name, number, user_id=person, product_id="tea", price=10.0, **told))
    found = shop(rows).rows("SELECT outcome, items, value_left FROM carts ORDER BY items")
    assert found == [("emptied", 0.0, 0.0), ("open", 0.5, 5.0)]
