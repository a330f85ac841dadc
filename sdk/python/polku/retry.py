"""What follows on an attempt to send a batch. Pure: an answer and its number in, a decision out."""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec

from polku.errors import LossReason
from polku.settings import Settings
from polku.transport import Answer

RETRYABLE = frozenset({408, 425, 429})
"""With all of 5xx: the same request may succeed later."""
MAX_DOUBLINGS = 30
"""Beyond this the cap has long been reached, and the power would only grow."""


class Delivered(msgspec.Struct, frozen=True):
    """The collector has taken the batch."""


class Wait(msgspec.Struct, frozen=True):
    """Send the same batch again after so many seconds."""

    seconds: float
    asked: bool = False
    """The collector named the time itself."""


class Split(msgspec.Struct, frozen=True):
    """The batch is too large for the collector: send its halves."""


class Prune(msgspec.Struct, frozen=True):
    """The collector could not read the body: take out the events that are not JSON and send the rest."""


class Recompress(msgspec.Struct, frozen=True):
    """The collector does not know the encoding: send the same batch in gzip."""


class GiveUp(msgspec.Struct, frozen=True):
    """The batch is lost."""

    reason: LossReason
    detail: str


Decision = Delivered | Wait | Split | Prune | Recompress | GiveUp


def decide(
    answer: Answer,
    *,
    attempt: int,
    elapsed_seconds: float,
    events: int,
    settings: Settings,
    compression: str | None = None,
    at: datetime | None = None,
    jitter: Callable[[], float] | None = None,
) -> Decision:
    """Decide what follows on the answer to attempt number `attempt` (from 1), `elapsed_seconds` after the
    first.

    `at` is the time a `Retry-After` date is compared with; `jitter` returns a number in [0, 1).
    """
    status = answer.status
    if status is not None and 200 <= status < 300:
        return Delivered()
    if status == 413:
        if events > 1:
            return Split()
        return GiveUp(LossReason.TOO_LARGE, "the collector takes no event as large as this one (413)")
    if status == 400:
        return Prune()
    if status == 415 and compression not in (None, "gzip"):
        return Recompress()
    if status is None or status in RETRYABLE or 500 <= status < 600:
        jitter = jitter or _random
        # A server's own figure is kept to in full; the jitter on top spreads the clients it told the same.
        asked = retry_after_seconds(answer.retry_after, at or datetime.now(UTC))
        if asked is None:
            wait = Wait(jitter() * backoff_bound_seconds(attempt, settings))
        else:
            seconds = min(asked, settings.max_retry_after_seconds) + jitter() * settings.retry_base_seconds
            wait = Wait(seconds, asked=True)
        if settings.spool is None and elapsed_seconds + wait.seconds > settings.give_up_after_seconds:
            tried = f"gave up after {attempt} attempts in {elapsed_seconds:.0f} s"
            return GiveUp(LossReason.EXPIRED, f"{tried}; the last one: {answer.summary()}")
        return wait
    return GiveUp(LossReason.REFUSED, f"the collector refused the batch: {answer.summary()}{_advice(status)}")


def was_not_taken(answer: Answer) -> bool:
    """Whether the collector certainly did not take what was sent: it said so, or there was no connection to it."""
    if answer.status is None:
        return answer.error.startswith(("ConnectError:", "ConnectTimeout:"))
    return answer.status in (429, 503)


def _random() -> float:
    import random  # only here: most programs never need it, and the import is felt at their start

    return random.random()  # noqa: S311  (spreads clients, keeps no secret)


def backoff_bound_seconds(attempt: int, settings: Settings) -> float:
    """The longest wait after attempt number `attempt`; the wait is drawn evenly below it (full jitter)."""
    doubled: float = settings.retry_base_seconds * 2.0 ** min(attempt - 1, MAX_DOUBLINGS)
    return min(settings.retry_cap_seconds, doubled)


def retry_after_seconds(value: str | None, at: datetime) -> float | None:
    """Seconds from a `Retry-After` header, given as seconds or as an HTTP date; None if it says neither."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    # Only here: `email` is a large import for a header that hardly any server sends this way.
    from email.utils import parsedate_to_datetime

    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - at).total_seconds())


def _advice(status: int) -> str:
    if status in (401, 403):
        return " (check the write key)"
    if status == 404 or 300 <= status < 400:
        return " (check the endpoint)"
    return ""
