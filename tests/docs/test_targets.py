"""No test gets lost between the targets of make, and none is run twice: CI runs each by exactly one of them."""

import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.docs.blocks import ROOT


class Run(NamedTuple):
    """One call of pytest: the paths it is given, none for all of `tests`, and those it leaves out."""

    target: str
    paths: list[str]
    left_out: list[str]

    def has(self, file: str) -> bool:
        given = any(_is_in(file, path) for path in self.paths) if self.paths else not _stays_away(file)
        return given and not any(_is_in(file, path) for path in self.left_out)


def test_each_file_of_tests_is_run_by_exactly_one_target_of_ci() -> None:
    targets = re.findall(r"^make ([\w-]+)", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    runs = [run for target in targets for run in _runs(target)]
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")]
    found = {file: [run.target for run in runs if run.has(file)] for file in files if "node_modules" not in file}
    assert found["tests/docs/test_targets.py"] == ["test"]
    assert {file: by for file, by in found.items() if len(by) != 1} == {}


def test_every_path_that_a_target_names_is_there() -> None:
    """A file that was renamed would be run by `make test`, or by nobody."""
    targets = re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = {path for target in targets for run in _runs(target) for path in [*run.paths, *run.left_out]}
    assert len(named) > 20
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


def _runs(target: str) -> Iterator[Run]:
    """What a target would call pytest with. Variables that this run of make was given are none of its."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    command = ["make", "--dry-run", "--no-print-directory", target, "ARGS="]
    told = subprocess.run(command, cwd=ROOT, env=ours, capture_output=True, text=True, check=True).stdout
    for line in told.splitlines():
        words = shlex.split(line)
        place = next((number for number, word in enumerate(words) if word.endswith("/bin/pytest")), None)
        if place is not None:
            arguments = words[place + 1 :]
            ignored = [word.removeprefix("--ignore=") for word in arguments if word.startswith("--ignore=")]
            yield Run(target, [word for word in arguments if word.startswith("tests")], ignored)


def _stays_away(file: str) -> bool:
    """Whether a plain `pytest` leaves it out by itself: by a folder's name, or by a conftest that wants to be named."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    folders = [parent for parent in (ROOT / file).parents if parent.is_relative_to(ROOT / "tests")]
    return any(folder.name in settings["norecursedirs"] or _wants_to_be_named(folder) for folder in folders)


def _wants_to_be_named(folder: Path) -> bool:
    conftest = folder / "conftest.py"
    return conftest.exists() and "def pytest_ignore_collect" in conftest.read_text(encoding="utf-8")


def _is_in(file: str, path: str) -> bool:
    return file == path or file.startswith(f"{path}/")
