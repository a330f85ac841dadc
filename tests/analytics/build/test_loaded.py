"""What `polku load` brings changes only what rests on it, and that as a full build would."""

from __future__ import annotations

import datetime
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from polku_analytics.build import Build, build
from polku_analytics.build.reference import READ_BY_KEY, downstream
from polku_analytics.fillings import REFERENCE_TABLES
from polku_analytics.lake import Lake
from polku_analytics.model_files import read_models, run_order
from polku_schemas import Plan
from tests.analytics.build.test_incremental import Row, opened, stored
from tests.analytics.conftest import START, write_table

PEOPLE = 12


def order(sequence: int, person: int, products: list[str], seconds: float) -> Row:
    at = START + datetime.timedelta(seconds=seconds)
    return {
        "event_id": f"e{sequence}",
        "event_type": "track",
        "event_name": "order_completed",
        "event_time": at,
        "received_at": at,
        "event_date": at.date(),
        "source": "shop",
        "channel": "web",
        "stream": "in-1",
        "sequence": sequence,
        "user_id": f"u{person}",
        "utm_campaign": f"c{person % 3}",
        "order_id": f"o{sequence}",
        "revenue": 10.0 * len(products),
        "currency": "EUR",
        "products": [{"product_id": product, "quantity": 1, "price": 10.0} for product in products],
    }


@pytest.fixture
def lake(tmp_path: Path, plan: Plan) -> Lake:
    """Twelve people, each with an order of a product of their own and of one that all buy, with costs and spend."""
    lake = Lake(tmp_path, environ={})
    write_table(tmp_path / "events", [order(n, n, [f"p{n}", "all"], n * 60) for n in range(PEOPLE)])
    load_products(lake, {f"p{n}": 1.0 for n in range(PEOPLE)} | {"all": 2.0})
    load_spend(lake, {"c0": 5.0})
    build(lake, plan)
    return lake


def load_products(lake: Lake, costs: Mapping[str, float], stock: float = 0.0) -> None:
    rows = [{"product_id": product, "cost": cost, "currency": "EUR", "stock": stock} for product, cost in costs.items()]
    write_deltalake(lake.table_uri("products"), pa.Table.from_pylist(rows), mode="overwrite")


def load_spend(lake: Lake, amounts: Mapping[str, float]) -> None:
    rows = [
        {"date": START.date(), "marketing_channel": "ads", "utm_campaign": name, "amount": amount, "currency": "EUR"}
        for name, amount in amounts.items()
    ]
    write_deltalake(lake.table_uri("spend"), pa.Table.from_pylist(rows), mode="overwrite")


def files(lake: Lake) -> dict[str, set[str]]:
    names = (name for name in lake.tables() if name not in ("events", "builds", "spend", "products"))
    return {name: {file.uri for file in lake.snapshot(name).files} for name in names}


def assert_as_a_full_build(lake: Lake, plan: Plan) -> None:
    grown = stored(opened(lake, plan))
    build(lake, plan, full=True)
    assert grown == stored(opened(lake, plan))


def told_of(built: Build) -> tuple[str, tuple[str, ...], int]:
    return built.kind, built.loaded, built.people


def test_spend_changes_campaigns_and_nothing_else(lake: Lake, plan: Plan) -> None:
    before = files(lake)
    load_spend(lake, {"c0": 7.0, "poster": 3.0})
    told = build(lake, plan)
    assert told_of(told) == ("incremental", ("spend",), 0)
    assert [table.name for table in told.tables] == ["campaigns"]
    after = files(lake)
    assert {name for name in before if before[name] != after[name]} == {"campaigns"}
    spent = opened(lake, plan).rows("SELECT campaign, spend FROM campaigns WHERE spend IS NOT NULL ORDER BY campaign")
    assert spent == [("c0", 7.0), ("poster", 3.0)]
    assert build(lake, plan).kind == "nothing new"
    assert_as_a_full_build(lake, plan)
    shutil.rmtree(lake.table_uri("spend"))
    assert told_of(build(lake, plan)) == ("incremental", ("spend",), 0)
    assert opened(lake, plan).rows("SELECT DISTINCT spend FROM campaigns") == [(None,)]


def test_a_cost_changes_the_orders_of_who_bought_it(lake: Lake, plan: Plan) -> None:
    def margins() -> dict[str, float]:
        return dict(opened(lake, plan).rows("SELECT person_id, margin FROM profiles"))

    assert set(margins().values()) == {17.0}
    load_products(lake, {f"p{n}": 1.0 + 3 * (n < 2) for n in range(PEOPLE)} | {"all": 2.0})
    told = build(lake, plan)
    assert told_of(told) == ("incremental", ("products",), 2) and told.new_events == 0
    changed = {table.name: table.changed_rows for table in told.tables}
    assert (changed["order_lines"], changed["touchpoints"], changed["sessions"]) == (4, 0, 0)
    assert margins() == {f"u{n}": 17.0 - 3 * (n < 2) for n in range(PEOPLE)}
    assert_as_a_full_build(lake, plan)


def test_what_no_model_reads_changes_nothing(lake: Lake, plan: Plan) -> None:
    costs = {f"p{n}": 1.0 for n in range(PEOPLE)} | {"all": 2.0}
    load_products(lake, costs, stock=8.0)
    assert told_of(build(lake, plan)) == ("nothing new", (), 0)
    load_products(lake, costs | {"never bought": 9.0})
    assert told_of(build(lake, plan)) == ("nothing new", (), 0)
    # It is known from then on what was loaded.
    load_products(lake, costs | {"never bought": 9.0, "p1": 3.0})
    assert told_of(build(lake, plan)) == ("incremental", ("products",), 1)


def test_everything_is_built_where_less_is_not_enough_or_costs_more(lake: Lake, plan: Plan) -> None:
    costs = {f"p{n}": 1.0 for n in range(PEOPLE)}
    load_products(lake, costs | {"all": 3.0})
    assert build(lake, plan).why_full == "products changed for 12 of 12 people"
    shutil.rmtree(lake.table_uri("products"))
    load_products(lake, costs | {"all": 1.0})  # has the version of the first load
    assert build(lake, plan).why_full == "the reference table products has changed"
    assert opened(lake, plan).rows("SELECT DISTINCT margin FROM orders") == [(18.0,)]


def test_loads_and_events_in_any_order_give_the_tables_of_a_full_build(lake: Lake, plan: Plan) -> None:
    draw, sequence, kinds = random.Random(5), PEOPLE, []
    costs, spend = {f"p{n}": 1.0 for n in range(PEOPLE)} | {"all": 2.0}, {"c0": 5.0}
    for events, products, amounts in ((2, 1, 1), (0, 2, 1), (3, 0, 1)):
        rows: list[dict[str, Any]] = []
        for _ in range(events):
            rows.append(order(sequence, draw.randrange(PEOPLE + 2), [f"p{draw.randrange(PEOPLE)}"], sequence * 50))
            sequence += 1
        write_table(Path(lake.uri) / "events", rows)
        for _ in range(products):
            product = f"p{draw.randrange(PEOPLE)}"
            if draw.random() < 0.3:
                costs.pop(product, None)
            else:
                costs[product] = float(draw.randrange(1, 9))
        if products:
            load_products(lake, costs)
        if amounts:
            spend[f"c{draw.randrange(5)}"] = float(draw.randrange(1, 9))
            load_spend(lake, spend)
        kinds.append(build(lake, plan).kind)
        assert_as_a_full_build(lake, plan)
    assert kinds == ["incremental"] * 3


def test_each_reference_table_is_read_as_the_build_believes() -> None:
    models = run_order(read_models())
    for name in REFERENCE_TABLES:
        reached = downstream(models, [name])
        if any(model.increment != "whole" for model in reached):
            assert [model.name for model in models if name in model.inputs] == [READ_BY_KEY[name][0]]
            assert next(model for model in models if model.name == READ_BY_KEY[name][0]).stored == "yes"
        assert reached and all(model.stored == "yes" for model in reached)
