"""The request as a whole is not taken: what the answer says then."""

from __future__ import annotations


class Refused(Exception):
    """Becomes an HTTP answer with a JSON body that says what and where."""

    def __init__(
        self, status: int, error: str, message: str, path: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.error, self.message = status, error, message
        self.path, self.retry_after = path, retry_after


def too_large(max_bytes: int) -> Refused:
    """The body goes beyond its limit, on its way or when its encoding is undone."""
    return Refused(413, "too_large", f"the body is larger than {max_bytes} bytes; send smaller batches", "$")
