"""The command `polku plan`: finds its subcommands among the installed ones and loads the one it is asked for.

They are click commands in the entry-point group `polku.plan_commands`. Most are in `commands/` beside this module;
those that read the events of a lake are the analytics package's.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Final

import click

GROUP: Final = "polku.plan_commands"


class _Subcommands(click.Group):
    """A group whose commands are entry points, so that `polku plan check` loads no engine and no reader of lakes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_points())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        point = _points().get(cmd_name)
        if point is None:
            return None
        try:
            command = point.load()
        except ModuleNotFoundError as error:
            return _not_installed(point, error.name or str(error))
        return command if isinstance(command, click.Command) else None


def _not_installed(point: EntryPoint, module: str) -> click.Command:
    """Stands for a command whose packages are missing: it is listed, and says what to install."""
    remedy = f"pip install '.[{','.join(point.extras)}]' in a checkout of Polku"

    def refuse() -> None:
        raise click.UsageError(f"`polku plan {point.name}` needs {module!r}, which is not installed: {remedy}")

    return click.Command(point.name, callback=refuse, help=f"(not installed: {remedy})")


def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


@click.command(cls=_Subcommands)
def plan() -> None:
    """Look after the tracking plan: the events, what they carry and where they stand in the journey."""
