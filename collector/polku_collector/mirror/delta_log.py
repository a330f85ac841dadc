"""Reads the Delta log for the mirror: commit by commit, or all files that are live. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import PyFileSystem

from ..errors import LakeError
from ..lake.store import Store
from ..lake.table import Table
from .changes import Added, Version, version_of

# The handle grows with each version it takes in.
_REOPEN_AFTER = 50


class DeltaLog:
    """The log of one Delta table, up to the version that `refresh` last saw. Not thread-safe."""

    def __init__(self, store: Store, name: str, partition_by: str) -> None:
        """Raises TableNotFoundError when there is no such table yet, and what deltalake raises when it is away."""
        self._table = Table(store, name, partition_by, None)
        self._files = PyFileSystem(DeltaStorageHandler(store.uri(name), store.storage_options()))
        self._opened_at = self._table.version
        self.name, self.uri = name, store.uri(name)

    @property
    def version(self) -> int:
        return self._table.version

    @property
    def id(self) -> str:
        return self._table.id

    @property
    def created(self) -> int | None:
        """When the table was made, in milliseconds since 1970."""
        return self._table.handle.metadata().created_time

    @property
    def columns(self) -> dict[str, str]:
        return self._table.columns

    @property
    def partition_by(self) -> str:
        return self._table.partition_by

    def refresh(self) -> None:
        """Take in what was committed, and make it durable: nothing is mirrored that a power cut could take back."""
        if self._table.version - self._opened_at > _REOPEN_AFTER:
            self._table.reopen()
            self._opened_at = self._table.version
        self._table.settle()
        self._table.refresh_columns()

    def versions(self, after: int) -> Iterator[Version]:
        """The commits beyond `after`, one by one. Raises FileNotFoundError where the log does not reach back."""
        for number in range(after + 1, self.version + 1):
            yield self.commit(number)

    def commit(self, number: int) -> Version:
        """One commit. Raises FileNotFoundError when it was cleaned up."""
        with self._files.open_input_stream(f"_delta_log/{number:020d}.json") as stream:
            commit = stream.read()
        return version_of(number, commit, self.partition_by)

    def live(self) -> dict[str, Added]:
        """The files the table consists of at `version`, by path."""
        rows: Any = pa.table(self._table.handle.get_add_actions(flatten=True)).to_pylist()
        return {row["path"]: _added(row, self.name, self.partition_by) for row in rows}


def _added(row: dict[str, Any], table: str, partition_by: str) -> Added:
    if row["num_records"] is None:
        raise LakeError(f"{table}: the log does not say how many rows {row['path']} has; Polku did not write it")
    lower, upper, nulls = ({}, {}, {})  # type: tuple[dict[str, str], dict[str, str], dict[str, int]]
    for key, value in row.items():
        kind, _, column = key.partition(".")
        if value is None:
            continue
        if kind == "null_count":
            nulls[column] = value
        elif kind in ("min", "max") and isinstance(value, str | datetime):
            bounds = lower if kind == "min" else upper
            bounds[column] = value if isinstance(value, str) else value.isoformat()
    return Added(
        row["path"], row["size_bytes"], row["num_records"], str(row[f"partition.{partition_by}"]), lower, upper, nulls
    )
