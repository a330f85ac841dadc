"""The collector's half of the points on disk. Python loads it at start where this folder is on PYTHONPATH.

Every durable operation of the collector goes through `polku_collector.files.Files`. Here its methods look into a folder
before and after they act: a file `arm-…` there says which process at which operation is to be killed, or which error
the disk shall give. The product knows nothing of it.
"""

import contextlib
import errno
import importlib.abc
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def _install(folder: str) -> None:
    from polku_collector.files import Buffer, Files

    passed: dict[str, int] = {}

    def at(operation: str, path: str, moment: str) -> None:
        for name in _armed(folder):
            try:
                point = json.loads(Path(folder, name).read_text())
            except (OSError, ValueError):  # disarmed meanwhile, or not wholly written
                continue
            if (point["operation"], point["moment"]) != (operation, moment) or not _is(point["role"]):
                continue
            if re.search(point["pattern"], path) is None:
                continue
            passed[name] = passed.get(name, 0) + 1
            if passed[name] <= point["skip"]:
                continue
            if point["error"]:
                with contextlib.suppress(OSError):
                    Path(folder, name.replace("arm-", "hit-")).touch()
                raise OSError(getattr(errno, point["error"]), os.strerror(getattr(errno, point["error"])))
            try:
                Path(folder, name).rename(Path(folder, name.replace("arm-", "fired-")))
            except FileNotFoundError:  # another process was here first
                continue
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(operation: str, path_of: Any) -> None:
        real = getattr(Files, operation)

        def wrapped(self: Files, *arguments: Any) -> Any:
            path = path_of(arguments)
            at(operation, path, "before")
            result = real(self, *arguments)
            at(operation, path, "after")
            return result

        setattr(Files, operation, wrapped)

    for operation in ("create", "sync_file", "sync_directory", "remove"):
        wrap(operation, lambda arguments: str(arguments[0]))
    wrap("rename", lambda arguments: str(arguments[1]))
    wrap("sync", lambda arguments: _path_of(arguments[0]))

    write = Files.write

    def half_first(self: Files, descriptor: int, parts: Sequence[Buffer]) -> None:
        path = _path_of(descriptor)
        at("write", path, "before")
        if any('"middle"' in _read(folder, name) for name in _armed(folder)):
            data = b"".join(parts)
            write(self, descriptor, [data[: len(data) // 2]])
            at("write", path, "middle")
            write(self, descriptor, [data[len(data) // 2 :]])
        else:
            write(self, descriptor, parts)
        at("write", path, "after")

    Files.write = half_first  # type: ignore[method-assign]


def _armed(folder: str) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith("arm-")]  # noqa: PTH208  (at every operation)


def _read(folder: str, name: str) -> str:
    try:
        return Path(folder, name).read_text()
    except OSError:
        return ""


def _is(role: str) -> bool:
    """Whether this process is of a role; empty: any. The kernel keeps 15 characters of a name."""
    return not role or Path("/proc/self/comm").read_text().strip() == f"polku-{role}"[:15]


def _path_of(descriptor: int) -> str:
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115


class _NoPandas(importlib.abc.MetaPathFinder):
    """pyarrow loads it wherever it is. It is here for the sake of another reader, and would slow every start."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("a collector has no pandas", name=name)


if _folder := os.environ.get("POLKU_CHAOS_POINTS"):
    sys.meta_path.insert(0, _NoPandas())
    _install(_folder)
