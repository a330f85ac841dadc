"""An accepted event that the lake could not convert, as the wire item it came from.

`original` of such a row is the journal's line. Judged again as an item it is held against the present plan, whatever
the plan was when it was accepted; its times were decided then and stay.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..batch import Line

_decode = msgspec.json.Decoder(Line).decode
_encode = msgspec.json.Encoder().encode

_PAGE = {"url": "page_url", "path": "page_path", "title": "page_title", "referrer": "referrer"}
_CAMPAIGN = {
    "source": "utm_source",
    "medium": "utm_medium",
    "name": "utm_campaign",
    "term": "utm_term",
    "content": "utm_content",
}
_CONTEXT = {
    "userAgent": "user_agent",
    "locale": "locale",
    "timezone": "timezone",
    "sessionId": "session_id",
    "channel": "channel",
    "consent": "consent",
}
_ITEM = {
    "type": "event_type",
    "event": "event_name",
    "messageId": "event_id",
    "userId": "user_id",
    "anonymousId": "anonymous_id",
    "groupId": "group_id",
    "previousId": "previous_id",
    "timestamp": "event_time",
}


def line_of(original: str) -> Line:
    """The line as intake wrote it; `p` and `t` as plain JSON. Raises msgspec.MsgspecError."""
    return _decode(original)


def item_of(line: Line) -> bytes:
    """The wire item from which intake would make this line."""
    extra: dict[str, Any] = msgspec.json.decode(line.extra) if line.extra else {}
    context = _members(line, _CONTEXT)
    for name, members in (
        ("page", _members(line, _PAGE)),
        ("campaign", _members(line, _CAMPAIGN)),
        ("library", _members(line, {"name": "library", "version": "library_version"})),
    ):
        if members:
            context[name] = members
    item = _members(line, _ITEM)
    item["properties"] = merged(line.p or {}, extra.get("properties", {}))
    if line.t or "traits" in extra:
        item["traits"] = merged(line.t or {}, extra.get("traits", {}))
    item["context"] = merged(context, extra.get("context", {}))
    return _encode(item)


def merged(planned: Any, beside: Any) -> Any:  # Any: JSON
    """Both parts of a value: the planned members, and those without a column in the same shape beside them."""
    if isinstance(planned, dict) and isinstance(beside, dict):
        return {**beside, **{name: merged(value, beside.get(name)) for name, value in planned.items()}}
    if isinstance(planned, list) and isinstance(beside, list) and len(planned) == len(beside):
        return [merged(*pair) for pair in zip(planned, beside, strict=True)]
    return planned


def _members(line: Line, names: dict[str, str]) -> dict[str, Any]:
    found = {name: getattr(line, field) for name, field in names.items()}
    return {name: value for name, value in found.items() if value is not None}
