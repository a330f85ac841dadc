"""A small lake that is written as the committer writes it, and looked after in this process."""

import itertools
import json
import uuid
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from polku_collector.lake.commit import add_actions, commit
from polku_collector.lake.fenced import put
from polku_collector.lake.open_store import open_store
from polku_collector.lake.parquet import write_by_day
from polku_collector.lake.store import Store
from polku_collector.lake.table import Table
from polku_collector.maintain.copies import Copies
from polku_collector.maintain.plan import Merge
from polku_collector.maintain.retention import Limits
from polku_collector.maintain.rewrite import Rewritten
from polku_collector.maintain.run import Maintainer, Rules

TODAY = date(2026, 11, 26)
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
MIB = 1 << 20

COLUMNS = {
    "event_id": "string",
    "event_type": "string",
    "event_name": "string",
    "event_time": "timestamp",
    "received_at": "timestamp",
    "event_date": "date",
    "stream": "string",
    "sequence": "long",
    "source": "string",
    "price": "double",
    "products": "list<struct<product_id:string,quantity:long>>",
    "consent": "list<string>",
    "extra": "string",
}
QUARANTINE = {
    "event_name": "string",
    "received_at": "timestamp",
    "received_date": "date",
    "stream": "string",
    "sequence": "long",
    "original": "string",
}
_TYPES = {
    "string": pa.string(),
    "long": pa.int64(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
    "list<string>": pa.list_(pa.string()),
}


class Seen:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.merges: list[tuple[str, Rewritten]] = []
        self.copies = self.conflicting = self.rows_dropped = self.files_vacuumed = 0
        self.failures: list[Exception] = []

    def files(self, table: str, count: int) -> None: ...

    def compacted(self, table: str, merge: Merge, done: Rewritten, copies: Copies, seconds: float) -> None:
        self.merges.append((table, done))
        self.copies += copies.dropped
        self.conflicting += copies.conflicting

    def dropped(self, table: str, files: int, rows: int) -> None:
        self.rows_dropped += rows

    def vacuumed(self, table: str, files: int) -> None:
        self.files_vacuumed += files

    def failed(self, table: str, error: Exception) -> None:
        self.failures.append(error)


class Lake:
    """One table, a writer of it and a maintainer."""

    def __init__(
        self,
        uri: str | Path,
        scratch: Path,
        *,
        store: Store | None = None,
        columns: dict[str, str] | None = None,
        name: str = "events",
        day: str = "event_date",
    ) -> None:
        self.uri, self.scratch = str(uri), scratch
        self.store = store or open_store(self.uri)
        self.columns = columns or (COLUMNS if name == "events" else QUARANTINE)
        self.name, self.day = name, day
        scratch.mkdir(parents=True, exist_ok=True)
        self.writer = Table(self.store, name, day, self.columns)
        self.seen = Seen()

    def table(self) -> Table:
        """A handle of somebody else's."""
        return Table(self.store, self.name, self.day, None)

    def maintainer(
        self,
        *,
        most_files: int = 10,
        target_bytes: int = 128 * MIB,
        limits: Limits | None = None,
        vacuum_hours: int = 24,
        now: datetime = NOON,
        role: str = "maintenance",
    ) -> Maintainer:
        rules = Rules(most_files, target_bytes, vacuum_hours, {self.name: limits or Limits()})
        return Maintainer(self.store, rules, self.scratch / role, self.seen, clock=now.timestamp)

    def write(self, *rows: dict[str, Any], stream: str = "stream") -> None:
        """One flush: files, and a commit with the stream's next number."""
        kinds = {name: _TYPES.get(kind) for name, kind in self.columns.items()}
        kinds |= {"products": pa.list_(pa.struct([("product_id", pa.string()), ("quantity", pa.int64())]))}
        used = [name for name in self.columns if any(row.get(name) is not None for row in rows)]
        arrays = {name: pa.array([row.get(name) for row in rows], kinds[name]) for name in used}
        folder = self.scratch / uuid.uuid4().hex
        files = write_by_day(pa.table(arrays), folder, self.day)
        check = put(self.store, self.writer, files)
        self.writer.refresh()
        before = self.writer.watermark(stream)
        commit(self.writer, add_actions(files, self.day), {stream: before}, {stream: before + len(rows)}, check=check)

    def rows(self, columns: str = "*") -> Counter[str]:
        """All rows as a fresh reader sees them, however often each is there."""
        return rows_of(f"{self.uri}/{self.name}", columns, self.store.storage_options())

    def files(self) -> set[str]:
        return self.table().files()


def rows_of(uri: str, columns: str = "*", options: dict[str, str] | None = None) -> Counter[str]:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("found", DeltaTable(uri, storage_options=options).to_pyarrow_dataset())
    return Counter(repr(row) for row in connection.sql(f"SELECT {columns} FROM found").fetchall())


_numbers = itertools.count(1)


def event(
    event_id: str | None = None,
    *,
    name: str = "product_viewed",
    days_ago: int = 0,
    stream: str = "stream",
    source: str = "web",
    received: datetime | None = None,
    **properties: Any,
) -> dict[str, Any]:
    """A row of `events`."""
    number = next(_numbers)
    moment = NOON - timedelta(days=days_ago, microseconds=-number)
    extra = {"properties": {"n": number if event_id is None else event_id}}
    return {
        "event_id": event_id or f"{number:012d}",
        "event_type": "track",
        "event_name": name,
        "event_time": moment,
        "received_at": received or moment,
        "event_date": moment.date(),
        "stream": stream,
        "sequence": number,
        "source": source,
        "extra": json.dumps(extra),
        **properties,
    }


def refused(days_ago: int = 0) -> dict[str, Any]:
    """A row of `quarantine`."""
    number = next(_numbers)
    moment = NOON - timedelta(days=days_ago, microseconds=-number)
    return {
        "event_name": "broken",
        "received_at": moment,
        "received_date": moment.date(),
        "stream": "stream",
        "sequence": number,
        "original": f"{number}",
    }
