"""A stream's directory: its names, its owner's lock, and the two numbers its writer and reader tell each other.

    <journal>/streams/<uuid>/
        owner                 locked (flock) by the intake worker for its whole life
        durable               the last sequence that is fsynced, written by the owner, read by the committer
        committed             the last sequence that is in the lake, written by the committer, read by the owner
        00000001.journal …    segments

A stream is one worker's life: a worker never appends to a directory it did not create. A copied or restored journal
can therefore be drained twice (the table's transaction per stream refuses the second time) but never written to twice.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import uuid
from pathlib import Path
from typing import IO

from ..errors import JournalBroken, SettingsError
from ..files import Files

_NUMBER = struct.Struct("<Q")


class SharedNumber:
    """One 64-bit number in a file, mapped into memory: aligned, so that a reader sees the old or the new value."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            if os.fstat(descriptor).st_size < _NUMBER.size:
                os.ftruncate(descriptor, _NUMBER.size)
            self._map = mmap.mmap(descriptor, _NUMBER.size)
        finally:
            os.close(descriptor)

    @property
    def value(self) -> int:
        """As any process wrote it last."""
        return int(_NUMBER.unpack_from(self._map)[0])

    @value.setter
    def value(self, number: int) -> None:
        _NUMBER.pack_into(self._map, 0, number)

    def close(self) -> None:
        """Let go of the file; what was written stays."""
        self._map.close()


def streams_directory(journal: Path) -> Path:
    """Where the streams of a journal are, each in a directory of its name."""
    return journal / "streams"


def create_stream(journal: Path, files: Files) -> tuple[Path, int]:
    """A fresh stream directory, its entry durable, and the owner's lock on it.

    It is locked before it has its name: a committer never sees a new stream without an owner.
    """
    name = uuid.uuid4().hex
    unnamed, directory = streams_directory(journal) / f".new-{name}", streams_directory(journal) / name
    files.make_directory(unnamed)
    lock = try_lock(unnamed)
    if lock is None:
        raise JournalBroken(f"{unnamed} is locked by another process")
    files.rename(unnamed, directory)
    files.sync_directory(directory.parent)
    return directory, lock


def stream_directories(journal: Path) -> list[Path]:
    """The streams that exist."""
    root = streams_directory(journal)
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def segment_path(directory: Path, number: int) -> Path:
    """The file of a segment, whose names sort like their numbers."""
    return directory / f"{number:08d}.journal"


def segment_numbers(directory: Path) -> list[int]:
    """The segments that exist, in order."""
    return sorted(int(path.stem) for path in directory.glob("*.journal"))


def try_lock(directory: Path) -> int | None:
    """Take the owner's lock; None while another process holds it. The lock ends with the descriptor."""
    descriptor = os.open(directory / "owner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def lock_journal(journal: Path) -> IO[bytes]:
    """A journal has one collector: two would share its index of ids and remove each other's streams.

    Held until it is closed. Raises SettingsError while somebody else holds it.
    """
    lock = (journal / "lock").open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise SettingsError(
            f"the journal {journal} is in use by another collector: "
            "stop that one, or give this one a --journal of its own"
        ) from None
    return lock


def journal_bytes(journal: Path) -> int:
    """The bytes all streams hold at present."""
    total = 0
    for path in streams_directory(journal).glob("*/*.journal"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # trimmed meanwhile
            continue
    return total
