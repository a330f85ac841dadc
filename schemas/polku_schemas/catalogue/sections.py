"""The sections about events and what they carry: by stage, by touchpoint, one by one, the dictionary, privacy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from polku_schemas.amounts import counted
from polku_schemas.catalogue.data import PRIVACY_ORDER, Catalogue, PropertyEntry, StageEntry, short_column_type
from polku_schemas.catalogue.entries import event_entry, property_entry
from polku_schemas.catalogue.markup import Markup, element, joined, spaced
from polku_schemas.catalogue.phrases import (
    Section,
    described_prose,
    link,
    links,
    name_of,
    privacy_mark,
    stage_class,
    stage_mark,
)
from polku_schemas.catalogue.wording import Code, privacy_meaning
from polku_schemas.model import Plan, Privacy

_NO_STAGE: Final = "no stage"

_FILTERS: Final = ("stage", "touchpoint", "channel", "owner", "privacy")


def journey(catalogue: Catalogue) -> Section:
    """The stages in their order, as stations of one path."""
    stations = [
        element(
            "li",
            _stage_title("h3", stage),
            _touchpoints_of(stage) if stage.touchpoints else element("p", "no event yet", class_="soft"),
            class_=f"station {stage_class(stage.number)}",
        )
        for stage in catalogue.stages
    ]
    return Section(
        name="journey",
        title="The journey",
        short="Journey",
        intro=(
            "The stages in the plan's order, and the events that place a person in one, by touchpoint. ",
            "An event whose stage depends on something stands in each it can lead to.",
        ),
        content=element("ol", stations, class_="path"),
    )


def touchpoints(catalogue: Catalogue) -> Section:
    """What a person meets, and the events that tell of it."""
    cards = [
        element(
            "li",
            element("h3", name_of(name), element("span", str(len(events)), class_="count")),
            element("ul", [element("li", _placed(catalogue, event)) for event in events]),
        )
        for name, events in catalogue.touchpoints.items()
    ]
    return Section(
        name="touchpoints",
        title="Touchpoints",
        short="Touchpoints",
        count=len(cards),
        intro=("What a person meets, whatever the stage. Journey reports count touchpoints, not events.",),
        content=element("ul", cards, class_="touchpoints cards"),
    )


def events(catalogue: Catalogue) -> Section:
    """Every event once, under the first stage it can lead to."""
    groups = [
        element(
            "div",
            _stage_title("h3", stage),
            _rows(event_entry(catalogue, catalogue.events[name]) for name in stage.events),
            _elsewhere(catalogue, stage) if stage.elsewhere else None,
            class_=f"group {stage_class(stage.number)}",
        )
        for stage in catalogue.stages
        if stage.events or stage.elsewhere
    ]
    return Section(
        name="events",
        title="Events",
        short="Events",
        count=len(catalogue.events),
        intro=(
            "Each opens to its properties, rules, uses and calls. A property is the column of the same name in the "
            "table ",
            Code("events"),
            ".",
        ),
        content=joined(_filters(catalogue), groups),
    )


def properties(catalogue: Catalogue) -> Section:
    """The dictionary."""
    return Section(
        name="properties",
        title="Properties",
        short="Properties",
        count=len(catalogue.properties),
        intro=(
            "The dictionary: each name has one meaning and one type in all events. An event may need it, or hold it in "
            "tighter bounds.",
        ),
        content=_rows(property_entry(catalogue, "property", entry) for entry in catalogue.properties.values()),
    )


def traits(catalogue: Catalogue) -> Section | None:
    """What is known about persons."""
    if not catalogue.traits:
        return None
    return Section(
        name="traits",
        title="Traits",
        short="Traits",
        count=len(catalogue.traits),
        intro=(
            "What is known about a person, sent with ",
            Code("identify"),
            ". In the table the name has ",
            Code("trait_"),
            " in front.",
        ),
        content=_rows(property_entry(catalogue, "trait", entry) for entry in catalogue.traits.values()),
    )


def privacy(catalogue: Catalogue) -> Section:
    """All that is about a person: what a data protection officer asks for."""
    listed = [("property", entry) for entry in catalogue.properties.values()]
    listed += [("trait", entry) for entry in catalogue.traits.values()]
    tables = []
    count = 0
    for name in PRIVACY_ORDER[:-1]:
        found = [(kind, entry) for kind, entry in listed if entry.prop.privacy == name]
        count += len(found)
        tables.append(_privacy_table(catalogue, name, found))
    return Section(
        name="privacy",
        title="Privacy",
        short="Privacy",
        count=count,
        intro=(
            "Every property and trait that says something about a person, its column, and the events that carry it. "
            "What is not listed says nothing about anybody, by the plan's own classes.",
        ),
        content=joined(tables, _beside_the_plan(catalogue.plan)),
    )


def _rows(entries: Iterable[Markup]) -> Markup:
    return element("div", entries, class_="rows")


def _stage_title(tag: str, stage: StageEntry) -> Markup:
    count = len(stage.events) + len(stage.elsewhere)
    number = element("span", str(stage.number), class_="number") if stage.number else None
    name = name_of(stage.name) if stage.name else _NO_STAGE
    return element(tag, number, name, " ", element("span", counted(count, "event"), class_="count"))


def _touchpoints_of(stage: StageEntry) -> Markup:
    rows = [
        element("div", element("dt", name_of(point)), element("dd", spaced(link("event", name) for name in names)))
        for point, names in stage.touchpoints.items()
    ]
    return element("dl", rows)


def _placed(catalogue: Catalogue, event: str) -> Markup:
    """A link to an event with the numbers of its stages."""
    stages = catalogue.plan.stages
    marks = [stage_mark(stages, stage) for stage in catalogue.events[event].stages]
    return spaced([link("event", event), element("span", spaced(marks), class_="dots")])


def _elsewhere(catalogue: Catalogue, stage: StageEntry) -> Markup:
    items = [
        element("li", link("event", name), " ", element("span", f"under {catalogue.events[name].stages[0]}"))
        for name in stage.elsewhere
    ]
    return element("div", element("p", "Also, by their rules:"), element("ul", spaced(items)), class_="elsewhere")


def _filters(catalogue: Catalogue) -> Markup:
    entries = catalogue.events.values()
    values: dict[str, Iterable[str]] = {
        "stage": catalogue.plan.stages,
        "touchpoint": catalogue.touchpoints,
        "channel": [name for name in catalogue.plan.channels if any(name in entry.channels for entry in entries)],
        "owner": catalogue.owners,
        "privacy": [name for name in PRIVACY_ORDER if any(name in entry.privacy for entry in entries)],
    }
    nothing = {"stage": _NO_STAGE, "channel": "that of the source", "privacy": "nothing about a person"}
    has_rest = {
        "stage": any(not entry.stages for entry in entries),
        "channel": any(not entry.channels for entry in entries),
        "privacy": any(not entry.privacy for entry in entries),
    }
    selects = []
    for name in _FILTERS:
        options = [element("option", "all", value="*")]
        options += [element("option", value, value=f"={value}") for value in values[name]]
        if has_rest.get(name):
            options.append(element("option", nothing[name], value="="))
        label = "Carries" if name == "privacy" else name.capitalize()
        selects.append(element("label", element("span", label), element("select", options, name=name)))
    shown = element("output", counted(len(catalogue.events), "event"), id="shown")
    reset = element("button", "Show all", type="reset", hidden=True)
    return element(
        "form", element("div", selects, class_="selects"), element("p", shown, reset), id="filters", class_="scripted"
    )


def _privacy_table(catalogue: Catalogue, name: Privacy, found: list[tuple[str, PropertyEntry]]) -> Markup:
    title = element(
        "h3", privacy_mark(name), " ", element("span", privacy_meaning(catalogue.plan, name), class_="soft")
    )
    if not found:
        return joined(title, element("p", "Nothing of this class is in the plan.", class_="soft"))
    rows = [
        element(
            "tr",
            element("th", link(kind, entry.prop.name), " ", element("span", kind, class_="kind"), scope="row"),
            element("td", described_prose(entry.prop.description)),
            element("td", _stored_in(entry)),
            element("td", _carried_by(kind, entry)),
            element("td", _owners(catalogue, entry)),
        )
        for kind, entry in found
    ]
    heads = ("Name", "Meaning", "Column", "Carried by", "Owners")
    head = element("thead", element("tr", [element("th", text, scope="col") for text in heads]))
    return joined(title, element("table", head, element("tbody", rows), class_="classes"))


def _stored_in(entry: PropertyEntry) -> Markup:
    if not entry.column:
        return element("span", "none yet", class_="soft")
    inside = [[", ", element("code", name_of(f"{place}.{entry.prop.name}"))] for place in entry.within if entry.events]
    return joined(element("code", name_of(entry.column)), inside, " ", element("span", short_column_type(entry.prop)))


def _carried_by(kind: str, entry: PropertyEntry) -> Markup:
    if kind == "trait":
        return joined("calls of ", element("code", "identify"))
    names = (*entry.events, *entry.events_within)
    return links("event", names) if names else element("span", "no event", class_="soft")


def _owners(catalogue: Catalogue, entry: PropertyEntry) -> Markup:
    owners: Mapping[str, None] = dict.fromkeys(
        catalogue.events[name].event.owner for name in (*entry.events, *entry.events_within)
    )
    return spaced(element("bdi", owner) for owner in owners)


def _beside_the_plan(plan: Plan) -> Markup:
    """What a plan says nothing about and an officer has to know all the same."""
    code = [element("code", name) for name in ("user_id", "anonymous_id", "previous_id", "group_id", "session_id")]
    ids = joined([[", " if index else "", name] for index, name in enumerate(code)])
    items = [
        joined("Every event has ids: ", ids, ". They stand for a person, a group or a visit."),
        joined(
            "Web events have addresses: ", element("code", "page_url"), ", ", element("code", "page_path"), " and ",
            element("code", "referrer"), ". What a site writes into its addresses is stored with them.",
        ),
        joined(
            "The IP address gets no column. The user agent is not stored: device, system and browser are taken from it."
        ),
        joined(
            "Properties that are not planned are kept in the column ", element("code", "extra"),
            ", unless their source refuses them.",
        ),
        joined(
            "An event that breaks the plan is kept whole in the table ", element("code", "quarantine"),
            ", with whatever its sender put in",
            " under names that the plan stores as they come." if plan.privacy else ".",
        ),
    ]  # fmt: skip
    return element(
        "div", element("h3", "Beside the plan"), element("ul", [element("li", item) for item in items]), class_="beside"
    )
