"""Which days a command looks at: the last full UTC days and today, or those it is told."""

from __future__ import annotations

import datetime
from collections.abc import Collection

from polku_analytics.contract.observed import ObservedLake
from polku_analytics.errors import AnalyticsError, LakeError
from polku_analytics.lake import Lake
from polku_analytics.period import Period

_DAY = datetime.timedelta(days=1)


def last_days(
    days: int, today: datetime.date, since: datetime.date | None = None, until: datetime.date | None = None
) -> Period:
    """The `days` full days before today, and today so far; before `until` if it is given; from `since` if it is."""
    end = until or today
    start = since or _days_before(end, days)
    if until is not None and start >= until:
        raise AnalyticsError(f"--since {start} is not before --until {until}")
    return Period(start, until)


def days_before(period: Period, days: int) -> Period:
    """The days right before a period."""
    assert period.since is not None  # noqa: S101 - made by last_days
    return Period(_days_before(period.since, days), period.since)


def _days_before(day: datetime.date, days: int) -> datetime.date:
    try:
        return day - days * _DAY
    except OverflowError:
        raise AnalyticsError(f"no calendar has {days} days before {day}") from None


def in_words(period: Period) -> str:
    """`2026-01-21 to 2026-04-20`, both included."""
    last = "today" if period.until is None else str(period.until - _DAY)
    return last if str(period.since) == last else f"{period.since} to {last}"


def nothing_to_read(lake: Lake, period: Period, sources: Collection[str] = ()) -> LakeError:
    """What to say when the period has no events (of these sources): where there are some."""
    always = ObservedLake(lake, Period(), sources)
    newest, of_sources = always.newest_day(), f" of {', '.join(sources)}" if sources else ""
    if newest is None:
        there = ObservedLake(lake, Period()).source_names() if sources else []
        hint = f"; there are some of {', '.join(there)}" if there else ""
        return LakeError(f"{lake.uri} has no events{of_sources}{hint}")
    hint = f"its newest day is {newest}: try --until {newest + _DAY}"
    return LakeError(f"{lake.uri} has no events{of_sources} from {in_words(period)}; {hint}")
