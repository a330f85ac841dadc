"""Reads `journey/*`: goals, segments, funnels, targets and changes. Each file may be absent."""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final, Literal, cast

from msgspec.structs import replace

from polku_schemas.columns import TRAIT_PREFIX
from polku_schemas.documents import ENDINGS, Document, file_of, read_document
from polku_schemas.errors import Finding
from polku_schemas.events import read_when, scalar_kinds
from polku_schemas.finding_codes import FindingCode
from polku_schemas.foreign_words import nearest
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

FILES: Final = ("goals", "segments", "funnels", "targets", "changes")

_UNIT_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_MEASURES: Final = ("count", "people", "value", "conversion", "return_on_spend")
_PERIODS: Final = ("day", "week", "month", "quarter", "year")
_CHANGE_KINDS: Final = ("release", "campaign", "price", "assortment", "other")


class JourneyReader:
    """Reads the journey files of one plan folder against its events and traits.

    `unclear_events` are those whose properties are not all known; with `unclear_traits` the traits are not.
    """

    def __init__(
        self,
        folder: Path,
        findings: list[Finding],
        plan: Plan,
        unclear_events: Collection[str],
        *,
        unclear_traits: bool,
    ) -> None:
        self._folder = folder
        self._findings = findings
        self._plan = plan
        self._unclear_events = unclear_events
        self._unclear_traits = unclear_traits
        self.documents: dict[str, Document] = {}
        """`goals`, `segments` … → the file, for those that are there and could be read."""

    def read(self) -> Plan:
        """The plan with its journey files read; what is wrong is added to the findings."""
        for path in sorted((self._folder / "journey").glob("*")):
            if not path.name.startswith(".") and (path.stem not in FILES or path.suffix not in ENDINGS):
                remedy = f"Use one of {', '.join(name + ENDINGS[0] for name in FILES)}"
                finding = Finding(
                    file=f"journey/{path.name}",
                    code=FindingCode.UNREAD_FILE,
                    message="this file is not read",
                    remedy=remedy,
                )
                self._findings.append(finding)
        plan = replace(
            self._plan,
            goals={name: self._goal(name, entry) for name, entry in self._entries("goals")},
            segments={name: self._segment(name, entry) for name, entry in self._entries("segments")},
            funnels={name: self._funnel(name, entry) for name, entry in self._entries("funnels")},
            changes=tuple(self._change(name, entry) for name, entry in self._entries("changes")),
        )
        return replace(
            plan, targets={name: self._target(name, entry, plan) for name, entry in self._entries("targets")}
        )

    def _entries(self, stem: str) -> Iterator[tuple[str, Members]]:
        if file_of(self._folder, f"journey/{stem}", []) is None:
            return
        document = read_document(self._folder, f"journey/{stem}", self._findings)
        if document is None:
            return
        self.documents[stem] = document
        for name, entry in Members(document, (), self._findings).named():
            yield name, entry
            entry.leftover()

    def _goal(self, name: str, entry: Members) -> Goal:
        events = entry.texts("events", required=True)
        for index, event in enumerate(events):
            self._check_event(entry, ("events", index), event)
        value = entry.text("value", required=False) or None
        kinds = self._shared_kinds(events)
        if value is not None and kinds is not None and kinds.get(value) not in ("integer", "number"):
            numbers = [known for known, kind in kinds.items() if kind in ("integer", "number")]
            remedy = f"Use one of {', '.join(numbers) or 'none yet: the events share no number'}"
            entry.report(
                FindingCode.UNKNOWN_PROPERTY, ("value",), f"`{value}` is not a number in each of the events", remedy
            )
        return Goal(
            name=name,
            description=entry.text("description"),
            events=events,
            when=read_when(entry, kinds) or (),
            value=value,
        )

    def _segment(self, name: str, entry: Members) -> Segment:
        kinds = scalar_kinds(self._plan.traits, TRAIT_PREFIX) | cast("dict[str, Kind]", dict(PERSON_FACTS))
        return Segment(
            name=name,
            description=entry.text("description"),
            persona=entry.text("persona", required=False) or None,
            when=read_when(entry, None if self._unclear_traits else kinds, required=True) or (),
        )

    def _funnel(self, name: str, entry: Members) -> Funnel:
        steps = []
        items = entry.items("steps", required=True)
        for index, value in enumerate(items):
            step = {"event": value} if isinstance(value, str) else value
            members = Members(
                entry.document, (*entry.path, "steps", index), self._findings, {} if step is None else step
            )
            event = members.text("event")
            self._check_event(members, ("event",), event)
            when = read_when(members, self._shared_kinds((event,))) or ()
            steps.append(FunnelStep(event=event, when=when, optional=members.flag("optional")))
            members.leftover()
        if items and sum(not step.optional for step in steps) < 2:
            message = "a funnel needs two steps that are not optional"
            entry.report(FindingCode.INVALID_FUNNEL, ("steps",), message, "Add a step")
        window = entry.text("window")
        seconds = parse_window_seconds(window)
        if window and seconds is None:
            remedy = "Write a whole number and s, m, h, d or w: 7d"
            entry.report(FindingCode.INVALID_FUNNEL, ("window",), f"`{window}` is not a duration", remedy)
        return Funnel(
            name=name,
            description=entry.text("description"),
            steps=tuple(steps),
            window_seconds=seconds or 1,
            unit=cast(
                "Literal['person', 'session']", entry.one_of("unit", ("person", "session"), "person") or "person"
            ),
        )

    def _target(self, name: str, entry: Members, plan: Plan) -> Target:
        measure = entry.one_of("measure", _MEASURES)
        of = entry.text("of")
        if of and measure:
            self._check_target_of(entry, of, measure, plan)
        value = entry.number("value", required=True)
        if measure == "conversion" and value is not None and not 0 <= value <= 1:
            message = "a conversion is a share from 0 to 1"
            entry.report(FindingCode.INVALID_TARGET, ("value",), message, f"Write {value / 100:g} for {value:g} %")
        return Target(
            name=name,
            description=entry.text("description"),
            measure=cast("Any", measure),
            of=of,
            value=float(value or 0),
            period=cast("Any", entry.one_of("period", _PERIODS)),
            currency=self._target_currency(entry, measure, plan),
        )

    def _target_currency(self, entry: Members, measure: str, plan: Plan) -> str | None:
        currency = entry.text("currency", required=False)
        known = plan.properties["currency"].enum if "currency" in plan.properties else ()
        if currency and measure and measure != "value":
            message = f"a target of the measure `{measure}` is no amount of money"
            entry.report(FindingCode.INVALID_TARGET, ("currency",), message, "Leave `currency` out")
        elif currency and known and currency not in known:
            message = f"the property `currency` is never `{currency}`"
            remedy = _meant(currency, [str(one) for one in known]) or "Use a value of its enum"
            entry.report(FindingCode.INVALID_TARGET, ("currency",), message, remedy)
        return currency or None

    def _check_target_of(self, entry: Members, of: str, measure: str, plan: Plan) -> None:
        kind, known = ("funnel", plan.funnels.keys()) if measure == "conversion" else ("goal", plan.goals.keys())
        goal = plan.goals.get(of)
        if of not in known and (file_of(self._folder, f"journey/{kind}s", []) is None or f"{kind}s" in self.documents):
            remedy = _meant(of, known) or f"Use one of {', '.join(known) or f'none yet: add journey/{kind}s.yaml'}"
            entry.report(FindingCode.INVALID_TARGET, ("of",), f"there is no {kind} `{of}`", remedy)
        elif measure == "value" and goal is not None and goal.value is None:
            remedy = "Add `value:` with the property to sum to the goal, or measure `count` or `people`"
            entry.report(FindingCode.INVALID_TARGET, ("of",), f"the goal `{of}` has no value to sum", remedy)

    def _change(self, name: str, entry: Members) -> Change:
        text = entry.text("date")
        date = _date(text) or datetime.date.min
        if text and date == datetime.date.min:
            entry.report(FindingCode.INVALID_DATE, ("date",), f"`{text}` is not a date", "Write it as 2026-01-31")
        return Change(
            name=name,
            date=date,
            kind=cast("Any", entry.one_of("kind", _CHANGE_KINDS)),
            description=entry.text("description"),
        )

    def _check_event(self, entry: Members, path: tuple[str | int, ...], event: str) -> None:
        if event and event not in self._plan.events and event not in self._unclear_events:
            aliased = next((known.name for known in self._plan.events.values() if event in known.aliases), None)
            proposed = f"Write its name, `{aliased}`" if aliased else _meant(event, self._plan.events)
            remedy = proposed or "Use the name of a file in events/"
            entry.report(FindingCode.UNKNOWN_EVENT, path, f"there is no event `{event}`", remedy)

    def _shared_kinds(self, events: tuple[str, ...]) -> dict[str, Kind] | None:
        """What the scalar properties that all of the events have hold; None where one of them is not known."""
        known = [self._plan.events.get(event) for event in events if event not in self._unclear_events]
        if len(known) < len(events) or not known or None in known:
            return None
        kinds = [scalar_kinds(event.properties) for event in known if event is not None]
        shared = set.intersection(*map(set, kinds))
        return {name: kind for name, kind in kinds[0].items() if name in shared}


def parse_window_seconds(text: str) -> int | None:
    """`30m`, `12h`, `7d`, `2w` as seconds; None for anything else."""
    match = re.fullmatch(r"([1-9]\d{0,5})([smhdw])", text)
    return None if match is None else int(match[1]) * _UNIT_SECONDS[match[2]]


def _date(text: str) -> datetime.date | None:
    # The form first: fromisoformat also takes 20260131 and week dates.
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) is None:
        return None
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        return None


def _meant(word: str, known: Collection[str]) -> str | None:
    close = nearest(word, known)
    return None if close is None else f"Did you mean `{close}`?"
