"""Checkout: at which step people leave, what they leave there, and how long each step takes those who go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.scope import Part, Scope, check_unit
from polku_analytics.currencies import usual_currency
from polku_analytics.journeys import Journeys
from polku_analytics.result import UNIT_WORDS, AnalysisResult, share, window_text

ORDER: Final = "order"
"""The name of the last row: the checkouts that ended in an order."""

OPEN_SECONDS: Final = 30 * 60
"""Who has done nothing for so long has left."""

COLUMNS: Final = (
    "step",
    "name",
    "units",
    "entered",
    "completed",
    "left",
    "open",
    "abandonment_share",
    "share_of_checkouts",
    "median_seconds",
    "p90_seconds",
    "value_left",
    "currency",
)


class CheckoutQuestion(Struct, frozen=True, kw_only=True):
    """Which checkouts to look at; those begun in the scope's period."""

    scope: Scope = Scope()
    open_seconds: int = OPEN_SECONDS
    """A checkout with an event in the last so many seconds that are known has not been left yet."""


class _Step(Struct, frozen=True):
    """One step of one checkout."""

    checkout: int
    step: int
    name: str | None
    unit: Any
    left: bool
    recent: bool
    seconds: float | None
    seconds_to_order: float | None
    value: float | None
    currency: str | None


def run_checkout(journeys: Journeys, question: CheckoutQuestion) -> AnalysisResult:
    """The steps of the checkout in their order, then the order."""
    check_unit(question.scope, ("person", "session", "account"), "a question about checkouts")
    return answer(
        journeys,
        question.scope,
        lambda part: _find(question, part),
        question=f"At which step of the checkout do {UNIT_WORDS[question.scope.unit]} leave?",
        window=window_text(question.open_seconds),
        options={"open_seconds": question.open_seconds},
        columns=COLUMNS,
        keys=("step", "name"),
        measure="abandonment_share",
        adds_up=False,
    )


def checkout_sql(part: Part) -> str:
    """One row for each step of each checkout, times in microseconds."""
    say = part.journeys.engine.dialect
    return (
        f"SELECT c.checkout_key, c.step_number, c.step_name, c.{part.unit_column} AS unit, "
        "c.outcome = 'left' AS has_left, "
        f"{say.microseconds('c.last_at')} AS last_at, "
        f"{say.microseconds('c.completed_at')} - {say.microseconds('c.entered_at')} AS taken, "
        f"{say.microseconds('c.ordered_at')} - {say.microseconds('c.started_at')} AS to_order, c.value, c.currency "
        f"FROM {part.rows('checkout_steps', 'started_at')} AS c ORDER BY c.checkout_key, c.step_number"
    )


def _find(question: CheckoutQuestion, part: Part) -> Finding:
    sql = checkout_sql(part)
    as_of = part.journeys.as_of
    newest = 0 if as_of is None else round(as_of.timestamp() * 1_000_000)
    steps = [
        _Step(
            checkout,
            step,
            name,
            unit,
            left,
            last_at > newest - question.open_seconds * 1_000_000,
            None if taken is None else taken / 1e6,
            None if to_order is None else to_order / 1e6,
            value,
            currency,
        )
        for checkout, step, name, unit, left, last_at, taken, to_order, value, currency in part.journeys.rows(sql)
    ]
    return Finding(rows=checkout_rows(steps), sql=sql, why_empty="no checkout was begun")


def checkout_rows(steps: Iterable[_Step]) -> list[list[Any]]:
    """A row a step, by number and name, and one for the order; no rows without a checkout.

    What is left is told in one currency, that of most checkouts; amounts in others are not added to it.
    """
    by_step: dict[tuple[int, str | None], list[_Step]] = {}
    checkouts: dict[int, _Step] = {}
    for step in steps:
        by_step.setdefault((step.step, step.name), []).append(step)
        checkouts[step.checkout] = step
    currency = _usual_currency(checkouts.values())
    rows: list[list[Any]] = []
    for (number, name), taken in sorted(by_step.items(), key=lambda item: (item[0][0], str(item[0][1]))):
        still = sum(step.left and step.recent for step in taken)
        left = sum(step.left for step in taken) - still
        amounts = [
            step.value
            for step in taken
            if step.left and not step.recent and step.value is not None and step.currency == currency
        ]
        rows.append(
            [
                number,
                name,
                len({step.unit for step in taken}),
                len(taken),
                len(taken) - left - still,
                left,
                still,
                share(left, len(taken) - still),
                share(len(taken), len(checkouts)),
                *_median_and_p90(step.seconds for step in taken if not step.left),
                round(sum(amounts), 2) if amounts else None,
                currency if amounts else None,
            ]
        )
    if checkouts:
        ordered = [step for step in checkouts.values() if step.seconds_to_order is not None]
        units = len({step.unit for step in ordered})
        ended = share(len(ordered), len(checkouts))
        times = _median_and_p90(step.seconds_to_order for step in ordered)
        rows.append([None, ORDER, units, len(ordered), len(ordered), 0, 0, None, ended, *times, None, None])
    return rows


def _usual_currency(checkouts: Iterable[_Step]) -> str | None:
    """That of most checkouts that have a value."""
    return usual_currency(Counter(checkout.currency for checkout in checkouts if checkout.value is not None))


def _median_and_p90(seconds: Iterable[float | None]) -> tuple[float | None, float | None]:
    known = [value for value in seconds if value is not None]
    if not known:
        return None, None
    return round(float(np.median(known)), 6), round(float(np.quantile(known, 0.9)), 6)
