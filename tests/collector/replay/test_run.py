"""What passes becomes one row of `events` and leaves `quarantine`; what does not stays as it was."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.dataset as ds
import pytest

from polku_collector.batch import QuarantineLine
from polku_collector.casts import Cast
from polku_collector.lake.local_store import LocalStore
from polku_collector.lake.table import Table
from polku_collector.replay.mapping import Mapping, Mended, Step
from polku_collector.replay.rows import Selection, read
from polku_collector.settings import Settings

from .world import LOOSE, NOW, PLAN, SETTINGS, World, viewed

WEB = ["old", "price", "web"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_an_event_that_passes_now_is_moved_with_all_that_its_request_said(world: World) -> None:
    context = {
        "library": {"name": "lib", "version": "2.1"},
        "sessionId": "s1",
        "page": {"url": "https://shop.example/a?utm_source=x", "title": "A"},
        "ip": "203.0.113.9",
        "locale": "fi",
    }
    item = viewed("m1") | {"timestamp": "2026-11-22T09:00:00Z"}
    # The client's clock is three hours slow.
    world.send(item, context=context, sent_at=NOW - timedelta(hours=3))
    world.commit()
    assert "203.0.113.9" not in repr(world.quarantine("context"))
    ((library, version),) = world.quarantine("library, library_version")
    assert (library, version) == ("lib", "2.1")
    report = world.replay()
    assert (report.total.replayed, report.total.staying) == (1, 0)
    assert world.ids() == (["m1"], [])

    other = World(world.root / "other", plan=LOOSE)  # where it was taken at once
    other.send(item, context=context, sent_at=NOW - timedelta(hours=3))
    other.commit()
    same = "* EXCLUDE (stream, sequence, extra)"
    assert world.events(same) == other.events(same)
    ((time, adjusted, session, page),) = world.events("event_time, time_adjusted, session_id, page_path")
    assert (time, adjusted, session, page) == (datetime(2026, 11, 22, 12, tzinfo=UTC), True, "s1", "/a")


def test_a_replayed_row_tells_its_stream_and_where_it_stood(world: World) -> None:
    world.send(viewed("m1", color="red"), viewed("m2"))
    world.commit()
    stood = sorted(world.quarantine("stream, sequence"))
    world.replay()
    found = world.events("stream, sequence, extra")
    assert [(stream, sequence) for stream, sequence, _ in found] == [("replay", 1), ("replay", 2)]
    origins = [json.loads(extra)["replayed"] for _, _, extra in found]
    assert [(origin["stream"], origin["sequence"]) for origin in origins] == stood
    assert json.loads(found[0][2])["properties"] == {"color": "red"}


def test_what_still_fails_stays_as_it_was_with_the_new_reason_in_the_report(world: World) -> None:
    world.send(viewed("good"), viewed("bad", price="cheap"), viewed("worse", products=[{"price": 1}, {"price": "x"}]))
    world.send({"type": "track", "event": "product_viewed", "messageId": "nobody"})
    world.commit()
    before = {row[0]: row for row in world.quarantine("event_id, * EXCLUDE (event_id)")}
    report = world.replay()
    assert world.ids() == (["good", "worse"], ["bad", "nobody"])
    assert all(before[row[0]] == row for row in world.quarantine("event_id, * EXCLUDE (event_id)"))
    assert dict(report.total.reasons) == {"wrong_type at $.properties.price": 1, "missing_id at $": 1}
    assert (report.total.looked_at, report.total.replayed, report.total.broken) == (4, 2, 2)


def test_a_dry_run_shows_the_same_and_changes_nothing(world: World) -> None:
    world.send(
        *(viewed(f"m{number}") for number in range(7)), viewed("bad", price="x"), viewed("m0"), viewed("m1", a=1)
    )
    world.commit()
    before = _tree(world.lake)
    dry = world.replay(dry_run=True, batch_rows=2).document()
    assert _tree(world.lake) == before
    wet = world.replay(batch_rows=2).document()
    assert dry | {"dry_run": False} == wet
    assert (wet["replayed"], wet["duplicates"], wet["taken"], wet["broken"]) == (7, 1, 1, 1)
    assert _tree(world.lake) != before


def _tree(folder: Path) -> dict[str, tuple[int, int]]:
    found = {path: path.stat() for path in folder.rglob("*")}
    return {str(path): (state.st_size, state.st_mtime_ns) for path, state in found.items()}


def test_copies_count_once_and_an_id_that_is_taken_stays(world: World) -> None:
    world.send(viewed("copied", color="red"), viewed("copied", color="red"), viewed("other", a=1), viewed("other", a=2))
    world.send(viewed("mended"))
    world.send(viewed("mended", product_id="p"))  # the client sent it right the second time
    world.commit()
    assert world.events() == [("mended",)]
    report = world.replay(batch_rows=1)  # the copies meet in the table
    assert world.ids() == (["copied", "mended", "other"], ["mended", "other"])
    assert (report.total.replayed, report.total.duplicates, report.total.taken) == (2, 1, 2)
    again = world.replay()
    assert (again.total.replayed, again.total.duplicates, again.total.taken) == (0, 0, 2)


@pytest.mark.parametrize("batch_rows", [1, 1000])
def test_of_several_with_one_id_the_first_received_is_taken(world: World, batch_rows: int) -> None:
    world.send(viewed("m", a="late"), received_at=NOW + timedelta(seconds=1))
    world.send(viewed("m", a="early"))
    world.commit()
    world.replay(batch_rows=batch_rows)
    ((extra,),) = world.events("extra")
    if batch_rows == 1000:  # in the order of files otherwise
        assert json.loads(extra)["properties"] == {"a": "early"}
    assert len(world.quarantine()) == 1


def test_an_event_without_an_id_gets_the_same_each_time(world: World) -> None:
    world.send(viewed(None, a=1), viewed(None, a=1), viewed(None, a=2))
    world.commit()
    prepared = [world.prepare(), world.prepare()]
    judged = [sorted(line.event_id for line in _judged(replay)) for replay in prepared]
    assert judged[0] == judged[1]
    assert len(set(judged[0])) == 3
    assert world.replay().total.replayed == 3
    assert world.ids() == (judged[0], [])


def _judged(replay: Any) -> list[Any]:
    return [replay._judge(row) for row in read(replay._quarantine, Selection())]


def test_what_is_no_whole_event_is_told_and_stays(world: World) -> None:
    world.send(viewed("long", text="x" * 3000))
    world.send(viewed("cut"), context={"page": {"url": "y" * 3000}})
    world.send(viewed("whole"), context={"page": {"url": "y" * 1500}})
    refused = QuarantineLine(received_at=NOW, source="web", code="invalid_utf8", path="$", message="m")
    world.journal([msgspec.structs.replace(refused, original_base64="//8=")])
    world.journal([msgspec.structs.replace(refused, code="not_an_object", original="null")])
    world.commit()
    report = world.replay()
    assert report.total.unreadable == 4
    assert world.ids() == (["whole"], ["None", "None", "cut", "long"])
    assert report.total.reasons["the context of its batch was cut"] == 1


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), ["old", "page", "past", "price", "web"]),
        (Selection(since=date(2026, 11, 23)), []),
        (Selection(since=date(2026, 11, 20), until=date(2026, 11, 22)), ["old"]),
        (Selection(sources=("past",)), ["past"]),
        (Selection(codes=("wrong_type",)), ["page", "price"]),
        (Selection(codes=("wrong_type", "missing_property"), events=("product_viewed",), sources=("web",)), WEB),
        (Selection(events=("page",)), ["page"]),
    ],
)
def test_nothing_is_looked_at_beside_the_selection(several: World, selection: Selection, expected: list[str]) -> None:
    report = several.replay(selection=selection, dry_run=True)
    assert report.total.looked_at == len(expected)
    quarantine = several.prepare(selection=selection, dry_run=True)._quarantine
    assert sorted(row.event_id or "" for row in read(quarantine, selection)) == expected


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("several"))
    world.send(viewed("web"))
    world.send(viewed("past"), source="past")
    world.send(viewed("old"), received_at=NOW - timedelta(days=2))
    world.send(viewed("price", price="x", product_id="p"))
    world.send({"type": "page", "userId": "u", "messageId": "page", "properties": {"page_type": 3}})
    world.commit()
    return world


def test_the_source_says_what_is_done_with_unplanned_and_old_events(world: World) -> None:
    old = "2020-01-01T00:00:00Z"
    world.send(viewed("strict", product_id="p", color="red"), source="strict")
    world.send(viewed("past") | {"timestamp": old}, source="past")
    world.send(viewed("web") | {"timestamp": old})
    world.commit()
    report = world.replay(settings=Settings())  # nobody says that the strict source takes them now
    assert world.ids() == (["past", "web"], ["strict"])
    assert dict(report.total.reasons) == {"unknown_property at $.properties": 1}
    assert {adjusted for (adjusted,) in world.events("time_adjusted")} == {True}

    world.send(viewed("past2") | {"timestamp": old}, source="past")
    world.commit()
    world.replay(settings=SETTINGS)
    assert world.events("event_time, time_adjusted")[0] == (datetime(2020, 1, 1, tzinfo=UTC), None)


def test_a_mapping_mends_events_first_and_what_it_cannot_mend_stays(world: World) -> None:
    world.send(viewed("a", prodId="p1", price="59,90"), viewed("b", prodId="p2", price="5.990"), viewed("c", x=1))
    world.commit()
    mended = Mended(
        rename=(((Step("prodId"),), "product_id"),), cast=(((Step("price"),), Cast("number", decimal=",")),)
    )
    report = world.replay(plan=PLAN, mapping=Mapping({"product_viewed": mended}))
    assert world.events("event_id, product_id, price") == [("a", "p1", 59.9)]
    assert world.ids()[1] == ["b", "c"]
    assert dict(report.total.reasons) == {
        "mapping at $.properties.price: the text is no number with the decimal mark ','": 1,
        "missing_property at $.properties.product_id": 1,
    }


def test_an_accepted_event_that_did_not_convert_is_judged_by_the_present_plan(world: World) -> None:
    written: list[Any] = []
    world.journal, journal = written.extend, world.journal  # type: ignore[method-assign, assignment]
    world.send(viewed("m", product_id="p") | {"timestamp": "2026-11-22T09:00:00Z"}, sent_at=NOW - timedelta(hours=3))
    (line,) = written
    line.p = {"product_id": "p", "price": "1,5"}  # as a version with a fault would have written it
    journal(written)
    world.commit()
    assert world.quarantine("code") == [("unconvertible",)]
    assert dict(world.replay().total.reasons) == {"wrong_type at $.properties.price": 1}
    cast = Mended(cast=(((Step("price"),), Cast("number", decimal=",")),))
    assert world.replay(mapping=Mapping({"*": cast})).total.replayed == 1
    assert world.events("event_id, price, event_time, sent_at") == [
        ("m", 1.5, datetime(2026, 11, 22, 12, tzinfo=UTC), NOW - timedelta(hours=3))
    ]


def test_what_passes_and_does_not_convert_stays_and_leaves_no_gap(world: World) -> None:
    world.send(viewed("a"), viewed("b"), viewed("c"))
    world.commit()
    replay = world.prepare()
    judge = replay._judge

    def faulty(row: Any) -> Any:
        line = judge(row)
        if row.event_id == "b":
            line.p = {"price": "not a number"}
        return line

    replay._judge = faulty
    assert dict(replay.run().total.reasons) == {"unconvertible": 1}
    assert world.events("event_id, sequence") == [("a", 1), ("c", 2)]
    assert world.ids()[1] == ["b"]


def test_an_event_of_a_single_call_is_judged_as_that_call(world: World) -> None:
    """The body of /v1/track says no type: the row knows it."""
    original = json.dumps({"event": "product_viewed", "userId": "u", "messageId": "m", "properties": {}})
    world.journal(
        [
            QuarantineLine(
                received_at=NOW,
                source="web",
                event_id="m",
                event_type="track",
                event_name="product_viewed",
                code="missing_property",
                path="$",
                message="",
                original=original,
            )
        ]
    )
    world.commit()
    assert world.replay().total.replayed == 1


def test_a_large_quarantine_goes_in_batches_and_many_days(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from polku_collector.replay import run

    monkeypatch.setattr(run, "MAX_DAYS", 3)
    for day in range(5):
        items = [viewed(f"{day}-{number}") | {"timestamp": f"2026-11-{1 + number:02}T00:00:00Z"} for number in range(8)]
        world.send(*items, viewed(f"bad-{day}", price="x"), received_at=NOW - timedelta(days=day))
        world.commit()
    report = world.replay(batch_rows=6)
    assert report.total.replayed == 40
    events, left = world.ids()
    assert events == sorted(f"{day}-{number}" for day in range(5) for number in range(8))
    assert left == [f"bad-{day}" for day in range(5)]
    sequences = sorted(sequence for (sequence,) in world.events("sequence"))
    assert sequences == list(range(1, 41))


def test_new_columns_are_added_before_files_hold_them(world: World) -> None:
    wider = msgspec.structs.replace(
        LOOSE.events["product_viewed"],
        properties=LOOSE.events["product_viewed"].properties | {"glow": msgspec.structs.replace(_COLOR, name="glow")},
    )
    plan = msgspec.structs.replace(
        LOOSE,
        events=LOOSE.events | {"product_viewed": wider},
        properties=LOOSE.properties | {"glow": msgspec.structs.replace(_COLOR, name="glow")},
    )
    world.send(viewed("m", glow="warm"))
    world.commit()
    world.replay(plan=plan)
    assert world.events("event_id, glow") == [("m", "warm")]


_COLOR = next(prop for prop in PLAN.properties.values() if prop.type == "string" and not prop.enum)


def test_a_table_of_an_older_version_gets_the_new_columns(world: World) -> None:
    from polku_collector.lake.local_store import LocalStore
    from polku_collector.lake.table import QUARANTINE_COLUMNS, Table

    new = {"context", "sent_at", "library", "library_version"}
    columns = {name: kind for name, kind in QUARANTINE_COLUMNS.items() if name not in new}
    old = Table(LocalStore(world.lake), "quarantine", "received_date", columns)
    assert not new & set(old.columns)
    store = world.lake / "quarantine"
    line = QuarantineLine(
        received_at=NOW,
        source="web",
        event_id="old",
        event_type="track",
        event_name="product_viewed",
        code="missing_property",
        path="$",
        message="",
        original=json.dumps(viewed("old")),
    )
    world.journal([line])
    # Written as the older version wrote it, without the columns.
    world.commit()
    assert new <= set(Table(LocalStore(world.lake), "quarantine", "received_date", QUARANTINE_COLUMNS).columns)
    assert store.is_dir()
    assert world.replay().total.replayed == 1


def test_nothing_of_a_person_is_in_the_log_of_either_table(world: World) -> None:
    secret = "jane.roe@example.com"
    world.send(viewed("m1", note=secret) | {"userId": secret}, context={"page": {"url": f"https://x.example/{secret}"}})
    world.send(viewed("bad", price=secret))
    world.commit()
    report = world.replay()
    for path in world.lake.glob("*/_delta_log/*.json"):
        assert secret not in path.read_text()
    assert secret not in json.dumps(report.document())


def test_the_rows_of_some_files_are_those_that_deltalake_reads(world: World) -> None:
    for day in range(3):  # what is replayed has other columns than the rest
        sent = viewed(f"x{day}", product_id="p"), viewed(f"y{day}"), viewed(f"z{day}", price="x")
        world.send(*sent, received_at=NOW + timedelta(days=day))
        world.commit()
    world.replay()
    store = LocalStore(world.lake)
    for name, day_column in (("events", "event_date"), ("quarantine", "received_date")):
        table = Table(store, name, day_column, None)
        paths = sorted(table.files())
        assert len(paths) > 1
        for some in (paths, paths[1:]):
            whole = table.handle.to_pyarrow_dataset()
            kept = ds.FileSystemDataset(
                [fragment for fragment in whole.get_fragments() if fragment.path in some],
                *(whole.schema, whole.format, whole.filesystem),
            )
            order = [("stream", "ascending"), ("sequence", "ascending")]
            assert table.dataset(some).to_table().sort_by(order) == kept.to_table().sort_by(order)


def test_removed_files_stay_for_readers(world: World) -> None:
    world.send(viewed("m1"), viewed("bad", price="x"))
    world.commit()
    before = set((world.lake / "quarantine").rglob("*.parquet"))
    world.replay()
    assert before < set((world.lake / "quarantine").rglob("*.parquet"))
    last = sorted((world.lake / "quarantine" / "_delta_log").glob("*.json"))[-1]
    actions = [json.loads(line) for line in last.read_text().splitlines()]
    (removed,) = [action["remove"] for action in actions if "remove" in action]
    assert removed["dataChange"] is True
    assert removed["deletionTimestamp"] > 0
    assert (world.lake / "quarantine" / removed["path"]).exists()
    assert {action["txn"]["appId"]: action["txn"]["version"] for action in actions if "txn" in action} == {
        "polku-maintenance": 1,
        "replay": 1,
    }
