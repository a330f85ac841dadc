"""What is kept of an event that is refused: its bytes, the problem, and what the request said around it."""

from __future__ import annotations

import base64
from datetime import datetime

from msgspec import Struct

from polku_schemas import Problem
from polku_schemas.privacy import Protection

from ..batch import MAX_NAME, Context, Library, QuarantineLine
from .clock import Clock
from .envelope import cut
from .judged import Arrival
from .protect import protected_item
from .wire import MAX_EVENT_ID, WireEvent, context_text

_NOT_KEPT = "its text is not kept, because the plan's `privacy` cannot be applied to what is no JSON object"


def quarantine_line(
    event: WireEvent | None,
    problem: Problem,
    raw: bytes,
    arrival: Arrival,
    around: Around,
    *,
    max_bytes: int,
    protection: Protection | None,
) -> QuarantineLine:
    """The line for an event that has a problem, with at most so many of its bytes."""
    message = problem.message
    raw = arrival.address.in_original(raw)
    if protection is not None:
        protected = protected_item(protection, raw)
        if protected is None:
            message += f"; {_NOT_KEPT}"
        raw = protected or b""
    original, encoded = _original_text(raw, max_bytes)
    own = event.context.library if event and event.context else None
    library = own or around.library or Library()
    return QuarantineLine(
        received_at=arrival.received_at,
        source=arrival.source_name,
        event_id=event.message_id[:MAX_EVENT_ID] if event and event.message_id else None,
        event_type=event.type[:MAX_NAME] if event and event.type else None,
        event_name=event.event[:MAX_NAME] if event and event.event else None,
        code=problem.code,
        path=problem.path,
        message=message,
        original=original or None,
        original_base64=encoded,
        context=around.context,
        sent_at=around.sent_at,
        library=cut(library.name),
        library_version=cut(library.version),
    )


class Around(Struct, frozen=True):
    """What an event's own bytes lack, kept beside them in `quarantine`: what the request said for all its events."""

    context: str | None
    library: Library | None
    sent_at: datetime | None

    @classmethod
    def of(cls, outer: Context | None, clock: Clock, limit: int) -> Around:
        """`outer`: the context of the batch, of which at most `limit` bytes are kept."""
        if outer is None:
            return cls(None, None, clock.sent_at)
        return cls(context_text(outer, limit), outer.library, clock.sent_at)


def _original_text(raw: bytes, limit: int) -> tuple[str | None, str | None]:
    """An event's bytes for `quarantine`: as text, or as base64 when they are not UTF-8; cut at `limit` bytes."""
    try:
        return raw[:limit].decode("utf-8", "strict" if len(raw) <= limit else "ignore"), None
    except UnicodeDecodeError:
        return None, base64.b64encode(raw[:limit]).decode()
