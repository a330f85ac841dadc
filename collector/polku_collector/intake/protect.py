"""Rewrites what is kept beside the columns (`extra`, the originals of refused events) as the plan's privacy rules say.

Columns are protected where they are decoded; here are JSON objects of which only the names are known. Members of the
wire's own (`type`, `context.library`, …) are never taken for properties of the same name.
"""

from __future__ import annotations

import json
from typing import Any, Final

from polku_schemas.privacy import Protection

from .wire import Context, WireEvent

# Members of an item, and of its context, that mean what the wire says whatever a plan calls by the same name.
_OF_ITEM: Final = frozenset(WireEvent.__struct_encode_fields__)
_OF_CONTEXT: Final = frozenset(Context.__struct_encode_fields__)


def protected_item(protection: Protection, raw: bytes) -> bytes | None:
    """The bytes of an item without what may not be stored; as they came where nothing had to go.

    None when they are no JSON object, so that nobody can say what is in them.
    """
    try:
        item = json.loads(raw)
        if not isinstance(item, dict):
            return None
        kept = _item(protection, item)
        return raw if kept == item else json.dumps(kept, ensure_ascii=False).encode("utf-8", "backslashreplace")
    except (ValueError, RecursionError):
        return None


def protected_extra(protection: Protection, extra: dict[str, Any]) -> dict[str, Any]:
    """What `extra` may hold of the unplanned members of an event's properties, traits and context."""
    kept = _item(protection, extra)
    return {name: value for name, value in kept.items() if value != {}}


def _item(protection: Protection, item: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in item.items():
        if isinstance(value, dict) and name in _PARTS:
            kept[name] = _PARTS[name](protection, value)
        elif name in _OF_ITEM and not isinstance(value, (dict, list)):
            kept[name] = value
        else:
            kept |= protection.of_anything({name: value})
    return kept


def _context(protection: Protection, context: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in context.items():
        if name == "traits" and isinstance(value, dict):
            kept[name] = protection.of_traits(value)
        elif name in _OF_CONTEXT:
            kept[name] = value
        else:
            kept |= protection.of_anything({name: value})
    return kept


_PARTS: Final = {"properties": Protection.of_properties, "traits": Protection.of_traits, "context": _context}
