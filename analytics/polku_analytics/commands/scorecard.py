"""`polku scorecard`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from msgspec import structs

from polku_analytics.commands.options import analysis, opened, scope_of, show
from polku_analytics.result import AnalysisResult

_SHOWN = ("segment", "figure", "value", "of", "previous", "change", "target", "target_met", "decision")


def _show_scorecard(result: AnalysisResult, given: Mapping[str, Any]) -> None:
    if given["as_json_text"]:
        show(result, given)
        return
    names = [*result.columns[: result.columns.index("figure")], *_SHOWN[1:]]
    names += ["formula", "definition"] if given["formulas"] else []
    places = [result.columns.index(name) for name in names]
    why, figure = result.columns.index("left_out_because"), result.columns.index("figure")
    kept = [[row[place] for place in places] for row in result.rows if row[why] is None]
    show(structs.replace(result, columns=names, rows=kept), given)
    because = result.columns.index("target_not_compared_because")
    for row in result.rows:
        if row[because] is not None:
            click.echo(f"\n{row[figure]} is not compared with its target: {row[because]}")
    value, definition = result.columns.index("value"), result.columns.index("definition")
    unknown = dict.fromkeys(
        f"  {row[figure]}: {row[definition]}" for row in result.rows if row[why] is None and row[value] is None
    )
    if unknown:
        click.echo("\nno value, because there is nothing in the period that it could be of:")
        for line in unknown:
            click.echo(line)
    left_out = dict.fromkeys(f"  {row[figure]}: {row[why]}" for row in result.rows if row[why] is not None)
    if left_out:
        click.echo("\nleft out:")
        for line in left_out:
            click.echo(line)


@click.command()
@click.argument("role", metavar="ROLE")
@click.option("--formulas", is_flag=True, help="Show the formula and definition of each figure, too.")
@analysis("person", shown=_show_scorecard)
def scorecard(role: str, **given: Any) -> AnalysisResult:
    """The figures of a ROLE (management, marketing, ecommerce, it, service), with target and the period before.

    Without --since: the last 28 days that are over.
    """
    from polku_analytics.scorecards.card import run_scorecard

    return run_scorecard(opened(given), role, scope_of(given, "person"))
