"""What is wrong in a settings document: everything at once, each by its name in the file.

Only asked when msgspec has refused the document: it says the first mistake alone, and not in which source it stands.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

Place = tuple[str, ...]


def findings_in(document: Any, kind: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Each place in a document that its type refuses, and what is wrong there."""
    kind = _without_none(kind)
    members = _members(document, kind)
    if members is None:
        try:
            msgspec.convert(document, kind)
        except msgspec.ValidationError as error:
            yield place, f"{error}{_choices(kind)}"
        return
    for name, value in document.items():
        if name in members:
            yield from findings_in(value, members[name], (*place, name))
        else:
            near = difflib.get_close_matches(name, members, n=1)
            yield (*place, name), "there is no such setting" + (f", did you mean `{near[0]}`?" if near else "")
    for field in msgspec.structs.fields(kind) if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else ():
        if field.required and field.name not in document:
            yield (*place, field.name), "must be given"


def _members(document: Any, kind: Any) -> dict[str, Any] | None:
    """The types of a table's members, by name; None for what is no table of settings."""
    if not isinstance(document, dict):
        return None
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return get_type_hints(kind, include_extras=True)
    if get_origin(kind) is dict:
        return dict.fromkeys(document, get_args(kind)[1])
    return None


def _without_none(kind: Any) -> Any:
    """Nobody writes none in TOML; and what is left says more."""
    others = [one for one in get_args(kind) if one is not type(None)]
    return others[0] if len(others) == 1 < len(get_args(kind)) and type(None) in get_args(kind) else kind


def _choices(kind: Any) -> str:
    return f"; write one of {', '.join(map(repr, get_args(kind)))}" if get_origin(kind) is Literal else ""
