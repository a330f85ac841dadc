"""`polku funnel`."""

from __future__ import annotations

from typing import Any, cast

import click

from polku_analytics.commands.options import analysis, opened, scope_of, show
from polku_analytics.result import parse_window


@click.command()
@click.argument("steps", nargs=-1, required=True)
@click.option("--window", help="Time from the first step to the last, such as 30m, 12h, 7d.  [default: 7d]")
@click.option(
    "--reentry",
    type=click.Choice(["any", "first"]),
    default="any",
    show_default=True,
    help="Which first step starts an attempt: any, or only the first one of a person.",
)
@analysis("person", "session", "account")
def funnel(steps: tuple[str, ...], window: str | None, reentry: str, **given: Any) -> None:
    """How many take these STEPS in this order, and where they stop.

    A step is an event, an event with a condition such as 'product_viewed[price > 100]', touchpoint:NAME or
    stage:NAME. One name alone is a saved funnel of the plan.
    """
    from polku_analytics.analyses.funnel import Reentry, funnel_question, run_funnel

    journeys = opened(given)
    saved = journeys.plan.funnels.get(steps[0]) if len(steps) == 1 else None
    question = funnel_question(
        journeys,
        steps,
        window_seconds=None if window is None else parse_window(window),
        reentry=cast("Reentry", reentry),
        scope=scope_of(given, saved.unit if saved else "person"),
    )
    show(run_funnel(journeys, question), given)
