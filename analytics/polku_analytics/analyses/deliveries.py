"""Deliveries: whether what was promised was kept, by carrier."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.scope import NONE, Part, Scope, check_unit
from polku_analytics.journeys import Journeys
from polku_analytics.result import UNIT_WORDS, AnalysisResult, share

ALL: Final = "(all)"
"""The row of all carriers together."""

COLUMNS: Final = (
    "carrier",
    "units",
    "shipments",
    "delivered",
    "promised",
    "on_time",
    "late",
    "overdue",
    "under_way",
    "kept_share",
    "median_late_hours",
    "p90_late_hours",
)


class DeliveriesQuestion(Struct, frozen=True, kw_only=True):
    """Which shipments to look at; those sent in the scope's period."""

    scope: Scope = Scope()


def run_deliveries(journeys: Journeys, question: DeliveriesQuestion) -> AnalysisResult:
    """Whether promises were kept: all carriers together, then each, most shipments first."""
    check_unit(question.scope, ("person", "account"), "a question about deliveries")
    return answer(
        journeys,
        question.scope,
        _find,
        question=f"Are the deliveries to {UNIT_WORDS[question.scope.unit]} made when they were promised?",
        options={},
        columns=COLUMNS,
        keys=("carrier",),
        measure="kept_share",
        adds_up=False,
        # Who waits for something that is sent in the period need not have been there in it.
        asked_of=lambda part: part.rows("deliveries", "dispatched_at"),
    )


def deliveries_sql(part: Part) -> str:
    """One row a shipment; those of cancelled orders do not count."""
    say = part.journeys.engine.dialect
    as_of = part.journeys.as_of
    passed = "FALSE" if as_of is None else f"d.promised_at < {say.moment(as_of)}"
    return (
        f"SELECT d.carrier, d.{part.unit_column} AS unit, d.delivered_at IS NOT NULL AS delivered, "
        f"d.promised_at IS NOT NULL AS promised, d.on_time, COALESCE({passed}, FALSE) AS passed, d.late_hours "
        f"FROM {part.rows('deliveries', 'dispatched_at')} AS d WHERE NOT d.cancelled"
    )


def _find(part: Part) -> Finding:
    sql = deliveries_sql(part)
    return Finding(rows=delivery_rows(part.journeys.rows(sql)), sql=sql)


def delivery_rows(shipments: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    """A row for all carriers and one for each."""
    by_carrier: dict[str, list[tuple[Any, ...]]] = {}
    everything = []
    for shipment in shipments:
        everything.append(shipment)
        by_carrier.setdefault(shipment[0] or NONE, []).append(shipment)
    carriers = sorted(by_carrier.items(), key=lambda item: (-len(item[1]), item[0]))
    return [_row(ALL, everything), *(_row(carrier, mine) for carrier, mine in carriers)]


def _row(carrier: str, shipments: list[tuple[Any, ...]]) -> list[Any]:
    on_time = late = overdue = under_way = 0
    hours = []
    for _, _, delivered, promised, kept, passed, late_hours in shipments:
        on_time += kept is True
        late += kept is False
        overdue += promised and not delivered and passed
        under_way += not delivered and not (promised and passed)
        if kept is False:
            hours.append(late_hours)
    return [
        carrier,
        len({shipment[1] for shipment in shipments}),
        len(shipments),
        sum(shipment[2] for shipment in shipments),
        sum(shipment[3] for shipment in shipments),
        on_time,
        late,
        overdue,
        under_way,
        share(on_time, on_time + late + overdue),
        round(float(np.median(hours)), 6) if hours else None,
        round(float(np.quantile(hours, 0.9)), 6) if hours else None,
    ]
