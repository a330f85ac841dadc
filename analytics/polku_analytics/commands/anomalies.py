"""`polku anomalies`."""

from __future__ import annotations

from typing import Any

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.result import AnalysisResult


@click.command()
@click.argument("step", required=False)
@click.option(
    "--false-alarms",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.01,
    show_default=True,
    help="How likely any ordinary day may be named.",
)
@click.option("--all-days", is_flag=True, help="Ordinary days too.")
@analysis("session", "person", "event", "account")
def anomalies(step: str | None, false_alarms: float, all_days: bool, **given: Any) -> AnalysisResult:
    """Days on which strangely few or many came, or took STEP, such as order_completed, for their weekday and season."""
    from polku_analytics.analyses.anomalies import anomalies_question, run_anomalies

    journeys = opened(given)
    scope = scope_of(given, "session")
    question = anomalies_question(journeys, step, false_alarms=false_alarms, all_days=all_days, scope=scope)
    return run_anomalies(journeys, question)
