"""`polku load`."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from polku_analytics.commands.options import common, plan_of
from polku_analytics.errors import AnalyticsError
from polku_analytics.lake import Lake


@click.command()
@click.argument("table", required=False)
@click.argument("file", required=False, metavar="[FILE|-]")
@click.option(
    "--format", "file_format", type=click.Choice(["csv", "ndjson"]), help="Of the file, if its name is silent."
)
@common
def load(
    table: str | None,
    file: str | None,
    file_format: str | None,
    lake_uri: str,
    plan_folder: Path | None,
    as_json_text: bool,
) -> None:
    """Put the rows of a CSV or NDJSON file into a reference table of the plan, such as products or spend.

    Rows are told apart by the key: a known one is changed in the columns that the file has, a new one added. Without a
    FILE, say which columns the TABLE has; without a TABLE, which tables there are.
    """
    from polku_analytics.errors import UnknownNameError
    from polku_analytics.printing import aligned, as_json
    from polku_analytics.reference import FileFormat, described, load_file

    plan = plan_of(plan_folder)
    if table is None:
        rows = [[known.name, ", ".join(known.keys), known.description] for known in plan.reference.values()]
        click.echo(as_json(plan.reference) if as_json_text else aligned(["table", "key", "what it holds"], rows))
        return
    if file is None:
        if table not in plan.reference:
            raise UnknownNameError("reference table", table, plan.reference)
        known = plan.reference[table]
        shown = aligned(["column", "type", "", "what it holds"], list(described(known)))
        click.echo(as_json(known) if as_json_text else shown)
        return
    lake = Lake(lake_uri)
    if not lake.is_remote and not Path(lake.uri).is_dir():
        raise AnalyticsError(f"no lake at {lake.uri}: name another with --lake, or start `polku collector` first")
    loaded = load_file(lake, plan, table, file, cast("FileFormat | None", file_format))
    if as_json_text:
        click.echo(as_json(loaded))
        return
    click.echo(
        f"{loaded.table}: {loaded.rows} rows read, {loaded.inserted} new, {loaded.updated} changed, {loaded.total} "
        "now in the table. Models see them at the next `polku build`."
    )
