"""What is new in `events` since a build: the streams' positions, and the files that may hold what lies beyond them."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
from deltalake.exceptions import DeltaError

from polku_analytics.build.record import BuildRecord, Mark
from polku_analytics.delta_types import literal
from polku_analytics.errors import LakeError
from polku_analytics.lake import Lake, TableSnapshot


def read_marks(connection: duckdb.DuckDBPyConnection) -> dict[str, Mark]:
    """How far each stream of the view `events` goes. Events without a position stand in the stream of no name."""
    rows = connection.execute(
        "SELECT COALESCE(stream, ''), COALESCE(MAX(sequence), -1), COUNT(*) FROM events GROUP BY 1"
    ).fetchall()
    return {stream: Mark(last, events) for stream, last, events in rows}


def why_not_incremental(connection: duckdb.DuckDBPyConnection, marks: Mapping[str, Mark]) -> str | None:
    """Why what is new cannot be told by the streams' positions; None if it can.

    What was built in must still be there, and nothing beside it: erasing and expiring take events away, a replay or an
    import may put some where we have been.
    """
    connection.execute("CREATE OR REPLACE TEMP TABLE marks (stream VARCHAR, last BIGINT, events BIGINT)")
    if marks:
        rows = ", ".join(f"({literal(stream)}, {mark.last}, {mark.events})" for stream, mark in marks.items())
        connection.execute(f"INSERT INTO marks VALUES {rows}")
    changed = connection.execute("""
        SELECT COUNT(*)
        FROM marks AS m
        LEFT JOIN (
          SELECT COALESCE(e.stream, '') AS stream, COUNT(*) AS events
          FROM events AS e JOIN marks AS m ON m.stream = COALESCE(e.stream, '') AND COALESCE(e.sequence, -1) <= m.last
          GROUP BY 1
        ) AS f ON f.stream = m.stream
        WHERE COALESCE(f.events, 0) <> m.events
    """).fetchall()[0][0]
    if changed:
        return "events that were built in have gone, or some have come before them"
    nowhere = connection.execute("SELECT COUNT(*) FROM events WHERE stream IS NULL OR sequence IS NULL").fetchall()
    return "events without a position in a stream" if nowhere[0][0] else None


IS_NEW = "NOT EXISTS (SELECT 1 FROM marks AS m WHERE m.stream = e.stream AND e.sequence <= m.last)"
"""The condition on `events AS e` that an event was not built in yet; needs the table `marks`."""


def files_since(lake: Lake, snapshot: TableSnapshot, record: BuildRecord) -> TableSnapshot:
    """The snapshot with only the files that were not there at that build: all that is new stands in them."""
    try:
        before = {file.uri for file in lake.snapshot(snapshot.name, version=record.events_version).files}
    except (LakeError, DeltaError):
        return snapshot  # that version is too old to be told: look everywhere
    return snapshot.only(file for file in snapshot.files if file.uri not in before)
