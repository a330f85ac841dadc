"""`polku carts`."""

from __future__ import annotations

from typing import Any

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.result import AnalysisResult, parse_window


@click.command()
@click.option("--idle", default="24h", show_default=True, help="Abandoned: nothing happened in it for so long.")
@analysis("person", "session", "account")
def carts(idle: str, **given: Any) -> AnalysisResult:
    """What became of the carts: ordered, emptied, abandoned, still open, and what is left in the abandoned ones."""
    from polku_analytics.analyses.carts import CartsQuestion, run_carts

    journeys = opened(given)
    question = CartsQuestion(scope=scope_of(given, "person"), idle_seconds=parse_window(idle))
    return run_carts(journeys, question)
