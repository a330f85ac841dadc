"""The SELECT that turns the lines of one event name into rows of `events`: columns in order, enrichment on top. Pure.

Only columns in which the lines have a value are computed and stored; readers fill the others with null.
"""

from __future__ import annotations

from collections.abc import Set

from .channels import with_marketing_channel
from .enrich import UTM_PARAMETERS, page_path_sql, referrer_host_sql, utm_sql
from .types import duckdb_type, quoted

_VISIT = frozenset(("page_url", "referrer", "utm_source", "utm_medium", "utm_campaign"))
_CAMPAIGN_NAMES = {"campaign": "utm_campaign"} | {name: f"utm_{name}" for name in UTM_PARAMETERS}
_PLAIN = (
    *("event_id", "event_type", "event_name", "schema_version", "stream", "sequence", "source", "channel"),
    *("anonymous_id", "user_id", "group_id", "previous_id", "session_id", "page_title"),
    *("locale", "timezone", "library", "library_version", "time_adjusted", "unplanned", "consent", "extra"),
)
_ALWAYS = frozenset(("event_id", "event_type", "event_name", "stream", "sequence", "source"))


def enriched_select(table: str, in_use: Set[str], properties: dict[str, str], traits: dict[str, str]) -> str:
    """Rows for `events` from a table of lines. Needs the relations `agents` and the channel look-up table."""
    rows = f"({_rows_select(table, in_use, properties, traits)})"
    return with_marketing_channel(rows) if in_use & _VISIT else f"SELECT * FROM {rows}"


def _rows_select(table: str, in_use: Set[str], properties: dict[str, str], traits: dict[str, str]) -> str:
    columns: dict[str, str] = {name: f"l.{name}" for name in _PLAIN if name in in_use or name in _ALWAYS}
    for time in ("event_time", "received_at", "sent_at"):
        if time in in_use:
            columns[time] = f"l.{time}::TIMESTAMPTZ"
    columns["event_date"] = "l.event_time::DATE"
    agents = ""
    if "user_agent" in in_use:
        agents = "LEFT JOIN agents a ON a.user_agent = l.user_agent"
        for name in ("device", "os", "browser"):
            columns[name] = f"coalesce(l.{name}, a.{name})"
        columns["is_bot"] = "a.is_bot"
    else:
        columns |= {name: f"l.{name}" for name in ("device", "os", "browser") if name in in_use}
    if in_use & _VISIT:  # the channel rules look at all of these
        columns["page_url"] = "l.page_url"
        columns["page_path"] = f"coalesce(l.page_path, {page_path_sql('l.page_url')})"
        columns["referrer"] = "l.referrer"
        columns["referrer_host"] = referrer_host_sql("l.referrer")
        for parameter, name in _CAMPAIGN_NAMES.items():
            columns[name] = f"coalesce(l.{name}, {utm_sql('l.page_url', parameter)})"
    elif "page_path" in in_use:
        columns["page_path"] = "l.page_path"
    for name, kind in properties.items():
        columns[name] = f"(l.p).{quoted(name)}::{duckdb_type(kind)}"
    for name, kind in traits.items():
        columns[name] = f"(l.t).{quoted(name.removeprefix('trait_'))}::{duckdb_type(kind)}"
    listed = ", ".join(f"{expression} AS {quoted(name)}" for name, expression in columns.items())
    return f"SELECT {listed} FROM {table} l {agents}"
