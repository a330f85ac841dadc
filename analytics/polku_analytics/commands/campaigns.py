"""`polku campaigns`."""

from __future__ import annotations

from typing import Any

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.result import AnalysisResult, parse_window


@click.command()
@click.option("--campaign", help="Only this one.")
@click.option(
    "--window", default="14d", show_default=True, help="So long before and after a sending orders are compared."
)
@analysis("person", "session", "account")
def campaigns(campaign: str | None, window: str, **given: Any) -> AnalysisResult:
    """From what was sent to what was earned, the best campaign first; and whether people bought more for it."""
    from polku_analytics.analyses.campaigns import CampaignsQuestion, run_campaigns

    question = CampaignsQuestion(
        campaign=campaign, window_seconds=parse_window(window), scope=scope_of(given, "person")
    )
    return run_campaigns(opened(given), question)
