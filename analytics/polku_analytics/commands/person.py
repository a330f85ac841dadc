"""`polku person`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from polku_analytics.commands.options import answering, common, in_period, opened, period_of
from polku_analytics.result import AnalysisResult


def _show_person(result: AnalysisResult, given: Mapping[str, Any]) -> None:
    from polku_analytics.printing import aligned, as_json

    if given["as_json_text"]:
        click.echo(as_json(result))
        return
    click.echo(aligned(["known of them", ""], list(result.options["profile"].items())))
    click.echo("")
    click.echo(aligned(result.columns, result.rows) if result.rows else "(no touchpoints in the period)")
    left_out = result.coverage["earlier_touchpoints_left_out"]
    if left_out:
        click.echo(f"\n{left_out} earlier touchpoints are not shown: --all, or --last {result.coverage['touchpoints']}")


@click.command()
@click.argument("person_id", metavar="ID")
@click.option("--last", default=50, show_default=True, help="So many touchpoints, the newest.")
@click.option("--all", "whole", is_flag=True, help="All touchpoints.")
@click.option("--personal", is_flag=True, help="Also show what the plan calls personal or sensitive.")
@click.option("--time-zone", default="UTC", show_default=True, help="Of the days.")
@common
@in_period
@answering(_show_person)
def person(person_id: str, last: int, whole: bool, personal: bool, **given: Any) -> AnalysisResult:
    """One person's timeline over all channels. ID is a person id, user id or anonymous id."""
    from polku_analytics.analyses.person import PersonQuestion, run_person

    period = period_of(given["since"], given["until"], given["time_zone"])
    question = PersonQuestion(id=person_id, last=None if whole else last, period=period, with_personal=personal)
    return run_person(opened(given, "person_links"), question)
