"""`polku build`."""

from __future__ import annotations

import datetime
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from polku_analytics.commands.options import common, plan_of
from polku_analytics.errors import AnalyticsError, LakeError
from polku_analytics.lake import Lake
from polku_analytics.result import parse_window
from polku_analytics.session_rules import SessionRules

if TYPE_CHECKING:
    from polku_analytics.build import Build


@click.command()
@click.option("--full", is_flag=True, help="Build everything anew, not only what is new.")
@click.option(
    "--select", "-s", multiple=True, metavar="TABLE", help="Only this table and those it rests on; again: more."
)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Only events of this UTC day and later.")
@click.option("--watch", is_flag=True, help="Go on, and build again when there are new events.")
@click.option(
    "--every",
    type=click.FloatRange(min=0.1),
    default=5.0,
    show_default=True,
    help="Seconds between looks, with --watch.",
)
@click.option(
    "--engine",
    type=click.Choice(["duckdb", "spark"]),
    default="duckdb",
    show_default=True,
    help="Who computes; spark always everything.",
)
@click.option(
    "--spark", "spark_remote", envvar="SPARK_REMOTE", metavar="URL", help="Where Spark Connect answers: sc://HOST:PORT."
)
@click.option("--session-gap", default="30m", show_default=True, help="A session ends when more than this passes.")
@click.option("--session-at-gap", is_flag=True, help="Exactly that long ends it, too.")
@click.option("--session-per-campaign", is_flag=True, help="Another campaign begins a session.")
@click.option("--session-midnight", metavar="ZONE", help="Midnight in this time zone ends a session.")
@click.option("--no-client-sessions", is_flag=True, help="Do not go by the session ids that clients send.")
@common
def build(
    full: bool,
    select: tuple[str, ...],
    since: datetime.datetime | None,
    watch: bool,
    every: float,
    engine: str,
    spark_remote: str | None,
    session_gap: str,
    session_at_gap: bool,
    session_per_campaign: bool,
    session_midnight: str | None,
    no_client_sessions: bool,
    lake_uri: str,
    plan_folder: Path | None,
    as_json_text: bool,
) -> None:
    """Bring the journey tables (persons, touchpoints, sessions, stages, …) up to date with the events.

    What is new is built in; everything is built anew where that is not enough, and the reason told.
    """
    from polku_analytics.build import build as run_build
    from polku_analytics.printing import as_json

    lake, plan = Lake(lake_uri), plan_of(plan_folder)
    if engine == "spark":
        if select or since or watch:
            raise AnalyticsError("--engine spark builds everything: without --select, --since and --watch")
        from polku_analytics.engines.choice import build_on_spark

        built = build_on_spark(spark_remote, lake, plan, lambda text: click.echo(f"  {text} …", err=True))
        click.echo(as_json(built) if as_json_text else _told(built))
        return
    sessions = SessionRules(
        gap_seconds=parse_window(session_gap),
        new_at_gap=session_at_gap,
        new_on_campaign=session_per_campaign,
        midnight=session_midnight,
        client_ids=not no_client_sessions,
    )
    asked: dict[str, Any] = {"select": select, "since": since and since.date(), "sessions": sessions}
    if watch:
        _watch(lambda first: run_build(lake, plan, full=full and first, **asked), every, as_json_text)
        return
    # Progress goes to stderr, so that what is printed stays a table or JSON.
    built = run_build(lake, plan, lambda text: click.echo(f"  {text} …", err=True), full=full, **asked)
    click.echo(as_json(built) if as_json_text else _told(built))


def _watch(run_build: Any, every: float, as_json_text: bool) -> None:
    """Build whenever there is something new, a line a build, until SIGINT or SIGTERM."""
    from polku_analytics.printing import as_json_line

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    first, complained = True, ""
    while not ended.is_set():
        try:
            built = run_build(first)
        except (LakeError, AnalyticsError) as error:  # no events yet, a store that is away, another build
            if str(error) != complained:
                complained = str(error)
                click.echo(f"waiting: {complained}", err=True)
        else:
            first, complained = False, ""
            if built.kind != "nothing new":
                click.echo(as_json_line(built) if as_json_text else _line(built))
        ended.wait(every)


def _line(built: Build) -> str:
    at = datetime.datetime.now(datetime.UTC).strftime("%H:%M:%S")
    why = f" ({built.why_full})" if built.why_full else ""
    return (
        f"{at} {built.kind}{why}: {built.new_events} new events, {built.people} people, {built.seconds:.1f} s; "
        f"as of {built.as_of:%Y-%m-%d %H:%M:%S}"
        if built.as_of
        else f"{at} {built.kind}: no events"
    )


def _told(built: Build) -> str:
    """The summary of a build for people."""
    from polku_analytics.printing import aligned

    lines = []
    if built.kind == "nothing new":
        lines.append("nothing new since the last build")
    elif built.kind == "full":
        rows = [[table.name, table.rows, table.seconds] for table in built.tables]
        lines += [aligned(["table", "rows", "seconds"], rows), "", f"everything was built: {built.why_full}"]
    else:
        changed = [[table.name, table.rows, table.changed_rows, table.seconds] for table in built.tables]
        lines += [
            aligned(["table", "rows", "changed", "seconds"], changed),
            "",
            f"{built.new_events} new events, {built.people} people computed again",
        ]
    lines.append(
        f"{built.events} events counted once ({built.duplicate_events} copies and {built.bot_events} events of bots "
        f"left out) in {built.seconds:.1f} s"
    )
    if built.unplaced_events:
        listed = ", ".join(f"{name} ({count})" for name, count in list(built.unplaced_events.items())[:10])
        lines.append(f"not in the plan, so without a stage: {listed}")
    return "\n".join(lines)
