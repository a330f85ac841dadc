"""The command `polku plan`: check a tracking plan, and list what is in it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from polku_schemas.errors import PlanError
from polku_schemas.journey import stage_values
from polku_schemas.model import Event, Plan, Rule
from polku_schemas.plan import builtin_plan_path, load_plan

_FINDINGS_EXIT_CODE: Final = 1
"""The plan was read and is not good; 2 is for a command that could not do its work."""

_NO_STAGE_TITLE: Final = "no stage"

_folder = click.argument(
    "folder",
    metavar="[DIR]",
    required=False,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)


@click.group()
def plan() -> None:
    """Look after the tracking plan: the events, what they carry and where they stand in the journey.

    DIR is the folder that holds plan.yaml; without it the built-in e-commerce plan is taken.
    """


@plan.command()
@_folder
def check(folder: Path | None) -> None:
    """Say everything that is wrong with a plan. Exit code 0: nothing, 1: there are findings."""
    path = folder or builtin_plan_path()
    try:
        loaded = load_plan(path)
    except PlanError as error:
        for finding in error.findings:
            click.echo(f"{path}/{finding}")
        count = len(error.findings)
        click.echo(f"{count} finding{'' if count == 1 else 's'}")
        sys.exit(_FINDINGS_EXIT_CODE)
    click.echo(
        f"{loaded.name} {loaded.version} ({loaded.fingerprint}): {len(loaded.events)} events, "
        f"{len(loaded.properties)} properties, {len(loaded.traits)} traits, nothing to correct"
    )


@plan.command("list")
@_folder
def list_events(folder: Path | None) -> None:
    """Show the events by the stage they place a person in.

    An event with rules stands under each stage it can lead to.
    """
    loaded = load_plan(folder or builtin_plan_path())
    by_stage = _by_stage(loaded)
    names = max((len(name) for name in loaded.events), default=0)
    for stage, events in by_stage.items():
        click.secho(f"{stage} ({len(events)})", bold=True)
        for event in events:
            mark = "*" if len(stage_values(event)) > 1 else " "
            where = f"{_said(event.touchpoint)} · {_said(event.channel) or 'the source'}"
            click.echo(f" {mark} {event.name:<{names}}  {where}")
    click.echo("* depends on the properties of the event or on the person's past")


def _by_stage(loaded: Plan) -> dict[str, list[Event]]:
    """Every stage of the plan in its order, also those without events, then the events without one."""
    by_stage: dict[str, list[Event]] = {stage: [] for stage in loaded.stages}
    for event in loaded.events.values():
        for stage in stage_values(event) or (_NO_STAGE_TITLE,):
            by_stage.setdefault(stage, []).append(event)
    return by_stage


def _said(rules: tuple[Rule, ...]) -> str:
    return " | ".join(dict.fromkeys(rule.then for rule in rules))
