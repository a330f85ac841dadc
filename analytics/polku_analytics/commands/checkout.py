"""`polku checkout`."""

from __future__ import annotations

from typing import Any

import click

from polku_analytics.commands.options import analysis, opened, scope_of, show
from polku_analytics.result import parse_window


@click.command()
@click.option("--open", "still_open", default="30m", show_default=True, help="Younger checkouts may yet go on.")
@analysis("person", "session", "account")
def checkout(still_open: str, **given: Any) -> None:
    """At which step of the checkout people leave, and how long each step takes."""
    from polku_analytics.analyses.checkout import CheckoutQuestion, run_checkout

    journeys = opened(given)
    question = CheckoutQuestion(scope=scope_of(given, "person"), open_seconds=parse_window(still_open))
    show(run_checkout(journeys, question), given)
