"""Traits as evidence of who somebody is: an equal customer number or address joins what nobody has logged in to.

Only `identify` calls tell values; they are compared in lower case and without blanks around them. Pieces of anonymous
timelines (`identity.py`) that tell the same value are one person. If exactly one user tells it too, they are that
user's. If several users do, nothing is joined: a value that two known people tell says nothing about a third. Nor is
a value told by more than MAX_TELLERS ids evidence, such as the address of a shop's till.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from polku_analytics.delta_types import literal, quoted
from polku_schemas import TRAIT_PREFIX, Plan

MAX_TELLERS = 20
"""More ids than any one person has."""


def join_columns(plan: Plan) -> list[str]:
    """The columns of `events` whose equal values join ids."""
    return [f"{TRAIT_PREFIX}{name}" for name in plan.join_by]


def told_sql(columns: Sequence[str], events: str = "unique_events") -> str:
    """Who told which value of which trait, and when: one row a value of an identify call; `mark` is trait and value."""
    selects = [
        "SELECT source, event_id, anonymous_id, user_id, event_time, "
        f"{literal(column)} AS trait, LOWER(TRIM(CAST({quoted(column)} AS VARCHAR))) AS value "
        f"FROM {events} WHERE event_type = 'identify' AND {quoted(column)} IS NOT NULL AND NOT COALESCE(is_bot, FALSE)"
        for column in columns
    ]
    return f"SELECT *, trait || ':' || value AS mark FROM ({' UNION ALL '.join(selects)}) WHERE value <> ''"


def crowded_sql(columns: Sequence[str], events: str, condition: str = "TRUE") -> str:
    """The marks that more ids tell than one person has, among the events for which a condition holds."""
    return (
        f"SELECT mark FROM ({told_sql(columns, f'(SELECT * FROM {events} AS e WHERE {condition}) AS e')}) "
        f"GROUP BY mark HAVING COUNT(DISTINCT COALESCE(user_id, anonymous_id)) > {MAX_TELLERS}"
    )


def tell_values(
    connection: duckdb.DuckDBPyConnection, columns: Sequence[str], everything: str = "unique_events"
) -> None:
    """Make `user_values` (mark, user_id) and `piece_values` (mark, anonymous_id, piece, told_at: no user is seen).

    `everything`: where tellers are counted. `unique_events` may hold the events of some people only.
    """
    if not columns:
        for statement in _NOTHING:
            connection.execute(statement)
        return
    connection.execute(f"CREATE TEMP TABLE told_values AS {told_sql(columns)}")
    connection.execute(f"DELETE FROM told_values WHERE mark IN ({crowded_sql(columns, everything)})")
    for statement in _VALUES:
        connection.execute(statement)
    connection.execute("DROP TABLE told_values")


def join_pieces(connection: duckdb.DuckDBPyConnection) -> None:
    """Give pieces to the user who tells the same; make `piece_holders` of those that are one anonymous person."""
    tellers = connection.sql(
        "SELECT mark, anonymous_id, piece, told_at FROM piece_values ORDER BY mark, anonymous_id, piece"
    ).to_arrow_table()
    pieces = tellers.group_by(["anonymous_id", "piece"]).aggregate([("told_at", "min")])
    marks = tellers.group_by("mark").aggregate([])
    places = {key: number for number, key in enumerate(_pieces(pieces))}
    mark_places = {mark: len(places) + number for number, mark in enumerate(marks["mark"].to_pylist())}
    left = [places[key] for key in _pieces(tellers)]
    right = [mark_places[mark] for mark in tellers["mark"].to_pylist()]
    groups = joined_groups(len(places) + len(mark_places), np.asarray(left), np.asarray(right))
    connection.register("piece_groups", pieces.append_column("joined", pa.array(groups[: len(places)])))
    connection.register("mark_groups", marks.append_column("joined", pa.array(groups[len(places) :])))
    for statement in _JOINS:
        connection.execute(statement)
    connection.unregister("piece_groups")
    connection.unregister("mark_groups")
    connection.execute("DROP TABLE group_users")


def _pieces(table: pa.Table) -> list[tuple[str, int]]:
    return [
        (str(row["anonymous_id"]), int(row["piece"])) for row in table.select(["anonymous_id", "piece"]).to_pylist()
    ]


def joined_groups(count: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The group number of each of `count` nodes, given edges between them: one group per connected component."""
    if len(left) == 0:
        return np.arange(count, dtype=np.int64)
    edges = coo_matrix((np.ones(len(left), dtype=np.int8), (left, right)), shape=(count, count))
    _, labels = connected_components(edges, directed=False)
    return np.asarray(labels, dtype=np.int64)


_NOTHING = (
    "CREATE TEMP TABLE user_values (mark VARCHAR, user_id VARCHAR)",
    "CREATE TEMP TABLE piece_values (mark VARCHAR, anonymous_id VARCHAR, piece BIGINT, told_at TIMESTAMPTZ)",
)

_VALUES = (
    "CREATE TEMP TABLE user_values AS SELECT DISTINCT mark, user_id FROM told_values WHERE user_id IS NOT NULL",
    """
    CREATE TEMP TABLE piece_values AS
    WITH told AS (
      SELECT mark, anonymous_id, event_time FROM told_values WHERE user_id IS NULL AND anonymous_id IS NOT NULL
    ),
    pieces AS (
      SELECT *, COALESCE(valid_from, TIMESTAMPTZ '-infinity') AS starts_at FROM device_pieces
    )
    SELECT t.mark, t.anonymous_id, l.piece, MIN(t.event_time) AS told_at
    FROM told AS t
    ASOF JOIN pieces AS l ON l.anonymous_id = t.anonymous_id AND t.event_time >= l.starts_at
    WHERE l.user_id IS NULL
    GROUP BY t.mark, t.anonymous_id, l.piece
    """,
)

GROUP_USERS = """
    CREATE TEMP TABLE group_users AS
    SELECT m.joined, COUNT(DISTINCT g.user_group) AS user_groups, MIN(v.user_id) AS user_id
    FROM mark_groups AS m
    JOIN user_values AS v ON v.mark = m.mark
    JOIN user_groups AS g ON g.user_id = v.user_id
    GROUP BY m.joined
    """

HOLDERS_OF_PIECES = """
    CREATE TEMP TABLE piece_holders AS
    WITH alone AS (
      SELECT * FROM piece_groups WHERE joined NOT IN (SELECT joined FROM group_users)
    )
    SELECT
      anonymous_id,
      piece,
      FIRST_VALUE(anonymous_id) OVER of_group AS holder_id,
      FIRST_VALUE(piece) OVER of_group AS holder_piece
    FROM alone
    WINDOW of_group AS (PARTITION BY joined ORDER BY told_at_min, anonymous_id, piece)
    """

_JOINS = (
    GROUP_USERS,
    """
    UPDATE device_pieces SET user_id = u.user_id
    FROM piece_groups AS p JOIN group_users AS u ON u.joined = p.joined AND u.user_groups = 1
    WHERE p.anonymous_id = device_pieces.anonymous_id AND p.piece = device_pieces.piece
    """,
    """
    UPDATE devices SET user_id = l.user_id
    FROM device_pieces AS l
    WHERE l.anonymous_id = devices.anonymous_id AND NOT devices.is_cut AND devices.user_id IS NULL
    """,
    HOLDERS_OF_PIECES,
)
