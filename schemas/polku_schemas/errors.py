"""The exceptions of the tracking plan: one base, and one class per thing a caller can do something about."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Severity = Literal["error", "warning"]
"""A plan with an error is not loaded by any part of Polku; a warning is somebody's to look at."""


class Finding(Struct, frozen=True, kw_only=True):
    """One thing wrong in a plan: where it stands, what it is, and what to do about it."""

    file: str
    """Path inside the plan folder, with `/` on every system."""
    message: str
    remedy: str
    line: int | None = None
    """1-based; None when the finding is about the whole file or about a file that is not there."""
    path: str = ""
    """The place inside the file: `properties.price.min_length`, `examples[0].price`."""
    code: str = "plan"
    """Stable and machine-readable, such as `unknown_key`; the list is in docs/plan-format.md."""
    severity: Severity = "error"
    names: tuple[str, ...] = ()
    """What a warning is about: the names that an entry of `accept` gives to accept it."""

    @property
    def sentence(self) -> str:
        """What is wrong at which place of the file, and what to do."""
        place = f"{self.path}: " if self.path else ""
        end = "" if self.remedy.endswith("?") else "."
        return f"{place}{self.message}. {self.remedy}{end}"

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.sentence}"


class SchemasError(Exception):
    """Base of every exception this package raises on purpose; a command that meets one ends with exit code
    2."""

    exit_code = 2


class PlanError(SchemasError):
    """A plan cannot be used. `findings` holds everything that is wrong with it, not only the first thing."""

    def __init__(self, folder: str, findings: list[Finding]) -> None:
        self.folder = folder
        self.findings = findings
        count = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
        lines = "".join(f"\n  {finding}" for finding in findings)
        super().__init__(f"the tracking plan in {folder} cannot be used: {count}{lines}")


class SourceError(SchemasError):
    """What a command was given as a plan or as a table is none, or cannot be reached."""
