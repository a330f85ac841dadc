"""What an engine that reads data files itself has to know of a table: its columns in Arrow's types and its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from polku_analytics.lake import Lake, TableSnapshot, open_duckdb, relation_sql

KEPT_IN_ORDER: Final[Mapping[str, tuple[str, str]]] = {"touchpoints": ("person_key", "touchpoint_number")}
"""Tables whose files hold their rows by these two columns, as the model says; all rows of a person are of one build."""

MANY_RUNS: Final = 32
"""To merge more is not worth it. A build of what is new merges small files when there are a dozen of them."""


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


def files_in_runs(paths: Sequence[str], by: tuple[str, str]) -> list[list[int]]:
    """The places of the files in runs, in each of which the rows of one file follow those of the file before.

    Files of one build are one run; what later builds have added overlaps with it. No runs where files do not say what
    they hold, or where there would be too many.
    """
    spans = []
    for place, path in enumerate(paths):
        ends = [_ends(pq.read_metadata(path), column) for column in by]
        if ends[0] is None or ends[1] is None:
            return []
        (low, high), (first, _) = ends[0], ends[1]
        # Where one person fills several files, they differ in the number alone.
        spans.append((low, high, first, place))
    runs: list[list[int]] = []
    ends_at: list[int] = []
    for low, high, _, place in sorted(spans):
        number = next((number for number, end in enumerate(ends_at) if end <= low), len(runs))
        if number == len(runs):
            runs.append([])
            ends_at.append(high)
        runs[number].append(place)
        ends_at[number] = high
    return runs if len(runs) <= MANY_RUNS else []


def _ends(footer: pq.FileMetaData, column: str) -> tuple[int, int] | None:
    """The least and the greatest value of a column in a file."""
    names = footer.schema.to_arrow_schema().names
    if column not in names:
        return None
    place = names.index(column)
    lows, highs = list[int](), list[int]()
    for group in range(footer.num_row_groups):
        found = footer.row_group(group).column(place).statistics
        if found is None or not isinstance(found.min, int) or not isinstance(found.max, int):
            return None
        lows.append(found.min)
        highs.append(found.max)
    return (min(lows), max(highs)) if lows else None
