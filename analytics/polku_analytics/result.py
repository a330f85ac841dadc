"""What every analysis returns: a table that says what it is, how it was asked and what it could not see."""

from __future__ import annotations

import datetime
import re
from typing import Any, Final, Literal

import pyarrow as pa
from msgspec import Struct

from polku_analytics.errors import AnalyticsError

Unit = Literal["person", "session", "account", "event"]
"""What a number counts."""

UNIT_COLUMNS: Final[dict[Unit, str]] = {
    "person": "person_key",
    "session": "session_key",
    "account": "account_id",
    "event": "event_id",
}
"""The column of `touchpoints` that tells units apart."""

UNIT_WORDS: Final[dict[Unit, str]] = {
    "person": "people",
    "session": "sessions",
    "account": "accounts",
    "event": "events",
}

NO_ROWS: Final = "no_rows_because"
"""In the coverage of an answer without rows: why, and what to ask instead."""

MOST_SECONDS: Final = 1000 * 366 * 86400
"""A length of time that may be asked about: in microseconds numbers hold it, however it is added up."""

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class AnalysisResult(Struct, frozen=True, kw_only=True):
    """The answer to one question."""

    question: str
    """The question as a sentence."""
    unit: str
    """What the counts count, such as `person` or `session`."""
    window: str | None
    """The time the question allows, such as `7d`; None where it allows any."""
    options: dict[str, Any]
    """Everything else that was asked, defaults included."""
    coverage: dict[str, Any]
    """What the data behind the answer holds and what is left out of it or not decided yet."""
    as_of: datetime.datetime | None
    """The time of the newest event known; None when there are none."""
    columns: list[str]
    rows: list[list[Any]]
    sql: str
    """The SQL that read the data."""

    def arrow(self) -> pa.Table:
        """The rows as an Arrow table; a column of nothing but None has the type null."""
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.columns)
        return pa.table({name: pa.array(values) for name, values in zip(self.columns, columns, strict=True)})

    def json(self) -> str:
        """All of it as JSON, as the command prints it with `--json`; times in ISO 8601."""
        from polku_analytics.printing import as_json  # which prints results

        return as_json(self)

    def __str__(self) -> str:
        from polku_analytics.printing import explained

        return explained(self)

    def dicts(self) -> list[dict[str, Any]]:
        """A dictionary a row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def parse_window(text: str) -> int:
    """Seconds of a length of time such as `30m`, `12h`, `7d` or `2w`."""
    match = re.fullmatch(r"(\d+)\s*([smhdw])", text.strip())
    if match is None or int(match[1]) == 0:
        raise AnalyticsError(f"{text!r} is not a length of time: write 90s, 30m, 12h, 7d or 2w")
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > MOST_SECONDS:
        raise AnalyticsError(f"{text!r} is longer than any data: write at most {window_text(MOST_SECONDS)}")
    return seconds


def window_text(seconds: int) -> str:
    """The shortest way to write a length of time: 604800 is `7d`."""
    for unit in ("d", "h", "m"):
        if seconds % _SECONDS[unit] == 0:
            return f"{seconds // _SECONDS[unit]}{unit}"
    return f"{seconds}s"


def share(part: int, whole: int) -> float | None:
    """A part of a whole between 0 and 1; None where there is no whole."""
    return round(part / whole, 6) if whole else None
