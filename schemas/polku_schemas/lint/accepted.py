"""`accept` in plan.yaml: warnings that somebody has looked at and decided to live with, each with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

from polku_schemas.errors import Finding
from polku_schemas.finding_codes import WARNINGS, FindingCode
from polku_schemas.members import Members

_ACCEPTABLE = sorted(WARNINGS - {FindingCode.STALE_ACCEPT})


class Accepted(Struct, frozen=True):
    """One entry: warnings of this code about nothing but these names."""

    code: str
    names: frozenset[str]


def read_accepted(head: Members) -> tuple[Accepted, ...]:
    """The entries of `accept`, in their order; what is wrong with them is a finding."""
    entries = []
    for index, value in enumerate(head.items("accept")):
        entry = Members(head.document, ("accept", index), head.findings, {} if value is None else value)
        code = entry.one_of("code", _ACCEPTABLE)
        names = frozenset(entry.texts("names", required=True))
        entry.text("reason")
        entry.leftover()
        entries.append(Accepted(code, names))
    return tuple(entries)


def unaccepted(findings: Iterable[Finding], accepted: Iterable[Accepted], head: Members) -> Iterator[Finding]:
    """The findings that no entry accepts, and one for each entry that accepts nothing."""
    entries = list(accepted)
    used = [not entry.code for entry in entries]
    sound = True
    for finding in findings:
        fitting = [
            index
            for index, entry in enumerate(entries)
            if finding.code == entry.code and entry.names.issuperset(finding.names)
        ]
        for index in fitting:
            used[index] = True
        sound = sound and finding.severity == "warning"
        if not fitting:
            yield finding
    # An error hides warnings that would come after it.
    for index, is_used in enumerate(used):
        if sound and not is_used:
            message = "no warning is accepted by this any more"
            yield head.document.finding(FindingCode.STALE_ACCEPT, ("accept", index), message, "Remove it")
