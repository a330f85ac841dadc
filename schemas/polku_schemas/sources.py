"""Where a plan comes from: a folder, or the folder as it was at a git revision.

Of git only commands are used that look things up; nothing that is in the repository runs, and no file of it is
changed. What a revision holds is written to a temporary folder and read there.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import tempfile
from pathlib import Path, PurePosixPath
from typing import Final

from polku_schemas.documents import ENDINGS
from polku_schemas.errors import PlanError, SourceError
from polku_schemas.model import Plan
from polku_schemas.plan import load_plan

_REGULAR_FILES: Final = ("100644", "100755")
_HEADS: Final = tuple(f"plan{ending}" for ending in ENDINGS)
"""The file that makes a folder a plan."""

_READ_FOLDERS: Final = ("events", "journey")
_READ_ENDINGS: Final = (*ENDINGS, ".yml")
"""What may belong to a plan. A repository can hold its plan at its top, beside everything else."""

_HOOK_VARIABLES: Final = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")
"""What git tells its hooks, relative to a folder that need not be ours: we find the repository by the folder."""


def open_plan(source: str, folder: str | Path | None = None) -> Plan:
    """Read the plan in a folder (`my-plan`), or at a revision of one (`main:my-plan`, `main`).

    As in `git show`, the path after the colon begins at the top of the repository, or with `./` where you are. A
    revision alone means `folder`, if that is given; else the folder you are in, if it is a plan; else the only plan of
    that revision. A folder goes before a revision of the same name. SourceError says what there is not; PlanError has
    the findings of a plan that cannot be used.
    """
    if source and Path(source).is_dir():
        return load_plan(source)
    found = _Revision(source, None if folder is None else Path(folder))
    tree, label = found.tree()
    with tempfile.TemporaryDirectory(prefix="polku-plan-") as place:
        _write(found.repository, tree, Path(place), label)
        try:
            return load_plan(place)
        except PlanError as error:
            raise PlanError(label, error.findings) from None


# A colon inside braces belongs to the revision: main@{2026-01-31 12:00}.
_REVISION: Final = re.compile(r"((?:[^:{]|\{[^}]*\}?)*)(:?)(.*)", re.DOTALL)


class _Revision:
    """A revision, perhaps with a path, in the repository it means."""

    def __init__(self, source: str, folder: Path | None) -> None:
        self.source = source
        match = _REVISION.fullmatch(source)
        assert match is not None  # noqa: S101 - it takes every text
        self.revision, self.colon, self.path = match.groups()
        self.folder = folder
        self.repository = self._repository()

    def tree(self) -> tuple[str, str]:
        """The id of the plan's folder at the revision, and what to call it."""
        commit = self._resolved(f"{self.revision}^{{commit}}") if self.revision else None
        if commit is None:
            raise SourceError(
                f"there is no folder `{self.source}`, and `{self.revision or self.source}` is no revision of the "
                f"repository of {self.repository}. Give the folder that holds plan.yaml, or a branch, tag or commit "
                "that is here (a shallow clone has only the newest: git fetch)"
            )
        path = self.path if self.colon else self._path(commit)
        tree = self._resolved(f"{commit}:{path}")
        if tree is None or not any(self._resolved(f"{tree}:{head}") for head in _HEADS):
            raise SourceError(f"`{self.revision}:{path}` is no plan: it has no plan.yaml. {self._instead(commit)}")
        return tree, f"{self.revision}:{path}"

    def _repository(self) -> Path:
        """The repository of where we are; for a revision alone, first that of the folder it is about."""
        here = Path.cwd()
        beside = [self.folder] if self.folder is not None and self.folder.is_dir() else []
        for place in [here, *beside] if self.colon else [*beside, here]:
            done = _run(place, ("rev-parse", "--git-dir"))
            if done.returncode == 0:
                return place
        # git knows more reasons than one, such as a repository that belongs to another user.
        said = done.stderr.decode(errors="replace").strip()
        raise SourceError(f"there is no folder `{self.source}`, and git cannot tell what revision it could be: {said}")

    def _resolved(self, name: str) -> str | None:
        # Whatever was typed stays one operand: it cannot become an option of git.
        done = _run(self.repository, ("rev-parse", "--verify", "--quiet", "--end-of-options", name))
        return done.stdout.decode().strip() if done.returncode == 0 else None

    def _path(self, commit: str) -> str:
        """The path, inside the repository, that a revision alone is about."""
        if self.folder is not None and self.folder == self.repository:
            return self._prefix()
        if self.folder is not None and not self.folder.exists():  # gone, or moved, since the revision
            return posixpath.normpath(posixpath.join(self._prefix(), self.folder.as_posix()))
        if self.folder is None and any((self.repository / head).exists() for head in _HEADS):
            return self._prefix()
        plans = self._plans(commit)
        if len(plans) == 1:
            return plans[0]
        raise SourceError(f"`{self.source}` does not say which folder of it holds the plan. {self._instead(commit)}")

    def _prefix(self) -> str:
        """Where in the repository we are; empty at its top."""
        return os.fsdecode(_git(self.repository, "rev-parse", "--show-prefix")).rstrip("\n").rstrip("/")

    def _plans(self, commit: str) -> list[str]:
        names = [os.fsdecode(name) for name in _git(self.repository, *_LIST, "--name-only", commit).split(b"\0")]
        folders = [posixpath.dirname(name) for name in names if posixpath.basename(name) in _HEADS]
        return [
            folder for folder in folders if any(name.startswith(posixpath.join(folder, "events/")) for name in names)
        ]

    def _instead(self, commit: str) -> str:
        plans = self._plans(commit)
        if not plans:
            return f"No folder of `{self.revision}` holds a plan.yaml and a folder events"
        return "Write " + " or ".join(f"{self.revision}:{plan}" for plan in plans[:5])


_LIST: Final = ("ls-tree", "-r", "-z", "--full-tree")


def _write(repository: Path, tree: str, place: Path, label: str) -> None:
    """Write the files of a plan's tree to a folder, without the conversions and filters of a checkout."""
    wanted: dict[str, str] = {}
    for entry in _git(repository, *_LIST, tree).split(b"\0")[:-1]:
        head, _, raw_name = entry.partition(b"\t")
        mode, _, blob = head.decode().split(" ")
        name = os.fsdecode(raw_name)
        if not _belongs(name):
            continue
        if mode not in _REGULAR_FILES or ".." in PurePosixPath(name).parts:
            raise SourceError(f"`{label}/{name}` is no regular file, so it cannot be read from a revision")
        wanted[name] = blob
    contents = _blobs(repository, list(wanted.values()))
    for name, content in zip(wanted, contents, strict=True):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _belongs(name: str) -> bool:
    first, *rest = PurePosixPath(name).parts
    return first in _READ_FOLDERS if rest else first.endswith(_READ_ENDINGS)


def _blobs(repository: Path, ids: list[str]) -> list[bytes]:
    """The contents of blobs, from one process."""
    output = _git(repository, "cat-file", "--batch", stdin="".join(f"{blob}\n" for blob in ids).encode())
    contents, position = [], 0
    for blob in ids:
        end = output.index(b"\n", position)
        head = output[position:end].split(b" ")
        if len(head) != 3:  # `<id> missing`
            raise SourceError(f"the repository of {repository} lacks the object {blob}: git fsck says what is wrong")
        start, size = end + 1, int(head[2])
        contents.append(output[start : start + size])
        position = start + size + 1
    return contents


def _git(repository: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    done = _run(repository, arguments, stdin)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise SourceError(f"git {arguments[0]} in {repository} failed: {said or f'exit code {done.returncode}'}")
    return done.stdout


def _run(repository: Path, arguments: tuple[str, ...], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("git")
    if program is None:
        raise SourceError("a revision is read with git, which is not installed")
    environ = {name: value for name, value in os.environ.items() if name not in _HOOK_VARIABLES}
    environ |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    command = [program, "-C", str(repository), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, env=environ, check=False)  # noqa: S603 - no shell
