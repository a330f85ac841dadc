"""A generated event can be made exactly when the collector would accept it, and says the same words when not.

Tried on generated plans and documents. The differences there are on purpose stand in docs/plan-generate.md:

- a name the plan has not is refused (the collector keeps it beside the event);
- a moment that falls outside the years 1 to 9999 in UTC is not noticed.
"""

import json
import keyword
from typing import Any
from uuid import UUID

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import polku
from polku import typed
from polku.event import encode_object
from polku_schemas import Checked, Event, Problem, Property, builtin_plan_path, compile_plan, load_plan
from polku_schemas.formats import FORMATS
from polku_schemas.generate import python_source
from polku_schemas.lint.constraints import value_problem
from tests.schemas.generate.world import by_name, event, module_of, plan, prop

# Words a class body uses itself, words of Python, and plain ones.
NAMES = [
    *(
        "date",
        "datetime",
        "str",
        "int",
        "float",
        "bool",
        "list",
        "typed",
        "self",
        "cls",
        "id",
        "type",
        "match",
        "print",
    ),
    *("order_id", "a", "b1", "items", "products", "categories", "series", "name", "values", "default", "private"),
]
PATTERNS = ["^a", "b$", r"^\d+$", "^[A-Z]{2}$", 'say "hi"', r"\\", "é|ö", "'"]
names = st.sampled_from(NAMES)
privacies = st.sampled_from(["none", "none", "pseudonymous", "personal", "sensitive"])


def bounds(low: str, high: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """None, one or both ends, in order."""
    pair = st.tuples(values, values).map(sorted)
    return st.one_of(
        st.just({}),
        values.map(lambda value: {low: value}),
        values.map(lambda value: {high: value}),
        pair.map(lambda ends: {low: ends[0], high: ends[1]}),
    )


def enums(values: list[Any]) -> dict[str, Any]:
    """In one order: `typing` takes enums of the same members for the same and gives out the first it has seen."""
    return {"enum": tuple(sorted(values))}


def scalars(name: str) -> st.SearchStrategy[Property]:
    lengths = bounds("min_length", "max_length", st.integers(0, 4))
    patterns = st.just({}) | st.sampled_from(PATTERNS).map(lambda pattern: {"pattern": pattern})
    formats = st.just({}) | st.sampled_from(sorted(FORMATS)).map(lambda form: {"format": form})
    texts = st.lists(st.text(max_size=4) | st.sampled_from(["a", "b"]), min_size=1, max_size=3, unique=True)
    # No 1.0 beside 1: `typing` takes constraints that are equal for the same, as it does enums.
    numbers = st.integers(-3, 3) | st.sampled_from([-2.5, -0.5, 0.1, 2.75])
    constraints: list[tuple[str, st.SearchStrategy[dict[str, Any]]]] = [
        ("string", st.builds(lambda lengths, pattern: lengths | pattern, lengths, patterns)),
        ("string", st.builds(lambda form, pattern: form | pattern, formats, patterns)),
        ("string", texts.map(enums)),
        ("integer", bounds("minimum", "maximum", st.integers(-3, 3))),
        ("integer", st.lists(st.integers(-2, 2), min_size=1, unique=True).map(enums)),
        ("number", bounds("minimum", "maximum", numbers)),
        *((kind, st.just({})) for kind in ("boolean", "date", "date-time", "uuid")),
    ]
    return st.sampled_from(constraints).flatmap(
        lambda kind: st.builds(lambda more, privacy: prop(name, kind[0], privacy=privacy, **more), kind[1], privacies)
    )


DEFAULTS = ["a", "ab", "FI", "12", "a@b.example", "2026-02-28", "2026-01-31T12:00:00+02:00", 0, 1, 1.5, True, False]


def used(one: Property, required: bool, nullable: bool, default: bool) -> Property:
    """A property as an event has it: with the first default that fits, if it is to have one."""
    one = msgspec.structs.replace(one, required=required, nullable=nullable)
    if not default or required or one.type in ("array", "object"):
        return one
    fitting = (value for value in [*one.enum, *DEFAULTS, str(UUID(int=7))] if value_problem(one, value) is None)
    return msgspec.structs.replace(one, default=next(fitting, None))


def several(build: Any, at_most: int) -> st.SearchStrategy[list[Property]]:
    """Properties of different names, in the order in which they are generated."""

    def chosen(names: list[str]) -> st.SearchStrategy[Any]:
        flags = [st.booleans()] * 3
        return st.tuples(*(st.builds(used, build(name), *flags) for name in names))

    unsorted = st.lists(names, max_size=at_most, unique=True).flatmap(chosen)
    return unsorted.map(lambda properties: sorted(properties, key=lambda one: (not one.required, one.name)))


def objects(name: str) -> st.SearchStrategy[Property]:
    return several(scalars, 3).map(lambda fields: prop(name, "object", fields=by_name(fields)))


def arrays(name: str) -> st.SearchStrategy[Property]:
    lengths = bounds("min_length", "max_length", st.integers(0, 3))
    return st.builds(
        lambda items, more, privacy: prop(name, "array", items=items, privacy=privacy, **more),
        scalars(name) | objects(name),
        lengths,
        privacies,
    )


events = several(lambda name: scalars(name) | objects(name) | arrays(name), 4).map(
    lambda properties: event("happened", *properties)
)

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-4, 4),
    st.integers(),
    st.sampled_from([2**63 - 1, 2**63, -(2**63) - 1, 10**400, 1.0, 2.0, -0.0, 1e308, 9.3e18]),
    st.sampled_from([float("nan"), float("inf"), float("-inf")]),
    st.floats(-4, 4),
    st.text(max_size=5),
    st.sampled_from(["a", "ab", "FI", "12", "2026-02-28", "2026-02-30", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00"]),
    st.sampled_from(["a@b.example", "https://b.example/", "b.example", "192.0.2.1", "::1"]),
    st.sampled_from(["2026-01-31T12:00:00.1234567+05:30", "00000000-0000-0000-0000-000000000007", "x" * 99]),
    st.lists(st.integers(0, 3) | st.text(max_size=2), max_size=3),
    st.dictionaries(names, st.integers(0, 3), max_size=2),
)  # fmt: skip


def fitting(one: Property) -> st.SearchStrategy[Any]:
    """Values that mostly fit a property."""
    if one.items is not None:
        return st.lists(fitting(one.items), max_size=3)
    if one.type == "object":
        return documents(one.fields)
    if one.enum:
        return st.sampled_from(one.enum) | odd
    near: dict[str, st.SearchStrategy[Any]] = {
        "string": st.text("aAb1", max_size=4),
        "integer": st.integers(-4, 4),
        "number": st.integers(-4, 4) | st.floats(-4, 4),
        "boolean": st.booleans(),
        "date": st.dates().map(str),
        "date-time": st.builds(
            lambda moment, zone: moment.isoformat() + zone, st.datetimes(), st.sampled_from(["Z", ""])
        ),
        "uuid": st.uuids().map(str),
    }
    return st.one_of(near[one.type], near[one.type], odd)


def documents(properties: dict[str, Property]) -> st.SearchStrategy[dict[str, Any]]:
    required = {name: fitting(one) for name, one in properties.items() if one.required}
    optional = {name: fitting(one) for name, one in properties.items() if not one.required}
    whole = st.fixed_dictionaries(required, optional=optional)
    return st.builds(
        lambda document, left_out: {name: value for name, value in document.items() if name != left_out},
        whole,
        st.none() | st.sampled_from([*properties, ""]),
    )


def made(generated: type[typed.Object], document: dict[str, Any]) -> typed.Object | polku.InvalidValue:
    try:
        return generated(**document)
    except polku.InvalidValue as error:
        return error


def agrees(generated: type[typed.Object], compiled: Any, document: dict[str, Any]) -> None:
    """`document` is JSON, as a Python program and the wire hold it alike."""
    verdict = compiled.check(json.dumps(document).encode())
    result = made(generated, document)
    if isinstance(result, polku.InvalidValue) and result.code == "unknown_property":
        assert isinstance(verdict, Problem) or verdict.unplanned
    elif isinstance(verdict, Problem):
        assert isinstance(result, polku.InvalidValue), (verdict, result)
        assert (result.code, result.path, result.came) == (verdict.code, verdict.path, verdict.came)
        # A string with a format and a pattern says both at once.
        assert result.expected == verdict.expected or ", with a match of " in result.expected
    else:
        assert isinstance(result, typed.Object), (verdict, result)
        assert isinstance(verdict, Checked)
        assert compiled.check(encode_object(result)) == Checked(verdict.values, {}, False)


def all_agree(one: Event, data: st.DataObject) -> None:
    proposed = plan(one)
    generated = module_of(python_source(proposed), "generated_one").Happened
    compiled = compile_plan(proposed).find("track", "happened")
    for _ in range(8):
        agrees(generated, compiled, data.draw(documents(one.properties)))


QUICKLY = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@given(scalars("a") | arrays("a") | objects("a"), st.booleans(), st.data())
@settings(QUICKLY, max_examples=120)
def test_any_property_alone(one: Property, required: bool, data: st.DataObject) -> None:
    """Nothing beside it hides what becomes of it."""
    all_agree(event("happened", msgspec.structs.replace(one, required=required)), data)


@given(events, st.data())
@settings(QUICKLY, max_examples=40)
def test_any_event_of_any_plan(one: Event, data: st.DataObject) -> None:
    all_agree(one, data)


BUILTIN = load_plan(builtin_plan_path())
COMPILED = compile_plan(BUILTIN)
MODULE = module_of(python_source(BUILTIN), "generated_builtin")


def test_every_example_of_the_builtin_plan_can_be_made_and_is_what_the_collector_stores() -> None:
    for one in BUILTIN.events.values():
        compiled = COMPILED.find("track", one.name)
        generated = getattr(MODULE, "".join(part.capitalize() for part in one.name.split("_")))
        for example in one.examples:
            assert compiled is not None
            agrees(generated, compiled, example)
            assert isinstance(made(generated, example), typed.Object)


def test_the_names_tried_are_names_a_plan_may_have() -> None:
    assert not any(keyword.iskeyword(name) for name in NAMES)
