"""The table `builds`: what each build has read and which versions of the tables belong to it.

Its newest row is the state of the lake's journeys. A build is finished when its row is there, so that one that was
killed leaves what readers see, and what the next build goes on from, as it was.
"""

from __future__ import annotations

import datetime
from typing import Final

import msgspec
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError
from msgspec import Struct

from polku_analytics.errors import BuildError, LakeError
from polku_analytics.lake import Lake
from polku_analytics.session_rules import DEFAULT_RULES, SessionRules

TABLE: Final = "builds"

KEPT_BUILDS: Final = 50
"""Rows of `builds`; older ones go."""


class BuiltTable(Struct, frozen=True):
    """One table of a build: how many rows it has and how many seconds it took to compute."""

    name: str
    rows: int
    seconds: float
    changed_rows: int | None = None
    """Rows that are new or gone since the build before; None if all were written."""


class Mark(Struct, frozen=True):
    """How far a stream of events is built in: the highest sequence, and how many events up to it there were."""

    last: int
    events: int


class Counts(Struct, frozen=True, kw_only=True):
    """Events by what has become of them; of two disjoint sets of events they add up."""

    events: int = 0
    """Events that count: bots and second copies left out."""
    bots: int = 0
    copies: int = 0
    unplaced: dict[str, int] = {}
    """Event names that the plan does not know."""

    def plus(self, other: Counts, sign: int = 1) -> Counts:
        """The sum, or with sign -1 the difference."""
        names = {*self.unplaced, *other.unplaced}
        unplaced = {name: self.unplaced.get(name, 0) + sign * other.unplaced.get(name, 0) for name in names}
        return Counts(
            events=self.events + sign * other.events,
            bots=self.bots + sign * other.bots,
            copies=self.copies + sign * other.copies,
            unplaced={name: count for name, count in unplaced.items() if count},
        )


class Loaded(Struct, frozen=True):
    """Which content of a reference table a build has read."""

    table_id: str
    version: int


class BuildRecord(Struct, frozen=True, kw_only=True):
    """One build, as its row has it."""

    build_id: str
    built_at: datetime.datetime
    kind: str
    """`full` or `incremental`."""
    as_of: datetime.datetime | None
    plan: str
    """The fingerprint of the plan."""
    models: str
    """The fingerprint of all SQL of the models, filled in; another one needs a full build."""
    events_version: int
    """Of the table `events`."""
    marks: dict[str, Mark]
    counts: Counts
    tables: dict[str, int]
    """The version of each table of the build."""
    next_key: int
    """The first person key that was never given."""
    sessions: SessionRules = DEFAULT_RULES
    """Where sessions end; the next build goes on with it."""
    reference: dict[str, Loaded | None] = {}
    """The reference tables that the models read; None for what was not loaded."""


def newest_record(lake: Lake) -> BuildRecord | None:
    """The last finished build; None before the first one, or if it was made by a version that wrote something else."""
    records = _records(lake)
    return records[-1] if records else None


def append_record(lake: Lake, record: BuildRecord, since: str | None) -> None:
    """Finish a build. BuildError if another one has finished meanwhile, that is if the last is not `since` any more."""
    try:
        table = lake.delta(TABLE)
        version = table.version()
        records = _records(lake, version)
    except LakeError as error:
        if not isinstance(error.__context__, TableNotFoundError):
            raise
        version, records = -1, []
    if (records[-1].build_id if records else None) != since:
        raise BuildError("another build has finished meanwhile: its tables stand, run `polku build` again")
    rows = [*records, record][-KEPT_BUILDS:]
    data = pa.table(
        {
            "build_id": pa.array([row.build_id for row in rows], pa.string()),
            "built_at": pa.array([row.built_at for row in rows], pa.timestamp("us", "UTC")),
            "kind": pa.array([row.kind for row in rows], pa.string()),
            "as_of": pa.array([row.as_of for row in rows], pa.timestamp("us", "UTC")),
            "plan": pa.array([row.plan for row in rows], pa.string()),
            "events": pa.array([row.counts.events for row in rows], pa.int64()),
            "state": pa.array([msgspec.json.encode(row).decode() for row in rows], pa.string()),
        }
    )
    try:
        write_deltalake(
            lake.table_uri(TABLE)
            if version < 0
            else DeltaTable(lake.table_uri(TABLE), version, lake.storage_options()),
            data,
            mode="error" if version < 0 else "overwrite",
            storage_options=lake.storage_options() if version < 0 else None,
            # Two builds that end at once: the second one is refused.
            commit_properties=CommitProperties(max_commit_retries=0),
        )
    except (DeltaError, OSError) as error:
        raise BuildError(f"the build could not be finished: {str(error).splitlines()[0]}") from error


def _records(lake: Lake, version: int | None = None) -> list[BuildRecord]:
    try:
        table = lake.delta(TABLE)
        if version is not None:
            table.load_as_version(version)
    except LakeError as error:
        if isinstance(error.__context__, TableNotFoundError):
            return []
        raise
    found = table.to_pyarrow_table(columns=["built_at", "state"]).sort_by("built_at")
    try:
        return [msgspec.json.decode(str(text), type=BuildRecord) for text in found.column("state").to_pylist()]
    except msgspec.ValidationError:
        return []
