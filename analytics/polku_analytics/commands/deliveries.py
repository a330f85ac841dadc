"""`polku deliveries`."""

from __future__ import annotations

from typing import Any

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.result import AnalysisResult


@click.command()
@analysis("person", "account")
def deliveries(**given: Any) -> AnalysisResult:
    """Whether deliveries came when they were promised, by carrier."""
    from polku_analytics.analyses.deliveries import DeliveriesQuestion, run_deliveries

    journeys = opened(given)
    return run_deliveries(journeys, DeliveriesQuestion(scope=scope_of(given, "person")))
