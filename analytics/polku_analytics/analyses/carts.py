"""Carts: how many were made, what became of them, and what is left lying in those that were abandoned."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.scope import Part, Scope, check_unit
from polku_analytics.currencies import usual_first
from polku_analytics.fillings import CART_IDLE_HOURS
from polku_analytics.journeys import Journeys
from polku_analytics.result import UNIT_WORDS, AnalysisResult, share, window_text

COLUMNS: Final = (
    "currency",
    "units",
    "created",
    "ordered",
    "emptied",
    "abandoned",
    "open",
    "abandonment_share",
    "checkout_started",
    "abandoned_in_checkout",
    "value_left",
)

OUTCOMES: Final = ("ordered", "emptied", "abandoned", "open")


class CartsQuestion(Struct, frozen=True, kw_only=True):
    """Which carts to look at; those made in the scope's period."""

    scope: Scope = Scope()
    idle_seconds: int = CART_IDLE_HOURS * 3600
    """A cart in which nothing has happened for so long is abandoned."""


def run_carts(journeys: Journeys, question: CartsQuestion) -> AnalysisResult:
    """What became of the carts, a row a currency."""
    check_unit(question.scope, ("person", "session", "account"), "a question about carts")
    return answer(
        journeys,
        question.scope,
        lambda part: _find(question, part),
        question=f"What became of the carts of {UNIT_WORDS[question.scope.unit]}?",
        window=window_text(question.idle_seconds),
        options={"idle_seconds": question.idle_seconds},
        columns=COLUMNS,
        keys=("currency",),
        measure="abandonment_share",
        adds_up=False,
    )


def carts_sql(idle_seconds: int, part: Part) -> str:
    """Carts counted by currency, outcome and whether their checkout was started."""
    outcome = (
        "CASE WHEN c.outcome IN ('ordered', 'emptied') THEN c.outcome "
        # To the microsecond: 65 minutes as hours, times 3600, are a little less than 3900 seconds.
        f"WHEN ROUND(c.idle_hours * 3600, 6) >= {idle_seconds} THEN 'abandoned' ELSE 'open' END"
    )
    return (
        "SELECT currency, outcome, in_checkout, COUNT(*) AS carts, SUM(value_left) AS value_left FROM ("
        f"SELECT c.currency, {outcome} AS outcome, c.checkout_started_at IS NOT NULL AS in_checkout, c.value_left "
        f"FROM {part.rows('carts', 'started_at')} AS c) AS decided GROUP BY currency, outcome, in_checkout"
    )


def _find(question: CartsQuestion, part: Part) -> Finding:
    sql = carts_sql(question.idle_seconds, part)
    units = dict(
        part.journeys.rows(
            f"SELECT c.currency, COUNT(DISTINCT c.{part.unit_column}) AS units "
            f"FROM {part.rows('carts', 'started_at')} AS c GROUP BY c.currency"
        )
    )
    return Finding(rows=cart_rows(part.journeys.rows(sql), units), sql=sql)


def cart_rows(counted: list[tuple[Any, ...]], units: dict[str | None, int]) -> list[list[Any]]:
    """A row a currency, most carts first; one of zeros where there are none."""
    carts: dict[str | None, dict[str, int]] = {}
    left: dict[str | None, float | None] = {}
    for currency, outcome, in_checkout, count, value in counted:
        mine = carts.setdefault(currency, dict.fromkeys((*OUTCOMES, "checkout", "abandoned_in_checkout"), 0))
        mine[outcome] += count
        if in_checkout:
            mine["checkout"] += count
        if outcome == "abandoned":
            mine["abandoned_in_checkout"] += count if in_checkout else 0
            if value is not None:
                left[currency] = (left.get(currency) or 0.0) + value
    if not carts:
        return [[None, 0, 0, 0, 0, 0, 0, None, 0, 0, None]]
    rows = []
    for currency, mine in carts.items():
        created = sum(mine[outcome] for outcome in OUTCOMES)
        value = left.get(currency)
        rows.append(
            [
                currency,
                units.get(currency, 0),
                created,
                *(mine[outcome] for outcome in OUTCOMES),
                share(mine["abandoned"], created - mine["open"]),
                mine["checkout"],
                mine["abandoned_in_checkout"],
                None if value is None else round(value, 2),
            ]
        )
    return sorted(rows, key=lambda row: usual_first(row[0], row[2]))
