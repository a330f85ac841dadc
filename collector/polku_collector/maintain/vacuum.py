"""Deleting files that are no part of a table any more. Planning is pure; deleting is the store's.

A file that left the table stays for readers that began before, until the retention is over. A file that never became
part of it, because somebody was killed between putting and committing it, is told by its age: whoever commits files
that he put longer ago than half an hour looks first whether they are there (`lake/fenced.py`).
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

from ..lake.handover import notes_in
from ..lake.store import Store, StoredFile
from ..lake.table import Table

# Checkpoints remember removed files for so much longer than they have to stay: the hourly vacuum then finds them.
REMEMBERED_HOURS = 3


class Leftovers(Struct, frozen=True):
    """Files to delete, by their paths below the table. `size_bytes`: None where nobody looked."""

    removed: list[str]
    orphans: list[str]
    size_bytes: int | None = None

    @property
    def paths(self) -> list[str]:
        return [*self.removed, *self.orphans]


def known_leftovers(table: Table, hours: int, already: Collection[str] = ()) -> Leftovers:
    """What the log tells alone: files removed longer ago than the retention."""
    live = table.files()
    return Leftovers([path for path in table.removed_before(hours) if path not in live and path not in already], [])


def all_leftovers(store: Store, table: Table, hours: int, *, orphans: bool) -> Leftovers:
    """The same of files that really are there, with their size; and `orphans`, which no log tells of."""
    now = store.now()
    # Whoever commits what was handed over may be away for long.
    notes = notes_in(store).values() if orphans else ()
    handed_over = {file.key for note in notes for file in (*note.events, *note.quarantine)}
    stored = store.stored(table.name)  # before the table is opened: what is committed from here on is seen as live
    table.reopen()
    old = {*table.removed_before(hours)}
    return sorted_out(
        stored, table.files() | handed_over, old, {*table.removed_before(0)} - old, now - hours * 3600, orphans=orphans
    )


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
    return len(leftovers.paths)
