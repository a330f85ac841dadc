"""First, last and linear touch against ChannelAttribution, on the 10,000 paths that mta ships, through a lake."""

from __future__ import annotations

import csv
import gzip
import importlib.metadata
from collections.abc import Callable
from typing import Any

import ChannelAttribution
import pandas as pd
import pytest

from polku_analytics.analyses.attribution import AttributionQuestion, run_attribution
from polku_analytics.journeys import Journeys

HOUR = 3_600


def paths() -> list[dict[str, str]]:
    # Read as a file: importing mta brings a plotting library, and we want only its data.
    (data,) = [file for file in importlib.metadata.files("mta") or [] if file.name == "data.csv.gz"]
    with gzip.open(str(data.locate()), "rt", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_ten_thousand_paths(
    new_history: Callable[[], Callable[..., dict[str, Any]]], built: Callable[..., Journeys]
) -> None:
    event, rows, numbers = new_history(), [], iter(range(10**9))
    told = paths()
    assert len(told) == 10_000
    for person, path in enumerate(told):
        channels = path["path"].split(" > ")
        for place, channel in enumerate(channels):
            visit = {"user_id": f"p{person}", "session_id": f"v{next(numbers)}", "marketing_channel": channel}
            rows.append(event("page_viewed", place * HOUR, **visit))
        value = float(path["total_conversion_value"])
        if value:  # one order a path, worth what all of its conversions are worth
            order = {"order_id": f"o{person}", "revenue": value, "currency": "EUR"}
            rows.append(event("order_completed", len(channels) * HOUR, user_id=f"p{person}", **order))
    question = AttributionQuestion(models=("first", "last", "linear"), lookback_seconds=3650 * 24 * HOUR)
    result = run_attribution(built(rows), question)

    frame = pd.DataFrame(told)
    for column in ("total_conversions", "total_conversion_value"):
        frame[column] = frame[column].astype(float)
    theirs = ChannelAttribution.heuristic_models(
        frame, "path", "total_conversions", var_value="total_conversion_value", flg_pro=False
    ).set_index("channel_name")
    for model, column in (("first", "first_touch"), ("last", "last_touch"), ("linear", "linear_touch")):
        mine = {row[1]: row[4] for row in result.rows if row[0] == model}
        assert set(mine) == set(theirs.index)
        for channel, value in theirs[f"{column}_value"].items():
            assert mine[channel] == pytest.approx(value, abs=0.02), (model, channel)
        assert sum(mine.values()) == pytest.approx(74_802.97, abs=0.01)
