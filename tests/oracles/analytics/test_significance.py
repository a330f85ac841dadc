"""Our intervals and tests against statsmodels."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from polku_analytics.analyses.significance import Sums, means, proportions, wilson

proportion = pytest.importorskip("statsmodels.stats.proportion")
weightstats = pytest.importorskip("statsmodels.stats.weightstats")


@given(st.integers(1, 5000), st.integers(1, 5000), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=300)
def test_shares(units: int, control_units: int, share: float, control_share: float) -> None:
    reached, control = round(units * share), round(control_units * control_share)
    found = proportions(reached, units, control, control_units)
    low, high = proportion.confint_proportions_2indep(
        reached, units, control, control_units, method="newcomb", compare="diff"
    )
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))
    low, high = proportion.proportion_confint(reached, units, method="wilson")
    assert wilson(reached, units) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))
    if found.test == "z":
        _, p_value = proportion.proportions_ztest([reached, control], [units, control_units])
        assert found.p_value == pytest.approx(p_value, abs=1e-12)


@given(st.lists(st.integers(0, 99), min_size=2, max_size=30), st.lists(st.integers(0, 99), min_size=2, max_size=30))
@settings(max_examples=200)
def test_means(group: list[int], control: list[int]) -> None:
    assume(len(set(group)) > 1 and len(set(control)) > 1)
    found = means(*(Sums(len(v), sum(v), sum(x * x for x in v)) for v in (group, control)))
    compared = weightstats.CompareMeans.from_data(group, control)
    low, high = compared.tconfint_diff(usevar="unequal")
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.p_value == pytest.approx(compared.ttest_ind(usevar="unequal")[1])
    assert not math.isnan(found.difference or 0.0)
