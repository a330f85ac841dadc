"""A mapping: how quarantined events are mended before they are judged again. Pure functions over JSON documents.

Per event, the steps are taken in this order, whatever the order in the file: drop, rename, cast, default, rename_event.
So `drop` and `rename` speak of names as they were sent, `cast` and `default` of the new ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from polku_schemas import snake_case

from ..casts import Cast, Uncastable, cast_value

ANY_EVENT = "*"


class Step(Struct, frozen=True):
    """One member of a path: its name, and whether it is a list into whose items the path goes on."""

    name: str
    each: bool = False


Path = tuple[Step, ...]
"""`products[].price` is (products, each), (price)."""


class Mended(Struct, frozen=True):
    """What is done to the properties of one event, and to its name."""

    drop: tuple[Path, ...] = ()
    rename: tuple[tuple[Path, str], ...] = ()
    cast: tuple[tuple[Path, Cast], ...] = ()
    default: tuple[tuple[Path, Any], ...] = ()
    rename_event: str | None = None


class Mapping(Struct, frozen=True):
    """By event, as the file names it. An event without an entry of its own is mended as `*` says."""

    events: dict[str, Mended] = {}

    def entry(self, call: str | None, name: str | None) -> str | None:
        """The entry for an event: of its name as it was sent, of that in snake case, `*`, or none.

        Calls other than `track` are found by the name of the call.
        """
        called = name if call in (None, "track") else call
        for key in (called, snake_case(called) if called else None, ANY_EVENT):
            if key in self.events:
                return key
        return None


class Unmendable(Exception):
    """The mapping cannot be applied to this event. `path` says where."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


def mend(original: bytes, entry: Mended, call: str | None) -> bytes:
    """The event as the entry of the mapping wants it. Raises Unmendable, and ValueError for what is not JSON."""
    try:
        item = json.loads(original, parse_constant=lambda name: None)  # NaN and the like: as intake reads them
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(item, dict):
        raise ValueError("not a JSON object")
    # What the plan checks of these calls is their traits.
    member = "traits" if (call or item.get("type")) in ("identify", "group") else "properties"
    properties = item.get(member)
    if properties is None and any(len(path) == 1 for path, _ in entry.default):
        properties = item[member] = {}
    if isinstance(properties, dict):
        mend_properties(properties, entry, f"$.{member}")
    if entry.rename_event is not None:
        item["event"] = entry.rename_event
    try:
        return json.dumps(item, separators=(",", ":"), allow_nan=False).encode()
    except ValueError:
        raise Unmendable("$", "a number is outside 64 bits") from None


def mend_properties(properties: dict[str, Any], entry: Mended, root: str = "$.properties") -> None:
    """The steps of an entry on an event's properties, in place. Raises Unmendable."""
    for path in entry.drop:
        for holder, _ in _holders(properties, path, root):
            holder.pop(path[-1].name, None)
    _rename(properties, entry.rename, root)
    for path, cast in entry.cast:
        for holder, place in _holders(properties, path, root):
            _cast(holder, path[-1], cast, place)
    for path, value in entry.default:
        for holder, _ in _holders(properties, path, root):
            if holder.get(path[-1].name) is None:
                holder[path[-1].name] = value


def _holders(value: Any, path: Path, place: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The objects that hold the last member of a path, as far as they are there; with where they are."""
    if not isinstance(value, dict):
        return
    if len(path) == 1:
        yield value, place
        return
    step, inner = path[0], value.get(path[0].name)
    place = f"{place}.{step.name}"
    if not step.each:
        yield from _holders(inner, path[1:], place)
    elif isinstance(inner, list):
        for index, item in enumerate(inner):
            yield from _holders(item, path[1:], f"{place}[{index}]")


def _rename(properties: dict[str, Any], renames: tuple[tuple[Path, str], ...], root: str) -> None:
    """All at once, so that two names may change places; the deepest first, as their paths are those that were sent."""
    by_parent: dict[Path, list[tuple[str, str]]] = {}
    for path, new in renames:
        by_parent.setdefault(path[:-1], []).append((path[-1].name, new))
    for parent in sorted(by_parent, key=len, reverse=True):
        for holder, place in _holders(properties, (*parent, Step("")), root):
            moved = [(old, new, holder.pop(old)) for old, new in by_parent[parent] if old in holder]
            for old, new, value in moved:
                if value is None and new in holder:
                    continue
                if holder.get(new) is not None:
                    raise Unmendable(f"{place}.{new}", f"`{old}` cannot be renamed to `{new}`: both are there")
                holder[new] = value


def _cast(holder: dict[str, Any], step: Step, cast: Cast, place: str) -> None:
    held = holder.get(step.name)
    if not step.each:
        if held is not None:
            holder[step.name] = _cast_at(held, cast, f"{place}.{step.name}")
    elif isinstance(held, list):
        held[:] = [_cast_at(item, cast, f"{place}.{step.name}[{index}]") for index, item in enumerate(held)]


def _cast_at(value: Any, cast: Cast, place: str) -> Any:
    try:
        return cast_value(value, cast)
    except Uncastable as error:
        raise Unmendable(place, str(error)) from None
