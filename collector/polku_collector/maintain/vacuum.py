"""Deleting files that are no part of a table any more. Planning is pure; deleting is the store's.

A file that left the table stays for readers that began before, until the retention is over. A file that never became
part of it, because somebody was killed between putting and committing it, is told by its age: whoever commits files
that he put longer ago than half an hour looks first whether they are there (`lake/fenced.py`). An upload that was never
finished is told by its age too: it is no file yet, but its parts are kept, and paid for.
"""

from __future__ import annotations

from collections.abc import Collection

import structlog
from msgspec import Struct, field
from msgspec.structs import replace

from ..errors import StoreUnreachable
from ..lake.handover import Notes, read_notes
from ..lake.store import Store, StoredFile, Unfinished
from ..lake.table import Table

log = structlog.get_logger("polku.maintenance")

# Checkpoints remember removed files for so much longer than they have to stay: the hourly vacuum then finds them.
REMEMBERED_HOURS = 3


class Leftovers(Struct, frozen=True):
    """Files to delete, by their paths below the table. `size_bytes`: None where nobody looked."""

    removed: list[str]
    orphans: list[str]
    size_bytes: int | None = None
    uploads: list[Unfinished] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        """All of them."""
        return [*self.removed, *self.orphans]


def known_leftovers(table: Table, hours: int, already: Collection[str] = ()) -> Leftovers:
    """What the log tells alone: files removed longer ago than the retention."""
    live = table.files()
    return Leftovers([path for path in table.removed_before(hours) if path not in live and path not in already], [])


def all_leftovers(store: Store, table: Table, hours: int, *, orphans: bool) -> Leftovers:
    """The same of files that really are there, with their size; and `orphans`, which no log tells of."""
    before = store.now() - hours * 3600
    # Whoever commits what was handed over may be away for long.
    notes = read_notes(store) if orphans else Notes({}, {})
    if notes.bad:
        log.error("files that no log tells of stay: notes that may name them cannot be read", notes=notes.bad)
    handed_over = {file.key for note in notes.good.values() for file in (*note.events, *note.quarantine)}
    stored = store.stored(table.name)  # before the table is opened: what is committed from here on is seen as live
    table.reopen()
    old = {*table.removed_before(hours)}
    found = sorted_out(
        stored,
        table.files() | handed_over,
        old,
        {*table.removed_before(0)} - old,
        before,
        orphans=orphans and not notes.bad,
    )
    return replace(found, uploads=_given_up(store, table, before)) if orphans else found


def _given_up(store: Store, table: Table, before: float) -> list[Unfinished]:
    try:
        return [upload for upload in store.unfinished(table.name) if upload.begun < before]
    except StoreUnreachable as error:  # not every store tells of them, and not everybody is told
        log.warning("nobody looked for unfinished uploads", table=table.name, reason=str(error))
        return []


def sorted_out(
    stored: Collection[StoredFile],
    live: Collection[str],
    removed: Collection[str],
    removed_lately: Collection[str],
    before: float,
    *,
    orphans: bool,
) -> Leftovers:
    """Which of the files that are there can go. Pure."""
    gone = [file for file in stored if file.path in removed and file.path not in live]
    others = [
        file
        for file in stored
        if orphans
        and file.modified < before
        and file.path not in live
        and file.path not in removed
        and file.path not in removed_lately
    ]
    return Leftovers(
        [file.path for file in gone], [file.path for file in others], sum(file.size_bytes for file in [*gone, *others])
    )


def delete(store: Store, table: Table, leftovers: Leftovers) -> int:
    """Delete them, after what removed them from the table is durable; returns how many."""
    if leftovers.paths:
        table.settle()
        store.remove([f"{table.name}/{path}" for path in leftovers.paths])
    if leftovers.uploads:
        store.abandon(leftovers.uploads)
        log.info("unfinished uploads ended", table=table.name, uploads=len(leftovers.uploads))
    return len(leftovers.paths)
