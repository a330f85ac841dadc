"""Reads a plan folder into a `Plan`, or says everything that is wrong with it at once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, cast, get_args

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from polku_schemas.dictionary import read_dictionary
from polku_schemas.documents import ENDINGS, read_document
from polku_schemas.errors import Finding, PlanError
from polku_schemas.events import EventReader
from polku_schemas.finding_codes import FindingCode
from polku_schemas.foreign_words import nearest
from polku_schemas.journey_files import FILES as JOURNEY_FILES
from polku_schemas.journey_files import JourneyReader
from polku_schemas.lint.accepted import Accepted, read_accepted, unaccepted
from polku_schemas.lint.names import alias_findings, similar_findings, type_findings
from polku_schemas.lint.places import Places
from polku_schemas.lint.reachability import rule_findings, unreached_findings, unused_findings
from polku_schemas.lint.stored import not_stored_findings
from polku_schemas.members import Members
from polku_schemas.model import ForbiddingPrivacy, Plan, Privacy, Treatment
from polku_schemas.reference_files import read_reference_tables

__all__ = ["Plan", "PlanReport", "builtin_plan_path", "load_plan", "read_plan"]

_FINGERPRINT_CHARACTERS: Final = 16
_TOP_FILES: Final = ("plan", "properties", "traits")


class PlanReport(Struct, frozen=True):
    """A plan and what was found in it."""

    plan: Plan | None
    """None if there is an error: such a plan is used by nobody."""
    findings: tuple[Finding, ...]
    """Errors and the warnings that the plan does not accept, in the order of files and lines."""


def builtin_plan_path() -> Path:
    """The folder of the e-commerce plan that comes with Polku: in the repository, or inside the installed
    package."""
    package = Path(__file__).resolve().parent
    installed = package / "builtin_plan"
    return installed if installed.is_dir() else package.parent / "plan"


def load_plan(path: Path | str) -> Plan:
    """Read and check the plan in a folder. PlanError lists all errors, in the order of files and lines."""
    report = read_plan(path)
    if report.plan is None:
        raise PlanError(str(path), [finding for finding in report.findings if finding.severity == "error"])
    return report.plan


def read_plan(path: Path | str) -> PlanReport:
    """Read and check the plan in a folder, and say what is wrong with it and what is doubtful."""
    folder = Path(path)
    findings: list[Finding] = []
    if not folder.is_dir():
        findings.append(
            Finding(
                file=".",
                code=FindingCode.MISSING_FILE,
                message="there is no such folder",
                remedy="Give the folder that holds plan.yaml",
            )
        )
        return PlanReport(None, tuple(findings))
    plan = _read(folder, findings)
    found = tuple(sorted(findings, key=_order))
    if any(finding.severity == "error" for finding in found):
        return PlanReport(None, found)
    return PlanReport(replace(plan, fingerprint=fingerprint(plan)), found)


def fingerprint(plan: Plan) -> str:
    """16 hexadecimal characters that are the same for plans of the same content, however their files are
    written."""
    content = msgspec.json.encode(replace(plan, fingerprint=""), order="sorted")
    return hashlib.sha256(content).hexdigest()[:_FINGERPRINT_CHARACTERS]


def _read(folder: Path, findings: list[Finding]) -> Plan:
    findings += _stray_files(folder)
    head = Plan(name="", version="", description="", stages=(), channels=(), properties={}, traits={}, events={})
    accepted: tuple[Accepted, ...] = ()
    document = read_document(folder, "plan", findings, may_be_empty=False)
    if document is not None:
        members = Members(document, (), findings)
        head = _read_head(members, head)
        accepted = read_accepted(members)
        members.leftover()
    properties = read_dictionary(folder, "properties", findings, traits=False, reserved=head.reserved)
    traits = read_dictionary(folder, "traits", findings, traits=True, reserved=head.reserved)
    events = EventReader(folder, findings, head, properties)
    plan = replace(head, properties=properties.properties, traits=traits.properties, events=events.read())
    unclear_traits = traits.document is None or bool(traits.unclear)
    if document is not None and not unclear_traits:
        _check_join_by(Members(document, (), findings), plan)
    journey = JourneyReader(folder, findings, plan, events.unclear, unclear_traits=unclear_traits)
    plan = replace(journey.read(), reference=read_reference_tables(folder, findings))
    places = Places(document, properties.document, traits.document, events.documents, journey.documents)
    findings += _lint(plan, places)
    # What an event may use or reach that could not be read is not missed.
    findings += unreached_findings(plan, places) if plan.events and events.all_stages_known else ()
    findings += unused_findings(plan, places) if plan.events and not events.unclear else ()
    if document is not None:
        findings[:] = unaccepted(findings, accepted, Members(document, (), findings))
    return plan


def _read_head(members: Members, empty: Plan) -> Plan:
    return replace(
        empty,
        name=members.text("name"),
        version=members.version(),
        description=members.text("description"),
        stages=members.names("stages", required=True),
        channels=members.names("channels", required=True),
        reserved=members.names("reserved"),
        privacy=_read_privacy(members.mapping("privacy")),
        **_read_identity(members.mapping("identity")),
    )


def _read_identity(members: Members) -> dict[str, Any]:
    found = {"join_by": members.names("join_by"), "join_users": members.flag("join_users")}
    members.leftover()
    return found


def _check_join_by(members: Members, plan: Plan) -> None:
    """What joins ids has to be a trait with one plain value."""
    members = members.mapping("identity")
    for index, name in enumerate(plan.join_by):
        trait = plan.traits.get(name)
        if trait is None:
            close = nearest(name, plan.traits)
            remedy = f"Did you mean `{close}`?" if close else "Use the name of a trait in traits.yaml"
            message = f"there is no trait `{name}`"
            members.report(FindingCode.UNKNOWN_PROPERTY, ("join_by", index), message, remedy)
        elif trait.type not in ("string", "uuid", "integer"):
            message = f"`{name}` is of the type {trait.type}, which does not tell people apart"
            members.report(FindingCode.WRONG_TYPE, ("join_by", index), message, "Use a text or a whole number")


def _read_privacy(members: Members) -> dict[Privacy, Treatment]:
    found: dict[Privacy, Treatment] = {}
    for privacy_class in get_args(ForbiddingPrivacy):
        if privacy_class in members:
            treatment = members.one_of(privacy_class, get_args(Treatment))
            if treatment:
                found[privacy_class] = cast("Treatment", treatment)
    members.leftover()
    return found


def _lint(plan: Plan, places: Places) -> Iterable[Finding]:
    yield from type_findings(plan, places)
    yield from alias_findings(plan, places)
    yield from similar_findings(plan, places)
    yield from rule_findings(plan, places)
    yield from not_stored_findings(plan, places)


def _stray_files(folder: Path) -> Iterable[Finding]:
    """Files beside plan.yaml that look as if they were meant to be read."""
    known = {stem + ending for stem in _TOP_FILES for ending in ENDINGS}
    for path in sorted(folder.glob("*")):
        if path.name in known or path.suffix not in (*ENDINGS, ".yml") or path.name.startswith("."):
            continue
        remedy = (
            f"Move it to journey/{path.stem}{ENDINGS[0]}"
            if path.stem in JOURNEY_FILES
            else (f"Name it one of {', '.join(stem + ENDINGS[0] for stem in _TOP_FILES)}, or move it out of the plan")
        )
        yield Finding(
            file=path.name,
            code=FindingCode.STRAY_FILE,
            message="this file is not read",
            remedy=remedy,
            severity="warning",
            names=(path.name,),
        )


def _order(finding: Finding) -> tuple[bool, str, int]:
    """The head and the dictionaries first: what is wrong there is often the cause of the rest."""
    return "/" in finding.file, finding.file, finding.line or 0
