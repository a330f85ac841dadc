"""Names of generated types: pleasant where they can be, unique always, the same whatever is selected."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polku_schemas import Property
from polku_schemas.generate import SelectionError, python_source, typescript_source
from polku_schemas.generate.naming import Names, singular
from polku_schemas.generate.shapes import shapes_of
from tests.schemas.generate.world import SHOP, by_name, event, plan, prop


@pytest.mark.parametrize(
    ("many", "one"),
    [
        ("products", "product"), ("categories", "category"), ("addresses", "address"), ("boxes", "box"),
        ("batches", "batch"), ("filters", "filter"), ("status", "status"), ("analysis", "analysis"),
        ("time_series", "time_series"), ("data", "data"), ("class", "class"), ("s", "s"),
    ],
)  # fmt: skip
def test_one_of_many_has_the_name_of_one(many: str, one: str) -> None:
    assert singular(many) == one


def objects(name: str, *fields: Property) -> Property:
    return prop(name, "array", items=prop(name, "object", fields=by_name(fields)))


def test_where_two_would_share_a_name_the_event_keeps_it() -> None:
    reason = prop("product", "string", enum=("a", "b"))
    made = plan(event("product", objects("products", prop("x", "string")), reason))
    names = Names(made, frozenset())
    assert names.event("product") == "Product"
    assert names.object(made.properties["products"], "Product") == "ProductItem"
    assert names.enumeration(made.properties["product"]) == "ProductValue"


def test_events_that_differ_in_an_underscore_keep_theirs() -> None:
    names = Names(plan(event("order_2_paid"), event("order2_paid"), event("order_3_paid")), frozenset())
    assert [names.event(name) for name in ("order_2_paid", "order2_paid", "order_3_paid")] == [
        "Order_2_Paid",
        "Order2_Paid",
        "Order3Paid",
    ]


def test_words_of_the_language_are_no_names() -> None:
    made = plan(event("none"), event("literal"), event("traits_"), event("date"))
    assert "class NoneEvent(typed.Event" in python_source(made)
    assert "class LiteralEvent(typed.Event" in python_source(made)
    assert "class TraitsEvent(typed.Event" in python_source(made)
    assert "export type DateEvent = " in typescript_source(made)


def test_an_object_or_enum_that_a_use_has_changed_does_not_take_the_name_of_the_dictionary() -> None:
    colour = prop("colour", "string", enum=("red", "blue"))
    dictionary = [objects("products", prop("x", "string"), prop("y", "string")), colour]
    narrow = prop("colour", "string", enum=("red",))
    made = plan(
        event("bought", objects("products", prop("x", "string")), narrow),
        event("viewed", dictionary[0], colour),
        dictionary=dictionary,
    )
    source = python_source(made)
    assert "products: list[BoughtProduct] | None = None" in source
    assert "products: list[Product] | None = None" in source
    assert 'colour: Literal["red"] | None = None' in source
    assert "colour: Colour | None = None" in source


names = st.from_regex(r"[a-d][a-d0-9_]{0,3}", fullmatch=True)


@given(st.sets(names, min_size=1, max_size=8), st.sets(names, max_size=6), st.sets(names, max_size=6))
def test_all_names_of_a_plan_are_different(events: set[str], lists: set[str], enums: set[str]) -> None:
    properties = [objects(name, prop("x", "string")) for name in sorted(lists)]
    properties += [prop(name, "string", enum=("a",)) for name in sorted(enums - lists)]
    made = plan(
        *(event(name, *properties) for name in sorted(events)), traits=[objects(n, prop("y", "string")) for n in lists]
    )
    shapes = shapes_of(made, frozenset({"A", "B"}))
    found = [shape.type_name for shape in shapes.with_fields()] + [one.type_name for one in shapes.enumerations]
    assert len(set(found)) == len(found)
    assert not {"A", "B"} & set(found)
    assert all(name.isidentifier() for name in found)


def test_a_part_of_a_plan_has_the_names_of_the_whole_and_only_what_it_needs() -> None:
    whole = python_source(SHOP)
    part = python_source(SHOP, {"order_completed"})
    classes = part.partition("\n\n\n")[2]
    assert "class Product(" in part
    assert "class PageViewed(" not in part
    assert "class Traits(" not in part
    assert "PageType" not in part
    assert all(one in whole for one in classes.split("\n\n\n"))
    assert "class Traits(" in python_source(SHOP, {"traits"})


def test_a_selection_that_the_plan_has_not_names_what_is_near() -> None:
    with pytest.raises(SelectionError, match="no event `order_complete`: did you mean `order_completed`"):
        python_source(SHOP, {"order_complete"})
    with pytest.raises(SelectionError, match="see `polku plan list`"):
        python_source(SHOP, {"zzz"})
    with pytest.raises(SelectionError, match="no event is selected"):
        python_source(SHOP, set())
    with pytest.raises(SelectionError, match="`traits`"):
        python_source(plan(event("a")), {"traits"})
