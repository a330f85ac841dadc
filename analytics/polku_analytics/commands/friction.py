"""`polku friction`."""

from __future__ import annotations

from typing import Any, cast

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.result import AnalysisResult


@click.command()
@click.option(
    "--by",
    type=click.Choice(["touchpoint", "event", "page"]),
    default="touchpoint",
    show_default=True,
    help="What a place is.",
)
@click.option(
    "--goal", default="orders", show_default=True, help="What counts: orders, a goal of the plan, an event or step."
)
@click.option(
    "--error",
    "errors",
    multiple=True,
    help="A step that is an error; may be given again.  [default: error_shown, payment_failed, coupon_denied]",
)
@click.option("--fewest", type=click.IntRange(1), default=10, show_default=True, help="Leave out rows of fewer units.")
@click.option("--top", type=click.IntRange(1), default=20, show_default=True)
@analysis("session", "person", "account")
def friction(by: str, goal: str, errors: tuple[str, ...], fewest: int, top: int, **given: Any) -> AnalysisResult:
    """Where people get stuck (errors, repeats, rage, turning back), ranked by the conversions it costs."""
    from polku_analytics.analyses.friction import By, FrictionQuestion, run_friction

    question = FrictionQuestion(
        by=cast("By", by), conversion=goal, errors=errors, fewest=fewest, top=top, scope=scope_of(given, "session")
    )
    return run_friction(opened(given), question)
