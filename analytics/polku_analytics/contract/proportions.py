"""When two shares differ by more than chance: Fisher's exact test, with a least effect and a least count.

If nothing has changed, those that have the property are spread over both samples as balls drawn from one urn: how many
of them fall into the one is hypergeometric, whatever the share is. A test by the normal distribution (z-test) is too
sure where a share is small: where one event in a thousand is refused, one of 100 is by chance every tenth time, and it
would tell that as a change. Many shares are compared at once, so the chance that *any* of them is reported wrongly is
held at ALPHA (Bonferroni's correction).
"""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

ALPHA: Final = 0.01
"""The chance that a report holds one change that is none, if events came independently of each other."""

MIN_COUNT: Final = 100
"""A share of fewer is no share."""

_NEGLIGIBLE: Final = 1e-15
"""What a tail is not added up beyond, as a part of it."""


class Share(Struct, frozen=True):
    """A part of a whole."""

    part: int
    of: int

    @property
    def share(self) -> float:
        """Between 0 and 1; 0 of nothing is 0."""
        return self.part / self.of if self.of else 0.0

    def __add__(self, other: Share) -> Share:
        return Share(self.part + other.part, self.of + other.of)


def is_comparable(now: Share, before: Share) -> bool:
    """Whether there are enough on both sides to say anything."""
    return min(now.of, before.of) >= MIN_COUNT


def chance(now: Share, before: Share) -> float:
    """The probability of a difference at least so large, in either direction, if nothing has changed."""
    more, less = (now, before) if now.share >= before.share else (before, now)
    return min(1.0, 2 * _at_least(more.part, more + less, more.of))


def has_changed(now: Share, before: Share, *, min_effect: float, comparisons: int) -> bool:
    """Whether the share is another one: by at least `min_effect`, and not by chance."""
    if not is_comparable(now, before) or abs(now.share - before.share) < min_effect:
        return False
    return is_no_chance(now, before, comparisons)


def is_no_chance(now: Share, before: Share, comparisons: int) -> bool:
    """Whether a difference, however small, is more than one of so many comparisons would show by chance."""
    return chance(now, before) < ALPHA / max(comparisons, 1)


def _at_least(part: int, urn: Share, drawn: int) -> float:
    """The probability that `part` or more of those drawn from an urn are of its part; `part` is not below the mean."""
    rest = urn.of - urn.part - drawn  # of the others, this many stay in the urn if none of the part is drawn
    term = math.exp(
        _log_choices(urn.part, part) + _log_choices(urn.of - urn.part, drawn - part) - _log_choices(urn.of, drawn)
    )
    tail = 0.0
    # From the mean on the terms become smaller: soon none is left that counts.
    while term > tail * _NEGLIGIBLE:
        tail += term
        term *= (urn.part - part) * (drawn - part) / ((part + 1) * (rest + part + 1))
        part += 1
    return tail


def _log_choices(of: int, chosen: int) -> float:
    """The logarithm of how many ways there are to choose."""
    return math.lgamma(of + 1) - math.lgamma(chosen + 1) - math.lgamma(of - chosen + 1)
