"""Compaction, copies, retention and vacuum on real tables: no row is lost or doubled, any engine reads them."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import boto3
import duckdb
import msgspec
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from polku_collector.batch import REPLAY_STREAM
from polku_collector.errors import CommitUncertain, StoreUnreachable
from polku_collector.lake.fenced import STALE_SECONDS, put, still_there
from polku_collector.lake.handover import HandedFile, Note, note_key
from polku_collector.lake.local_store import LocalStore
from polku_collector.lake.parquet import DataFile
from polku_collector.lake.store import StoredFile
from polku_collector.maintain.retention import Limits, condition, expired
from polku_collector.maintain.vacuum import sorted_out
from tests.collector.maintain.world import NOON, QUARANTINE, TODAY, Lake, event, refused, rows_of
from tests.s3_server import s3_bucket


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", tmp_path / "scratch")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, s3_bucket("lake", patch):
        yield "s3://lake/shop"


# Compaction -------------------------------------------------------------------------------------------------------


def _fill(lake: Lake, flushes: int = 17) -> None:
    """Flushes of two days with varying columns."""
    for number in range(flushes):
        lake.write(
            event(price=1.5),
            event(name="cart_viewed", products=[{"product_id": f"p{number}", "quantity": number}]),
            event(name="search", consent=["a", "b"] if number % 2 else None),
            event(days_ago=1, name="search"),
        )


def test_rows_are_the_same_before_and_after_and_the_file_is_sorted_and_narrow(lake: Lake) -> None:
    _fill(lake)
    before = lake.rows()
    assert len(lake.files()) == 34
    assert lake.maintainer().compact(lake.table()) == 2
    assert lake.rows() == before
    assert len(lake.files()) == 2
    for path in lake.files():
        rows = duckdb.sql(f"SELECT event_name, event_time FROM '{lake.uri}/events/{path}'").fetchall()
        assert rows == sorted(rows)
    (yesterday,) = (path for path in lake.files() if str(TODAY - timedelta(days=1)) in path)
    names = pq.read_schema(f"{lake.uri}/events/{yesterday}").names
    assert "event_date" in names and not {"price", "products", "consent"} & {*names}


def test_other_engines_read_the_same_and_the_log_has_the_bounds_that_may_stand_there(lake: Lake) -> None:
    _fill(lake)
    before = lake.rows("event_id")
    lake.maintainer().compact(lake.table())
    found = polars.read_delta(f"{lake.uri}/events")
    assert sum(before.values()) == len(found) == found["event_id"].n_unique()
    assert found.filter(polars.col("price") == 1.5).height == 17
    (file,) = (file for file in lake.table().live_files() if file.partition == str(TODAY))
    assert file.rows == 51 and file.least.keys() == {"event_id", "event_name", "event_time", "received_at"}
    assert (file.least["event_name"], file.most["event_name"]) == ("cart_viewed", "search")
    logs = [path.read_text() for path in Path(lake.uri, "events", "_delta_log").glob("*.json")]
    actions = [json.loads(line) for log in logs if '"compaction"' in log for line in log.splitlines()]
    assert sum("remove" in action for action in actions) == 34
    assert all(not action[kind]["dataChange"] for action in actions for kind in ("add", "remove") if kind in action)
    assert all(action["remove"]["deletionTimestamp"] for action in actions if "remove" in action)


def test_structs_that_got_members_later_are_merged_with_those_from_before(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake", tmp_path / "scratch")
    _fill(lake)
    lake.writer.add_columns({"products": "list<struct<product_id:string,quantity:long,size:string>>"})
    lake.write(event(products=[{"product_id": "late", "quantity": 1}]))
    before = lake.rows()
    lake.maintainer().compact(lake.table())
    assert lake.rows() == before


def test_many_names_and_none_are_sorted_together_with_the_large_ones(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polku_collector.maintain.rewrite._OWN_ROWS", 3)
    names = ["a", "b'b", "c", "d", "e", None, "ä", ""]
    for number in range(24):
        lake.write(event(name=names[number % 8]), event(name="b'b"), event(name="d"))  # type: ignore[arg-type]
    before = lake.rows()
    lake.maintainer().compact(lake.table())
    assert lake.rows() == before
    (path,) = lake.files()
    found = [name for (name,) in duckdb.sql(f"SELECT event_name FROM '{lake.uri}/events/{path}'").fetchall()]
    assert found == sorted(found, key=lambda name: (name is None, (name or "").encode()))


def test_quarantine_too(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake", tmp_path / "scratch", name="quarantine", day="received_date", columns=QUARANTINE)
    for _ in range(20):
        lake.write(refused(), refused(days_ago=1))
    before = lake.rows()
    lake.maintainer().compact(lake.table())
    assert lake.rows() == before and len(lake.files()) == 2


def test_the_bound_on_files_holds_over_many_quick_commits(lake: Lake) -> None:
    table, maintainer, most = lake.table(), lake.maintainer(most_files=30), 0
    for number in range(100):
        lake.write(event())
        if number % 10 == 9:
            most = max(most, len(lake.files()))
            maintainer.compact(table)
    assert most <= 30 + 10
    assert sum(lake.rows().values()) == 100
    assert len(lake.seen.merges) < 10


def test_damaged_and_missing_files_are_left_as_they_are_and_keep_no_other_from_being_merged(lake: Lake) -> None:
    for _ in range(4):
        lake.write(*(event(days_ago=days) for days in (0, 3, 6, 9)))
    day = {days: str(TODAY - timedelta(days=days)) for days in (3, 6, 9)}
    path_of = {days: next(path for path in sorted(lake.files()) if day[days] in path) for days in day}
    Path(lake.uri, "events", path_of[3]).unlink()
    twice = pq.read_table(f"{lake.uri}/events/{path_of[9]}", partitioning=None)
    pq.write_table(pa.concat_tables([twice, twice]), f"{lake.uri}/events/{path_of[9]}")
    before = lake.files()
    lake.maintainer(most_files=4).compact(lake.table())
    assert sorted(str(error)[:40] for error in lake.seen.failures)[0].startswith("/")
    assert "left as they are" in str(sorted(map(str, lake.seen.failures))[1])
    merged = {days: {path for path in lake.files() if day[days] in path} for days in day}
    assert len(merged[6]) == 1
    assert merged[3] | merged[9] <= before and len(merged[3]) == len(merged[9]) == 4


# Copies of several nodes ------------------------------------------------------------------------------------------


def _sent_again(days_ago: int = 0, **changed: object) -> dict[str, object]:
    return event("same", stream="b", days_ago=days_ago, **changed)  # type: ignore[arg-type]


def _padded(lake: Lake, *, beside: int = 4) -> None:
    for _ in range(beside):
        lake.write(event())


def test_of_copies_the_one_that_was_received_first_stays_wherever_it_is(lake: Lake) -> None:
    lake.write(_sent_again())
    lake.write(event("same", stream="a", days_ago=1))
    lake.write(_sent_again())
    _padded(lake)
    lake.maintainer().compact(lake.table(), everything=True)
    assert [row for row in lake.rows("event_id, stream") if "same" in row] == ["('same', 'a')"]
    assert sum(lake.rows("event_id").values()) == 5 and lake.seen.copies == 2


def test_a_copy_in_a_file_that_is_not_merged_is_found_too(lake: Lake) -> None:
    lake.write(event("same", stream="a", days_ago=1))
    _padded(lake)
    lake.maintainer().compact(lake.table(), everything=True)
    later = [event("same", stream="c", days_ago=-1)] + [event(days_ago=-1) for _ in range(3)]
    lake.write(*later)
    before = sum(lake.rows().values())
    for _ in range(4):
        lake.write(event("same", stream="b"))
    lake.maintainer().compact(lake.table(), everything=True)
    assert [row for row in lake.rows("event_id, stream") if "same" in row] == ["('same', 'a')"]
    assert sum(lake.rows().values()) == before - 1


def test_copies_in_files_that_have_nothing_to_be_merged_with_are_found_by_hand(lake: Lake) -> None:
    """Two nodes at midnight: one file of each day, and one event in both."""
    lake.write(event("same", stream="a", days_ago=1), event(days_ago=1))
    lake.write(event("same", stream="b"), event())
    assert lake.maintainer(most_files=0).compact(lake.table()) == 0, "nobody looks without being asked"
    assert lake.maintainer().compact(lake.table(), everything=True) == 1
    assert [row for row in lake.rows("event_id, stream") if "same" in row] == ["('same', 'a')"]
    assert (sum(lake.rows().values()), lake.seen.copies, len(lake.files())) == (3, 1, 2)
    files = lake.files()
    assert lake.maintainer().compact(lake.table(), everything=True) == 0 and lake.files() == files


def test_the_same_id_with_other_content_or_from_another_source_stays(lake: Lake) -> None:
    lake.write(event("same", price=1.0))
    lake.write(_sent_again(price=2.0))
    lake.write(event("same", source="app", price=1.0))
    _padded(lake)
    lake.maintainer().compact(lake.table(), everything=True)
    assert sum(1 for row in lake.rows("event_id, source, price") if "same" in row) == 3
    assert (lake.seen.copies, lake.seen.conflicting) == (0, 1)


def test_days_further_apart_are_not_compared(lake: Lake) -> None:
    lake.write(event("same", days_ago=2))
    lake.write(_sent_again())
    _padded(lake)
    lake.maintainer().compact(lake.table(), everything=True)
    assert lake.seen.copies == 0


def test_a_replayed_row_is_never_the_one_that_goes(lake: Lake) -> None:
    lake.write(event("same", stream="a"))
    lake.write(event("same", stream=REPLAY_STREAM))
    _padded(lake)
    lake.maintainer().compact(lake.table(), everything=True)
    assert [row for row in lake.rows("event_id, stream") if "same" in row] == [repr(("same", REPLAY_STREAM))]


# Retention --------------------------------------------------------------------------------------------------------


def test_without_limits_nothing_ever_goes(lake: Lake) -> None:
    lake.write(event(days_ago=4000))
    assert lake.maintainer().expire(lake.table()) == (0, 0)
    assert sum(lake.rows().values()) == 1


def test_whole_days_go_without_being_read_and_a_day_is_kept_to_its_end(lake: Lake) -> None:
    for days in (0, 30, 31, 400):
        lake.write(event(days_ago=days), event(name="search", days_ago=days))
    for path in lake.files():
        if str(TODAY - timedelta(days=31)) in path:
            Path(lake.uri, "events", path).write_bytes(b"nobody reads this")
    maintainer = lake.maintainer(limits=Limits(30))
    assert maintainer.expire(lake.table(), dry_run=True) == (2, 4)
    assert len(lake.files()) == 4
    assert maintainer.expire(lake.table()) == (2, 4)
    days = set(lake.rows("event_date"))
    assert days == {repr((TODAY,)), repr((TODAY - timedelta(days=30),))}


def test_what_a_limit_that_was_too_short_removed_is_read_from_the_version_before(lake: Lake, tmp_path: Path) -> None:
    """As docs/operations.md says: with deltalake alone, as long as no vacuum has taken it."""
    lake.write(event(days_ago=0), event(days_ago=40))
    lake.write(event(name="search", days_ago=50))
    uri, rows = f"{lake.uri}/events", lake.rows()
    version = DeltaTable(uri).version()
    maintainer = lake.maintainer(limits=Limits(30))
    assert maintainer.expire(lake.table()) == (2, 2)
    assert maintainer.vacuum(lake.table(), full=True) == 0 and sum(lake.rows().values()) == 1
    another = str(tmp_path / "another" / "events")
    write_deltalake(another, DeltaTable(uri, version=version).to_pyarrow_table(), partition_by=["event_date"])
    assert rows_of(another) == rows and sum(rows.values()) == 3


def test_what_a_limit_removed_is_read_from_the_folder_when_the_log_does_not_reach_back(lake: Lake) -> None:
    """As docs/operations.md says: a local log may have forgotten that version long before the files go."""
    for number in range(20):
        lake.write(event(days_ago=40, price=number), event(name="search", days_ago=40))
    ids = "event_id, stream, sequence"
    rows = lake.rows(ids)
    maintainer = lake.maintainer(limits=Limits(30))
    assert maintainer.compact(lake.table()) == 1  # so that most rows stand in two files of the folder
    assert maintainer.expire(lake.table()) == (1, 40)
    table = lake.table()
    table.checkpoint()
    lake.store.trim_log("events", table.version)
    with pytest.raises(DeltaError):
        DeltaTable(f"{lake.uri}/events", version=table.version - 1)
    day = TODAY - timedelta(days=40)
    found = duckdb.sql(
        f"SELECT {ids} FROM read_parquet('{lake.uri}/events/event_date={day}/*.parquet', union_by_name = true) "
        "QUALIFY row_number() OVER (PARTITION BY stream, sequence) = 1"
    )
    assert Counter(map(repr, found.fetchall())) == rows


def test_names_have_limits_of_their_own_shorter_and_longer(lake: Lake) -> None:
    for days in (5, 20, 60):
        lake.write(*(event(name=name, days_ago=days) for name in ("a", "kept", "short", "z")))
        lake.write(event(name="short", days_ago=days))
    lake.maintainer(limits=Limits(30, {"short": 10, "kept": 90})).expire(lake.table())
    left = sorted(lake.rows("event_name, event_date").elements())
    day = {days: TODAY - timedelta(days=days) for days in (5, 20, 60)}
    expected = [(name, day[5]) for name in ("a", "kept", "short", "short", "z")]
    expected += [(name, day[20]) for name in ("a", "kept", "z")] + [("kept", day[60])]
    assert left == sorted(map(repr, expected))
    assert lake.seen.rows_dropped == 15 - 9
    again = lake.files()
    lake.maintainer(limits=Limits(30, {"short": 10, "kept": 90})).expire(lake.table())
    assert lake.files() == again, "nothing is written twice"


def test_the_condition_on_rows_says_what_the_limits_say() -> None:
    for limits in (Limits(), Limits(30), Limits(30, {"a": 10, "b": 90}), Limits(None, {"a": 10})):
        for age in (0, 10, 11, 31, 91):
            for name in ("a", "b", "it's", None):
                goes = duckdb.execute(
                    f"SELECT count(*) FROM (SELECT ? AS event_name) WHERE {condition(limits, age)}", [name]
                ).fetchall()
                assert goes == [(int(limits.is_expired(name, age)),)], (limits, age, name)


def test_a_file_whose_name_is_not_known_is_looked_into() -> None:
    from polku_collector.lake.table import LiveFile

    file = LiveFile("f", "2026-01-01", 1, 1)
    found = expired([file], Limits(None, {"a": 10}), TODAY)
    assert (found.whole, found.unsure) == ([], [file])
    assert expired([file], Limits(None, {"a": 1000}), TODAY).unsure == []


# Vacuum -----------------------------------------------------------------------------------------------------------


def _age(lake: Lake, hours: float) -> None:
    """All files of the table were written so long ago."""
    for path in Path(lake.uri, lake.name).rglob("*.parquet"):
        if "_delta_log" not in path.parts:
            os.utime(path, (time.time() - hours * 3600,) * 2)


def _stored(lake: Lake) -> set[str]:
    return {file.path for file in lake.store.stored(lake.name)}


def test_a_vacuum_takes_what_left_the_table_long_ago_and_nothing_else(lake: Lake) -> None:
    _fill(lake)
    before = lake.rows()
    lake.maintainer().compact(lake.table())
    _age(lake, 1000)
    for full in (False, True):
        assert lake.maintainer(vacuum_hours=24).vacuum(lake.table(), full=full) == 0, "removed just now"
    assert lake.maintainer(vacuum_hours=0).vacuum(lake.table(), full=False) == 34
    assert _stored(lake) == lake.files()
    assert lake.rows() == before


def test_leftovers_that_no_log_tells_of_go_in_a_full_vacuum_when_they_are_old(lake: Lake) -> None:
    _fill(lake)
    folder = Path(lake.uri, "events", f"event_date={TODAY}")
    for name in ("orphan.parquet", ".orphan.parquet.partial", "README.md"):
        (folder / name).write_bytes(b"left over")
    before = lake.maintainer(vacuum_hours=24 * 7, now=NOON - timedelta(days=7))
    assert before.vacuum(lake.table(), full=False) == 0
    assert before.vacuum(lake.table(), full=True) is None, "what the table forgot before is not known yet"
    maintainer = lake.maintainer(vacuum_hours=24 * 7)
    assert maintainer.vacuum(lake.table(), full=True) == 0
    _age(lake, 24 * 7 + 1)
    os.utime(folder / ".orphan.parquet.partial", (time.time() - 8 * 86_400,) * 2)
    assert maintainer.vacuum(lake.table(), full=False) == 0
    assert maintainer.vacuum(lake.table(), full=True) == 2
    assert {path.name for path in folder.iterdir()} - {Path(path).name for path in lake.files()} == {"README.md"}


def test_files_that_were_handed_over_are_left_alone_as_long_as_their_note_is_there(lake: Lake) -> None:
    _fill(lake, 1)
    lake.maintainer().vacuum(lake.table(), full=False)
    key = f"event_date={TODAY}/handed.parquet"
    Path(lake.uri, "events", key).write_bytes(b"rows")
    _age(lake, 1000)
    file = HandedFile(key, str(TODAY), 4, 1, "{}")
    note = Note(1, lake.writer.id, {"far": 0}, {"far": 1}, 0.0, [file], [])
    assert lake.store.create(note_key(note.before), msgspec.json.encode(note))
    assert lake.maintainer().vacuum(lake.table(), full=True) == 0
    lake.store.remove([note_key(note.before)])
    assert lake.maintainer().vacuum(lake.table(), full=True) == 1


def test_beside_a_note_that_nobody_can_read_no_file_is_taken_for_an_orphan(lake: Lake) -> None:
    _fill(lake, 1)
    lake.maintainer().vacuum(lake.table(), full=False)
    Path(lake.uri, "events", f"event_date={TODAY}", "handed.parquet").write_bytes(b"rows")
    _age(lake, 1000)
    assert lake.store.create("_handover/far/00000000000000000000.json", b'{"format": 1, "files": ["event_da')
    assert lake.maintainer().vacuum(lake.table(), full=True) == 0
    lake.store.remove(["_handover/far/00000000000000000000.json"])
    assert lake.maintainer().vacuum(lake.table(), full=True) == 1


@pytest.mark.parametrize("key", ["_handover/s/.1.partial", "events/_delta_log/00000000000000000009.json#1"])
def test_what_was_to_become_a_note_or_a_commit_and_never_did_is_swept_when_it_is_old(lake: Lake, key: str) -> None:
    lake.write(event())
    path, probe = Path(lake.uri, key), Path(lake.uri, "_polku_probe-1", "_delta_log", "0.json")
    for left in (path, probe):
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_bytes(b"half")
    before = {*Path(lake.uri).rglob("*")}
    assert lake.maintainer(vacuum_hours=1).sweep() == []
    assert lake.maintainer(vacuum_hours=0).sweep(dry_run=True) == sorted([key, "_polku_probe-1"])
    assert {*Path(lake.uri).rglob("*")} == before
    assert lake.maintainer(vacuum_hours=0).sweep() == sorted([key, "_polku_probe-1"])
    assert before - {*Path(lake.uri).rglob("*")} == {path, probe, probe.parent, probe.parent.parent}


def test_what_can_go_is_decided_file_by_file() -> None:
    stored = [StoredFile(name, 1, modified) for name, modified in [("live", 0), ("gone", 0), ("late", 0), ("new", 9)]]
    stored.append(StoredFile("orphan", 1, 4))
    found = sorted_out(stored, {"live"}, {"gone", "live"}, {"late"}, 5, orphans=True)
    assert (found.removed, found.orphans, found.size_bytes) == (["gone"], ["orphan"], 2)
    assert sorted_out(stored, {"live"}, {"gone"}, {"late"}, 5, orphans=False).orphans == []


def test_files_that_were_put_long_ago_and_vacuumed_are_not_committed(lake: Lake) -> None:
    """The flush was stopped for a day between putting and committing: it is made anew, not half there."""
    path = lake.scratch / "slow.parquet"
    path.write_bytes(b"rows")
    file = DataFile(path, f"event_date={TODAY}/slow.parquet", str(TODAY), 4, 1, "{}", ())
    now = [0.0, 0.0]
    lake.store.put(file.path, f"events/{file.key}")
    check = still_there(lake.store, [f"events/{file.key}"], lambda: tuple(now))
    Path(lake.uri, "events", file.key).unlink()
    check()  # too young for any vacuum: nobody looks
    for slept in ([STALE_SECONDS, 0.0], [0.0, STALE_SECONDS]):
        now[:] = slept
        with pytest.raises(CommitUncertain, match="made anew"):
            check()
    assert put(lake.store, lake.writer, [])() is None


def test_files_that_are_put_and_not_committed_outlive_a_vacuum(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow flush: the vacuum runs between its put and its commit."""
    _fill(lake, 2)
    lake.maintainer(vacuum_hours=1, now=NOON - timedelta(hours=2)).vacuum(lake.table(), full=False)
    commit = lake.writer.commit

    def slow(*arguments: object) -> None:
        assert lake.maintainer(vacuum_hours=1).vacuum(lake.table(), full=True) == 0
        commit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(lake.writer, "commit", slow)
    lake.write(event("slow"))
    assert "('slow',)" in lake.rows("event_id")


def test_when_nothing_works_it_says_so(lake: Lake) -> None:
    for _ in range(4):
        lake.write(*(event(days_ago=days) for days in (3, 6, 9)))
    for path in lake.files():
        Path(lake.uri, "events", path).unlink()
    files = lake.files()
    with pytest.raises(StoreUnreachable):
        lake.maintainer().compact(lake.table())
    assert lake.files() == files


# On an object store -----------------------------------------------------------------------------------------------


def test_all_of_it_on_an_object_store(tmp_path: Path, bucket: str) -> None:
    lake = Lake(bucket, tmp_path / "scratch")
    for number in range(4):
        lake.write(event(price=1.5), event(name="search", days_ago=1), event("same", stream=f"{number}"))
    lake.write(event(days_ago=100))
    before = lake.rows("event_id")
    maintainer = lake.maintainer(limits=Limits(50), vacuum_hours=0)
    maintainer.compact(lake.table(), everything=True)
    assert lake.rows("event_id").keys() == before.keys() and lake.rows("event_id")["('same',)"] == 1
    assert len(lake.files()) == 3
    assert maintainer.expire(lake.table()) == (1, 1)
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    client.put_object(Bucket="lake", Key=f"shop/events/event_date={TODAY}/orphan.parquet", Body=b"x")
    maintainer.vacuum(lake.table(), full=False)
    client.put_object(Bucket="lake", Key="shop/_polku_probe-1/create-0", Body=b"x")
    client.put_object(Bucket="lake", Key="shop-of-others/_polku_probe-1/create-0", Body=b"x")
    assert lake.maintainer(vacuum_hours=1).sweep() == []
    time.sleep(1.1)  # the store's clock has seconds
    maintainer.vacuum(lake.table(), full=True)
    assert maintainer.sweep() == ["_polku_probe-1/create-0"] and maintainer.sweep() == []
    assert _stored(lake) == lake.files()
    assert sum(rows_of(f"{bucket}/events", options=lake.store.storage_options()).values()) == 9
    assert abs(lake.store.now() - time.time()) < 60


def test_uploads_that_were_begun_long_ago_and_never_finished_are_ended(tmp_path: Path, bucket: str) -> None:
    """Whoever is killed in the middle of a large file leaves its parts, which no list of objects shows."""
    lake = Lake(bucket, tmp_path / "scratch")
    lake.write(event())
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    begun = {}
    for key in ("shop/events/event_date=2026-11-26/large.parquet", "shop-of-others/events/large.parquet"):
        begun[key] = client.create_multipart_upload(Bucket="lake", Key=key)["UploadId"]
        client.upload_part(Bucket="lake", Key=key, UploadId=begun[key], PartNumber=1, Body=b"rows")

    def unfinished() -> list[str]:
        return [entry["Key"] for entry in client.list_multipart_uploads(Bucket="lake").get("Uploads", [])]

    century = 100 * 365 * 24  # the server says of each upload that it began in 2010
    for hours, full in ((0, False), (century, True)):
        lake.maintainer(vacuum_hours=hours).vacuum(lake.table(), full=full)
        lake.maintainer(vacuum_hours=hours).vacuum(lake.table(), full=full)
        assert unfinished() == [*begun]
    maintainer = lake.maintainer(vacuum_hours=0)
    assert len(maintainer.leftovers(lake.table(), full=True).uploads) == 1
    time.sleep(1.1)  # the store's clock has seconds
    maintainer.vacuum(lake.table(), full=False)
    maintainer.vacuum(lake.table(), full=True)
    assert unfinished() == ["shop-of-others/events/large.parquet"]


def test_a_store_that_tells_nothing_of_unfinished_uploads_is_vacuumed_all_the_same(tmp_path: Path, bucket: str) -> None:
    from botocore.exceptions import ClientError

    lake = Lake(f"{bucket}-silent", tmp_path / "scratch")
    lake.write(event())

    def unknown(**arguments: object) -> None:
        raise ClientError({"Error": {"Code": "NotImplemented"}}, "ListMultipartUploads")

    lake.store._client.list_multipart_uploads = unknown  # type: ignore[attr-defined]
    maintainer = lake.maintainer(vacuum_hours=0)
    maintainer.vacuum(lake.table(), full=False)
    assert maintainer.vacuum(lake.table(), full=True) == 0


def test_a_store_that_deletes_only_one_at_a_time(tmp_path: Path, bucket: str) -> None:
    from botocore.exceptions import ClientError

    lake = Lake(f"{bucket}-single", tmp_path / "scratch")
    lake.write(event(), event(days_ago=1))

    def unknown(**arguments: object) -> None:
        raise ClientError({"Error": {"Code": "NotImplemented"}}, "DeleteObjects")

    lake.store._client.delete_objects = unknown  # type: ignore[attr-defined]
    lake.store.remove([f"events/{path}" for path in lake.files()])
    assert _stored(lake) == set()


def test_a_local_store_lists_data_files_alone(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for name in ("t/d=1/a.parquet", "t/_delta_log/00.checkpoint.parquet", "t/d=1/.x.parquet.partial", "t/note.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert {file.path for file in store.stored("t")} == {"d=1/a.parquet", "d=1/.x.parquet.partial"}
    assert date.today() <= date.fromtimestamp(store.now() + 86_400)
