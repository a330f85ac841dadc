"""The log of a local table stays short, however many commits there are, and nobody stumbles over what left it."""

from pathlib import Path

import pytest
from deltalake import DeltaTable

from polku_collector.lake import table as tables
from polku_collector.lake.commit import commit
from polku_collector.lake.local_store import LocalStore
from polku_collector.lake.table import NewFile, Table

COLUMNS = {"event_date": "date", "event_id": "string"}
KEPT, CHECKPOINT_EVERY = 30, 20


def new_file(number: int) -> NewFile:
    return NewFile(
        path=f"event_date=2026-03-01/{number}.parquet",
        size=1,
        partition_values={"event_date": "2026-03-01"},
        modification_time=1,
        data_change=True,
        stats='{"numRecords": 1}',
        places=["event_id"],
    )


def committed(table: Table, first: int, last: int) -> None:
    for number in range(first, last + 1):
        table.refresh()
        commit(table, [new_file(number)], {"in-1": number - 1}, {"in-1": number})
        table.settle()
        if number % CHECKPOINT_EVERY == 0:
            table.checkpoint()


def test_a_local_log_is_short_and_whoever_was_away_sees_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LOG_VERSIONS", KEPT)
    store = LocalStore(tmp_path)
    table = Table(store, "events", "event_date", COLUMNS)
    committed(table, 1, 5)
    away = Table(store, "events", "event_date", None)
    reader = DeltaTable(store.uri("events"))
    committed(table, 6, 150)
    entries = [path.name for path in (tmp_path / "events" / "_delta_log").glob("*.json")]
    assert KEPT <= len(entries) <= KEPT + 2 * CHECKPOINT_EVERY

    away.refresh()
    reader.update_incremental()
    for seen in (away.handle, reader, DeltaTable(store.uri("events"))):
        assert (seen.version(), seen.transaction_version("in-1"), len(seen.file_uris())) == (150, 150, 150)
    earlier = DeltaTable(store.uri("events"), version=150 - KEPT)
    assert len(earlier.file_uris()) == 150 - KEPT


def test_a_commit_from_a_handle_that_the_log_no_longer_reaches_is_made_from_a_fresh_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "LOG_VERSIONS", KEPT)
    store = LocalStore(tmp_path)
    table = Table(store, "events", "event_date", COLUMNS)
    away = Table(store, "events", "event_date", None)
    assert away.watermark("in-2") == 0, "read before the others come"
    committed(table, 1, 150)
    commit(away, [new_file(999)], {"in-2": 0}, {"in-2": 1}, wait=lambda seconds: None)
    table.reopen()
    assert (table.watermark("in-1"), table.watermark("in-2"), len(table.files())) == (150, 1, 151)
