"""Reads `events/*`: what each event carries and where it stands in the journey."""

from __future__ import annotations

import keyword
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, Final, cast

import msgspec
from msgspec.structs import replace

from polku_schemas.check import build_checker
from polku_schemas.dictionary import Dictionary, check_not_reserved
from polku_schemas.documents import ENDINGS, Document, read_document
from polku_schemas.errors import Finding
from polku_schemas.finding_codes import FindingCode
from polku_schemas.foreign_words import nearest
from polku_schemas.members import NAME, Members
from polku_schemas.model import HISTORY_FACTS, SETTING_FACTS, Call, Comparison, Event, Plan, Property, Rule
from polku_schemas.problems import Problem
from polku_schemas.property_reader import read_use
from polku_schemas.rules import Kind, RuleError, parse_when

NO_STAGE: Final = "none"
"""The word for an event that says nothing about where a person stands, such as a measured page load."""

_CALLS: Final = ("track", "page", "screen")
_BUILT_IN_NAMES: Final = ("identify", "group", "alias", "traits")


class EventReader:
    """Reads the events of one plan folder against its dictionary, stages and channels."""

    def __init__(self, folder: Path, findings: list[Finding], head: Plan, dictionary: Dictionary) -> None:
        self._folder = folder
        self._findings = findings
        self._head = head
        self._dictionary = dictionary
        self.documents: dict[str, Document] = {}
        """Event name → its file, for those that could be read."""
        self.unclear: set[str] = set()
        """Names of events whose properties are not all known, because their file or the dictionary has a finding."""
        self.all_stages_known = True
        """Whether every event's stages could be read."""

    def read(self) -> dict[str, Event]:
        """All events, by name in alphabetical order."""
        events: dict[str, Event] = {}
        stems = dict.fromkeys(PurePath(file).stem for file in event_files(self._folder, self._findings))
        for stem in stems:
            document = read_document(self._folder, f"events/{stem}", self._findings, may_be_empty=False)
            if document is None:
                self.unclear.add(stem)
                self.all_stages_known = False
            else:
                events[stem] = self._read_event(document, stem)
                self.documents[stem] = document
        if not stems:
            finding = Finding(
                file="events/", code=FindingCode.NO_EVENTS, message="there is no event", remedy="Add one file per event"
            )
            self._findings.append(finding)
        return events

    def _read_event(self, document: Document, stem: str) -> Event:
        members = Members(document, (), self._findings)
        self._read_name(members, stem)
        unclear: set[str] = set()
        properties = self._read_properties(members, unclear)
        # A rule over a property that could not be read is not to blame.
        kinds = None if unclear else scalar_kinds(properties)
        kinds_and_facts = None if kinds is None else kinds | fact_kinds((*HISTORY_FACTS, *SETTING_FACTS))
        if unclear:
            self.unclear.add(stem)
        event = Event(
            name=stem,
            version=members.version(),
            owner=members.text("owner"),
            description=members.text("description"),
            aliases=members.texts("aliases"),
            call=cast("Call", members.one_of("call", _CALLS, "track") or "track"),
            stage=self._read_stage(members, kinds_and_facts),
            touchpoint=self._read_rules(members, "touchpoint", kinds_and_facts, None) or (),
            channel=self._read_rules(members, "channel", kinds, self._head.channels) or (),
            properties=properties,
        )
        event = replace(event, examples=self._read_examples(members, properties, unclear))
        members.leftover()
        return event

    def _read_name(self, members: Members, stem: str) -> None:
        name = members.name("name")
        if not name:
            return
        if name != stem:
            message = f"the name `{name}` is not that of the file"
            remedy = (
                f"Write `name: {stem}`, or rename the file to {name}.yaml"
                if NAME.fullmatch(stem)
                else (f"Rename the file to {name}.yaml")
            )
            members.report(FindingCode.FILE_NAME, ("name",), message, remedy)
        if name in _BUILT_IN_NAMES:
            members.report(FindingCode.RESERVED_NAME, ("name",), f"`{name}` is built in", "Use another name")
        if keyword.iskeyword(name):
            remedy = "Use another name, such as one with a noun before it"
            members.report(FindingCode.KEYWORD_NAME, ("name",), f"`{name}` is a word of Python", remedy)
        check_not_reserved(members, ("name",), name, self._head.reserved)

    def _read_properties(self, members: Members, unclear: set[str]) -> dict[str, Property]:
        """The uses by name; `unclear` gets the names of those that could not be read."""
        properties: dict[str, Property] = {}
        entries = members.peek("properties")
        if isinstance(entries, dict):
            unclear.update(entries)
        for name, use in members.mapping("properties").named():
            known = self._dictionary.find(use, name)
            if known is None:
                use.drop()
            else:
                properties[name] = read_use(use, known)
                unclear.discard(name)
        return properties

    def _read_stage(self, members: Members, kinds: Mapping[str, Kind] | None) -> tuple[Rule, ...]:
        rules = self._read_rules(members, "stage", kinds, self._head.stages)
        self.all_stages_known = self.all_stages_known and rules is not None
        return rules or ()

    def _read_rules(
        self, members: Members, key: str, kinds: Mapping[str, Kind] | None, values: tuple[str, ...] | None
    ) -> tuple[Rule, ...] | None:
        """The constant or the list of rules under `key`, None if not all of it could be read: what an earlier rule
        says decides about the later ones. `values` is what a rule may say; None: any name."""
        raw = members.raw(key)
        if raw is None and key != "channel":
            remedy = f"Add `{key}:` with a word or a list of rules"
            members.report(FindingCode.MISSING_KEY, (key,), f"`{key}` is missing", remedy)
            return None
        if raw is None or (raw == NO_STAGE and key == "stage"):
            return ()
        if isinstance(raw, dict) or raw == []:
            remedy = f"Write a word, or a list with - before each rule: `- {{when: …, {key}: …}}`"
            members.report(FindingCode.WRONG_TYPE, (key,), f"`{key}` is no word and no list of rules", remedy)
            return None
        if not isinstance(raw, list):
            constant = Members(members.document, members.path, self._findings, {key: raw})
            return self._read_rule(constant, key, {}, values) or None
        rules: list[Rule] = []
        for index, value in enumerate(raw):
            path = (*members.path, key, index)
            entry = Members(members.document, path, self._findings, {} if value is None else value)
            rules += self._read_rule(entry, key, kinds, values)
            entry.leftover()
        return tuple(rules) if len(rules) == len(raw) else None

    def _read_rule(
        self, entry: Members, key: str, kinds: Mapping[str, Kind] | None, values: tuple[str, ...] | None
    ) -> tuple[Rule, ...]:
        """The rule, or nothing where it cannot be read."""
        if values is None:
            then = entry.name(key)
        elif values:
            then = entry.one_of(key, values)
        else:
            # plan.yaml has a finding, and there is nothing to compare with.
            then = entry.text(key)
        when = read_when(entry, kinds)
        return (Rule(then, when),) if then and when is not None else ()

    def _read_examples(
        self, members: Members, properties: Mapping[str, Property], unclear: Collection[str]
    ) -> tuple[dict[str, Any], ...]:
        examples = []
        check = build_checker(properties, "$")
        for index, example in enumerate(members.items("examples", required=True)):
            if not isinstance(example, dict):
                remedy = "Write the properties as keys and values"
                members.report(FindingCode.INVALID_EXAMPLE, ("examples", index), "the example is no object", remedy)
                continue
            known = {name: value for name, value in example.items() if name not in unclear}
            result = check(msgspec.json.encode(known))
            if isinstance(result, Problem):
                path = _member_path(result.path)
                message = f"the example breaks the plan at {result.path}: {result.message}"
                remedy = "Correct the example or the constraint"
                members.report(FindingCode.INVALID_EXAMPLE, ("examples", index, *path), message, remedy)
            elif result.unplanned:
                path = _unplanned_path(result.unplanned, properties)
                message = f"the example has `{path[-1]}`, which the event has not"
                remedy = "Add the property to the event or remove it here"
                members.report(FindingCode.INVALID_EXAMPLE, ("examples", index, *path), message, remedy)
            else:
                examples.append(example)
        return tuple(examples)


def event_files(folder: Path, findings: list[Finding]) -> Iterator[str]:
    """The files of the events in alphabetical order; what else is in their folder is a finding."""
    for path in sorted((folder / "events").glob("*")):
        if path.name.startswith("."):
            continue
        if path.suffix in ENDINGS and path.is_file():
            yield f"events/{path.name}"
        else:
            message, remedy = "this is not read as an event", f"Rename it to {path.stem}.yaml, or move it elsewhere"
            findings.append(
                Finding(file=f"events/{path.name}", code=FindingCode.UNREAD_FILE, message=message, remedy=remedy)
            )


def read_when(
    entry: Members, kinds: Mapping[str, Kind] | None, *, required: bool = False
) -> tuple[Comparison, ...] | None:
    """The parsed `when` of an entry, () where there is none (a finding if `required`), None if it cannot be read.

    `kinds` says what each name holds; None where that is not known, and nothing is said about it.
    """
    text = entry.text("when", required=required)
    if not text:
        return ()
    if kinds is None:
        return None
    try:
        return parse_when(text, kinds)
    except RuleError as error:
        unknown = re.match(r"unknown name `(\w+)`", str(error))
        close = nearest(unknown[1], kinds) if unknown else None
        remedy = f"Did you mean `{close}`?" if close else "Write `name op literal`, joined by `and`"
        entry.report(FindingCode.INVALID_RULE, ("when",), f"`when` cannot be read: {error}", remedy)
        return None


def scalar_kinds(properties: Mapping[str, Property], prefix: str = "") -> dict[str, Kind]:
    """What each scalar property holds, as the rule language sees it. Dates and lists cannot be compared."""
    kinds: dict[str, Kind] = {}
    for name, prop in properties.items():
        if prop.type in ("string", "integer", "number", "boolean"):
            kinds[prefix + name] = prop.type
    return kinds


def fact_kinds(facts: tuple[str, ...]) -> dict[str, Kind]:
    """What the facts beside the properties hold."""
    return {fact: "boolean" if fact in HISTORY_FACTS else "string" for fact in facts}


def _member_path(path: str) -> tuple[str | int, ...]:
    """`$.products[2].price` as keys and indexes."""
    parts = re.findall(r"\.([^.\[]+)|\[(\d+)\]", path)
    return tuple(int(index) if index else name for name, index in parts)


def _unplanned_path(unplanned: Mapping[str, Any], properties: Mapping[str, Property]) -> tuple[str | int, ...]:
    """Where the first unplanned member stands. Inside what is planned, a list holds {} for each sound item."""
    name, rest = next(iter(unplanned.items()))
    if name not in properties:
        return (name,)
    if isinstance(rest, list):
        index = next(index for index, item in enumerate(rest) if item)
        return (name, index, next(iter(rest[index])))
    return (name, next(iter(rest)))
