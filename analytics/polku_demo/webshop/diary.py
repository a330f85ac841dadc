"""Where the web shop writes down what happened: the calls, and the figures counted as it happens.

The figures are counted where the story is told, not from the calls, so that a call that is lost or doubled
on the way shows.
"""

from datetime import UTC, date, datetime, timedelta

import msgspec

from polku.typed import Event
from polku_demo.calls import Call, Values

DAY = 86_400.0
HOUR = 3_600.0
MINUTE = 60.0


class WebshopFigures(msgspec.Struct):
    """What the generator knows to have happened."""

    events: int = 0
    people: int = 0  # customers and visitors, without robots
    accounts: int = 0  # people who signed up, that is distinct user ids
    anonymous_then_known: int = 0  # of these, the ones seen before under an anonymous id
    unknown_visitors: int = 0  # anonymous ids that never became known: what is left of people unresolved
    shared_ids: int = 0  # anonymous ids that two people were known under, as the first forgot to log out
    sign_ups_by_referral: int = 0
    orders: int = 0  # web and app
    store_orders: int = 0
    order_lines: int = 0  # of both
    revenue_cents: int = 0  # of both
    payment_failures: int = 0
    abandoned_carts: int = 0
    searches: int = 0
    failed_searches: int = 0
    deliveries: int = 0
    late_deliveries: int = 0
    returns: int = 0
    complaints: int = 0
    agent_contacts: int = 0
    survey_answers: int = 0
    reviews: int = 0
    newsletters: int = 0
    bot_visits: int = 0


class Diary:
    """Collects calls; times are seconds since midnight (UTC) of the first day."""

    __slots__ = ("_append", "calls", "end", "figures", "start")

    def __init__(self, first_day: date, days: int) -> None:
        self.start = datetime(first_day.year, first_day.month, first_day.day, tzinfo=UTC)
        self.end = days * DAY
        self.calls: list[Call] = []
        self.figures = WebshopFigures()
        self._append = self.calls.append

    def moment(self, time: float) -> datetime:
        """The date and time behind a number of seconds."""
        return self.start + timedelta(seconds=time)

    def track(
        self,
        source: str,
        message_id: str,
        time: float,
        event: Event,
        user_id: str | None,
        anonymous_id: str | None = None,
        context: Values | None = None,
    ) -> None:
        """Something happened."""
        self._append(
            Call(
                source,
                "track",
                message_id,
                self.start + timedelta(seconds=time),
                None,
                user_id,
                anonymous_id,
                None,
                None,
                event,
                context,
            )
        )

    def add(self, call: Call) -> None:
        """Any other call."""
        self._append(call)
