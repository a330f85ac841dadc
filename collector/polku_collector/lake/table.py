"""Open, create and widen the Delta tables; hold one handle each, reopened before it grows slow.

Only this process writes the tables. A column is added in a commit of its own before any file holds it, and never
removed: a node with an older plan leaves the newer columns alone.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import structlog
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction, RemoveAction
from msgspec import Struct
from pyarrow.fs import PyFileSystem

from polku_schemas.column_types import Clash, widening

from ..errors import CommitUncertain, LakeError, TableMismatch
from .statistics import STATISTICS_COLUMNS
from .store import UNSETTLED_COMMITS, Store
from .types import arrow_places, columns_of, field_of, places, schema_of

log = structlog.get_logger("polku.lake")

# Whoever removes files (replay, compaction, …) takes turns by this transaction.
MAINTENANCE = "polku-maintenance"

# Names in a commit what it did, for whoever reads the log.
_WORK = "polku"

# Checkpoints and log clean-up run on our own timer: the default hooks list the whole log at every commit.
HOOKS_OFF = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)

LOG_VERSIONS = 500
"""So many versions back the log of a local table reaches at least. deltalake lists it several times a flush, 10 µs for
each entry (measured): two days of it at a commit a second would be two seconds of every flush."""

_REMEMBERED = "delta.deletedFileRetentionDuration"
_REMEMBERED_SINCE = "polku.removedFilesRememberedSince"

_CONFIGURATION = {
    "delta.logRetentionDuration": "interval 2 days",
    # How long checkpoints remember a removed file: each costs 10 µs at every checkpoint. Maintenance sets it.
    _REMEMBERED: "interval 27 hours",
    "delta.dataSkippingStatsColumns": ",".join(STATISTICS_COLUMNS),
    "delta.checkpointInterval": "20",
}

# Every failed attempt is somebody else's success: as many nodes as this may add columns at once.
_WIDEN_ATTEMPTS = 30

QUARANTINE_COLUMNS: dict[str, str] = {
    "received_at": "timestamp",
    "received_date": "date",
    "stream": "string",
    "sequence": "long",
    **dict.fromkeys(
        (
            *("source", "event_id", "event_type", "event_name", "code", "path", "message"),
            *("original", "original_base64", "context", "library", "library_version"),
        ),
        "string",
    ),
    "sent_at": "timestamp",
}


@dataclasses.dataclass
class NewFile(AddAction):
    """The log entry of a file that stands in the table's folder, and where it holds values (`types.places`)."""

    places: Sequence[str] = dataclasses.field(kw_only=True)


class LiveFile(Struct, frozen=True):
    """A file that the table consists of, as the log tells it. `least`, `most`: bounds of the columns that have them."""

    path: str
    partition: str
    size_bytes: int
    rows: int
    least: dict[str, Any] = {}  # Any: texts and times
    most: dict[str, Any] = {}


class Work(Struct, frozen=True):
    """A commit that looked after the table, as its log tells it."""

    what: str
    at_ms: int
    version: int


class Table:
    """One Delta table. Not thread-safe."""

    def __init__(
        self, store: Store, name: str, partition_by: str, columns: dict[str, str] | None, *, mend: bool = True
    ) -> None:
        """Open the table, or create it; it has `columns` then, whatever an older version made it with.

        None: open it to look at only, and change nothing. Raises TableNotFoundError then when there is none,
        TableMismatch where types clash, and what deltalake raises when the store is away. `mend` the end of the log
        after a power cut, as the committer does when it starts; who comes while it runs should not.
        """
        self.name, self.partition_by, self._store = name, partition_by, store
        self._uri, self._options = store.uri(name), store.storage_options()
        self._watermarks_of: tuple[DeltaTable, int] | None = None
        self._watermarks: dict[str, int] = {}
        if columns is None:
            self.handle = self._open()
        else:
            if mend:
                store.mend_log(name)
            self.handle = self._open_or_create(columns)
        self.columns = columns_of(self.handle.schema())
        # A killed committer may have left its last commit unsettled; the journal is trimmed by what we read here.
        # Others may not have settled theirs either, and nothing is proven before what it stands on.
        self._settled = max(-1, self.handle.version() - UNSETTLED_COMMITS)
        if columns is not None:
            self.settle()
            self.add_columns(columns)

    def _open_or_create(self, columns: dict[str, str]) -> DeltaTable:
        try:
            return self._open()
        except TableNotFoundError:
            try:
                handle = DeltaTable.create(
                    self._uri,
                    schema_of(columns),
                    mode="ignore",
                    partition_by=[self.partition_by],
                    name=self.name,
                    configuration=_CONFIGURATION,
                    storage_options=self._options,
                    # Tried again, deltalake would give a table that is there by now another id, in version 1.
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
            except CommitFailedError:  # another node was first, or the answer to our own success was lost
                return self._open()
            log.info("table created", table=self.name, columns=len(columns))
            return handle

    @property
    def id(self) -> str:
        """The table's own id: a journal is bound to it."""
        return str(self.handle.metadata().id)

    @property
    def version(self) -> int:
        """The newest version this handle has seen."""
        return self.handle.version()

    def reopen(self) -> None:
        """A fresh handle: the only way to be sure what the table holds."""
        self.handle = self._open()
        self.columns = columns_of(self.handle.schema())

    def refresh(self) -> None:
        """Take in what others committed."""
        self.handle.update_incremental()

    def refresh_columns(self) -> None:
        """See the columns that others added, after a `refresh`."""
        self.columns = columns_of(self.handle.schema())

    def watermark(self, stream: str) -> int:
        """The last sequence of a stream that this handle has seen committed."""
        # deltalake reads every commit since the last checkpoint for an answer, twice; a snapshot never changes.
        seen, version = self._watermarks_of, self.handle.version()
        if seen is None or seen[0] is not self.handle or seen[1] != version:
            self._watermarks_of, self._watermarks = (self.handle, version), {}
        if stream not in self._watermarks:
            self._watermarks[stream] = self.handle.transaction_version(stream) or 0
        return self._watermarks[stream]

    def add_columns(self, wanted: dict[str, str]) -> list[str]:
        """Make sure the table has `wanted`; returns the names of what was changed. Raises TableMismatch, with nothing
        changed, where types clash."""
        needed = widening(self.columns, wanted)
        if needed.clashes:
            raise TableMismatch(f"{self.name}: " + "; ".join(map(str, needed.clashes)))
        clashes = self.widen(wanted)
        if clashes:  # with what another node added meanwhile
            raise TableMismatch(f"{self.name}: " + "; ".join(map(str, clashes)))
        return [*needed.added, *needed.widened]

    def widen(self, wanted: dict[str, str]) -> list[Clash]:
        """Add what the table lacks of `wanted`, also as members of structs; returns what it can never hold.

        Another node may add the same columns at once: the loser looks again.
        """
        for attempt in range(_WIDEN_ATTEMPTS):
            needed = widening(self.columns, wanted)
            missing = needed.added | needed.widened
            if not missing:
                return needed.clashes
            # A field of a name the table has is merged into it: its structs get the members they lack.
            fields = [field_of(name, kind) for name, kind in missing.items()]
            try:
                self.handle.alter.add_columns(fields, post_commithook_properties=HOOKS_OFF)
            except (CommitFailedError, DeltaError) as error:
                log.info("columns not added yet, looking again", table=self.name, reason=str(error))
                time.sleep(random.uniform(0, min(1.0, 0.02 * 2**attempt)))  # noqa: S311  (jitter)
                self.reopen()
                continue
            self.settle()
            self.columns = columns_of(self.handle.schema())
            log.info("columns added", table=self.name, columns=sorted(missing))
            return needed.clashes
        raise LakeError(f"{self.name}: columns could not be added: {sorted(missing)}")

    def commit(self, files: Sequence[NewFile], watermarks: dict[str, int]) -> None:
        """One atomic commit of files with the new watermark of each stream, from the present handle.

        Raises TableMismatch, as `replace` does, when a file has columns that the table lacks: no reader would see them.
        """
        self._write([], files, watermarks)

    def replace(
        self,
        paths: Collection[str],
        files: Sequence[NewFile],
        watermarks: dict[str, int],
        *,
        data_change: bool = True,
        what: str | None = None,
    ) -> None:
        """One atomic commit that puts files in the place of others, from the handle on which those were seen live.

        For rows that leave the table or move; who does that comes one after the other, by the transaction
        `polku-maintenance`, and does not touch what others append meanwhile. The files themselves stay for readers
        until a vacuum. No `data_change`: the rows stay the same. `what` names the work in the log.
        """
        now, partition = int(time.time() * 1000), f"partition.{self.partition_by}"
        gone = [
            RemoveAction(add["path"], data_change, now, add["size_bytes"], {self.partition_by: str(add[partition])})
            for add in pa.table(self.handle.get_add_actions(flatten=True)).to_pylist()
            if add["path"] in paths
        ]
        if len(gone) != len(paths):
            raise CommitUncertain(f"{self.name}: {len(paths) - len(gone)} of the files to replace are live no more")
        self._write(gone, files, watermarks | {MAINTENANCE: self.watermark(MAINTENANCE) + 1}, what)

    def files(self) -> set[str]:
        """The paths of the files the table consists of, as this handle sees it."""
        paths: Any = pa.table(self.handle.get_add_actions())["path"]
        return set(paths.to_pylist())

    def live_files(self) -> list[LiveFile]:
        """The files the table consists of, as this handle sees it."""
        adds = pa.table(self.handle.get_add_actions(flatten=True)).to_pylist()
        return [
            LiveFile(
                path=add["path"],
                partition=str(add[f"partition.{self.partition_by}"]),
                size_bytes=add["size_bytes"],
                rows=add["num_records"] or 0,
                least=_bounds(add, "min."),
                most=_bounds(add, "max."),
            )
            for add in adds
        ]

    def removed_before(self, hours: int) -> list[str]:
        """The paths of files that were removed so long ago, as far as the log remembers them. Nothing is deleted."""
        return list(
            self.handle.vacuum(retention_hours=hours, dry_run=True, enforce_retention_duration=False, full=False)
        )

    def remember_removed(self, hours: int, now: float) -> float:
        """Let checkpoints remember removed files for so long. Returns since when they do, in seconds since 1970; 0 for
        always."""
        present = self.handle.metadata().configuration
        wanted = f"interval {hours} hours"
        if present.get(_REMEMBERED) != wanted:
            properties = {_REMEMBERED: wanted, _REMEMBERED_SINCE: f"{now:.0f}"}
            self.handle.alter.set_table_properties(
                properties, raise_if_not_exists=False, post_commithook_properties=HOOKS_OFF
            )
            self.settle()
            return now
        return float(present.get(_REMEMBERED_SINCE) or 0)

    def work(self, limit: int) -> list[Work]:
        """What looked after the table in its newest commits, newest first."""
        return [
            Work(entry[_WORK], entry["timestamp"], entry["version"])
            for entry in self.handle.history(limit)
            if entry.get(_WORK)
        ]

    def dataset(self, paths: Collection[str]) -> Any:  # pyarrow's classes have no types
        """The rows of some files, with all columns of the table; the day stands in the files too.

        Not by way of the whole table's dataset, which takes 0.5 ms for every file of the table: with a thousand of them
        a committer that flushes every 100 ms would always be faster than whoever looks before he commits.
        """
        import pyarrow.compute as pc  # here: they load pandas where it is installed, and every start would wait for it
        import pyarrow.dataset as ds

        arrow: Any = self.handle.schema().to_arrow()
        adds: Any = pa.table(self.handle.get_add_actions(flatten=True))
        adds = adds.filter(pc.is_in(adds["path"], pa.array([*paths], pa.string())))
        sizes = dict(zip(adds["path"].to_pylist(), adds["size_bytes"].to_pylist(), strict=True))
        files, filesystem = ds.ParquetFileFormat(), PyFileSystem(DeltaStorageHandler(self._uri, self._options, sizes))
        fragments = [files.make_fragment(name, filesystem=filesystem) for name in sizes]
        return ds.FileSystemDataset(fragments, pa.schema(arrow), files, filesystem)

    def places_in(self, path: str, size_bytes: int) -> list[str]:
        """Where a file in the table's folder holds values, by its footer."""
        handler: Any = PyFileSystem(DeltaStorageHandler(self._uri, self._options, {path: size_bytes}))
        return [*arrow_places(pq.read_schema(path, filesystem=handler))]

    def _write(
        self,
        gone: Sequence[RemoveAction],
        files: Sequence[NewFile],
        watermarks: dict[str, int],
        what: str | None = None,
    ) -> None:
        self.check_places({file.path: file.places for file in files})
        now = int(time.time() * 1000)
        self.handle.create_write_transaction(
            [*gone, *files],
            "append",
            self.handle.schema(),
            partition_by=[self.partition_by],
            commit_properties=CommitProperties(
                app_transactions=[Transaction(stream, last, now) for stream, last in sorted(watermarks.items())],
                max_commit_retries=3,
                custom_metadata={_WORK: what} if what else None,
            ),
            post_commithook_properties=HOOKS_OFF,
        )

    def check_places(self, held_by: Mapping[str, Collection[str]]) -> None:
        """Raises TableMismatch when a file, by its path, holds values where the table has no columns.

        They would be lost to every reader, and nobody would be told.
        """
        held = {place for held in held_by.values() for place in held}
        if held <= {*places(self.columns.items())}:
            return
        self.refresh_columns()  # the handle may have seen what others added since
        lacking = held - {*places(self.columns.items())}
        if lacking:
            paths = [path for path, held in held_by.items() if not lacking.isdisjoint(held)]
            raise TableMismatch(
                f"{self.name}: the table lacks columns that {len(paths)} new files have "
                f"({', '.join(sorted(lacking))}), and no reader would see them: "
                f"nothing was committed. The first is {paths[0]}"
            )

    def settle(self) -> None:
        """Make every commit this handle has not yet settled durable, its own and others'. The watermark is then proven.

        A commit does not move its own handle's version: the handle is refreshed first.
        """
        self.refresh()
        if self._settled < self.handle.version():
            self._store.sync_log(self.name, self.handle.version(), self._settled + 1)
        self._settled = self.handle.version()

    def checkpoint(self) -> None:
        """Fold the log into a checkpoint, drop expired log entries, and start from a fresh handle."""
        self.fold_log()
        self.reopen()

    def fold_log(self) -> None:
        """Fold the log into a checkpoint, drop what is old of it. Any thread may: this handle is left alone."""
        handle = self._open()
        handle.create_checkpoint()
        self._store.sync_log(self.name, handle.version())  # before the entries it replaces are removed
        handle.cleanup_metadata()
        self._store.trim_log(self.name, handle.version() - LOG_VERSIONS)

    def _open(self) -> DeltaTable:
        return DeltaTable(self._uri, storage_options=self._options)


def _bounds(add: dict[str, Any], prefix: str) -> dict[str, Any]:
    found = ((name, add.get(prefix + name)) for name in STATISTICS_COLUMNS)
    return {name: bound for name, bound in found if bound is not None}
