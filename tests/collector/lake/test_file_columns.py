"""No commit adds a file with columns that its table lacks: no reader would see them, and nobody would be told."""

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow.parquet as pq
import pytest

from polku_collector.errors import TableMismatch
from polku_collector.lake.commit import add_actions
from polku_collector.lake.handover import Note
from polku_collector.lake.local_store import LocalStore
from polku_collector.lake.loop import Committer
from polku_collector.lake.parquet import DataFile, copy_by_day, write_by_day
from polku_collector.lake.table import Table
from polku_collector.lake.types import arrow_places, places
from tests.collector.lake.test_handover import Journal, journal, lake, take, taker
from tests.collector.lake.world import notes_in

__all__ = ["journal", "lake"]  # fixtures

DAY = "2026-11-22"
COLUMNS = {
    "event_id": "string",
    "event_date": "date",
    "offer": "struct<price:double>",
    "items": "list<struct<sku:string>>",
}
ROWS = (
    f"SELECT 'a' AS event_id, DATE '{DAY}' AS event_date, {{'price': 1.5}} AS offer, [{{'sku': 's'}}] AS items, "
    "CAST(NULL AS VARCHAR) AS unused"
)
HELD = ["event_id", "event_date", "offer", "offer.price", "items", "items.sku"]


def by_duckdb(select: str, folder: Path) -> list[DataFile]:
    return copy_by_day(duckdb.connect(), select, folder, "event_date", [datetime.date.fromisoformat(DAY)])


def by_pyarrow(select: str, folder: Path) -> list[DataFile]:
    return write_by_day(duckdb.connect().sql(select).to_arrow_table(), folder, "event_date")


@pytest.mark.parametrize("write", [by_duckdb, by_pyarrow])
def test_a_file_says_where_it_holds_values(tmp_path: Path, write: Callable[[str, Path], list[DataFile]]) -> None:
    (file,) = write(ROWS, tmp_path)
    assert [*file.places] == [*arrow_places(pq.read_schema(file.path))]
    assert [place for place in file.places if place != "unused"] == HELD
    assert [*places(COLUMNS.items())] == HELD


@pytest.mark.parametrize(
    ("select", "lacking"),
    [
        (f"SELECT *, 1 AS more FROM ({ROWS})", "(more)"),
        (f"SELECT * REPLACE ({{'price': 1.5, 'unit': 'x'}} AS offer) FROM ({ROWS})", "(offer.unit)"),
        (f"SELECT * REPLACE ([{{'sku': 's', 'size': 1}}] AS items) FROM ({ROWS})", "(items.size)"),
    ],
)
def test_a_file_with_more_than_its_table_is_refused(tmp_path: Path, select: str, lacking: str) -> None:
    store = LocalStore(tmp_path / "lake")
    table = Table(store, "events", "event_date", COLUMNS)
    (good,), (bad,) = by_pyarrow(ROWS, tmp_path / "good"), by_pyarrow(select, tmp_path / "bad")
    for file in (good, bad):
        store.put(file.path, f"events/{file.key}")
    table.commit(add_actions([good], "event_date"), {"s": 1})
    table.refresh()
    version, refused = table.version, add_actions([bad], "event_date")
    for commit in (lambda: table.commit(refused, {"s": 2}), lambda: table.replace([good.key], refused, {"s": 2})):
        with pytest.raises(TableMismatch, match=r"events: the table lacks columns") as raised:
            commit()
        assert lacking in str(raised.value) and bad.key in str(raised.value)
    table.reopen()
    assert (table.version, table.files()) == (version, {good.key})


def test_columns_that_another_node_added_are_seen(tmp_path: Path) -> None:
    """A handle that has seen them is enough."""
    store = LocalStore(tmp_path / "lake")
    table = Table(store, "events", "event_date", COLUMNS)
    Table(store, "events", "event_date", COLUMNS | {"more": "long"})
    (file,) = by_pyarrow(f"SELECT *, 1 AS more FROM ({ROWS})", tmp_path)
    store.put(file.path, f"events/{file.key}")
    with pytest.raises(TableMismatch):
        table.commit(add_actions([file], "event_date"), {"s": 1})
    table.refresh()
    table.commit(add_actions([file], "event_date"), {"s": 1})


def drop_a_column(monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    """As if the step that adds columns had forgotten one."""
    monkeypatch.setattr(table, "columns", {name: kind for name, kind in table.columns.items() if name != "event_name"})
    monkeypatch.setattr(table, "refresh_columns", lambda: None)


def test_a_flush_that_forgot_a_column_stops_at_once_and_keeps_its_events(
    lake: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.take_in("1")
    life = journal.life(lake, Committer)
    drop_a_column(monkeypatch, life._events)
    monkeypatch.setattr(life._events, "widen", lambda wanted: [])
    with pytest.raises(TableMismatch, match="event_name") as raised:
        life.flush()
    assert not raised.value.transient and life.waiting() == 1


@pytest.mark.parametrize("told", [True, False], ids=["the note tells", "an old note, the file tells"])
def test_what_is_handed_over_is_looked_at_too(
    lake: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    journal.take_in("1")
    journal.life(lake).flush()
    if not told:
        store = LocalStore(lake)
        ((key, note),) = notes_in(lake).items()
        document: dict[str, Any] = msgspec.to_builtins(note)
        assert [file.pop("places") for file in document["events"]]
        store.remove([key])
        assert store.create(key, msgspec.json.encode(document)) and isinstance(notes_in(lake)[key], Note)
    one = taker(lake)
    drop_a_column(monkeypatch, one._events)
    assert one.take() == [], "a file with more than its table"
    assert take(lake) == 1
