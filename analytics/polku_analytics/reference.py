"""Reference tables: reading a file of rows, judging it by the plan, and putting it into the lake, by key.

A file is taken whole or not at all. A row whose key is in the table replaces the columns that the file has; the others
keep what they hold.
"""

from __future__ import annotations

import csv
import datetime
import io
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from msgspec import Struct

from polku_analytics.delta_types import quoted
from polku_analytics.errors import LakeError, LoadError, UnknownNameError, near_matches
from polku_analytics.journeys import BUILT_TABLES
from polku_analytics.lake import COLLECTED_TABLES, Lake
from polku_schemas import Plan, ReferenceColumn, ReferenceTable

FileFormat = Literal["csv", "ndjson"]

MAX_FAULTS: Final = 10
"""So many are told at once; the rest are counted."""

_ENDINGS: Final[dict[str, FileFormat]] = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}

_ARROW: Final[dict[str, pa.DataType]] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "date-time": pa.timestamp("us", tz="UTC"),
}


class Loaded(Struct, frozen=True, kw_only=True):
    """What a load did."""

    table: str
    rows: int
    """Rows of the file."""
    updated: int
    inserted: int
    total: int
    """Rows of the table now."""


class Line(Struct, frozen=True):
    """One row of a file, as it stands there."""

    number: int
    values: dict[str, Any]


def load_file(lake: Lake, plan: Plan, name: str, path: str, file_format: FileFormat | None = None) -> Loaded:
    """Put the rows of a file (`-`: standard input) into a reference table of the plan. LoadError lists what is wrong
    with it."""
    table = plan.reference.get(name)
    if table is None:
        raise UnknownNameError("reference table", name, plan.reference)
    if name in (*COLLECTED_TABLES, *BUILT_TABLES):
        raise LoadError(f"{name} is a table that Polku makes itself: give the reference table another name")
    shown = "standard input" if path == "-" else path
    rows = read_rows(table, _text(path), _format_of(path, file_format), shown)
    return _upsert(lake, table, rows)


def read_rows(table: ReferenceTable, text: str, file_format: FileFormat, shown: str) -> pa.Table:
    """The rows of a text, judged by the table's columns. LoadError lists what is wrong, each with its line."""
    faults: list[str] = []
    columns, lines = (_csv_lines if file_format == "csv" else _ndjson_lines)(text, faults)
    for column in columns:
        if column not in table.columns:
            near = near_matches(column, {known: known for known in table.columns})
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(table.columns)}"
            faults.append(f"unknown column {column!r}: {hint}")
    given = [column for column in table.columns if column in columns]
    needed = [name for name, column in table.columns.items() if column.required]
    if columns:
        faults += [f"no column {name!r}, which every row needs" for name in needed if name not in columns]
    # A part of the key that may be empty may also be left out: it is empty then.
    given += [key for key in table.keys if key not in given]
    values: dict[str, list[Any]] = {column: [] for column in given}
    seen: dict[tuple[Any, ...], int] = {}
    for line in lines:
        row = {}
        for column in given:
            try:
                row[column] = _value(table.columns[column], line.values.get(column))
            except ValueError as error:
                faults.append(f"line {line.number}: {column} {error}")
                row[column] = None
            values[column].append(row[column])
        key = tuple(row.get(column) for column in table.keys)
        first = seen.setdefault(key, line.number)
        whole = all(row.get(column) is not None for column in table.keys if table.columns[column].required)
        if first != line.number and whole:
            named = ", ".join(f"{column} {value or '(none)'}" for column, value in zip(table.keys, key, strict=True))
            faults.append(f"line {line.number}: {named} stands in line {first} already")
    if not lines and not faults:
        faults.append("there are no rows")
    if faults:
        raise LoadError(_told(shown, faults))
    return pa.table({column: pa.array(values[column], _ARROW[table.columns[column].type]) for column in given})


def _told(shown: str, faults: Sequence[str]) -> str:
    more = [f"… and {len(faults) - MAX_FAULTS} more"] if len(faults) > MAX_FAULTS else []
    return "\n  ".join([f"{shown} was not loaded, nothing is changed:", *faults[:MAX_FAULTS], *more])


def _format_of(path: str, asked: FileFormat | None) -> FileFormat:
    found = asked or _ENDINGS.get(Path(path).suffix.lower())
    if found is None:
        raise LoadError(f"{path}: the format is not known by its name: end it with .csv or .ndjson, or give --format")
    return found


def _text(path: str) -> str:
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise LoadError(f"{path}, line {line}: this is not UTF-8; save the file as UTF-8") from None


def _csv_lines(text: str, faults: list[str]) -> tuple[list[str], list[Line]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines: list[Line] = []
    columns: list[str] = []
    try:
        columns = [name.strip() for name in next(reader, [])]
        if len(columns) == 1 and (";" in columns[0] or "\t" in columns[0]):
            faults.append("the columns are not separated by commas: write CSV with commas")
            return [], []
        faults += [
            f"column {name!r} stands in the header twice" for name in dict.fromkeys(columns) if _twice(columns, name)
        ]
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(columns):
                faults.append(f"line {reader.line_num}: {len(cells)} values for {len(columns)} columns")
                continue
            named = zip(columns, cells, strict=True)
            lines.append(Line(reader.line_num, {name: cell.strip() or None for name, cell in named}))
    except csv.Error as error:
        faults.append(f"line {reader.line_num}: {error}")
    return columns, lines


def _twice(columns: Sequence[str], name: str) -> bool:
    return columns.count(name) > 1


def _ndjson_lines(text: str, faults: list[str]) -> tuple[list[str], list[Line]]:
    lines, columns = [], {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            values = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            faults.append(f"line {number}: this is not JSON: {error}")
            continue
        if not isinstance(values, dict):
            faults.append(f"line {number}: this is no object: write one object a line")
            continue
        lines.append(Line(number, values))
        columns.update(dict.fromkeys(values))
    return list(columns), lines


def _value(column: ReferenceColumn, value: Any) -> Any:
    """The value in the column's type; ValueError says why it cannot be that."""
    if value is None:
        if column.required:
            raise ValueError("is missing")
        return None
    if isinstance(value, str) and column.type != "string":
        value = value.strip()
    try:
        return _READERS[column.type](value)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"is not {_KINDS[column.type]}: {value!r}") from None


def _string(value: Any) -> str:
    if isinstance(value, bool | list | dict):
        raise TypeError
    return str(value)


def _integer(value: Any) -> int:
    if isinstance(value, bool | list | dict) or (isinstance(value, float) and not value.is_integer()):
        raise TypeError
    number = int(value)
    if not -(2**63) <= number < 2**63:
        raise OverflowError
    return number


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    number = float(value)
    if number - number != 0:  # infinite, or not a number
        raise ValueError
    return number


def _boolean(value: Any) -> bool:
    found = {"true": True, "false": False}.get(value.lower() if isinstance(value, str) else value)
    if isinstance(value, bool):
        return value
    if found is None:
        raise ValueError
    return found


def _moment(value: Any) -> datetime.datetime:
    at = datetime.datetime.fromisoformat(value)
    return at.replace(tzinfo=datetime.UTC) if at.tzinfo is None else at.astimezone(datetime.UTC)


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "date": datetime.date.fromisoformat,
    "date-time": _moment,
}
_KINDS: Final = {
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "date": "a date such as 2026-01-31",
    "date-time": "a time such as 2026-01-31T12:00:00+02:00",
}


def _upsert(lake: Lake, table: ReferenceTable, rows: pa.Table) -> Loaded:
    """One Delta commit; somebody else's at the same moment is not lost: the two are done one after the other."""
    schema = pa.schema([(name, _ARROW[column.type]) for name, column in table.columns.items()])
    try:
        delta = _table_of(lake, table.name, schema)
        held = {field.name for field in delta.schema().fields}
        same = [f"(kept.{_name(key)} = new.{_name(key)})" for key in table.keys]
        either = [f"(kept.{_name(key)} IS NULL AND new.{_name(key)} IS NULL)" for key in table.keys]
        predicate = " AND ".join(f"({equal} OR {null})" for equal, null in zip(same, either, strict=True))
        values = {_name(name): f"new.{_name(name)}" for name in rows.column_names}
        merger = delta.merge(
            rows, predicate, source_alias="new", target_alias="kept", merge_schema=not held >= set(rows.column_names)
        )
        merger = merger.when_matched_update(
            {n: v for n, v in values.items() if n.strip('"') not in table.keys} or values
        )
        told = merger.when_not_matched_insert(values).execute()
    except (DeltaError, OSError) as error:
        raise LoadError(
            f"table {table.name} could not be written to {lake.uri}: {str(error).splitlines()[0]}"
        ) from error
    updated, inserted = int(told["num_target_rows_updated"]), int(told["num_target_rows_inserted"])
    return Loaded(
        table=table.name,
        rows=rows.num_rows,
        updated=updated,
        inserted=inserted,
        total=updated + inserted + int(told["num_target_rows_copied"]),
    )


def _table_of(lake: Lake, name: str, schema: pa.Schema) -> DeltaTable:
    try:
        return lake.delta(name)
    except LakeError as error:
        if not isinstance(error.__context__, TableNotFoundError):
            raise
    try:
        return DeltaTable.create(
            lake.table_uri(name),
            schema=schema,
            mode="ignore",
            storage_options=lake.storage_options(),
            # Tried again, deltalake would begin a table that is there by now anew.
            commit_properties=CommitProperties(max_commit_retries=0),
        )
    except CommitFailedError:  # another load was first
        return lake.delta(name)


def _name(column: str) -> str:
    return quoted(column)


def described(table: ReferenceTable) -> Iterator[list[Any]]:
    """The columns of a table, as rows for people."""
    for name, column in table.columns.items():
        yield [
            name,
            column.type,
            "key" if name in table.keys else "required" if column.required else "",
            column.description,
        ]
