"""`polku performance`."""

from __future__ import annotations

from typing import Any, cast

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.result import AnalysisResult


@click.command()
@click.option("--by", type=click.Choice(["page_type", "page"]), default="page_type", show_default=True)
@click.option(
    "--goal", default="orders", show_default=True, help="What counts: orders, a goal of the plan, an event or step."
)
@click.option("--fewest", type=click.IntRange(1), default=20, show_default=True, help="Measurements of a row.")
@click.option("--top", type=click.IntRange(1), default=30, show_default=True)
@analysis("session")
def performance(by: str, goal: str, fewest: int, top: int, **given: Any) -> AnalysisResult:
    """How fast pages are for three quarters of the people, by page, device and browser, with conversion beside it."""
    from polku_analytics.analyses.performance import By, PerformanceQuestion, run_performance

    question = PerformanceQuestion(
        by=cast("By", by), conversion=goal, fewest=fewest, top=top, scope=scope_of(given, "session")
    )
    return run_performance(opened(given), question)
