"""`polku search`."""

from __future__ import annotations

from typing import Any, cast

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.result import AnalysisResult


@click.command()
@click.option(
    "--show",
    "shown",
    type=click.Choice(["summary", "zero", "terms", "positions"]),
    default="summary",
    show_default=True,
    help="All searches together, words that found nothing, all words, or places on the list of results.",
)
@click.option("--top", default=20, show_default=True, type=click.IntRange(min=1), help="So many words, or places.")
@analysis("person", "session", "account")
def search(shown: str, top: int, **given: Any) -> AnalysisResult:
    """What is searched for in vain, what is chosen from the results, and where searches lead."""
    from polku_analytics.analyses.searches import SearchQuestion, Shown, run_search

    journeys = opened(given)
    question = SearchQuestion(scope=scope_of(given, "person"), show=cast("Shown", shown), top=top)
    return run_search(journeys, question)
