"""Open, create and widen the Delta tables; hold one handle each, reopened before it grows slow.

Only this process writes the tables. A column is added in a commit of its own before any file holds it, and never
removed: a node with an older plan leaves the newer columns alone.
"""

from __future__ import annotations

import random
import time

import structlog
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from polku_schemas.column_types import Clash, widening

from ..errors import LakeError, TableMismatch
from .statistics import STATISTICS_COLUMNS
from .store import Store
from .types import columns_of, field_of, schema_of

log = structlog.get_logger("polku.lake")

# Checkpoints and log clean-up run on our own timer: the default hooks list the whole log at every commit.
HOOKS_OFF = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)

_CONFIGURATION = {
    "delta.logRetentionDuration": "interval 2 days",
    "delta.deletedFileRetentionDuration": "interval 7 days",
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
            *("original", "original_base64"),
        ),
        "string",
    ),
}


class Table:
    """One Delta table. Not thread-safe."""

    def __init__(
        self, store: Store, name: str, partition_by: str, columns: dict[str, str], *, mend: bool = True
    ) -> None:
        """Open the table, or create it with `columns`. Raises what deltalake raises when the store is away.

        `mend` the end of the log after a power cut, as the committer does when it starts; nobody else should.
        """
        self.name, self.partition_by, self._store = name, partition_by, store
        self._uri, self._options = store.uri(name), store.storage_options()
        if mend:
            store.mend_log(name)
        try:
            self.handle = self._open()
        except TableNotFoundError:
            self.handle = DeltaTable.create(
                self._uri,
                schema_of(columns),
                mode="ignore",
                partition_by=[partition_by],
                name=name,
                configuration=_CONFIGURATION,
                storage_options=self._options,
            )
            log.info("table created", table=name, columns=len(columns))
        self.columns = columns_of(self.handle.schema())
        # A killed committer may have left its last commit unsettled; the journal is trimmed by what we read here.
        self._settled = self.handle.version() - 1
        self.settle()

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

    def watermark(self, stream: str) -> int:
        """The last sequence of a stream that this handle has seen committed."""
        return self.handle.transaction_version(stream) or 0

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

    def commit(self, files: list[AddAction], watermarks: dict[str, int]) -> None:
        """One atomic commit of files with the new watermark of each stream, from the present handle."""
        now = int(time.time() * 1000)
        self.handle.create_write_transaction(
            list[AddAction | RemoveAction](files),
            "append",
            self.handle.schema(),
            partition_by=[self.partition_by],
            commit_properties=CommitProperties(
                app_transactions=[Transaction(stream, last, now) for stream, last in sorted(watermarks.items())],
                max_commit_retries=3,
            ),
            post_commithook_properties=HOOKS_OFF,
        )

    def settle(self) -> None:
        """Make every commit this handle has not yet settled durable, its own and others'. The watermark is then proven.

        A commit does not move its own handle's version: the handle is refreshed first.
        """
        self.refresh()
        for version in range(self._settled + 1, self.handle.version() + 1):
            self._store.sync_log(self.name, version)
        self._settled = self.handle.version()

    def checkpoint(self) -> None:
        """Fold the log into a checkpoint, drop expired log entries, and start from a fresh handle."""
        self.reopen()
        self.handle.create_checkpoint()
        self._store.sync_log(self.name, self.handle.version())  # before the entries it replaces are removed
        self.handle.cleanup_metadata()
        self.reopen()

    def _open(self) -> DeltaTable:
        return DeltaTable(self._uri, storage_options=self._options)
