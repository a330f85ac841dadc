"""How numbers lie in the files of the tables: short, and in no way that an engine of today refuses to read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest

from polku_analytics.build import build
from polku_analytics.lake import Lake
from polku_schemas import Plan

READABLE = {"PLAIN", "PLAIN_DICTIONARY", "RLE_DICTIONARY", "RLE", "DELTA_BINARY_PACKED", "DELTA_LENGTH_BYTE_ARRAY"}
"""What the vectorized reader of Spark 3.4 reads, and every other engine of docs/query."""
ORDERS = 4_000  # more different sums than there is a dictionary for


def encodings(lake: Lake, table: str) -> dict[str, set[str]]:
    """Those of each column of a table."""
    found: dict[str, set[str]] = {}
    for path in lake.local_paths(lake.snapshot(table).files):
        metadata = pq.read_metadata(path)
        for group in range(metadata.num_row_groups):
            columns = [metadata.row_group(group).column(number) for number in range(metadata.num_columns)]
            for column in columns:
                found.setdefault(column.path_in_schema, set()).update(column.encodings)
    return found


def orders(event: Callable[..., dict[str, Any]], sums: int) -> list[dict[str, Any]]:
    return [
        event("order_completed", n * 100, user_id=f"u{n % 300}", order_id=f"o{n}", revenue=1 + n % sums / 100)
        for n in range(ORDERS)
    ]


@pytest.mark.parametrize("sums", [100, ORDERS])
def test_every_table_is_written_so_that_every_engine_reads_it(
    make_lake: Callable[..., Lake], plan: Plan, event: Callable[..., dict[str, Any]], sums: int
) -> None:
    lake = make_lake(orders(event, sums))
    tables = build(lake, plan).tables
    for table in tables:
        for column, found in encodings(lake, table.name).items():
            assert found <= READABLE, f"{table.name}.{column}"
    touchpoints = encodings(lake, "touchpoints")
    assert ("DELTA_BINARY_PACKED" in touchpoints["event_time"]) is (sums == 100), "where it can be it is short"
    lies = [
        row for path in lake.local_paths(lake.snapshot("touchpoints").files) for row in pq.read_table(path).to_pylist()
    ]
    assert [row["revenue"] for row in lies] == [
        1 + n % sums / 100
        for _, _, n in sorted((row["person_key"], row["touchpoint_number"], int(row["order_id"][1:])) for row in lies)
    ]
