"""Annotations: lines in the log of a GitHub workflow that GitHub shows at a line of a changed file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

Level = Literal["error", "warning", "notice"]


def annotation(level: Level, title: str, message: str, file: Path | None = None, line: int | None = None) -> str:
    """One workflow command."""
    properties = {"file": None if file is None else _from_here(file), "line": line, "title": title}
    listed = ",".join(f"{key}={_escaped(str(value), ':,')}" for key, value in properties.items() if value)
    return f"::{level} {listed}::{_escaped(message)}"


def _from_here(file: Path) -> str:
    """The path from the working directory, where a workflow runs, with / on every system."""
    try:
        return Path(os.path.relpath(file)).as_posix()
    except ValueError:  # another drive of Windows
        return file.as_posix()


def _escaped(text: str, marks: str = "") -> str:
    """Text as it may stand in a workflow command; `marks` are those that would end it. % is the first."""
    for mark in ("%", "\r", "\n", *marks):
        text = text.replace(mark, f"%{ord(mark):02X}")
    return text
