"""Funnels against retentioneering, which knows no window; times to convert against lifelines."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from lifelines import KaplanMeierFitter
from retentioneering import Eventstream

from polku_analytics.analyses.funnel import expected_shares, funnel_question, run_funnel
from polku_analytics.journeys import Journeys


@pytest.mark.parametrize(
    "steps", [("home", "catalog", "product_view", "add_to_cart", "purchase"), ("catalog", "add_to_cart", "purchase")]
)
def test_as_many_people_at_each_step_as_retentioneering_finds(
    ecom: pa.Table, ecom_journeys: Journeys, steps: tuple[str, ...]
) -> None:
    frame = ecom.select(["user_id", "event_name", "event_time"]).to_pandas()
    frame.columns = ["user_id", "event", "timestamp"]
    theirs = Eventstream(frame).funnel_data(steps=list(steps))["steps"]

    question = funnel_question(ecom_journeys, steps, window_seconds=10 * 365 * 86400)
    ours = [row[2] for row in run_funnel(ecom_journeys, question).rows]
    assert ours == [step["unique_paths"] for step in theirs]
    assert ours[-1] > 0


def test_the_expected_share_is_that_of_lifelines() -> None:
    random = np.random.default_rng(7)
    for size in (1, 5, 400):
        times = random.integers(0, 50, size)
        through = random.random(size) < 0.6
        if not through.any():
            continue
        at, expected = expected_shares(times[through], times[~through])
        theirs = KaplanMeierFitter().fit(times, through).survival_function_at_times(at).to_numpy()
        assert expected == pytest.approx(1 - theirs)
