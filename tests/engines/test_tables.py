"""What an engine sees of a lake: one version of each table, whatever lies beside it, and every column it has."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest
from msgspec import structs

from polku_analytics.engines.choice import ENGINE_NAMES, EngineName, open_engine
from polku_analytics.engines.engine import Engine
from polku_analytics.engines.spark import server_uri
from polku_analytics.errors import QueryError
from polku_analytics.lake import Lake

NOON = datetime.datetime(2026, 3, 2, 12, 0, 0, 1, tzinfo=datetime.UTC)
OTHERS = tuple(name for name in ENGINE_NAMES if name != "duckdb")

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("moment", pa.timestamp("us", tz="UTC")),
        ("day", pa.date32()),
        ("n", pa.int64()),
        ("x", pa.float64()),
        ("yes", pa.bool_()),
    ]
)
ROWS: list[dict[str, Any]] = [
    {"id": "a", "moment": NOON, "day": NOON.date(), "n": 2**53 + 1, "x": 0.5, "yes": True},
    {"id": None, "moment": None, "day": datetime.date(2026, 3, 3), "n": None, "x": None, "yes": None},
    {"id": 'it\'s \\ "b"', "moment": NOON, "day": datetime.date(2026, 3, 3), "n": -1, "x": 1e20, "yes": False},
]


@pytest.fixture(scope="session", params=ENGINE_NAMES)
def new(request: pytest.FixtureRequest, spark_remote: str) -> Callable[[], Engine]:
    name: EngineName = request.param
    return lambda: open_engine(name, spark_remote)


def write(folder: Path, rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA, **how: Any) -> Lake:
    deltalake.write_deltalake(str(folder / "t"), pa.Table.from_pylist(rows, schema=schema), **how)
    return Lake(folder, environ={})


def seen(engine: Engine, sql: str = "SELECT id, moment, day, n, x, yes FROM t ORDER BY n") -> list[tuple[Any, ...]]:
    return engine.rows(sql)


BY_N = [tuple(ROWS[place].values()) for place in (2, 0, 1)]


@pytest.mark.parametrize("partition_by", [[], ["day"]], ids=["whole", "values in the log"])
def test_every_value_comes_back(new: Callable[[], Engine], tmp_path: Path, partition_by: list[str]) -> None:
    """In UTC, nulls last, also where the files do not hold the partition's value."""
    lake, engine = write(tmp_path, ROWS, partition_by=partition_by), new()
    engine.open(lake, lake.snapshot("t"), {})
    assert seen(engine) == BY_N


def test_a_table_is_the_version_that_was_opened(new: Callable[[], Engine], tmp_path: Path) -> None:
    lake, engine = write(tmp_path, ROWS[:1]), new()
    snapshot = lake.snapshot("t")
    write(tmp_path, ROWS[1:], mode="append")
    write(tmp_path, ROWS[2:], mode="overwrite")
    (tmp_path / "t" / "part-of-nobody.parquet").write_bytes(b"not even Parquet")
    engine.open(lake, snapshot, {})
    assert [row[0] for row in seen(engine)] == ["a"]
    engine.open(lake, lake.snapshot("t"), {})
    assert [row[0] for row in seen(engine)] == [ROWS[2]["id"]]


def test_what_no_file_holds_is_null(new: Callable[[], Engine], tmp_path: Path) -> None:
    narrow = pa.schema([SCHEMA.field("id"), SCHEMA.field("n")])
    lake, engine = write(tmp_path, [{"id": "a", "n": 1}], narrow), new()
    write(tmp_path, ROWS[2:], mode="append", schema_mode="merge")
    engine.open(
        lake, lake.snapshot("t"), {"later": "VARCHAR", "lines": "STRUCT(a VARCHAR, b BIGINT)[]", "id": "BIGINT"}
    )
    rows = seen(engine, "SELECT id, x, later FROM t WHERE later IS NULL ORDER BY n DESC")
    assert rows == [("a", None, None), (ROWS[2]["id"], 1e20, None)]


def test_a_table_of_no_rows_has_its_columns(new: Callable[[], Engine], tmp_path: Path) -> None:
    lake, engine = write(tmp_path, []), new()
    engine.open(lake, lake.snapshot("t"), {"later": "DOUBLE"})
    assert seen(engine, "SELECT id, later FROM t") == []
    assert seen(engine, "SELECT COUNT(*), SUM(later), MAX(moment) FROM t") == [(0, None, None)]
    assert engine.arrow("SELECT n, x FROM t").column_names == ["n", "x"]
    assert {name: len(array) for name, array in engine.columns("SELECT n, x FROM t").items()} == {"n": 0, "x": 0}


def test_what_is_kept_is_kept(new: Callable[[], Engine], tmp_path: Path) -> None:
    lake, engine = write(tmp_path, ROWS), new()
    engine.open(lake, lake.snapshot("t"), {})
    engine.keep("k", "SELECT id AS unit, n FROM t WHERE n IS NOT NULL")
    assert seen(engine, "SELECT unit FROM k ORDER BY n") == [(ROWS[2]["id"],), ("a",)]
    engine.keep("k", "SELECT id AS unit FROM t WHERE FALSE")
    assert seen(engine, "SELECT unit FROM k") == []


def test_what_is_shown_is_computed_when_it_is_asked(new: Callable[[], Engine], tmp_path: Path) -> None:
    """Under the name of a table of the lake, too, which is opened under another."""
    lake, engine = write(tmp_path, ROWS), new()
    engine.open(lake, structs.replace(lake.snapshot("t"), name="stored"), {})
    for sign, found in ((">", [("a",)]), ("<", [(ROWS[2]["id"],)])):
        engine.show("t", f"SELECT s.* FROM stored AS s LEFT JOIN stored AS o ON o.n = s.n WHERE o.n {sign} 0")
        assert seen(engine, "SELECT id FROM t") == found
    engine.open(lake, lake.snapshot("t"), {})
    assert seen(engine) == BY_N
    with pytest.raises(QueryError, match="nowhere"):
        engine.show("t", "SELECT * FROM nowhere")


def test_engines_side_by_side_do_not_see_each_others_tables(new: Callable[[], Engine], tmp_path: Path) -> None:
    first, second = new(), new()
    for name, engine, row in (("one", first, ROWS[0]), ("two", second, ROWS[2])):
        lake = write(tmp_path / name, [row])
        engine.open(lake, lake.snapshot("t"), {})
    assert [row[0] for row in seen(first)] == ["a"]
    assert [row[0] for row in seen(second)] == [ROWS[2]["id"]]


def test_dialects_say_the_same(new: Callable[[], Engine], tmp_path: Path) -> None:
    lake, engine = write(tmp_path, ROWS), new()
    engine.open(lake, lake.snapshot("t"), {})
    say = engine.dialect
    late = datetime.datetime(2026, 3, 28, 23, 30, tzinfo=datetime.UTC)
    said = (
        say.microseconds("moment"),
        say.local_day(say.moment(late), "Europe/Helsinki"),
        *(say.text(name) for name in ("n", "yes", "id")),
        say.code("id", ["a", str(ROWS[2]["id"])]),
        f"moment >= {say.moment(NOON)}",
        f"moment < {say.moment(NOON)}",
    )
    listed = ", ".join(f"{expression} AS c{place}" for place, expression in enumerate(said))
    assert seen(engine, f"SELECT {listed} FROM t WHERE id IS NOT NULL ORDER BY n DESC") == [
        (1772452800000001, datetime.date(2026, 3, 29), "9007199254740993", "true", "a", 0, True, False),
        (1772452800000001, datetime.date(2026, 3, 29), "-1", "false", ROWS[2]["id"], 1, True, False),
    ]
    assert seen(engine, f"SELECT {say.text('x')} AS c FROM t WHERE id = 'a'") == [("0.5",)]
    assert seen(engine, f"SELECT {say.text('x * 4')} AS c FROM t WHERE id = 'a'") == [("2.0",)]
    numbers = engine.columns(f"SELECT {say.microseconds('moment')} AS a, yes FROM t WHERE n > 0")
    assert (numbers["a"].dtype, numbers["yes"].dtype) == ("int64", "bool")


LARGE = "(id, n) IN (SELECT id, n FROM t WHERE x > 1)"
SMALL = "(id, n) IN (SELECT id, n FROM t WHERE x < 1)"
MEMBERSHIP = {
    f"SELECT n, CASE WHEN {LARGE} THEN 1 ELSE 0 END AS c FROM t WHERE n < 9": [(-1, 1)],
    f"SELECT n, 1 AS c FROM t WHERE n < 0 OR {SMALL} ORDER BY n": [(-1, 1), (ROWS[0]["n"], 1)],
    f"SELECT n, 1 AS c FROM t WHERE n IN (SELECT n FROM t WHERE {LARGE})": [(-1, 1)],
    f"SELECT n, 1 AS c FROM t WHERE n IN (SELECT n FROM t) AND NOT ({SMALL})": [(-1, 1)],
}


@pytest.mark.parametrize("where", MEMBERSHIP)
def test_a_row_is_looked_for_in_a_query(new: Callable[[], Engine], tmp_path: Path, where: str) -> None:
    lake, engine = write(tmp_path, ROWS), new()
    engine.open(lake, lake.snapshot("t"), {})
    assert seen(engine, where) == MEMBERSHIP[where]


def test_like_has_no_escape(new: Callable[[], Engine], tmp_path: Path) -> None:
    lake, engine = write(tmp_path, ROWS), new()
    engine.open(lake, lake.snapshot("t"), {})
    assert seen(engine, "SELECT n FROM t WHERE id LIKE 'it''s \\ %'") == [(-1,)]
    assert seen(engine, "SELECT n FROM t WHERE id LIKE 'it''s _ \"b\"'") == [(-1,)]


def test_what_an_engine_complains_about_is_one_line(new: Callable[[], Engine]) -> None:
    with pytest.raises(QueryError, match="nowhere") as caught:
        new().rows("SELECT * FROM nowhere")
    assert "\n" not in str(caught.value)


def test_a_server_is_told_the_whole_path_of_a_local_lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spark's server has a folder of its own to begin at."""
    monkeypatch.chdir(tmp_path)
    assert server_uri(Lake("./lake", environ={}), "t") == str(tmp_path / "lake" / "t")
    assert server_uri(Lake("s3://lake/shop", environ={}), "t") == "s3://lake/shop/t"
