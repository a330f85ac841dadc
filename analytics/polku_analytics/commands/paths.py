"""`polku paths`."""

from __future__ import annotations

from typing import Any, cast

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.result import AnalysisResult


@click.command()
@click.option("--from", "start", help="Begin at the first occurrence of this item.")
@click.option("--to", "end", help="Finish at the first occurrence of this item.")
@click.option("--by", type=click.Choice(["touchpoint", "event"]), default="touchpoint", show_default=True)
@click.option("--top", "top_items", default=12, show_default=True, help="Items shown by name; the rest is (other).")
@click.option("--max-steps", default=5, show_default=True, help="Items of each path that are looked at.")
@click.option("--keep-repeats", is_flag=True, help="Do not count a run of the same item as one.")
@click.option("--staged", is_flag=True, help="Only touchpoints that the plan places in a stage.")
@analysis("session", "person", "account")
def paths(
    start: str | None,
    end: str | None,
    by: str,
    top_items: int,
    max_steps: int,
    keep_repeats: bool,
    staged: bool,
    **given: Any,
) -> AnalysisResult:
    """Which touchpoints follow each other, step by step."""
    from polku_analytics.analyses.paths import By, PathsQuestion, run_paths

    journeys = opened(given)
    question = PathsQuestion(
        by=cast("By", by),
        scope=scope_of(given, "session"),
        start=start,
        end=end,
        collapse=not keep_repeats,
        top=top_items,
        max_steps=max_steps,
        staged=staged,
    )
    return run_paths(journeys, question)
