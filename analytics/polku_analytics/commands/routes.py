"""`polku routes` and `polku graph`."""

from __future__ import annotations

from typing import Any, cast

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.result import AnalysisResult, parse_window

_BY = click.option("--by", type=click.Choice(["touchpoint", "event"]), default="touchpoint", show_default=True)
_STAGED = click.option("--staged", is_flag=True, help="Only touchpoints that the plan places in a stage.")


@click.command()
@click.argument("goal")
@click.option("--micro", is_flag=True, help="Parts of the way, those with most people lost first.")
@_BY
@_STAGED
@click.option("--top", default=20, show_default=True, help="Rows, the largest ones.")
@click.option("--max-steps", default=5, show_default=True, help="The last so many items of a route are told apart.")
@click.option("--length", default=2, show_default=True, help="Items of a part of the way (--micro).")
@click.option("--idle", default="7d", show_default=True, help="Without a touchpoint for so long one is lost (--micro).")
@analysis("person", "session", "account")
def routes(
    goal: str, micro: bool, by: str, staged: bool, top: int, max_steps: int, length: int, idle: str, **given: Any
) -> AnalysisResult:
    """The routes on which people reach GOAL: a goal of the plan, or a step as in `polku funnel`."""
    from polku_analytics.analyses.routes import routes_question, run_routes

    journeys = opened(given)
    question = routes_question(
        journeys,
        goal,
        show="micro-paths" if micro else "routes",
        by=by,
        staged=staged,
        top=top,
        max_steps=max_steps,
        length=length,
        idle_seconds=parse_window(idle),
        scope=scope_of(given, "person"),
    )
    return run_routes(journeys, question)


@click.command()
@click.option("--variants", "what", flag_value="variants", help="Whole ways from beginning to end.")
@click.option("--loops", "what", flag_value="loops", help="What people come back to.")
@_BY
@_STAGED
@click.option("--collapse", is_flag=True, help="Count a run of the same item as one.")
@click.option("--top", default=50, show_default=True, help="Rows, the largest ones.")
@analysis("session", "person", "account")
def graph(what: str | None, by: str, staged: bool, collapse: bool, top: int, **given: Any) -> AnalysisResult:
    """What directly follows what."""
    from polku_analytics.analyses.graph import GraphQuestion, Show, run_graph
    from polku_analytics.analyses.sequences import By

    journeys = opened(given)
    question = GraphQuestion(
        show=cast("Show", what or "edges"),
        by=cast("By", by),
        collapse=collapse,
        staged=staged,
        top=top,
        scope=scope_of(given, "session"),
    )
    return run_graph(journeys, question)
