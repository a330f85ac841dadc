"""The lake in a local directory."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from polku_collector.errors import FileUnreadable, LakeError, StoreUnreachable
from polku_collector.files import DISK, Files
from polku_collector.lake.probe import probe_commits
from polku_collector.lake.store import (
    LEFT_PROBE_SECONDS,
    PROBE_PREFIX,
    UNSETTLED_COMMITS,
    StoredFile,
    Unfinished,
    checked,
    is_data,
)

_COPY_BYTES = 1024 * 1024

# Of a table's log: a commit or a checkpoint.
_ENTRY = re.compile(r"\d{20}\.(json|checkpoint\.parquet)")


class LocalStore:
    """A directory. Nothing counts as stored before it and the entries that lead to it are fsynced."""

    commits_are_durable = False

    def __init__(self, root: Path, files: Files = DISK) -> None:
        self.root = root.absolute()
        self._files = files
        try:
            files.make_directory(self.root)
        except OSError as error:
            raise LakeError(f"The lake directory {self.root} cannot be used: {error.strerror}.") from error
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise LakeError(f"The lake directory {self.root} cannot be used: no permission to write there.")

    def put(self, local_path: Path, key: str) -> None:
        target = self.root / checked(key)
        try:
            self._files.make_directory(target.parent)
            try:
                self._files.sync_file(local_path)
                self._files.rename(local_path, target)
            except FileNotFoundError:
                if not target.exists():
                    raise
                self._files.sync_file(target)  # put before, and the answer was lost
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy(local_path, target)
            self._files.sync_directory(target.parent)
        except OSError as error:
            raise StoreUnreachable(f"{target} could not be stored: {error.strerror}.") from error

    def exists(self, key: str) -> bool:
        return (self.root / checked(key)).exists()

    def create(self, key: str, data: bytes) -> bool:
        target = self.root / checked(key)
        partial = target.with_name(f".{uuid.uuid4().hex}.partial")
        try:
            self._files.make_directory(target.parent)
            descriptor = self._files.create(partial)
            try:
                self._files.write(descriptor, [data])
                self._files.sync(descriptor)
            finally:
                self._files.close(descriptor)
            try:
                self._files.link(partial, target)  # whole or not at all, and never in the place of another
            except FileExistsError:
                return False
            finally:
                self._files.remove(partial)
            self._files.sync_directory(target.parent)
        except OSError as error:
            raise StoreUnreachable(f"{target} could not be stored: {error.strerror}.") from error
        return True

    def read(self, key: str) -> bytes | None:
        path = self.root / checked(key)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FileUnreadable(f"{path} could not be read: {error.strerror}.") from error

    def names(self, folder: str) -> list[str]:
        paths = (self.root / checked(folder)).rglob("*")
        return sorted(
            str(path.relative_to(self.root)) for path in paths if not path.name.startswith(".") and path.is_file()
        )

    def local(self, key: str, folder: Path) -> Path:
        path = self.root / checked(key)
        if not path.exists():
            raise StoreUnreachable(f"{path} is not there.")
        return path

    def stored(self, table: str) -> list[StoredFile]:
        root = self.root / checked(table)
        found = []
        for folder, folders, names in os.walk(root):
            folders[:] = [name for name in folders if not name.startswith(("_", "."))]
            for name in names:
                path = Path(folder) / name
                if is_data(name):
                    with contextlib.suppress(FileNotFoundError):  # another vacuum was faster
                        status = path.stat()
                        relative = path.relative_to(root).as_posix()
                        found.append(StoredFile(relative, status.st_size, status.st_mtime))
        return found

    def remove(self, keys: Sequence[str]) -> None:
        paths = [self.root / checked(key) for key in keys]
        try:
            for path in paths:
                self._files.remove(path)
            for folder in {path.parent for path in paths}:
                if folder.exists():
                    self._files.sync_directory(folder)
        except OSError as error:
            raise StoreUnreachable(f"{error.filename} could not be deleted: {error.strerror}.") from error

    def sweep(self, before: float, *, dry_run: bool = False) -> list[str]:
        probes = [path for path in self.root.glob(f"{PROBE_PREFIX}-*") if _is_older(path, before)]
        halves = [
            path
            for pattern in ("_handover/*/.*.partial", "*/_delta_log/*")
            for path in self.root.glob(pattern)
            if _is_half(path.name) and _is_older(path, before)
        ]
        keys = sorted(str(path.relative_to(self.root)) for path in [*probes, *halves])
        if not dry_run:
            for path in probes:
                shutil.rmtree(path, ignore_errors=True)
            self.remove([str(path.relative_to(self.root)) for path in halves])
        return keys

    def unfinished(self, table: str) -> list[Unfinished]:
        return []

    def abandon(self, uploads: Sequence[Unfinished]) -> None: ...

    def now(self) -> float:
        return time.time()

    def uri(self, table: str) -> str:
        return str(self.root / checked(table))

    def storage_options(self) -> dict[str, str]:
        return {}

    def sync_log(self, table: str, version: int, first: int | None = None) -> None:
        log = self.root / checked(table) / "_delta_log"
        names = [f"{number:020d}.json" for number in range(version if first is None else first, version + 1)]
        # Each by its name: to look for them would take longer with each commit.
        names += ["_last_checkpoint", f"{version:020d}.checkpoint.parquet"]
        for name in names:
            if (log / name).exists():
                self._files.sync_file(log / name)
        # deltalake made these directories, so their entries are ours to settle too.
        for directory in (log, log.parent, self.root):
            self._files.sync_directory(directory)

    def trim_log(self, table: str, version: int) -> None:
        log = self.root / checked(table) / "_delta_log"
        entries = sorted((int(path.name[:20]), path) for path in log.iterdir() if _ENTRY.fullmatch(path.name))
        begins = max((number for number, path in entries if path.suffix == ".parquet" and number <= version), default=0)
        for number, path in entries:  # from the oldest on: what is left has no gap, wherever this is cut off
            if number < begins:
                self._files.remove(path)

    def mend_log(self, table: str) -> list[str]:
        log = self.root / checked(table) / "_delta_log"
        torn = [path for path in sorted(log.glob("*.checkpoint.parquet"))[-1:] if not _is_parquet(path)]
        whole = [path for path in sorted(log.glob("*.checkpoint.parquet"))[-2:] if path not in torn]
        reached = int(whole[-1].name.partition(".")[0]) if whole else None
        torn += _beyond_damage(log, reached)
        pointer = log / "_last_checkpoint"
        if pointer.exists() and (torn or not _points_to_a_file(pointer)):
            torn.append(pointer)  # only a hint: without it the log is listed
        for path in torn:
            self._files.rename(path, path.with_name(f".torn-{uuid.uuid4().hex[:8]}-{path.name}"))
        if torn:
            self._files.sync_directory(log)
        return [path.name for path in torn]

    def probe(self) -> None:
        scratch = f"{PROBE_PREFIX}-{uuid.uuid4()}"
        try:
            probe_commits(self.uri(scratch), self.storage_options(), where=str(self.root))
        finally:
            self._remove_probes(scratch)

    def _remove_probes(self, own: str) -> None:
        """Best effort: what a failed probe leaves is small, named, and in nobody's way."""
        for path in self.root.glob(f"{PROBE_PREFIX}-*"):
            with contextlib.suppress(OSError):  # somebody else was faster
                if path.name == own or path.stat().st_mtime < time.time() - LEFT_PROBE_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)

    def _copy(self, source: Path, target: Path) -> None:
        """The scratch folder is on another file system: copy beside the target, then rename."""
        partial = target.with_name(f".{target.name}.partial")
        self._files.remove(partial)
        descriptor = self._files.create(partial)
        try:
            with source.open("rb") as file:
                while chunk := file.read(_COPY_BYTES):
                    self._files.write(descriptor, [chunk])
            self._files.sync(descriptor)
        finally:
            self._files.close(descriptor)
        self._files.rename(partial, target)
        self._files.remove(source)


def _beyond_damage(log: Path, checkpoint: int | None) -> list[Path]:
    """The newest commits from the first on that is half-written or missing; what a checkpoint holds is not needed.

    Several writers may each have had a commit that was not durable yet. Nobody relied on one beyond a damaged one: who
    makes a commit durable does so with those before it.
    """
    newest = sorted(path for path in log.glob("*.json") if path.stem.isdigit())[-UNSETTLED_COMMITS - 1 :]
    previous = None
    for number, path in enumerate(newest):
        version = int(path.stem)
        if checkpoint is None or version > checkpoint:
            follows = previous is None or version == previous + 1
            if not follows or not _is_commit(path):
                return newest[number:]
        previous = version
    return []


def _is_commit(path: Path) -> bool:
    """Whether a commit file is whole: every line of it is JSON, and there is one."""
    lines = path.read_bytes().splitlines()
    return bool(lines) and all(_is_json(line) for line in lines)


def _points_to_a_file(pointer: Path) -> bool:
    """Whether `_last_checkpoint` is whole and the checkpoint it names is there."""
    try:
        version = json.loads(pointer.read_bytes())["version"]
    except (ValueError, KeyError, TypeError):
        return False
    return any(pointer.parent.glob(f"{version:020d}.checkpoint*"))


def _is_half(name: str) -> bool:
    """What was to become a note (`LocalStore.create`), or, by deltalake's writer, a file of a log."""
    stem, separator, number = name.rpartition("#")
    return name.endswith(".partial") or (bool(stem and separator) and number.isdecimal())


def _is_older(path: Path, before: float) -> bool:
    """Whether nobody has touched a file, or any in a folder, since."""
    try:
        return all(each.stat().st_mtime < before for each in [path, *path.rglob("*")])
    except FileNotFoundError:  # somebody is at it
        return False


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def _is_parquet(path: Path) -> bool:
    data = path.read_bytes()
    return len(data) > 12 and data[:4] == data[-4:] == b"PAR1"
