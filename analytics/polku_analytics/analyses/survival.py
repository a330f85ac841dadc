"""How long something takes when some of it is not over yet: the product-limit estimate of Kaplan and Meier.

What is unfinished is known to have lasted at least so long (it is censored). Leaving it out would make everything look
faster than it is; averaging it in as if it had ended, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_ROUNDING = 1e-12
"""A survival of exactly one half may come out a little above it."""


def quantile_seconds(seconds: Sequence[float], finished: Sequence[bool], share: float) -> float | None:
    """The shortest time by which at least this share is finished; None if that is not reached by what is known."""
    if not len(seconds):
        return None
    times = np.asarray(seconds, dtype=np.float64)
    ended = np.asarray(finished, dtype=bool)
    moments, place = np.unique(times, return_inverse=True)
    leaving = np.bincount(place, minlength=len(moments))
    ends = np.bincount(place[ended], minlength=len(moments))
    at_risk = len(times) - np.concatenate(([0], np.cumsum(leaving)[:-1]))
    survival = np.cumprod(1 - ends / at_risk)
    reached = np.flatnonzero(survival <= 1 - share + _ROUNDING)
    return None if len(reached) == 0 else round(float(moments[reached[0]]), 6)


def median_or_none(values: Sequence[float]) -> float | None:
    """The median of numbers; None of none."""
    return round(float(np.median(np.asarray(values))), 6) if len(values) else None


def percentile_or_none(values: Sequence[float], share: float) -> float | None:
    """The value below which this share of the numbers lies (linear between two); None of none."""
    return round(float(np.quantile(np.asarray(values), share)), 6) if len(values) else None
