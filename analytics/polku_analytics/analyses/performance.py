"""Performance: how fast pages are for three quarters of the people, by page, device and browser, and who still buys.

Rows come in the order in which they are worth looking at: the most slow measurements first.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.conversions import ORDERS, Conversion, conversions_sql, parse_conversion
from polku_analytics.analyses.scope import Part, Scope, check_unit
from polku_analytics.errors import AnalyticsError
from polku_analytics.journeys import Journeys
from polku_analytics.result import AnalysisResult, share

By = Literal["page_type", "page"]
"""Kinds of page, or each path for itself."""

VITALS: Final = ("load_ms", "ttfb_ms", "lcp_ms", "inp_ms", "cls")
SLOW_MS: Final = 2500
"""Above this the largest contentful paint is not good (Core Web Vitals); where it is not sent, the load time counts."""
PERCENTILE: Final = 75

COLUMNS: Final = (
    "page",
    "device",
    "browser",
    "samples",
    *(f"p{PERCENTILE}_{vital}" for vital in VITALS),
    "slow",
    "slow_share",
    "sessions",
    "converted",
    "conversion",
)


class PerformanceQuestion(Struct, frozen=True, kw_only=True):
    """Which pages are slow, for whom."""

    by: By = "page_type"
    conversion: str = ORDERS
    fewest: int = 20
    """Rows of fewer measurements are left out: a percentile of a handful says nothing."""
    top: int = 30
    scope: Scope = Scope(unit="session")


def run_performance(journeys: Journeys, question: PerformanceQuestion) -> AnalysisResult:
    """Percentiles over the built tables."""
    check_unit(question.scope, ("session",), "performance")
    if question.fewest < 1 or question.top < 1:
        raise AnalyticsError("performance needs at least one measurement, and at least one row")
    conversion = parse_conversion(journeys, question.conversion)
    return answer(
        journeys,
        question.scope,
        lambda part: _find(question, conversion, part),
        question=f"Which pages are slow, for whom, and how many sessions there lead to {conversion.label}?",
        options={
            "by": question.by,
            "conversion": conversion.label,
            "percentile": PERCENTILE,
            "slow_above_ms": SLOW_MS,
            "fewest": question.fewest,
        },
        columns=COLUMNS,
        keys=("page", "device", "browser"),
        measure="p75_load_ms",
        adds_up=False,
    )


def _find(question: PerformanceQuestion, conversion: Conversion, part: Part) -> Finding:
    page = "w.page" if question.by == "page" else "COALESCE(w.page_type, w.page)"
    sql = (
        f"SELECT {page} AS page, w.device, w.browser, w.session_key, {', '.join(f'w.{vital}' for vital in VITALS)}, "
        f"CASE WHEN c.session_key IS NULL THEN 0 ELSE 1 END AS converted "
        f"FROM {part.rows('web_vitals', 'measured_at')} AS w LEFT JOIN ("
        f"SELECT DISTINCT x.session_key FROM {conversions_sql(conversion, part)} AS x) AS c "
        f"ON c.session_key = w.session_key"
    )
    table = part.journeys.engine.arrow(sql)
    rows: list[list[Any]] = []
    groups = _groups(table, ("page", "device", "browser"))
    for names, members in groups:
        if len(members) < question.fewest:
            continue
        values = {vital: _numbers(table[vital])[members] for vital in VITALS}
        painted = np.where(np.isnan(values["lcp_ms"]), values["load_ms"], values["lcp_ms"])
        slow, told = int(np.count_nonzero(painted > SLOW_MS)), int(np.count_nonzero(~np.isnan(painted)))
        first = np.unique(_numbers(table["session_key"])[members], return_index=True)[1]
        converted = int(_numbers(table["converted"])[members][first].sum())
        rows.append(
            [
                *(*names, len(members), *(_percentile(values[vital]) for vital in VITALS)),
                *(slow, share(slow, told), len(first), converted, share(converted, len(first))),
            ]
        )
    slow_at = COLUMNS.index("slow")
    rows.sort(key=lambda row: (-row[slow_at], -(row[4] or 0.0), *(name or "" for name in row[:3])))
    most = max((len(members) for _, members in groups), default=0)
    why = "no page was measured: there is no page_performance_measured"
    if most:
        why = (
            f"of {table.num_rows} measurements at most {most} are of one page, device and browser, and a row must "
            f"stand on {question.fewest}: lower --fewest to {most}, or ask about a longer period"
        )
    covered = {"measurements": table.num_rows}
    return Finding(rows=rows[: question.top], rest=rows[question.top :], sql=sql, coverage=covered, why_empty=why)


def _groups(table: pa.Table, names: tuple[str, ...]) -> list[tuple[list[str | None], np.ndarray]]:
    """The rows of each combination of values."""
    if table.num_rows == 0:
        return []
    values = [table[name].to_pylist() for name in names]
    places: dict[tuple[str | None, ...], list[int]] = {}
    for place, key in enumerate(zip(*values, strict=True)):
        places.setdefault(key, []).append(place)
    return [(list(key), np.array(found)) for key, found in places.items()]


def _numbers(column: Any) -> np.ndarray:
    return np.asarray(column.to_numpy(), dtype=float)


def _percentile(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return round(float(np.percentile(known, PERCENTILE)), 3) if len(known) else None
