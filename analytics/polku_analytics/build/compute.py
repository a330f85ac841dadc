"""Running the models: each event counted once, then one model after the other, into files of a scratch folder."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import duckdb
from msgspec import Struct

from polku_analytics.build.record import Counts
from polku_analytics.delta_types import duckdb_type_of_neutral, literal, neutral_type, quoted
from polku_analytics.model_files import Filling, Model, fill
from polku_schemas import Plan

ROWS_A_FILE: Final = 122_880
"""Of a table in the lake. An incremental build writes again the files that hold a row which has changed."""

_FEW_NUMBERS: Final = frozenset(("touchpoints",))
"""Tables with numbers that are no whole ones in few of their rows. See `_readable`."""

LINKS: Final = Model(
    name="person_links",
    grain="user id, or piece of the timeline of an anonymous id",
    keys="anonymous_id, valid_from, user_id",
    inputs=("unique_events",),
    order="anonymous_id, valid_from, user_id",
    stored="yes",
    increment="person",
    definition="which ids are one person (identity.py)",
    sql="SELECT * FROM person_links",
)
"""What identity leaves in the lake."""

COPIES: Final = Model(
    name="event_copies",
    grain="event that came more than once under one id",
    keys="stream, sequence",
    inputs=("events",),
    order="source, event_id, stream, sequence",
    stored="yes",
    increment="whole",
    definition="copies of events: equal source and event id; the one received first counts",
    sql="""
        SELECT source, event_id, stream, sequence, user_id, anonymous_id, copy = 1 AS counted FROM repeated_events
    """,
)
"""What counting each event once leaves in the lake."""


class NewFile(Struct, frozen=True):
    """A Parquet file of the scratch folder that is to become one of a table."""

    path: Path
    rows: int
    size_bytes: int


class Computed(Struct, frozen=True):
    """A model's result."""

    model: Model
    files: tuple[NewFile, ...]
    columns: Mapping[str, str]
    """Neutral types; of a table that stays in the lake."""
    seconds: float

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)


def count_events_once(connection: duckdb.DuckDBPyConnection, events: str = "events") -> int:
    """Make the view `unique_events`: no bots, and each (source, event_id) once, the copy received first.

    Returns how many copies are left out. Finding them by a hash of the two keeps the cost at one narrow scan.
    """
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE repeated_events AS
        WITH suspects AS (
          SELECT HASH(source, event_id) AS id_hash FROM {events} GROUP BY id_hash HAVING COUNT(*) > 1
        )
        SELECT *
        FROM (
          SELECT *, ROW_NUMBER() OVER (PARTITION BY source, event_id ORDER BY received_at, stream, sequence) AS copy
          FROM {events}
          WHERE HASH(source, event_id) IN (SELECT id_hash FROM suspects)
        )
    """)
    copies = connection.execute("SELECT COUNT(*) FROM repeated_events WHERE copy > 1").fetchall()[0][0]
    more = ""
    if copies:
        more = """
            AND HASH(source, event_id) NOT IN (SELECT HASH(source, event_id) FROM repeated_events)
            UNION ALL
            SELECT * EXCLUDE (copy) FROM repeated_events WHERE copy = 1 AND NOT COALESCE(is_bot, FALSE)
        """
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW unique_events AS SELECT * FROM {events} WHERE NOT COALESCE(is_bot, FALSE) {more}"
    )
    return int(copies)


def count(
    connection: duckdb.DuckDBPyConnection, plan: Plan, copies: int, events: str
) -> tuple[Counts, datetime.datetime | None]:
    """What has become of the events, and the time of the newest that counts."""
    rows = connection.execute(
        "SELECT event_name, event_type, COUNT(*), EPOCH_US(MAX(event_time)) FROM unique_events GROUP BY ALL"
    ).fetchall()
    held = connection.execute(f"SELECT COUNT(*) FROM {events}").fetchall()[0][0]
    newest = max((row[3] for row in rows if row[3] is not None), default=None)
    return counts_of(plan, [row[:3] for row in rows], held, copies), moment(newest)


def counts_of(plan: Plan, counted: Iterable[tuple[str | None, str, int]], held: int, copies: int) -> Counts:
    """The counts, given how many events of each name and type count, of the rows that are held; the rest are bots'."""
    events, unplaced = 0, dict[str, int]()
    for name, kind, number in counted:
        events += number
        if kind not in ("identify", "group", "alias") and name not in plan.events:
            unplaced[str(name)] = unplaced.get(str(name), 0) + number
    return Counts(events=events, bots=held - events - copies, copies=copies, unplaced=unplaced)


def newest_counted(connection: duckdb.DuckDBPyConnection, copies: Computed) -> datetime.datetime | None:
    """The time of the newest event that counts, of all in `events`; `copies` is what `event_copies` will hold."""
    listed = ", ".join(literal(str(file.path)) for file in copies.files)
    rows = connection.execute(
        "SELECT EPOCH_US(MAX(event_time)) FROM events WHERE NOT COALESCE(is_bot, FALSE) AND (stream, sequence) NOT IN "
        f"(SELECT stream, sequence FROM read_parquet([{listed}]) WHERE NOT counted)"
    ).fetchall()
    return moment(rows[0][0])


def moment(microseconds: int | None) -> datetime.datetime | None:
    """Microseconds since 1970 as a time in UTC."""
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return None if microseconds is None else epoch + datetime.timedelta(microseconds=microseconds)


def run_models(
    connection: duckdb.DuckDBPyConnection,
    models: Iterable[Model],
    filled: Mapping[str, Filling],
    scratch: Path,
    progress: Callable[[str], None],
) -> list[Computed]:
    """Compute models in this order; each is a view for the later ones."""
    computed = []
    for model in models:
        progress(model.name)
        clock = time.perf_counter()
        sql = fill(model.sql, filled)
        if model.stored == "view":
            connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(model.name)} AS {sql}")
            continue
        computed.append(compute(connection, model, sql, scratch, clock))
    return computed


def compute(connection: duckdb.DuckDBPyConnection, model: Model, sql: str, scratch: Path, clock: float) -> Computed:
    """Write a model's rows with only types that every engine reads, and let later models read them from there."""
    described = connection.execute(f"DESCRIBE {sql}").fetchall()
    stored = model.stored == "yes"
    columns = {row[0]: neutral_type(row[1], f"{model.name}.{row[0]}") if stored else "" for row in described}
    terms = ", ".join(_stored_column(name, columns[name], row_type) for name, row_type, *_ in described)
    files = write_files(connection, f"SELECT {terms} FROM ({sql})", model, columns, scratch / model.name)
    if model.name != LINKS.name:
        read_as(connection, model.name, [file.path for file in files])
    return Computed(model, files, columns, time.perf_counter() - clock)


def read_as(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    paths: Iterable[Path | str],
    columns: Mapping[str, str] | None = None,
) -> None:
    """Let the rows of files be read under a name; `columns` are the neutral types, where there may be no file."""
    listed = ", ".join(literal(str(path)) for path in paths)
    rows = f"SELECT * FROM read_parquet([{listed}])" if listed else no_rows(columns or {})
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS {rows}")


def no_rows(columns: Mapping[str, str]) -> str:
    """A query of these columns (neutral types) that has no rows: a table may have no file."""
    nulls = (f"CAST(NULL AS {duckdb_type_of_neutral(kind)}) AS {quoted(name)}" for name, kind in columns.items())
    return f"SELECT {', '.join(nulls)} WHERE FALSE"


def write_files(
    connection: duckdb.DuckDBPyConnection, sql: str, model: Model, columns: Mapping[str, str], folder: Path
) -> tuple[NewFile, ...]:
    """Write rows in the model's order; a table that stays in the lake as files of `ROWS_A_FILE` rows.

    `columns`: their neutral types, of a table that stays in the lake.
    """
    order = f" ORDER BY {model.order}" if model.order else ""
    # Ids and times repeat too little for a dictionary; trying longer cost a sixth of the writing, and larger files.
    short = "DICTIONARY_SIZE_LIMIT 3000"
    if model.stored != "yes":
        return _copied(connection, sql + order, folder.with_suffix(".parquet"), f"COMPRESSION lz4_raw, {short}")
    how = f"COMPRESSION zstd, ROW_GROUP_SIZE {ROWS_A_FILE}, {short}"
    has_numbers = "double" in columns.values()
    is_compact = not has_numbers or model.name in _FEW_NUMBERS
    encodings = ", PARQUET_VERSION V2" if is_compact else ""
    written = _copied(connection, sql + order, folder, f"{how}, ROW_GROUPS_PER_FILE 1{encodings}")
    return _readable(connection, written, how) if is_compact and has_numbers else written


def _copied(connection: duckdb.DuckDBPyConnection, sql: str, target: Path, how: str) -> tuple[NewFile, ...]:
    written = connection.execute(f"COPY ({sql}) TO {literal(str(target))} (FORMAT parquet, {how}, RETURN_STATS)")
    return tuple(NewFile(Path(name), rows, size) for name, rows, size, *_ in written.fetchall())


def _readable(connection: duckdb.DuckDBPyConnection, files: Sequence[NewFile], how: str) -> tuple[NewFile, ...]:
    """The same rows without an encoding of numbers that Spark before 4.2 refuses to read.

    DuckDB's second version of Parquet writes whole numbers and times as differences, which is a third less of
    `touchpoints` and half of the time to read them (measured), and every engine reads it. But of other numbers that
    differ too much for a dictionary it splits the bytes. Files that have such are written again in the first version.
    """
    listed = ", ".join(literal(str(file.path)) for file in files)
    split = connection.execute(
        f"SELECT DISTINCT file_name FROM parquet_metadata([{listed}]) WHERE encodings LIKE '%BYTE_STREAM_SPLIT%'"
    )
    names = {name for (name,) in split.fetchall()}
    readable: list[NewFile] = []
    for file in files:
        if str(file.path) in names:
            rows = f"SELECT * FROM read_parquet({literal(str(file.path))})"  # in their order
            again = file.path.with_suffix(".v1.parquet")
            readable += _copied(connection, rows, again, how)
            file.path.unlink()
        else:
            readable.append(file)
    return tuple(readable)


_DUCKDB: Final = {
    "string": "VARCHAR",
    "long": "BIGINT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
}


def _stored_column(name: str, neutral: str, kind: str) -> str:
    wanted = _DUCKDB.get(neutral)
    if wanted is None or wanted == kind:
        return quoted(name)
    return f"CAST({quoted(name)} AS {wanted}) AS {quoted(name)}"
