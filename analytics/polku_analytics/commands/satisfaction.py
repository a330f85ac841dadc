"""`polku satisfaction`."""

from __future__ import annotations

from typing import Any, cast

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.result import AnalysisResult


@click.command()
@click.option(
    "--by",
    type=click.Choice(["touchpoint_before", "event_before", "about", "survey_id", "event_name", "channel"]),
    default="touchpoint_before",
    show_default=True,
)
@click.option("--bands", is_flag=True, help="What promoters, passives and detractors do after their answer instead.")
@click.option("--referral", help="The step that is a referral, with --bands.  [default: stage:referral]")
@analysis("person", "session")
def satisfaction(by: str, bands: bool, referral: str | None, **given: Any) -> AnalysisResult:
    """Scores by the touchpoint they followed; repeat and referral rate by satisfaction band."""
    from polku_analytics.analyses.satisfaction import By, SatisfactionQuestion, run_bands, run_satisfaction

    journeys = opened(given)
    scope = scope_of(given, "person")
    if bands:
        return run_bands(journeys, scope, referral)
    else:
        return run_satisfaction(journeys, SatisfactionQuestion(by=cast("By", by), scope=scope))
