"""Reference tables of a plan: what their files say, and what is said of those that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from polku_schemas import builtin_plan_path, load_plan, read_plan

WritePlan = Callable[..., Path]

STORES = """\
description: Our stores.
keys: [store_id]
columns:
  store_id: {type: string, description: Key.}
  opened_on: {type: date, required: true, description: First day.}
"""


def test_a_table_has_columns_and_a_key(write_plan: WritePlan) -> None:
    table = load_plan(write_plan({"reference/stores.yaml": STORES})).reference["stores"]

    assert (table.description, table.keys) == ("Our stores.", ("store_id",))
    assert {name: (column.type, column.required) for name, column in table.columns.items()} == {
        "store_id": ("string", True),
        "opened_on": ("date", True),
    }


def test_a_table_changes_the_fingerprint(write_plan: WritePlan) -> None:
    without = load_plan(write_plan()).fingerprint
    assert load_plan(write_plan({"reference/stores.yaml": STORES})).fingerprint != without


def test_what_is_wrong_with_a_table_is_found(write_plan: WritePlan) -> None:
    text = "description: A.\nkeys: [a, c]\ncolumns:\n  a: {type: strin, description: A., unit: kg}\n"
    report = read_plan(write_plan({"reference/a.yaml": text, "reference/b.csv": "a,b\n"}))

    found = [
        (finding.file, finding.line, finding.message) for finding in report.findings if finding.severity == "error"
    ]
    assert ("reference/a.yaml", 2, "there is no column `c`") in found
    assert ("reference/a.yaml", 4, "`type` is `strin`") in found
    assert any(file == "reference/a.yaml" and "`unit`" in message for file, _, message in found)
    assert ("reference/b.csv", None, "this file is not read") in found


def test_the_built_in_plan_has_the_tables_that_the_models_know() -> None:
    reference = load_plan(builtin_plan_path()).reference

    assert {name: table.keys for name, table in reference.items()} == {
        "agents": ("agent_id",),
        "capacity": ("resource", "date"),
        "products": ("product_id",),
        "spend": ("date", "marketing_channel", "utm_campaign"),
    }
