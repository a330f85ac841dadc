"""The fast and the slow path agree, and what is stored reads back as the same values: tried on generated documents."""

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from polku_schemas import (
    Checked,
    CompiledEvent,
    Problem,
    ProblemCode,
    Property,
    builtin_plan_path,
    compile_plan,
    load_plan,
)

PLAN = load_plan(builtin_plan_path())
COMPILED = compile_plan(PLAN)
EVENTS = [event for name in PLAN.events if (event := COMPILED.find("track", name)) is not None]
DECLARED = (msgspec.MsgspecError, ValueError, RecursionError)
"""What the fast path may raise; UnicodeDecodeError is a ValueError."""

# Numbers at every edge, texts that stand for other types, and whatever JSON can say.
odd_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**400, 0, -1, 1, 5, 6]),
    st.floats(),
    st.sampled_from([2.0, -0.0, 1e308, 1e-320, 9.3e18, float("inf"), float("nan")]),
    st.text(max_size=8),
    st.sampled_from(
        [
            "", "EUR", "FI", "a@b", "home", "product", "nps", "1", "2026-02-28", "2026-02-30", "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00.1234567+05:30", "2026-01-31 12:00:00z", "2026-01-31T12:00:00",
            "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "\x00", "😀", "\u2028", "x" * 400,
        ]
    ),
)  # fmt: skip
odd_values = st.recursive(
    odd_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def fitting(prop: Property) -> st.SearchStrategy[Any]:
    """Values that mostly fit a property."""
    if prop.enum:
        return st.sampled_from(prop.enum)
    if prop.items is not None:
        return st.lists(fitting(prop.items), max_size=3)
    if prop.type == "object":
        return objects(prop.fields)
    if prop.examples:
        return st.sampled_from(prop.examples) | odd_scalars
    return odd_scalars


def objects(properties: dict[str, Property]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that mostly fit, with members missing, odd or unplanned."""
    members = {name: fitting(prop) | odd_values for name, prop in properties.items() if prop.required}
    optional = {name: fitting(prop) | odd_values for name, prop in properties.items() if not prop.required}
    planned = st.fixed_dictionaries(members, optional=optional)
    return st.builds(
        lambda known, drop, more: {k: v for k, v in known.items() if k != drop} | more,
        planned,
        st.none() | st.sampled_from([*properties, ""]),
        st.just({}) | st.dictionaries(st.text(max_size=4), odd_values, max_size=1),
    )


# Made once: to make them again for every document took five times as long as all the rest.
OBJECTS = {name: objects(event.properties) for name, event in PLAN.events.items()} | {"traits": objects(PLAN.traits)}


@st.composite
def documents(draw: st.DrawFn) -> tuple[CompiledEvent, bytes]:
    event = draw(st.sampled_from([*EVENTS, COMPILED.traits]))
    value = draw(OBJECTS[event.name])
    # json.dumps writes NaN, Infinity and lone surrogates as real clients do.
    text = json.dumps(value, ensure_ascii=draw(st.booleans()))
    return event, text.encode("utf-8", "surrogatepass")


@given(documents())
@settings(max_examples=300)
def test_the_paths_agree_on_documents_like_those_of_the_plan(document: tuple[CompiledEvent, bytes]) -> None:
    paths_agree(*document)


@given(st.sampled_from([*EVENTS, COMPILED.traits]), st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
@settings(max_examples=100)
def test_the_paths_agree_on_any_bytes(event: CompiledEvent, raw: bytes) -> None:
    paths_agree(event, raw)


@given(documents(), st.data())
@settings(max_examples=1000)
def test_the_paths_agree_on_damaged_documents(document: tuple[CompiledEvent, bytes], data: st.DataObject) -> None:
    event, raw = document
    at = data.draw(st.integers(0, len(raw)))
    damage = data.draw(st.sampled_from([b"\xff", b'"', b"\\ud800", b"\n", b"\x00", b"}", b",", b"\\u12", b"1", b"e"]))
    keep = data.draw(st.integers(0, 2))
    paths_agree(event, raw[:at] + damage + raw[at + keep :])


@given(documents())
@settings(max_examples=1000)
def test_a_member_given_twice_counts_once(document: tuple[CompiledEvent, bytes]) -> None:
    event, raw = document
    if raw not in (b"{}", b""):
        paths_agree(event, raw[:-1] + b", " + raw[1:])


def paths_agree(event: CompiledEvent, raw: bytes) -> None:
    checked = event.check(raw)
    try:
        values = event.decode(raw)
    except DECLARED:
        values = None
    if values is not None:
        # The fast path accepts only what the slow one accepts, and both give the same.
        assert checked == Checked(values, {}, False)
    if isinstance(checked, Problem):
        assert checked.code in ProblemCode
        assert checked.path.startswith("$.")
        assert checked.message.startswith("expected ")
        return
    # What is stored is plain JSON that the fast path takes and gives back unchanged, byte for byte.
    stored = msgspec.json.encode(checked.values)
    again = event.decode(stored)
    assert again == checked.values
    assert msgspec.json.encode(again) == stored
    assert json.loads(msgspec.json.encode(checked.unplanned)) == checked.unplanned
