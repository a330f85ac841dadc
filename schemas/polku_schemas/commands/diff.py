"""`polku plan diff`: what changed between two plans, or between a table and a plan, and whether the versions say so."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from polku_schemas.commands import FINDINGS_EXIT_CODE
from polku_schemas.commands.diff_formats import FORMATS, Outcome
from polku_schemas.compare import compare, compare_table
from polku_schemas.errors import SourceError
from polku_schemas.events_table import is_table, read_columns
from polku_schemas.sources import open_plan


@click.command(short_help="Say what changed between two plans, and what it breaks.")
@click.argument("old")
@click.argument("new")
@click.option(
    "--folder", metavar="DIR", type=click.Path(file_okay=False), help="The folder that a revision without a path means."
)
@click.option("--lake", metavar="URI", help="Also compare NEW with the table of events in this lake.")
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="text", show_default=True)
@click.option(
    "--breaking-fails", is_flag=True, help="Exit with 1 for a breaking change that has its major version, too."
)
def diff(old: str, new: str, folder: str | None, lake: str | None, form: str, *, breaking_fails: bool) -> None:
    """Say what changed between two plans, what it breaks, and which versions that needs.

    OLD and NEW are folders, or git revisions of a folder as `git show` writes them: `main:my-plan`; `main` alone means
    the folder that the other operand is. OLD may be a lake instead (a folder, or s3://BUCKET/PREFIX): then the plan is
    compared with the columns that its table of events really has.

    Exit code 0: compatible, or breaking with new major versions. 1: a version says too little, a column would need
    another type. 2: this could not be compared.
    """
    if is_table(new):
        raise SourceError(f"{new} is a table: only OLD can be one, NEW is the plan for it")
    new_plan = open_plan(new, folder or _folder(old))
    lake = old if is_table(old) else lake
    outcome = Outcome(
        old=old,
        new=new,
        plans=None if lake == old else compare(open_plan(old, folder or _folder(new)), new_plan),
        lake=lake or "",
        table=None if lake is None else compare_table(read_columns(lake, os.environ), new_plan),
        breaking_fails=breaking_fails,
    )
    click.echo(FORMATS[form](outcome))
    if not outcome.passed:
        sys.exit(FINDINGS_EXIT_CODE)


def _folder(operand: str) -> str | None:
    """The folder that the other operand, if it is a revision alone, is about."""
    return operand if Path(operand).is_dir() and not is_table(operand) else None
