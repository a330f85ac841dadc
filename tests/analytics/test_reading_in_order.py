"""Rows that lie in order are read as they lie; the order is that of the question all the same."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from polku_analytics.analyses.scope import Part
from polku_analytics.engines.choice import open_engine
from polku_analytics.engines.engine import Engine
from polku_analytics.journeys import Journeys
from polku_analytics.lake import Lake
from polku_analytics.period import Period

FILES = [
    [(1, 1), (1, 2)],
    [(1, 3), (2, 1), (3, 1)],
    [(3, 2), (3, 3)],
    [(3, 4), (3, 5)],
    [(3, 6), (7, 1)],
    [(8, 1), (9, 1), (9, 2)],
]
"""Person and number. One person begins in one file, fills two, and goes on in a fourth."""


def opened(folder: Path, files: list[list[tuple[int, int]]]) -> Engine:
    for rows in files:
        people, numbers = zip(*rows, strict=True)
        write_deltalake(
            folder / "touchpoints", pa.table({"person_key": people, "touchpoint_number": numbers}), mode="append"
        )
    lake = Lake(folder, environ={})
    engine = open_engine("duckdb")
    engine.open(lake, lake.snapshot("touchpoints"), {})
    return engine


@pytest.mark.parametrize("seed", range(3))
def test_files_are_read_one_after_the_other(tmp_path: Path, seed: int) -> None:
    """Whatever they are called, and whichever was committed first."""
    engine = opened(tmp_path, random.Random(seed).sample(FILES, len(FILES)))
    assert engine.lies_in_order("touchpoints")
    assert engine.rows("SELECT person_key, touchpoint_number FROM touchpoints") == [
        row for file in FILES for row in file
    ]


def test_files_that_overlap_are_in_no_order(tmp_path: Path) -> None:
    assert not opened(tmp_path, [*FILES, [(2, 2), (4, 1)]]).lies_in_order("touchpoints")


def test_of_a_table_that_is_not_open_no_order_is_promised() -> None:
    assert not open_engine("duckdb").lies_in_order("touchpoints")


@pytest.fixture(scope="module")
def visits(new_history: Callable[[], Callable[..., dict[str, Any]]], built: Callable[..., Journeys]) -> Journeys:
    """Two devices of one person in use at once, as their clients' session ids say; ties within and between them."""
    event = new_history()
    one = {"user_id": "aino", "session_id": "phone"}
    other = {"user_id": "aino", "session_id": "computer"}
    rows = [
        event(name, seconds, **who)
        for seconds in (0, 5, 5, 9)
        for name, who in (("product_viewed", one), ("page_viewed", other), ("cart_viewed", one))
    ]
    return built([*rows, *(event("page_viewed", n, user_id=f"u{n}") for n in range(20))])


@pytest.mark.parametrize("unit", ["person", "session"])
def test_a_unit_has_its_rows_in_their_order(visits: Journeys, unit: Any) -> None:
    part = Part(journeys=visits, unit=unit, period=Period())
    assert part.lies_in_order
    sql = (
        f"SELECT t.{part.unit_column} AS unit, EPOCH_US(t.event_time) AS microseconds, t.touchpoint_number AS number "
        "FROM touchpoints AS t"
    )
    read = part.ordered(sql, part.order("t"))
    asked = visits.engine.columns(f"{sql} ORDER BY {part.order('t')}")
    assert {name: values.tolist() for name, values in read.items()} == {
        name: values.tolist() for name, values in asked.items()
    }


def test_rows_that_do_not_lie_as_promised_are_sorted(visits: Journeys) -> None:
    """A condition that is said to be no join, and is one, or a file that somebody else has written."""
    part = Part(journeys=visits, unit="person", period=Period())
    sql = (
        "SELECT t.person_key AS unit, EPOCH_US(t.event_time) AS microseconds "
        "FROM (SELECT * FROM touchpoints ORDER BY touchpoint_number DESC) AS t"
    )
    read = part.ordered(sql, "unit, microseconds")
    asked = visits.engine.columns(f"{sql} ORDER BY unit, microseconds")
    assert read["microseconds"].tolist() == asked["microseconds"].tolist()
    assert read["unit"].tolist() == asked["unit"].tolist()


def test_conditions_on_people_are_joins(visits: Journeys) -> None:
    part = Part(journeys=visits, unit="person", period=Period(), units="SELECT person_key FROM persons")
    assert not part.lies_in_order
    assert not Part(journeys=visits, unit="account", period=Period()).lies_in_order


def test_what_a_session_knows_of_its_touchpoints(visits: Journeys) -> None:
    """Coverage and the names of touchpoints are read from tables of few rows."""
    people, count, first, last = visits.rows(
        "SELECT COUNT(DISTINCT person_key), COUNT(*), MIN(event_time), MAX(event_time) FROM touchpoints"
    )[0]
    coverage = visits.coverage(Period())
    assert [coverage[name] for name in ("people", "touchpoints", "first_event", "last_event")] == [
        *(people, count),
        *(first, last),
    ]
