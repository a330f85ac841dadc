"""The SELECT that turns the lines of one event name into rows of `events`: columns in order, enrichment on top. Pure.

Only columns in which the lines have a value are computed and stored; readers fill the others with null.
"""

from __future__ import annotations

from collections.abc import Set

from .channels import VISIT_COLUMNS as VISIT_RESULTS
from .channels import VISIT_KEY, visits_join_sql
from .types import duckdb_type, quoted

VISIT_COLUMNS = frozenset(VISIT_KEY)
"""Lines with any of these are part of a visit: where it came from and which page it is on is worked out."""

_PLAIN = (
    *("event_id", "event_type", "event_name", "schema_version", "stream", "sequence", "source", "channel"),
    *("anonymous_id", "user_id", "group_id", "previous_id", "session_id", "page_title"),
    *("locale", "timezone", "library", "library_version", "time_adjusted", "unplanned", "consent", "extra"),
)
_ALWAYS = frozenset(("event_id", "event_type", "event_name", "stream", "sequence", "source"))


def utc_sql(moment: str) -> str:
    """A time without a zone, which is UTC, as one with it. A cast asks a calendar for each: 0.3 µs more."""
    return f"make_timestamptz(epoch_us({moment}))"


def enriched_select(table: str, in_use: Set[str], properties: dict[str, str], traits: dict[str, str]) -> str:
    """Rows for `events` from a table of lines. Needs the relation `agents` and the table of visits."""
    columns: dict[str, str] = {name: f"l.{name}" for name in _PLAIN if name in in_use or name in _ALWAYS}
    joins = ""
    for time in ("event_time", "received_at", "sent_at"):
        if time in in_use:
            columns[time] = utc_sql(f"l.{time}")
    columns["event_date"] = "l.event_time::DATE"
    if "user_agent" in in_use:
        joins += " LEFT JOIN agents a ON a.user_agent = l.user_agent"
        columns |= {name: f"a.{name}" for name in ("device", "os", "browser", "is_bot")}
    if in_use & VISIT_COLUMNS:
        joins += f" {visits_join_sql('l', 'v')}"
        columns |= {"page_url": "l.page_url", "referrer": "l.referrer"}
        columns |= {name: f"v.{name}" for name in VISIT_RESULTS}
        columns["page_path"] = "coalesce(l.page_path, v.page_path)"
    elif "page_path" in in_use:
        columns["page_path"] = "l.page_path"
    for name, kind in properties.items():
        if name in in_use:
            columns[name] = f"(l.p).{quoted(name)}::{duckdb_type(kind)}"
    for name, kind in traits.items():
        if name in in_use:
            columns[name] = f"(l.t).{quoted(name.removeprefix('trait_'))}::{duckdb_type(kind)}"
    listed = ", ".join(f"{expression} AS {quoted(name)}" for name, expression in columns.items())
    return f"SELECT {listed} FROM {table} l{joins}"
