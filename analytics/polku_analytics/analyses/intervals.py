"""Days, weeks and months of a time zone, and in which of them each unit did something."""

from __future__ import annotations

import datetime
from typing import Final, Literal

import numpy as np
from msgspec import Struct, structs

from polku_analytics.analyses.scope import Part
from polku_analytics.analyses.steps import Step, step_sql
from polku_analytics.engines.engine import unit_numbers
from polku_analytics.period import Period, days_from, midnight, zone

Interval = Literal["day", "week", "month"]
WeekStart = Literal["monday", "sunday"]

ROLLING_SECONDS: Final[dict[Interval, int]] = {"day": 86_400, "week": 7 * 86_400, "month": 30 * 86_400}
"""How long an interval is that begins with an event and not with the calendar."""


class Calendar(Struct, frozen=True):
    """Intervals without a gap: their first days, and when each begins in microseconds; the last one only ends them."""

    days: tuple[datetime.date, ...]
    begins: np.ndarray

    def place(self, microseconds: np.ndarray) -> np.ndarray:
        """In which interval each moment lies; -1 is before all."""
        if self.even_length is not None:  # a division costs a fraction of a search
            numbers = microseconds - self.begins[0]
            numbers //= self.even_length
            return np.asarray(np.clip(numbers, -1, len(self.begins) - 1, out=numbers))
        return np.asarray(np.searchsorted(self.begins, microseconds, side="right") - 1)

    @property
    def even_length(self) -> int | None:
        """The length of every interval, if it is the same (it is not where the clocks change, nor of months)."""
        lengths = np.unique(np.diff(self.begins))
        return int(lengths[0]) if len(lengths) == 1 else None

    def inside(self, period: Period) -> list[int]:
        """The intervals that begin in the period."""
        return [
            number
            for number, day in enumerate(self.days[:-1])
            if (period.since is None or day >= period.since) and (period.until is None or day < period.until)
        ]


def calendar(
    first: datetime.datetime, last: datetime.datetime, interval: Interval, time_zone: str, week_start: WeekStart
) -> Calendar:
    """The intervals from the one that holds `first` to the one that holds `last`."""
    day = interval_begin(first.astimezone(zone(time_zone)).date(), interval, week_start)
    end = last.astimezone(zone(time_zone)).date()
    days = [day]
    while day <= end:
        day = next_begin(day, interval)
        days.append(day)
    moments = [round(midnight(one, time_zone).timestamp()) * 1_000_000 for one in days]
    return Calendar(tuple(days), np.array(moments, dtype=np.int64))


def interval_begin(day: datetime.date, interval: Interval, week_start: WeekStart) -> datetime.date:
    """The first day of the interval that a day lies in."""
    if interval == "month":
        return day.replace(day=1)
    if interval == "week":
        return day - datetime.timedelta(days=(day.weekday() + (week_start == "sunday")) % 7)
    return day


def next_begin(day: datetime.date, interval: Interval) -> datetime.date:
    """The first day of the interval after the one that begins on this day."""
    if interval == "month":
        return days_from(day, datetime.timedelta(days=31)).replace(day=1)
    return days_from(day, datetime.timedelta(days=7 if interval == "week" else 1))


def span(part: Part) -> tuple[datetime.datetime, datetime.datetime] | None:
    """The first and the last moment of all touchpoints of the part's units, whatever the period."""
    # Every touchpoint is in a session, and sessions are few; but one of them may be of two accounts.
    by_sessions = part.unit in ("person", "session") and "sessions" in part.journeys.tables
    table, begin, end = ("sessions", "started_at", "ended_at") if by_sessions else ("touchpoints", *["event_time"] * 2)
    first, last = part.journeys.rows(
        f"SELECT MIN(t.{begin}), MAX(t.{end}) FROM {table} AS t WHERE {part.members('t')}"
    )[0]
    return None if first is None else (first, max(last, part.journeys.as_of or last))


def first_interval(part: Part, interval: Interval, week_start: WeekStart) -> datetime.date:
    """The day on which the interval begins that has number 1: that of the period's first day, or of the data's.

    It is the same for all segments and values, and in the period before as far back: one number is one stretch of time.
    """
    day = part.period.since
    if day is None or part.asked is None:
        everybody = span(structs.replace(part, segment=None, value=None))
        begun = part.period.local_day(everybody[0]) if everybody is not None else None
        day = max(filter(None, (day, begun)), default=datetime.date.min)
    return interval_begin(day, interval, week_start)


def intervals_since(first: datetime.date, day: datetime.date, interval: Interval) -> int:
    """How many intervals after the one that begins on `first` another one begins."""
    if interval == "month":
        return 12 * (day.year - first.year) + day.month - first.month
    return (day - first).days // (7 if interval == "week" else 1)


def active_sql(part: Part, step: Step | None, days: Calendar, until: str = "TRUE") -> str:
    """One row for each unit and interval (or local day) with the step (None: any touchpoint), and a moment of it."""
    say = part.journeys.engine.dialect
    at = say.microseconds("t.event_time")
    condition = "TRUE" if step is None else step_sql(step, "t")
    return (
        f"SELECT t.{part.unit_column} AS unit, MIN({at}) AS microseconds FROM touchpoints AS t "
        f"WHERE {condition} AND {part.members('t')} AND {until} "
        f"GROUP BY t.{part.unit_column}, {bucket_sql(part, days)} ORDER BY unit, microseconds"
    )


def bucket_sql(part: Part, days: Calendar) -> str:
    """Equal for moments of one interval only, and cheap: the interval where all are equally long, else the day."""
    say = part.journeys.engine.dialect
    if days.even_length is None:
        return say.local_day("t.event_time", part.period.time_zone)
    return f"FLOOR(({say.microseconds('t.event_time')} - {int(days.begins[0])}) / {float(days.even_length)})"


class Activity(Struct, frozen=True):
    """In which intervals each unit was active, once each; units count from 0, rows lie by unit and interval."""

    unit: np.ndarray
    place: np.ndarray
    units: int


def activity(part: Part, sql: str, days: Calendar) -> Activity:
    """Read `active_sql`."""
    arrays = part.journeys.engine.columns(sql)
    if len(arrays["unit"]) == 0:
        none = np.empty(0, dtype=np.int64)
        return Activity(none, none, 0)
    numbers = unit_numbers(arrays["unit"])
    unit = np.cumsum(np.append(True, numbers[1:] != numbers[:-1])) - 1
    place = days.place(arrays["microseconds"])
    once = np.append(True, (unit[1:] != unit[:-1]) | (place[1:] != place[:-1]))
    return Activity(unit[once], place[once], int(unit[-1]) + 1)
