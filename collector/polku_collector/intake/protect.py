"""Rewrites what is kept beside the columns (`extra`, the originals of refused events) as the plan's privacy rules say.

Columns are protected where they are decoded; here are JSON objects of which only the names are known. Members of the
wire's own (`type`, `context.library.name`, …) are never taken for properties of the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from polku_schemas.privacy import Protection

from ..batch import Campaign, Context, Library, Page
from .original import read_original, written_original
from .wire import WireEvent

_Names = frozenset[str]
_Part = Callable[[Protection, dict[str, Any]], dict[str, Any]]

# Members that mean what the wire says whatever a plan calls by the same name, and go to columns of the envelope. Two of
# the context have no column: its `ip`, and its page's `search`.
_OF_ITEM: Final[_Names] = frozenset(WireEvent.__struct_encode_fields__)
_OF_CONTEXT: Final[_Names] = frozenset(Context.__struct_encode_fields__) - {"ip"}
_OF_LIBRARY: Final[_Names] = frozenset(Library.__struct_encode_fields__)
_OF_PAGE: Final[_Names] = frozenset(Page.__struct_encode_fields__) - {"search"}
_OF_CAMPAIGN: Final[_Names] = frozenset(Campaign.__struct_encode_fields__)

# Members that are objects of names. Something else there (JSON in a text, say) may hold anything: an empty value of its
# type is kept, so that a replay finds the same fault.
_OBJECTS: Final[_Names] = frozenset(("properties", "traits", "context"))

# Members of a page or screen call of which intake makes properties: `name` becomes `page_name`.
_OF_PAGE_CALLS: Final = ("name", "category")


def protected_item(protection: Protection, raw: bytes) -> bytes | None:
    """The bytes of an item without what may not be stored; as they came where nothing had to go.

    None when they are no JSON object, so that nobody can say what is in them.
    """
    item, repeats = read_original(raw)
    if item is None:
        return None
    try:
        kept = _item(protection, item)
        return raw if kept == item and not repeats else written_original(kept)
    except (ValueError, RecursionError):
        return None


def protected_extra(protection: Protection, extra: dict[str, Any]) -> dict[str, Any]:
    """What `extra` may hold of the unplanned members of an event's properties, traits and context."""
    kept = _item(protection, extra)
    return {name: value for name, value in kept.items() if value != {}}


def _item(protection: Protection, item: dict[str, Any]) -> dict[str, Any]:
    kept = _members(protection, item, _OF_ITEM, _PARTS_OF_ITEM)
    for name in _OF_PAGE_CALLS:
        for meant in (f"page_{name}", f"screen_{name}"):
            if kept.get(name) is not None:
                changed = protection.of_properties({meant: kept.pop(name)})
                if meant in changed:
                    kept[name] = changed[meant]
    return kept


def _context(protection: Protection, context: dict[str, Any]) -> dict[str, Any]:
    return _members(protection, context, _OF_CONTEXT, _PARTS_OF_CONTEXT)


def _members(protection: Protection, document: dict[str, Any], own: _Names, parts: dict[str, _Part]) -> dict[str, Any]:
    """The members of an object of the wire: `own` are what the wire says, `parts` are objects with rules of theirs."""
    kept: dict[str, Any] = {}
    for name, value in document.items():
        if name in parts and isinstance(value, dict):
            kept[name] = parts[name](protection, value)
        elif name in parts and name in _OBJECTS and value is not None:
            kept[name] = type(value)()
        elif name in own and not isinstance(value, (dict, list)):
            kept[name] = value
        else:
            kept |= protection.of_anything({name: value})
    return kept


def _with(own: _Names) -> _Part:
    return lambda protection, document: _members(protection, document, own, {})


_PARTS_OF_ITEM: Final[dict[str, _Part]] = {
    "properties": Protection.of_properties,
    "traits": Protection.of_traits,
    "context": _context,
}
_PARTS_OF_CONTEXT: Final[dict[str, _Part]] = {
    "traits": Protection.of_traits,
    "library": _with(_OF_LIBRARY),
    "page": _with(_OF_PAGE),
    "campaign": _with(_OF_CAMPAIGN),
    "context": Protection.of_anything,  # what came as `context` and was no object
}
