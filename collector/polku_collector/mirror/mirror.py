"""Keeps an Iceberg table equal to a Delta table, snapshot by snapshot, each version of the Delta table once.

How far it is stands in the summary of the newest snapshot, so files and watermark are one thing: they are committed
together and rolled back together, and a snapshot that somebody else put on top has none: then all files are compared.
A snapshot is committed only onto the one from which the watermark was read. So nothing that fails needs to be known:
whoever comes next reads where the table stands, and goes on from there.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable

import structlog
from msgspec import Struct
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import Transaction

from ..errors import CommitUncertain, TableMismatch
from .catalog import find_table, open_table, reached
from .changes import Changes, Version, difference, next_changes
from .delta_log import DeltaLog
from .expire import expire
from .files import data_file
from .schema import schema_of

log = structlog.get_logger("polku.mirror")

# In the summary of a snapshot: the version of the Delta table that it shows, when that was committed (milliseconds
# since 1970), and where the Delta table is.
VERSION = "polku.delta-version"
TIMESTAMP = "polku.delta-timestamp"
LOCATION = "polku.delta-location"

# Further behind than this, comparing all files costs less than reading the commits.
MOST_VERSIONS = 1000

# Every lost race is another mirror's snapshot: so many in a row, and this one leaves it to the others.
_CONFLICTS = 8


class Lag(Struct, frozen=True):
    """How far a mirror is behind its table."""

    table: str
    delta_version: int
    mirrored_version: int | None
    """None: nothing is mirrored yet."""
    versions: int
    """Commits that touched files and are not mirrored."""
    seconds: float
    """How old the oldest of those is; 0 if there is none."""


class Mirror:
    """The mirror of one table. Not thread-safe."""

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        identifier: tuple[str, str],
        delta: DeltaLog,
        *,
        location: str,
        keep_seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`catalog`: asked for whenever it is needed, since it may be away. `location`: where a new Iceberg table keeps
        its metadata. `keep_seconds`: how long snapshots are kept."""
        self._catalog, self._identifier, self._delta = catalog, identifier, delta
        self._location, self._keep_seconds, self._now = location, keep_seconds, now
        self._root = delta.uri if "://" in delta.uri else f"file://{delta.uri}"
        self._name = ".".join(identifier)
        self._seen: IcebergTable | None = None

    def catch_up(self, stop: Callable[[], bool] = lambda: False, taken: Callable[[], None] = lambda: None) -> None:
        """Mirror all that is committed. `stop` is asked between snapshots, `taken` is told of each.

        Raises TableMismatch for what a person must look at, and transient errors for everything else.
        """
        conflicts = 0
        while not stop():
            try:
                if not reached(self._name, self._step):
                    break
            except CommitUncertain:
                conflicts += 1
                if conflicts == _CONFLICTS:
                    raise
                time.sleep(random.uniform(0, 0.05 * 2**conflicts))  # noqa: S311  (jitter)
            else:
                conflicts = 0
                taken()

    def lag(self, *, look: bool = True) -> Lag:
        """How far it is behind. Without `look` the catalog is not asked: as of when the mirror was last seen.

        Makes nothing, also no table. Raises what is raised when the store or the catalog is away.
        """
        if look:
            self._seen = reached(self._name, lambda: find_table(self._catalog(), self._identifier))
        return lag(self._delta, self._seen, self._root, self._now)

    def _step(self) -> bool:
        """Mirror the next versions, in one snapshot; False if there was nothing to do."""
        # First the mirror, then the table: what is read later is newer, so the table is never behind its mirror.
        table = self._seen = open_table(self._catalog(), self._identifier, self._delta, self._location)
        watermark = _watermark(table, self._root)
        self._delta.refresh()
        if watermark is not None and watermark > self._delta.version:
            raise TableMismatch(
                f"the Iceberg table {self._name} mirrors version {watermark} of a Delta table that has "
                f"{self._delta.version}: it was restored. Drop the Iceberg table, without purging its files"
            )
        changes = _changes(self._delta, table, watermark, self._root)
        transaction = table.transaction()
        widened = _widen(transaction, table, self._delta.columns)
        if changes is None and not widened:
            return False
        if changes is not None:
            _snapshot(transaction, table, changes, self._root)
        try:
            transaction.commit_transaction()
        except CommitFailedException as error:
            raise CommitUncertain(f"{self._name}: another mirror was faster") from error
        log.info(
            "mirrored",
            table=self._name,
            version=changes.version if changes else watermark,
            added=len(changes.added) if changes else 0,
            removed=len(changes.removed) if changes else 0,
            columns=widened,
        )
        expire(table, self._now() - self._keep_seconds)
        return True


def lag(delta: DeltaLog, table: IcebergTable | None, root: str, now: Callable[[], float]) -> Lag:
    """How far an Iceberg table is behind a Delta table."""
    watermark = None if table is None else _watermark(table, root)
    delta.refresh()
    missing: list[Version] | None = None
    if watermark is not None and delta.version - watermark <= MOST_VERSIONS:
        with contextlib.suppress(FileNotFoundError):
            missing = [version for version in delta.versions(watermark) if version.added or version.removed]
    if missing is not None:
        versions, since = len(missing), missing[0].timestamp if missing else None
    elif table is not None and watermark is not None:
        versions, since = delta.version - watermark, _timestamp(table)
    else:
        versions, since = delta.version + 1, delta.created
    seconds = max(0.0, now() - since / 1000) if versions and since is not None else 0.0
    return Lag(delta.name, delta.version, watermark, versions, seconds)


def _watermark(table: IcebergTable, root: str) -> int | None:
    """The version the newest snapshot shows. None: compare all files, since it is not ours or of another place."""
    snapshot = table.current_snapshot()
    summary = snapshot.summary if snapshot is not None else None
    if summary is None or summary.get(VERSION) is None or summary.get(LOCATION) != root:
        return None
    return int(str(summary[VERSION]))


def _timestamp(table: IcebergTable) -> int | None:
    snapshot = table.current_snapshot()
    found = snapshot.summary.get(TIMESTAMP) if snapshot is not None and snapshot.summary is not None else None
    return None if found is None else int(str(found))


def _changes(delta: DeltaLog, table: IcebergTable, watermark: int | None, root: str) -> Changes | None:
    """What the next snapshot does; None if the mirror shows all files that are live."""
    if watermark is not None and delta.version - watermark <= MOST_VERSIONS:
        try:
            return next_changes(delta.versions(watermark))
        except FileNotFoundError:
            log.info("the Delta log does not reach back, comparing all files", table=delta.name, after=watermark)
    paths = {file.file_path.removeprefix(f"{root}/") for file in _files(table)}
    try:
        timestamp = delta.commit(delta.version).timestamp
    except FileNotFoundError:
        timestamp = 0
    found = difference(delta.version, timestamp, delta.live(), paths)
    # A first snapshot is made also when there is no file: from then on there is a watermark.
    return None if found.nothing and watermark is not None else found


def _files(table: IcebergTable) -> list[DataFile]:
    """The files of the newest snapshot."""
    snapshot = table.current_snapshot()
    if snapshot is None:
        return []
    manifests = snapshot.manifests(table.io)
    return [entry.data_file for manifest in manifests for entry in manifest.fetch_manifest_entry(table.io)]


def _widen(transaction: Transaction, table: IcebergTable, columns: dict[str, str]) -> list[str]:
    """Give the Iceberg table the columns and the members of structs that it lacks; returns their names."""
    wanted = schema_of(columns)
    missing = sorted(set(wanted.column_names) - set(table.schema().column_names))
    if missing:
        with transaction.update_schema() as update:
            update.union_by_name(wanted)
    return missing


def _snapshot(transaction: Transaction, table: IcebergTable, changes: Changes, root: str) -> None:
    metadata = transaction.table_metadata
    schema, spec = metadata.schema(), metadata.spec()
    gone: list[DataFile] = []
    if changes.removed:
        paths = {f"{root}/{path}" if "://" not in path else path for path in changes.removed}
        gone = [file for file in _files(table) if file.file_path in paths]
        if len(gone) != len(paths):
            raise TableMismatch(
                f"{root}: {len(paths) - len(gone)} files were removed that the mirror lacks. "
                "Drop the Iceberg table, without purging its files"
            )
    update = transaction.update_snapshot(
        {VERSION: str(changes.version), TIMESTAMP: str(changes.timestamp), LOCATION: root}
    )
    with update.overwrite() if gone else update.merge_append() as snapshot:
        for file in gone:
            snapshot.delete_data_file(file)
        for added in changes.added:
            snapshot.append_data_file(data_file(added, root, schema, spec))
