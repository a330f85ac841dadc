"""Where the lake's files live, behind one small seam: what every store keeps, and what is where below it.

A store makes data files durable, says how deltalake reaches the same place, and proves (`probe`) that two
writers cannot overwrite each other's commits there. Tables, names and commits are others' business.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

PROBE_PREFIX = "_polku_probe"
# What a probe that was killed has left is taken for that when it is so old; a probe takes seconds.
LEFT_PROBE_SECONDS = 3600.0

# How many commits at the end of a log may not be durable yet: each writer has one, until he has settled it.
UNSETTLED_COMMITS = 32


class StoredFile(Struct, frozen=True):
    """A file below a table: its path there, as the log would name it."""

    path: str
    size_bytes: int
    modified: float


class Unfinished(Struct, frozen=True):
    """An upload in parts that was begun: the object's name in the bucket, and the upload's."""

    object: str
    upload: str
    begun: float


class Store(Protocol):
    """A place for the lake's files. Keys are relative, with `/` between their parts."""

    commits_are_durable: bool
    """A commit that deltalake reports is durable: `sync_log` has nothing to add."""

    def put(self, local_path: Path, key: str) -> None:
        """Move a finished file into the store; durable on return. Putting it again is harmless."""

    def exists(self, key: str) -> bool:
        """Whether there is a file of this key."""

    def create(self, key: str, data: bytes) -> bool:
        """Store a small file that nobody else can have stored; durable on return. False: the key is taken."""

    def read(self, key: str) -> bytes | None:
        """A small file; None if it is not there. Raises FileUnreadable when it alone cannot be had."""

    def names(self, folder: str) -> list[str]:
        """The keys below a folder, in order."""

    def local(self, key: str, folder: Path) -> Path:
        """A path on this machine with the file's bytes, in `folder` if it has to be brought here. Not to be changed."""

    def stored(self, table: str) -> list[StoredFile]:
        """The data files that stand below a table, its own or left over; the log and what others put there are none."""

    def remove(self, keys: Sequence[str]) -> None:
        """Delete files; durable on return. One that is not there is no error."""

    def sweep(self, before: float, *, dry_run: bool = False) -> list[str]:
        """Delete what killed writers have left beside the tables' files, older than `before`; returns the keys.

        That is probes of the store, and what was to become a note or a part of a log and was never given its name.
        """

    def unfinished(self, table: str) -> list[Unfinished]:
        """Uploads below a table that were begun and not finished: no file shows them, and their parts take space."""

    def abandon(self, uploads: Sequence[Unfinished]) -> None:
        """End them, so that their parts are deleted."""

    def now(self) -> float:
        """The time by the clock that dates the store's files, in seconds since 1970."""

    def uri(self, table: str) -> str:
        """What deltalake opens a table by."""

    def storage_options(self) -> dict[str, str]:
        """What deltalake needs to reach the store."""

    def sync_log(self, table: str, version: int, first: int | None = None) -> None:
        """Make commits that deltalake wrote durable, up to a version from `first` on (or this one alone).

        The older ones go first, a checkpoint of that version last.
        """

    def trim_log(self, table: str, version: int) -> None:
        """Remove the entries of a table's log that nobody needs who reads `version` or a later one.

        Where it takes longer to list the log the longer it is. The checkpoint that begins it has to be durable.
        """

    def mend_log(self, table: str) -> list[str]:
        """Move aside what a power cut left half-written at the end of a table's log; returns the names.

        Nothing in it was acknowledged to the journal, which still holds the events.
        """

    def probe(self) -> None:
        """Prove that one key can be created by one writer only; and clear away what a probe that was killed has left.

        Raises StoreUntrusted when it is disproved, StoreUnreachable (try again) when there was no answer.
        """


def is_data(name: str) -> bool:
    """A data file, or what a crash left of one that was being copied into place (`LocalStore._copy`)."""
    if name.startswith((".", "_")):
        return name.startswith(".") and name.endswith(".parquet.partial")
    return name.endswith(".parquet")


def checked(key: str) -> str:
    """Keys come from our own code; one that climbs out of the store is a bug, not an input."""
    if key.startswith("/") or ".." in key.split("/"):
        raise ValueError(f"not a key inside the store: {key!r}")
    return key
