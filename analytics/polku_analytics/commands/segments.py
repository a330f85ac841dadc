"""`polku segments`."""

from __future__ import annotations

from typing import Any

import click

from polku_analytics.commands.options import analysis, opened, scope_of
from polku_analytics.errors import AnalyticsError
from polku_analytics.result import AnalysisResult


@click.command()
@click.argument("names", nargs=-1, metavar="[SEGMENT]...")
@click.option("--overlap", is_flag=True, help="How many people are in both of each two.")
@click.option("--rfm", is_flag=True, help="Buyers by recency and frequency instead; SEGMENTs side by side.")
@analysis("person", "account")
def segments(names: tuple[str, ...], overlap: bool, rfm: bool, **given: Any) -> AnalysisResult:
    """How large segments are: all of the plan, or the SEGMENTs that are named (a name or a condition each)."""
    from polku_analytics.analyses.segment_sizes import SegmentsQuestion, run_overlap, run_rfm, run_segments

    if overlap and rfm:
        raise AnalyticsError("choose one of --overlap and --rfm")
    journeys = opened(given)
    wanted = (*names, *given["segments"])
    given["segments"] = wanted
    if overlap:
        return run_overlap(journeys, wanted or tuple(journeys.plan.segments))
    elif rfm:
        return run_rfm(journeys, scope_of(given, "person"))
    else:
        return run_segments(journeys, SegmentsQuestion(scope=scope_of(given, "person")))
