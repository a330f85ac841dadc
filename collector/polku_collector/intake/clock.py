"""When an event happened, by our clock: what a client claims is corrected and bounded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec import Struct

from polku_schemas import Problem, ProblemCode

from ..settings import Source
from .judged import Arrival

# A clock further off than this is corrected; nearer it is left alone, so that retries of an event agree.
SKEW_SECONDS = 60

_SKEW = timedelta(seconds=SKEW_SECONDS)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class Clock(Struct, frozen=True):
    """How the times of one request's events are corrected and bounded; worked out once a request.

    A client clock that is more than a minute off (seen by comparing the attempt's send time with ours) shifts its
    events. A time outside the source's bounds is replaced by the time of receipt. A historical source is believed.
    """

    received_at: datetime
    sent_at: datetime | None
    skew: timedelta | None
    earliest: datetime
    latest: datetime

    @classmethod
    def of(cls, arrival: Arrival) -> Clock:
        """By what the request and its source say."""
        received_at, source = arrival.received_at, arrival.source
        sent_at = None if arrival.sent_at is None else _utc(arrival.sent_at)
        if source.historical:
            return cls(received_at, sent_at, None, _FIRST, _LAST)
        return cls(
            received_at,
            sent_at,
            _skew(received_at, sent_at),
            received_at - timedelta(days=source.max_past_days),
            received_at + timedelta(minutes=source.max_future_minutes),
        )

    def event_time(self, claimed: datetime | None, sent_at: datetime | None = None) -> tuple[datetime, bool]:
        """When the event happened, by our clock, and whether that differs from what the client claimed.

        `sent_at`: the item's own send time, looked at when the request as a whole has none.
        """
        if claimed is None:
            return self.received_at, False
        event_time = claimed if claimed.tzinfo is UTC else _utc(claimed)
        skew = self.skew
        if sent_at is not None and self.sent_at is None and self.latest is not _LAST:
            skew = _skew(self.received_at, _utc(sent_at))
        if skew is not None:
            try:
                event_time += skew
            except OverflowError:
                return self.received_at, True
        if not self.earliest <= event_time <= self.latest:
            return self.received_at, True
        return event_time, skew is not None


def time_replaced(source: Source) -> Problem:
    """Whoever sends the past to a source that does not take it would else find it in the present, and not know why."""
    message = (
        f"the time is more than {source.max_past_days} days ago or {source.max_future_minutes} minutes ahead: that of "
        "receipt stands in its place; a source that is `historical` keeps it"
    )
    return Problem(ProblemCode.TIME_REPLACED, "$.timestamp", message)


def _skew(received_at: datetime, sent_at: datetime | None) -> timedelta | None:
    """How far the client's clock is off, if it is far enough to matter."""
    if sent_at is None:
        return None
    skew = received_at - sent_at
    return skew if abs(skew) > _SKEW else None


def _utc(time: datetime) -> datetime:
    """The same moment in UTC; a time without zone is taken as UTC, as Segment's servers do."""
    if time.tzinfo is UTC:
        return time
    if time.tzinfo is None:
        return time.replace(tzinfo=UTC)
    try:
        return time.astimezone(UTC)
    except OverflowError:  # the first and last hours of the calendar
        return time.replace(tzinfo=UTC)
