"""The tables that a cluster builds are those that DuckDB builds, value by value."""

from __future__ import annotations

import datetime
import functools
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs

from polku_analytics.build import build
from polku_analytics.engines.choice import build_on_spark, open_engine
from polku_analytics.engines.duckdb import DuckDB
from polku_analytics.engines.files import arrow_schema
from polku_analytics.file_cache import ObjectStore
from polku_analytics.fillings import expected_event_columns
from polku_analytics.journeys import BUILT_TABLES, open_journeys
from polku_analytics.lake import Lake, connect
from polku_analytics.reference import load_file
from polku_analytics.session_rules import DEFAULT_RULES, SessionRules
from polku_schemas import Plan
from tests.engines.compare import differences
from tests.s3_server import s3_bucket

TABLES = BUILT_TABLES
BEGIN = datetime.datetime(2026, 3, 2, 12, 0, tzinfo=datetime.UTC)


def tables(lake: Lake) -> dict[str, tuple[list[tuple[str, str]], list[tuple[Any, ...]]]]:
    """Columns with types, and rows, of every built table."""
    connection = connect(lake, TABLES)
    found = {}
    for name in TABLES:
        relation = connection.sql(f"SELECT * FROM {name} ORDER BY ALL")
        found[name] = (list(zip(relation.columns, map(str, relation.types), strict=True)), relation.fetchall())
    return found


def assert_equal_builds(lake: Lake, plan: Plan, spark_remote: str, copy: Path) -> None:
    # Copies both, because other tests ask the lake as it was built with another plan.
    other = Lake(shutil.copytree(lake.uri, copy), environ={})
    lake = Lake(shutil.copytree(lake.uri, copy.with_name(f"{copy.name}-here")), environ={})
    here = build(lake, plan, full=True)
    there = build_on_spark(spark_remote, other, plan, lambda text: None)
    expected, found = tables(lake), tables(other)
    for name in TABLES:
        assert found[name][0] == expected[name][0], name
        assert differences(found[name][1], expected[name][1], name) == []
    for field in ("events", "bot_events", "duplicate_events", "unplaced_events", "as_of", "people", "new_events"):
        assert getattr(there, field) == getattr(here, field), field
    assert {table.name: table.rows for table in there.tables} == {table.name: table.rows for table in here.tables}
    assert not list(copy.glob("building-*"))
    opened = open_journeys(other, plan)
    assert (opened.build_id, opened.as_of) == (there.build_id, here.as_of)


@pytest.fixture(scope="session")
def plain_plan(plan: Plan) -> Plan:
    """The plan without traits as evidence."""
    assert plan.join_by
    return structs.replace(plan, join_by=(), join_users=False)


def test_the_shop_is_built_alike(lake: Lake, plan: Plan, spark_remote: str, tmp_path: Path) -> None:
    assert_equal_builds(lake, plan, spark_remote, tmp_path / "copy")


def test_what_was_loaded_is_read(lake: Lake, plain_plan: Plan, spark_remote: str, tmp_path: Path) -> None:
    lake = Lake(shutil.copytree(lake.uri, tmp_path / "lake"), environ={})
    products = DuckDB(connect(lake, ["order_lines"])).rows("SELECT DISTINCT product_id FROM order_lines ORDER BY ALL")
    costs = "".join(f"{product},{number + 1}.5\n" for number, (product,) in enumerate(products))
    (tmp_path / "products.csv").write_text(f"product_id,cost\n{costs}")
    load_file(lake, plain_plan, "products", str(tmp_path / "products.csv"))
    campaigns = DuckDB(connect(lake, ["campaigns"])).rows("SELECT campaign FROM campaigns ORDER BY ALL")
    named = [*(campaign for (campaign,) in campaigns), "nobody"]
    paid = "".join(f"2026-03-0{day},email,{campaign},{day}.5,EUR\n" for campaign in named for day in (1, 2))
    (tmp_path / "spend.csv").write_text(f"date,marketing_channel,utm_campaign,amount,currency\n{paid}")
    load_file(lake, plain_plan, "spend", str(tmp_path / "spend.csv"))
    assert_equal_builds(lake, plain_plan, spark_remote, tmp_path / "copy")
    other = Lake(tmp_path / "copy", environ={})
    assert open_journeys(other, plain_plan, ["orders"]).rows("SELECT COUNT(margin) > 5 FROM orders") == [(True,)]


def test_sessions_end_by_the_rules_of_the_lake(
    plain_plan: Plan, spark_remote: str, tmp_path: Path, write_events: Callable[..., Lake]
) -> None:
    night = 9 * 3600 + 3000  # ten to midnight in Helsinki
    times = (0, 1800, 1860, night, night + 1200)
    campaigns = ("spring", None, "summer", None, None)
    visits = zip(times, campaigns, strict=True)
    lake = write_events(
        tmp_path,
        [{"event_name": "page_viewed", "user_id": "a", "second": at, "utm_campaign": name} for at, name in visits],
    )
    rules = SessionRules(new_at_gap=True, new_on_campaign=True, midnight="Europe/Helsinki", client_ids=False)
    sessions = "SELECT started_at, events FROM sessions ORDER BY started_at"
    build(lake, plain_plan, sessions=rules)
    here = open_journeys(lake, plain_plan).rows(sessions)
    assert [events for _, events in here] == [1, 1, 1, 1, 1]
    assert build_on_spark(spark_remote, lake, plain_plan, lambda text: None).sessions == rules
    assert open_journeys(lake, plain_plan).rows(sessions) == here
    build_on_spark(spark_remote, lake, plain_plan, lambda text: None, DEFAULT_RULES)
    assert [events for _, events in open_journeys(lake, plain_plan).rows(sessions)] == [3, 2]


def test_a_second_build_replaces_the_first(
    plain_plan: Plan, spark_remote: str, tmp_path: Path, write_events: Callable[..., Lake]
) -> None:
    lake = write_events(tmp_path, [{"event_name": "product_viewed", "user_id": "a"}])
    for _ in range(2):
        built = build_on_spark(spark_remote, lake, plain_plan, lambda text: None)
    assert open_journeys(lake, plain_plan).build_id == built.build_id
    assert open_journeys(lake, plain_plan).rows("SELECT COUNT(*) FROM persons") == [(1,)]
    after = build(lake, plain_plan)
    assert (after.kind, build(lake, plain_plan).kind) == ("full", "nothing new")


def test_no_events_are_no_rows(
    plain_plan: Plan, spark_remote: str, tmp_path: Path, write_events: Callable[..., Lake]
) -> None:
    assert_equal_builds(write_events(tmp_path / "lake", []), plain_plan, spark_remote, tmp_path / "copy")


@pytest.fixture(scope="session")
def write_events(plain_plan: Plan) -> Callable[..., Lake]:
    """`write_events(folder, rows)`: a lake of events a second apart, with ids of their own."""

    def write(folder: Path, rows: list[dict[str, Any]]) -> Lake:
        expected = arrow_schema(expected_event_columns(plain_plan))
        made = []
        for number, row in enumerate(rows):
            at = BEGIN + datetime.timedelta(seconds=row.get("second", number))
            kind = row["event_name"] if row["event_name"] in ("identify", "alias") else "track"
            ids = {"event_id": f"e{number:04}", "event_type": kind, "source": "web", "stream": "s", "sequence": number}
            times = {"event_time": at, "received_at": at, "event_date": at.date()}
            made.append({**ids, **times, **{name: value for name, value in row.items() if value is not None}})
        lacking = [("stream", pa.string()), ("sequence", pa.int64())]
        schema = pa.schema([*expected, *(pa.field(*one) for one in lacking if one[0] not in expected.names)])
        deltalake.write_deltalake(str(folder / "events"), pa.Table.from_pylist(made, schema=schema))
        return Lake(folder, environ={})

    return write


SOMEBODY = st.none() | st.sampled_from(["u1", "u2", "u3", "u4", "d1"])
DEVICE = st.none() | st.sampled_from(["d1", "d2", "d3", "d4"])
IDS: Any = {
    "user_id": SOMEBODY,
    "anonymous_id": DEVICE,
    "previous_id": st.none() | SOMEBODY,
    "second": st.integers(0, 12),
    "event_id": st.none() | st.sampled_from(["twice", "thrice"]),
}
ACTS = st.fixed_dictionaries(
    {"event_name": st.sampled_from(["product_viewed", "order_completed", "logged_out", "alias"]), **IDS}
)
TELLS = st.fixed_dictionaries(
    {
        "event_name": st.just("identify"),
        **IDS,
        "user_id": st.none() | SOMEBODY,
        "trait_crm_id": st.none() | st.sampled_from(["7", " 7", "8"]),
        "trait_email": st.none() | st.sampled_from(["a@b.example", "A@b.example ", "c@d.example", ""]),
    }
)
EVENTS = st.lists(ACTS | TELLS, max_size=40)


@settings(max_examples=6, suppress_health_check=list(HealthCheck))
@given(EVENTS, st.booleans())
def test_who_is_who_is_the_same(
    plan: Plan,
    spark_remote: str,
    tmp_path_factory: pytest.TempPathFactory,
    write_events: Callable[..., Lake],
    events: list[dict[str, Any]],
    join_users: bool,
) -> None:
    folder = tmp_path_factory.mktemp("who")
    plan = structs.replace(plan, join_users=join_users)
    assert_equal_builds(write_events(folder / "lake", events), plan, spark_remote, folder / "copy")


def test_traits_join_in_chains_and_not_where_many_tell_them(
    plan: Plan, spark_remote: str, tmp_path: Path, write_events: Callable[..., Lake]
) -> None:
    def tells(device: str | None, crm_id: str | None, email: str | None, user: str | None = None) -> dict[str, Any]:
        ids = {"anonymous_id": device, "user_id": user}
        return {"event_name": "identify", **ids, "trait_crm_id": crm_id, "trait_email": email}

    chain = [tells(f"d{number:02}", str(number), f"{number // 2}@c.example") for number in range(1, 12)]
    chain += [tells(f"d{number:02}", str(number + 1), None) for number in range(1, 12)]
    known = [tells("k1", None, "Kim@k.example "), tells(None, None, "kim@k.example", "kim")]
    two = [tells("t1", None, "both@t.example"), *(tells(None, None, "both@t.example", user) for user in ("ann", "bob"))]
    till = [tells(f"till{number:02}", None, "till@shop.example") for number in range(21)]
    lake = write_events(tmp_path / "lake", [*chain, *known, *two, *till])
    assert_equal_builds(lake, plan, spark_remote, tmp_path / "copy")
    sql = "SELECT anonymous_ids, COUNT(*) FROM persons GROUP BY ALL ORDER BY ALL"
    # Ann and Bob; Kim with a device, the device that two known people may hold, 21 at the till; and the chain.
    assert open_journeys(Lake(tmp_path / "copy", environ={}), plan).rows(sql) == [(0, 2), (1, 23), (11, 1)]


def test_a_long_chain_of_aliases_is_one_person(
    plain_plan: Plan, spark_remote: str, tmp_path: Path, write_events: Callable[..., Lake]
) -> None:
    users = [f"u{number:02}" for number in (3, 11, 0, 7, 9, 1, 12, 5, 2, 10, 4, 8, 6)]
    rows = [{"event_name": "product_viewed", "user_id": user} for user in users]
    rows += [{"event_name": "alias", "previous_id": one, "user_id": other} for one, other in itertools.pairwise(users)]
    lake = write_events(tmp_path / "lake", rows)
    assert_equal_builds(lake, plain_plan, spark_remote, tmp_path / "copy")
    assert open_journeys(Lake(tmp_path / "copy", environ={}), plain_plan).rows("SELECT user_ids FROM persons") == [
        (13,)
    ]


def test_a_lake_on_a_store(
    plain_plan: Plan,
    spark_remote: str,
    tmp_path: Path,
    write_events: Callable[..., Lake],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cluster writes its files there, and leaves none of its steps."""
    with s3_bucket("lake", monkeypatch):
        monkeypatch.setenv("POLKU_CACHE_DIR", str(tmp_path / "cache"))
        local = write_events(tmp_path / "lake", [{"event_name": "product_viewed", "user_id": "a"}])
        events = local.delta("events").to_pyarrow_table()
        lake = Lake("s3://lake/shop")
        deltalake.write_deltalake(lake.table_uri("events"), events, storage_options=lake.storage_options())
        built = build_on_spark(spark_remote, lake, plain_plan, lambda text: None)
        assert {table.name: table.rows for table in built.tables}["persons"] == 1
        asked = functools.partial(open_engine, "spark", spark_remote)
        for engine in (open_engine, asked):
            assert open_journeys(lake, plain_plan, engine=engine).rows("SELECT person_id FROM persons") == [("a",)]
        assert not [name for name in ObjectStore(lake.uri, os.environ).folders(lake.uri) if "-" in name]
