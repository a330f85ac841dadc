"""An accepted event that the lake could not convert, as the wire item it came from.

`original` of such a row is the journal's line. Judged again as an item it is held against the present plan, whatever
the plan was when it was accepted; its times were decided then and stay.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..batch import CONTEXT_PLACES, Line

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode

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
    document = _decode(original)
    for name, place in CONTEXT_PLACES.items():  # format 1 of the journal had these beside the context
        if document.get(name) is not None:
            part = document.setdefault("context", {})
            for step in place[:-1]:
                part = part.setdefault(step, {})
            part[place[-1]] = document[name]
    return msgspec.convert(document, Line)


def item_of(line: Line) -> bytes:
    """The wire item from which intake would make this line."""
    extra: dict[str, Any] = msgspec.json.decode(line.extra) if line.extra else {}
    context: dict[str, Any] = msgspec.to_builtins(line.context) if line.context is not None else {}
    if line.channel is not None:
        context["channel"] = line.channel
    item = {name: getattr(line, field) for name, field in _ITEM.items() if getattr(line, field) is not None}
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
