"""docs/plan-format.md: the files it shows are a plan that loads, and its tables are complete."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from polku_schemas import builtin_plan_path, load_plan
from polku_schemas.finding_codes import DESCRIPTIONS, WARNINGS
from polku_schemas.foreign_words import KEYS
from polku_schemas.lint.constraints import CONSTRAINTS
from polku_schemas.model import PropertyType, StringFormat
from polku_schemas.plan import read_plan
from tests.docs.blocks import ROOT, tables_of
from tests.schemas.conftest import SMALL_PLAN
from tests.schemas.test_foreign_words import JSON_SCHEMA, OURS

WritePlan = Callable[..., Path]

PAGE = ROOT / "docs" / "plan-format.md"
TEXT = PAGE.read_text(encoding="utf-8")
TABLES = tables_of(PAGE)
BUILTIN = builtin_plan_path()


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def keys_of(heading: str) -> set[str]:
    """The keys in the first column of the first table under a heading."""
    rows = TABLES[heading].values()
    return {word for row in rows for word in words(row[0])}


def test_the_examples_of_the_page_are_a_plan(write_plan: WritePlan) -> None:
    blocks = [block for block in re.findall(r"(?<!-->\n)```yaml\n(.*?)```", TEXT, re.DOTALL) if "- run:" not in block]
    price, privacy, products, order, journey = blocks
    scalars = "".join(
        f"{name}: {{type: {kind}, description: Shown., privacy: none}}\n"
        for name, kind in [("product_id", "string"), ("quantity", "integer"), ("order_id", "string"),
                           ("revenue", "number"), ("coupon", "string")]
    )  # fmt: skip
    files = {
        "plan.yaml": (BUILTIN / "plan.yaml").read_text(encoding="utf-8") + privacy,
        "properties.yaml": scalars + price + products,
        "traits.yaml": (BUILTIN / "traits.yaml").read_text(encoding="utf-8"),
        "events/paid.yaml": None,
        "events/order_completed.yaml": order,
    }
    for name in ("store_order_completed", "campaign_received", "coupon_received"):
        other = order.replace("order_completed", name).replace("Order Completed", name.title())
        files[f"events/{name}.yaml"] = other.replace("first_order", "known_person")
    parts = re.split(r"# (\w+\.yaml):", journey)[1:]
    files |= {f"journey/{name}": "# " + text for name, text in zip(parts[::2], parts[1::2], strict=True)}
    plan = load_plan(write_plan(files))
    assert set(plan.privacy) == {"personal", "sensitive"}
    assert (len(plan.goals), len(plan.funnels), len(plan.segments), len(plan.targets), len(plan.changes)) == (1,) * 5


def test_the_page_counts_the_events_of_the_builtin_plan() -> None:
    assert f"(`schemas/plan`, {len(load_plan(BUILTIN).events)} events)" in TEXT


def test_the_page_has_every_code_with_its_severity_and_sentence() -> None:
    listed = {code: cells[1:] for code, cells in TABLES["Findings"].items() if code != "code"}
    assert listed == {
        str(code): ["warning" if code in WARNINGS else "error", sentence] for code, sentence in DESCRIPTIONS.items()
    }


@pytest.mark.parametrize(
    ("heading", "file", "before"),
    [
        ("The plan", "plan.yaml", "name: small\n"),
        ("Events", "events/paid.yaml", "name: paid\n"),
    ],
)
def test_the_page_has_every_key_the_loader_knows(write_plan: WritePlan, heading: str, file: str, before: str) -> None:
    text = SMALL_PLAN[file].replace(before, before + "zzzzzz: 1\n", 1)
    assert keys_of(heading) == known_keys(write_plan({file: text}), file)


def test_the_page_has_every_key_of_a_property(write_plan: WritePlan) -> None:
    head = "thing:\n  description: T.\n  privacy: none\n"
    scalars = [kind for kind in get_args(PropertyType) if kind not in ("array", "object")]
    bodies = {
        "dictionary": [f"  type: {kind}\n  zzzzzz: 1\n" for kind in scalars],
        "items": [f"  type: array\n  items: {{type: {kind}, zzzzzz: 1}}\n" for kind in scalars],
        "use": ["  type: object\n  properties: {count: {zzzzzz: 1}, word: {zzzzzz: 1}}\n"],
    }
    word = "word: {type: string, description: W., privacy: none}\n"
    for place, texts in bodies.items():
        known: set[str] = set()
        for text in texts:
            properties = SMALL_PLAN["properties.yaml"] + word + head + text
            known |= known_keys(write_plan({"properties.yaml": properties}), "properties.yaml")
        # `items` and `properties` belong to the types without a scalar.
        known |= {"dictionary": {"items", "properties"}, "items": {"properties"}}.get(place, set())
        rows = TABLES["Properties and traits"].values()
        assert {key for row in rows for key in words(row[0]) if place in row[1]} == known, place


def known_keys(folder: Path, file: str) -> set[str]:
    """The keys that the remedies of `zzzzzz` offer: every key known where it stands."""
    remedies = [
        finding.remedy
        for finding in read_plan(folder).findings
        if finding.file == file and finding.code == "unknown_key"
    ]
    assert remedies
    return {key for remedy in remedies for key in remedy.removeprefix("Use one of ").split(", ")}


def test_the_page_has_every_type_with_its_constraints() -> None:
    rows = TABLES["Types"]
    assert [name for name in rows if name != "type"] == list(get_args(PropertyType))
    for kind in get_args(PropertyType):
        assert tuple(words(rows[kind][3])) == CONSTRAINTS.get(kind, ())


def test_the_page_has_every_format() -> None:
    assert [name for name in TABLES["Formats"] if name != "format"] == list(get_args(StringFormat))


def test_the_page_has_every_word_of_json_schema() -> None:
    listed = {word: cells[1] for cells in TABLES["What JSON Schema calls it"].values() for word in words(cells[0])}
    assert listed == {word: KEYS[word] for word in JSON_SCHEMA if word not in OURS}
