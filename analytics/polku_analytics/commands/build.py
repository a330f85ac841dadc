"""`polku build`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import click

from polku_analytics.commands.options import common, plan_of
from polku_analytics.lake import Lake


@click.command()
@click.option(
    "--engine", type=click.Choice(["duckdb", "spark"]), default="duckdb", show_default=True, help="Who computes."
)
@click.option(
    "--spark", "spark_remote", envvar="SPARK_REMOTE", metavar="URL", help="Where Spark Connect answers: sc://HOST:PORT."
)
@common
def build(
    lake_uri: str,
    plan_folder: Path | None,
    as_json_text: bool,
    engine: Literal["duckdb", "spark"],
    spark_remote: str | None,
) -> None:
    """Compute the journey tables (persons, touchpoints, sessions, stages, …) from the events."""
    from polku_analytics.build import build as build_here
    from polku_analytics.engines.choice import build_on_spark
    from polku_analytics.printing import aligned, as_json

    run_build = build_here if engine == "duckdb" else partial(build_on_spark, spark_remote)
    # Progress goes to stderr, so that what is printed stays a table or JSON.
    built = run_build(Lake(lake_uri), plan_of(plan_folder), lambda text: click.echo(f"  {text} …", err=True))
    if as_json_text:
        click.echo(as_json(built))
        return
    rows = [[table.name, table.rows, table.seconds] for table in built.tables]
    click.echo(aligned(["table", "rows", "seconds"], rows))
    click.echo(
        f"\n{built.events} events counted once ({built.duplicate_events} copies and {built.bot_events} events of bots "
        f"left out) in {built.seconds:.1f} s"
    )
    if built.unplaced_events:
        listed = ", ".join(f"{name} ({count})" for name, count in list(built.unplaced_events.items())[:10])
        click.echo(f"not in the plan, so without a stage: {listed}")
