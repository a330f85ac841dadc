"""What is looked up once for each distinct value stands in every row as if it had been looked up there."""

from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from polku_collector.lake.enriched import coded, enriched, spread, together
from polku_collector.lake.parquet import write_by_day

COLUMNS = ("page_path", "page_url", "referrer")
TEXTS = st.text("ab\x00é", max_size=3) | st.none()
ROWS = st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=30)


def table(rows: list[tuple[Any, ...]], columns: tuple[str, ...] = COLUMNS) -> pa.Table:
    return pa.table({name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate(columns)})


@settings(max_examples=200)
@given(ROWS)
def test_a_number_stands_for_all_that_it_was_made_of(rows: list[tuple[str | None, ...]]) -> None:
    found = coded(table(rows), COLUMNS)
    assert found is not None
    assert found.values.take(found.numbers) == table(rows)
    assert found.values.num_rows == len(set(rows)), "each once"
    assert coded(table(rows), ("utm_source",)) is None


def test_many_distinct_values_of_many_columns_stay_apart() -> None:
    """2**64 combinations and more: their numbers are made anew with each column."""
    size = 3_000
    rows = [tuple(f"{number * (place + 3) % size}" for place in range(7)) for number in range(size)]
    columns = tuple(f"c{place}" for place in range(7))
    found = coded(table(rows, columns), columns)
    assert found is not None and found.values.take(found.numbers) == table(rows, columns)


def said(values: pa.Table) -> pa.Table:
    """A look-up: what the parts are together, and whether there is a page."""
    rows = values.to_pylist()
    return pa.table(
        {
            "said": pa.array([None if not row.get("page_url") else repr(sorted(row.items())) for row in rows]),
            "paged": pa.array([row.get("page_url") is not None for row in rows]),
        },
        schema=pa.schema({"said": pa.string(), "paged": pa.bool_()}),
    )


@settings(max_examples=100)
@given(st.lists(ROWS | st.none(), max_size=4))
def test_every_row_is_given_what_was_found_of_its_value(parts: list[list[tuple[str | None, ...]] | None]) -> None:
    calls: list[int] = []

    def look_up(values: pa.Table) -> pa.Table:
        calls.append(values.num_rows)
        return said(values)

    given_columns = spread(look_up, [None if rows is None else coded(table(rows), COLUMNS) for rows in parts])
    assert len(given_columns) == len(parts) and len(calls) == any(rows is not None for rows in parts)
    for rows, found in zip(parts, given_columns, strict=True):
        if rows is None:
            assert found == {}
        else:
            expected = said(table(rows))
            assert {name: column.to_pylist() for name, column in found.items()} == expected.to_pydict()


def test_rows_are_written_as_their_texts_however_many_there_are(tmp_path: Path) -> None:
    """More texts than a dictionary page takes, in several parts with other columns, of two days, with nulls."""
    days = [date(2026, 11, 22), date(2026, 11, 23)]

    def part(first: int, size: int, column: str) -> tuple[pa.Table, list[dict[str, Any]]]:
        rows = [
            {
                "event_id": f"e{number}",
                "event_date": days[number % 2],
                column: None if number % 11 == 0 else f"https://shop.example/{number % 9_000}/{'x' * 200}",
                "_stream": number % 3,
            }
            for number in range(first, first + size)
        ]
        return pa.Table.from_pylist(rows, pa.schema({**KINDS, column: pa.string(), "_stream": pa.uint32()})), rows

    wanted, parts = [], []
    for first, size, column in ((0, 20_000, "page_url"), (20_000, 15_000, "page_url"), (35_000, 3_000, "referrer")):
        rows, plain = part(first, size, column)
        (found,) = spread(lambda values: values, [coded(rows, [column])])
        parts.append(enriched(rows, found, ["s0", "s1", "s2"]))
        for row in plain:
            row["stream"] = f"s{row.pop('_stream')}"
        wanted += plain
    files = write_by_day(together(parts), tmp_path / "f", "event_date")
    read = [row for file in files for row in pq.ParquetFile(file.path).read().to_pylist()]
    assert [file.rows for file in files] == [19_000, 19_000]
    strip = [{name: value for name, value in row.items() if value is not None} for row in [*read, *wanted]]
    by_id = [sorted(half, key=lambda row: str(row["event_id"])) for half in (strip[: len(read)], strip[len(read) :])]
    assert by_id[0] == by_id[1]
    for file in files:
        schema = pq.read_schema(file.path)
        assert {str(schema.field(name).type) for name in ("page_url", "referrer", "stream")} == {"string"}


KINDS = {"event_id": pa.string(), "event_date": pa.date32()}
