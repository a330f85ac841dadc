"""`polku plan generate`: typed events for the user's own repository, or the check that those there are up to date."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from polku_schemas.commands import FINDINGS_EXIT_CODE, plan_folder
from polku_schemas.generate import (
    Target,
    difference,
    python_source,
    python_types_source,
    typescript_source,
    write,
)
from polku_schemas.model import Plan
from polku_schemas.plan import builtin_plan_path, load_plan

_file = click.Path(dir_okay=False, path_type=Path)


@click.command()
@plan_folder
@click.option("--python", "python_file", type=_file, help="Write a Python module here.")
@click.option("--typescript", "typescript_file", type=_file, help="Write a TypeScript module here.")
@click.option("--events", "events", metavar="NAME,…", help="Only these events; `traits` among them for the traits.")
@click.option("--types-only", is_flag=True, help="Leave out what does something: plain types for any client.")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit with 1 if a file is not up to date.")
def generate(
    folder: Path | None,
    python_file: Path | None,
    typescript_file: Path | None,
    events: str | None,
    types_only: bool,
    only_check: bool,
) -> None:
    """Write typed events into your repository.

    The files need the plan no more when they run, and are the same bytes for the same plan.
    """
    if python_file is None and typescript_file is None:
        raise click.UsageError("nothing to write: give --python FILE, --typescript FILE or both")
    if python_file is not None and typescript_file is not None and python_file.resolve() == typescript_file.resolve():
        raise click.UsageError("--python and --typescript name one file: give each its own")
    plan = load_plan(folder or builtin_plan_path())
    selected = None if events is None else {name.strip() for name in events.split(",") if name.strip()}
    targets = _targets(plan, python_file, typescript_file, selected, types_only)
    if only_check:
        options = {"--python": python_file, "--typescript": typescript_file, "--events": events}
        given = [word for name, value in options.items() if value is not None for word in (name, str(value))]
        _check(targets, [*([str(folder)] if folder else []), *given, *(["--types-only"] if types_only else [])])
        return
    for target in targets:
        click.echo(f"{target.path}: {'written' if write(target) else 'up to date'}")


def _targets(
    plan: Plan, python_file: Path | None, typescript_file: Path | None, selected: set[str] | None, types_only: bool
) -> list[Target]:
    targets = []
    if python_file is not None:
        source = python_types_source(plan, selected) if types_only else python_source(plan, selected)
        targets.append(Target(python_file, source))
    if typescript_file is not None:
        targets.append(Target(typescript_file, typescript_source(plan, selected, types_only=types_only)))
    return targets


def _check(targets: list[Target], arguments: list[str]) -> None:
    differences = [difference(target) for target in targets]
    for target, text in zip(targets, differences, strict=True):
        click.echo(text or f"{target.path}: up to date")
    if any(differences):
        click.echo(f"Not what the plan says. Run: polku plan generate {shlex.join(arguments)}")
        sys.exit(FINDINGS_EXIT_CODE)
