"""Changes as they happen to schemas in a registry like Iglu Central, published with the number their author thought of.

The schemas are like `link_click`, `geolocation_context` and `mobile_context` there, the changes are ours: most of them
are what users of registries complain about, a breaking change that is published as an addition (`1-0-1` is `1.1` here).
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from polku_schemas import load_plan
from polku_schemas.compare import DifferenceKind as K
from polku_schemas.compare import compare

WritePlan = Callable[..., Path]

PLAN = """\
name: registry
version: "1.0"
description: Schemas like those of a registry.
stages: [interest, purchase]
channels: [web]
"""
PROPERTIES = """\
target_url: {type: string, description: Where the link leads., privacy: none, min_length: 1, max_length: 4096}
element_id: {type: string, description: Id of the element., privacy: none, max_length: 255}
element_classes:
  type: array
  description: Classes of the element.
  privacy: none
  max_length: 50
  items: {type: string, max_length: 255}
element_target: {type: string, description: Frame or window., privacy: none, enum: [_self, _blank, _parent]}
latitude: {type: number, description: Degrees north., privacy: none, minimum: -90, maximum: 90}
longitude: {type: number, description: Degrees east., privacy: none, minimum: -180, maximum: 180}
bearing: {type: number, description: Direction in degrees., privacy: none}
measured_at: {type: date-time, description: When it was measured., privacy: none}
referrer_text: {type: string, description: Text around the link., privacy: none}
network_type: {type: string, description: Kind of network., privacy: none, enum: [mobile, wifi, offline]}
carrier: {type: string, description: Name of the carrier., privacy: none}
open_idfa: {type: string, description: Id of the device., privacy: pseudonymous, pattern: "^[0-9A-F-]{36}$"}
battery_level: {type: integer, description: Percent., privacy: none, minimum: 0, maximum: 100}
price: {type: number, description: Price of one piece., privacy: none, minimum: 0}
quantity: {type: integer, description: Pieces., privacy: none}
position:
  type: object
  description: Where the device is.
  privacy: none
  properties:
    latitude: {required: true}
    longitude: {required: true}
    bearing: {}
lines:
  type: array
  description: What is in the cart.
  privacy: none
  items:
    type: object
    properties:
      price: {}
      quantity: {required: true}
"""
EVENT = """\
name: link_click
aliases: [Link Click, clicked_link]
version: "1.0"
owner: web
description: A link was followed.
stage: interest
touchpoint: link
properties:
  target_url: {required: true}
  element_id: {}
  element_classes: {}
  element_target: {}
  position: {}
  network_type: {required: true}
  open_idfa: {}
  battery_level: {}
  carrier: {}
  lines: {}
examples:
  - {target_url: "https://shop.example/", network_type: wifi, element_id: buy}
"""
FILES = {"plan.yaml": PLAN, "properties.yaml": PROPERTIES, "events/link_click.yaml": EVENT, "events/paid.yaml": None}


class Case(NamedTuple):
    """A replacement in one of the files, the version it was published with, and what it really is."""

    old: str
    new: str
    published: str
    kind: K
    name: str
    needed: str | None
    """None: it can be published under no version."""


CASES = {
    "a field is added": Case(
        "  element_id: {}", "  element_id: {}\n  referrer_text: {}", "1.1", K.PROPERTY_ADDED, "referrer_text", "1.1"
    ),
    "a field is added under the old number": Case(
        "  element_id: {}", "  element_id: {}\n  referrer_text: {}", "1.0", K.PROPERTY_ADDED, "referrer_text", "1.1"
    ),
    "a required field is added": Case(
        "examples:\n  - {",
        '  measured_at: {required: true}\nexamples:\n  - {measured_at: "2026-01-31T12:00:00Z", ',
        "1.1", K.REQUIRED_PROPERTY_ADDED, "measured_at", "2.0",
    ),
    "a required field is added inside an object": Case(
        "    bearing: {}", "    bearing: {}\n    measured_at: {required: true}", "1.1",
        K.REQUIRED_PROPERTY_ADDED, "position.measured_at", "2.0",
    ),
    "an optional field becomes required": Case(
        "element_id: {}", "element_id: {required: true}", "1.1", K.BECAME_REQUIRED, "element_id", "2.0"
    ),
    "a field is removed": Case("  element_target: {}\n", "", "1.1", K.PROPERTY_REMOVED, "element_target", "2.0"),
    "a field is removed inside a list": Case(
        "      price: {}\n", "", "1.1", K.PROPERTY_REMOVED, "lines.price", "2.0"
    ),
    "integer becomes number": Case(
        "quantity: {type: integer", "quantity: {type: number", "2.0", K.TYPE_CHANGED, "lines.quantity", None
    ),
    "number becomes string": Case(
        "price: {type: number, description: Price of one piece., privacy: none, minimum: 0}",
        "price: {type: string, description: Price of one piece., privacy: none}",
        "2.0", K.TYPE_CHANGED, "lines.price", None,
    ),
    "a string becomes a list": Case(
        "carrier: {type: string, description: Name of the carrier., privacy: none}",
        "carrier: {type: array, description: Names of carriers., privacy: none, items: {type: string}}",
        "2.0", K.TYPE_CHANGED, "carrier", None,
    ),
    "a length shrinks": Case(
        "min_length: 1, max_length: 4096", "min_length: 1, max_length: 1024", "1.1",
        K.CONSTRAINT_TIGHTENED, "target_url", "2.0",
    ),
    "a length grows": Case(
        "min_length: 1, max_length: 4096", "min_length: 1, max_length: 8192", "1.1",
        K.CONSTRAINT_LOOSENED, "target_url", "1.1",
    ),
    "a list gets shorter": Case(
        "  max_length: 50", "  max_length: 20", "1.1", K.CONSTRAINT_TIGHTENED, "element_classes", "2.0"
    ),
    "the items of a list get shorter": Case(
        "items: {type: string, max_length: 255}", "items: {type: string, max_length: 64}", "1.1",
        K.CONSTRAINT_TIGHTENED, "element_classes[]", "2.0",
    ),
    "a bound is added to an open number": Case(
        "Direction in degrees., privacy: none", "Direction in degrees., privacy: none, minimum: 0, maximum: 360", "1.1",
        K.CONSTRAINT_TIGHTENED, "position.bearing", "2.0",
    ),
    "an enum loses a value": Case(
        "[mobile, wifi, offline]", "[mobile, wifi]", "1.1", K.ENUM_VALUE_REMOVED, "network_type", "2.0"
    ),
    "an enum gets a value": Case(
        "[mobile, wifi, offline]", "[mobile, wifi, offline, satellite]", "1.1",
        K.ENUM_VALUE_ADDED, "network_type", "1.1",
    ),
    "a pattern is corrected": Case(
        "^[0-9A-F-]{36}$", "^[0-9a-f-]{36}$", "1.1", K.CONSTRAINT_REPLACED, "open_idfa", "2.0"
    ),
    "an old name is dropped": Case(", clicked_link]", "]", "1.1", K.ALIAS_REMOVED, "", "2.0"),
    "a description is corrected": Case("A link was followed.", "A link.", "1.0", K.WORDING_CHANGED, "", "1.0"),
}  # fmt: skip


@pytest.mark.parametrize("title", CASES)
def test_a_change_is_what_it_is_whatever_its_number(title: str, write_plan: WritePlan, tmp_path: Path) -> None:
    case = CASES[title]
    old = load_plan(write_plan(FILES))
    files = {file: text and text.replace(case.old, case.new) for file, text in FILES.items()}
    assert files != FILES
    event = files["events/link_click.yaml"]
    assert event is not None
    files["events/link_click.yaml"] = event.replace('version: "1.0"', f'version: "{case.published}"')
    new = load_plan(write_plan(files))

    found = compare(old, new)
    kinds = {(each.kind, each.name) for each in found.differences}
    assert kinds - {(K.WORDING_CHANGED, "")} == {(case.kind, case.name)} - {(K.WORDING_CHANGED, "")}
    need = next(need for need in found.versions if need.event == "link_click")
    assert kinds
    if case.needed is None:
        assert found.impossible
    else:
        assert not found.impossible
        assert (need.needed, need.met) == (case.needed, case.published >= case.needed)


def test_most_of_them_are_published_wrongly() -> None:
    """What a registry takes without a word, and this plan's users are told before the first event."""
    wrong = [title for title, case in CASES.items() if case.needed is None or case.published < case.needed]
    assert len(wrong) == 16
