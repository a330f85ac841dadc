"""What the two small data sets, `b2b` and `media`, have in common: browsers, a calendar, and how a twin is shuffled.

Each of them plants stories in its events for analyses to find. Its *twin* (`shuffled=True`) has as many of everything,
but what explains an outcome is dealt out anew among the visits: what an analysis finds in it is chance.
"""

from collections.abc import MutableSequence
from datetime import date
from typing import Final, TypeVar

from polku_demo.webshop.draw import Draw, Weighted

T = TypeVar("T")

LAST_DAY: Final = date(2026, 4, 20)
DAYS: Final = 84
"""Twelve weeks."""

USER_AGENTS: Final = {
    "Chrome": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 "
    "Safari/537.36",
    "Firefox": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:146.0) Gecko/20100101 Firefox/146.0",
    "Safari": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.1 "
    "Safari/605.1.15",
}
BROWSERS: Final = Weighted({"Chrome": 0.5, "Firefox": 0.25, "Safari": 0.25})


def deal_anew(draw: Draw, values: MutableSequence[T]) -> None:
    """The same values in another order."""
    for place in range(len(values) - 1, 0, -1):
        other = draw.whole(0, place)
        values[place], values[other] = values[other], values[place]
