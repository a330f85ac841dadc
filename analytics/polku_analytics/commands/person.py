"""`polku person`."""

from __future__ import annotations

from typing import Any

import click

from polku_analytics.commands.options import common, in_period, period_of, plan_of


@click.command()
@click.argument("person_id", metavar="ID")
@click.option("--last", default=50, show_default=True, help="So many touchpoints, the newest.")
@click.option("--all", "whole", is_flag=True, help="All touchpoints.")
@click.option("--personal", is_flag=True, help="Also show what the plan calls personal or sensitive.")
@click.option("--time-zone", default="UTC", show_default=True, help="Of the days.")
@common
@in_period
def person(person_id: str, last: int, whole: bool, personal: bool, **given: Any) -> None:
    """One person's timeline over all channels. ID is a person id, user id or anonymous id."""
    from polku_analytics.analyses.person import PersonQuestion, run_person
    from polku_analytics.journeys import TABLES, open_journeys
    from polku_analytics.lake import Lake
    from polku_analytics.printing import aligned, as_json

    period = period_of(given["since"], given["until"], given["time_zone"])
    journeys = open_journeys(Lake(given["lake_uri"]), plan_of(given["plan_folder"]), (*TABLES, "person_links"))
    question = PersonQuestion(id=person_id, last=None if whole else last, period=period, with_personal=personal)
    result = run_person(journeys, question)
    if given["as_json_text"]:
        click.echo(as_json(result))
        return
    click.echo(
        aligned(["known of them", ""], [[name, str(value)] for name, value in result.options["profile"].items()])
    )
    click.echo("")
    click.echo(aligned(result.columns, result.rows) if result.rows else "(no touchpoints in the period)")
    left_out = result.coverage["earlier_touchpoints_left_out"]
    if left_out:
        click.echo(f"\n{left_out} earlier touchpoints are not shown: --all, or --last {result.coverage['touchpoints']}")
