"""`polku report`: one HTML file with figures, plots and definitions, complete in itself.

What is asked of the tables is `data.py`'s, how each section is written is `page.py`'s; the file itself
needs neither a network nor a server.
"""

from __future__ import annotations

from pathlib import Path

from polku_analytics.errors import AnalyticsError
from polku_analytics.journeys import open_journeys
from polku_analytics.lake import Lake
from polku_analytics.report.data import Link, ReportContext, ReportFigures, collect
from polku_analytics.report.page import render
from polku_schemas import Plan

__all__ = ["Link", "ReportContext", "ReportFigures", "read_link", "write_report"]


def write_report(lake: Lake, plan: Plan, out: Path, context: ReportContext | None = None) -> ReportFigures:
    """Write the report to `out` and return its figures. Needs a built lake (`polku build`)."""
    context = context or ReportContext()
    figures = collect(open_journeys(lake, plan), context)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render(figures, context), encoding="utf-8")
    return figures


def read_link(text: str) -> Link:
    """`Web shop=webshop.html` as a link. Only relative, http(s) and file addresses are links."""
    name, separator, url = text.partition("=")
    if not separator or not name.strip() or not url.strip():
        raise AnalyticsError(f"cannot read the link {text!r}: write 'Text=address'")
    scheme = url.strip().split(":", 1)[0].lower() if ":" in url else ""
    if scheme not in ("", "http", "https", "file"):
        raise AnalyticsError(f"cannot link to {url!r}: only relative, http, https and file addresses")
    return Link(name.strip(), url.strip())
