"""Stage, touchpoint and channel as SQL give what the rules of the plan say, on every example of the built-in plan."""

import itertools
from types import SimpleNamespace
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pytest

from polku_schemas import (
    builtin_plan_path,
    channel_sql,
    compile_plan,
    load_plan,
    segment_sql,
    stage_sql,
    stage_values,
    table_columns,
    touchpoint_sql,
    trait_columns,
)
from polku_schemas.model import HISTORY_FACTS
from polku_schemas.rules import first_match, holds

PLAN = load_plan(builtin_plan_path())
COMPILED = compile_plan(PLAN)
_ARROW: dict[str, pa.DataType] = {
    "string": pa.string(),
    "long": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
}


@pytest.fixture(scope="module")
def world() -> tuple[list[dict[str, Any]], duckdb.DuckDBPyConnection]:
    """Every example of every event, once for each history a person can have, as Python rows and as a table."""
    columns: dict[str, pa.DataType] = {"n": pa.int64(), "event_name": pa.string(), "channel": pa.string()}
    columns |= {fact: pa.bool_() for fact in HISTORY_FACTS}
    columns |= {name: _ARROW[kind] for name, kind in table_columns(PLAN).items() if kind in _ARROW}
    rows = []
    for event in PLAN.events.values():
        compiled = COMPILED.find("track", event.name)
        assert compiled is not None
        examples = [msgspec.json.encode(example) for example in event.examples]
        # Every value a rule asks for is tried, also those no example has.
        for rule in (*event.stage, *event.touchpoint, *event.channel):
            for comparison in rule.when:
                values = comparison.literal if isinstance(comparison.literal, tuple) else (comparison.literal,)
                if comparison.name in event.properties:
                    without = {key: kept for key, kept in event.examples[0].items() if key != comparison.name}
                    if not event.properties[comparison.name].required:
                        examples.append(msgspec.json.encode(without))
                    examples += [msgspec.json.encode(event.examples[0] | {comparison.name: value}) for value in values]
        for raw, facts in itertools.product(examples, itertools.product([True, False, None], repeat=3)):
            decoded = msgspec.structs.asdict(compiled.decode(raw))
            known = {name: value for name, value in decoded.items() if name in columns}
            rows.append(
                {"event_name": event.name, "channel": "web"} | known | dict(zip(HISTORY_FACTS, facts, strict=True))
            )
    table = pa.Table.from_pylist([{"n": n} | row for n, row in enumerate(rows)], schema=pa.schema(columns))
    connection = duckdb.connect()
    connection.register("e", table)
    return rows, connection


@pytest.mark.parametrize("alias", ["", "e"])
def test_sql_says_what_the_rules_say(world: tuple[list[dict[str, Any]], duckdb.DuckDBPyConnection], alias: str) -> None:
    rows, connection = world
    sql = (
        f"SELECT {stage_sql(PLAN, alias)}, {touchpoint_sql(PLAN, alias)}, {channel_sql(PLAN, alias)} FROM e ORDER BY n"
    )
    found = connection.execute(sql).fetchall()
    expected = []
    for row in rows:
        event = PLAN.events[row["event_name"]]
        rules = (event.stage, event.touchpoint, event.channel)
        stage, touchpoint, channel = (first_match(rule, row.get) for rule in rules)
        expected.append((stage, touchpoint, channel or "web"))
    assert found == expected
    assert len(rows) > 27 * 50
    assert {stage for stage, _, _ in found} == {*PLAN.stages, None}


def test_every_branch_of_every_rule_is_taken(world: tuple[list[dict[str, Any]], duckdb.DuckDBPyConnection]) -> None:
    rows, _ = world
    for event in PLAN.events.values():
        taken = {first_match(event.stage, row.get) for row in rows if row["event_name"] == event.name}
        assert taken - {None} == set(stage_values(event)), event.name


def test_intake_and_models_agree_on_the_channel(world: tuple[list[dict[str, Any]], duckdb.DuckDBPyConnection]) -> None:
    rows, connection = world
    found = connection.execute(f"SELECT {channel_sql(PLAN)} FROM e ORDER BY n").fetchall()
    for row, (channel,) in zip(rows, found, strict=True):
        compiled = COMPILED.find("track", row["event_name"])
        assert compiled is not None
        values = {name: row.get(name) for name in compiled.struct.__struct_fields__}
        given: Any = SimpleNamespace(**values)  # some are values that the event requires, and are not here
        assert (compiled.channel_of(given) or "web") == channel


def test_an_event_outside_the_plan_has_no_stage_and_keeps_its_channel(
    world: tuple[list[dict[str, Any]], duckdb.DuckDBPyConnection],
) -> None:
    _, connection = world
    sql = (
        f"SELECT {stage_sql(PLAN)}, {channel_sql(PLAN)} FROM (SELECT * REPLACE ('danced' AS event_name) FROM e LIMIT 1)"
    )
    assert connection.execute(sql).fetchall() == [(None, "web")]


def test_a_plan_without_events_is_still_sql() -> None:
    empty = msgspec.structs.replace(PLAN, events={})
    sql = f"SELECT {stage_sql(empty)}, {channel_sql(empty, 'x')} FROM (SELECT 'web' AS channel) AS x"
    assert duckdb.connect().execute(sql).fetchall() == [(None, "web")]


def test_segments_choose_persons() -> None:
    columns: dict[str, pa.DataType] = {"n": pa.int64()}
    columns |= {name: _ARROW[kind] for name, kind in trait_columns(PLAN).items() if kind in _ARROW}
    columns |= {"orders": pa.int64(), "revenue": pa.float64(), "sessions": pa.int64(), "known_person": pa.bool_()}
    persons: list[dict[str, Any]] = [
        {"trait_kids_count": "3+", "orders": 12, "known_person": True},
        {"trait_age_band": "65+", "orders": 1, "trait_loyalty_tier": "gold", "known_person": True},
        {"trait_age_band": "19-24", "orders": 0, "known_person": True},
        {"orders": 0, "known_person": False},
    ]
    connection = duckdb.connect()
    rows = [{"n": n} | person for n, person in enumerate(persons)]
    connection.register("p", pa.Table.from_pylist(rows, schema=pa.schema(columns)))
    for segment in PLAN.segments.values():
        found = connection.execute(f"SELECT n FROM p WHERE {segment_sql(segment, 'p')} ORDER BY n").fetchall()
        assert [n for (n,) in found] == [n for n, p in enumerate(persons) if holds(segment.when, p.get)], segment.name
        assert found, segment.name
