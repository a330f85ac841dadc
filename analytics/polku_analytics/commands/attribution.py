"""`polku attribution`."""

from __future__ import annotations

from typing import Any, cast

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.result import AnalysisResult, parse_window


@click.command()
@click.option(
    "--model",
    "models",
    multiple=True,
    default=["last_non_direct"],
    show_default=True,
    help="first, last, last_non_direct, linear, position, j, inverse_j, time_decay, participation or all; may be "
    "given again.",
)
@click.option(
    "--by",
    type=click.Choice(["marketing_channel", "campaign", "touchpoint", "channel"]),
    default="marketing_channel",
    show_default=True,
    help="What gets the credit.",
)
@click.option(
    "--goal", default="orders", show_default=True, help="What counts: orders, a goal of the plan, an event or step."
)
@click.option("--lookback", default="30d", show_default=True, help="How long before it a touch counts.")
@click.option("--half-life", default="7d", show_default=True, help="Of time_decay: after so long a touch weighs half.")
@analysis("person", "account")
def attribution(
    models: tuple[str, ...], by: str, goal: str, lookback: str, half_life: str, **given: Any
) -> AnalysisResult:
    """Which channels, campaigns or touchpoints the conversions are owed to, and what comes back for the money."""
    from polku_analytics.analyses.attribution import AttributionQuestion, By, attribution_models, run_attribution

    question = AttributionQuestion(
        models=attribution_models(models),
        by=cast("By", by),
        conversion=goal,
        lookback_seconds=parse_window(lookback),
        half_life_seconds=parse_window(half_life),
        scope=scope_of(given, "person"),
    )
    return run_attribution(opened(given), question)
