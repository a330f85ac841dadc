"""Whom new events concern: all ids that could be one person with an id in them, and all events of these ids.

People are recomputed whole, from all of their events, so that late events, sessions that go on and merges need no rules
of their own. The set of ids is closed: an event that names one of them names no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from polku_analytics.build.identity_traits import crowded_sql, told_sql
from polku_analytics.build.news import IS_NEW
from polku_analytics.delta_types import quoted

LINKS = "old_person_links"
"""The table `person_links` of the build before."""

COPIES = "old_event_copies"
"""The table `event_copies` of the build before."""


def gather_affected(
    connection: duckdb.DuckDBPyConnection,
    columns: Sequence[str],
    nulls: Mapping[str, str],
    join_by: Sequence[str] = (),
) -> None:
    """Make `affected_ids` (id, is_user), `affected_events` and `affected_keys` (the people of the build before).

    Reads `events`, `new_events`, `touched_people` (person_key: of the build before, to be computed again in any case)
    and the links of the build before. `affected_events` has `columns` of `events`, `nulls` (name → DuckDB type), which
    hold nothing, and `is_new`. `join_by`: columns whose equal values join ids.
    """
    carried = ", ".join(f"e.{quoted(name)}" for name in columns)
    # What no event holds is not worth being written down for each.
    unheld = "".join(f", CAST(NULL AS {kind}) AS {quoted(name)}" for name, kind in nulls.items())
    # A value of too many joined nothing before, and does not now: only those that did, or may, bind ids together.
    told = (
        f"{told_sql(join_by, 'events')} AND mark NOT IN ({crowded_sql(join_by, 'events', f'NOT ({IS_NEW})')})"
        if join_by
        else "SELECT NULL AS mark, NULL AS user_id, NULL AS anonymous_id WHERE FALSE"
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE shared_values AS SELECT DISTINCT mark, user_id, anonymous_id FROM ({told})"
    )
    connection.execute("CREATE OR REPLACE TEMP TABLE affected_ids (id VARCHAR, is_user BOOLEAN)")
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE id_edges AS
        -- An alias may name an id long before that id is seen.
        SELECT DISTINCT previous_id AS id, user_id, anonymous_id FROM events
        WHERE event_type = 'alias' AND previous_id IS NOT NULL
    """)
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE shared_orders AS
        SELECT order_id, user_id, anonymous_id
        FROM (
          SELECT *, COUNT(*) OVER (PARTITION BY order_id) AS holders
          FROM (SELECT DISTINCT order_id, user_id, anonymous_id FROM events WHERE order_id IS NOT NULL)
        )
        WHERE holders > 1
    """)
    # A second copy of an event may name other ids than the first, and be the one that counts: those of events that are
    # new are looked for, the others known.
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE copies AS
        SELECT e.source, e.event_id, e.user_id, e.anonymous_id
        FROM events AS e SEMI JOIN new_events AS n ON n.event_id = e.event_id AND n.source = e.source
        UNION
        SELECT source, event_id, user_id, anonymous_id FROM {COPIES}
    """)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE found_ids AS
        SELECT UNNEST([user_id, previous_id]) AS id, TRUE AS is_user FROM new_events
        UNION
        SELECT UNNEST([anonymous_id, previous_id]), FALSE FROM new_events
        UNION
        SELECT UNNEST([l.user_id, l.anonymous_id]), UNNEST([TRUE, FALSE])
        FROM {LINKS} AS l SEMI JOIN touched_people AS t USING (person_key)
        UNION
        -- What a warehouse says of an order names no person.
        SELECT UNNEST([user_id, anonymous_id]), UNNEST([TRUE, FALSE]) FROM shared_orders
        WHERE order_id IN (SELECT order_id FROM new_events WHERE user_id IS NULL AND anonymous_id IS NULL)
        UNION
        SELECT c.user_id, TRUE FROM copies AS c SEMI JOIN new_events AS n
          ON n.event_id = c.event_id AND n.source = c.source
        UNION
        SELECT c.anonymous_id, FALSE FROM copies AS c SEMI JOIN new_events AS n
          ON n.event_id = c.event_id AND n.source = c.source
    """)
    more = True
    while more:
        _add_found(connection)
        _close(connection)
        connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE affected_rows AS
            SELECT {carried}, {IS_NEW} AS is_new FROM events AS e
            WHERE e.user_id IN (SELECT id FROM affected_ids WHERE is_user)
              OR e.anonymous_id IN (SELECT id FROM affected_ids WHERE NOT is_user)
              OR (e.event_type = 'alias' AND e.previous_id IN (SELECT id FROM affected_ids))
              OR (e.user_id IS NULL AND e.anonymous_id IS NULL
                AND (e.source, e.event_id) IN (
                  SELECT source, event_id FROM new_events
                  UNION ALL
                  SELECT source, event_id FROM copies
                  WHERE user_id IN (SELECT id FROM affected_ids WHERE is_user)
                    OR anonymous_id IN (SELECT id FROM affected_ids WHERE NOT is_user)
                ))
              OR (e.user_id IS NULL AND e.anonymous_id IS NULL
                AND e.order_id IN (
                  SELECT order_id FROM shared_orders
                  WHERE user_id IN (SELECT id FROM affected_ids WHERE is_user)
                    OR anonymous_id IN (SELECT id FROM affected_ids WHERE NOT is_user)
                ))
        """)
        connection.execute(f"CREATE OR REPLACE TEMP VIEW affected_events AS SELECT *{unheld} FROM affected_rows")
        connection.execute("""
            CREATE OR REPLACE TEMP TABLE found_ids AS
            SELECT user_id AS id, TRUE AS is_user FROM affected_events
            UNION
            SELECT anonymous_id, FALSE FROM affected_events
            UNION
            SELECT UNNEST([previous_id, previous_id]), UNNEST([TRUE, FALSE]) FROM affected_events
            WHERE event_type = 'alias'
        """)
        more = _unknown(connection)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE affected_keys AS
        SELECT DISTINCT person_key, person_id FROM {LINKS}
        WHERE user_id IN (SELECT id FROM affected_ids WHERE is_user)
          OR anonymous_id IN (SELECT id FROM affected_ids WHERE NOT is_user)
    """)


def _add_found(connection: duckdb.DuckDBPyConnection) -> bool:
    """Add `found_ids` to the affected ones; whether any was not there yet."""
    connection.execute("""
        CREATE OR REPLACE TEMP TABLE added_ids AS
        SELECT DISTINCT f.id, f.is_user FROM found_ids AS f
        ANTI JOIN affected_ids AS a ON a.id = f.id AND a.is_user = f.is_user
        WHERE f.id IS NOT NULL
    """)
    connection.execute("INSERT INTO affected_ids SELECT * FROM added_ids")
    return bool(connection.execute("SELECT COUNT(*) FROM added_ids").fetchall()[0][0])


def _unknown(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether any of `found_ids` is not among the affected ones."""
    found = connection.execute(
        "SELECT 1 FROM found_ids AS f ANTI JOIN affected_ids AS a ON a.id = f.id AND a.is_user = f.is_user "
        "WHERE f.id IS NOT NULL LIMIT 1"
    )
    return bool(found.fetchall())


def _close(connection: duckdb.DuckDBPyConnection) -> None:
    """Follow what binds ids together until nothing is added: people, aliases, equal values, orders of several ids."""
    while True:
        connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE found_ids AS
            WITH
            keys AS (
              SELECT DISTINCT l.person_key FROM {LINKS} AS l
              WHERE l.user_id IN (SELECT id FROM added_ids WHERE is_user)
                OR l.anonymous_id IN (SELECT id FROM added_ids WHERE NOT is_user)
            ),
            links AS (SELECT l.user_id, l.anonymous_id FROM {LINKS} AS l SEMI JOIN keys AS k USING (person_key)),
            aliases AS (
              SELECT e.* FROM id_edges AS e
              WHERE e.id IN (SELECT id FROM added_ids)
                OR e.user_id IN (SELECT id FROM added_ids WHERE is_user)
                OR e.anonymous_id IN (SELECT id FROM added_ids WHERE NOT is_user)
            ),
            copied AS (
              SELECT c.user_id, c.anonymous_id FROM copies AS c
              WHERE (c.source, c.event_id) IN (
                SELECT source, event_id FROM copies
                WHERE user_id IN (SELECT id FROM added_ids WHERE is_user)
                  OR anonymous_id IN (SELECT id FROM added_ids WHERE NOT is_user)
              )
            ),
            told AS (
              SELECT v.user_id, v.anonymous_id FROM shared_values AS v
              WHERE v.mark IN (
                SELECT mark FROM shared_values
                WHERE user_id IN (SELECT id FROM added_ids WHERE is_user)
                  OR anonymous_id IN (SELECT id FROM added_ids WHERE NOT is_user)
              )
            ),
            orders AS (
              SELECT s.user_id, s.anonymous_id FROM shared_orders AS s
              WHERE s.order_id IN (
                SELECT order_id FROM shared_orders
                WHERE user_id IN (SELECT id FROM added_ids WHERE is_user)
                  OR anonymous_id IN (SELECT id FROM added_ids WHERE NOT is_user)
              )
            )
            SELECT user_id AS id, TRUE AS is_user FROM links
            UNION SELECT anonymous_id, FALSE FROM links
            UNION SELECT user_id, TRUE FROM aliases
            UNION SELECT anonymous_id, FALSE FROM aliases
            UNION SELECT id, TRUE FROM aliases
            UNION SELECT id, FALSE FROM aliases
            UNION SELECT user_id, TRUE FROM copied
            UNION SELECT anonymous_id, FALSE FROM copied
            UNION SELECT user_id, TRUE FROM told
            UNION SELECT anonymous_id, FALSE FROM told
            UNION SELECT user_id, TRUE FROM orders
            UNION SELECT anonymous_id, FALSE FROM orders
        """)
        if not _add_found(connection):
            return
