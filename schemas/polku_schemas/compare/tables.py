"""A plan beside the real table: what the next commit would add, and what could never be committed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from polku_schemas.column_types import Clash, struct_fields, widening
from polku_schemas.columns import ENVELOPE_COLUMNS, EXTRA_COLUMN, table_columns
from polku_schemas.model import Plan


class TableDiff(Struct, frozen=True, kw_only=True):
    """What a plan asks of a table of events."""

    added: dict[str, str]
    """Columns the table lacks, with their types."""
    widened: dict[str, tuple[str, str]]
    """Columns whose structs get members: the type they have, and the one they get."""
    clashes: tuple[Clash, ...]
    """Columns that can never hold what the plan wants; a collector does not start with such a plan."""
    unused: tuple[str, ...]
    """Columns of the table, and members of its structs, that no planned property fills. They stay."""


def compare_table(columns: Mapping[str, str], plan: Plan) -> TableDiff:
    """Compare the columns of a table of events (name → neutral type) with those of the plan and the envelope."""
    wanted = {**ENVELOPE_COLUMNS, **table_columns(plan), EXTRA_COLUMN: "string"}
    needed = widening(columns, wanted)
    return TableDiff(
        added=needed.added,
        widened={name: (columns[name], kind) for name, kind in needed.widened.items()},
        clashes=tuple(needed.clashes),
        unused=tuple(_unused(columns, wanted)),
    )


def _unused(columns: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    for name, kind in columns.items():
        if name not in wanted:
            yield name
        elif "struct<" in kind and "struct<" in wanted[name]:
            members = dict(struct_fields(_struct(wanted[name])))
            yield from (f"{name}.{member}" for member, _ in struct_fields(_struct(kind)) if member not in members)


def _struct(neutral: str) -> str:
    """The struct itself, of a column that is one or a list of them: a plan has one level."""
    return neutral.removeprefix("list<").removesuffix(">") if neutral.startswith("list<") else neutral
