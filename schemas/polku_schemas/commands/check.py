"""`polku plan check`: everything that is wrong with a plan, at once."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from polku_schemas.amounts import counted
from polku_schemas.commands import FINDINGS_EXIT_CODE, plan_folder
from polku_schemas.commands.github import annotation
from polku_schemas.plan import PlanReport, builtin_plan_path, read_plan


@click.command()
@plan_folder
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="text: for people; json: one document; github: annotations of a pull request.",
)
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
def check(folder: Path | None, form: str, strict: bool) -> None:
    """Say everything that is wrong with a plan.

    Exit code 0: nothing, or warnings only; 1: there are errors, or with --strict warnings; 2: it could not work.
    """
    path = folder or builtin_plan_path()
    report = read_plan(path)
    click.echo(_FORMS[form](path, report))
    if report.plan is None or (strict and report.findings):
        sys.exit(FINDINGS_EXIT_CODE)


def _text(path: Path, report: PlanReport) -> str:
    """`file:line: severity: place: what is wrong. What to do. [code]`, as compilers write it and editors link it."""
    lines = []
    for finding in report.findings:
        place = f"{path / finding.file}:{finding.line}" if finding.line else f"{path / finding.file}"
        severity = click.style(finding.severity, fg=_COLOURS[finding.severity], bold=True)
        lines.append(f"{place}: {severity}: {finding.sentence} [{finding.code}]")
    return "\n".join([*lines, _summary(report)])


def _json(path: Path, report: PlanReport) -> str:
    plan = report.plan
    document: dict[str, Any] = {
        "folder": path.as_posix(),
        "name": plan and plan.name,
        "version": plan and plan.version,
        "fingerprint": plan and plan.fingerprint,
        "counts": _counts(report),
        "findings": report.findings,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _github(path: Path, report: PlanReport) -> str:
    """One annotation a finding."""
    lines = [
        annotation(finding.severity, finding.code, finding.sentence, path / finding.file, finding.line)
        for finding in report.findings
    ]
    return "\n".join([*lines, _summary(report)])


_FORMS: Final[dict[str, Callable[[Path, PlanReport], str]]] = {"text": _text, "json": _json, "github": _github}
_COLOURS: Final = {"error": "red", "warning": "yellow"}


def _summary(report: PlanReport) -> str:
    plan = report.plan
    counts = {word: count for word, count in _counts(report).items() if count}
    found = ", ".join(counted(count, word.removesuffix("s")) for word, count in counts.items())
    if plan is None:
        return found
    size = (
        counted(len(plan.events), "event"),
        counted(len(plan.properties), "property", "properties"),
        counted(len(plan.traits), "trait"),
    )
    return f"{plan.name} {plan.version} ({plan.fingerprint}): {', '.join([*size, found or 'nothing to correct'])}"


def _counts(report: PlanReport) -> dict[str, int]:
    severities = [finding.severity for finding in report.findings]
    return {"errors": severities.count("error"), "warnings": severities.count("warning")}
