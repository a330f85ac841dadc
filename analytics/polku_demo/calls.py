"""One call of the SDK as a value: what the generators make and the sender replays.

A generator only says what is to be called and when; it knows neither a client nor a server. That is what
lets the tests look at every call of a data set without sending one.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec

from polku.typed import Event, Traits

Verb = Literal["track", "page", "screen", "identify", "group", "alias"]

# JSON values as the SDK takes them; the compiled plan is what says which.
Values = Mapping[str, Any]

NOTHING: Values = {}


class Call(msgspec.Struct, frozen=True, gc=False):
    """One call: which source's client makes it, about whom, what, and when it really happened (UTC)."""

    source: str
    verb: Verb
    message_id: str
    timestamp: datetime
    name: str | None = None  # the page or screen of `page` and `screen`; the event of a `track` that has only values
    user_id: str | None = None
    anonymous_id: str | None = None
    previous_id: str | None = None
    group_id: str | None = None
    values: Event | Traits | Values = NOTHING  # a typed event, or properties; of `identify` and `group` the traits
    context: Values | None = None


def by_time(call: Call) -> tuple[datetime, str]:
    """Sort key of a data set: time, and the id where two calls share a microsecond."""
    return call.timestamp, call.message_id
