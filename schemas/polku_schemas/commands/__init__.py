"""The subcommands of `polku plan` that need a plan only: options in, text out, nothing decided here."""

from __future__ import annotations

from pathlib import Path

import click

plan_folder = click.argument(
    "folder",
    metavar="[DIR]",
    required=False,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
"""The folder that holds plan.yaml; without it the built-in e-commerce plan is taken."""

FINDINGS_EXIT_CODE = 1
"""The work was done and something was found; 2 is for a command that could not do its work."""
