"""File statistics for the Delta log. Pure.

Only ids, names and times of events get bounds: no person's identifier, address or referrer may stand in the log, which
outlives the rows. A value that does not convert is left out; readers then just cannot skip the file by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

STATISTICS_COLUMNS = ("event_id", "event_name", "event_time", "received_at")
_MILLISECOND = timedelta(milliseconds=1)


def delta_statistics(rows: int, bounds: Mapping[str, tuple[Any, Any, int]]) -> str:
    """The `stats` of an add action. `bounds`: column → (least, most, nulls); times as datetime or as DuckDB's text."""
    lower: dict[str, str] = {}
    upper: dict[str, str] = {}
    nulls: dict[str, int] = {}
    for name, (least, most, null_count) in bounds.items():
        nulls[name] = null_count
        if name in ("event_time", "received_at"):
            least, most = _millisecond(least, up=False), _millisecond(most, up=True)
        if isinstance(least, str) and isinstance(most, str):
            lower[name], upper[name] = least, most
    document: dict[str, Any] = {"numRecords": rows, "minValues": lower, "maxValues": upper, "nullCount": nulls}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def _millisecond(value: object, *, up: bool) -> str | None:
    """A time as ISO with `Z`, rounded outwards to milliseconds: the log keeps no finer ones."""
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        time = time.astimezone(UTC)
        cut = time - timedelta(microseconds=time.microsecond % 1000)
        if up and cut != time:
            cut += _MILLISECOND
    except (ValueError, OverflowError):
        return None
    return f"{cut.year:04d}-{cut:%m-%dT%H:%M:%S}.{cut.microsecond // 1000:03d}Z"
