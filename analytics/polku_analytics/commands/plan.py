"""The commands `polku plan infer`, `drift` and `test`: options in, text out, nothing computed here."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

import click

from polku_analytics.lake import Lake
from polku_analytics.period import Period
from polku_schemas import builtin_plan_path, compile_plan, load_plan
from polku_schemas.commands import FINDINGS_EXIT_CODE, plan_folder

_DAY = click.DateTime(["%Y-%m-%d"])
_source = click.option("--source", "sources", multiple=True, help="Only events of this source; may be given again.")
_until = click.option(
    "--until", type=_DAY, metavar="DAY", help="Up to this UTC day, not including it.  [default: with today]"
)
_SECTIONS = ("unplanned", "unseen", "changed", "quarantine")
_json = click.option("--json", "as_json_text", is_flag=True, help="Print JSON.")


@click.command(short_help="Try a plan on the real events of a lake.")
@plan_folder
@click.option("--against", "lake_uri", required=True, metavar="LAKE", help="Folder or s3:// URL of the lake.")
@click.option("--days", default=1, show_default=True, type=click.IntRange(min=1), help="Full UTC days before today.")
@click.option("--since", type=_DAY, metavar="DAY", help="From this UTC day, whatever --days says.")
@_until
@_source
@click.option("--strict", multiple=True, metavar="SOURCE", help="A source that quarantines what is unplanned.")
@_json
def test(
    folder: Path | None,
    lake_uri: str,
    days: int,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
    sources: tuple[str, ...],
    strict: tuple[str, ...],
    as_json_text: bool,
) -> None:
    """Try a plan on the real events of a lake, and say how many would break.

    Exit code 0: none, 1: some, 2: the events or the plan cannot be read, or there are none.
    """
    from polku_analytics.contract.observed import ObservedLake
    from polku_analytics.contract.trial import try_plan
    from polku_analytics.contract.trial_text import explained
    from polku_analytics.contract.window import in_words, nothing_to_read
    from polku_analytics.printing import as_json

    plan, lake, period = load_plan(folder or builtin_plan_path()), Lake(lake_uri), _period(days, since, until)
    trial = try_plan(plan, ObservedLake(lake, period, sources), strict)
    if not trial.events and not trial.quarantine:
        raise nothing_to_read(lake, period, sources)
    click.echo(as_json(trial) if as_json_text else explained(trial, f"{lake.uri}, {in_words(period)}"))
    if not trial.passes:
        sys.exit(FINDINGS_EXIT_CODE)


def _period(days: int, since: datetime.datetime | None, until: datetime.datetime | None) -> Period:
    from polku_analytics.contract.window import last_days

    today = datetime.datetime.now(datetime.UTC).date()
    return last_days(days, today, since and since.date(), until and until.date())


@click.command(short_help="Draft a plan from events.")
@click.argument("file", required=False, metavar="[FILE.ndjson|-]")
@click.option("--lake", "lake_uri", help="Read the events of a lake instead: its folder or s3:// URL.")
@click.option("--days", default=30, show_default=True, type=click.IntRange(min=1), help="Full UTC days before today.")
@click.option("--since", type=_DAY, metavar="DAY", help="From this UTC day, whatever --days says.")
@_until
@_source
@click.option("--events", "names", multiple=True, metavar="NAME", help="Only this event; may be given again.")
@click.option(
    "--plan",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Complete this plan with what it does not know, instead of drafting a new one.",
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the plan.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
def infer(
    file: str | None,
    lake_uri: str | None,
    days: int,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
    sources: tuple[str, ...],
    names: tuple[str, ...],
    folder: Path | None,
    out: Path,
    force: bool,
) -> None:
    """Draft a plan from the events of a lake or of a file with one JSON object a line (- is standard input)."""
    from polku_analytics.contract.drafting import draft_from
    from polku_analytics.contract.infer_text import explained
    from polku_analytics.contract.ndjson import EventFile
    from polku_analytics.contract.observed import ObservedLake
    from polku_analytics.contract.window import in_words, nothing_to_read

    if (file is None) == (lake_uri is None):
        raise click.UsageError("give a file, - for standard input, or --lake")
    if lake_uri is not None:
        lake, period = Lake(lake_uri), _period(days, since, until)
        observed = ObservedLake(lake, period, sources)
        if not observed.uses() and not observed.strict_sources():
            raise nothing_to_read(lake, period, sources)
        origin, events, bad = f"{lake.uri}, {in_words(period)}", observed.all_batches, []
    else:
        events_file = EventFile(file or "-")
        origin, events, bad = events_file.name, events_file.batches, events_file.bad
    words = load_plan(builtin_plan_path())
    drafted = draft_from(events, out, origin, words, complete=folder, names=names, force=force)
    click.echo(explained(drafted, out, origin, bad))


@click.command(short_help="Say where events have moved away from the plan.")
@plan_folder
@click.option("--lake", "lake_uri", required=True, help="Folder or s3:// URL of the lake.")
@click.option("--days", default=7, show_default=True, type=click.IntRange(min=1), help="Full UTC days before today.")
@click.option(
    "--baseline-days", default=28, show_default=True, type=click.IntRange(min=1), help="The days before those."
)
@_until
@_source
@click.option("--only", multiple=True, type=click.Choice(_SECTIONS), help="Look for this only; may be given again.")
@_json
def drift(
    folder: Path | None,
    lake_uri: str,
    days: int,
    baseline_days: int,
    until: datetime.datetime | None,
    sources: tuple[str, ...],
    only: tuple[Any, ...],
    as_json_text: bool,
) -> None:
    """Say where the events of a lake have moved away from the plan, and what has changed in them.

    Exit code 0: nowhere, 1: there is drift, 2: the events or the plan cannot be read, or there are none.
    """
    from polku_analytics.contract.drift import SECTIONS, find_drift
    from polku_analytics.contract.drift_facts import gather_facts
    from polku_analytics.contract.drift_text import explained
    from polku_analytics.contract.observed import ObservedLake
    from polku_analytics.contract.window import days_before, in_words, nothing_to_read
    from polku_analytics.printing import as_json

    plan, lake, window = load_plan(folder or builtin_plan_path()), Lake(lake_uri), _period(days, None, until)
    baseline = days_before(window, baseline_days)
    assert window.since is not None  # noqa: S101 - it was made of a number of days
    window_start = window.since
    observed = ObservedLake(lake, Period(baseline.since, window.until), sources)
    found = find_drift(plan, gather_facts(observed, compile_plan(plan), window_start), only or SECTIONS)
    if not found.events:
        raise nothing_to_read(lake, window, sources)
    click.echo(as_json(found) if as_json_text else explained(found, lake.uri, in_words(window), in_words(baseline)))
    if found.is_found:
        sys.exit(FINDINGS_EXIT_CODE)
