"""A disk that can lose its power: the twin of `polku_collector.files.Files` that knows what was fsynced.

It works on a real directory, so that everything else (readers, DuckDB, deltalake) can use it, and remembers beside it
which bytes of which file and which entries of which directory were made durable. From the operation `cut_at` on nothing
works any more. `survivors` then builds what the disk would hold: all that was fsynced, and of the rest whatever the
chosen `luck` lets through — nothing, everything, or any part.
"""

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from polku_collector.files import Buffer, Files


class PowerIsOff(OSError):
    """The operation did not happen."""


class CuttableDisk(Files):
    def __init__(self, root: Path, cut_at: int | None = None) -> None:
        self.root, self.cut_at = root, cut_at
        self.operations: list[str] = []
        self._bytes: dict[Path, bytes] = {}
        self._entries: dict[Path, set[str]] = {root: {path.name for path in root.iterdir()}}
        for path in root.rglob("*"):
            if path.is_dir():
                self._entries[path] = {entry.name for entry in path.iterdir()}
            else:
                self._bytes[path] = path.read_bytes()

    @property
    def is_off(self) -> bool:
        return self.cut_at is not None and len(self.operations) >= self.cut_at

    def _do(self, operation: str, path: Path) -> None:
        if self.is_off:
            raise PowerIsOff(5, "the power is off")
        self.operations.append(f"{operation} {path.name}")

    def create(self, path: Path) -> int:
        self._do("create", path)
        return super().create(path)

    def write(self, descriptor: int, parts: Sequence[Buffer]) -> None:
        path = _path_of(descriptor)
        for part in parts:  # each part may be the last that reaches the disk
            self._do("write", path)
            super().write(descriptor, [part])

    def sync(self, descriptor: int) -> None:
        path = _path_of(descriptor)
        self._do("sync", path)
        self._bytes[path] = path.read_bytes()

    def sync_file(self, path: Path) -> None:
        self._do("sync_file", path)
        self._bytes[path] = path.read_bytes()

    def sync_directory(self, path: Path) -> None:
        self._do("sync_directory", path)
        self._entries[path] = {entry.name for entry in path.iterdir()}

    def rename(self, old: Path, new: Path) -> None:
        self._do("rename", new)
        super().rename(old, new)
        if old in self._bytes:
            self._bytes[new] = self._bytes.pop(old)
        else:
            self._bytes.pop(new, None)

    def link(self, old: Path, new: Path) -> None:
        self._do("link", new)
        super().link(old, new)
        if old in self._bytes:
            self._bytes[new] = self._bytes[old]

    def remove(self, path: Path) -> None:
        self._do("remove", path)
        super().remove(path)

    def survivors(self, target: Path, luck: str) -> None:
        """Write to `target` what is there when the power comes back. `luck`: none, all, empty, or a seed."""
        self._survive(self.root, target, _Luck(luck))

    def _survive(self, source: Path, target: Path, luck: "_Luck") -> None:
        target.mkdir()
        durable = self._entries.get(source, set())
        present = {entry.name for entry in source.iterdir()}
        for name in sorted(durable | present):
            path = source / name
            if name not in present:
                if path in self._bytes and luck.resurrects():  # its removal was not made durable
                    (target / name).write_bytes(self._bytes[path])
                continue
            if name not in durable and not luck.keeps_entry():
                continue
            if path.is_dir():
                self._survive(path, target / name, luck)
            else:
                (target / name).write_bytes(luck.bytes_of(self._bytes.get(path, b""), path.read_bytes()))


class WithoutOneSync(CuttableDisk):
    """One whose sync of a number, counted from 0, does nothing; None: all of them work."""

    def __init__(self, root: Path, cut_at: int | None = None, left_out: int | None = None) -> None:
        super().__init__(root, cut_at)
        self._left_out = left_out
        self.syncs: list[str] = []
        """Each of them, that which is left out among them."""
        self.places: list[tuple[Path, int]] = []
        """What each of them is of, and how many operations came before it."""
        self.left_out_at = 0
        """After how many operations that was: only a cut behind it can show it."""

    def _is_left_out(self, kind: str, path: Path) -> bool:
        self.syncs.append(f"{kind} {path.name}")
        self.places.append((path, len(self.operations)))
        if len(self.syncs) - 1 != self._left_out:
            return False
        self.left_out_at = len(self.operations)
        return True

    def sync(self, descriptor: int) -> None:
        if not self._is_left_out("sync", _path_of(descriptor)):
            super().sync(descriptor)

    def sync_file(self, path: Path) -> None:
        if not self._is_left_out("sync_file", path):
            super().sync_file(path)

    def sync_directory(self, path: Path) -> None:
        if not self._is_left_out("sync_directory", path):
            super().sync_directory(path)


class _Luck:
    def __init__(self, luck: str) -> None:
        self._luck, self._random = luck, random.Random(luck)

    def keeps_entry(self) -> bool:
        return self._luck in ("all", "empty") or (self._luck != "none" and self._random.random() < 0.5)

    def resurrects(self) -> bool:
        return self._luck == "none" or (self._luck not in ("all", "empty") and self._random.random() < 0.5)

    def bytes_of(self, durable: bytes, present: bytes) -> bytes:
        """The durable bytes and some prefix of what was appended since; a rewritten file is old or new."""
        if self._luck in ("none", "empty") or durable == present:
            return durable
        if self._luck == "all":
            return present
        if not present.startswith(durable):
            return self._random.choice([durable, present])
        return present[: self._random.randint(len(durable), len(present))]


def _path_of(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def fresh(path: Path) -> Path:
    """An empty folder, whatever was there."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path
