"""File statistics for the Delta log, from what DuckDB's writer returns. Pure.

Only ids, names and times of events get bounds: no person's identifier, address or referrer may stand in the log, which
outlives the rows. A value that does not convert is left out; readers then just cannot skip the file by it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

_TEXT = ("event_id", "event_name")
_TIMES = ("event_time", "received_at")
_MILLISECOND = timedelta(milliseconds=1)


def delta_statistics(rows: int, written: Mapping[str, Mapping[str, str]]) -> str:
    """The `stats` of an add action: rows, bounds and null counts of the four columns that have statistics."""
    lower: dict[str, str] = {}
    upper: dict[str, str] = {}
    nulls: dict[str, int] = {}
    for name in (*_TEXT, *_TIMES):
        column = written.get(f'"{name}"') or written.get(name)
        if column is None:
            continue
        if (count := column.get("null_count", "")).isdigit():
            nulls[name] = int(count)
        least, most = column.get("min"), column.get("max")
        if least is None or most is None:
            continue
        if name in _TIMES:
            low, high = _millisecond(least, up=False), _millisecond(most, up=True)
        elif column.get("min_is_exact") == "true" == column.get("max_is_exact"):
            low, high = least, most
        else:
            continue
        if low is not None and high is not None:
            lower[name], upper[name] = low, high
    document: dict[str, Any] = {
        "numRecords": rows,
        "minValues": lower,
        "maxValues": upper,
        "nullCount": nulls,
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def _millisecond(text: str, *, up: bool) -> str | None:
    """A time as ISO with `Z`, rounded outwards to milliseconds: the log keeps no finer ones."""
    try:
        time = datetime.fromisoformat(text).astimezone(UTC)
        cut = time - timedelta(microseconds=time.microsecond % 1000)
        if up and cut != time:
            cut += _MILLISECOND
    except (ValueError, OverflowError):
        return None
    return f"{cut.year:04d}-{cut:%m-%dT%H:%M:%S}.{cut.microsecond // 1000:03d}Z"
