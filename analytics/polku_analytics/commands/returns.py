"""`polku returns`."""

from __future__ import annotations

from typing import Any, cast

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.result import AnalysisResult


@click.command()
@click.option(
    "--by",
    type=click.Choice(["order", "product", "category", "brand", "reason"]),
    default="order",
    show_default=True,
    help="All orders, lines of orders by what was bought, or orders by why they came back.",
)
@click.option(
    "--top", default=20, show_default=True, type=click.IntRange(min=1), help="Rows by name; the rest is (other)."
)
@analysis("person", "session", "account")
def returns(by: str, top: int, **given: Any) -> AnalysisResult:
    """How much of what was sold comes back, in orders or lines and in money."""
    from polku_analytics.analyses.returns import By, ReturnsQuestion, run_returns

    journeys = opened(given)
    question = ReturnsQuestion(scope=scope_of(given, "person"), by=cast("By", by), top=top)
    return run_returns(journeys, question)
