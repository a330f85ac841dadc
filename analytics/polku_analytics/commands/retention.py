"""`polku retention`, `polku lifecycle` and `polku stickiness`."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.result import AnalysisResult

_INTERVAL = click.Choice(["day", "week", "month"])
_Command = TypeVar("_Command")


def _week_start(command: _Command) -> _Command:
    return cast(
        "_Command",
        click.option("--week-start", type=click.Choice(["monday", "sunday"]), default="monday", show_default=True)(
            cast("Any", command)
        ),
    )


@click.command()
@click.argument("start", required=False)
@click.argument("back", required=False)
@click.option(
    "--mode",
    type=click.Choice(["on", "on-or-after", "on-or-before"]),
    default="on",
    show_default=True,
    help="Back in that interval, in it or a later one, in it or an earlier one.",
)
@click.option("--interval", type=_INTERVAL, default="week", show_default=True)
@click.option("--intervals", default=8, show_default=True, help="So many after the first.")
@click.option("--rolling", is_flag=True, help="Intervals of 24 hours, 7 or 30 days from each one's own start.")
@click.option(
    "--cohorts",
    type=click.Choice(["first-time", "recurring"]),
    default="first-time",
    show_default=True,
    help="People belong to the cohort of their first start ever, or to every one they have a start in.",
)
@_week_start
@analysis("person", "account")
def retention(
    start: str | None,
    back: str | None,
    mode: str,
    interval: str,
    intervals: int,
    rolling: bool,
    cohorts: str,
    week_start: str,
    **given: Any,
) -> AnalysisResult:
    """Of those with START, how many have BACK in later days, weeks or months. Without them: any touchpoint."""
    from polku_analytics.analyses.retention import retention_question, run_retention

    journeys = opened(given)
    question = retention_question(
        journeys,
        start,
        back if back is not None else start,
        mode=mode,
        cohorts=cohorts,
        interval=interval,
        rolling=rolling,
        intervals=intervals,
        week_start=week_start,
        scope=scope_of(given, "person"),
    )
    return run_retention(journeys, question)


@click.command()
@click.argument("step", required=False)
@click.option("--interval", type=_INTERVAL, default="week", show_default=True)
@_week_start
@analysis("person", "account")
def lifecycle(step: str | None, interval: str, week_start: str, **given: Any) -> AnalysisResult:
    """Per day, week or month: who is new, goes on, comes back or has gone. STEP: what counts as active."""
    from polku_analytics.analyses.lifecycle import activity_question, run_lifecycle

    journeys = opened(given)
    scope = scope_of(given, "person")
    question = activity_question(journeys, step, interval=interval, week_start=week_start, scope=scope)
    return run_lifecycle(journeys, question)


@click.command()
@click.argument("step", required=False)
@click.option("--interval", type=_INTERVAL, default="day", show_default=True)
@_week_start
@analysis("person", "account")
def stickiness(step: str | None, interval: str, week_start: str, **given: Any) -> AnalysisResult:
    """On how many days (weeks, months) of the period people are active. STEP: what counts as active."""
    from polku_analytics.analyses.lifecycle import activity_question, run_stickiness

    journeys = opened(given)
    scope = scope_of(given, "person")
    question = activity_question(journeys, step, interval=interval, week_start=week_start, scope=scope)
    return run_stickiness(journeys, question)
