"""The request as a whole is not taken: what the answer says then."""

from __future__ import annotations


class Refused(Exception):
    """Becomes an HTTP answer with a JSON body that says what and where."""

    waited_seconds = 0.0
    """For the lake, which is no part of the time that an answer took."""

    def __init__(
        self, status: int, error: str, message: str, path: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.error, self.message = status, error, message
        self.path, self.retry_after = path, retry_after


class NotCommitted(Refused):
    """The events are journalled, and their sender wanted to hear of it when they are committed: that is not known."""

    def __init__(self, why: str, retry_after: int, waited_seconds: float) -> None:
        message = (
            f"the events are journalled and will be committed: {why}. Sending them again is harmless, "
            "those with a messageId are stored once"
        )
        super().__init__(503, "not_committed", message, retry_after=retry_after)
        self.waited_seconds = waited_seconds


def too_large(max_bytes: int) -> Refused:
    """The body goes beyond its limit, on its way or when its encoding is undone."""
    return Refused(413, "too_large", f"the body is larger than {max_bytes} bytes; send smaller batches", "$")
