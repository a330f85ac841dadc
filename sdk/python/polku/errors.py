"""What the SDK raises, and the values it tells of losses with.

    PolkuError
    ├ SettingsError    a client was set up with something it cannot work with; names every finding
    └ InvalidEvent     only with `strict=True`: what would otherwise be a warning
      └ InvalidValue   a typed event was made of values its plan does not allow (a ValueError, too)

After a client is constructed nothing of it raises into the host program (unless it asked for `strict=True`):
what cannot be delivered becomes a `Loss`, which is counted, logged and given to `on_loss`. Making a typed event raises
before any client sees it, unless the program asked for warnings with `polku.typed.when_invalid`.
"""

from enum import StrEnum

import msgspec


class PolkuError(Exception):
    """Base of everything the SDK raises."""


class SettingsError(PolkuError):
    """A client was set up with something it cannot work with. The text lists every finding, one a line."""

    exit_code = 2

    def __init__(self, findings: list[str]) -> None:
        super().__init__("\n".join(findings))
        self.findings = findings


class InvalidEvent(PolkuError):  # says what it is; the base says that it is an error
    """With `strict=True`: an event that would have been repaired, warned about or dropped."""


class InvalidValue(InvalidEvent, ValueError):
    """A typed event cannot be made of these values. The code, the path and the words are the collector's."""

    def __init__(self, event: str, code: str, path: str, expected: str, came: str) -> None:
        super().__init__(event, code, path, expected, came)
        self.event = event
        """Name of the event, or of the class for an object inside one."""
        self.code = code
        """Stable, such as `wrong_type`."""
        self.path = path
        """Where, in what would be sent: `$.properties.products[2].price`."""
        self.expected = expected
        self.came = came
        """What came instead; the value itself only if the plan does not call it personal or sensitive."""

    def __str__(self) -> str:
        return f"{self.event}: {self.code} at {self.path}: expected {self.expected}, came {self.came}"


class LossReason(StrEnum):
    """Why an event did not reach the collector. The closed list of keys of `Stats.lost`."""

    QUEUE_FULL = "queue_full"
    """The queue was at its bound in events or bytes."""
    TOO_LARGE = "too_large"
    """One event was larger than `max_event_bytes`, or than what the collector takes."""
    UNSERIALISABLE = "unserialisable"
    """The event could not be written as JSON, even after leaving out what was odd in it."""
    REFUSED = "refused"
    """The collector refused the batch for good, for example because it does not know the write key."""
    EXPIRED = "expired"
    """Sending was tried again for `give_up_after_seconds` without success."""
    CLOSE_TIMEOUT = "close_timeout"
    """The time for closing was over before the event was acknowledged. Some of these may have arrived."""
    SPOOL_DAMAGED = "spool_damaged"
    """A line of the spool could not be read again."""
    CLOSED = "closed"
    """The call came after `close()`."""
    HOOK_FAILED = "hook_failed"
    """`before_send` raised: what it was there to change or hold back must not leave."""
    INTERNAL = "internal"
    """The SDK itself failed: please report it."""


class WithheldReason(StrEnum):
    """Why an event did not leave on purpose. The closed list of keys of `Stats.withheld`."""

    BEFORE_SEND = "before_send"
    """A hook returned None."""
    CONSENT = "consent"
    """There was no consent to it."""
    SAMPLED = "sampled"
    """Its person or its name is sampled, and it was not drawn."""
    DISABLED = "disabled"
    """The client is switched off."""


class Loss(msgspec.Struct, frozen=True):
    """Events that will not be delivered, given to `on_loss` on the SDK's own thread."""

    reason: LossReason
    count: int
    detail: str
    """What happened, in one sentence."""
    events: tuple[bytes, ...] = ()
    """The encoded events where they are still known (not for those refused by a full queue)."""
