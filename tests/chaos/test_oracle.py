"""The oracle sees what it is there for: each way in which tables may be wrong, on real tables."""

import os
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from polku_collector.lake.open_store import open_store
from polku_collector.lake.s3_store import S3Store
from tests.collector.maintain import world as maintained

from .load import Ledger, is_invalid, price_of, text_of, user_of
from .oracle import judge, judge_to_the_end
from .readers import COLUMNS, Reader, Sail, duckdb_rows, missing, polars_rows
from .store import BUCKET, StoreProcess
from .upkeep import left_over
from .world import LAKE_URI, store_environment

IDS = [f"id-{number}" for number in range(80)]
READERS: dict[str, Reader] = {"DuckDB": duckdb_rows, "Polars": polars_rows}
KINDS: dict[str, pa.DataType] = dict.fromkeys(COLUMNS["events"], pa.string())
KINDS["sequence"] = pa.int64()
KINDS["price"] = pa.float64()
KINDS["event_date"] = pa.string()


def row(event_id: str) -> dict[str, object]:
    return {
        "event_id": event_id,
        "stream": "s",
        "sequence": IDS.index(event_id) + 1,
        "event_name": "product_viewed",
        "user_id": user_of(event_id),
        "product_id": text_of(event_id),
        "price": price_of(event_id),
        "query": None,
        "extra": None,
        "event_date": "2026-11-22",
    }


def refused(event_id: str) -> dict[str, object]:
    known = {"event_id": event_id, "stream": "s", "sequence": IDS.index(event_id) + 1, "code": "wrong_type"}
    return dict.fromkeys(COLUMNS["quarantine"]) | known


def write(lake: Path, events: list[dict[str, object]], quarantine: list[dict[str, object]]) -> None:
    table = pa.Table.from_pylist(events, pa.schema(KINDS))
    write_deltalake(str(lake / "events"), table, partition_by=["event_date"])
    kinds = dict.fromkeys(COLUMNS["quarantine"], pa.string()) | {"sequence": pa.int64()}
    write_deltalake(str(lake / "quarantine"), pa.Table.from_pylist(quarantine, pa.schema(kinds)))


def ledger() -> Ledger:
    made = Ledger()
    made.answered = {event_id: Counter({0: 1}) for event_id in IDS}
    return made


VALID = [event_id for event_id in IDS if not is_invalid(event_id)]
INVALID = [event_id for event_id in IDS if is_invalid(event_id)]
Rows = list[dict[str, object]]


def test_what_was_sent_is_right(tmp_path: Path) -> None:
    write(tmp_path, [row(name) for name in VALID], [refused(name) for name in INVALID])
    verdict = judge(tmp_path, ledger(), READERS)
    assert verdict.wrong == []
    assert (verdict.rows, verdict.quarantined, verdict.duplicates) == (len(VALID), len(INVALID), 0)


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda events, quarantine: events.pop(), "acknowledged and not in events"),
        (lambda events, quarantine: events.append(events[0] | {"sequence": 99}), "more than once in events"),
        (lambda events, quarantine: quarantine.pop(), "acknowledged and not in quarantine"),
        (lambda events, quarantine: quarantine.append(quarantine[0] | {"sequence": 99}), "too often in quarantine"),
        (lambda events, quarantine: quarantine.append(refused(VALID[0])), "too often in quarantine"),
        (lambda events, quarantine: events[0].update(price=-1.0), "not what was sent"),
        (lambda events, quarantine: events[0].update(user_id="nobody"), "not what was sent"),
        (lambda events, quarantine: events[0].update(sequence=events[1]["sequence"]), "stored twice, by position"),
        (lambda events, quarantine: events.append(row(INVALID[0])), "breaks its schema and is in events"),
        (lambda events, quarantine: events.append(events[0] | {"event_id": "nobody's"}), "more than once in events"),
    ],
)
def test_what_is_wrong_is_seen(tmp_path: Path, change: Callable[[Rows, Rows], object], finding: str) -> None:
    events, quarantine = [row(name) for name in VALID], [refused(name) for name in INVALID]
    change(events, quarantine)
    write(tmp_path, events, quarantine)
    assert any(finding in sentence for sentence in judge(tmp_path, ledger(), READERS).wrong)


def test_what_was_not_answered_may_be_there_or_not_and_a_copy_at_another_collector_too(tmp_path: Path) -> None:
    copy = row(VALID[0]) | {"stream": "t"}
    write(tmp_path, [*(row(name) for name in VALID[:-1]), copy], [refused(name) for name in INVALID])
    made = ledger()
    made.unanswered = {VALID[-1]: made.answered.pop(VALID[-1]), VALID[0]: Counter({1: 1})}
    assert judge(tmp_path, made, READERS).wrong == []


def test_what_was_removed_by_a_clock_ahead_of_ours_is_no_file_that_no_vacuum_takes(tmp_path: Path) -> None:
    """A round with steps of the clock failed for it: the vacuum takes the file an hour later."""
    write(tmp_path, [row(name) for name in VALID], [refused(name) for name in INVALID])
    table = DeltaTable(str(tmp_path / "events"))
    write_deltalake(table, table.to_pyarrow_table(), mode="overwrite")
    last = max((tmp_path / "events" / "_delta_log").glob("*.json"))
    ahead = int((time.time() + 3600) * 1000)
    last.write_text(re.sub(r'"deletionTimestamp":\d+', f'"deletionTimestamp":{ahead}', last.read_text()))
    assert not DeltaTable(table.table_uri).vacuum(0, dry_run=True, enforce_retention_duration=False, full=True)
    assert judge(tmp_path, ledger(), {}).wrong == []


def test_missing_files_and_files_that_no_vacuum_takes_are_seen(tmp_path: Path) -> None:
    write(tmp_path, [row(name) for name in VALID], [refused(name) for name in INVALID])
    (tmp_path / "events" / "event_date=2026-11-22" / "left.parquet").write_bytes(b"x")
    verdict = judge(tmp_path, ledger(), {})
    assert (verdict.wrong, verdict.orphans) == ([], 1)
    (tmp_path / "events" / "_hidden").mkdir()
    (tmp_path / "events" / "_hidden" / "left.parquet").write_bytes(b"x")
    assert any("no vacuum takes" in sentence for sentence in judge(tmp_path, ledger(), {}).wrong)
    Path(DeltaTable(str(tmp_path / "quarantine")).file_uris()[0].removeprefix("file://")).write_bytes(b"cut")
    with pytest.raises(Exception, match=r"(?i)parquet"):
        judge(tmp_path, ledger(), {})


@pytest.mark.parametrize("name", COLUMNS)
def test_a_reader_that_sees_other_rows_of_a_table_is_seen(tmp_path: Path, name: str) -> None:
    write(tmp_path, [row(name) for name in VALID], [refused(name) for name in INVALID])
    half: dict[str, Reader] = {"half": lambda table: duckdb_rows(table)[1 if table.name == name else 0 :]}
    (sentence,) = judge(tmp_path, ledger(), half).wrong
    assert sentence.startswith("half reads") and f"rows of {name}" in sentence


@pytest.mark.parametrize(
    ("day", "is_wrong"), [("2026-11-22", True), ("2026-11-23", True), ("2026-11-21", True), ("2026-11-24", False)]
)
def test_a_copy_that_compaction_should_have_taken_is_seen(tmp_path: Path, day: str, is_wrong: bool) -> None:
    copy = row(VALID[0]) | {"stream": "t", "event_date": day}
    write(tmp_path, [*(row(name) for name in VALID), copy], [refused(name) for name in INVALID])
    made = ledger()
    made.answered[VALID[0]] = Counter({0: 1, 1: 1})
    assert judge(tmp_path, made, {}).wrong == []
    wrong = judge(tmp_path, made, {}, compacted=True).wrong
    assert [sentence for sentence in wrong if "compaction should have seen" in sentence and VALID[0] in sentence] == (
        wrong if is_wrong else []
    )
    assert bool(wrong) == is_wrong


@pytest.mark.parametrize(
    "name",
    [
        "events/event_date=2026-11-22/left.parquet",
        "events/event_date=2026-11-22/.left.parquet.partial",
        "events/_delta_log/00000000000000000007.json#1",
        "quarantine/left.txt",
        "_handover/s/00000000000000000000.json",
        "_handover/s/.1.partial",
        "_polku_probe-1/create-0",
        "_iceberg/v1.metadata.json",
    ],
)
def test_what_no_table_and_no_log_names_is_seen(tmp_path: Path, name: str) -> None:
    write(tmp_path, [row(name) for name in VALID], [refused(name) for name in INVALID])
    DeltaTable(str(tmp_path / "events")).create_checkpoint()
    assert left_over(tmp_path) == []
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    assert left_over(tmp_path) == [name]


def test_whoever_was_answered_after_the_commit_finds_his_events(tmp_path: Path) -> None:
    write(tmp_path, [row(name) for name in VALID[1:]], [refused(name) for name in INVALID[1:]])
    assert missing(tmp_path, IDS) == [name for name in IDS if name in (VALID[0], INVALID[0])]
    made = ledger()
    made.note_missing(IDS, [])
    assert (made.looked_up, made.wrong) == (1, [])
    made.note_missing(IDS, [VALID[0]])
    assert VALID[0] in made.wrong[0]


def real_lake(root: Path) -> Path:
    """The same as a collector writes it: one event has come in through two nodes."""
    uri, columns = str(root / "lake"), maintained.COLUMNS | dict.fromkeys(("user_id", "product_id", "query"), "string")
    rows = [maintained.event(source="web", **row(name) | {"event_date": maintained.TODAY}) for name in VALID]  # type: ignore[arg-type]
    events = maintained.Lake(uri, root / "scratch", columns=columns)
    events.write(*rows)
    events.write(rows[0] | {"stream": "t"})
    columns = maintained.QUARANTINE | dict.fromkeys(("event_id", "source", "code", "path"), "string")
    quarantine = maintained.Lake(uri, root / "scratch", columns=columns, name="quarantine", day="received_date")
    quarantine.write(*(maintained.refused() | refused(name) | {"stream": "s"} for name in INVALID))
    return root / "lake"


def test_a_lake_is_judged_after_compaction_and_a_full_vacuum_too(tmp_path: Path) -> None:
    lake, made = real_lake(tmp_path), ledger()
    made.answered[VALID[0]] = Counter({0: 1, 1: 1})
    (lake / "events" / "left.parquet").write_bytes(b"x")
    (lake / "_polku_probe-1").mkdir()
    (lake / "_polku_probe-1" / "create-0").write_bytes(b"x")
    before = judge_to_the_end(lake, str(lake), os.environ, made, READERS)
    assert (before.wrong, before.rows, before.orphans) == ([], len(VALID) + 1, 1)
    assert judge(lake, made, READERS, compacted=True).rows == len(VALID)
    assert left_over(lake) == []


def test_what_a_full_vacuum_leaves_is_seen_in_the_end(tmp_path: Path) -> None:
    lake, made = real_lake(tmp_path), ledger()
    made.answered[VALID[0]] = Counter({0: 1, 1: 1})
    (lake / "events" / "left.txt").write_bytes(b"x")
    wrong = judge_to_the_end(lake, str(lake), os.environ, made, {}, lambda: ["large"]).wrong
    found = [sentence for sentence in wrong if sentence.startswith("after compaction and vacuum")]
    assert any("events/left.txt" in sentence for sentence in found)
    assert any("never finished" in sentence and "large" in sentence for sentence in found)


def test_an_upload_that_was_never_finished_is_seen_and_a_vacuum_can_end_it(tmp_path: Path) -> None:
    server = StoreProcess(tmp_path / "store")
    try:
        store = open_store(LAKE_URI, environ=store_environment(server.address))
        assert isinstance(store, S3Store)
        key = "chaos/events/large.parquet"
        store._client.create_multipart_upload(Bucket=BUCKET, Key=key)
        assert server.unfinished() == [key] == [upload.object for upload in store.unfinished("events")]
        assert store.unfinished("quarantine") == []
        store.abandon(store.unfinished("events"))
        assert server.unfinished() == []
    finally:
        server.kill()


@pytest.mark.skipif(not Sail.is_installed(), reason="pip install --group chaos")
def test_sail_reads_what_the_others_read(tmp_path: Path) -> None:
    write(tmp_path, [row(name) for name in VALID], [refused(name) for name in INVALID])
    sail = Sail()
    try:
        assert judge(tmp_path, ledger(), {"Sail": sail}).wrong == []
    finally:
        sail.close()
