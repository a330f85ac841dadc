"""Verdicts equal those of a JSON Schema validator, on made-up plans and documents, but for the listed differences.

The long run: `pytest tests/oracles --documents 100000`.
"""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from polku_schemas import Checked, Problem, builtin_plan_path, event_schema, load_plan
from tests.docs.blocks import ROOT, tables_of
from tests.oracles.differences import DIFFERENCES, Difference
from tests.oracles.documents import around, bases, written
from tests.oracles.plans import Properties, properties
from tests.oracles.tally import TALLY, Tally
from tests.oracles.verdicts import Twin

SHORT_RUN = 4_000
LONG_RUN = 100_000
PLAN = load_plan(builtin_plan_path())


@st.composite
def cases(draw: st.DrawFn) -> tuple[Properties, list[Any]]:
    planned = draw(properties())
    return planned, draw(bases(planned))


def test_verdicts_equal_those_of_a_json_schema_validator(pytestconfig: pytest.Config) -> None:
    wanted = pytestconfig.getoption("documents", None) or SHORT_RUN
    seen: set[int] = set()

    @settings(
        max_examples=max(1, wanted // 100),
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(cases())
    def compare(case: tuple[Properties, list[Any]]) -> None:
        planned, made = case
        twin, plan = Twin(planned), msgspec.json.encode(planned)
        new = False
        made.sort(key=lambda value: not twin.accepts(written(value)))  # what is near one that fits is worth more
        for raw in around(made, planned):
            # Hypothesis likes to try things again: only what is new is counted.
            is_new = (key := hash((plan, raw))) not in seen
            compare_one(twin, raw, TALLY if is_new else Tally())
            seen.add(key)
            new = new or is_new
        TALLY.plans += new

    # A seed a round: where hypothesis derandomises (it does in CI) each round would make the same documents again.
    while TALLY.documents < wanted:
        seed(TALLY.seed + TALLY.rounds)(compare)()
        TALLY.rounds += 1
    assert 0.25 < TALLY.accepted / TALLY.documents < 0.75, "neither verdict is a rarity"
    if wanted >= LONG_RUN:
        assert set(TALLY.fired) == {difference.name for difference in DIFFERENCES}, "each difference is met with"


def compare_one(twin: Twin, raw: bytes, tally: Tally) -> None:
    checked, fast = twin.polku(raw)
    accepted, other = isinstance(checked, Checked), twin.accepts(raw)
    tally.verdicts[accepted, other] += 1
    tally.fast += fast
    if accepted != other:
        tally.fired.update(explained(twin, raw, checked))
    if isinstance(checked, Checked):
        stored = msgspec.json.encode(checked.values)
        again = twin.compiled.decode(stored)
        assert (again, msgspec.json.encode(again)) == (checked.values, stored), "what is stored reads back the same"
        if not twin.accepts(stored):
            explained(twin, stored, Checked(again, {}, False))


def explained(twin: Twin, raw: bytes, checked: Checked | Problem) -> list[str]:
    """The differences that explain why only one side accepts a document."""
    names = []
    for objection in twin.objections(raw, checked):
        found = [difference.name for difference in DIFFERENCES if difference.explains(objection)]
        assert found, f"no listed difference explains {objection} to {checked}"
        names += found
    assert names
    return names


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.name)
def test_each_difference_has_a_document_that_shows_it_and_nothing_else(difference: Difference) -> None:
    prop, raw = difference.witness
    twin = Twin({prop.name: prop})
    checked, _ = twin.polku(raw)
    assert isinstance(checked, Checked) != twin.accepts(raw)
    assert set(explained(twin, raw, checked)) == {difference.name}


def test_the_page_lists_the_differences_as_they_are() -> None:
    table = tables_of(ROOT / "docs" / "plan-validation.md")["Where Polku decides otherwise"]
    assert [cells for name, cells in table.items() if name != "about"] == [
        [difference.name, difference.polku, difference.validator, difference.why] for difference in DIFFERENCES
    ]


@pytest.mark.parametrize("name", PLAN.events)
def test_each_event_of_the_plan_has_a_schema_that_takes_its_examples(name: str) -> None:
    schema = event_schema(PLAN.events[name])
    jsonschema_rs.meta.validate(schema)
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    for example in json.loads(json.dumps(schema))["examples"]:
        validator.validate(example)
    assert not validator.is_valid(dict.fromkeys(schema.get("required", ["x"])) if "required" in schema else [])
