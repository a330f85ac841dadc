"""When two shares differ by more than chance: the pooled two-proportion z-test, with a least effect and a least count.

The test is the one of any textbook (NIST/SEMATECH e-Handbook of Statistical Methods, 7.3.3): with p the share of both
samples together, z = (p1 - p2) / sqrt(p (1 - p) (1/n1 + 1/n2)) is normal if nothing has changed. Many shares are
compared at once, so the chance that *any* of them is reported wrongly is held at ALPHA (Bonferroni's correction).
"""

from __future__ import annotations

import math
from typing import Final

from msgspec import Struct

ALPHA: Final = 0.01
"""The chance that a report holds one change that is none, if events came independently of each other."""

MIN_COUNT: Final = 100
"""A share of fewer is no share."""


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
    pooled = (now + before).share
    spread = math.sqrt(pooled * (1 - pooled) * (1 / now.of + 1 / before.of))
    return math.erfc(abs(now.share - before.share) / spread / math.sqrt(2)) if spread else 1.0


def has_changed(now: Share, before: Share, *, min_effect: float, comparisons: int) -> bool:
    """Whether the share is another one: by at least `min_effect`, and not by chance."""
    if not is_comparable(now, before) or abs(now.share - before.share) < min_effect:
        return False
    return chance(now, before) < ALPHA / max(comparisons, 1)
