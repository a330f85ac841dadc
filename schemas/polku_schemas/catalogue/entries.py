"""An event, a property or a trait as a row of the page that opens to all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from polku_schemas.amounts import counted
from polku_schemas.catalogue.calls import Calls
from polku_schemas.catalogue.data import Catalogue, EventEntry, PropertyEntry, fields_of, short_column_type
from polku_schemas.catalogue.markup import Markup, element, joined, spaced
from polku_schemas.catalogue.phrases import (
    Anchors,
    anchor,
    described_prose,
    facts,
    link,
    links,
    name_of,
    privacy_mark,
    property_anchors,
    prose,
    rules,
    stage_mark,
    uses_list,
)
from polku_schemas.catalogue.wording import (
    ENUM_SHOWN,
    Code,
    constraint_words,
    described,
    example_text,
    json_text,
    listed,
    privacy_meaning,
    type_words,
)
from polku_schemas.model import Property

_LANGUAGES: Final = (("python", "Python"), ("javascript", "JavaScript"), ("curl", "curl"))


def event_entry(catalogue: Catalogue, entry: EventEntry) -> Markup:
    """An event: what it means, when it stands where, what it carries, who uses it, how it is sent."""
    event = entry.event
    stages = catalogue.plan.stages
    several = [stage_mark(stages, stage) for stage in entry.stages] if len(entry.stages) > 1 else []
    strict = [privacy_mark(privacy) for privacy in entry.privacy if privacy in ("sensitive", "personal")]
    anchors = property_anchors(catalogue.plan)
    example = event.examples[0] if event.examples else {}
    body = [
        _facts_of_event(catalogue, entry),
        element("h5", "What it carries"),
        _properties_table(event.properties, anchors, "Property", example)
        if event.properties
        else element("p", "Nothing but who, when and where.", class_="soft"),
        element("h5", "Used by") if entry.uses else None,
        uses_list(entry.uses) if entry.uses else None,
        element("h5", "Send it"),
        calls_markup(entry.calls, event.name),
    ]
    return _row(
        "event",
        event.name,
        event.description,
        [
            element("span", spaced(several), class_="dots") if several else None,
            element("span", [element("bdi", event.owner), " · ", f"v{event.version}"], class_="owner"),
            element("span", spaced(strict), class_="marks") if strict else None,
        ],
        body,
    )


def property_entry(catalogue: Catalogue, kind: str, entry: PropertyEntry) -> Markup:
    """A property of the dictionary or a trait: its type, its column, and where it occurs."""
    prop = entry.prop
    anchors = property_anchors(catalogue.plan)
    fields = fields_of(prop)
    body = [
        facts(
            [
                ("Type", _type(prop, anchors, enum_shown=len(prop.enum) + 1)),
                (
                    "Privacy class",
                    joined(prop.privacy, element("span", f" · {privacy_meaning(catalogue.plan, prop.privacy)}")),
                ),
                ("Column", _column(entry)),
                ("Examples", spaced(element("code", json_text(example)) for example in prop.examples) or None),
                ("Field of", prose(listed(entry.within)) if entry.within else None),
                ("In the events", links("event", entry.events) if entry.events else None),
                ("Inside an object of", links("event", entry.events_within) if entry.events_within else None),
                ("Used by", uses_list(entry.uses) if entry.uses else None),
                ("Link", _deep_link(kind, prop.name)),
            ]
        ),
        joined(element("h5", "Fields"), _properties_table(fields, anchors, "Field", {})) if fields else None,
    ]
    count = len(entry.events) + len(entry.events_within)
    used = "" if kind == "trait" else counted(count, "event") if count else "not used"
    mark = privacy_mark(prop.privacy)
    marks = [
        element("span", type_words(prop), class_="type"),
        element("span", used, class_="owner") if used else None,
        element("span", mark, class_="marks") if mark is not None else None,
    ]
    return _row(kind, prop.name, prop.description, marks, body)


def calls_markup(calls: Calls, what: str) -> Markup:
    """The three calls. The script shows one of them and adds what copies it."""
    switches = [
        element("button", label, type="button", data_language=language, aria_pressed="false")
        for language, label in _LANGUAGES
    ]
    copy = element("button", "Copy", type="button", class_="copy", aria_label=f"Copy the call of {what}")
    shown = [
        element(
            "div",
            element("h6", label),
            element("pre", element("code", getattr(calls, language))),
            class_="call",
            data_language=language,
        )
        for language, label in _LANGUAGES
    ]
    bar = element("div", element("div", switches, role="group", aria_label="Language"), copy, class_="bar scripted")
    return element("div", bar, shown, class_="calls")


def _row(kind: str, name: str, text: str, marks: Sequence[Markup | None], body: Sequence[Markup | None]) -> Markup:
    here = anchor(kind, name)
    heading = element("h4", name_of(name), class_="name")
    lede = element("span", prose(described(text)), class_="lede", dir="auto")
    summary = element("summary", spaced([heading, lede, element("span", spaced(marks), class_="meta")]))
    return element("details", summary, element("div", body, class_="body"), id=here, class_=f"entry {kind}")


def _facts_of_event(catalogue: Catalogue, entry: EventEntry) -> Markup:
    event = entry.event
    anchors = property_anchors(catalogue.plan)
    aliases = spaced(element("bdi", alias, class_="alias") for alias in event.aliases)
    decided = facts(
        [
            ("Stage", rules(event.stage, "no stage", anchors)),
            ("Touchpoint", rules(event.touchpoint, "none", anchors)),
            ("Channel", rules(event.channel, "that of the source", anchors)),
        ]
    )
    known = facts(
        [
            ("Call", element("code", event.call)),
            ("Also sent as", aliases or None),
            ("Owner", element("bdi", event.owner)),
            ("Version", event.version),
            ("Link", _deep_link("event", event.name)),
        ]
    )
    return element("div", decided, known, class_="sides")


def _deep_link(kind: str, name: str) -> Markup:
    return element("a", f"#{anchor(kind, name)}", href=f"#{anchor(kind, name)}", class_="name")


def _properties_table(
    properties: Mapping[str, Property], anchors: Anchors, what: str, examples: Mapping[str, Any]
) -> Markup:
    heads = (what, "Type", "Column", "Meaning", "Example")
    rows = [
        element(
            "tr",
            element(
                "th",
                spaced(
                    [
                        link("property", prop.name),
                        element("span", "required", class_="required") if prop.required else None,
                        privacy_mark(prop.privacy),
                    ]
                ),
                scope="row",
            ),
            element("td", _type(prop, anchors)),
            element("td", element("code", _column_type(prop))),
            element("td", described_prose(prop.description, anchors)),
            element("td", _example(examples.get(prop.name), prop)),
        )
        for prop in properties.values()
    ]
    head = element("thead", element("tr", [element("th", text, scope="col") for text in heads]))
    return element("table", head, element("tbody", rows), class_="properties")


def _type(prop: Property, anchors: Anchors, enum_shown: int = ENUM_SHOWN) -> Markup:
    limits = [element("li", prose(words)) for words in constraint_words(prop, enum_shown)]
    if fields := fields_of(prop):
        limits.append(element("li", "with ", _field_names(fields, anchors)))
    return joined(element("span", type_words(prop), class_="type"), element("ul", limits) if limits else None)


def _column_type(prop: Property) -> Markup:
    """The column's type, which may break after the `<` of a list where there is little room."""
    outer, mark, inner = short_column_type(prop).partition("<")
    return joined(outer, mark, element("wbr") if mark else None, inner)


def _field_names(fields: Mapping[str, Property], anchors: Anchors) -> Markup:
    parts: list[Markup] = []
    for name, prop in fields.items():
        parts.append(
            joined(", " if parts else "", prose((Code(name),), anchors), " (required)" if prop.required else "")
        )
    return joined(parts)


def _example(value: Any, prop: Property) -> Markup | None:
    if value is None and prop.examples:
        value = prop.examples[0]
    return None if value is None else element("code", example_text(value))


def _column(entry: PropertyEntry) -> Markup:
    if not entry.column:
        return element("span", "none yet: no event has it", class_="soft")
    return joined(element("code", name_of(entry.column)), " ", element("code", entry.column_type, class_="soft"))
