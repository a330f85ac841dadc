"""The built tables, opened together: what every analysis reads, and what is known about the build they come from."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import duckdb
from msgspec import Struct, structs

from polku_analytics.build.record import BuildRecord, newest_record
from polku_analytics.delta_types import duckdb_type_of_neutral
from polku_analytics.engines.choice import open_engine
from polku_analytics.engines.dialect import Dialect
from polku_analytics.engines.duckdb import DuckDB
from polku_analytics.engines.engine import Engine
from polku_analytics.errors import AnalyticsError, LakeError, QueryError
from polku_analytics.fillings import REFERENCE_TABLES, expected_event_columns
from polku_analytics.lake import Lake
from polku_analytics.period import Period
from polku_analytics.session_rules import SessionRules
from polku_schemas import Plan
from polku_schemas.rules import sql_literal

TABLES: Final = (
    "persons",
    "profiles",
    "touchpoints",
    "sessions",
    "stages",
    "transitions",
    *("orders", "order_lines", "revenue", "carts", "checkout_steps", "searches", "deliveries"),
    "contacts",
    "complaints",
    "satisfaction",
    "accounts",
    "journeys",
    "campaign_steps",
    "campaigns",
    "web_vitals",
    "daily_metrics",
)
"""What `open_journeys` opens; `events` joins them when a question needs a property."""

BUILT_TABLES: Final = (*TABLES, "cart_contents", "daily_visits", "preferences", "person_links", "event_copies")
"""The tables of a build: all that `polku build` leaves in a lake, but for its own record, `builds`."""

_STORED_EVENTS: Final = "stored_events"
"""The name of all that `events` holds, copies and bots too, where a question looks at those that count."""

PUSHED_CHANNELS: Final = ("ads", "delivery", "email", "push", "server", "sms")
"""Places of contact where we come to people; a visit is a session that began elsewhere."""


class Journeys(Struct, frozen=True, kw_only=True):
    """An open connection with a view per table, all of one build."""

    engine: Engine
    lake: Lake
    plan: Plan
    record: BuildRecord
    """What the build says of itself."""
    tables: frozenset[str]
    """Those that are open, of the build's."""

    @property
    def build_id(self) -> str:
        """Of the build."""
        return self.record.build_id

    @property
    def as_of(self) -> datetime.datetime | None:
        """The time of the newest event of the build."""
        return self.record.as_of

    @property
    def bot_events(self) -> int:
        """Events of bots, which no table but `events` holds."""
        return self.record.counts.bots

    @property
    def unplaced(self) -> Mapping[str, int]:
        """Names that the plan does not know, and how many events have them: a touchpoint and no stage."""
        return self.record.counts.unplaced

    @property
    def sessions(self) -> SessionRules:
        """Where the build ended sessions."""
        return self.record.sessions

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """DuckDB's connection. AnalyticsError where another engine answers."""
        if not isinstance(self.engine, DuckDB):
            raise AnalyticsError("this needs the embedded engine, DuckDB")
        return self.engine.connection

    def coverage(self, period: Period) -> dict[str, Any]:
        """What stands behind an answer over the period: people, touchpoints, first and last event, what is left out."""
        whole = period.since is None and period.until is None
        if whole and {"persons", "sessions"} <= self.tables:  # far fewer rows, and every touchpoint is in a session
            sql = (
                "SELECT p.people, s.touchpoints, s.first_event, s.last_event "
                "FROM (SELECT COUNT(*) AS people FROM persons WHERE touchpoints > 0) AS p "
                "CROSS JOIN (SELECT SUM(events) AS touchpoints, MIN(started_at) AS first_event, "
                "MAX(ended_at) AS last_event FROM sessions) AS s"
            )
        else:
            sql = (
                "SELECT COUNT(DISTINCT person_key), COUNT(*), MIN(event_time), MAX(event_time) "
                f"FROM touchpoints WHERE {period_sql(period, dialect=self.engine.dialect)}"
            )
        people, touchpoints, first, last = self.rows(sql)[0]
        return {
            "people": people,
            "touchpoints": int(touchpoints or 0),
            "first_event": first,
            "last_event": last,
            "bot_events_left_out": self.bot_events,
            "unplaced_events": sum(self.unplaced.values()),
        }

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a query; times are aware, in UTC."""
        return self.engine.rows(sql)

    def with_events(self) -> None:
        """Open `events` too, with every column of the plan: those that the build counted, each once."""
        stored = structs.replace(self.lake.snapshot("events"), name=_STORED_EVENTS)
        self.engine.open(self.lake, stored, expected_event_columns(self.plan))
        terms, joined = ["NOT COALESCE(e.is_bot, FALSE)"], ""
        copies = self.record.tables.get("event_copies")
        if copies is not None:
            self.engine.open(self.lake, self.lake.snapshot("event_copies", version=copies), {})
            if self.rows("SELECT 1 AS found FROM event_copies WHERE NOT counted LIMIT 1"):
                joined = "LEFT JOIN event_copies AS c ON c.stream = e.stream AND c.sequence = e.sequence"
                terms.append("COALESCE(c.counted, TRUE)")
        if stored.version != self.record.events_version and self.record.marks:
            # What has come since may be a copy of what was counted.
            ends = " ".join(f"WHEN {sql_literal(name)} THEN {mark.last}" for name, mark in self.record.marks.items())
            terms.append(f"COALESCE(e.sequence, -1) <= CASE COALESCE(e.stream, '') {ends} ELSE -2 END")
        self.engine.show("events", f"SELECT e.* FROM {_STORED_EVENTS} AS e {joined} WHERE {' AND '.join(terms)}")

    def columns_of(self, table: str) -> list[str]:
        """The columns of an open table; none if it is not there, as in a lake that was built by an older Polku."""
        try:
            return list(self.engine.arrow(f"SELECT * FROM {table} LIMIT 0").schema.names)
        except QueryError:  # each engine has its own words for a table that is not there
            return []

    def with_loaded(self, name: str) -> bool:
        """Open a table that people load into the lake (`spend`, `products` …); whether there is one.

        What it lacks is null, as in a build. AnalyticsError for a text where something else is needed, or the reverse.
        """
        if name not in self.lake.tables():
            return False
        snapshot = self.lake.snapshot(name)
        wanted = {column: duckdb_type_of_neutral(kind) for column, kind in REFERENCE_TABLES.get(name, {}).items()}
        for column, kind in wanted.items():
            held = snapshot.columns.get(column, kind)
            if (held == "VARCHAR") != (kind == "VARCHAR"):
                raise AnalyticsError(
                    f"the column {column} of the table {name} holds {held}, and {kind} is needed: write the table anew "
                    f"with that type, as `polku load {name}` does"
                )
        self.engine.open(self.lake, snapshot, wanted)
        return True


def open_journeys(
    lake: Lake, plan: Plan, tables: Iterable[str] = TABLES, engine: Callable[[], Engine] = open_engine
) -> Journeys:
    """Open tables as one and the same build left them. LakeError says what to run if there is none.

    `engine` makes the one that shall answer: DuckDB, unless another is asked for.
    """
    record = newest_record(lake)
    if record is None:
        lake.tables()  # says so where there is no lake at all: a build would not help
        raise LakeError(f"no journeys in {lake.uri}: run `polku build` first")
    answering = engine()
    names = tuple(tables)
    for name in names:
        if name not in record.tables:
            raise LakeError(f"the last build left out the table {name}: run `polku build` without --select")
        answering.open(lake, lake.snapshot(name, version=record.tables[name]), {})
    return Journeys(
        engine=answering,
        lake=lake,
        plan=plan,
        record=record,
        tables=frozenset(names),
    )


def period_sql(period: Period, alias: str = "", column: str = "event_time", dialect: Dialect | None = None) -> str:
    """The condition that a row happened in the period."""
    name = f"{alias}.{column}" if alias else column
    say = dialect or Dialect()
    terms = []
    if period.start is not None:
        terms.append(f"{name} >= {say.moment(period.start)}")
    if period.end is not None:
        terms.append(f"{name} < {say.moment(period.end)}")
    return " AND ".join(terms) or "TRUE"
