"""Putting computed tables into the lake: new Parquet files beside those that stay, one Delta commit a table.

A reader of a table sees its old version or its new one. Files that are no longer needed stay for a day, for readers
that still hold them.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction, create_table_with_add_actions
from msgspec import Struct

from polku_analytics.build.compute import NewFile
from polku_analytics.errors import BuildError, LakeError
from polku_analytics.lake import DataFile, Lake
from polku_schemas.column_types import delta_field

KEEP_OLD_FILES_HOURS: Final = 24

CLEAN_EVERY_COMMITS: Final = 20
"""Old files and old entries of the log are looked for after so many commits of a table."""


class PlacedFile(Struct, frozen=True):
    """A file in the table's folder, which no reader sees yet."""

    name: str
    rows: int
    size_bytes: int


def place_files(lake: Lake, table: str, files: Sequence[NewFile]) -> list[PlacedFile]:
    """Move Parquet files into the table's folder under names of their own."""
    placed = []
    for file in files:
        name = f"part-{uuid.uuid4().hex}.parquet"
        if lake.cache is not None:
            lake.cache.store(lake.uri).upload(file.path, f"{lake.table_uri(table)}/{name}")
        else:
            folder = Path(lake.table_uri(table))
            folder.mkdir(parents=True, exist_ok=True)
            shutil.move(file.path, folder / name)
        placed.append(PlacedFile(name, file.rows, file.size_bytes))
    return placed


def replace_table(
    lake: Lake, table: str, files: Sequence[PlacedFile], columns: Mapping[str, str], metadata: Mapping[str, Any]
) -> int:
    """Commit placed files as the whole content of the table; `columns` are its neutral types. Returns the version."""
    schema = Schema.from_json(json.dumps(_schema(columns)))
    actions: list[AddAction | RemoveAction] = [_add(file.name, file.size_bytes, file.rows) for file in files]
    properties = CommitProperties(custom_metadata=dict(metadata))
    try:
        delta = _existing(lake, table)
        if delta is None:
            create_table_with_add_actions(
                lake.table_uri(table),
                schema,
                [_add(file.name, file.size_bytes, file.rows) for file in files],
                mode="error",
                storage_options=lake.storage_options(),
                commit_properties=properties,
            )
            return 0
        delta.create_write_transaction(actions, "overwrite", schema, [], commit_properties=properties)
        return _cleaned(delta)
    except (DeltaError, OSError) as error:
        raise _refused(lake, table, error) from error


def change_table(
    lake: Lake,
    table: str,
    kept: Sequence[DataFile],
    new: Sequence[PlacedFile],
    metadata: Mapping[str, Any],
) -> int:
    """Commit a version of the table that consists of the kept files and the placed ones. Returns the version.

    Whatever an unfinished build has left in the table goes.
    """
    try:
        delta = lake.delta(table)
        live: Any = pa.table(delta.get_add_actions(flatten=True)).to_pylist()
        wanted = {_name(file.uri): file for file in kept}
        now = int(time.time() * 1000)
        gone = [
            RemoveAction(add["path"], True, now, add["size_bytes"], {}) for add in live if add["path"] not in wanted
        ]
        back = [_add(name, file.size_bytes, file.rows) for name, file in wanted.items()]
        there = {add["path"] for add in live}
        actions: list[AddAction | RemoveAction] = [
            *gone,
            *(add for add, name in zip(back, wanted, strict=True) if name not in there),
            *(_add(file.name, file.size_bytes, file.rows) for file in new),
        ]
        if not actions:
            return delta.version()
        delta.create_write_transaction(
            actions, "append", delta.schema(), [], commit_properties=CommitProperties(custom_metadata=dict(metadata))
        )
        return _cleaned(delta)
    except (DeltaError, OSError) as error:
        raise _refused(lake, table, error) from error


def _existing(lake: Lake, table: str) -> DeltaTable | None:
    try:
        return lake.delta(table)
    except LakeError as error:
        if isinstance(error.__context__, TableNotFoundError):
            return None
        raise


def _cleaned(delta: DeltaTable) -> int:
    """The version of a table that was just committed, after clearing up now and then."""
    delta.update_incremental()  # a transaction leaves the handle at the version it has read
    version = delta.version()
    if version % CLEAN_EVERY_COMMITS == 0:
        delta.vacuum(KEEP_OLD_FILES_HOURS, dry_run=False, enforce_retention_duration=False)
        delta.create_checkpoint()
        delta.cleanup_metadata()
    return version


def _add(name: str, size_bytes: int, rows: int) -> AddAction:
    return AddAction(
        path=name,
        size=size_bytes,
        partition_values={},
        modification_time=int(time.time() * 1000),
        data_change=True,
        stats=json.dumps({"numRecords": rows}),
    )


def _name(uri: str) -> str:
    return uri.rsplit("/", 1)[-1]


def _refused(lake: Lake, table: str, error: Exception) -> BuildError:
    said = str(error).splitlines()[0]
    return BuildError(f"table {table} could not be written to {lake.uri}: {said}; what readers see is unharmed")


def _schema(columns: Mapping[str, str]) -> dict[str, Any]:
    return {"type": "struct", "fields": [delta_field(name, kind) for name, kind in columns.items()]}
