"""Faults of constraints: a plan without them has a value for every property, and a use lets nothing new through."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from polku_schemas.lint.constraints import faults, looser, value_problem
from polku_schemas.model import Property

INTEGERS = list(range(-4, 5))
TEXTS = ["", "a", "b", "ab", "ba", "abc", "bbb"]

integer_constraints: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "enum": st.lists(st.sampled_from(INTEGERS), min_size=1, max_size=3, unique=True).map(tuple),
        "minimum": st.sampled_from(INTEGERS),
        "maximum": st.sampled_from(INTEGERS),
    },
)
text_constraints: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "enum": st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3, unique=True).map(tuple),
        "min_length": st.integers(0, 3),
        "max_length": st.integers(0, 3),
        "pattern": st.sampled_from(["a", "b$"]),
    },
)


def accepted(prop: Property) -> set[Any]:
    return {value for value in (INTEGERS if prop.type == "integer" else TEXTS) if value_problem(prop, value) is None}


@given(st.sampled_from(["integer", "string"]), st.data())
def test_a_property_without_faults_has_a_value(kind: Any, data: st.DataObject) -> None:
    own = data.draw(integer_constraints if kind == "integer" else text_constraints)
    prop = Property(name="x", type=kind, description="", **own)
    found = [fault for fault in faults(prop) if fault.code == "impossible_constraint"]
    if kind == "integer" or "pattern" not in own or "enum" in own:
        assert bool(accepted(prop)) or found
    if prop.enum and not found:
        assert accepted(prop) == set(prop.enum)


@given(st.sampled_from(["integer", "string"]), st.data())
def test_a_use_that_is_not_looser_lets_nothing_new_through(kind: Any, data: st.DataObject) -> None:
    constraints = integer_constraints if kind == "integer" else text_constraints
    known = Property(name="x", type=kind, description="", **data.draw(constraints))
    own = data.draw(constraints)
    use = replace(known, **own)
    if not list(looser(own, known)):
        assert accepted(use) <= accepted(known)


@given(st.sampled_from(["integer", "string"]), st.data())
def test_a_bound_or_enum_that_lets_something_new_through_is_looser(kind: Any, data: st.DataObject) -> None:
    """Each constraint on its own: together another one may forbid what it lets through."""
    constraints = integer_constraints if kind == "integer" else text_constraints
    said, own = data.draw(constraints), data.draw(constraints)
    for key, value in own.items():
        if key not in said:
            continue
        known = Property(name="x", type=kind, description="", **{key: said[key]})
        use = replace(known, **{key: value})
        if not accepted(use) <= accepted(known):
            assert [fault.keys for fault in looser({key: value}, known)] == [(key,)]
