"""What the report's script draws, as JSON-ready values: the graph of the paths, orders over time, the lifecycle."""

from __future__ import annotations

from typing import Any

from polku_analytics.report.data import ReportContext, ReportFigures, flows
from polku_analytics.report.sections import lifecycle_plot
from polku_analytics.report.wording import bucket_label, shortened, title
from polku_analytics.result import AnalysisResult


def plot_figures(figures: ReportFigures, context: ReportContext) -> dict[str, Any]:
    """What the script draws."""
    series = figures.orders
    return {
        "time_zone": context.time_zone,
        "paths": _graph(figures),
        "lifecycle": None if "lifecycle" in figures.missing else lifecycle_plot(figures.answers.lifecycle),
        "orders": None
        if series is None
        else {
            "bucket": series.bucket,
            "labels": [bucket_label(start, series.bucket) for start in series.starts],
            "orders": series.orders,
            "revenue": series.revenue,
            "currency": series.currency,
            "partial": series.partial,
        },
    }


def _graph(figures: ReportFigures) -> dict[str, Any]:
    """Nodes named `step item`, so that no path leads back; a node's people are those who come in, at step 1 go out."""
    result: AnalysisResult = figures.paths
    order = {figure.stage: number for number, figure in enumerate(figures.stages, start=1)}
    people: dict[tuple[int, str], int] = {}
    for step, source, target, count, *_ in result.rows:
        if step == 1:
            people[(1, source)] = people.get((1, source), 0) + count
        people[(step + 1, target)] = people.get((step + 1, target), 0) + count
    shown = flows(result)
    nodes = sorted({(row[0], row[1]) for row in shown} | {(row[0] + 1, row[2]) for row in shown})
    return {
        "nodes": [
            {
                "name": f"{step} {item}",
                "title": shortened(title(item)),
                "step": step,
                "people": people[(step, item)],
                "stage": order.get(figures.touchpoint_stages.get(item, ""), "none"),
            }
            for step, item in nodes
        ],
        "links": [
            {"source": f"{row[0]} {row[1]}", "target": f"{row[0] + 1} {row[2]}", "value": row[3], "seconds": row[5]}
            for row in shown
        ],
    }
