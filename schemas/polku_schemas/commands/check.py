"""`polku plan check`: everything that is wrong with a plan, at once."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from polku_schemas.commands import FINDINGS_EXIT_CODE, plan_folder
from polku_schemas.errors import PlanError
from polku_schemas.plan import builtin_plan_path, load_plan


@click.command()
@plan_folder
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
        sys.exit(FINDINGS_EXIT_CODE)
    click.echo(
        f"{loaded.name} {loaded.version} ({loaded.fingerprint}): {len(loaded.events)} events, "
        f"{len(loaded.properties)} properties, {len(loaded.traits)} traits, nothing to correct"
    )
