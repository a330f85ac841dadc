"""`polku plan docs`: the plan as a page, and as Markdown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from polku_schemas.amounts import counted
from polku_schemas.catalogue import Catalogue, catalogue_of, render_html, render_markdown
from polku_schemas.commands import plan_folder
from polku_schemas.plan import builtin_plan_path, load_plan
from polku_schemas.sources import open_plan

_PAGE: Final = "index.html"
_MARKDOWN: Final = "catalogue.md"

_RENDERERS: Final[dict[str, Callable[[Catalogue], str]]] = {".html": render_html, ".md": render_markdown}


@click.command(short_help="Write the plan as a page that everybody can read.")
@plan_folder
@click.option(
    "--out",
    required=True,
    metavar="FOLDER|FILE",
    type=click.Path(path_type=Path),
    help=f"A folder for {_PAGE}, or the file itself, .html or .md.",
)
@click.option("--markdown", is_flag=True, help=f"Also write {_MARKDOWN} into the folder.")
@click.option(
    "--changes-since",
    "older",
    multiple=True,
    metavar="OLD",
    help="An older plan, as a folder or a git revision: adds a change log. Several times, the oldest first, for more.",
)
@click.option("--title", help="The heading; without it, the plan's name.")
def docs(folder: Path | None, out: Path, markdown: bool, older: tuple[str, ...], title: str | None) -> None:
    """Write the plan as a page that product, privacy and analysis people read.

    The page is one file without need of a network. The same plan gives the same bytes.
    """
    targets = _targets(out, markdown)
    loaded = load_plan(folder or builtin_plan_path())
    catalogue = catalogue_of(loaded, title, [open_plan(source, folder) for source in older])
    events = counted(len(loaded.events), "event")
    for file in targets:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_RENDERERS[file.suffix](catalogue), encoding="utf-8", newline="\n")
        click.echo(f"{file}: {loaded.name} {loaded.version} ({loaded.fingerprint}), {events}")


def _targets(out: Path, markdown: bool) -> list[Path]:
    """The files to write."""
    if out.is_dir() or not out.suffix:
        return [out / _PAGE, *([out / _MARKDOWN] if markdown else [])]
    if out.suffix not in _RENDERERS:
        raise click.UsageError(f"--out {out}: a file ends in {' or '.join(_RENDERERS)}; anything else is a folder")
    if markdown and out.suffix != ".md":
        raise click.UsageError(
            f"--markdown goes with a folder; for the Markdown alone use --out {out.with_suffix('.md')}"
        )
    return [out]
