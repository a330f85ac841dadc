"""Lets old snapshots of a mirror go, and the metadata files that only they named; never a data file."""

from __future__ import annotations

import structlog
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

log = structlog.get_logger("polku.mirror")

# Each time reads the lists of all snapshots that are kept, and is a commit: so it is done for many at once.
AT_LEAST = 20
_SHARE_OF_KEPT = 4


def expire(table: IcebergTable, before: float) -> int:
    """Expire the snapshots that are older than `before` (seconds since 1970), once there are enough; returns how many.

    The newest snapshot, and what a branch or a tag holds, stay. What fails is done another time.
    """
    heads = {reference.snapshot_id for reference in table.metadata.refs.values()}
    snapshots = table.snapshots()
    old = [each for each in snapshots if each.timestamp_ms < before * 1000 and each.snapshot_id not in heads]
    kept = [each for each in snapshots if each not in old]
    if len(old) < max(AT_LEAST, len(kept) // _SHARE_OF_KEPT):
        return 0
    try:
        candidates = _metadata_of(table, old)
        table.maintenance.expire_snapshots().by_ids([each.snapshot_id for each in old]).commit()
        for path in candidates - _metadata_of(table, table.snapshots()):
            table.io.delete(path)
    except Exception as error:
        log.warning("snapshots not expired", table=".".join(table.name()), reason=str(error))
        return 0
    log.info("snapshots expired", table=".".join(table.name()), snapshots=len(old), kept=len(kept))
    return len(old)


def _metadata_of(table: IcebergTable, snapshots: list[Snapshot]) -> set[str]:
    """The manifest lists and manifests of snapshots."""
    lists = {each.manifest_list for each in snapshots}
    return lists | {manifest.manifest_path for each in snapshots for manifest in each.manifests(table.io)}
