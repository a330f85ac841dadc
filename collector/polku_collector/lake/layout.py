"""How the lines of a group stand in the journal, and how they become columns: the SQL for `read_json`. Pure."""

from __future__ import annotations

from msgspec import Struct

from polku_schemas import TRAIT_PREFIX

from ..batch import CONTEXT_PLACES, LINE_COLUMNS, QUARANTINE_LINE_COLUMNS, QUARANTINE_RUN
from .gather import Group
from .types import duckdb_type, literal, quoted

AGENT, DIGEST = "_user_agent", "_digest"
"""What of a line is looked at and not stored. No property begins with an underscore, and one may be called `digest`."""


class Layout(Struct, frozen=True):
    """The SQL by which a file of lines is read."""

    members: str
    """The members of a line with their types, as `read_json` wants them."""
    select: str
    """The columns that they become, properties and traits among them, and the day by which files are partitioned."""


def layout_of(group: Group) -> Layout:
    """How the lines of a group are read; format 1 had the columns of `context` beside it."""
    is_quarantine = group.name == QUARANTINE_RUN
    columns = QUARANTINE_LINE_COLUMNS if is_quarantine else LINE_COLUMNS
    types = {column: _line_type(kind) for column, kind in columns.items()}
    inside = CONTEXT_PLACES if not is_quarantine and group.format > 1 else {}
    members = {name: kind for name, kind in types.items() if name not in inside}
    if inside:
        members["context"] = _nested({place: types[name] for name, place in inside.items()})
    select = {name: _place(inside[name]) if name in inside else quoted(name) for name in types}
    if not is_quarantine:
        select[AGENT] = select.pop("user_agent")
        select[DIGEST] = f"coalesce({select.pop('digest')}, 0)::UINTEGER"
    traits = {name.removeprefix(TRAIT_PREFIX): kind for name, kind in group.traits.items()}
    for member, kinds, prefix in (("p", group.properties, ""), ("t", traits, TRAIT_PREFIX)):
        if kinds:
            members[member] = duckdb_type(f"struct<{','.join(f'{name}:{kind}' for name, kind in kinds.items())}>")
            select |= {prefix + name: f"{member}.{quoted(name)}" for name in kinds}
    day, moment = ("received_date", "received_at") if is_quarantine else ("event_date", "event_time")
    select[day] = f"{moment}::DATE"
    return Layout(
        members="{" + ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in members.items()) + "}",
        select=", ".join(f"{place} AS {quoted(name)}" for name, place in select.items()),
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


def _line_type(kind: str) -> str:
    """How a column of the envelope is parsed: its times are canonical UTC, so the faster parser without zones does."""
    return "TIMESTAMP" if kind == "timestamp" else duckdb_type(kind)
