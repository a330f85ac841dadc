"""The days a question is about: whole days of a time zone, and what they are as moments."""

from __future__ import annotations

import datetime
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from polku_analytics.errors import AnalyticsError


class Period(Struct, frozen=True):
    """Whole days of `time_zone`: from `since` up to, not including, `until`; None is open."""

    since: datetime.date | None = None
    until: datetime.date | None = None
    time_zone: str = "UTC"

    @property
    def start(self) -> datetime.datetime | None:
        """The first moment, in UTC: midnight in the time zone, also on a day whose clocks change."""
        return None if self.since is None else midnight(self.since, self.time_zone)

    @property
    def end(self) -> datetime.datetime | None:
        """The first moment that is no longer in it, in UTC."""
        return None if self.until is None else midnight(self.until, self.time_zone)

    def local_day(self, at: datetime.datetime) -> datetime.date:
        """The day of the time zone on which a moment lies."""
        return at.astimezone(zone(self.time_zone)).date()

    def holds(self, day: datetime.date | None) -> bool:
        """Whether a file of this UTC day may hold moments of the period; a file of no known day may."""
        if day is None:
            return True
        begins = datetime.datetime.combine(day, datetime.time(), tzinfo=datetime.UTC)
        ends = begins + datetime.timedelta(days=1)
        return (self.start is None or ends > self.start) and (self.end is None or begins < self.end)

    def previous(self, as_of: datetime.datetime | None) -> Period:
        """The period of equal length just before. AnalyticsError without a beginning.

        An open end is the day after `as_of`.
        """
        if self.since is None:
            raise AnalyticsError("a comparison with the previous period needs --since (and --until, else: until now)")
        until = self.closed(as_of).until
        if until is None:
            return self
        return Period(days_from(self.since, self.since - until), self.since, self.time_zone)

    def closed(self, as_of: datetime.datetime | None) -> Period:
        """The same with an end: an open one is the day after `as_of`."""
        if self.until is not None or as_of is None:
            return self
        last = as_of.astimezone(zone(self.time_zone)).date()
        return Period(self.since, last + datetime.timedelta(days=1), self.time_zone)


def midnight(day: datetime.date, time_zone: str) -> datetime.datetime:
    """When a day begins, in UTC."""
    local = datetime.datetime.combine(day, datetime.time(), tzinfo=zone(time_zone))
    try:
        return local.astimezone(datetime.UTC)
    except OverflowError:
        raise AnalyticsError(f"{day} in {time_zone} {_OUTSIDE}") from None


def days_from(day: datetime.date, length: datetime.timedelta) -> datetime.date:
    """The day so far after another, before it for less than nothing. AnalyticsError for none that the calendar has."""
    try:
        return day + length
    except OverflowError:
        before = "before" if length.days < 0 else "after"
        raise AnalyticsError(f"the day {abs(length.days)} days {before} {day} {_OUTSIDE}") from None


_OUTSIDE: Final = "lies outside of the years 1 to 9999: ask about other days, or fewer"


def zone(name: str) -> ZoneInfo:
    """A time zone by its IANA name. AnalyticsError for none of that name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise AnalyticsError(f"unknown time zone {name!r}: write an IANA name such as Europe/Helsinki or UTC") from None
