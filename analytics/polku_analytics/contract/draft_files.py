"""The files of a drafted plan: YAML with what was seen beside each decision, in an order that does not change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from polku_analytics.contract.entries import UNDESCRIBED, Entry
from polku_analytics.contract.infer import UNASSIGNED, Draft, DraftEvent, Use
from polku_analytics.contract.yaml_text import comment, flow, insert_members, replace_value, sentence
from polku_schemas import Plan, Property
from polku_schemas.amounts import counted

_REQUIRED: Final = "{required: true}"
_OPTIONAL: Final = "{}"

_EMPTY_PROPERTIES: Final = re.compile(r"(?m)^properties:\s*(\{\s*\}|null|~)?\s*(#.*)?$")

Files = dict[str, str]
"""Path inside the plan's folder → text."""


def draft_files(draft: Draft, name: str, origin: str, builtin: Plan) -> Files:
    """A whole new plan. `origin` says what it was drafted from."""
    head = [
        comment(f"Drafted by polku plan infer from {origin}."),
        "# A draft says what was seen, not what is meant: look at every line that is marked `review`.",
        *(comment(f"{note.kind}: {note.text}") for note in draft.notes),
    ]
    plan = [
        *head,
        f"name: {flow(name)}",
        'version: "1.0"',
        f"description: {sentence(UNDESCRIBED)}  # review",
        f"stages: {flow(builtin.stages)}",
        f"channels: {flow(builtin.channels)}  # review",
    ]
    files = {
        "plan.yaml": _text(plan),
        "properties.yaml": _text(_dictionary(draft.properties)) or "{}\n",
        "traits.yaml": _text(_dictionary(draft.traits)) or "{}\n",
    }
    return files | _event_files(draft)


def completed_files(draft: Draft, folder: Path) -> tuple[Files, list[str]]:
    """The files of the plan in `folder` that change or are new, and in words what could not be written in them."""
    base = draft.base
    assert base is not None  # noqa: S101 - only a plan can be completed
    by_hand: list[str] = []
    files = _event_files(draft)
    for file, entries, fields in (
        ("properties.yaml", draft.properties, draft.fields),
        ("traits.yaml", draft.traits, draft.trait_fields),
    ):
        text = (folder / file).read_text(encoding="utf-8")
        known = base.traits if file == "traits.yaml" else base.properties
        for name, uses in fields.items():
            inside = (name, "items", "properties") if known[name].items is not None else (name, "properties")
            text = _inserted(text, inside, uses, file, by_hand)
        lines = _dictionary(entries)
        files |= {file: f"{text.rstrip()}\n{_text(lines)}"} if lines or fields else {}
    for name, uses in draft.additions.items():
        file = f"events/{name}.yaml"
        have = (folder / file).read_text(encoding="utf-8")
        if base.events[name].properties:
            text = _inserted(have, ("properties",), uses, file, by_hand)
        else:
            text = _text([_EMPTY_PROPERTIES.sub("", have).rstrip(), *_property_lines(uses)])
        files |= {file: _next_minor(text, base.events[name].version)} if text != have else {}
    if files:
        files["plan.yaml"] = _next_minor((folder / "plan.yaml").read_text(encoding="utf-8"), base.version)
    return files, by_hand


def _inserted(text: str, path: tuple[str, ...], uses: Mapping[str, Use], file: str, by_hand: list[str]) -> str:
    inserted = insert_members(text, path, _members(uses))
    if inserted is None:
        by_hand.append(f"{file}: add {', '.join(uses)} to `{'.'.join(path)}`, which is not written one member a line")
    return inserted or text


def _next_minor(text: str, version: str) -> str:
    major, _, minor = version.partition(".")
    return replace_value(text, "version", f'"{major}.{int(minor) + 1}"') or text


def _event_files(draft: Draft) -> Files:
    return {f"events/{name}.yaml": _text(_event_lines(drafted)) for name, drafted in draft.events.items()}


def _event_lines(drafted: DraftEvent) -> list[str]:
    event = drafted.event
    borrowed = "  # from the built-in plan: review" if drafted.is_borrowed else "  # review"
    lines = [
        comment(f"Drafted from {counted(drafted.events, 'event')}."),
        f"name: {event.name}",
        *([f"aliases: {flow(event.aliases)}"] if event.aliases else []),
        'version: "1.0"',
        f"owner: {UNASSIGNED}  # review: who answers for it",
        f"description: {sentence(event.description)}{borrowed}",
        *([f"call: {event.call}"] if event.call != "track" else []),
        f"stage: {event.stage[0].then}{borrowed}" if event.stage else "stage: none  # review: where it places a person",
        f"touchpoint: {event.touchpoint[0].then}{borrowed}",
    ]
    lines += _property_lines(drafted.uses)
    return [*lines, "examples:", *(f"  - {flow(example)}" for example in event.examples)]


def _property_lines(uses: Mapping[str, Use]) -> list[str]:
    return ["properties:", *(f"  {key}: {rest}" for key, rest in _members(uses))] if uses else []


def _members(uses: Mapping[str, Use]) -> list[tuple[str, str]]:
    return [(name, f"{_REQUIRED if use.required else _OPTIONAL}  {comment(_seen(use))}") for name, use in uses.items()]


def _seen(use: Use) -> str:
    share = (
        f"in all {use.of:,}" if use.values == use.of else f"in {use.values:,} of {use.of:,} ({use.values / use.of:.1%})"
    )
    return share if use.sent == use.name else f"{share}, sent as `{use.sent}`: rename it there"


def _dictionary(entries: Mapping[str, Entry]) -> list[str]:
    lines: list[str] = []
    for name, entry in entries.items():
        lines += [f"{name}:", f"  {comment(entry.comment)}", *(f"  {line}" for line in _entry_lines(entry))]
    return lines


def _entry_lines(entry: Entry) -> list[str]:
    prop = entry.prop
    why = "" if entry.is_borrowed else "guessed: "
    origin = "  # from the built-in plan: review" if entry.is_borrowed else "  # review"
    lines = [
        f"type: {prop.type}",
        *([f"format: {prop.format}"] if prop.format else []),
        f"description: {sentence(prop.description)}{origin}",
        f"privacy: {prop.privacy}  {comment(f'{why}{entry.reason}: review')}",
    ]
    if prop.enum:
        lines.append(f"enum: {flow(prop.enum)}  # all that was seen: review")
    if prop.items is not None:
        lines += ["items:", *(f"  {line}" for line in _inner_lines(prop.items))]
    if prop.fields:
        lines += _field_lines(prop.fields)
    if prop.examples:
        lines.append(f"examples: {flow(prop.examples)}")
    return lines


def _inner_lines(items: Property) -> list[str]:
    return [f"type: {items.type}", *([f"format: {items.format}"] if items.format else []), *_field_lines(items.fields)]


def _field_lines(fields: Mapping[str, Property]) -> list[str]:
    if not fields:
        return []
    return [
        "properties:",
        *(f"  {name}: {_REQUIRED if field.required else _OPTIONAL}" for name, field in fields.items()),
    ]


def _text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
