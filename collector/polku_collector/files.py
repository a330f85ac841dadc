"""The seam to the disk for everything a promise rests on: writes, fsyncs, renames.

Durable code calls a `Files` instead of `os`, so that the power-cut harness can put its twin here: one that keeps
only what was fsynced. Reading needs no seam.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

Buffer = bytes | bytearray | memoryview


class Files:
    """The real disk."""

    def create(self, path: Path) -> int:
        """Open a new file for appending; it must not exist. Its directory entry is not durable yet."""
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def write(self, descriptor: int, parts: Sequence[Buffer]) -> None:
        """Append all parts, however many system calls it takes."""
        pending = [memoryview(part) for part in parts if len(part)]
        while pending:
            written = os.writev(descriptor, pending[:1000])
            while pending and written >= len(pending[0]):
                written -= len(pending.pop(0))
            if written:
                pending[0] = pending[0][written:]

    def sync(self, descriptor: int) -> None:
        """Make the file's bytes durable."""
        os.fdatasync(descriptor)

    def close(self, descriptor: int) -> None:
        """Let go of an open file."""
        os.close(descriptor)

    def sync_file(self, path: Path) -> None:
        """Make the bytes of a file that somebody else wrote durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_directory(self, path: Path) -> None:
        """Make the entries of a directory (new, renamed and removed files) durable."""
        self.sync_file(path)

    def make_directory(self, path: Path) -> None:
        """Create a directory and its parents, each entry durable."""
        missing = []
        while not path.is_dir():
            missing.append(path)
            path = path.parent
        for directory in reversed(missing):
            directory.mkdir(exist_ok=True)
            self.sync_directory(directory.parent)

    def rename(self, old: Path, new: Path) -> None:
        """Move a file into place; durable only after `sync_directory`."""
        old.replace(new)

    def link(self, old: Path, new: Path) -> None:
        """Give a file a second name, which must be free; durable only after `sync_directory`."""
        new.hardlink_to(old)

    def remove(self, path: Path) -> None:
        """Remove a file if it is there; durable only after `sync_directory`."""
        path.unlink(missing_ok=True)


DISK = Files()
