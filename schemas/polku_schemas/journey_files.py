"""Reads `journey/*.yaml`: goals, segments, funnels, targets and changes. Each file may be absent."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, cast

from msgspec.structs import replace

from polku_schemas.columns import TRAIT_PREFIX
from polku_schemas.documents import read_document
from polku_schemas.errors import Finding
from polku_schemas.events import read_when, scalar_kinds
from polku_schemas.members import Members
from polku_schemas.model import (
    PERSON_FACTS,
    Change,
    Funnel,
    FunnelStep,
    Goal,
    Plan,
    Segment,
    Target,
)
from polku_schemas.rules import Kind

_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_FILES: Final = ("goals", "segments", "funnels", "targets", "changes")
_MEASURES: Final = ("count", "people", "value", "conversion")
_PERIODS: Final = ("day", "week", "month", "quarter", "year")
_CHANGE_KINDS: Final = ("release", "campaign", "price", "assortment", "other")


def read_journey(folder: Path, findings: list[Finding], plan: Plan) -> Plan:
    """The plan with its journey files read; what is wrong is added to `findings`."""
    for path in sorted((folder / "journey").glob("*")):
        if path.name.removesuffix(".yaml") not in _FILES and not path.name.startswith("."):
            remedy = f"Use one of {', '.join(name + '.yaml' for name in _FILES)}"
            findings.append(Finding(file=f"journey/{path.name}", message="this file is not read", remedy=remedy))
    reader = _JourneyReader(folder, findings, plan)
    plan = replace(
        plan,
        goals={name: reader.goal(name, entry) for name, entry in reader.entries("goals")},
        segments={name: reader.segment(name, entry) for name, entry in reader.entries("segments")},
        funnels={name: reader.funnel(name, entry) for name, entry in reader.entries("funnels")},
        changes=tuple(reader.change(name, entry) for name, entry in reader.entries("changes")),
    )
    targets = {name: reader.target(name, entry, plan) for name, entry in reader.entries("targets")}
    return replace(plan, targets=targets)


def parse_window_seconds(text: str) -> int | None:
    """`30m`, `12h`, `7d`, `2w` as seconds; None for anything else."""
    match = re.fullmatch(r"([1-9]\d{0,5})([smhdw])", text)
    return None if match is None else int(match[1]) * _UNIT_SECONDS[match[2]]


class _JourneyReader:
    def __init__(self, folder: Path, findings: list[Finding], plan: Plan) -> None:
        self._folder = folder
        self._findings = findings
        self._plan = plan

    def entries(self, file: str) -> Iterator[tuple[str, Members]]:
        if not (self._folder / "journey" / f"{file}.yaml").exists():
            return
        document = read_document(self._folder, f"journey/{file}.yaml", self._findings)
        if document is None:
            return
        for name, entry in Members(document, (), self._findings).named():
            yield name, entry
            entry.leftover()

    def goal(self, name: str, entry: Members) -> Goal:
        events = entry.texts("events", required=True)
        for index, event in enumerate(events):
            self._check_event(entry, ("events", index), event)
        value = entry.text("value", required=False) or None
        if value is not None and not all(value in self._kinds_of(event) for event in events):
            entry.report(("value",), f"`{value}` is not a number in every event", "Name a property that all have")
        return Goal(
            name=name,
            description=entry.text("description"),
            events=events,
            when=read_when(entry, self._shared_kinds(events)),
            value=value,
        )

    def segment(self, name: str, entry: Members) -> Segment:
        kinds = scalar_kinds(self._plan.traits, TRAIT_PREFIX) | cast("dict[str, Kind]", dict(PERSON_FACTS))
        return Segment(
            name=name,
            description=entry.text("description"),
            persona=entry.text("persona", required=False) or None,
            when=read_when(entry, kinds, required=True),
        )

    def funnel(self, name: str, entry: Members) -> Funnel:
        steps = []
        for index, value in enumerate(entry.items("steps", required=True)):
            step = {"event": value} if isinstance(value, str) else value
            members = Members(entry.document, (*entry.path, "steps", index), self._findings, step)
            event = members.text("event")
            self._check_event(members, ("event",), event)
            when = read_when(members, self._kinds_of(event))
            steps.append(FunnelStep(event=event, when=when, optional=members.flag("optional")))
            members.leftover()
        if sum(not step.optional for step in steps) < 2:
            entry.report(("steps",), "a funnel needs two steps that are not optional", "Add a step")
        window = entry.text("window")
        seconds = parse_window_seconds(window)
        if window and seconds is None:
            entry.report(("window",), f"`{window}` is not a duration", "Write a number and s, m, h, d or w: 7d")
        return Funnel(
            name=name,
            description=entry.text("description"),
            steps=tuple(steps),
            window_seconds=seconds or 1,
            unit=cast("Literal['person', 'session']", entry.one_of("unit", ("person", "session"), "person")),
        )

    def target(self, name: str, entry: Members, plan: Plan) -> Target:
        measure = entry.one_of("measure", _MEASURES)
        of = entry.text("of")
        known = plan.funnels if measure == "conversion" else plan.goals
        if of and of not in known:
            kind = "funnel" if measure == "conversion" else "goal"
            entry.report(("of",), f"there is no {kind} `{of}`", f"Use one of {', '.join(known) or 'none yet'}")
        value = entry.number("value", required=True)
        if measure == "conversion" and value is not None and not 0 <= value <= 1:
            entry.report(("value",), "a conversion is a share from 0 to 1", "Write 0.03 for 3 %")
        return Target(
            name=name,
            description=entry.text("description"),
            measure=cast("Any", measure),
            of=of,
            value=float(value or 0),
            period=cast("Any", entry.one_of("period", _PERIODS)),
        )

    def change(self, name: str, entry: Members) -> Change:
        text = entry.text("date")
        date = datetime.date.min
        try:
            date = datetime.date.fromisoformat(text or "0001-01-01")
        except ValueError:
            entry.report(("date",), f"`{text}` is not a date", "Write it as 2026-01-31")
        return Change(
            name=name,
            date=date,
            kind=cast("Any", entry.one_of("kind", _CHANGE_KINDS)),
            description=entry.text("description"),
        )

    def _check_event(self, entry: Members, path: tuple[str | int, ...], event: str) -> None:
        if event and event not in self._plan.events:
            entry.report(path, f"there is no event `{event}`", "Use the name of a file in events/")

    def _kinds_of(self, event: str) -> dict[str, Kind]:
        known = self._plan.events.get(event)
        return {} if known is None else scalar_kinds(known.properties)

    def _shared_kinds(self, events: tuple[str, ...]) -> dict[str, Kind]:
        kinds = [self._kinds_of(event) for event in events]
        shared = set.intersection(*(set(names) for names in kinds)) if kinds else set()
        return {name: kinds[0][name] for name in shared}
