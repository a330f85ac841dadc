"""`polku query`."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import click

from polku_analytics.commands.options import common, in_period, period_of
from polku_analytics.errors import AnalyticsError, MissingTableError
from polku_analytics.lake import COLLECTED_TABLES, Lake, connect


@click.command()
@click.argument("sql")
@click.option("--csv", "as_csv_text", is_flag=True, help="Print CSV.")
@common
@in_period
def query(
    sql: str,
    lake_uri: str,
    plan_folder: Path | None,
    as_json_text: bool,
    as_csv_text: bool,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
) -> None:
    """Run SQL over the tables of the lake: events, quarantine, persons, touchpoints and the others."""
    from polku_analytics.build.record import newest_record
    from polku_analytics.engines.duckdb import DuckDB
    from polku_analytics.engines.engine import table_rows
    from polku_analytics.journeys import BUILT_TABLES
    from polku_analytics.printing import aligned, as_csv, as_json

    if as_json_text and as_csv_text:
        raise AnalyticsError("choose one of --json and --csv")
    lake = Lake(lake_uri)
    names = lake.tables()
    mentioned = [name for name in names if re.search(rf"\b{re.escape(name)}\b", sql, re.IGNORECASE)]
    if not names:
        lake.snapshot("events")  # says what to run
    # Of the other tables every row would be read.
    if (since or until) and mentioned and not set(mentioned) & set(COLLECTED_TABLES):
        raise AnalyticsError(
            f"--since and --until bound {' and '.join(COLLECTED_TABLES)}, and this asks {' and '.join(mentioned)}: "
            "write the condition into the SQL, such as WHERE event_time >= '2026-01-01'"
        )
    built = newest_record(lake) if set(mentioned) & set(BUILT_TABLES) else None
    # A build that is at work, or was killed, has changed some tables and not yet others.
    versions = built.tables if built is not None else {}
    try:
        table = DuckDB(connect(lake, mentioned, period=period_of(since, until), versions=versions)).arrow(sql)
    except MissingTableError as error:
        raise lake.missing(error.table, (*BUILT_TABLES, "builds")) from None
    columns, rows = table.column_names, table_rows(table)
    if as_json_text:
        click.echo(as_json([dict(zip(columns, row, strict=True)) for row in rows]))
    elif as_csv_text:
        click.echo(as_csv(columns, rows), nl=False)
    else:
        click.echo(aligned(columns, rows))
