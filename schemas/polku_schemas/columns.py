"""The columns that the plan gives the tables, in neutral type names that every engine has a word for.

The neutral types are `string long double boolean date timestamp list<T> struct<a:T,b:T>`; the lake translates
them for the writer and the engine it uses.
"""

from __future__ import annotations

from typing import Final

from polku_schemas.model import Event, Plan, Property

ENVELOPE_COLUMNS: Final[dict[str, str]] = {
    "event_id": "string",
    "event_type": "string",
    "event_name": "string",
    "schema_version": "string",
    "event_time": "timestamp",
    "received_at": "timestamp",
    "sent_at": "timestamp",
    "event_date": "date",
    "stream": "string",
    "sequence": "long",
    "source": "string",
    "channel": "string",
    "marketing_channel": "string",
    "anonymous_id": "string",
    "user_id": "string",
    "group_id": "string",
    "previous_id": "string",
    "session_id": "string",
    "page_url": "string",
    "page_path": "string",
    "page_title": "string",
    "referrer": "string",
    "referrer_host": "string",
    "utm_source": "string",
    "utm_medium": "string",
    "utm_campaign": "string",
    "utm_term": "string",
    "utm_content": "string",
    "device": "string",
    "os": "string",
    "browser": "string",
    "locale": "string",
    "timezone": "string",
    "country": "string",
    "library": "string",
    "library_version": "string",
    "is_bot": "boolean",
    "time_adjusted": "boolean",
    "unplanned": "boolean",
    "consent": "list<string>",
}
"""The columns every event has, in the order of the table; plan properties, traits and `extra` follow them."""

EXTRA_COLUMN: Final = "extra"
"""JSON text of what has no column; always the last one."""

TRAIT_PREFIX: Final = "trait_"

_SCALAR_COLUMNS: Final[dict[str, str]] = {
    "string": "string",
    "uuid": "string",
    "integer": "long",
    "number": "double",
    "boolean": "boolean",
    "date": "date",
    "date-time": "timestamp",
}


def event_columns(event: Event) -> dict[str, str]:
    """Property name → neutral type, in the order of the event."""
    return {name: column_type(prop) for name, prop in event.properties.items()}


def trait_columns(plan: Plan) -> dict[str, str]:
    """`trait_<name>` → neutral type, in the order of the plan."""
    return {TRAIT_PREFIX + name: column_type(prop) for name, prop in plan.traits.items()}


def table_columns(plan: Plan) -> dict[str, str]:
    """All columns of the plan: each property some event uses, in the dictionary's order, then the traits."""
    used = {name for event in plan.events.values() for name in event.properties}
    columns = {name: column_type(prop) for name, prop in plan.properties.items() if name in used}
    return columns | trait_columns(plan)


def column_type(prop: Property) -> str:
    """The neutral type of one property."""
    if prop.items is not None:
        return f"list<{column_type(prop.items)}>"
    if prop.type == "object":
        return f"struct<{','.join(f'{name}:{column_type(field)}' for name, field in prop.fields.items())}>"
    return _SCALAR_COLUMNS[prop.type]
