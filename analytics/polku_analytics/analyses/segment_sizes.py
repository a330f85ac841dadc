"""How large segments are, how they overlap, and how buyers spread over recency and frequency."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from msgspec import Struct, structs

from polku_analytics.analyses.answer import PREVIOUS, Finding, answer
from polku_analytics.analyses.scope import Part, Scope, check_unit
from polku_analytics.analyses.segments import parse_segment
from polku_analytics.currencies import usual_first
from polku_analytics.errors import AnalyticsError
from polku_analytics.journeys import Journeys, period_sql
from polku_analytics.period import Period
from polku_analytics.result import NO_ROWS, UNIT_COLUMNS, UNIT_WORDS, AnalysisResult, share

SIZE_COLUMNS: Final = (
    "count",
    "share",
    "known",
    "buyers",
    "orders",
    "revenue",
    "currency",
    "orders_in_other_currencies",
)
_NONE_OF_NOBODY: Final = ("count", "share", "known", "buyers", "orders", "orders_in_other_currencies")
OVERLAP_COLUMNS: Final = ("segment", "with_segment", "people", "both", "share_of_segment")
RFM_COLUMNS: Final = ("r_score", "f_score", "people", "share", "mean_recency_days", "mean_frequency", "mean_monetary")


class SegmentsQuestion(Struct, frozen=True, kw_only=True):
    """Sizes of the segments of the scope; of all those of the plan if it has none."""

    scope: Scope = Scope()


def run_segments(journeys: Journeys, question: SegmentsQuestion) -> AnalysisResult:
    """One row a segment (and value of the breakdown): those with a touchpoint in the period. Nobody is 0."""
    scope = question.scope
    check_unit(scope, ("person", "account"), "a segment")
    names = scope.segments or tuple(journeys.plan.segments)
    if not names:
        raise AnalyticsError("the plan has no segments: name a condition, such as 'orders >= 2'")
    filled = [
        name for name in names if journeys.rows(f"SELECT 1 FROM ({parse_segment(journeys, name).keys_sql}) LIMIT 1")
    ]
    found = _sizes(journeys, structs.replace(scope, segments=tuple(filled)))
    blank: list[Any] = [None] * (len(found.columns) - 1)
    empty: list[list[Any]] = [[parse_segment(journeys, name).label, *blank] for name in names if name not in filled]
    for row in empty:
        for column in (*_NONE_OF_NOBODY, *([PREVIOUS] if scope.previous else [])):
            row[found.columns.index(column)] = 0
    labels = [parse_segment(journeys, name).label for name in names]
    rows = sorted([*found.rows, *empty], key=lambda row: labels.index(row[0])) if filled else empty
    return structs.replace(found, rows=rows, options={**found.options, "segments": list(names)})


def _sizes(journeys: Journeys, scope: Scope) -> AnalysisResult:
    @cache
    def everybody(period: Period) -> int:
        """The units that a segment is a share of: the same for every segment and value."""
        in_period = period_sql(period, dialect=journeys.engine.dialect)
        counted = f"SELECT COUNT(DISTINCT {UNIT_COLUMNS[scope.unit]}) FROM touchpoints WHERE {in_period}"
        return int(journeys.rows(counted)[0][0])

    return (
        answer(
            journeys,
            scope,
            lambda part: _size(part, everybody(part.period)),
            question=f"How many {UNIT_WORDS[scope.unit]} are in each segment?",
            columns=SIZE_COLUMNS,
            keys=(),
            measure="count",
            options={},
        )
        if scope.segments
        else _nobody(journeys, scope)
    )


def _nobody(journeys: Journeys, scope: Scope) -> AnalysisResult:
    columns = ["segment", *([scope.breakdown] if scope.breakdown else []), *SIZE_COLUMNS]
    columns += ["previous", "change"] if scope.previous else []
    return AnalysisResult(
        question=f"How many {UNIT_WORDS[scope.unit]} are in each segment?",
        unit=scope.unit,
        window=None,
        options={"since": scope.period.since, "until": scope.period.until},
        coverage={**journeys.coverage(scope.period), NO_ROWS: "the plan has no segments: name a condition"},
        as_of=journeys.as_of,
        columns=columns,
        rows=[],
        sql="",
    )


def _size(part: Part, everybody: int) -> Finding:
    journeys, unit = part.journeys, part.unit_column
    sql = (
        "SELECT COUNT(*) AS units, SUM(known) AS known, SUM(buys) AS buyers FROM ("
        f"SELECT t.{unit} AS unit, MAX(CASE WHEN p.known_person THEN 1 ELSE 0 END) AS known, "
        f"MAX(CASE WHEN t.order_id IS NOT NULL THEN 1 ELSE 0 END) AS buys FROM {part.rows()} AS t "
        f"JOIN profiles AS p ON p.person_key = t.person_key GROUP BY t.{unit}) AS u"
    )
    units, known, buyers = journeys.rows(sql)[0]
    # Revenue stands on the one touchpoint that counts for its order; its currency in `orders`.
    money = journeys.rows(
        "SELECT COALESCE(o.currency, '') AS currency, COUNT(*) AS orders, SUM(t.revenue) AS revenue "
        f"FROM {part.rows()} AS t JOIN orders AS o ON o.source = t.source AND o.event_id = t.event_id "
        "WHERE t.order_id IS NOT NULL GROUP BY COALESCE(o.currency, '')"
    )
    orders = sum(row[1] for row in money)
    main = min(money, key=lambda row: usual_first(*row[:2]), default=("", 0, None))
    row: list[Any] = [units, share(units, everybody), int(known or 0), int(buyers or 0), orders]
    revenue = None if main[2] is None else round(float(main[2]), 6)
    return Finding(rows=[[*row, revenue, main[0] or None, orders - main[1]]], sql=sql)


def run_overlap(journeys: Journeys, names: tuple[str, ...]) -> AnalysisResult:
    """For each two segments, how many people are in both."""
    if len(names) < 2:
        raise AnalyticsError("an overlap needs at least two segments")
    segments = [parse_segment(journeys, name) for name in names]
    sizes = [journeys.rows(f"SELECT COUNT(*) FROM ({segment.keys_sql}) AS k")[0][0] for segment in segments]
    rows: list[list[Any]] = []
    sql = ""
    for one, size in zip(segments, sizes, strict=True):
        for other in segments:
            if one is other:
                continue
            sql = f"SELECT COUNT(*) FROM profiles AS p WHERE ({one.sql}) AND ({other.sql})"
            both = journeys.rows(sql)[0][0]
            rows.append([one.label, other.label, size, both, share(both, size)])
    return AnalysisResult(
        question="How many people are in both of two segments?",
        unit="person",
        window=None,
        options={"segments": list(names)},
        coverage={"people": journeys.rows("SELECT COUNT(*) FROM profiles")[0][0]},
        as_of=journeys.as_of,
        columns=list(OVERLAP_COLUMNS),
        rows=rows,
        sql=sql,
    )


def run_rfm(journeys: Journeys, scope: Scope) -> AnalysisResult:
    """Buyers by their scores of recency and frequency, as of the newest event; those seen in the period."""
    check_unit(scope, ("person",), "recency, frequency and money")
    return answer(
        journeys,
        scope,
        _rfm,
        question="How do buyers spread over recency and frequency?",
        columns=("currency", *RFM_COLUMNS),
        keys=("currency", "r_score", "f_score"),
        measure="people",
        options={"scores": "1 to 5 among all buyers, 5 is best"},
    )


def _rfm(part: Part) -> Finding:
    sql = (
        "SELECT p.currency, p.r_score, p.f_score, COUNT(*) AS people, AVG(p.recency_days) AS recency, "
        "AVG(CAST(p.frequency AS DOUBLE)) AS frequency, AVG(p.monetary) AS monetary FROM profiles AS p "
        f"JOIN (SELECT DISTINCT t.person_key FROM {part.rows()} AS t) AS s ON s.person_key = p.person_key "
        "WHERE p.r_score IS NOT NULL GROUP BY p.currency, p.r_score, p.f_score "
        "ORDER BY p.currency, p.r_score DESC, p.f_score DESC"
    )
    found = part.journeys.rows(sql)
    buyers = sum(row[3] for row in found)
    return Finding(
        rows=[
            [c, r, f, n, share(n, buyers), *(None if mean is None else round(float(mean), 6) for mean in means)]
            for c, r, f, n, *means in found
        ],
        sql=sql,
        why_empty="nobody has ordered",
    )
