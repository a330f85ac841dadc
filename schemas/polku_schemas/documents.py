"""Finds and reads the files of a plan, each as YAML or as JSON, and knows the line of everything in them."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from polku_schemas.errors import Finding
from polku_schemas.finding_codes import WARNINGS, FindingCode
from polku_schemas.json_text import read_json
from polku_schemas.located import Located, MemberPath, TooLargeError, path_text
from polku_schemas.yaml_text import read_yaml

__all__ = ["Document", "MemberPath", "file_of", "read_document", "read_file"]

_READERS: Final[dict[str, Callable[[str, Located], Any]]] = {".yaml": read_yaml, ".json": read_json}

ENDINGS: Final = tuple(_READERS)
"""The two forms a file of the plan may have; the first is the one that messages propose."""


class Document:
    """One file: its value, and where every member of it stands."""

    def __init__(self, file: str, value: Any, located: Located | None = None) -> None:
        self.file = file
        self.value = value
        self._located = located or Located(file, [])

    def line(self, *path: str | int) -> int | None:
        """The line of the member at `path`, or of the nearest thing around it that is there."""
        while path and path not in self._located.lines:
            path = path[:-1]
        return self._located.lines.get(path)

    def written(self, path: MemberPath) -> str | None:
        """A number or boolean as it stands in the file; None for anything else."""
        return self._located.written.get(path)

    def finding(
        self, code: FindingCode, path: MemberPath, message: str, remedy: str, names: tuple[str, ...] = ()
    ) -> Finding:
        """A finding about the member at `path`. `names` is what it is about, for a warning that may be accepted."""
        return Finding(
            file=self.file,
            line=self.line(*path),
            path=path_text(path),
            code=code,
            # A finding is one line, whatever the value it repeats.
            message=message.replace("\n", "\\n"),
            remedy=remedy.replace("\n", "\\n"),
            severity="warning" if code in WARNINGS else "error",
            names=names,
        )


def file_of(folder: Path, stem: str, findings: list[Finding]) -> str | None:
    """The file that holds `stem`, such as `events/paid.yaml` or `events/paid.json`; None where there is none.

    Where there are both, the YAML file is taken and the other is a finding.
    """
    present = [stem + ending for ending in ENDINGS if (folder / (stem + ending)).exists()]
    for other in present[1:]:
        message = f"{present[0]} says the same thing"
        findings.append(_about(other, FindingCode.DUPLICATE_FILE, message, "Keep one of the two files"))
    return present[0] if present else None


def read_document(folder: Path, stem: str, findings: list[Finding], *, may_be_empty: bool = True) -> Document | None:
    """Read the file that holds `stem`. What cannot be read is added to `findings`, and None is returned."""
    file = file_of(folder, stem, findings)
    if file is None:
        findings.append(_missing(folder, stem))
        return None
    return read_file(folder, file, findings, may_be_empty=may_be_empty)


def read_file(folder: Path, file: str, findings: list[Finding], *, may_be_empty: bool = True) -> Document | None:
    """Read `folder/file`, as JSON if it is called so and else as YAML. What cannot be read is added to `findings`."""
    text = _read_text(folder / file, file, findings)
    if text is None:
        return None
    located = Located(file, findings)
    try:
        value = _READERS.get(Path(file).suffix, read_yaml)(text, located)
    except (SyntaxError, TooLargeError):
        return None
    if value is None and not may_be_empty:
        remedy = "Fill it; docs/plan-format.md has an example"
        findings.append(_about(file, FindingCode.EMPTY_FILE, "the file says nothing", remedy))
        return None
    return Document(file, {} if value is None else value, located)


def _read_text(path: Path, file: str, findings: list[Finding]) -> str | None:
    """The text without a byte order mark; line ends are the readers' matter."""
    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"the file cannot be read ({error.strerror or error})"
        findings.append(_about(file, FindingCode.UNREADABLE_FILE, message, "Make it a file that may be read"))
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            message, line = "the file is UTF-16", None
        else:
            message = f"the byte 0x{content[error.start]:02x} is not UTF-8"
            line = content.count(b"\n", 0, error.start) + 1
        findings.append(_about(file, FindingCode.UNREADABLE_FILE, message, "Save it as UTF-8", line))
        return None


def _missing(folder: Path, stem: str) -> Finding:
    wanted = stem + ENDINGS[0]
    if (folder / f"{stem}.yml").exists():
        return _about(wanted, FindingCode.MISSING_FILE, "the file is not there", f"Rename {stem}.yml to {wanted}")
    return _about(wanted, FindingCode.MISSING_FILE, "the file is not there", "Add it")


def _about(file: str, code: FindingCode, message: str, remedy: str, line: int | None = None) -> Finding:
    return Finding(file=file, line=line, code=code, message=message, remedy=remedy)
