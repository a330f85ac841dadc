"""A build of what is new gives the tables of a full one, in whatever order and batches the events came."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from deltalake import DeltaTable
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec import structs

from polku_analytics.build import build, run
from polku_analytics.build.record import newest_record
from polku_analytics.commands.query import query
from polku_analytics.errors import BuildError, LakeError
from polku_analytics.journeys import Journeys, open_journeys
from polku_analytics.lake import Lake
from polku_analytics.model_files import read_models
from polku_schemas import Plan
from tests.analytics.conftest import START, write_table

Row = dict[str, Any]

NAMES = [
    "page_viewed",
    "product_viewed",
    "product_added",
    "order_completed",
    "logged_out",
    "identify",
    "alias",
    "email_sent",
    "order_returned",
    "order_delivered",
    "checkout_started",
    "products_searched",
]


@st.composite
def histories(draw: st.DrawFn) -> list[list[Row]]:
    """Batches of events, as they came: few ids, so that people meet, merge and share devices and orders."""
    count = draw(st.integers(2, 24))
    rows = []
    for number in range(count):
        name = draw(st.sampled_from(NAMES))
        at = START + datetime.timedelta(seconds=draw(st.integers(0, 40)) * 300)
        row: Row = {
            "event_id": draw(st.sampled_from([f"e{number}", f"e{number}", f"e{number}", "same"])),
            "event_type": name if name in ("identify", "alias") else "page" if name == "page_viewed" else "track",
            "event_name": name,
            "event_time": at,
            "received_at": at + datetime.timedelta(seconds=draw(st.integers(0, 3))),
            "event_date": at.date(),
            "source": "shop",
            "channel": "web",
        }
        for column, values in (
            ("anonymous_id", ["a", "b", "c", None]),
            ("user_id", [None, None, "u", "v"]),
            ("session_id", [None, None, None, "s"]),
            ("group_id", [None, None, "g"]),
            ("trait_city", [None, "Oulu"]),
            ("trait_email", [None, None, "x", "y"]),
        ):
            value = draw(st.sampled_from(values))
            if value is not None:
                row[column] = value
        if name == "alias":
            row["previous_id"] = draw(st.sampled_from(["a", "b", "u", "v", "w"]))
        if name in ("order_completed", "order_returned", "order_delivered"):
            row |= {"order_id": draw(st.sampled_from(["1", "2", f"o{number}"])), "revenue": float(number)}
        if name in ("order_returned", "order_delivered") and draw(st.booleans()):
            row = {column: value for column, value in row.items() if column not in ("anonymous_id", "user_id")}
        if draw(st.integers(0, 15)) == 0:
            row["is_bot"] = True
        rows.append(row)
    sequences = {"in-1": 0, "in-2": 0}
    batches: list[list[Row]] = [[]]
    for row in rows:
        stream = draw(st.sampled_from(["in-1", "in-2"]))
        sequences[stream] += 1
        batches[-1].append(row | {"stream": stream, "sequence": sequences[stream]})
        if draw(st.integers(0, 3)) == 0:
            batches.append([])
    return [batch for batch in batches if batch]


def stored(journeys: Journeys) -> dict[str, list[tuple[Any, ...]]]:
    """All tables, with people and sessions under names that do not depend on the numbering of people."""
    people = dict(journeys.rows("SELECT person_key, person_id FROM persons"))
    links = dict(journeys.rows("SELECT person_key, person_id FROM person_links"))
    tables = {}
    for table_name in [*(m.name for m in read_models().values() if m.stored == "yes"), "person_links"]:
        table = journeys.engine.arrow(f"SELECT * FROM {table_name}")
        rows = []
        for row in table.to_pylist():
            for name in ("session_key", "cart_key", "open_cart_key", "checkout_key", "search_key"):
                if row.get(name) is not None:
                    key, start = divmod(row[name], 16777216)
                    row[name] = (people[key], start)
            if "person_key" in row:
                row["person_key"] = {**links, **people}[row["person_key"]]
            rows.append(tuple(row.values()))
        tables[table_name] = sorted(rows, key=repr)
    return tables


def opened(lake: Lake, plan: Plan) -> Journeys:
    record = newest_record(lake)
    assert record is not None
    return open_journeys(lake, plan, record.tables)


# Without shrinking: every try is a dozen builds.
@settings(max_examples=15, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(batches=histories(), join_users=st.booleans())
def test_batches_in_any_order_give_the_tables_of_a_full_build(
    batches: Sequence[Sequence[Row]], join_users: bool, plan: Plan, tmp_path_factory: pytest.TempPathFactory
) -> None:
    plan = structs.replace(plan, join_by=("email",), join_users=join_users)
    lake = Lake(tmp_path_factory.mktemp("lake"), environ={})
    kinds = []
    for batch in batches:
        write_table(Path(lake.uri) / "events", batch)
        kinds.append(build(lake, plan).kind)
    grown, record = stored(opened(lake, plan)), newest_record(lake)
    told = build(lake, plan, full=True)
    assert grown == stored(opened(lake, plan))
    full = newest_record(lake)
    assert record is not None and full is not None
    assert (record.counts, record.as_of) == (full.counts, full.as_of)
    assert told.why_full == "it was asked for"
    if len(batches) > 1 and not _new_columns(batches):
        assert "incremental" in kinds


def _new_columns(batches: Sequence[Sequence[Row]]) -> bool:
    """Whether a later batch brings a column: that is a new schema, and builds everything."""
    first = {name for row in batches[0] for name in row}
    return any(set(row) - first for batch in batches[1:] for row in batch)


def _event(name: str, sequence: int, seconds: float, **columns: Any) -> Row:
    at = START + datetime.timedelta(seconds=seconds)
    return {
        "event_id": f"e{sequence}",
        "event_type": "track",
        "event_name": name,
        "event_time": at,
        "received_at": at,
        "event_date": at.date(),
        "source": "shop",
        "channel": "web",
        "stream": "in-1",
        "sequence": sequence,
        "anonymous_id": "a",
        "user_id": None,
    } | columns


@pytest.fixture
def lake(tmp_path: Path, plan: Plan) -> Lake:
    """A lake with a build, and two events that are new since."""
    lake = Lake(tmp_path, environ={})
    write_table(tmp_path / "events", [_event("page_viewed", n, n * 10, anonymous_id=f"a{n % 3}") for n in range(9)])
    build(lake, plan)
    more = [_event("product_viewed", 9, 5000, anonymous_id="a1", user_id="u"), _event("page_viewed", 10, -50)]
    write_table(tmp_path / "events", more)
    return lake


class Killed(BaseException):
    """Not an error anybody handles."""


@pytest.mark.parametrize("step", ["place_files", "change_table", "append_record"])
@pytest.mark.parametrize("nth", [1, 2, 4])
def test_a_build_that_is_killed_is_as_if_it_had_not_been(
    lake: Lake, plan: Plan, monkeypatch: pytest.MonkeyPatch, step: str, nth: int
) -> None:
    before = stored(opened(lake, plan))
    calls = 0
    real = getattr(run, step)

    def killed(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth or step == "append_record":
            raise Killed
        return real(*given)

    monkeypatch.setattr(run, step, killed)
    with pytest.raises(Killed):
        build(lake, plan)
    monkeypatch.undo()

    assert stored(opened(lake, plan)) == before
    # More comes before the next build, which must not build on what the killed one left.
    write_table(Path(lake.uri) / "events", [_event("page_viewed", 11, 60, anonymous_id="a2")])
    assert build(lake, plan).kind == "incremental"
    grown = stored(opened(lake, plan))
    build(lake, plan, full=True)
    assert grown == stored(opened(lake, plan))
    for name in ("touchpoints", "persons"):  # whoever reads the tables without us sees the same
        assert lake.snapshot(name).files == lake.snapshot(name, version=_versions(lake)[name]).files


def test_a_query_reads_the_tables_of_one_build(lake: Lake, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = "SELECT (SELECT count(*) FROM touchpoints) AS t, (SELECT sum(touchpoints) FROM persons) AS p"

    def asked() -> str:
        return CliRunner().invoke(query, ["--lake", lake.uri, "--csv", sql], standalone_mode=False).stdout

    assert asked().split() == ["t,p", "9,9"]
    real, done = run.change_table, []

    def killed(*given: Any) -> Any:
        done.append(given[1])
        if "touchpoints" in done[:-1]:
            raise Killed
        return real(*given)

    monkeypatch.setattr(run, "change_table", killed)
    with pytest.raises(Killed):
        build(lake, plan)
    assert lake.snapshot("touchpoints").version > _versions(lake)["touchpoints"]
    assert asked().split() == ["t,p", "9,9"]
    monkeypatch.undo()
    build(lake, plan)
    assert asked().split() == ["t,p", "11,11"]


def _versions(lake: Lake) -> dict[str, int]:
    record = newest_record(lake)
    assert record is not None
    return record.tables


def test_of_two_builds_at_once_one_is_refused(lake: Lake, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    real = run.append_record

    def late(*given: Any) -> Any:
        monkeypatch.undo()
        build(lake, plan)
        return real(*given)

    monkeypatch.setattr(run, "append_record", late)
    with pytest.raises(BuildError, match="another build has finished meanwhile"):
        build(lake, plan)
    grown = stored(opened(lake, plan))
    build(lake, plan, full=True)
    assert grown == stored(opened(lake, plan))


def test_events_that_went_or_came_before_are_noticed(lake: Lake, plan: Plan) -> None:
    build(lake, plan)
    lake.delta("events").delete("event_id = 'e3'")
    told = build(lake, plan)
    assert told.kind == "full" and told.why_full == "events that were built in have gone, or some have come before them"
    assert told.events == 10
    write_table(Path(lake.uri) / "events", [_event("page_viewed", 3, 30)])
    assert build(lake, plan).kind == "full"


def test_what_is_new_is_found_when_the_log_no_longer_tells_what_there_was(lake: Lake, plan: Plan) -> None:
    """A collector keeps the log of a local table short, and the last build may be long ago."""
    record = newest_record(lake)
    assert record is not None
    events = DeltaTable(lake.table_uri("events"))
    events.create_checkpoint()
    for version in range(events.version()):
        (Path(lake.uri) / "events" / "_delta_log" / f"{version:020d}.json").unlink()
    with pytest.raises(LakeError):
        lake.snapshot("events", version=record.events_version)

    told = build(lake, plan)
    assert (told.kind, told.new_events) == ("incremental", 2)
    grown = stored(opened(lake, plan))
    build(lake, plan, full=True)
    assert grown == stored(opened(lake, plan))


def test_merged_files_are_nothing_new(lake: Lake, plan: Plan) -> None:
    build(lake, plan)
    lake.delta("events").optimize.compact()
    told = build(lake, plan)
    assert (told.kind, told.new_events) == ("nothing new", 0)
    write_table(Path(lake.uri) / "events", [_event("page_viewed", 11, 30)])
    assert build(lake, plan).new_events == 1


def test_only_what_has_changed_is_written(tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polku_analytics.build.compute.ROWS_A_FILE", 2048)  # the smallest row group there is
    lake = Lake(tmp_path, environ={})
    rows = [_event("page_viewed", n, n, anonymous_id=f"p{n // 10}") for n in range(8000)]
    write_table(tmp_path / "events", rows)
    build(lake, plan)
    files = {file.uri for file in lake.snapshot("touchpoints").files}
    assert len(files) == 4
    write_table(tmp_path / "events", [_event("page_viewed", 8000, 20.5, anonymous_id="p2")])
    told = build(lake, plan)
    assert told.people == 1
    # Late: the events of p2 after it have other numbers now, the file they stand in is written again.
    assert len(files & {file.uri for file in lake.snapshot("touchpoints").files}) == 3
    write_table(tmp_path / "events", [_event("page_viewed", 8001, 9000, anonymous_id="new")])
    before = {file.uri for file in lake.snapshot("touchpoints").files}
    build(lake, plan)
    assert before < {file.uri for file in lake.snapshot("touchpoints").files}


def test_a_value_that_one_more_tells_is_nobodys_any_more(tmp_path: Path, plan: Plan) -> None:
    joining = structs.replace(plan, join_by=("email",))
    lake = Lake(tmp_path, environ={})

    def tell(first: int, last: int) -> list[Row]:
        told = {"event_type": "identify", "trait_email": "info@x"}
        return [_event("identify", n, n, anonymous_id=f"d{n}", **told) for n in range(first, last)]

    write_table(tmp_path / "events", tell(0, 20))
    build(lake, joining)
    assert opened(lake, joining).rows("SELECT COUNT(*) FROM persons") == [(1,)]
    for last in (21, 22):  # one too many; and one more, whom the others need not be asked about
        write_table(tmp_path / "events", tell(last - 1, last))
        assert build(lake, joining).kind == "incremental"
        grown = stored(opened(lake, joining))
        assert len(grown["persons"]) == last
        build(lake, joining, full=True)
        assert grown == stored(opened(lake, joining))


def test_what_names_an_order_and_nobody_changes_that_order(tmp_path: Path, plan: Plan) -> None:
    lake = Lake(tmp_path, environ={})
    nobody = {"anonymous_id": None, "user_id": None}
    write_table(
        tmp_path / "events",
        [
            _event("order_returned", 0, 50, order_id="2", revenue=None, **nobody),
            _event("order_completed", 1, 10, order_id="1", revenue=5.0),
            _event("page_viewed", 2, 20, anonymous_id="b"),
        ],
    )
    build(lake, plan)

    write_table(
        tmp_path / "events",
        [
            _event("order_cancelled", 3, 60, order_id="1", revenue=None, **nobody),
            _event("order_completed", 4, 40, anonymous_id="b", order_id="2", revenue=7.0),
        ],
    )
    assert build(lake, plan).kind == "incremental"
    found = opened(lake, plan).rows("SELECT order_id, net_revenue, cancelled FROM orders ORDER BY order_id")
    assert found == [("1", 0.0, True), ("2", 0.0, False)]


def test_a_shipment_without_an_order_is_whose_event_came_first(tmp_path: Path, plan: Plan) -> None:
    """And not whose key is smallest: a full build numbers people anew."""
    lake = Lake(tmp_path, environ={})
    write_table(tmp_path / "events", [_event("order_delivered", 1, 10, anonymous_id="w", order_id="1")])
    build(lake, plan)
    more = [
        _event("page_viewed", 2, -50, anonymous_id="u", order_id=None),
        _event("order_delivered", 3, 60, anonymous_id="u", order_id="1"),
    ]
    write_table(tmp_path / "events", more)
    assert build(lake, plan).kind == "incremental"
    whose = "SELECT person_id FROM deliveries JOIN persons USING (person_key)"
    assert opened(lake, plan).rows(whose) == [("w",)]
    build(lake, plan, full=True)
    assert opened(lake, plan).rows(whose) == [("w",)]


def test_a_table_may_have_become_empty(tmp_path: Path, plan: Plan) -> None:
    lake = Lake(tmp_path, environ={})
    events = tmp_path / "events"
    write_table(events, [_event("order_completed", 1, 10, order_id="1", revenue=5.0)])
    write_table(events, [_event("order_delivered", 2, 60, order_id="1", revenue=None, event_id="same")])
    build(lake, plan)
    assert opened(lake, plan).rows("SELECT COUNT(*) FROM deliveries") == [(1,)]
    # Received before the delivery and under its id: now this one counts.
    first = _event("page_viewed", 3, 20, order_id=None, revenue=None, event_id="same")
    write_table(events, [first])
    assert build(lake, plan).kind == "incremental"
    assert not lake.snapshot("deliveries").files
    write_table(events, [_event("page_viewed", 4, 70, order_id=None, revenue=None)])
    assert build(lake, plan).kind == "incremental"
    grown = stored(opened(lake, plan))
    build(lake, plan, full=True)
    assert grown == stored(opened(lake, plan))
