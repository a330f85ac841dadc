"""A lake is read as one consistent set of typed tables, whatever its files hold."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake.transaction import AddAction, create_table_with_add_actions

import polku_analytics
from polku_analytics.engines.duckdb import DuckDB
from polku_analytics.errors import LakeError
from polku_analytics.lake import Lake, connect, open_duckdb
from polku_analytics.period import Period


def commit(path: Path, schema: pa.Schema, files: dict[str, pa.Table], partitions: dict[str, dict[str, str]]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    actions = []
    for name, table in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path / name)
        actions.append(
            AddAction(
                path=name,
                size=(path / name).stat().st_size,
                partition_values=partitions.get(name, {}),
                modification_time=int(time.time() * 1000),
                data_change=True,
                stats=json.dumps({"numRecords": table.num_rows}),
            )
        )
    columns = sorted({key for values in partitions.values() for key in values})
    create_table_with_add_actions(str(path), deltalake.Schema.from_arrow(schema), actions, partition_by=columns)


def test_columns_that_files_lack_are_typed_nulls(tmp_path: Path) -> None:
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("price", pa.float64()),
            ("never", pa.timestamp("us", tz="UTC")),
            ("lines", pa.list_(pa.struct([("sku", pa.string()), ("count", pa.int64())]))),
        ]
    )
    files = {
        "a.parquet": pa.table({"id": ["a"], "price": pa.array([2], pa.int32())}),
        "b.parquet": pa.table(
            {"lines": pa.array([[{"sku": "x"}]], pa.list_(pa.struct([("sku", pa.string())]))), "id": ["b"]}
        ),
        "c.parquet": pa.table(
            {"id": ["c"], "lines": pa.array([[{"sku": "y", "count": 3}]], schema.field("lines").type)}
        ),
    }
    commit(tmp_path / "things", schema, files, {})

    connection = connect(Lake(tmp_path), ["things"])

    types = dict(connection.execute("SELECT column_name, column_type FROM (DESCRIBE things)").fetchall())
    assert list(types) == ["id", "price", "never", "lines"]
    assert types["price"] == "DOUBLE"
    assert types["never"] == "TIMESTAMP WITH TIME ZONE"
    assert types["lines"].startswith("STRUCT(") and "BIGINT" in types["lines"]
    rows = DuckDB(connection).rows("SELECT id, price, never, lines FROM things ORDER BY id")
    assert rows == [
        ("a", 2.0, None, None),
        ("b", None, None, [{"sku": "x", "count": None}]),
        ("c", None, None, [{"sku": "y", "count": 3}]),
    ]


def test_a_table_without_files_is_empty_and_typed(tmp_path: Path) -> None:
    commit(tmp_path / "things", pa.schema([("id", pa.string()), ("n", pa.int64())]), {}, {})

    connection = connect(Lake(tmp_path), ["things"])

    assert connection.execute("SELECT SUM(n), COUNT(*) FROM things").fetchall() == [(None, 0)]


def test_partition_columns_outside_the_files_come_from_the_log(tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.string()), ("event_date", pa.date32())])
    files = {f"event_date=2026-01-0{n}/a.parquet": pa.table({"id": [str(n)]}) for n in (1, 2)}
    commit(tmp_path / "events", schema, files, {name: {"event_date": name[11:21]} for name in files})

    rows = DuckDB(connect(Lake(tmp_path), ["events"])).rows("SELECT id, event_date FROM events ORDER BY id")

    assert rows == [("1", datetime.date(2026, 1, 1)), ("2", datetime.date(2026, 1, 2))]


def test_a_period_opens_only_the_files_of_its_days(make_lake: Callable[..., Lake], event: Callable[..., Any]) -> None:
    lake = make_lake([event("page_viewed", day * 86400, user_id="u") for day in range(5)])

    snapshot = lake.snapshot("events", Period(datetime.date(2026, 3, 3), datetime.date(2026, 3, 5)))

    assert sorted(file.partition["event_date"] for file in snapshot.files) == ["2026-03-03", "2026-03-04"]


def test_what_is_not_there_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match=r"no lake at .*polku collector"):
        Lake(tmp_path / "nowhere").tables()
    with pytest.raises(LakeError, match=r"no table events .*polku demo"):
        Lake(tmp_path).snapshot("events")
    with pytest.raises(LakeError, match=r"no table touchpoints .*run `polku build` first"):
        Lake(tmp_path).snapshot("touchpoints")


def test_a_snapshot_does_not_see_later_commits(make_lake: Callable[..., Lake], event: Callable[..., Any]) -> None:
    lake = make_lake([event("page_viewed", user_id="u")])
    connection = connect(lake, ["events"])
    lake.delta("events").delete()

    assert connection.execute("SELECT COUNT(*) FROM events").fetchall() == [(1,)]
    assert connect(lake, ["events"]).execute("SELECT COUNT(*) FROM events").fetchall() == [(0,)]


def test_readers_ask_no_extension_site() -> None:
    """A question that would need an extension fails here, and does not go out to fetch it."""
    connection = open_duckdb()
    setting = "SELECT value FROM duckdb_settings() WHERE name = 'autoinstall_known_extensions'"
    assert connection.sql(setting).fetchall() == [("false",)]
    package = Path(polku_analytics.__file__).parent
    opens = [path.name for path in package.rglob("*.py") if "duckdb.connect(" in path.read_text(encoding="utf-8")]
    assert opens == ["lake.py"]
