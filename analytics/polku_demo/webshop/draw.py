"""Everything random in the web shop, from one seed.

Only `random()` and `getrandbits()` of the standard generator are used: Python promises that these two give
the same numbers in every release, which it does not for the rest. So a seed means the same shop everywhere.
"""

import math
from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")


class Weighted(Generic[T]):
    """Items and how often each is drawn, prepared once."""

    __slots__ = ("items", "limits")

    def __init__(self, weights: dict[T, float]) -> None:
        self.items = tuple(weights)
        total = sum(weights.values())
        self.limits = [limit / total for limit in accumulate(weights.values())][:-1]


class Draw:
    """The chances of one person: its own stream, so that one life does not change another's."""

    __slots__ = ("bits", "random")

    def __init__(self, seed: int, stream: str) -> None:
        source = Random(f"{seed}/{stream}")
        self.random = source.random
        self.bits = source.getrandbits

    def chance(self, probability: float) -> bool:
        """True this often."""
        return self.random() < probability

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included."""
        return low + int(self.random() * (high - low + 1))

    def between(self, low: float, high: float) -> float:
        """A number from `low` up to `high`."""
        return low + self.random() * (high - low)

    def one(self, items: Sequence[T]) -> T:
        """Any of the items."""
        return items[int(self.random() * len(items))]

    def weighted(self, items: Weighted[T]) -> T:
        """One of the items, as often as its weight says."""
        return items.items[bisect(items.limits, self.random())]

    def wait(self, mean: float) -> float:
        """An exponential waiting time: many short, few long."""
        return -mean * math.log(1.0 - self.random())

    def normal(self, mean: float, deviation: float) -> float:
        """A bell curve (Box and Muller), for scores and the logarithms of durations."""
        radius = math.sqrt(-2.0 * math.log(1.0 - self.random()))
        return mean + deviation * radius * math.cos(2.0 * math.pi * self.random())

    def duration(self, median: float, spread: float = 0.5) -> float:
        """A log-normal duration around its median, in the unit of the median."""
        return median * math.exp(self.normal(0.0, spread))

    def id(self) -> str:
        """An id as unlikely to repeat as a UUID, the same in every run of the seed."""
        return f"{self.bits(128):032x}"
