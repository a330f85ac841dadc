"""The retail calls against the source files, read here with pyarrow: another reader and other arithmetic."""

from collections import Counter
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from polku_demo.calls import Call
from polku_demo.errors import DemoError
from polku_demo.retail import Retail, data_folder
from polku_schemas import builtin_plan_path, compile_plan, load_plan

HOUSEHOLDS = 80
CENT = Decimal("0.01")


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    return list(Retail(HOUSEHOLDS).calls())


def read(table: str, calls: list[Call]) -> list[dict[str, object]]:
    """Rows of a source file that belong to the households of the calls."""
    numbers = sorted({int((call.user_id or "").removeprefix("household-")) for call in calls})
    rows = pq.read_table(data_folder() / f"{table}.parquet")
    return rows.filter(pc.is_in(rows["household_id"], pa.array(numbers))).to_pylist()


def money(value: object) -> Decimal:
    """An amount of the files to the cent: a few are sums of doubles, such as 16.1700000000000004."""
    amount = Decimal(str(value)).quantize(CENT)
    assert abs(amount - Decimal(str(value))) < Decimal("1e-9")
    return amount


def orders_of(calls: list[Call]) -> list[Call]:
    return [call for call in calls if call.name == "store_order_completed"]


def test_orders_lines_and_revenue_are_those_of_the_files(calls: list[Call]) -> None:
    rows = read("transactions", calls)
    orders = orders_of(calls)
    revenue: dict[str, Decimal] = {}
    for row in rows:
        basket = str(row["basket_id"])
        revenue[basket] = revenue.get(basket, Decimal(0)) + money(row["sales_value"])
    assert len({row["household_id"] for row in rows}) == HOUSEHOLDS
    assert {call.values["order_id"]: Decimal(str(call.values["revenue"])) for call in orders} == revenue
    assert sum(len(call.values["products"]) for call in orders) == len(rows)
    lines = Counter(
        (call.values["order_id"], line["product_id"], line["quantity"])
        for call in orders
        for line in call.values["products"]
    )
    assert lines == Counter((str(r["basket_id"]), str(r["product_id"]), r["quantity"]) for r in rows)


def test_what_is_expected_of_the_lake_is_what_the_files_say(calls: list[Call]) -> None:
    expected = Retail(HOUSEHOLDS).expected()
    rows = read("transactions", calls)
    assert expected.orders == len({row["basket_id"] for row in rows})
    assert expected.items == len(rows)
    assert expected.households == HOUSEHOLDS
    assert expected.revenue_cents == sum(money(row["sales_value"]) for row in rows) * 100
    assert expected.campaigns_received == len(read("campaigns", calls))
    assert expected.redemptions == len(read("coupon_redemptions", calls))
    assert expected.households_with_traits == len(read("demographics", calls))
    assert expected.events == len(calls)


def test_each_redemption_stands_right_before_a_basket_of_its_household(calls: list[Call]) -> None:
    baskets = {(call.user_id, call.timestamp.timestamp()) for call in orders_of(calls)}
    redemptions = [call for call in calls if call.name == "coupon_redeemed"]
    assert redemptions
    assert all((call.user_id, call.timestamp.timestamp() + 1) in baskets for call in redemptions)


def test_traits_come_before_everything_else_of_a_household(calls: list[Call]) -> None:
    first: dict[str | None, Call] = {}
    for call in calls:
        first.setdefault(call.user_id, call)
    identified = [call for call in calls if call.verb == "identify"]
    assert identified
    assert all(first[call.user_id] is call for call in identified)


def test_calls_are_in_the_order_of_time_and_inside_the_year(calls: list[Call]) -> None:
    times = [call.timestamp for call in calls]
    assert times == sorted(times)
    assert all(time.utcoffset() is not None for time in times)
    order_times = [call.timestamp for call in orders_of(calls)]
    assert order_times[0] > datetime.fromisoformat("2017-01-01T05:00:00+00:00")
    assert order_times[-1] < datetime.fromisoformat("2018-01-01T05:00:00+00:00")


def test_ids_are_unique_and_the_same_in_every_run(calls: list[Call]) -> None:
    ids = [call.message_id for call in calls]
    assert len(set(ids)) == len(ids)
    assert max(map(len, ids)) <= 128
    again = list(Retail(HOUSEHOLDS).calls())
    assert msgspec.json.encode(again) == msgspec.json.encode(calls)


def test_a_larger_slice_contains_the_smaller_one() -> None:
    small = {call.message_id for call in Retail(5).calls()}
    assert small < {call.message_id for call in Retail(10).calls()}


def test_every_call_fits_the_built_in_plan(calls: list[Call]) -> None:
    plan = compile_plan(load_plan(builtin_plan_path()))
    for call in calls:
        event = plan.traits if call.verb == "identify" else plan.find(call.verb, call.name)
        assert event is not None, call.name
        event.decode(msgspec.json.encode(call.values))


def test_the_whole_year_is_the_one_that_is_published() -> None:
    expected = Retail().expected()
    assert expected.orders == 155_848
    assert expected.households == 2_469
    assert expected.items == 1_469_307
    assert expected.redemptions == 2_102
    assert expected.households_with_traits == 801
    assert expected.revenue_cents == 459_603_958


def test_a_folder_without_the_data_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polku_demo.retail.find_spec", lambda name: None)
    with pytest.raises(DemoError, match=r"polku\[demo\]"):
        data_folder()
