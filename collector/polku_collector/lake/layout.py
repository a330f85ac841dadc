"""How the lines of a group stand in the journal, and how they become columns: the SQL for `read_json`. Pure."""

from __future__ import annotations

from msgspec import Struct

from ..batch import CONTEXT_PLACES, LINE_COLUMNS, QUARANTINE_LINE_COLUMNS, QUARANTINE_RUN
from .gather import Group
from .types import duckdb_type, literal, quoted


class Layout(Struct, frozen=True):
    """The SQL by which a file of lines is read into a table."""

    columns: str
    """The table's columns with their types."""
    members: str
    """The members of a line with their types, as `read_json` wants them."""
    select: str
    """The columns, in order, from the members."""
    has_visit: bool
    """Whether the columns of a visit are among them."""


def layout_of(group: Group) -> Layout:
    """How the lines of a group are read; format 1 had the columns of `context` beside it."""
    columns = QUARANTINE_LINE_COLUMNS if group.name == QUARANTINE_RUN else LINE_COLUMNS
    types = {column: _line_type(kind) for column, kind in columns.items()}
    if group.properties:
        types["p"] = duckdb_type(_struct(group.properties))
    if group.traits:
        types["t"] = duckdb_type(_struct({n.removeprefix("trait_"): kind for n, kind in group.traits.items()}))
    inside = CONTEXT_PLACES if columns is LINE_COLUMNS and group.format > 1 else {}
    members = {name: kind for name, kind in types.items() if name not in inside}
    if inside:
        members["context"] = _nested({place: types[name] for name, place in inside.items()})
    places = (f"{_place(inside[name])} AS {name}" if name in inside else quoted(name) for name in types)
    return Layout(
        columns=", ".join(f"{quoted(name)} {kind}" for name, kind in types.items()),
        members="{" + ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in members.items()) + "}",
        select=", ".join(places),
        has_visit=columns is LINE_COLUMNS,
    )


def _place(path: tuple[str, ...]) -> str:
    """A member of the context. Browsers send an empty referrer, title, … for none."""
    place = ".".join(["context", *map(quoted, path)])
    return f"nullif({place}, '')" if path[0] == "page" else place


def _nested(leaves: dict[tuple[str, ...], str]) -> str:
    """The type of a struct with these leaves."""
    parts: dict[str, str | dict[tuple[str, ...], str]] = {}
    for (first, *rest), kind in leaves.items():
        if rest:
            below = parts.setdefault(first, {})
            assert isinstance(below, dict)  # noqa: S101  (a name is a leaf or a struct)
            below[tuple(rest)] = kind
        else:
            parts[first] = kind
    listed = (f"{quoted(name)} {part if isinstance(part, str) else _nested(part)}" for name, part in parts.items())
    return f"STRUCT({', '.join(listed)})"


def _struct(members: dict[str, str]) -> str:
    return f"struct<{','.join(f'{name}:{kind}' for name, kind in members.items())}>"


def _line_type(kind: str) -> str:
    """How a column of the envelope is parsed: its times are canonical UTC, so the faster parser without zones does."""
    return "TIMESTAMP" if kind == "timestamp" else duckdb_type(kind)
