"""`polku report`."""

from __future__ import annotations

from pathlib import Path

import click

from polku_analytics.commands.options import common, plan_of
from polku_analytics.lake import Lake


@click.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The HTML file to write.")
@click.option("--title", default="Customer journeys", show_default=True)
@click.option("--note", "notes", multiple=True, help="A sentence for the head of the report; may be given again.")
@click.option("--link", "links", multiple=True, metavar="TEXT=URL", help="A link to another page; may be given again.")
@click.option("--not-collected", multiple=True, metavar="STAGE", help="A stage the data cannot show.")
@click.option("--time-zone", default="UTC", show_default=True, help="Of hours, weekdays and days.")
@common
def report(
    out: Path,
    title: str,
    notes: tuple[str, ...],
    links: tuple[str, ...],
    not_collected: tuple[str, ...],
    time_zone: str,
    lake_uri: str,
    plan_folder: Path | None,
    as_json_text: bool,
) -> None:
    """Write one HTML page that shows the journeys; it opens without a network."""
    from polku_analytics.printing import as_json
    from polku_analytics.report import ReportContext, read_link, write_report

    context = ReportContext(
        title=title,
        notes=notes,
        links=tuple(read_link(link) for link in links),
        not_collected=not_collected,
        time_zone=time_zone,
    )
    figures = write_report(Lake(lake_uri), plan_of(plan_folder), out, context)
    click.echo(as_json(figures) if as_json_text else f"wrote {out}")
