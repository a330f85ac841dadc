"""Which ids are one person: the step of the build that SQL alone cannot say, because ids join in chains.

The rule, in the order it is applied (docs/definitions.md, Identity, has it in prose with examples):

1. A user id is always the same person. An `alias` call from one user id to another makes both one person; nothing else
   joins two user ids, unless the plan's `join_users` lets an equal trait do so.
2. The timeline of an anonymous id is cut after each `logged_out`. Within a piece, what precedes the first user id seen
   belongs to that user, and each user keeps the device until another user id is seen on it. A piece in which no user is
   seen is an anonymous person of its own.
3. An `alias` call from an anonymous id counts as seeing the user on that id at that time.
4. An anonymous piece that tells a trait of the plan's `join_by` is the one user who tells the same, or one person with
   the other pieces that do (`identity_traits.py`).

The answer depends on the events only, never on the order of their rows: ties in time are broken by value.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa
from msgspec import Struct

from polku_analytics.build.identity_traits import join_pieces, joined_groups, tell_values

LOGOUT_EVENT = "logged_out"
"""The event that ends a user's hold on a device."""


def resolve_identity(
    connection: duckdb.DuckDBPyConnection,
    kept_keys: KeptKeys | None = None,
    *,
    join_by: Sequence[str] = (),
    join_users: bool = False,
    everything: str = "unique_events",
) -> None:
    """From the view `unique_events` make the tables that say whose event is whose.

    `everything`: the table of all events, where `unique_events` holds only some people's.
    `join_by` are columns of traits whose equal values join anonymous pieces to users and to each other, with
    `join_users` also users.

    - `person_links`: a row per user id (no anonymous id) and per piece of an anonymous id's timeline, valid from
      (inclusive) to until (exclusive), null being open.
    - `person_facts`: a row per person with at least one event.
    - `device_persons` and `event_persons`: the person of an event without a user id, by its anonymous id where that one
      belongs to one person as a whole, else by the event itself.

    People are numbered from 0 by `first_seen`, unless they shall keep the keys of before.
    """
    for statement in EVIDENCE:
        connection.execute(statement)
    tell_values(connection, join_by, everything)
    _join_users(connection, join_users)
    join_pieces(connection)
    for statement in COUNTS:
        connection.execute(statement)
    connection.execute(HOLDERS)
    connection.execute(NUMBERED if kept_keys is None else _numbered_as_before(kept_keys))
    for statement in PERSONS:
        connection.execute(statement)
    for name in _SCRATCH:
        connection.execute(f"DROP TABLE {name}")


def _join_users(connection: duckdb.DuckDBPyConnection, by_values: bool) -> None:
    """Make `user_groups` (user_id, user_group): user ids that alias calls join, even in a chain, share a group.

    `by_values`: so do those that tell the same value.
    """
    connection.execute("""
        CREATE TEMP TABLE user_numbers AS
        SELECT user_id, first_seen, ROW_NUMBER() OVER (ORDER BY user_id) - 1 AS number
        FROM (SELECT user_id, MIN(first_seen) AS first_seen FROM id_pairs WHERE user_id IS NOT NULL GROUP BY user_id)
    """)
    count = connection.execute("SELECT COUNT(*) FROM user_numbers").fetchall()[0][0]
    edges = connection.execute(f"""
        SELECT DISTINCT p.number AS previous, u.number AS next
        FROM (
          SELECT previous_id, user_id FROM aliases
          UNION ALL
          SELECT MIN(user_id) OVER (PARTITION BY mark), user_id FROM user_values WHERE {by_values}
        ) AS a
        JOIN user_numbers AS p ON p.user_id = a.previous_id
        JOIN user_numbers AS u ON u.user_id = a.user_id
    """).fetchnumpy()
    groups = joined_groups(int(count), np.asarray(edges["previous"]), np.asarray(edges["next"]))
    connection.register("group_numbers", pa.table({"number": np.arange(count, dtype=np.int64), "user_group": groups}))
    connection.execute("""
        CREATE TEMP TABLE user_groups AS
        SELECT u.user_id, u.first_seen, g.user_group
        FROM user_numbers AS u JOIN group_numbers AS g ON g.number = u.number
    """)
    connection.unregister("group_numbers")
    connection.execute("DROP TABLE user_numbers")


EVIDENCE = (
    # All that most devices need: which users were seen on them, and when. A few rows a person instead of its events.
    f"""
    CREATE TEMP TABLE id_pairs AS
    SELECT
      anonymous_id,
      user_id,
      MIN(event_time) AS first_seen,
      MAX(event_time) AS last_seen,
      COUNT(*) AS events,
      MAX(CASE WHEN event_name = '{LOGOUT_EVENT}' THEN 1 ELSE 0 END) AS logouts
    FROM unique_events
    WHERE anonymous_id IS NOT NULL OR user_id IS NOT NULL
    GROUP BY anonymous_id, user_id
    """,
    """
    CREATE TEMP TABLE aliases AS
    SELECT DISTINCT previous_id, user_id, anonymous_id, event_time
    FROM unique_events
    WHERE event_type = 'alias' AND previous_id IS NOT NULL
    """,
    # An alias that names no user id, or comes from an anonymous id, says who was seen on a device at that time.
    """
    CREATE TEMP TABLE device_aliases AS
    WITH users AS (SELECT DISTINCT user_id FROM id_pairs WHERE user_id IS NOT NULL)
    SELECT a.previous_id AS anonymous_id, a.user_id, a.event_time
    FROM aliases AS a
    WHERE a.user_id IS NOT NULL AND a.previous_id NOT IN (SELECT user_id FROM users)
    UNION
    SELECT a.anonymous_id, a.previous_id, a.event_time
    FROM aliases AS a
    WHERE a.user_id IS NULL AND a.anonymous_id IS NOT NULL AND a.previous_id IN (SELECT user_id FROM users)
    """,
    # Devices whose timeline has to be cut: two users, a logout, or an alias. The others belong to their one user whole.
    """
    CREATE TEMP TABLE devices AS
    SELECT
      anonymous_id,
      MIN(user_id) AS user_id,
      COALESCE(MIN(user_id) <> MAX(user_id), FALSE) OR MAX(logouts) = 1
        OR anonymous_id IN (SELECT anonymous_id FROM device_aliases) AS is_cut
    FROM id_pairs
    WHERE anonymous_id IS NOT NULL
    GROUP BY anonymous_id
    """,
    f"""
    CREATE TEMP TABLE sightings AS
    WITH cut AS (SELECT anonymous_id FROM devices WHERE is_cut)
    SELECT e.anonymous_id, e.event_time, 0 AS is_logout, e.user_id
    FROM unique_events AS e JOIN cut ON cut.anonymous_id = e.anonymous_id
    WHERE e.user_id IS NOT NULL
    UNION
    SELECT e.anonymous_id, e.event_time, 1, NULL
    FROM unique_events AS e JOIN cut ON cut.anonymous_id = e.anonymous_id
    WHERE e.event_name = '{LOGOUT_EVENT}'
    UNION
    SELECT a.anonymous_id, a.event_time, 0, a.user_id
    FROM device_aliases AS a JOIN cut ON cut.anonymous_id = a.anonymous_id
    """,
    # piece: how many logouts came before. A logout still belongs to the piece it ends: the next starts just after it.
    """
    CREATE TEMP TABLE device_pieces AS
    WITH pieces AS (
      SELECT
        *,
        COALESCE(SUM(is_logout) OVER (
          PARTITION BY anonymous_id ORDER BY event_time, is_logout, user_id
          ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS piece
      FROM sightings
    ),
    runs AS (
      SELECT
        *,
        LAG(user_id) OVER (PARTITION BY anonymous_id, piece ORDER BY event_time, user_id) AS previous_user
      FROM pieces
      WHERE is_logout = 0
    ),
    starts AS (
      SELECT anonymous_id, CAST(0 AS BIGINT) AS piece, CAST(NULL AS TIMESTAMPTZ) AS starts_at
      FROM devices WHERE is_cut
      UNION ALL
      SELECT anonymous_id, CAST(piece + 1 AS BIGINT), event_time + INTERVAL '1' MICROSECOND
      FROM pieces WHERE is_logout = 1
    ),
    links AS (
      SELECT s.anonymous_id, s.piece, s.starts_at AS valid_from, r.user_id
      FROM starts AS s
      LEFT JOIN runs AS r
        ON r.anonymous_id = s.anonymous_id AND r.piece = s.piece AND r.previous_user IS NULL
      UNION ALL
      SELECT anonymous_id, piece, event_time, user_id
      FROM runs
      WHERE previous_user <> user_id
    ),
    bounded AS (
      SELECT
        *,
        LEAD(valid_from) OVER (
          PARTITION BY anonymous_id ORDER BY piece, valid_from NULLS FIRST, user_id
        ) AS valid_until
      FROM links
    )
    SELECT anonymous_id, piece, valid_from, valid_until, user_id
    FROM bounded
    WHERE valid_until IS NULL OR valid_from IS NULL OR valid_from < valid_until
    UNION ALL
    SELECT anonymous_id, 0, NULL, NULL, user_id
    FROM devices
    WHERE NOT is_cut
    """,
)

COUNTS = (
    # Which piece each event without a user id falls into. ASOF, because a device that everybody shares has thousands of
    # pieces, and comparing each event with each of them would never end.
    """
    CREATE TEMP TABLE cut_events AS
    WITH pieces AS (
      SELECT *, COALESCE(valid_from, TIMESTAMPTZ '-infinity') AS starts_at
      FROM device_pieces
      WHERE anonymous_id IN (SELECT anonymous_id FROM devices WHERE is_cut)
    )
    SELECT e.source, e.event_id, e.event_time, e.anonymous_id, l.piece, l.user_id
    FROM (
      SELECT source, event_id, event_time, anonymous_id
      FROM unique_events
      WHERE user_id IS NULL AND anonymous_id IN (SELECT anonymous_id FROM devices WHERE is_cut)
    ) AS e
    ASOF JOIN pieces AS l ON l.anonymous_id = e.anonymous_id AND e.event_time >= l.starts_at
    """,
    # What was seen without a user id, per piece; for whole devices it is counted already.
    """
    CREATE TEMP TABLE anonymous_counts AS
    SELECT d.anonymous_id, CAST(0 AS BIGINT) AS piece, d.user_id, p.first_seen, p.last_seen, p.events
    FROM id_pairs AS p JOIN devices AS d ON d.anonymous_id = p.anonymous_id
    WHERE p.user_id IS NULL AND NOT d.is_cut
    UNION ALL
    SELECT anonymous_id, piece, user_id, MIN(event_time), MAX(event_time), COUNT(*)
    FROM cut_events
    GROUP BY anonymous_id, piece, user_id
    """,
)

HOLDERS = (
    # The name of each person, and what was seen of it: a holder is a group of user ids or an anonymous piece.
    """
    CREATE TEMP TABLE holders AS
    WITH named_groups AS (
      SELECT user_group, user_id AS person_id
      FROM (
        SELECT user_group, user_id,
          ROW_NUMBER() OVER (PARTITION BY user_group ORDER BY first_seen, user_id) AS place
        FROM user_groups
      )
      WHERE place = 1
    ),
    seen AS (
      SELECT g.user_group, CAST(NULL AS VARCHAR) AS anonymous_holder, CAST(NULL AS BIGINT) AS piece,
        p.user_id, p.anonymous_id, p.first_seen, p.last_seen, p.events
      FROM id_pairs AS p JOIN user_groups AS g ON g.user_id = p.user_id
      UNION ALL
      SELECT g.user_group,
        CASE WHEN c.user_id IS NULL THEN COALESCE(j.holder_id, c.anonymous_id) END,
        CASE WHEN c.user_id IS NULL THEN COALESCE(j.holder_piece, c.piece) END,
        NULL, c.anonymous_id, c.first_seen, c.last_seen, c.events
      FROM anonymous_counts AS c
      LEFT JOIN user_groups AS g ON g.user_id = c.user_id
      LEFT JOIN piece_holders AS j ON j.anonymous_id = c.anonymous_id AND j.piece = c.piece
    )
    SELECT
      s.user_group,
      s.anonymous_holder,
      s.piece,
      CASE
        WHEN s.user_group IS NOT NULL THEN MIN(n.person_id)
        WHEN s.piece = 0 AND MIN(u.user_id) IS NULL THEN s.anonymous_holder
        ELSE s.anonymous_holder || '~' || CAST(s.piece + 1 AS VARCHAR)
      END AS person_id,
      s.user_group IS NOT NULL AS known_person,
      MIN(s.first_seen) AS first_seen,
      MAX(s.last_seen) AS last_seen,
      CAST(SUM(s.events) AS BIGINT) AS events,
      COUNT(DISTINCT s.user_id) AS user_ids,
      COUNT(DISTINCT s.anonymous_id) AS anonymous_ids
    FROM seen AS s
    LEFT JOIN named_groups AS n ON n.user_group = s.user_group
    LEFT JOIN user_groups AS u ON u.user_id = s.anonymous_holder
    GROUP BY s.user_group, s.anonymous_holder, s.piece
    """
)

NUMBERED = """
    CREATE TEMP TABLE keyed AS
    SELECT *, ROW_NUMBER() OVER (ORDER BY first_seen, person_id, anonymous_holder, piece) - 1 AS person_key
    FROM holders
    """


class KeptKeys(Struct, frozen=True):
    """Where to find the keys that people had before, so that what has not changed stays as it is."""

    links: str
    """The table `person_links` of before."""
    next_key: int
    """The first key for people who are new."""


def _numbered_as_before(kept: KeptKeys) -> str:
    """A person keeps the key of before; one that people of before have become takes the smallest of theirs."""
    return f"""
    CREATE TEMP TABLE keyed AS
    -- Of a device only its first piece makes a claim: one that everybody shares has thousands.
    WITH holder_ids AS (
      SELECT h.person_id, g.user_id, NULL AS anonymous_id FROM holders AS h JOIN user_groups AS g USING (user_group)
      UNION
      SELECT h.person_id, NULL, d.anonymous_id
      FROM device_pieces AS d JOIN user_groups AS g ON g.user_id = d.user_id
      JOIN holders AS h ON h.user_group = g.user_group
      WHERE d.valid_from IS NULL
      UNION
      SELECT h.person_id, NULL, d.anonymous_id
      FROM device_pieces AS d
      LEFT JOIN piece_holders AS j ON j.anonymous_id = d.anonymous_id AND j.piece = d.piece
      JOIN holders AS h
        ON h.anonymous_holder = COALESCE(j.holder_id, d.anonymous_id) AND h.piece = COALESCE(j.holder_piece, d.piece)
      WHERE d.user_id IS NULL AND d.valid_from IS NULL
    ),
    claims AS (
      SELECT DISTINCT h.person_id, l.person_key, TRUE AS is_same
      FROM holders AS h JOIN {kept.links} AS l ON l.person_id = h.person_id
      UNION
      SELECT h.person_id, l.person_key, l.person_id = h.person_id
      FROM holder_ids AS h JOIN {kept.links} AS l ON l.user_id = h.user_id
      UNION
      SELECT h.person_id, l.person_key, l.person_id = h.person_id
      FROM holder_ids AS h JOIN {kept.links} AS l ON l.anonymous_id = h.anonymous_id AND l.valid_from IS NULL
    ),
    won AS (
      SELECT *, ROW_NUMBER() OVER (PARTITION BY person_key ORDER BY is_same DESC, person_id) AS place FROM claims
    ),
    taken AS (
      SELECT *, ROW_NUMBER() OVER (PARTITION BY person_id ORDER BY is_same DESC, person_key) AS choice
      FROM won WHERE place = 1
    )
    SELECT h.*, COALESCE(t.person_key, {kept.next_key} - 1 + ROW_NUMBER() OVER (
      PARTITION BY t.person_key IS NULL ORDER BY h.first_seen, h.person_id, h.anonymous_holder, h.piece
    )) AS person_key
    FROM holders AS h LEFT JOIN taken AS t ON t.person_id = h.person_id AND t.choice = 1
    """


PERSONS = (
    """
    CREATE TEMP TABLE person_links AS
    SELECT CAST(NULL AS VARCHAR) AS anonymous_id, CAST(NULL AS TIMESTAMPTZ) AS valid_from,
      CAST(NULL AS TIMESTAMPTZ) AS valid_until, g.user_id, k.person_id, k.person_key
    FROM user_groups AS g JOIN keyed AS k ON k.user_group = g.user_group
    UNION ALL
    SELECT d.anonymous_id, d.valid_from, d.valid_until, d.user_id, k.person_id, k.person_key
    FROM device_pieces AS d
    JOIN user_groups AS g ON g.user_id = d.user_id
    JOIN keyed AS k ON k.user_group = g.user_group
    UNION ALL
    SELECT d.anonymous_id, d.valid_from, d.valid_until, NULL, k.person_id, k.person_key
    FROM device_pieces AS d
    LEFT JOIN piece_holders AS j ON j.anonymous_id = d.anonymous_id AND j.piece = d.piece
    JOIN keyed AS k
      ON k.anonymous_holder = COALESCE(j.holder_id, d.anonymous_id) AND k.piece = COALESCE(j.holder_piece, d.piece)
    WHERE d.user_id IS NULL
    """,
    """
    CREATE TEMP TABLE device_persons AS
    SELECT l.anonymous_id, l.person_id, l.person_key
    FROM person_links AS l JOIN devices AS d ON d.anonymous_id = l.anonymous_id
    WHERE NOT d.is_cut
    """,
    """
    CREATE TEMP TABLE event_persons AS
    SELECT e.source, e.event_id, k.person_id, k.person_key
    FROM cut_events AS e
    JOIN user_groups AS g ON g.user_id = e.user_id
    JOIN keyed AS k ON k.user_group = g.user_group
    UNION ALL
    SELECT e.source, e.event_id, k.person_id, k.person_key
    FROM cut_events AS e
    LEFT JOIN piece_holders AS j ON j.anonymous_id = e.anonymous_id AND j.piece = e.piece
    JOIN keyed AS k
      ON k.anonymous_holder = COALESCE(j.holder_id, e.anonymous_id) AND k.piece = COALESCE(j.holder_piece, e.piece)
    WHERE e.user_id IS NULL
    """,
    """
    CREATE TEMP TABLE person_facts AS
    SELECT person_key, person_id, known_person, first_seen, last_seen, events, user_ids, anonymous_ids
    FROM keyed
    """,
)

_SCRATCH = (
    "aliases",
    "anonymous_counts",
    "cut_events",
    "device_aliases",
    "device_pieces",
    "devices",
    "holders",
    "id_pairs",
    "keyed",
    "piece_holders",
    "piece_values",
    "sightings",
    "user_groups",
    "user_values",
)
