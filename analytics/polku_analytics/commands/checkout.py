"""`polku checkout`."""

from __future__ import annotations

from typing import Any

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.result import AnalysisResult, parse_window


@click.command()
@click.option("--open", "still_open", default="30m", show_default=True, help="Younger checkouts may yet go on.")
@analysis("person", "session", "account")
def checkout(still_open: str, **given: Any) -> AnalysisResult:
    """At which step of the checkout people leave, and how long each step takes."""
    from polku_analytics.analyses.checkout import CheckoutQuestion, run_checkout

    journeys = opened(given)
    question = CheckoutQuestion(scope=scope_of(given, "person"), open_seconds=parse_window(still_open))
    return run_checkout(journeys, question)
