"""`polku funnel`."""

from __future__ import annotations

from typing import Any, cast

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.result import AnalysisResult, parse_window


@click.command()
@click.argument("steps", nargs=-1, required=True)
@click.option("--window", help="Time from the first step to the last, such as 30m, 12h, 7d.  [default: 7d]")
@click.option("--window-per-step", help="Time from each step to the next; then --window has no default.")
@click.option(
    "--order",
    type=click.Choice(["in-order", "strict", "any"]),
    default="in-order",
    show_default=True,
    help="strict: nothing else may lie between. any: whichever comes first.",
)
@click.option(
    "--reentry",
    type=click.Choice(["any", "first"]),
    default="any",
    show_default=True,
    help="Which first step starts an attempt: any, or only the first one of a person.",
)
@click.option(
    "--exclude",
    multiple=True,
    help="What ends an attempt when it lies between the steps; also 'STEP between 2 and 3'. Several may be given.",
)
@click.option(
    "--ties",
    type=click.Choice(["ordered", "strict"]),
    default="ordered",
    show_default=True,
    help="Events at the same time count as in order, or as not.",
)
@click.option("--distinct-events", is_flag=True, help="One event serves one step only: the same step twice needs two.")
@click.option("--times", is_flag=True, help="How long those take who go all the way, instead of the steps.")
@click.option("--drop-off", metavar="STEP", help="What those did next who dropped out at this step (name or number).")
@analysis("person", "session", "account")
def funnel(
    steps: tuple[str, ...],
    window: str | None,
    window_per_step: str | None,
    order: str,
    reentry: str,
    exclude: tuple[str, ...],
    ties: str,
    distinct_events: bool,
    times: bool,
    drop_off: str | None,
    **given: Any,
) -> AnalysisResult:
    """How many take these STEPS in this order, and where they stop.

    A step is an event, an event with a condition such as 'product_viewed[price > 100]', touchpoint:NAME or
    stage:NAME. One name alone is a saved funnel of the plan.
    """
    from polku_analytics.analyses.attempts import Order, Reentry, Ties
    from polku_analytics.analyses.funnel import funnel_question, run_funnel

    journeys = opened(given)
    saved = journeys.plan.funnels.get(steps[0]) if len(steps) == 1 else None
    question = funnel_question(
        journeys,
        steps,
        window_seconds=None if window is None else parse_window(window),
        step_window_seconds=None if window_per_step is None else parse_window(window_per_step),
        order=cast("Order", order),
        reentry=cast("Reentry", reentry),
        ties=cast("Ties", ties),
        distinct_events=distinct_events,
        exclude=exclude,
        show="times" if times else "steps",
        drop_off=drop_off,
        scope=scope_of(given, saved.unit if saved else "person"),
    )
    return run_funnel(journeys, question)
