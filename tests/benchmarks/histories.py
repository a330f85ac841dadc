"""Made-up histories of many people, straight into a lake: what the analyses are measured on.

A person has visits, spread over the days, on one or two devices; a visit has events a minute or so apart. One in three
people is known: the later part of their visits carries a user id. Every tenth visit ends in an order. The same
arguments give the same rows.
"""

from __future__ import annotations

import datetime
import json
import time
from pathlib import Path

import deltalake
import duckdb
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import AddAction, create_table_with_add_actions

START = datetime.date(2026, 1, 1)
EVENTS_A_VISIT = 8
NAMES = (
    ("page_viewed", 40),
    ("product_viewed", 25),
    ("products_searched", 12),
    ("product_list_viewed", 10),
    ("product_added", 8),
    ("cart_viewed", 3),
    ("checkout_started", 2),
)
"""Names of events and how often of a hundred they occur; an order is the last event of a visit."""


def events_sql(events: int, persons: int, *, first: int = 0, begin_day: float = 0, days: float = 90) -> str:
    """The rows of `events`: visits numbered from `first`, spread over `days` from `begin_day` on."""
    visits = events // EVENTS_A_VISIT
    bounds, so_far = [], 0
    for name, share in NAMES:
        so_far += share
        bounds.append(f"WHEN u < {so_far} THEN '{name}'")
    random = "(hash({0}, {1}) % 1000003) / 1000003.0"
    return f"""
    WITH visits AS (
      SELECT
        i AS visit,
        -- Some come often, most seldom.
        CAST({persons} * POW({random.format("i", 1)}, 1.5) AS BIGINT) AS person,
        {begin_day} + {days} * {random.format("i", 2)} AS day,
        {random.format("i", 3)} AS device,
        {random.format("i", 4)} AS luck
      FROM range({first}, {first + visits}) AS r(i)
    ),
    rows AS (
      SELECT v.*, n, hash(v.visit, n) % 100 AS u,
        TIMESTAMPTZ '{START} 00:00:00+00'
          + TO_MICROSECONDS(CAST((day * 86400 + n * 47 + device * 13) * 1000000 AS BIGINT)) AS event_time,
        n = {EVENTS_A_VISIT - 1} AND luck < 0.1 AS is_order
      FROM visits AS v, range({EVENTS_A_VISIT}) AS m(n)
    )
    SELECT
      'v' || visit || '-' || n AS event_id,
      CASE WHEN u < 40 AND NOT is_order THEN 'page' ELSE 'track' END AS event_type,
      CASE WHEN is_order THEN 'order_completed' {" ".join(bounds)} END AS event_name,
      event_time,
      event_time AS received_at,
      CAST(event_time AS DATE) AS event_date,
      'in-1' AS stream,
      visit * {EVENTS_A_VISIT} + n AS sequence,
      'shop' AS source,
      'web' AS channel,
      CASE CAST(device * 5 AS INTEGER) WHEN 0 THEN 'organic_search' WHEN 1 THEN 'paid_search' WHEN 2 THEN 'email'
        ELSE 'direct' END AS marketing_channel,
      'a' || person || CASE WHEN device < 0.3 THEN '-2' ELSE '-1' END AS anonymous_id,
      CASE WHEN person % 3 = 0 AND (luck < 0.6 OR n > 3) THEN 'u' || person END AS user_id,
      CASE WHEN device < 0.3 THEN 'phone' ELSE 'computer' END AS device,
      CASE WHEN device < 0.3 THEN 'android' ELSE 'windows' END AS os,
      CASE WHEN device < 0.3 THEN 'chrome_mobile' ELSE 'firefox' END AS browser,
      'FI' AS country,
      '/' || (hash(visit, n) % 200) AS page_path,
      CASE WHEN is_order THEN 'o' || visit END AS order_id,
      CASE WHEN is_order THEN CAST(1000 + hash(visit, 9) % 9000 AS DOUBLE) / 100 END AS revenue,
      CASE WHEN is_order THEN 'EUR' END AS currency
    FROM rows
    """


def add_events(lake: Path, sql: str) -> int:
    """Write rows into `events`, a file a day, in one commit; returns how many."""
    table = lake / "events"
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(f"CREATE TABLE made AS {sql}")
    batch = time.monotonic_ns()
    actions = []
    days = [row[0] for row in connection.execute("SELECT DISTINCT event_date FROM made ORDER BY ALL").fetchall()]
    for day in days:
        name = f"event_date={day}/part-{batch}.parquet"
        (table / name).parent.mkdir(parents=True, exist_ok=True)
        connection.execute(
            f"COPY (SELECT * FROM made WHERE event_date = DATE '{day}' ORDER BY event_name, event_time) "
            f"TO '{table / name}' (FORMAT parquet, COMPRESSION zstd)"
        )
        rows = pq.read_metadata(table / name).num_rows
        actions.append(
            AddAction(
                path=name,
                size=(table / name).stat().st_size,
                partition_values={"event_date": str(day)},
                modification_time=int(time.time() * 1000),
                data_change=True,
                stats=json.dumps({"numRecords": rows}),
            )
        )
    schema = deltalake.Schema.from_arrow(pq.read_schema(table / actions[0].path))
    if DeltaTable.is_deltatable(str(table)):
        DeltaTable(str(table)).create_write_transaction(actions, "append", schema, ["event_date"])
    else:
        create_table_with_add_actions(str(table), schema, actions, partition_by=["event_date"])
    return int(connection.execute("SELECT COUNT(*) FROM made").fetchall()[0][0])
