"""Reads `events/*.yaml`: what each event carries and where it stands in the journey."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from msgspec.structs import replace

from polku_schemas.check import build_checker
from polku_schemas.dictionary import read_use
from polku_schemas.documents import read_document
from polku_schemas.errors import Finding
from polku_schemas.members import NAME, Members
from polku_schemas.model import HISTORY_FACTS, SETTING_FACTS, Call, Event, Property, Rule
from polku_schemas.problems import Problem
from polku_schemas.rules import Kind, RuleError, parse_when

NO_STAGE: Final = "none"
"""The word for an event that says nothing about where a person stands, such as a measured page load."""

_CALLS: Final = ("track", "page", "screen")
_VERSION: Final = re.compile(r"\d+\.\d+")
_BUILT_IN_NAMES: Final = ("identify", "group", "alias", "traits")


class EventReader:
    """Reads the events of one plan folder against its dictionary, stages and channels."""

    def __init__(
        self,
        folder: Path,
        findings: list[Finding],
        properties: Mapping[str, Property],
        stages: tuple[str, ...],
        channels: tuple[str, ...],
    ) -> None:
        self._folder = folder
        self._findings = findings
        self._properties = properties
        self._stages = stages
        self._channels = channels
        self._owners: dict[str, str] = {}
        """Event name, alias or call → the file that has it."""

    def read(self) -> dict[str, Event]:
        """All events, by name in alphabetical order."""
        events: dict[str, Event] = {}
        for file in self._files():
            event = self._read_file(file)
            if event is not None:
                events[event.name] = event
        if not events and not self._findings:
            finding = Finding(file="events/", message="there is no event", remedy="Add one file per event")
            self._findings.append(finding)
        return events

    def _files(self) -> Iterator[str]:
        for path in sorted((self._folder / "events").glob("*")):
            if path.name.startswith("."):
                continue
            if path.suffix == ".yaml" and path.is_file():
                yield f"events/{path.name}"
            else:
                finding = Finding(
                    file=f"events/{path.name}",
                    message="this is not read as an event",
                    remedy="Give it the ending .yaml or move it elsewhere",
                )
                self._findings.append(finding)

    def _read_file(self, file: str) -> Event | None:
        document = read_document(self._folder, file, self._findings)
        if document is None:
            return None
        members = Members(document, (), self._findings)
        name = members.text("name")
        if NAME.fullmatch(name) is None or f"events/{name}.yaml" != file:
            remedy = "Make both the same: lower-case letters, digits and _"
            members.report(("name",), f"the name `{name}` is not that of the file", remedy)
            name = file.removeprefix("events/").removesuffix(".yaml")
        if name in _BUILT_IN_NAMES:
            members.report(("name",), f"`{name}` is built in", "Use another name")
        version = members.text("version")
        if version and _VERSION.fullmatch(version) is None:
            members.report(("version",), f"the version `{version}` is not like 1.0", "Write it as text: '1.0'")
        properties = self._read_properties(members)
        call = cast("Call", members.one_of("call", _CALLS, "track"))
        event = Event(
            name=name,
            version=version,
            owner=members.text("owner"),
            description=members.text("description"),
            aliases=members.texts("aliases"),
            call=call,
            stage=self._read_rules(members, "stage", properties, (*HISTORY_FACTS, *SETTING_FACTS), self._stages),
            touchpoint=self._read_rules(members, "touchpoint", properties, (*HISTORY_FACTS, *SETTING_FACTS), None),
            channel=self._read_rules(members, "channel", properties, (), self._channels),
            properties=properties,
        )
        self._claim(members, event)
        event = replace(event, examples=self._read_examples(members, properties))
        members.leftover()
        return event

    def _read_properties(self, members: Members) -> dict[str, Property]:
        properties = {}
        for name, use in members.mapping("properties").named():
            known = self._properties.get(name)
            if known is None:
                use.report(
                    (),
                    f"the property `{name}` is not in properties.yaml",
                    "Add it there, or correct the name",
                )
                continue
            for key in ("type", "privacy", "items"):
                if key in use:
                    remedy = "Remove it here: one name has one type and one privacy class in the whole plan"
                    use.report((key,), f"`{key}` of `{name}` is given in properties.yaml", remedy)
                    use.raw(key)
            properties[name] = read_use(use, known)
        return properties

    def _read_rules(
        self,
        members: Members,
        key: str,
        properties: Mapping[str, Property],
        facts: tuple[str, ...],
        values: tuple[str, ...] | None,
    ) -> tuple[Rule, ...]:
        """The constant or the list of rules under `key`. `values` is what a rule may say; None: any name."""
        raw = members.raw(key)
        if raw is None:
            if key != "channel":
                members.report((), f"`{key}` is missing", f"Add `{key}:` with a word or a list of rules")
            return ()
        if raw == NO_STAGE and key == "stage":
            return ()
        entries = raw if isinstance(raw, list) else [{key: raw}]
        names = _kinds(properties, facts)
        rules = []
        for index, value in enumerate(entries):
            path: tuple[str | int, ...] = (*members.path, key, index) if raw is entries else members.path
            entry = Members(members.document, path, self._findings, value if value is not None else {})
            then = entry.text(key)
            if then and not (NAME.fullmatch(then) if values is None else then in values):
                remedy = "Use lower-case letters, digits and _" if values is None else f"Use one of {', '.join(values)}"
                entry.report((key,), f"`{then}` is not a known {key}", remedy)
            when = read_when(entry, names, required=index < len(entries) - 1)
            rules.append(Rule(then, when))
            entry.leftover()
        return tuple(rules)

    def _claim(self, members: Members, event: Event) -> None:
        """Names, aliases and the page and screen calls each lead to one event."""
        claims = [(event.name, ("name",)), *((alias, ("aliases",)) for alias in event.aliases)]
        if event.call != "track":
            claims.append((f"the call {event.call}", ("call",)))
        for claim, path in claims:
            other = self._owners.setdefault(claim, members.document.file)
            if other != members.document.file:
                members.report(path, f"`{claim}` already leads to {other}", "Keep it in one of the two")

    def _read_examples(self, members: Members, properties: Mapping[str, Property]) -> tuple[dict[str, Any], ...]:
        examples = []
        check = build_checker(properties, "$")
        for index, example in enumerate(members.items("examples", required=True)):
            result = check(msgspec.json.encode(example))
            if isinstance(result, Problem):
                path = _member_path(result.path)
                message = f"the example breaks the plan at {result.path}: {result.message}"
                members.report(("examples", index, *path), message, "Correct the example or the constraint")
            elif result.unplanned:
                unplanned = next(iter(result.unplanned))
                message = f"the example has `{unplanned}`, or something in it, which the event has not"
                members.report(("examples", index, unplanned), message, "Add the property or remove it here")
            else:
                examples.append(example)
        return tuple(examples)


def read_when(entry: Members, kinds: Mapping[str, Kind], *, required: bool = False) -> Any:
    """The parsed `when` of an entry; empty where there is none (a finding if `required`)."""
    text = entry.text("when", required=required)
    if not text:
        return ()
    try:
        return parse_when(text, kinds)
    except RuleError as error:
        entry.report(("when",), f"`when` cannot be read: {error}", "Write `name op literal`, joined by `and`")
        return ()


def scalar_kinds(properties: Mapping[str, Property], prefix: str = "") -> dict[str, Kind]:
    """What each scalar property holds, as the rule language sees it. Dates and lists cannot be compared."""
    kinds: dict[str, Kind] = {}
    for name, prop in properties.items():
        if prop.type in ("string", "integer", "number", "boolean"):
            kinds[prefix + name] = prop.type
    return kinds


def _kinds(properties: Mapping[str, Property], facts: tuple[str, ...]) -> dict[str, Kind]:
    kinds = scalar_kinds(properties)
    for fact in facts:
        kinds[fact] = "boolean" if fact in HISTORY_FACTS else "string"
    return kinds


def _member_path(path: str) -> tuple[str | int, ...]:
    """`$.products[2].price` as keys and indexes."""
    parts = re.findall(r"\.([^.\[]+)|\[(\d+)\]", path)
    return tuple(int(index) if index else name for name, index in parts)
