"""Rows that lie in order are read as they lie; the order is that of the question all the same."""

from __future__ import annotations

import itertools
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from hypothesis import given
from hypothesis import strategies as st

from polku_analytics.analyses import pieces
from polku_analytics.analyses.pieces import OutOfOrder, whole_units
from polku_analytics.analyses.scope import BY_TIME, Part
from polku_analytics.api import open as open_lake
from polku_analytics.build import build, compute
from polku_analytics.engines import files
from polku_analytics.engines.choice import open_engine
from polku_analytics.engines.engine import Engine
from polku_analytics.journeys import Journeys, open_journeys
from polku_analytics.lake import Lake
from polku_analytics.period import Period
from polku_schemas import Plan
from tests.analytics.conftest import write_table

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
    assert engine.runs_in_order("touchpoints") == 1
    assert engine.rows("SELECT person_key, touchpoint_number FROM touchpoints") == [
        row for file in FILES for row in file
    ]


@pytest.mark.parametrize("seed", range(3))
def test_files_that_overlap_are_runs_of_their_own(tmp_path: Path, seed: int) -> None:
    """As builds of what is new leave them: each run lies in order, and one follows the other."""
    more = [[(0, 1), (4, 1)], [(4, 2), (9, 3)], [(2, 2), (9, 4)]]
    engine = opened(tmp_path, random.Random(seed).sample([*FILES, *more], len(FILES) + len(more)))
    assert engine.runs_in_order("touchpoints") == 3
    read = engine.rows("SELECT person_key, touchpoint_number FROM touchpoints")
    assert sorted(read) == sorted(row for file in [*FILES, *more] for row in file)
    assert sum(one > other for one, other in itertools.pairwise(read)) == 2


def test_too_many_runs_are_no_order(tmp_path: Path) -> None:
    assert opened(tmp_path, [[(0, n), (9, n)] for n in range(files.MANY_RUNS)]).runs_in_order("touchpoints")
    assert not opened(tmp_path, [[(0, 99), (9, 99)]]).runs_in_order("touchpoints")


def test_of_a_table_that_is_not_open_no_order_is_promised() -> None:
    assert not open_engine("duckdb").runs_in_order("touchpoints")


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


@pytest.fixture(scope="module")
def built_in(
    new_history: Callable[[], Callable[..., dict[str, Any]]], make_lake: Callable[..., Lake], plan: Plan
) -> Journeys:
    """A lake of many builds. What came later happened later, earlier or at the same moment, for some of the people."""
    event, made = new_history(), random.Random(11)
    names = ("product_viewed", "page_viewed", "product_added", "logged_out")

    def some(people: Sequence[int], minutes: range, number: int) -> list[dict[str, Any]]:
        return [
            event(made.choice(names), 60 * made.choice(minutes), user_id=f"u{n}", session_id=f"s{n % 7}", price=5.0)
            for n in people
            for _ in range(number)
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compute, "ROWS_A_FILE", 2048)  # one of the people fills files
        lake = make_lake([*some(range(40), range(400), 80), *some([20], range(400), 4_000)])
        build(lake, plan)
        for people, minutes in (([3, 33], range(399, 900)), ([2, 20, 21], range(30)), ([5, 38], range(900, 950))):
            write_table(Path(lake.uri) / "events", some(people, minutes, 3))
            assert build(lake, plan).kind == "incremental"
    return open_journeys(lake, plan)


@pytest.mark.parametrize("unit", ["person", "session"])
def test_runs_are_merged(built_in: Journeys, unit: Any) -> None:
    """Also where a person's first touchpoints were written again, for an event that came late, and the others not."""
    assert built_in.engine.runs_in_order("touchpoints") > 1
    part = Part(journeys=built_in, unit=unit, period=Period())
    sql = (
        f"SELECT t.{part.unit_column} AS unit, EPOCH_US(t.event_time) AS microseconds{part.number} "
        "FROM touchpoints AS t"
    )
    for order in (part.order("t"), BY_TIME):
        read, asked = part.ordered(sql, order), built_in.engine.columns(f"{sql} ORDER BY {part.order('t')}")
        names = ["unit", "microseconds", "number"] if order != BY_TIME else ["unit", "microseconds"]
        assert [read[name].tolist() for name in names] == [asked[name].tolist() for name in names]


ASKED = {
    f"{name} of a {unit}": (ask, {"unit": unit})
    for name, ask, units in (
        ("funnel", lambda lake, **of: lake.funnel("product_viewed", "product_added", **of), ("person", "session")),
        (
            "strict funnel",
            lambda lake, **of: lake.funnel("product_viewed", "product_added", order="strict", **of),
            ("person", "session"),
        ),
        ("paths", lambda lake, **of: lake.paths(**of), ("person", "session")),
        ("retention", lambda lake, **of: lake.retention(interval="day", **of), ("person",)),
    )
    for unit in units
}


@pytest.mark.parametrize("asked", ASKED)
def test_answers_are_those_of_a_lake_that_was_built_at_once(
    built_in: Journeys, built_at_once: Lake, plan: Plan, asked: str
) -> None:
    ask, of = ASKED[asked]
    found, wanted = (ask(open_lake(lake, plan), **of).rows for lake in (built_in.lake, built_at_once))
    assert found == wanted
    assert found


@pytest.fixture(scope="module")
def built_at_once(built_in: Journeys, plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(tmp_path_factory.mktemp("whole"), environ={})
    shutil.copytree(Path(built_in.lake.uri) / "events", Path(lake.uri) / "events")
    build(lake, plan)
    assert open_journeys(lake, plan).engine.runs_in_order("touchpoints") == 1
    return lake


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=6), max_size=5),
    st.randoms(use_true_random=False),
)
def test_pieces_hold_whole_units(counts: list[list[tuple[int, int]]], made: random.Random) -> None:
    """However the rows were read in batches; rows that lie otherwise are noticed, also from one batch to the next."""
    rows = sorted(row for batch in counts for row in batch)
    lengths = [len(batch) for batch in counts]

    def cut(rows: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
        places = list(itertools.accumulate(lengths, initial=0))
        batches = [
            {"unit": np.array([u for u, _ in rows[a:b]], int), "microseconds": np.array([t for _, t in rows[a:b]], int)}
            for a, b in itertools.pairwise(places)
        ]
        return [
            list(zip(piece["unit"].tolist(), piece["microseconds"].tolist(), strict=True))
            for piece in whole_units(batches)
        ]

    found = cut(rows)
    assert sorted(row for piece in found for row in piece) == rows
    assert all(piece == sorted(piece) for piece in found)
    units = [unit for piece in found for unit in {unit for unit, _ in piece}]
    assert len(units) == len(set(units))
    mixed = made.sample(rows, len(rows))
    if mixed != rows:
        with pytest.raises(OutOfOrder):
            cut(mixed)


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
        "SELECT t.person_key AS unit, EPOCH_US(t.event_time) AS microseconds, t.event_id "
        "FROM (SELECT * FROM touchpoints ORDER BY touchpoint_number DESC) AS t"
    )
    asked = visits.engine.columns(f"{sql} ORDER BY {part.order('t')}")
    for order, names in ((BY_TIME, ("unit", "microseconds")), (part.order("t"), asked)):
        read = part.ordered(sql, order)
        assert [read[name].tolist() for name in names] == [asked[name].tolist() for name in names]


def test_rows_that_are_read_in_pieces_and_do_not_lie_as_promised_are_sorted(
    visits: Journeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_ROWS", 4)
    part = Part(journeys=visits, unit="person", period=Period())
    sql = "SELECT t.person_key AS unit, EPOCH_US(t.event_time) AS microseconds FROM {} AS t"
    told = [
        sorted(
            (piece["unit"].tolist(), piece["microseconds"].tolist())
            for piece in pieces.count_by_time(part, sql.format(source), lambda rows: rows)
            if len(piece["unit"])
        )
        for source in ("touchpoints", "(SELECT * FROM touchpoints ORDER BY touchpoint_number DESC)")
    ]
    asked = visits.engine.columns(f"{sql.format('touchpoints')} ORDER BY {BY_TIME}")
    for found in told:
        assert sorted(row for unit, at in found for row in zip(unit, at, strict=True)) == list(
            zip(asked["unit"].tolist(), asked["microseconds"].tolist(), strict=True)
        )
        assert all(at == [t for _, t in sorted(zip(unit, at, strict=True))] for unit, at in found)


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
