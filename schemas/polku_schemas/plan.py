"""Reads a plan folder into a `Plan`, or says everything that is wrong with it at once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from polku_schemas.dictionary import read_dictionary
from polku_schemas.documents import read_document
from polku_schemas.errors import Finding, PlanError
from polku_schemas.events import EventReader
from polku_schemas.journey_files import read_journey
from polku_schemas.members import NAME, Members
from polku_schemas.model import Plan

__all__ = ["Plan", "builtin_plan_path", "load_plan"]

_FINGERPRINT_CHARACTERS: Final = 16


def builtin_plan_path() -> Path:
    """The folder of the e-commerce plan that comes with Polku: in the repository, or inside the installed
    package."""
    package = Path(__file__).resolve().parent
    installed = package / "builtin_plan"
    return installed if installed.is_dir() else package.parent / "plan"


def load_plan(path: Path | str) -> Plan:
    """Read and check the plan in a folder. PlanError lists all findings, in the order of the files."""
    folder = Path(path)
    findings: list[Finding] = []
    if not folder.is_dir():
        missing = Finding(file=".", message="there is no such folder", remedy="Give the folder that holds plan.yaml")
        raise PlanError(str(path), [missing])
    plan = _read(folder, findings)
    if findings:
        raise PlanError(str(path), sorted(findings, key=lambda finding: (finding.file, finding.line or 0)))
    return replace(plan, fingerprint=fingerprint(plan))


def fingerprint(plan: Plan) -> str:
    """16 hexadecimal characters that are the same for plans of the same content, however their files are
    written."""
    content = msgspec.json.encode(replace(plan, fingerprint=""), order="sorted")
    return hashlib.sha256(content).hexdigest()[:_FINGERPRINT_CHARACTERS]


def _read(folder: Path, findings: list[Finding]) -> Plan:
    head = _read_head(folder, findings)
    properties = read_dictionary(folder, "properties.yaml", findings, traits=False)
    traits = read_dictionary(folder, "traits.yaml", findings, traits=True)
    events = EventReader(folder, findings, properties, head.stages, head.channels).read()
    plan = replace(head, properties=properties, traits=traits, events=events)
    return read_journey(folder, findings, plan)


def _read_head(folder: Path, findings: list[Finding]) -> Plan:
    document = read_document(folder, "plan.yaml", findings)
    empty = Plan(name="", version="", description="", stages=(), channels=(), properties={}, traits={}, events={})
    if document is None:
        return empty
    members = Members(document, (), findings)
    head = replace(
        empty,
        name=members.text("name"),
        version=members.text("version"),
        description=members.text("description"),
        stages=members.texts("stages", required=True),
        channels=members.texts("channels", required=True),
    )
    for key, words in (("stages", head.stages), ("channels", head.channels)):
        for index, word in enumerate(words):
            if NAME.fullmatch(word) is None:
                members.report((key, index), f"`{word}` cannot be a name", "Use lower-case letters, digits and _")
    members.leftover()
    return head
