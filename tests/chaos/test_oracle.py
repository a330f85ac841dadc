"""The oracle sees what it is there for: each way in which tables may be wrong, on real tables."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from .load import Ledger, is_invalid, price_of, text_of, user_of
from .oracle import judge
from .readers import COLUMNS, Reader, Sail, duckdb_rows, polars_rows

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


def test_a_reader_that_sees_other_rows_is_seen(tmp_path: Path) -> None:
    write(tmp_path, [row(name) for name in VALID], [refused(name) for name in INVALID])
    half: dict[str, Reader] = {"half": lambda table: duckdb_rows(table)[1:]}
    assert any("half reads" in sentence for sentence in judge(tmp_path, ledger(), half).wrong)


@pytest.mark.skipif(not Sail.is_installed(), reason="pip install --group chaos")
def test_sail_reads_what_the_others_read(tmp_path: Path) -> None:
    write(tmp_path, [row(name) for name in VALID], [refused(name) for name in INVALID])
    sail = Sail()
    try:
        assert judge(tmp_path, ledger(), {"Sail": sail}).wrong == []
    finally:
        sail.close()
