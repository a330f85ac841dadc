"""Where a value stands in a delivery: a small, closed part of JSONPath, and headers. Pure.

    $.order.lines[0].sku     in the payload; $ is all of it
    @.sku                    in the item of the list that is gone through with `each`
    $['odd name'].x          a name that is no word
    header:X-Shopify-Topic   a header of the request

A path leads to one place or to none. There are no wildcards and no filters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from msgspec import Struct

_ROOTS: Final[dict[str, Literal["payload", "item"]]] = {"$": "payload", "@": "item"}
_STEP: Final = re.compile(r"\.([^\W\d][\w-]*)|\[(0|[1-9]\d{0,8})\]|\['([^'\\]+)'\]")
_HEADER: Final = re.compile(r"header:([!#$%&'*+.^_`|~0-9A-Za-z-]+)")


class Place(Struct, frozen=True):
    """One place, and the text it was written as."""

    text: str
    root: Literal["payload", "item", "header"]
    steps: tuple[str | int, ...]


class Delivery(Struct, frozen=True):
    """What one request brought. `item` is the one at hand where a list is gone through."""

    payload: Any  # JSON
    headers: Mapping[bytes, bytes]
    item: Any = None


def looks_like_place(text: str) -> bool:
    """Whether a text of a mapping is meant as a place and not as itself."""
    return text[:1] in _ROOTS or text.startswith("header:")


def read_place(text: str) -> Place | None:
    """The place a text names, or None if it is not written as one."""
    if header := _HEADER.fullmatch(text):
        return Place(text, "header", (header[1].lower(),))
    if text[:1] not in _ROOTS:
        return None
    steps: list[str | int] = []
    position = 1
    while position < len(text):
        step = _STEP.match(text, position)
        if step is None:
            return None
        word, number, quoted = step.groups()
        steps.append(int(number) if number is not None else word or quoted)
        position = step.end()
    return Place(text, _ROOTS[text[0]], tuple(steps))


def find(place: Place, delivery: Delivery) -> Any:
    """What stands there; None for nothing, and for null."""
    if place.root == "header":
        value = delivery.headers.get(str(place.steps[0]).encode())
        return None if value is None else value.decode("latin-1")
    found = delivery.payload if place.root == "payload" else delivery.item
    for step in place.steps:
        if isinstance(step, str):
            found = found.get(step) if isinstance(found, dict) else None
        else:
            found = found[step] if isinstance(found, list) and step < len(found) else None
    return found
