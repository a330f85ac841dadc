"""`polku tasks`."""

from __future__ import annotations

from typing import Any

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.result import AnalysisResult, parse_window


@click.command()
@click.argument("start")
@click.argument("end")
@click.option("--limit", help="A task that takes longer is not finished, such as 1d.")
@analysis("person", "session", "account")
def tasks(start: str, end: str, limit: str | None, **given: Any) -> AnalysisResult:
    """How long a task takes, from the step START to the step END; unfinished ones count as lasting at least so long."""
    from polku_analytics.analyses.tasks import run_tasks, tasks_question

    journeys = opened(given)
    limit_seconds = None if limit is None else parse_window(limit)
    scope = scope_of(given, "person")
    return run_tasks(journeys, tasks_question(journeys, start, end, limit_seconds=limit_seconds, scope=scope))
