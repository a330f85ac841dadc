"""Which days a command looks at: the last full UTC days and today, or those it is told."""

from __future__ import annotations

import datetime

from polku_analytics.contract.observed import ObservedLake
from polku_analytics.errors import AnalyticsError, LakeError
from polku_analytics.lake import Lake, Period

_DAY = datetime.timedelta(days=1)


def last_days(
    days: int, today: datetime.date, since: datetime.date | None = None, until: datetime.date | None = None
) -> Period:
    """The `days` full days before today, and today so far; before `until` if it is given; from `since` if it is."""
    end = until or today
    start = since or end - days * _DAY
    if until is not None and start >= until:
        raise AnalyticsError(f"--since {start} is not before --until {until}")
    return Period(start, until)


def days_before(period: Period, days: int) -> Period:
    """The days right before a period."""
    assert period.since is not None  # noqa: S101 - made by last_days
    return Period(period.since - days * _DAY, period.since)


def in_words(period: Period) -> str:
    """`2026-01-21 to 2026-04-20`, both included."""
    last = "today" if period.until is None else str(period.until - _DAY)
    return last if str(period.since) == last else f"{period.since} to {last}"


def nothing_to_read(lake: Lake, period: Period) -> LakeError:
    """What to say when the period has no events: where there are some."""
    newest = ObservedLake(lake, Period()).newest_day()
    if newest is None:
        return LakeError(f"{lake.uri} has no events")
    hint = f"--until {newest + _DAY}"
    return LakeError(f"{lake.uri} has no such events from {in_words(period)}; its newest day is {newest}: try {hint}")
