"""When a share has changed: the chance beside scipy's own statistics, the promise beside every outcome there can be."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binom, hypergeom

from polku_analytics.contract.proportions import ALPHA, MIN_COUNT, Share, chance, has_changed, is_comparable

shares = st.integers(1, 3_000).flatmap(lambda of: st.builds(Share, st.integers(0, of), st.just(of)))


@given(shares, shares)
@example(Share(6, 100), Share(1_000, 100_000))
@example(Share(0, 100), Share(100, 100))
@example(Share(7, 100), Share(14, 200))
@example(Share(1_000_000, 40_000_000), Share(3_000_000, 100_000_000))
def test_the_chance_is_twice_the_tail_of_fishers_exact_test(now: Share, before: Share) -> None:
    drawn = hypergeom(now.of + before.of, now.part + before.part, now.of)
    tail = min(drawn.sf(now.part - 1), drawn.cdf(now.part))
    assert chance(now, before) == pytest.approx(min(1.0, 2 * float(tail)), rel=1e-6, abs=1e-300)


@given(shares, shares)
def test_the_chance_is_the_same_whichever_side_and_whichever_part_is_counted(now: Share, before: Share) -> None:
    rest_now, rest_before = Share(now.of - now.part, now.of), Share(before.of - before.part, before.of)
    for other in (chance(before, now), chance(rest_now, rest_before)):
        assert other == pytest.approx(chance(now, before), rel=1e-6)


@pytest.mark.parametrize(("min_effect", "comparisons"), [(0.005, 1), (0.005, 100), (0.05, 1_000)])
@pytest.mark.parametrize("of", [(100, 100), (100, 400), (400, 100), (100, 20_000), (500, 2_000)])
@pytest.mark.parametrize("true_share", [0.0005, 0.005, 0.05, 0.5, 0.97])
def test_a_share_that_stays_is_told_no_more_often_than_promised(
    true_share: float, of: tuple[int, int], min_effect: float, comparisons: int
) -> None:
    """All outcomes of two samples of one distribution, each with its probability; those that are told, added up."""
    likely = [[(part, float(binom.pmf(part, n, true_share))) for part in _likely(n, true_share)] for n in of]
    told = sum(
        now_weight * before_weight
        for (now, now_weight), (before, before_weight) in itertools.product(*likely)
        if now_weight * before_weight > 1e-10
        and has_changed(Share(now, of[0]), Share(before, of[1]), min_effect=min_effect, comparisons=comparisons)
    )
    assert told <= ALPHA / comparisons


def _likely(of: int, share: float) -> range:
    low, high = (int(binom.ppf(q, of, share)) for q in (1e-7, 1 - 1e-7))
    return range(max(low, 0), high + 1)


def test_a_large_change_is_told_and_a_small_or_unlikely_one_is_not() -> None:
    assert has_changed(Share(500, 1_000), Share(400, 1_000), min_effect=0.05, comparisons=500)
    assert not has_changed(Share(440, 1_000), Share(400, 1_000), min_effect=0.05, comparisons=1)
    assert not has_changed(Share(449, 1_000_000), Share(0, 1_000_000), min_effect=0.05, comparisons=1)
    assert not has_changed(Share(16, 100), Share(10, 100), min_effect=0.05, comparisons=1)
    assert has_changed(Share(90_000, 1_000_000), Share(30_000, 1_000_000), min_effect=0.05, comparisons=10_000)


def test_too_few_say_nothing() -> None:
    few, enough = Share(99, MIN_COUNT - 1), Share(0, MIN_COUNT)
    assert not is_comparable(few, enough)
    assert not has_changed(few, enough, min_effect=0.05, comparisons=1)
    assert has_changed(Share(99, MIN_COUNT), enough, min_effect=0.05, comparisons=1)


def test_shares_add_up_and_a_part_of_nothing_is_none() -> None:
    assert Share(1, 2) + Share(2, 4) == Share(3, 6)
    assert Share(0, 0).share == 0.0
    assert Share(1, 4).share == 0.25
