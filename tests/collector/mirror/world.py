"""A small lake whose versions are made by hand, a catalog in SQLite, and what readers see of both."""

import datetime
import json
import os
import uuid
from pathlib import Path
from typing import Any

import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table as IcebergTable

from polku_collector.lake.local_store import LocalStore
from polku_collector.lake.statistics import delta_statistics
from polku_collector.lake.table import NewFile, Table
from polku_collector.mirror.catalog import open_catalog
from polku_collector.mirror.delta_log import DeltaLog
from polku_collector.mirror.mirror import Mirror

COLUMNS = {
    "event_id": "string",
    "event_name": "string",
    "event_time": "timestamp",
    "event_date": "date",
    "user_id": "string",
    "products": "list<struct<product_id:string,price:double>>",
}
os.environ.setdefault("POLARS_ICEBERG_PLANNER", "pyiceberg")  # it warns that there is a faster one

IDENTIFIER = ("polku", "events")
_TYPES = {"event_time": pa.timestamp("us", "UTC"), "event_date": pa.date32()}


class SmallLake:
    """One Delta table, with files written as the committer writes them: only the columns that occur, no field ids."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, LocalStore(root / "lake")
        self.table = Table(self.store, "events", "event_date", COLUMNS)
        self.catalog_uri = f"sqlite:///{root / 'catalog.db'}"

    def file(self, *ids: str, day: str = "2026-01-01", **columns: Any) -> NewFile:
        """A data file with these events; further columns have the same value in each row."""
        moment = datetime.datetime.fromisoformat(f"{day}T12:00:00.000100+00:00")
        rows = [
            {"event_id": each, "event_name": "paid", "event_time": moment, "event_date": moment.date()} | columns
            for each in ids
        ]
        fields = [pa.field(name, _TYPES[name]) if name in _TYPES else None for name in rows[0]]
        arrays = {
            name: pa.array([row[name] for row in rows], field.type if field else None)
            for name, field in zip(rows[0], fields, strict=True)
        }
        key = f"event_date={day}/{uuid.uuid4().hex}.parquet"
        path = self.root / "lake" / "events" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(arrays), path)  # statistics of all columns: what is in the footer must not travel on
        bounds = {"event_id": (min(ids), max(ids), 0), "event_time": (moment, moment, 0)}
        statistics = delta_statistics(len(rows), bounds)
        return NewFile(key, path.stat().st_size, {"event_date": day}, 0, True, statistics, places=[*arrays])

    def add(self, *ids: str, **columns: Any) -> str:
        """A commit that adds a file; returns its path."""
        added = self.file(*ids, **columns)
        self.table.refresh()
        self.table.commit([added], {"stream": self.table.watermark("stream") + 1})
        self.table.refresh()
        return str(added.path)

    def replace(self, paths: list[str], *ids: str, **columns: Any) -> str:
        """A commit that puts a file with `ids`, or nothing, in the place of others."""
        self.table.refresh()
        files = [self.file(*ids, **columns)] if ids else []
        self.table.replace(paths, files, {})
        self.table.refresh()
        return str(files[0].path) if files else ""

    def catalog(self) -> Catalog:
        return open_catalog("test", {"type": "sql", "uri": self.catalog_uri}, self.store)

    def mirror(self, **options: Any) -> Mirror:
        delta = DeltaLog(LocalStore(self.root / "lake"), "events", "event_date")
        location = f"file://{self.root}/lake/_iceberg/events"
        catalog = self.catalog()
        given = {"location": location, "keep_seconds": 86_400.0} | options
        return Mirror(lambda: catalog, IDENTIFIER, delta, **given)

    def iceberg(self) -> IcebergTable:
        return self.catalog().load_table(IDENTIFIER)

    def assert_equal(self) -> None:
        """Row by row, and no reader disagrees."""
        assert_same_rows(self.table.handle, self.iceberg())


def assert_same_rows(delta: Any, iceberg: IcebergTable) -> None:
    """Delta as deltalake reads it, Iceberg as pyiceberg and Polars do, and DuckDB on the files that Iceberg names."""
    delta.update_incremental()
    names = [field.name for field in delta.schema().fields]
    rows = delta.to_pyarrow_dataset().to_table().to_pylist()
    expected = _sorted(rows, names)
    found = iceberg.scan().to_arrow()
    assert sorted(found.column_names) == sorted(names)
    # pyiceberg gives an empty list for a list of structs that is null. Nothing of ours is an empty list.
    emptied = [{name: None if value == [] else value for name, value in row.items()} for row in found.to_pylist()]
    assert _sorted(emptied, names) == expected
    if expected:
        lazy = polars.scan_iceberg(iceberg, reader_override="native", storage_options=dict(iceberg.io.properties))
        assert _sorted(lazy.collect().to_dicts(), names) == expected
    paths = [task.file.file_path for task in iceberg.scan().plan_files()]
    assert len(paths) == len(set(paths))
    assert iceberg.scan().count() == len(expected)
    if paths and not paths[0].startswith("s3://"):
        rows = duckdb.connect().execute("SET TimeZone = 'UTC'").read_parquet(paths, union_by_name=True).to_arrow_table()
        assert _sorted(rows.to_pylist(), names) == expected


def _sorted(rows: list[dict[str, Any]], names: list[str]) -> list[str]:
    """Rows as texts. A member of a struct that a reader does not know and one that is null are the same."""
    return sorted(json.dumps({name: _plain(row.get(name)) for name in names}, default=str) for row in rows)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in sorted(value.items()) if inner is not None}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat()
    return value
