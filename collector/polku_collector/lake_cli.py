"""`polku lake …`: work on the tables of a lake, beside a running collector or without one."""

from __future__ import annotations

import datetime
import functools
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from .errors import CollectorError, SettingsError
from .logs import configure
from .settings import load

if TYPE_CHECKING:
    from .maintain.copies import Copies
    from .maintain.plan import Merge
    from .maintain.rewrite import Rewritten
    from .replay.report import Group, Report
    from .settings import Settings

# Rows are left in quarantine.
EXIT_SOME_STAY = 1

# As a collector that is stopped before all is committed.
EXIT_NOT_DRAINED = 75

_DAY = click.DateTime(["%Y-%m-%d"])
_REASONS_SHOWN = 5


@click.group()
def lake() -> None:
    """Look after the tables of a lake."""


@lake.command(short_help="Judge quarantined events again, and move those that pass.")
@click.option("--lake", metavar="URI", help="Where the tables live: a directory or s3://bucket/prefix.")
@click.option("--plan", metavar="DIR", help="The tracking plan; without it the built-in e-commerce plan.")
@click.option("--map", "mapping", metavar="FILE", type=click.Path(path_type=Path), help="How events are mended first.")
@click.option("--since", type=_DAY, metavar="DAY", help="Received from this UTC day.")
@click.option("--until", type=_DAY, metavar="DAY", help="Received up to this UTC day, not including it.")
@click.option("--code", "codes", metavar="CODE", multiple=True, help="Refused for this reason; may be repeated.")
@click.option(
    "--event", "events", metavar="NAME", multiple=True, help="Of this event, as it was sent; may be repeated."
)
@click.option("--source", "sources", metavar="NAME", multiple=True, help="From this source; may be repeated.")
@click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help="The collector's settings file.")
@click.option("--dry-run", is_flag=True, help="Change nothing, and show what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def replay(
    lake: str | None,
    plan: str | None,
    mapping: Path | None,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
    codes: tuple[str, ...],
    events: tuple[str, ...],
    sources: tuple[str, ...],
    config: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Judge quarantined events again, with the plan of today, and move those that pass to `events`.

    Each becomes one row, however often this is run or interrupted. Exit code 0: all selected events passed; 1: some
    stay in `quarantine`; 2: it could not work.
    """
    # Late: `polku` itself must list its commands without loading an engine.
    from .compose_replay import replay as run
    from .replay.mapping import Mapping
    from .replay.mapping_file import read_mapping
    from .replay.rows import Selection

    if since is not None and until is not None and since >= until:
        raise SettingsError(f"--since {since.date()} is not before --until {until.date()}")
    # Without a file every source has the defaults, as the source of --dev has them.
    settings = load(config, os.environ, {"lake": lake, "plan": plan, "dev": config is None})
    configure(readable=True)
    report = run(
        settings,
        Selection(
            since=since and since.date(),
            until=until and until.date(),
            codes=codes,
            events=events,
            sources=sources,
        ),
        read_mapping(mapping) if mapping is not None else Mapping(),
        dry_run=dry_run,
        progress=_progress,
    )
    if as_json:
        click.echo(json.dumps(report.document(), ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(_lines(report)))
    for entry in report.unused_entries:
        click.echo(f"the mapping's entry {entry!r} was of use for no event", err=True)
    if report.total.staying:
        sys.exit(EXIT_SOME_STAY)


@lake.command("commit-handed-over", short_help="Commit for collectors that hand their files over.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--lake", metavar="URI", help="Where the tables live: a directory or s3://bucket/prefix.")
@click.option("--once", is_flag=True, help="Commit what is there, and end.")
def commit_handed_over(config: Path, lake: str | None, once: bool) -> None:
    """Commit the files of collectors with [lake] commit = "hand_over", until it is told to stop.

    A collector with commit = "for_all" does it beside its own work; this is for a machine that does nothing else. Two
    at once do no harm. SIGTERM ends it after the commit it is at; it can be killed at any moment.
    """
    from .compose_handover import take_once, take_until_stopped

    settings = load(config, os.environ, {"lake": lake})
    configure(readable=settings.dev)
    if once:
        click.echo(f"{take_once(settings)} rows committed")
    else:
        take_until_stopped(settings)


@lake.command(short_help="Bring the Iceberg tables up to date, once.")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--lake", metavar="URI", help="Where the tables live: a directory or s3://bucket/prefix.")
@click.option("--status", is_flag=True, help="Change nothing, and show how far the mirror is behind.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def mirror(config: Path, lake: str | None, status: bool, as_json: bool) -> None:
    """Bring the Iceberg tables of [lake.iceberg] in CONFIG up to date, once.

    A collector with that setting does it by itself; this is for a lake whose collectors do not, run by cron, say. Two
    at once do no harm. Exit code 0: done; 2: it could not work, and can be tried again.
    """
    from .compose_mirror import mirror_lags, mirror_once

    settings = load(config, os.environ, {"lake": lake})
    configure(readable=True)
    lags = mirror_lags(settings) if status else mirror_once(settings)
    if as_json:
        click.echo(json.dumps([msgspec.to_builtins(lag) for lag in lags], indent=2))
        return
    if not lags:
        click.echo("the lake has no tables yet")
    for lag in lags:
        stands = (
            "nothing mirrored yet" if lag.mirrored_version is None else f"mirrored to version {lag.mirrored_version}"
        )
        behind = f"{lag.versions} commits behind, {lag.seconds:.0f} s" if lag.versions else "up to date"
        click.echo(f"{lag.table}: {stands} of {lag.delta_version}, {behind}")


def _progress(report: Report) -> None:
    total = report.total
    click.echo(f"{total.looked_at} rows looked at, {total.replayed} replayed", err=True)


_COLUMNS = ("looked_at", "replayed", "duplicates", "broken", "taken", "unreadable")


def _lines(report: Report) -> list[str]:
    """The report as a table, then the reasons of what stays."""
    groups = sorted(report.groups.items(), key=lambda entry: (-entry[1].looked_at, entry[0]))
    groups = [(key, group) for key, group in groups if group.looked_at]
    lines = []
    if report.finished:
        lines.append(f"{report.finished} rows of a run that was interrupted: in events already, now out of quarantine")
    if not groups:
        return [*lines, "nothing to replay"]
    head = ("source", "event", "code", *(name.replace("_", " ") for name in _COLUMNS))
    cells = [head, *((*key, *_numbers(group)) for key, group in groups), ("all", "", "", *_numbers(report.total))]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        texts = [text.ljust(width) for text, width in zip(row[:3], widths[:3], strict=True)]
        numbers = [text.rjust(width) for text, width in zip(row[3:], widths[3:], strict=True)]
        lines.append("  ".join([*texts, *numbers]).rstrip())
    for (source, event, code), group in groups:
        for reason, count in group.reasons.most_common(_REASONS_SHOWN):
            lines.append(f"{source} {event} {code}: {count} now {reason}")
    if report.total.later:
        lines.append(f"{report.total.later} rows came while this ran: run it again for them")
    if report.dry_run:
        lines.append("dry run: nothing was changed")
    return lines


def _numbers(group: Group) -> list[str]:
    return [str(getattr(group, name)) for name in _COLUMNS]


# Looking after the tables --------------------------------------------------------------------------------------------

_lake_option = click.option("--lake", metavar="URI", help="Where the tables live: a directory or s3://bucket/prefix.")
_config_option = click.option(
    "--config", metavar="FILE", type=click.Path(path_type=Path), help="The collector's settings file."
)
_dry_run_option = click.option("--dry-run", is_flag=True, help="Change nothing, and show what would be done.")
_json_option = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")


def _settings(config: Path | None, **flags: object) -> Settings:
    """Without a file, the defaults."""
    settings = load(config, os.environ, {**flags, "dev": config is None})
    configure(readable=True)
    return settings


@lake.command(short_help="Merge small files, and remove copies of events.")
@_lake_option
@_config_option
def compact(lake: str | None, config: Path | None) -> None:
    """Merge the small files of all days, and remove copies of events that came in through several collectors.

    A collector does so by itself while a table has too many files; this does all that can be done, beside collectors
    or without one.
    """
    from .compose_maintenance import by_hand, patiently

    settings = _settings(config, lake=lake)
    counter = _Counter()
    with by_hand(settings, counter, writes=True) as (maintainer, tables):
        for table in tables:
            before = len(table.files())
            patiently(functools.partial(maintainer.compact, table, everything=True))
            table.reopen()
            click.echo(f"{table.name}: {before} files are now {len(table.files())}")
    if counter.copies or counter.conflicting:
        click.echo(
            f"{counter.copies} copies removed; {counter.conflicting} events share their id with another one of other "
            "content and were kept"
        )
    if counter.failures:
        sys.exit(2)


@lake.command(short_help="Delete files that left a table long ago.")
@_lake_option
@_config_option
@click.option(
    "--full",
    is_flag=True,
    help="Also files that never became part of a table, and what else killed writers left. Lists the whole folder.",
)
@_dry_run_option
def vacuum(lake: str | None, config: Path | None, full: bool, dry_run: bool) -> None:
    """Delete files that left a table longer ago than `maintenance.vacuum_retention_hours`."""
    from .compose_maintenance import by_hand

    settings = _settings(config, lake=lake)
    with by_hand(settings, _Counter(), writes=not dry_run) as (maintainer, tables):
        for table in tables:
            found = maintainer.leftovers(table, full=full)
            uploads = f"; {len(found.uploads)} unfinished uploads" if found.uploads else ""
            if dry_run:
                click.echo(
                    f"{table.name}: {len(found.paths)} files would be deleted, {found.size_bytes} bytes, "
                    f"{len(found.orphans)} of them never part of it{uploads}"
                )
            elif maintainer.vacuum(table, full=full) is None:
                hours = settings.maintenance.vacuum_retention_hours
                click.echo(
                    f"{table.name}: the table had been told to remember removed files for another time; it is now for "
                    f"{hours} hours. Run this again in {hours} hours: until then files that readers need could be taken"
                )
            else:
                click.echo(f"{table.name}: {len(found.paths)} files deleted, {found.size_bytes} bytes{uploads}")
        if full and (swept := maintainer.sweep(dry_run=dry_run)):
            would = "would be deleted" if dry_run else "deleted"
            click.echo(f"beside the tables: {len(swept)} left by writers that were killed, {would}")
    if dry_run:
        click.echo("dry run: nothing was changed")


@lake.command(short_help="Take out the rows that are older than the settings allow.")
@_lake_option
@click.option("--config", metavar="FILE", required=True, type=click.Path(path_type=Path), help="It has the limits.")
@_dry_run_option
def expire(lake: str | None, config: Path, dry_run: bool) -> None:
    """Take rows out of the tables that are older than `[maintenance.retention]` allows.

    A collector does so once a day. The files stay until a vacuum, so that what was removed can be brought back.
    """
    from .compose_maintenance import by_hand, patiently

    settings = _settings(config, lake=lake)
    with by_hand(settings, _Counter(), writes=not dry_run) as (maintainer, tables):
        for table in tables:
            files, rows = patiently(functools.partial(maintainer.expire, table, dry_run=dry_run))
            would = "would be" if dry_run else "were"
            click.echo(f"{table.name}: {rows} rows of {files} files {would} removed")
    if dry_run:
        click.echo("dry run: nothing was changed")


@lake.command(short_help="Show the tables, what waits, what it costs and what to do.")
@_lake_option
@_config_option
@click.option(
    "--journal", metavar="DIR", type=click.Path(path_type=Path), help="The journal of a collector, to be looked at too."
)
@_json_option
def status(lake: str | None, config: Path | None, journal: Path | None, as_json: bool) -> None:
    """Show the tables of a lake and their Iceberg mirror, what waits in a journal, what it costs, and what to do."""
    import msgspec

    from .compose_status import status as look
    from .maintain.status import lines_of

    found = look(_settings(config, lake=lake), journal)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        click.echo("\n".join(lines_of(found)))


@lake.command(short_help="Commit what a journal still holds.")
@_lake_option
@_config_option
@click.option("--journal", metavar="DIR", required=True, help="The journal that no collector has any more.")
@click.option("--plan", metavar="DIR", help="The tracking plan, if the journal does not have its own.")
def drain(lake: str | None, config: Path | None, journal: str, plan: str | None) -> None:
    """Commit what a journal still holds, without taking new events. Exit code 0: all of it; 75: some is left."""
    from .compose_committer import drain as run

    settings = _settings(config, lake=lake, journal=journal, plan=plan)
    try:
        left = run(settings, lambda left: click.echo(f"{left} events wait", err=True))
    except CollectorError as error:
        if not error.transient:
            raise
        click.echo(str(error), err=True)
        sys.exit(EXIT_NOT_DRAINED)
    if left:
        click.echo(f"{left} events are left in the journal {journal}: run this again")
        sys.exit(EXIT_NOT_DRAINED)
    click.echo(f"the journal {journal} is empty")


class _Counter:
    """Counts for one command what a collector's metrics count."""

    def __init__(self) -> None:
        self.copies = self.conflicting = self.failures = 0

    def files(self, table: str, count: int) -> None: ...

    def compacted(self, table: str, merge: Merge, done: Rewritten, copies: Copies, seconds: float) -> None:
        self.copies += copies.dropped
        self.conflicting += copies.conflicting
        click.echo(f"{table} {merge.partition}: {done.files_before} files merged", err=True)

    def dropped(self, table: str, files: int, rows: int) -> None: ...

    def vacuumed(self, table: str, files: int) -> None: ...

    def failed(self, table: str, error: Exception) -> None:
        self.failures += 1
        click.echo(str(error), err=True)
