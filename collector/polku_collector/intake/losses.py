"""What an SDK could not deliver, told by it with a later batch: rows of `quarantine`, so that the lake knows."""

from __future__ import annotations

from typing import Final

import msgspec

from polku_schemas import ProblemCode

from ..batch import QuarantineLine
from .judged import Arrival, Judged
from .wire import ODD, ClientLoss

MAX_LOSSES: Final = 200
"""Of one batch: an SDK tells one for each reason, a browser also those of earlier pages, as many as a batch has."""
REASONS: Final = frozenset(
    (
        *("queue_full", "too_large", "unserialisable", "refused", "expired"),
        *("close_timeout", "spool_damaged", "closed", "hook_failed", "internal"),
    )
)
"""Those of our SDKs. Anything else is counted as `other`: write keys of browsers are known to everybody."""


_decode = msgspec.json.Decoder(list[ClientLoss]).decode
_encode = msgspec.json.Encoder().encode


def losses_of(raw: bytes | None) -> list[ClientLoss]:
    """What a batch tells; nothing if it is odd: no event is refused for it."""
    if raw is None:
        return []
    try:
        told = _decode(raw)[:MAX_LOSSES]
    except ODD:
        return []
    return [loss if loss.reason in REASONS else msgspec.structs.replace(loss, reason="other") for loss in told]


def with_losses(judged: Judged, losses: list[ClientLoss], arrival: Arrival) -> Judged:
    """The same, and a line for each loss."""
    if not losses:
        return judged
    lines = [*judged.lines, *(_line(loss, arrival) for loss in losses)]
    return msgspec.structs.replace(judged, lines=lines, losses=losses)


def _line(loss: ClientLoss, arrival: Arrival) -> QuarantineLine:
    events = "1 event was" if loss.count == 1 else f"{loss.count} events were"
    return QuarantineLine(
        received_at=arrival.received_at,
        source=arrival.source_name,
        event_id=loss.id,
        code=ProblemCode.LOST_BY_CLIENT,
        path="$.lost",
        message=f"{events} lost before they were sent: {loss.reason}",
        original=_encode({"reason": loss.reason, "count": loss.count}).decode(),
    )
