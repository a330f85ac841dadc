"""Putting a computed table into the lake: one sorted Parquet file, one Delta commit that replaces the table whole.

A reader sees the old table or the new one. The files of the old one stay for a day, for readers that still hold them.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from deltalake import CommitProperties, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, create_table_with_add_actions
from msgspec import Struct

from polku_analytics.errors import BuildError, LakeError
from polku_analytics.lake import Lake
from polku_schemas.column_types import delta_field

KEEP_OLD_FILES_HOURS: Final = 24


class PlacedFile(Struct, frozen=True):
    """A Parquet file in a table's folder: its path from there, and what the log says of it."""

    name: str
    size_bytes: int
    rows: int | None
    """None where nobody counted."""


def place_file(lake: Lake, table: str, path: Path) -> str:
    """Move a Parquet file into the table's folder under a name of its own, which is returned. No reader sees it yet."""
    name = f"part-{uuid.uuid4().hex}.parquet"
    if lake.cache is not None:
        lake.cache.store(lake.uri).upload(path, f"{lake.table_uri(table)}/{name}")
    else:
        folder = Path(lake.table_uri(table))
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(path, folder / name)
    return name


def replace_table(
    lake: Lake,
    table: str,
    *,
    file_name: str,
    size_bytes: int,
    rows: int,
    columns: Mapping[str, str],
    metadata: Mapping[str, Any],
) -> None:
    """Commit the placed file as the whole content of the table; `columns` are its neutral types."""
    replace_files(lake, table, files=[PlacedFile(file_name, size_bytes, rows)], columns=columns, metadata=metadata)


def replace_files(
    lake: Lake, table: str, *, files: Sequence[PlacedFile], columns: Mapping[str, str], metadata: Mapping[str, Any]
) -> None:
    """The same with any number of files, which lie in the table's folder already."""
    schema = Schema.from_json(json.dumps(_schema(columns)))
    actions = [
        AddAction(
            path=file.name,
            size=file.size_bytes,
            partition_values={},
            modification_time=int(time.time() * 1000),
            data_change=True,
            stats=json.dumps({} if file.rows is None else {"numRecords": file.rows}),
        )
        for file in files
    ]
    properties = CommitProperties(custom_metadata=dict(metadata))
    try:
        try:
            delta = lake.delta(table)
        except LakeError as error:
            if not isinstance(error.__context__, TableNotFoundError):
                raise
            create_table_with_add_actions(
                lake.table_uri(table),
                schema,
                actions,
                mode="error",
                storage_options=lake.storage_options(),
                commit_properties=properties,
            )
            return
        delta.create_write_transaction([*actions], "overwrite", schema, [], commit_properties=properties)
        delta.vacuum(KEEP_OLD_FILES_HOURS, dry_run=False, enforce_retention_duration=False)
    except (DeltaError, OSError) as error:
        raise BuildError(
            f"table {table} could not be written to {lake.uri}: {str(error).splitlines()[0]}; the old one is unharmed"
        ) from error


def _schema(columns: Mapping[str, str]) -> dict[str, Any]:
    return {"type": "struct", "fields": [delta_field(name, kind) for name, kind in columns.items()]}
