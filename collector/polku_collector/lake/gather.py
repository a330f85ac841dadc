"""Which lines of a flush are read together: side by side, but for event names that pay for a reading of their own.

A property has one type in the whole plan, so the schemas of several names merge into one without a clash. Lines that
were judged by different plans are read apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import NamedTuple

import msgspec
from msgspec import Struct

from ..batch import QUARANTINE_RUN, UNPLANNED_RUN, Block, Schemas
from ..errors import LakeError

# A name is read by itself when that spares so many absent members: lines times the columns of the other names.
# Measured: a reading costs 20 ms more, whatever its lines; a member that a line does not have, 25 ns.
ABSENT_A_READING = 800_000

# A group is cut into parts for the workers, of at least so many lines each.
PART_LINES = 10_000

# So many rows of a day at least have a file to themselves: each file costs every reader some milliseconds.
FILE_ROWS = 20_000

_TRAITS_MEMBER = b',"t":{'


class Part(NamedTuple):
    """Some lines of one stream, one after the other."""

    text: memoryview
    lines: int


class Group(Struct):
    """Lines that are read with one schema, by stream. `name` is an event name, QUARANTINE_RUN or SHARED."""

    name: str
    properties: dict[str, str]
    traits: dict[str, str]
    format: int
    """How the lines are laid out: the format of their journal."""
    clashes: dict[str, str]
    """Columns of this plan that the table can never hold, and why: a line that brings one is unconvertible."""
    parts: dict[str, list[Part]]

    @property
    def lines(self) -> int:
        """How many there are, of all streams."""
        return sum(part.lines for parts in self.parts.values() for part in parts)

    @property
    def size_bytes(self) -> int:
        """What they take as text."""
        return sum(len(part.text) for parts in self.parts.values() for part in parts)


SHARED = "*"


Clashes = Mapping[str, Mapping[str, str]]
"""Plan fingerprint → column → why the table cannot hold what the plan says of it."""


def wanted_columns(blocks: Iterable[Block]) -> dict[str, dict[str, str]]:
    """The columns that the lines of a flush may bring, by the fingerprint of the plan they were judged by."""
    schemas = {block.schemas.plan_fingerprint: block.schemas for block in blocks}
    names = {(block.schemas.plan_fingerprint, run.name) for block in blocks for run in block.runs}
    wanted = {plan: dict(found.traits) for plan, found in schemas.items()}
    for plan, name in names:
        wanted[plan] |= _properties(schemas[plan], name)
    return wanted


def gathered(blocks: Iterable[Block], clashes: Clashes, absent: int = ABSENT_A_READING) -> list[Group]:
    """The groups of a flush. Raises LakeError if a segment's header does not describe its lines."""
    groups: list[Group] = []
    by_plan = sorted(blocks, key=_read_by)  # stable: streams stay in order
    for (plan, _), members in groupby(by_plan, key=_read_by):
        groups += _of_one_plan(list(members), dict(clashes.get(plan, {})), absent)
    return groups


def shared_out(groups: list[Group], among: int) -> list[Group]:
    """The groups, the large ones cut into parts: one for each worker."""
    return [part for group in groups for part in _cut(group, min(among, group.lines // PART_LINES))]


def files_a_day(rows: float, days: int, among: int) -> int:
    """How many files there shall be of each day, when so many workers may write one each."""
    return max(1, min(among, int(rows) // (FILE_ROWS * days)))


def _cut(group: Group, pieces: int) -> list[Group]:
    """The lines of a group in so many groups, of about as many bytes each."""
    if pieces < 2 or group.name == QUARANTINE_RUN:
        return [group]
    most = group.size_bytes // pieces + 1
    cut: list[Group] = []
    size = most
    for stream, parts in group.parts.items():
        for part in parts:
            if size >= most:
                cut.append(msgspec.structs.replace(group, parts={}))
                size = 0
            cut[-1].parts.setdefault(stream, []).append(part)
            size += len(part.text)
    return cut


def _read_by(block: Block) -> tuple[str, int]:
    return block.schemas.plan_fingerprint, block.format


def _of_one_plan(blocks: list[Block], clashes: dict[str, str], absent: int) -> list[Group]:
    schemas = blocks[0].schemas
    counts: dict[str, int] = {}
    for block in blocks:
        for run in block.runs:
            counts[run.name] = counts.get(run.name, 0) + run.lines
    together = len({column for name in counts for column in _properties(schemas, name)})
    groups: dict[str, Group] = {}
    of_name: dict[str, Group] = {}
    for block in blocks:
        for run in block.runs:
            group = of_name.get(run.name)
            if group is None:
                spared = counts[run.name] * (together - len(_properties(schemas, run.name)))
                alone = spared >= absent or run.name == QUARANTINE_RUN
                name = run.name if alone else SHARED
                group = groups.setdefault(name, Group(name, {}, {}, blocks[0].format, clashes, {}))
                group.properties |= _properties(schemas, run.name)
                of_name[run.name] = group
            text = block.lines[run.offset : run.offset + run.length]
            group.parts.setdefault(block.stream, []).append(Part(text, run.lines))
            # Few names carry traits, and parsing a struct of nulls in every line costs more than knowing it.
            if run.traits and not group.traits and run.name != QUARANTINE_RUN and _TRAITS_MEMBER in bytes(text):
                group.traits = schemas.traits
    return list(groups.values())


def _properties(schemas: Schemas, name: str) -> dict[str, str]:
    if name in (QUARANTINE_RUN, UNPLANNED_RUN):
        return {}
    if name not in schemas.events:
        raise LakeError(f"the journal has lines of {name!r} that the header of their segment does not describe")
    return schemas.events[name]
