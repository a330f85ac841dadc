"""POST /v1/consent: one decision about consent, counted, with nothing of the person who made it.

Reports can then say which share of the visitors they speak of. A ping becomes a row of `events` with the day, the
source and the decision; there is no id in it by which it could be told from another, or sent twice and counted once.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

import msgspec
from msgspec import Raw, Struct, structs

from ..batch import Line
from .judged import Arrival, Judged
from .refused import Refused
from .validate import Validator
from .wire import ODD, Body, WireEvent

CONSENT_PATH: Final = "/v1/consent"
CONSENT_EVENT: Final = "consent_decided"

# Stands in for an id while the event is judged, and is in no line.
_NOBODY: Final = "-"


class ConsentPing(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The body. Closed: what says more than this is refused, so that nobody counts on it being kept, or not kept."""

    decision: Literal["granted", "refused", "withdrawn"]
    day: date | None = None
    """When it was made, in UTC; today if it is absent, or further off than events of the source may be."""
    write_key: str | None = None


def ping_of(raw: bytes) -> ConsentPing:
    """Read a body. Raises Refused."""
    try:
        return _decode(raw)
    except ODD as error:
        message = f'a ping is {{"decision": "granted", "day": "2026-11-22"}} and nothing else: {error}'
        raise Refused(400, "invalid_ping", message, "$") from None


def judged_ping(ping: ConsentPing, validator: Validator, arrival: Arrival) -> Judged:
    """Its line. Of the request nothing is looked at but its source, and when it came."""
    today = arrival.received_at.date()
    day = today if ping.day is None or _is_far(ping.day, today, arrival) else ping.day
    event = WireEvent(
        type="track",
        event=CONSENT_EVENT,
        anonymous_id=_NOBODY,
        timestamp=datetime(day.year, day.month, day.day, tzinfo=UTC),
        properties=Raw(msgspec.json.encode({"decision": ping.decision})),
    )
    nobodys = structs.replace(arrival, sent_at=None, body=msgspec.json.encode({"decision": ping.decision, "day": day}))
    judged = validator.judge(Body([event], None, None, None, None), nobodys)
    for line in judged.lines:
        if isinstance(line, Line):
            line.anonymous_id = None
    return judged


def _is_far(day: date, today: date, arrival: Arrival) -> bool:
    source = arrival.source
    return day > today or (not source.historical and day <= today - timedelta(days=source.max_past_days))


_decode = msgspec.json.Decoder(ConsentPing).decode
