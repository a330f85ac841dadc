"""Reference tables: what a file may hold, what is said of one that may not, and what models make of the rows."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import pytest
from click.testing import CliRunner, Result

from polku_analytics.build import build
from polku_analytics.commands.load import load
from polku_analytics.errors import AnalyticsError, LoadError, UnknownNameError
from polku_analytics.journeys import open_journeys
from polku_analytics.lake import Lake
from polku_analytics.reference import load_file
from polku_schemas import Plan, builtin_plan_path, load_plan

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def shop_plan() -> Plan:
    return load_plan(builtin_plan_path())


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    (tmp_path / "lake").mkdir()
    return Lake(tmp_path / "lake", environ={})


def file(lake: Lake, name: str, text: str) -> str:
    path = Path(lake.uri).parent / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def rows(lake: Lake, table: str) -> list[dict[str, Any]]:
    found = deltalake.DeltaTable(lake.table_uri(table)).to_pyarrow_table().to_pylist()
    return sorted(found, key=lambda row: str(list(row.values())))


def test_rows_are_added_and_changed_by_their_key(lake: Lake, shop_plan: Plan) -> None:
    first = load_file(
        lake, shop_plan, "products", file(lake, "a.csv", "product_id,name,cost\nP1,Coat,20.5\nP2,Sock,3\n")
    )
    text = '{"product_id": "P2", "cost": 4, "stock": 7}\n\n{"product_id": 3, "cost": null}\n'
    second = load_file(lake, shop_plan, "products", file(lake, "b.ndjson", text))

    assert (first.inserted, first.updated, first.total) == (2, 0, 2)
    assert (second.inserted, second.updated, second.total) == (1, 1, 3)
    empty = {"category": None, "brand": None, "currency": None}
    assert rows(lake, "products") == [
        {"product_id": "3", "name": None, "cost": None, "stock": None, **empty},
        {"product_id": "P1", "name": "Coat", "cost": 20.5, "stock": None, **empty},
        {"product_id": "P2", "name": "Sock", "cost": 4.0, "stock": 7.0, **empty},
    ]
    protocol = deltalake.DeltaTable(lake.table_uri("products")).protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)


def test_an_empty_part_of_a_key_is_a_value_like_others(lake: Lake, shop_plan: Plan) -> None:
    whole_channel = "date,marketing_channel,amount\n2026-01-01,paid_search,5\n"
    by_campaign = "date,marketing_channel,utm_campaign,amount\n2026-01-01,paid_search,,7\n2026-01-01,paid_search,x,1\n"
    load_file(lake, shop_plan, "spend", file(lake, "a.csv", whole_channel))
    loaded = load_file(lake, shop_plan, "spend", file(lake, "b.csv", by_campaign))

    assert (loaded.inserted, loaded.updated) == (1, 1)
    day = datetime.date(2026, 1, 1)
    found = {(row["date"], row["utm_campaign"], row["amount"]) for row in rows(lake, "spend")}
    assert found == {(day, None, 7.0), (day, "x", 1.0)}


def test_all_that_is_wrong_is_said_with_its_line_and_nothing_is_loaded(lake: Lake, shop_plan: Plan) -> None:
    text = "product_id,naem,cost\nP1,Coat,abc\nP1,Coat,1\n,x,2\nP3,y\nP4,z,inf\n"
    with pytest.raises(LoadError) as caught:
        load_file(lake, shop_plan, "products", file(lake, "bad.csv", text))

    said = str(caught.value)
    for fault in (
        "unknown column 'naem': did you mean name?",
        "line 2: cost is not a number: 'abc'",
        "line 3: product_id P1 stands in line 2 already",
        "line 4: product_id is missing",
        "line 5: 2 values for 3 columns",
        "line 6: cost is not a number: 'inf'",
    ):
        assert fault in said
    assert not Path(lake.table_uri("products")).exists()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "", "there are no rows"),
        ("a.csv", "product_id,cost\n", "there are no rows"),
        ("a.csv", "product_id;cost\nP;1\n", "not separated by commas"),
        ("a.csv", "product_id,cost,cost\nP,1,2\n", "column 'cost' stands in the header twice"),
        ("a.csv", 'product_id,cost\n"P,1\n', "line 2: unexpected end of data"),
        ("a.csv", "cost\n1\n", "no column 'product_id', which every row needs"),
        ("a.ndjson", '{"product_id": "P"}\n{"product_id"\n', "line 2: this is not JSON"),
        ("a.ndjson", "[1]\n", "line 1: this is no object"),
        ("a.ndjson", '{"product_id": ["P"]}\n', "line 1: product_id is not a text: ['P']"),
        ("a.ndjson", '{"product_id": "P", "cost": true}\n', "line 1: cost is not a number: True"),
        ("a.txt", "product_id\nP\n", "end it with .csv or .ndjson, or give --format"),
    ],
)
def test_files_that_cannot_be_loaded(lake: Lake, shop_plan: Plan, name: str, text: str, said: str) -> None:
    with pytest.raises(LoadError, match=said.replace("[", r"\[")):
        load_file(lake, shop_plan, "products", file(lake, name, text))


def test_bytes_that_are_no_text_are_told_with_their_line(lake: Lake, shop_plan: Plan) -> None:
    path = Path(file(lake, "a.csv", ""))
    path.write_bytes(b"product_id,name\nP,K\xe4yr\xe4\n")
    with pytest.raises(LoadError, match=r"line 2: this is not UTF-8"):
        load_file(lake, shop_plan, "products", str(path))
    with pytest.raises(LoadError, match="cannot be read: No such file"):
        load_file(lake, shop_plan, "products", str(path) + ".csv")


def run(*arguments: str, **more: Any) -> Result:
    return CliRunner().invoke(load, arguments, **more)


def test_the_command_loads_and_says_what_tables_and_columns_there_are(lake: Lake) -> None:
    loaded = run("products", "-", "--format", "csv", "--lake", lake.uri, input="product_id,cost\nP,1\n")
    assert "products: 1 rows read, 1 new, 0 changed, 1 now in the table" in loaded.output
    assert "spend     date, marketing_channel, utm_campaign" in run().output
    assert "cost        number" in run("products").output
    wrong = run("produts", "--lake", lake.uri).exception
    assert isinstance(wrong, UnknownNameError) and wrong.near == ("products",)
    assert isinstance(run("products", "x.csv", "--lake", lake.uri + "/none").exception, AnalyticsError)


def test_margins_come_from_the_costs_of_products(make_lake: Make, event: Make, shop_plan: Plan) -> None:
    """The example of docs/definitions.md, Orders."""
    lines = [
        {"product_id": "coat", "quantity": 1, "price": 60.0},
        {"product_id": "sock", "quantity": 4, "price": 10.0, "category": "socks"},
    ]

    def order(number: int, **more: Any) -> dict[str, Any]:
        return event("order_completed", number, user_id="a", order_id=str(number), products=lines, **more)

    shop = make_lake(
        [
            order(1, revenue=90.0, currency="EUR"),
            event("order_returned", 10, order_id="1", products=[{"product_id": "coat"}]),
            event("order_refunded", 20, order_id="1", total=50.0, currency="EUR"),
            order(2, revenue=90.0, currency="SEK"),
            order(3, revenue=90.0),
            event("order_cancelled", 30, order_id="3"),
            event("order_completed", 4, user_id="a", order_id="4", revenue=5.0, products=[{"product_id": "hat"}]),
            order(5, revenue=90.0, currency="EUR") | {"user_id": "b"},
        ]
    )
    text = "product_id,name,category,cost,currency\ncoat,Coat,outer,20,EUR\nsock,Sock,other,3,\n"
    path = Path(shop.uri) / "p.csv"
    path.write_text(text)
    load_file(shop, shop_plan, "products", str(path))
    build(shop, shop_plan)
    journeys = open_journeys(shop, shop_plan)

    assert journeys.rows("SELECT order_id, net_revenue, margin FROM orders ORDER BY order_id") == [
        ("1", 36.0, 24.0),
        ("2", 90.0, None),  # the coat's cost is in another currency
        ("3", 0.0, 0.0),
        ("4", 5.0, None),
        ("5", 90.0, 58.0),
    ]
    # Of the orders in the currency of the latest one: the last of `a` has none, and no known margin.
    margins = journeys.rows("SELECT person_id, currency, net_revenue, margin FROM profiles ORDER BY person_id")
    assert margins == [("a", None, 5.0, None), ("b", "EUR", 90.0, 58.0)]
    assert journeys.rows(
        "SELECT product_id, name, category, cost, margin FROM order_lines WHERE order_id = '1' ORDER BY line_number"
    ) == [("coat", "Coat", "outer", 20.0, 0.0), ("sock", "Sock", "socks", 3.0, 24.0)]
