"""Makes HTML elements so that a text of a plan cannot become markup: whatever is not made here is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final, TypeAlias

VOID: Final = frozenset({"br", "col", "hr", "input", "link", "meta", "wbr"})
"""Elements that have no end tag."""


class Markup(str):
    """HTML that is finished. Only the functions of this module make it."""

    __slots__ = ()


Child: TypeAlias = "str | Markup | Iterable[Child] | None"
"""What may stand in an element: a text, an element, nothing, or several of these."""


def element(tag: str, *children: Child, **attributes: str | bool | None) -> Markup:
    """One element. A trailing `_` of an attribute's name is dropped, other `_` become `-`: `class_`, `aria_label`.

    An attribute that is None or False is left out, one that is True has no value.
    """
    written = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(value)}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{tag}{written}>" if tag in VOID else f"<{tag}{written}>{joined(*children)}</{tag}>")


def joined(*children: Child) -> Markup:
    """Several things in a row."""
    parts: list[str] = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(escape(child))
        elif child is not None:
            parts.append(joined(*child))
    return Markup("".join(parts))


def spaced(children: Iterable[Child]) -> Markup:
    """Several things with a space between them, for those who hear or copy the page as well; nothing is left out."""
    return Markup(" ".join(part for part in map(joined, children) if part))


def trusted(text: str) -> Markup:
    """Our own HTML, style or script, as it is. Never for anything that came from a plan."""
    return Markup(text)
