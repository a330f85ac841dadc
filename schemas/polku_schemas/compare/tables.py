"""A plan beside the real table: what the next commit would add, and what could never be committed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from polku_schemas.column_types import Clash, merge, struct_fields, widening
from polku_schemas.columns import ENVELOPE_COLUMNS, EXTRA_COLUMN, table_columns
from polku_schemas.model import Plan


class TableDiff(Struct, frozen=True, kw_only=True):
    """What a plan asks of a table of events."""

    added: dict[str, str]
    """Columns the table lacks, with their types."""
    widened: dict[str, tuple[str, str]]
    """Columns whose structs get members: the type they have, and the one they get."""
    clashes: tuple[Clash, ...]
    """Columns (`products.price` for a member) that can never hold what the plan wants."""
    unused: tuple[str, ...]
    """Columns of the table, and members of its structs, that no planned property fills. They stay."""


def compare_table(columns: Mapping[str, str], plan: Plan) -> TableDiff:
    """Compare the columns of a table of events (name → neutral type) with those of the plan and the envelope."""
    wanted = {**ENVELOPE_COLUMNS, **table_columns(plan), EXTRA_COLUMN: "string"}
    needed = widening(columns, wanted)
    return TableDiff(
        added=needed.added,
        widened={name: (columns[name], kind) for name, kind in needed.widened.items()},
        clashes=tuple(inner for clash in needed.clashes for inner in _innermost(clash)),
        unused=tuple(_unused(columns, wanted)),
    )


def struct_members(neutral: str) -> dict[str, str]:
    """The members of a struct, or of a list of structs; none of anything else."""
    inner = neutral.removeprefix("list<").removesuffix(">") if neutral.startswith("list<") else neutral
    return dict(struct_fields(inner)) if inner.startswith("struct<") else {}


def _innermost(clash: Clash) -> list[Clash]:
    """The members that clash, where two structs do: their whole types are too long to compare by eye."""
    if clash.present.startswith("list<") != clash.wanted.startswith("list<"):
        return [clash]
    present = struct_members(clash.present)
    return [
        Clash(f"{clash.column}.{name}", kind, present[name])
        for name, kind in struct_members(clash.wanted).items()
        if name in present and merge(present[name], kind) is None
    ] or [clash]


def _unused(columns: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    for name, kind in columns.items():
        if name in wanted:
            members = struct_members(wanted[name])
            yield from (f"{name}.{member}" for member in struct_members(kind) if members and member not in members)
        else:
            yield name
