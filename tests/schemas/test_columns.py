"""The columns the plan gives the tables."""

import re

import pytest

from polku_schemas import (
    ENVELOPE_COLUMNS,
    builtin_plan_path,
    event_columns,
    load_plan,
    table_columns,
    trait_columns,
)

PLAN = load_plan(builtin_plan_path())
_SCALAR = "string|long|double|boolean|date|timestamp"
_STRUCT = rf"struct<\w+:({_SCALAR})(,\w+:({_SCALAR}))*>"
_NEUTRAL = re.compile(rf"{_SCALAR}|list<({_SCALAR}|{_STRUCT})>|{_STRUCT}")


@pytest.mark.parametrize(
    ("event", "column", "kind"),
    [
        ("product_viewed", "product_id", "string"),
        ("product_viewed", "price", "double"),
        ("product_viewed", "quantity", "long"),
        ("product_viewed", "in_stock", "boolean"),
        ("campaign_received", "campaign_start", "date"),
        ("order_delivered", "delivered_at", "timestamp"),
        ("page_viewed", "page_type", "string"),
        ("product_list_filtered", "filters", "list<struct<filter_type:string,filter_value:string>>"),
    ],
)
def test_a_type_of_the_plan_has_one_column_type(event: str, column: str, kind: str) -> None:
    assert event_columns(PLAN.events[event])[column] == kind


def test_traits_are_prefixed_and_come_last() -> None:
    columns = table_columns(PLAN)
    traits = trait_columns(PLAN)
    assert list(columns)[-len(traits) :] == list(traits)
    assert traits["trait_interests"] == "list<string>"
    assert all(name.startswith("trait_") for name in traits)


def test_the_table_has_the_columns_of_every_event_with_the_same_type() -> None:
    columns = table_columns(PLAN)
    for event in PLAN.events.values():
        assert event_columns(event).items() <= columns.items()
    assert not set(columns) & set(ENVELOPE_COLUMNS)
    assert len({name.lower() for name in columns}) == len(columns)


def test_every_type_is_one_that_all_engines_have() -> None:
    for name, kind in (ENVELOPE_COLUMNS | table_columns(PLAN)).items():
        assert _NEUTRAL.fullmatch(kind), (name, kind)
