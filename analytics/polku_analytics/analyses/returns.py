"""Returns: how much of what was sold comes back, by product, category, brand or reason."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.scope import NONE, OTHER, Part, Scope, check_unit
from polku_analytics.journeys import Journeys
from polku_analytics.result import UNIT_WORDS, AnalysisResult, share

By = Literal["order", "product", "category", "brand", "reason"]
"""What stands in a row: all orders, or lines of orders by what was bought, or orders by why they came back."""

ALL: Final = "(all)"

COLUMNS: Final = (
    "currency",
    "name",
    "units",
    "sold",
    "returned",
    "returned_share",
    "value",
    "returned_value",
    "returned_value_share",
)

_NAMES: Final = {"product": "COALESCE(x.product_id, '(none)')", "category": "x.category", "brand": "x.brand"}


class ReturnsQuestion(Struct, frozen=True, kw_only=True):
    """Which orders to look at; those made in the scope's period, whenever they came back."""

    scope: Scope = Scope()
    by: By = "order"
    top: int = 20
    """So many rows a currency, those with most returned value; the rest is `(other)`."""


def run_returns(journeys: Journeys, question: ReturnsQuestion) -> AnalysisResult:
    """What comes back: orders (or lines, where products are looked at), and what they are worth."""
    check_unit(question.scope, ("person", "session", "account"), "a question about returns")
    # What stands side by side has the same rows by name: those of the first segment, and of the period asked about.
    named: dict[str | None, _Names] = {}
    things = "orders" if question.by in ("order", "reason") else "lines of orders"
    return answer(
        journeys,
        question.scope,
        lambda part: _find(question, part, named),
        question=f"How much of what {UNIT_WORDS[question.scope.unit]} order comes back?",
        options={"by": question.by, "counted": things, "top": question.top},
        columns=COLUMNS,
        keys=("currency", "name"),
        measure="returned_share",
        adds_up=False,
    )


def returns_sql(by: By, part: Part) -> str:
    """What was sold and came back, by currency and name; cancelled orders were not sold."""
    unit = f"x.{part.unit_column}"
    if by in ("order", "reason"):
        # A reason belongs to what came back; what was sold has none.
        name = f"COALESCE(x.return_reason, '{NONE}')" if by == "reason" else f"'{ALL}'"
        rows, came_back, value = part.rows("orders", "ordered_at"), "x.returned_at IS NOT NULL", "x.revenue"
        only = " AND x.returned_at IS NOT NULL" if by == "reason" else ""
    else:
        name = f"COALESCE({_NAMES[by]}, '{NONE}')"
        rows, came_back, value = part.rows("order_lines", "ordered_at"), "x.returned_quantity > 0", "x.revenue"
        only = ""
    return (
        f"SELECT x.currency, {name} AS name, COUNT(DISTINCT {unit}) AS units, COUNT(*) AS sold, "
        f"COUNT(CASE WHEN {came_back} THEN 1 END) AS returned, SUM({value}) AS value, "
        f"SUM(CASE WHEN {came_back} THEN x.returned_value END) AS returned_value "
        f"FROM {rows} AS x WHERE NOT x.cancelled{only} GROUP BY x.currency, {name}"
    )


_Names = dict[str | None, list[str]]
"""Of each currency the rows that have their name, most returned value first."""


def _find(question: ReturnsQuestion, part: Part, named: dict[str | None, _Names]) -> Finding:
    sql = returns_sql(question.by, part)
    found = part.journeys.rows(sql)
    totals: dict[str | None, tuple[int, float | None]] = {}
    if question.by == "reason":
        totals = {row[0]: (row[3], row[5]) for row in part.journeys.rows(returns_sql("order", part))}
    why = "nothing came back" if question.by == "reason" else "nothing was sold"
    names = named.setdefault(part.value, {})
    return Finding(rows=return_rows(found, totals, question.top, names, question.by), sql=sql, why_empty=why)


def return_rows(
    found: list[tuple[Any, ...]],
    totals: dict[str | None, tuple[int, float | None]],
    top: int,
    named: _Names,
    by: By = "product",
) -> list[list[Any]]:
    """Rows by currency, most returned value first. `totals`: what all of a currency is, where rows are parts of it.

    A currency that `named` does not have gets its names here.
    """
    if by == "order" and not found:
        return [[None, ALL, 0, 0, 0, None, None, None, None]]
    rows = []
    by_currency: dict[str | None, list[tuple[Any, ...]]] = {}
    for row in found:
        by_currency.setdefault(row[0], []).append(row)
    for currency, mine in sorted(by_currency.items(), key=lambda item: str(item[0])):
        ranked = sorted(mine, key=lambda row: (-(row[6] or 0.0), -row[4], -row[3], str(row[1])))
        names = named.setdefault(currency, [row[1] for row in ranked[:top]])
        kept = [_row(row, totals) for row in ranked if row[1] in names]
        rest = [row for row in ranked if row[1] not in names]
        if rest:
            added = [sum(row[at] for row in rest) for at in (3, 4)]
            amounts = [_sum(row[at] for row in rest) for at in (5, 6)]
            # One person may have bought several of them: how many people these are is not known from the sums.
            kept.append(_row((rest[0][0], OTHER, None, *added, *amounts), totals))
        rows.extend(kept)
    return rows


def _row(row: tuple[Any, ...], totals: dict[str | None, tuple[int, float | None]]) -> list[Any]:
    currency, name, units, sold, returned, value, back = row
    sold, value = totals.get(currency, (sold, value))
    back = 0.0 if not returned else back
    return [
        currency,
        name,
        units,
        sold,
        returned,
        share(returned, sold),
        None if value is None else round(value, 2),
        None if back is None else round(back, 2),
        round(back / value, 6) if value and back is not None else None,
    ]


def _sum(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
