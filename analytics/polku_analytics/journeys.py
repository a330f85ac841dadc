"""The built tables, opened together: what every analysis reads, and what is known about the build they come from."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import duckdb
from msgspec import Struct

from polku_analytics.errors import LakeError, MissingTableError, QueryError
from polku_analytics.lake import Lake, Period, TableSnapshot, attach, open_duckdb
from polku_analytics.model_files import expected_event_columns
from polku_schemas import Plan

TABLES: Final = ("persons", "touchpoints", "sessions", "stages", "transitions", "orders")
"""What `open_journeys` opens; `events` joins them when a question needs a property."""

BUILT_TABLES: Final = (*TABLES, "person_links")
"""All that `polku build` leaves in a lake."""

_MISSING_TABLE: Final = re.compile(r"Table with name (?P<name>\S+) does not exist")
"""How DuckDB says so; its own suggestions are tables of its catalog, which are not the lake's."""

_TRIES: Final = 5
"""How often a set of tables is opened before giving up on a build that is being published at this moment."""


class Journeys(Struct, frozen=True, kw_only=True):
    """An open connection with a view per table, all of one build."""

    connection: duckdb.DuckDBPyConnection
    lake: Lake
    plan: Plan
    build_id: str
    as_of: datetime.datetime | None
    """The time of the newest event of the build."""
    bot_events: int
    """Events of bots, which no table but `events` holds."""
    unplaced_events: int
    """Events whose name the plan does not know: they have a touchpoint and no stage."""

    def coverage(self, period: Period) -> dict[str, Any]:
        """What stands behind an answer over the period: people, touchpoints, first and last event, what is left out."""
        people, touchpoints, first, last = self.rows(
            "SELECT COUNT(DISTINCT person_key), COUNT(*), MIN(event_time), MAX(event_time) "
            f"FROM touchpoints WHERE {period_sql(period)}"
        )[0]
        return {
            "people": people,
            "touchpoints": touchpoints,
            "first_event": first,
            "last_event": last,
            "bot_events_left_out": self.bot_events,
            "unplaced_events": self.unplaced_events,
        }

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query; times are aware, in UTC."""
        return run_sql(self.connection, sql, parameters)[1]

    def with_events(self) -> None:
        """Open `events` too, with every column of the plan."""
        attach(self.connection, self.lake, self.lake.snapshot("events"), expected_event_columns(self.plan))


def open_journeys(lake: Lake, plan: Plan, tables: Iterable[str] = TABLES) -> Journeys:
    """Open tables of one and the same build. LakeError says what to run if there is none."""
    names = list(tables)
    for _ in range(_TRIES):
        snapshots = [lake.snapshot(name) for name in names]
        builds = {str(snapshot.metadata.get("polku_build", "")) for snapshot in snapshots}
        if len(builds) == 1:
            connection = open_duckdb()
            for snapshot in snapshots:
                attach(connection, lake, snapshot, {})
            return _journeys(connection, lake, plan, snapshots[0])
    raise LakeError(f"the tables in {lake.uri} come from different builds: run `polku build` again")


def run_sql(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] = ()
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Column names and rows of a query; QueryError with the engine's words."""
    try:
        relation = connection.sql(sql, params=list(parameters))
        if relation is None:  # a statement that answers nothing
            return [], []
        # Through Arrow: fetchall would want pytz for times.
        table = relation.to_arrow_table()
    except duckdb.Error as error:
        missing = _MISSING_TABLE.search(str(error)) if isinstance(error, duckdb.CatalogException) else None
        if missing is not None:
            raise MissingTableError(missing["name"], engine_words(error)) from error
        raise QueryError(engine_words(error)) from error
    columns = [column.to_pylist() for column in table.columns]
    return list(table.column_names), list(zip(*columns, strict=True))


def engine_words(error: Exception) -> str:
    """What an engine complains about, in one line: without class name, caret and position."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("LINE ", "^"))]
    text = " ".join(kept) or type(error).__name__
    head, _, rest = text.partition(": ")
    return rest if head.endswith("Error") and rest else text


def period_sql(period: Period, alias: str = "") -> str:
    """The condition that a touchpoint happened in the period."""
    column = f"{alias}.event_time" if alias else "event_time"
    terms = []
    if period.since is not None:
        terms.append(f"{column} >= TIMESTAMPTZ '{period.since.isoformat()} 00:00:00+00'")
    if period.until is not None:
        terms.append(f"{column} < TIMESTAMPTZ '{period.until.isoformat()} 00:00:00+00'")
    return " AND ".join(terms) or "TRUE"


def _journeys(connection: duckdb.DuckDBPyConnection, lake: Lake, plan: Plan, snapshot: TableSnapshot) -> Journeys:
    said = snapshot.metadata
    as_of = str(said.get("polku_as_of") or "")
    return Journeys(
        connection=connection,
        lake=lake,
        plan=plan,
        build_id=str(said.get("polku_build", "")),
        as_of=datetime.datetime.fromisoformat(as_of) if as_of else None,
        bot_events=int(said.get("polku_bot_events") or 0),
        unplaced_events=int(said.get("polku_unplaced_events") or 0),
    )
