"""The catalogue as one HTML page that needs nothing else: no file beside it, no network, and no script to be read.

Every text of a plan goes through `markup.py`, which escapes it. The page's policy lets only our own style and script
run, by their hashes, so that not even a hole in that would let a text run.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Final

import msgspec

import polku_schemas.catalogue.journey_sections as journey_sections
import polku_schemas.catalogue.sections as sections
from polku_schemas.catalogue.data import PRIVACY_ORDER, Catalogue, EventEntry, PropertyEntry, fields_of
from polku_schemas.catalogue.markup import Markup, element, joined, spaced, trusted
from polku_schemas.catalogue.phrases import Section, prose
from polku_schemas.catalogue.wording import NO_LOG

_STATIC: Final = Path(__file__).parent / "static"

_MARK: Final = (
    '<svg viewBox="0 0 32 32" aria-hidden="true"><path d="M7 28c0-7 18-6 18-13S9 10 13 4" fill="none" '
    'stroke="currentColor" stroke-width="3" stroke-linecap="round"/><circle cx="7" cy="28" r="2.6" '
    'fill="currentColor"/><circle cx="13.6" cy="4" r="2.6" fill="currentColor"/></svg>'
)


def render_html(catalogue: Catalogue) -> str:
    """The whole page. The same catalogue gives the same bytes."""
    style, script = _static("catalogue.css"), _static("catalogue.js")
    shown = [section for section in _sections(catalogue) if section is not None]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="robots", content="noindex"),
        element("title", catalogue.title),
        element("style", trusted(style)),
    )
    body = element(
        "body",
        element("a", "Skip to the plan", class_="skip", href="#content"),
        _side(shown),
        element("main", _header(catalogue), [section.markup() for section in shown], _footer(catalogue), id="content"),
        element("p", id="status", role="status", class_="unseen"),
        element("script", _json(_index(catalogue)), type="application/json", id="index"),
        element("script", trusted(script)),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _sections(catalogue: Catalogue) -> list[Section | None]:
    """The page from top to bottom; what the plan has nothing for is left out."""
    return [
        sections.journey(catalogue),
        sections.touchpoints(catalogue),
        sections.events(catalogue),
        sections.properties(catalogue),
        sections.traits(catalogue),
        sections.privacy(catalogue),
        journey_sections.goals(catalogue),
        journey_sections.funnels(catalogue),
        journey_sections.segments(catalogue),
        journey_sections.targets(catalogue),
        journey_sections.dated_changes(catalogue),
        journey_sections.change_log(catalogue),
        journey_sections.sending(),
    ]


def _side(shown: list[Section]) -> Markup:
    links = [
        element(
            "li",
            element(
                "a",
                section.short,
                element("span", str(section.count), class_="count") if section.count is not None else None,
                href=f"#{section.name}",
            ),
        )
        for section in shown
    ]
    search = element(
        "div",
        element("label", "Search the plan", for_="search"),
        element(
            "input",
            id="search",
            type="search",
            role="combobox",
            placeholder="Search",
            autocomplete="off",
            spellcheck="false",
            aria_expanded="false",
            aria_controls="hits",
            aria_autocomplete="list",
            aria_describedby="search-help",
        ),
        element("kbd", "/", aria_hidden="true"),
        element("div", id="hits", role="listbox", aria_label="Hits", hidden=True),
        element("p", "Arrow keys choose a hit, Enter opens it, Escape clears.", id="search-help", class_="unseen"),
        class_="search scripted",
        role="search",
    )
    brand = element("a", trusted(_MARK), element("span", "Polku"), class_="brand", href="#content")
    nav = element("nav", element("ul", links), aria_label="Sections")
    return element("div", brand, search, nav, class_="side")


def _header(catalogue: Catalogue) -> Markup:
    plan = catalogue.plan
    about_people = [
        *(entry for entry in catalogue.properties.values() if entry.events or entry.events_within),
        *catalogue.traits.values(),
    ]
    careful = sum(entry.prop.privacy in ("sensitive", "personal") for entry in about_people)
    figures = [
        ("Events", len(plan.events), "#events"),
        ("Properties", len(plan.properties), "#properties"),
        *([("Traits", len(plan.traits), "#traits")] if plan.traits else []),
        ("Personal or sensitive", careful, "#privacy"),
        ("Owners", len(catalogue.owners), "#events"),
    ]
    facts = [
        ("Plan", joined(element("bdi", plan.name), " ", plan.version)),
        ("Fingerprint", element("code", plan.fingerprint)),
        ("Channels", spaced(element("bdi", name) for name in plan.channels)),
    ]
    return element(
        "header",
        element("h1", catalogue.title, dir="auto"),
        element("p", plan.description, class_="lede", dir="auto"),
        element(
            "dl",
            [element("div", element("dt", name), element("dd", value)) for name, value in facts],
            class_="facts",
        ),
        element(
            "ul",
            [
                element("li", element("a", element("b", f"{number:,}"), " ", element("span", name), href=where))
                for name, number, where in figures
            ],
            class_="key",
        ),
    )


def _footer(catalogue: Catalogue) -> Markup:
    plan = catalogue.plan
    made = [
        *("Made by ", element("code", "polku plan docs"), " from ", element("bdi", plan.name), f" {plan.version}, "),
        *("fingerprint ", element("code", plan.fingerprint), ". The collector checks events against the same files."),
    ]
    return element("footer", element("p", made), element("p", prose(NO_LOG)) if not catalogue.history else None)


def _index(catalogue: Catalogue) -> list[dict[str, object]]:
    """What the script searches and filters by, in the order of the page."""
    entries: list[dict[str, object]] = [_event_index(entry) for entry in catalogue.events.values()]
    entries += [_property_index("property", entry) for entry in catalogue.properties.values()]
    entries += [_property_index("trait", entry) for entry in catalogue.traits.values()]
    plan = catalogue.plan
    for kind, named in (
        ("goal", plan.goals),
        ("funnel", plan.funnels),
        ("segment", plan.segments),
        ("target", plan.targets),
    ):
        entries += [{"kind": kind, "name": item.name, "text": item.description} for item in named.values()]
    return entries


def _event_index(entry: EventEntry) -> dict[str, object]:
    event = entry.event
    return {
        "kind": "event",
        "name": event.name,
        "text": event.description,
        "aliases": event.aliases,
        "owner": event.owner,
        "properties": [
            name for prop in event.properties.values() for name in (prop.name, *fields_of(prop))
        ],
        "stage": entry.stages,
        "touchpoint": entry.touchpoints,
        "channel": entry.channels,
        "privacy": entry.privacy,
    }  # fmt: skip


def _property_index(kind: str, entry: PropertyEntry) -> dict[str, object]:
    prop = entry.prop
    privacy = [] if prop.privacy == PRIVACY_ORDER[-1] else [prop.privacy]
    return {"kind": kind, "name": prop.name, "text": prop.description, "privacy": privacy}


def _json(value: object) -> Markup:
    # A "</script>" in a name must not end the element, nor "<!--" begin a comment in it.
    return trusted(msgspec.json.encode(value).decode().replace("<", "\\u003c"))


def _policy(style: str, script: str) -> str:
    """Our own style and script may run, by their hashes; nothing is loaded, sent or framed."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _static(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")
