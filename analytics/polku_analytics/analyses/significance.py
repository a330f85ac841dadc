"""Differences between two groups: how large, how sure, how likely by chance. Numbers in, numbers out.

The tests are the usual ones of scipy and statsmodels (docs/definitions.md names them); too little data gives None.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

CONFIDENCE: Final = 0.95
_FEWEST_EXPECTED: Final = 5
"""With fewer expected in a cell the normal approximation misleads, and Fisher's exact test is taken."""


class Difference(Struct, frozen=True):
    """What one group has more than the other, its interval, and how often chance alone would give as much."""

    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    test: str | None


NOTHING: Final = Difference(None, None, None, None, None)


class Sums(Struct, frozen=True):
    """What is enough to know of a figure of each unit: how many units, the sum, the sum of squares."""

    units: int
    total: float
    squares: float

    @property
    def mean(self) -> float | None:
        """None for nobody."""
        return self.total / self.units if self.units else None

    @property
    def deviation(self) -> float:
        """Of the sample; 0 for a single unit."""
        if self.units < 2:
            return 0.0
        return math.sqrt(max(0.0, (self.squares - self.total * self.total / self.units) / (self.units - 1)))


def proportions(reached: int, units: int, control_reached: int, control_units: int) -> Difference:
    """Two shares: pooled z-test, or Fisher's exact test for few; Newcombe's interval of the difference."""
    if not units or not control_units:
        return NOTHING
    share, control = reached / units, control_reached / control_units
    low, high = wilson(reached, units)
    control_low, control_high = wilson(control_reached, control_units)
    difference = share - control
    bounds = (
        difference - math.hypot(share - low, control_high - control),
        difference + math.hypot(high - share, control - control_low),
    )
    together, everybody = reached + control_reached, units + control_units
    fewest = min(together, everybody - together) * min(units, control_units) / everybody
    if fewest < _FEWEST_EXPECTED:
        from scipy.stats import fisher_exact

        table = [[reached, units - reached], [control_reached, control_units - control_reached]]
        return Difference(difference, *bounds, float(fisher_exact(table).pvalue), "Fisher")
    pooled = together / everybody
    error = math.sqrt(pooled * (1 - pooled) * (1 / units + 1 / control_units))
    return Difference(difference, *bounds, math.erfc(abs(difference) / error / math.sqrt(2)), "z")


def means(group: Sums, control: Sums) -> Difference:
    """Two means: Welch's t-test and its interval."""
    if group.units < 2 or control.units < 2 or group.mean is None or control.mean is None:
        return NOTHING
    difference = group.mean - control.mean
    parts = [group.deviation**2 / group.units, control.deviation**2 / control.units]
    error = math.sqrt(sum(parts))
    if error == 0:
        return Difference(difference, difference, difference, None, None)
    from scipy.stats import t

    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (group.units - 1) + parts[1] ** 2 / (control.units - 1))
    reach = float(t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    p_value = float(2 * t.sf(abs(difference) / error, freedom))
    return Difference(difference, difference - reach, difference + reach, p_value, "Welch")


def same_ratio(counts: Sequence[int], expected: Sequence[float]) -> float | None:
    """How likely chance alone gives counts as far from the expected shares: Pearson's chi-square test."""
    total = sum(counts)
    if not total or len(counts) < 2:
        return None
    from scipy.stats import chi2

    wanted = [share / sum(expected) * total for share in expected]
    if min(wanted) == 0:
        return None
    distance = sum((count - want) ** 2 / want for count, want in zip(counts, wanted, strict=True))
    return float(chi2.sf(distance, len(counts) - 1))


def wilson(reached: int, units: int) -> tuple[float, float]:
    """Wilson's interval of a share."""
    z = _Z
    share = reached / units
    middle = (share + z * z / (2 * units)) / (1 + z * z / units)
    reach = z * math.sqrt(share * (1 - share) / units + z * z / (4 * units * units)) / (1 + z * z / units)
    return max(0.0, middle - reach), min(1.0, middle + reach)


_Z: Final = 1.959963984540054
"""The normal quantile of (1 + CONFIDENCE) / 2."""
