"""`polku identity`."""

from __future__ import annotations

from typing import Any

import click

from polku_analytics.commands.options import common, plan_of, show


@click.command()
@click.option("--many", "many_ids", default=10, show_default=True, help="So many ids of one person are suspicious.")
@click.option("--shared-by", default=3, show_default=True, help="So many known people on one device are suspicious.")
@click.option("--top", default=20, show_default=True, help="Rows of each finding.")
@common
def identity(many_ids: int, shared_by: int, top: int, **given: Any) -> None:
    """Merges of ids that look wrong, and people who may be there twice."""
    from polku_analytics.analyses.identity_report import IdentityQuestion, run_identity
    from polku_analytics.journeys import TABLES, open_journeys
    from polku_analytics.lake import Lake

    journeys = open_journeys(Lake(given["lake_uri"]), plan_of(given["plan_folder"]), (*TABLES, "person_links"))
    show(run_identity(journeys, IdentityQuestion(many_ids=many_ids, shared_by=shared_by, top=top)), given)
