"""`polku build`: from the events of a lake to its journey tables, all of them, in dependency order.

Every table is computed before the first one is replaced, and all carry the id of the build, so that a reader can tell
whether what it holds belongs together.
"""

from __future__ import annotations

import datetime
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
from msgspec import Struct, structs

from polku_analytics.delta_types import duckdb_type_of_neutral, literal, neutral_type, quoted
from polku_analytics.errors import BuildError
from polku_analytics.identity import resolve_identity
from polku_analytics.lake import Lake, attach, connect, relation_sql
from polku_analytics.model_files import (
    REFERENCE_TABLES,
    Model,
    expected_event_columns,
    fill,
    fillings,
    read_models,
    run_order,
)
from polku_analytics.publish import place_file, replace_table
from polku_schemas import Plan

_IDENTITY = Model(
    name="person_links",
    grain="user id, or piece of the timeline of an anonymous id",
    keys="anonymous_id, valid_from, user_id",
    inputs=("unique_events",),
    order="anonymous_id, valid_from, user_id",
    stored="yes",
    definition="which ids are one person (identity.py)",
    sql="SELECT * FROM person_links",
)


class BuiltTable(Struct, frozen=True):
    """One table of a build: how many rows it has and how many seconds it took to compute."""

    name: str
    rows: int
    seconds: float


class Build(Struct, frozen=True, kw_only=True):
    """What a build did."""

    build_id: str
    tables: tuple[BuiltTable, ...]
    """Those that are in the lake now."""
    steps: tuple[BuiltTable, ...]
    """What was computed on the way and not kept."""
    events: int
    """Events that count: bots and second copies left out."""
    bot_events: int
    duplicate_events: int
    unplaced_events: Mapping[str, int]
    """Event names of the lake that the plan does not know, with their counts."""
    as_of: datetime.datetime | None
    """The time of the newest event; None when there are no events."""
    seconds: float


def build(lake: Lake, plan: Plan, progress: Callable[[str], None] = lambda text: None) -> Build:
    """Compute all models over everything in the lake and replace their tables. `progress` is told what comes next."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="polku-build-") as scratch:
        connection = connect(lake, ["events"], expected={"events": expected_event_columns(plan)})
        try:
            attach_reference_tables(connection, lake)
            return _build(connection, lake, plan, Path(scratch), progress, started)
        except duckdb.Error as error:
            raise BuildError(f"the models could not be computed: {str(error).splitlines()[0]}") from error
        finally:
            connection.close()


def _build(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    plan: Plan,
    scratch: Path,
    progress: Callable[[str], None],
    started: float,
) -> Build:
    progress("events: counting each once")
    duplicates = count_events_once(connection)
    counts = _counts(connection, plan)

    progress("identity")
    clock = time.perf_counter()
    resolve_identity(connection)
    pending = [_compute(connection, _IDENTITY, _IDENTITY.sql, scratch, clock)]

    filled = fillings(plan, {row[0]: row[1] for row in connection.execute("DESCRIBE events").fetchall()})
    for model in run_order(read_models()):
        progress(model.name)
        clock = time.perf_counter()
        sql = fill(model.sql, filled)
        if model.stored == "view":
            connection.execute(f"CREATE TEMP VIEW {quoted(model.name)} AS {sql}")
            continue
        pending.append(_compute(connection, model, sql, scratch, clock))

    progress("publishing")
    build_id = uuid.uuid4().hex
    as_of: datetime.datetime | None = counts["as_of"]
    metadata = {
        "polku_build": build_id,
        "polku_as_of": as_of.isoformat() if as_of else "",
        "polku_plan": plan.fingerprint,
        "polku_bot_events": str(counts["bots"]),
        "polku_unplaced_events": str(sum(counts["unplaced"].values())),
    }
    stored = [table for table in pending if table.model.stored == "yes"]
    placed = [(table, table.path.stat().st_size, place_file(lake, table.model.name, table.path)) for table in stored]
    for table, size, file_name in placed:
        replace_table(
            lake,
            table.model.name,
            file_name=file_name,
            size_bytes=size,
            rows=table.rows,
            columns=table.columns,
            metadata=metadata,
        )
    return Build(
        build_id=build_id,
        tables=tuple(_told(table) for table in stored),
        steps=tuple(_told(table) for table in pending if table.model.stored != "yes"),
        events=counts["events"],
        bot_events=counts["bots"],
        duplicate_events=duplicates,
        unplaced_events=counts["unplaced"],
        as_of=as_of,
        seconds=time.perf_counter() - started,
    )


class _Computed(Struct, frozen=True):
    """A model's result in the scratch folder."""

    model: Model
    path: Path
    rows: int
    columns: Mapping[str, str]
    seconds: float


def _told(table: _Computed) -> BuiltTable:
    return BuiltTable(table.model.name, table.rows, round(table.seconds, 3))


def attach_reference_tables(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """A view for each reference table that models read; an empty one for what was not loaded.

    A plan may give the columns other types than the models expect; what does not fit is null.
    """
    present = lake.tables()
    for name, columns in REFERENCE_TABLES.items():
        expected = {column: duckdb_type_of_neutral(kind) for column, kind in columns.items()}
        source = f"({relation_sql(expected, [])})"
        if name in present:
            snapshot = structs.replace(lake.snapshot(name), name=f"loaded_{name}")
            attach(connection, lake, snapshot, expected)
            source = quoted(snapshot.name)
        terms = ", ".join(
            f"TRY_CAST({quoted(column)} AS {kind}) AS {quoted(column)}" for column, kind in expected.items()
        )
        connection.execute(f"CREATE TEMP VIEW {quoted(name)} AS SELECT {terms} FROM {source}")


def count_events_once(connection: duckdb.DuckDBPyConnection) -> int:
    """Make the view `unique_events`: no bots, and each (source, event_id) once, the copy received first.

    Returns how many copies are left out. Finding them by a hash of the two keeps the cost at one narrow scan.
    """
    connection.execute("""
        CREATE TEMP TABLE repeated_events AS
        WITH suspects AS (
          SELECT HASH(source, event_id) AS id_hash FROM events GROUP BY id_hash HAVING COUNT(*) > 1
        )
        SELECT *
        FROM (
          SELECT *, ROW_NUMBER() OVER (PARTITION BY source, event_id ORDER BY received_at, stream, sequence) AS copy
          FROM events
          WHERE HASH(source, event_id) IN (SELECT id_hash FROM suspects)
        )
    """)
    copies = connection.execute("SELECT COUNT(*) FROM repeated_events WHERE copy > 1").fetchall()[0][0]
    if copies:
        connection.execute("""
            CREATE TEMP VIEW unique_events AS
            SELECT * FROM events
            WHERE NOT COALESCE(is_bot, FALSE)
              AND HASH(source, event_id) NOT IN (SELECT HASH(source, event_id) FROM repeated_events)
            UNION ALL
            SELECT * EXCLUDE (copy) FROM repeated_events WHERE copy = 1 AND NOT COALESCE(is_bot, FALSE)
        """)
    else:
        connection.execute("CREATE TEMP VIEW unique_events AS SELECT * FROM events WHERE NOT COALESCE(is_bot, FALSE)")
    return int(copies)


def _counts(connection: duckdb.DuckDBPyConnection, plan: Plan) -> dict[str, Any]:
    rows = connection.execute(
        "SELECT event_name, event_type, COUNT(*), EPOCH_US(MAX(event_time)) FROM unique_events GROUP BY ALL"
    ).fetchall()
    bots = connection.execute("SELECT COUNT(*) FROM events WHERE COALESCE(is_bot, FALSE)").fetchall()[0][0]
    newest = max((row[3] for row in rows if row[3] is not None), default=None)
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    unplaced: dict[str, int] = {}
    for name, kind, count, _ in rows:
        if kind not in ("identify", "group", "alias") and name not in plan.events:
            unplaced[str(name)] = unplaced.get(str(name), 0) + count
    return {
        "events": sum(row[2] for row in rows),
        "bots": bots,
        "unplaced": dict(sorted(unplaced.items(), key=lambda item: (-item[1], item[0]))),
        "as_of": None if newest is None else epoch + datetime.timedelta(microseconds=newest),
    }


def _compute(connection: duckdb.DuckDBPyConnection, model: Model, sql: str, scratch: Path, clock: float) -> _Computed:
    """Write the model to a Parquet file with only types every engine reads, and let later models read it from there."""
    described = connection.execute(f"DESCRIBE {sql}").fetchall()
    columns = {
        row[0]: neutral_type(row[1], f"{model.name}.{row[0]}") if model.stored == "yes" else "" for row in described
    }
    terms = [_stored_column(name, columns[name], row_type) for name, row_type, *_ in described]
    order = f" ORDER BY {model.order}" if model.order else ""
    path = scratch / f"{model.name}.parquet"
    stats = connection.execute(
        f"COPY (SELECT {', '.join(terms)} FROM ({sql}){order}) TO {literal(str(path))} "
        f"(FORMAT parquet, COMPRESSION {'zstd' if model.stored == 'yes' else 'lz4_raw'}, RETURN_STATS)"
    ).fetchall()
    if model.name != _IDENTITY.name:
        connection.execute(f"CREATE TEMP VIEW {quoted(model.name)} AS SELECT * FROM read_parquet({literal(str(path))})")
    rows = sum(row[1] for row in stats)
    return _Computed(model, path, int(rows), columns, time.perf_counter() - clock)


_DUCKDB = {
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
