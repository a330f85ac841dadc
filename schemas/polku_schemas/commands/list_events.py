"""`polku plan list`: the events by the stage they place a person in."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from polku_schemas.commands import plan_folder
from polku_schemas.journey import stage_values
from polku_schemas.model import Event, Plan, Rule
from polku_schemas.plan import builtin_plan_path, load_plan

_NO_STAGE_TITLE: Final = "no stage"


@click.command("list")
@plan_folder
def list_events(folder: Path | None) -> None:
    """Show the events by the stage they place a person in.

    An event with rules stands under each stage it can lead to. Beside an event stand its touchpoint and its channel.
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
    click.echo("  touchpoint · channel; the source: the channel of the source that sends the event")


def _by_stage(loaded: Plan) -> dict[str, list[Event]]:
    """Every stage of the plan in its order, also those without events, then the events without one."""
    by_stage: dict[str, list[Event]] = {stage: [] for stage in loaded.stages}
    for event in loaded.events.values():
        for stage in stage_values(event) or (_NO_STAGE_TITLE,):
            by_stage.setdefault(stage, []).append(event)
    return by_stage


def _said(rules: tuple[Rule, ...]) -> str:
    return " | ".join(dict.fromkeys(rule.then for rule in rules))
