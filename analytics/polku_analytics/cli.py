"""The commands `polku build`, `query`, `funnel`, `paths` and `report`: options in, text out, nothing computed here."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import click

from polku_analytics.errors import AnalyticsError, MissingTableError
from polku_analytics.lake import Lake, Period, connect
from polku_analytics.result import Unit, parse_window
from polku_schemas import Plan, builtin_plan_path, load_plan

DEFAULT_LAKE: Final = "./polku-data/lake"

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _common(command: _Command) -> _Command:
    for option in (
        click.option("--json", "as_json_text", is_flag=True, help="Print JSON."),
        click.option(
            "--plan", "plan_folder", type=click.Path(path_type=Path), help="Tracking plan; default: the built-in one."
        ),
        click.option(
            "--lake", "lake_uri", default=DEFAULT_LAKE, show_default=True, help="Folder or s3:// URL of the lake."
        ),
    ):
        command = option(command)
    return command


def _period(command: _Command) -> _Command:
    for option in (
        click.option("--until", type=click.DateTime(["%Y-%m-%d"]), help="Up to this UTC day, not including it."),
        click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="From this UTC day."),
    ):
        command = option(command)
    return command


@click.command()
@_common
def build(lake_uri: str, plan_folder: Path | None, as_json_text: bool) -> None:
    """Compute the journey tables (persons, touchpoints, sessions, stages, …) from the events."""
    from polku_analytics.build import build as run_build
    from polku_analytics.printing import aligned, as_json

    # Progress goes to stderr, so that what is printed stays a table or JSON.
    built = run_build(Lake(lake_uri), _plan(plan_folder), lambda text: click.echo(f"  {text} …", err=True))
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


@click.command()
@click.argument("sql")
@click.option("--csv", "as_csv_text", is_flag=True, help="Print CSV.")
@_common
@_period
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
    from polku_analytics.journeys import BUILT_TABLES, run_sql
    from polku_analytics.printing import aligned, as_csv, as_json

    if as_json_text and as_csv_text:
        raise AnalyticsError("choose one of --json and --csv")
    lake = Lake(lake_uri)
    names = lake.tables()
    mentioned = [name for name in names if re.search(rf"\b{re.escape(name)}\b", sql, re.IGNORECASE)]
    if not names:
        lake.snapshot("events")  # says what to run
    try:
        columns, rows = run_sql(connect(lake, mentioned, period=_period_of(since, until)), sql)
    except MissingTableError as error:
        raise lake.missing(error.table, BUILT_TABLES) from None
    if as_json_text:
        click.echo(as_json([dict(zip(columns, row, strict=True)) for row in rows]))
    elif as_csv_text:
        click.echo(as_csv(columns, rows), nl=False)
    else:
        click.echo(aligned(columns, rows))


@click.command()
@click.argument("steps", nargs=-1, required=True)
@click.option("--window", help="Time from the first step to the last, such as 30m, 12h, 7d.  [default: 7d]")
@click.option("--unit", type=click.Choice(["person", "session"]), help="What is counted.  [default: person]")
@click.option(
    "--reentry",
    type=click.Choice(["any", "first"]),
    default="any",
    show_default=True,
    help="Which first step starts an attempt: any, or only the first one of a person.",
)
@_common
@_period
def funnel(
    steps: tuple[str, ...],
    window: str | None,
    unit: str | None,
    reentry: str,
    lake_uri: str,
    plan_folder: Path | None,
    as_json_text: bool,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
) -> None:
    """How many take these STEPS in this order, and where they stop.

    A step is an event, an event with a condition such as 'product_viewed[price > 100]', touchpoint:NAME or
    stage:NAME. One name alone is a saved funnel of the plan.
    """
    from polku_analytics.funnel import Reentry, funnel_question, run_funnel
    from polku_analytics.journeys import open_journeys

    journeys = open_journeys(Lake(lake_uri), _plan(plan_folder), ["touchpoints"])
    question = funnel_question(
        journeys,
        steps,
        window_seconds=None if window is None else parse_window(window),
        unit=cast("Unit | None", unit),
        reentry=cast("Reentry", reentry),
        period=_period_of(since, until),
    )
    _show(run_funnel(journeys, question), as_json_text)


@click.command()
@click.option("--from", "start", help="Begin at the first occurrence of this item.")
@click.option("--to", "end", help="Finish at the first occurrence of this item.")
@click.option("--by", type=click.Choice(["touchpoint", "event"]), default="touchpoint", show_default=True)
@click.option("--unit", type=click.Choice(["person", "session"]), default="session", show_default=True)
@click.option("--top", default=12, show_default=True, help="Items shown by name; the rest is (other).")
@click.option("--max-steps", default=5, show_default=True, help="Items of each path that are looked at.")
@click.option("--keep-repeats", is_flag=True, help="Do not count a run of the same item as one.")
@click.option("--staged", is_flag=True, help="Only touchpoints that the plan places in a stage.")
@_common
@_period
def paths(
    start: str | None,
    end: str | None,
    by: str,
    unit: str,
    top: int,
    max_steps: int,
    keep_repeats: bool,
    staged: bool,
    lake_uri: str,
    plan_folder: Path | None,
    as_json_text: bool,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
) -> None:
    """Which touchpoints follow each other, step by step."""
    from polku_analytics.journeys import open_journeys
    from polku_analytics.paths import By, PathsQuestion, run_paths

    journeys = open_journeys(Lake(lake_uri), _plan(plan_folder), ["touchpoints"])
    question = PathsQuestion(
        by=cast("By", by),
        unit=cast("Unit", unit),
        start=start,
        end=end,
        collapse=not keep_repeats,
        top=top,
        max_steps=max_steps,
        staged=staged,
        period=_period_of(since, until),
    )
    _show(run_paths(journeys, question), as_json_text)


@click.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The HTML file to write.")
@click.option("--title", default="Customer journeys", show_default=True)
@click.option("--note", "notes", multiple=True, help="A sentence for the head of the report; may be given again.")
@click.option("--link", "links", multiple=True, metavar="TEXT=URL", help="A link to another page; may be given again.")
@click.option("--not-collected", multiple=True, metavar="STAGE", help="A stage the data cannot show.")
@click.option("--time-zone", default="UTC", show_default=True, help="Of hours, weekdays and days.")
@_common
def report(
    out: Path,
    title: str,
    notes: tuple[str, ...],
    links: tuple[str, ...],
    not_collected: tuple[str, ...],
    time_zone: str,
    lake_uri: str,
    plan_folder: Path | None,
    as_json_text: bool,
) -> None:
    """Write one HTML page that shows the journeys; it opens without a network."""
    from polku_analytics.printing import as_json
    from polku_analytics.report import ReportContext, read_link, write_report

    context = ReportContext(
        title=title,
        notes=notes,
        links=tuple(read_link(link) for link in links),
        not_collected=not_collected,
        time_zone=time_zone,
    )
    figures = write_report(Lake(lake_uri), _plan(plan_folder), out, context)
    click.echo(as_json(figures) if as_json_text else f"wrote {out}")


def _plan(folder: Path | None) -> Plan:
    return load_plan(folder if folder is not None else builtin_plan_path())


def _period_of(since: datetime.datetime | None, until: datetime.datetime | None) -> Period:
    period = Period(since and since.date(), until and until.date())
    if period.since is not None and period.until is not None and period.since >= period.until:
        raise AnalyticsError(f"--since {period.since} is not before --until {period.until}")
    return period


def _show(result: Any, as_json_text: bool) -> None:
    from polku_analytics.printing import as_json, explained

    click.echo(as_json(result) if as_json_text else explained(result))
