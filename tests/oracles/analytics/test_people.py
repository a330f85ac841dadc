"""Recency, frequency and money against lifetimes on real orders (CDNOW), task times against lifelines."""

from __future__ import annotations

import datetime
import math
import random
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pytest

from polku_analytics.analyses.survival import quantile_seconds
from polku_analytics.build import build
from polku_analytics.journeys import open_journeys
from polku_analytics.lake import Lake
from polku_schemas import Plan
from tests.analytics.conftest import plan

__all__ = ["plan"]

lifetimes = pytest.importorskip("lifetimes")
lifelines = pytest.importorskip("lifelines")

CUSTOMERS = 4000
"""Of the 23,570: enough for every case, and a build of a second or two."""


def cdnow() -> list[tuple[str, datetime.datetime, float]]:
    """Orders (customer, day, money) of the first customers of the file."""
    path = Path(lifetimes.__file__).parent / "datasets" / "CDNOW_master.txt"
    orders = []
    for line in path.read_text().splitlines():
        fields = line.split()
        if len(fields) != 4 or not fields[0].isdigit() or int(fields[0]) > CUSTOMERS:
            continue
        day = datetime.datetime.strptime(fields[1], "%Y%m%d").replace(tzinfo=datetime.UTC)
        orders.append((fields[0], day, float(fields[3])))
    return orders


def test_recency_frequency_and_money_are_those_of_lifetimes(plan: Plan, tmp_path: Path) -> None:
    import pandas as pd
    from lifetimes.utils import summary_data_from_transaction_data

    orders = cdnow()
    assert len(orders) > 10_000
    times = [at for _, at, _ in orders]
    count = len(orders)
    constant = {
        "event_type": "track",
        "event_name": "order_completed",
        "stream": "in-1",
        "source": "shop",
        "channel": "web",
    }
    table = pa.table(
        {
            **{name: pa.array([value] * count) for name, value in constant.items()},
            "event_id": pa.array([f"e{n:06}" for n in range(count)]),
            "event_time": pa.array(times, pa.timestamp("us", tz="UTC")),
            "received_at": pa.array(times, pa.timestamp("us", tz="UTC")),
            "event_date": pa.array([at.date() for at in times]),
            "sequence": pa.array(range(count), pa.int64()),
            "user_id": pa.array([customer for customer, _, _ in orders]),
            "order_id": pa.array([f"o{n}" for n in range(count)]),
            "revenue": pa.array([money for _, _, money in orders]),
            "currency": pa.array(["USD"] * count),
        }
    )
    deltalake.write_deltalake(str(tmp_path / "events"), table)
    lake = Lake(tmp_path, environ={})
    build(lake, plan)
    found = open_journeys(lake, plan).rows("SELECT person_id, frequency, monetary, recency_days, orders FROM profiles")

    frame = pd.DataFrame(orders, columns=["customer", "at", "money"])
    frame["at"] = frame["at"].dt.tz_localize(None)
    peer = summary_data_from_transaction_data(
        frame,
        "customer",
        "at",
        monetary_value_col="money",
        observation_period_end=frame["at"].max(),
        freq="D",
        include_first_transaction=True,
    )
    assert len(found) == len(peer) > 3_900
    for person, frequency, monetary, recency_days, count in found:
        theirs = peer.loc[person]
        assert frequency == theirs["frequency"]
        assert math.isclose(monetary, theirs["monetary_value"], abs_tol=1e-9)
        assert recency_days == theirs["T"] - theirs["recency"]
        assert count >= frequency


def test_task_times_are_those_of_lifelines() -> None:
    draw = random.Random(7)
    for _ in range(200):
        size = draw.randint(1, 60)
        seconds = [draw.randint(0, 30) for _ in range(size)]
        finished = [draw.random() < 0.7 for _ in range(size)]
        peer: Any = lifelines.KaplanMeierFitter().fit(seconds, finished)
        for share in (0.5, 0.9):
            curve = peer.survival_function_["KM_estimate"]
            reached = curve[curve <= 1 - share + 1e-9]
            expected = None if reached.empty else float(reached.index[0])
            assert quantile_seconds([float(value) for value in seconds], finished, share) == expected
        median = quantile_seconds([float(value) for value in seconds], finished, 0.5)
        assert (math.inf if median is None else median) == peer.median_survival_time_ or _is_rounded(peer)


def _is_rounded(peer: Any) -> bool:
    """Whether the curve comes so near one half that rounding decides."""
    return bool((abs(peer.survival_function_["KM_estimate"] - 0.5) < 1e-9).any())
