"""What an engine that reads data files itself has to know of a table: its columns in Arrow's types and its files."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from polku_analytics.lake import Lake, TableSnapshot, open_duckdb, relation_sql


class Files(Struct, frozen=True):
    """Files that lack the same columns, because their values stand only in the table's log."""

    paths: tuple[str, ...]
    partition: Mapping[str, str | None]


def arrow_schema(columns: Mapping[str, str]) -> pa.Schema:
    """Columns by the names of DuckDB's types as Arrow has them."""
    if not columns:
        return pa.schema([])
    schema: pa.Schema = open_duckdb().sql(relation_sql(columns, [])).to_arrow_table().schema
    return schema


def files_of(lake: Lake, snapshot: TableSnapshot) -> list[Files]:
    """The files of one version of a table: one group where they hold all columns, else one a partition.

    Our own files hold the partition columns too; those of other writers, as Delta allows, may not.
    """
    if not snapshot.files:
        return []
    paths = lake.local_paths(snapshot.files)
    if set(snapshot.partition_columns) <= set(pq.read_schema(paths[0]).names):
        return [Files(tuple(paths), {})]
    groups: dict[tuple[tuple[str, str | None], ...], list[str]] = {}
    for file, path in zip(snapshot.files, paths, strict=True):
        groups.setdefault(tuple(file.partition.items()), []).append(path)
    return [Files(tuple(members), dict(key)) for key, members in groups.items()]
