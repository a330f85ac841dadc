"""The bytes of an event as they are read and written anew, when something in them may not be kept."""

from __future__ import annotations

import json
from typing import Any


def read_original(raw: bytes) -> tuple[dict[str, Any] | None, bool]:
    """The JSON object that an event is, or None; and whether a name stands twice somewhere in it.

    Of such a name only the last is in the object, so the bytes hold more than who looks at the object sees.
    """
    repeats = False

    def object_of(members: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal repeats
        found = dict(members)
        repeats = repeats or len(found) < len(members)
        return found

    try:
        item = json.loads(raw.decode(), object_pairs_hook=object_of)  # of bytes, `json` would guess the encoding
    except (ValueError, RecursionError):
        return None, repeats
    return (item if isinstance(item, dict) else None), repeats


def written_original(item: dict[str, Any]) -> bytes:
    """The bytes of an object. Half of a cut emoji becomes an escape again."""
    return json.dumps(item, ensure_ascii=False).encode("utf-8", "backslashreplace")
