"""`polku compare`."""

from __future__ import annotations

from typing import Any

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.errors import AnalyticsError
from polku_analytics.result import AnalysisResult, parse_window


@click.command()
@click.argument("steps", nargs=-1)
@click.option("--change", help="A dated change of the plan, or a day: before and after it.")
@click.option(
    "--days", type=click.IntRange(1), help="On each side of the change.  [default: up to 28, as the data has]"
)
@click.option("--variant", help="A property, trait or column whose values are the variants of a test.")
@click.option("--control", help="The variant that the others are compared with.  [default: the first by name]")
@click.option("--split", help="How units were to be divided, such as old=90,new=10.  [default: equally]")
@click.option(
    "--goal", default="orders", show_default=True, help="What counts: orders, a goal of the plan, an event or step."
)
@click.option("--window", help="Of a funnel.  [default: 7d, or that of the saved funnel]")
@analysis("person", "session", "account")
def compare(
    steps: tuple[str, ...],
    change: str | None,
    days: int | None,
    variant: str | None,
    control: str | None,
    split: str | None,
    goal: str,
    window: str | None,
    **given: Any,
) -> AnalysisResult:
    """Whether a change or a variant made a difference: to a goal and its value, or to a funnel of STEPS.

    One name alone is a saved funnel of the plan.
    """
    from polku_analytics.analyses.compare import CompareQuestion, run_compare
    from polku_analytics.analyses.funnel import funnel_question

    journeys = opened(given)
    seconds = None if window is None else parse_window(window)
    question = CompareQuestion(
        conversion=goal,
        funnel=funnel_question(journeys, steps, window_seconds=seconds) if steps else None,
        change=change,
        days=days,
        variant=variant,
        control=control,
        split=_split(split),
        scope=scope_of(given, "person"),
    )
    return run_compare(journeys, question)


def _split(text: str | None) -> dict[str, float]:
    parts = {}
    for part in (text or "").split(",") if text else []:
        name, _, number = part.rpartition("=")
        try:
            parts[name.strip()] = float(number)
        except ValueError:
            raise AnalyticsError(f"cannot read the split {text!r}: write old=90,new=10") from None
        if not name or parts[name.strip()] <= 0:
            raise AnalyticsError(f"cannot read the split {text!r}: write old=90,new=10")
    return parts
