"""`polku when`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from msgspec import structs

from polku_analytics.commands.options import analysis, opened, scope_of, show
from polku_analytics.result import AnalysisResult


def _show_when(result: AnalysisResult, given: Mapping[str, Any]) -> None:
    """One line a weekday, one column an hour; JSON has a row an hour."""
    if given["as_json_text"] or given["previous"]:
        show(result, given)
        return
    at = result.columns.index("weekday")
    weeks: dict[tuple[Any, ...], list[list[Any]]] = {}
    for row in result.rows:
        weeks.setdefault((*row[:at], row[at]), []).append(row)
    rows = [[*key[:-1], key[-1][:3], *(row[at + 2] for row in hours)] for key, hours in weeks.items()]
    columns = [*result.columns[:at], "", *(f"{hour:02}" for hour in range(24))]
    show(structs.replace(result, columns=columns, rows=rows), given)


@click.command()
@click.argument("step", required=False)
@analysis("session", "person", "event", "account", shown=_show_when)
def when(step: str | None, **given: Any) -> AnalysisResult:
    """Weekday × hour: when people come, or when they take STEP, such as order_completed. See --time-zone."""
    from polku_analytics.analyses.when import run_when, when_question

    journeys = opened(given)
    return run_when(journeys, when_question(journeys, step, scope_of(given, "session")))
