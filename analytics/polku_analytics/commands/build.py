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
from polku_analytics.session_rules import DEFAULT_RULES, SessionRules
from polku_schemas.amounts import counted

if TYPE_CHECKING:
    from polku_analytics.build import Build


@click.command()
@click.option("--full", is_flag=True, help="Build everything anew, not only what is new.")
@click.option(
    "--select", "-s", multiple=True, metavar="TABLE", help="Only this table and those it rests on; again: more."
)
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%d"]), metavar="DAY", help="Only events of this UTC day and later."
)
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
@click.option("--session-gap", help="A session ends when more than this passes.  [default: 30m]")
@click.option("--session-at-gap", is_flag=True, help="Exactly that long ends it, too.")
@click.option("--session-per-campaign", is_flag=True, help="Another campaign begins a session.")
@click.option("--session-midnight", metavar="ZONE", help="Midnight in this time zone ends a session.")
@click.option("--no-client-sessions", is_flag=True, help="Do not go by the session ids that clients send.")
@click.option("--session-defaults", is_flag=True, help="None of these: back to the rules of the beginning.")
@common
def build(
    full: bool,
    select: tuple[str, ...],
    since: datetime.datetime | None,
    watch: bool,
    every: float,
    engine: str,
    spark_remote: str | None,
    session_gap: str | None,
    session_at_gap: bool,
    session_per_campaign: bool,
    session_midnight: str | None,
    no_client_sessions: bool,
    session_defaults: bool,
    lake_uri: str,
    plan_folder: Path | None,
    as_json_text: bool,
) -> None:
    """Bring the journey tables (persons, touchpoints, sessions, stages, …) up to date with the events.

    What is new is built in; everything is built anew where that is not enough, and the reason told.

    The rules by which sessions end are kept by the lake: those that are named here replace all of them, without any
    the build goes on with those of the last one.
    """
    from polku_analytics.build import build as run_build
    from polku_analytics.printing import as_json

    lake, plan = Lake(lake_uri), plan_of(plan_folder)
    sessions = _rules(
        session_gap, session_at_gap, session_per_campaign, session_midnight, no_client_sessions, session_defaults
    )
    if engine == "spark":
        if select or since or watch:
            raise AnalyticsError("--engine spark builds everything: without --select, --since and --watch")
        from polku_analytics.engines.choice import build_on_spark

        built = build_on_spark(spark_remote, lake, plan, _tell_progress, sessions)
        click.echo(as_json(built) if as_json_text else _told(built))
        return
    asked: dict[str, Any] = {"select": select, "since": since and since.date()}
    if watch:
        # Rules are named once: a build of somebody else with other rules is not undone.
        _watch(
            lambda first: run_build(lake, plan, full=full and first, sessions=sessions if first else None, **asked),
            every,
            as_json_text,
        )
        return
    built = run_build(lake, plan, _tell_progress, full=full, sessions=sessions, **asked)
    click.echo(as_json(built) if as_json_text else _told(built))


def _tell_progress(text: str) -> None:
    """To stderr, so that what is printed stays a table or JSON."""
    click.echo(f"  {text} …", err=True)


def _rules(
    gap: str | None, at_gap: bool, per_campaign: bool, midnight: str | None, no_client_ids: bool, defaults: bool
) -> SessionRules | None:
    """The rules that were named; None if none was."""
    named = bool(gap or at_gap or per_campaign or midnight or no_client_ids)
    if defaults and named:
        raise AnalyticsError("--session-defaults is the way back from the other --session-… options: give it alone")
    if not named:
        return DEFAULT_RULES if defaults else None
    return SessionRules(
        gap_seconds=DEFAULT_RULES.gap_seconds if gap is None else parse_window(gap),
        new_at_gap=at_gap,
        new_on_campaign=per_campaign,
        midnight=midnight,
        client_ids=not no_client_ids,
    )


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
    changed = f"{', '.join(built.loaded)} changed" if built.loaded else ""
    why = f" ({built.why_full or changed})" if built.why_full or changed else ""
    return (
        f"{at} {built.kind}{why}: {counted(built.new_events, 'new event')}, "
        f"{counted(built.people, 'person', 'people')}, {built.seconds:.1f} s; "
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
            f"{counted(built.new_events, 'new event')}, {counted(built.people, 'person', 'people')} computed again",
        ]
        lines += [f"changed since the last build: {', '.join(built.loaded)}"] if built.loaded else []
    lines.append(
        f"{counted(built.events, 'event')} counted once ({counted(built.duplicate_events, 'copy', 'copies')} and "
        f"{counted(built.bot_events, 'event')} of bots left out) in {built.seconds:.1f} s"
    )
    if built.sessions != DEFAULT_RULES:
        lines.append(f"sessions: {built.sessions.words}; later builds go on with it, --session-defaults ends it")
    if built.unplaced_events:
        listed = ", ".join(f"{name} ({count})" for name, count in list(built.unplaced_events.items())[:10])
        lines.append(f"not in the plan, so without a stage: {listed}")
    return "\n".join(lines)
