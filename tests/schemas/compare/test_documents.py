"""The classification holds for events: a compatible change refuses none, a breaking one has a witness.

Plans and their successors are made by hypothesis, and the documents from values around every bound they have.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from polku_schemas import Checked, Plan, Property, compile_plan
from polku_schemas.compare import Difference, DifferenceKind, compare
from polku_schemas.lint.constraints import value_problem
from polku_schemas.model import Event

PATTERNS = ("^a", "b$", "^[ab]*$")
WORDS = ("", "a", "b", "ab", "ba", "aaa", "bbbb", "c", "12345678-1234-5678-1234-567812345678")
UNDECIDED = {DifferenceKind.CONSTRAINT_REPLACED}
"""Kinds that break because nobody can tell: a document need not be found."""

SCALARS = ("string", "integer", "number", "boolean", "uuid", "date", "date-time")
_small = st.integers(-3, 6)
_shortest = st.none() | st.integers(0, 3)
_longest = st.none() | st.integers(1, 4)
"""From 1: where nothing fits but the empty list or text, other constraints say nothing."""


@st.composite
def scalars(draw: st.DrawFn, name: str) -> Property:
    prop = Property(
        name=name,
        type=draw(st.sampled_from(SCALARS)),  # type: ignore[arg-type]
        description="d",
        required=draw(st.booleans()),
        nullable=draw(st.booleans()),
    )
    prop = replace(prop, **draw(constraints(prop)))
    return replace(prop, default=draw(defaults(prop)))


def defaults(prop: Property) -> st.SearchStrategy[Any]:
    """What the loader takes as a default: a written value that fits."""
    written = [value for value in values_of(prop) if isinstance(value, str | int | float)]
    fitting = [] if prop.required else [value for value in written if value_problem(prop, value) is None]
    return st.none() | st.sampled_from(fitting) if fitting else st.none()


@st.composite
def constraints(draw: st.DrawFn, prop: Property) -> dict[str, Any]:
    """Constraints that fit the type and do not contradict each other, as the loader demands."""
    found: dict[str, Any] = dict.fromkeys(("minimum", "maximum", "min_length", "max_length", "pattern"))
    found["enum"] = ()
    if prop.type == "integer" and draw(st.booleans()):
        found["enum"] = tuple(draw(st.lists(_small, min_size=1, max_size=5, unique=True)))
    elif prop.type in ("integer", "number"):
        low, high = draw(st.none() | _small), draw(st.none() | _small)
        assume(low is None or high is None or low <= high)
        found |= {"minimum": low, "maximum": high}
    elif prop.type == "string" and draw(st.booleans()):
        found["enum"] = tuple(draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True)))
    elif prop.type in ("string", "array"):
        low, high = draw(_shortest), draw(_longest)
        assume(low is None or high is None or low <= high)
        found |= {"min_length": low, "max_length": high}
        if prop.type == "string":
            found["pattern"] = draw(st.none() | st.sampled_from(PATTERNS))
    return found


@st.composite
def properties(draw: st.DrawFn, name: str) -> Property:
    shape = draw(st.sampled_from(["scalar", "scalar", "scalar", "list", "object", "objects"]))
    if shape == "scalar":
        return draw(scalars(name))
    fields = {field: draw(scalars(field)) for field in draw(st.sampled_from([("x",), ("x", "y")]))}
    whole = Property(name=name, type="object", description="d", required=draw(st.booleans()), fields=fields)
    if shape == "object":
        return whole
    item = (
        replace(draw(scalars(name)), required=False, nullable=False, default=None)
        if shape == "list"
        else replace(whole, required=False)
    )
    lists = Property(name=name, type="array", description="d", required=draw(st.booleans()), items=item)
    return replace(lists, **draw(constraints(lists)))


@st.composite
def changed(draw: st.DrawFn, prop: Property) -> Property:
    """The property with one thing changed, perhaps inside it; its default goes where it does not fit any more."""
    new: Property = draw(_changed(prop))
    if new.default is not None and (new.required or value_problem(new, new.default) is not None):
        return replace(new, default=None)
    return new


@st.composite
def _changed(draw: st.DrawFn, prop: Property) -> Property:
    inside = [key for key in ("items", "fields") if getattr(prop, key)]
    default = [] if inside else ["default"]
    what = draw(st.sampled_from(["required", "nullable", "constraints", "type", *default, *inside, *inside]))
    if what in ("required", "nullable"):
        return replace(prop, **{what: not getattr(prop, what)})
    if what == "constraints":
        return replace(prop, **draw(constraints(prop)))
    if what == "default":
        return replace(prop, default=draw(defaults(prop)))
    if what == "items":
        assert prop.items is not None
        return replace(prop, items=replace(draw(changed(prop.items)), required=False, nullable=False, default=None))
    if what == "fields":
        return replace(prop, fields=draw(changed_members(prop.fields, ("x", "y", "z"))))
    other: Property = draw(scalars(prop.name))
    return replace(other, required=prop.required, nullable=prop.nullable)


@st.composite
def changed_members(draw: st.DrawFn, members: dict[str, Property], names: tuple[str, ...]) -> dict[str, Property]:
    """The members with one added, removed or changed."""
    name = draw(st.sampled_from(names))
    if name not in members:
        return members | {name: draw(scalars(name))}
    if len(members) > 1 and draw(st.integers(0, 4)) == 0:
        return {key: prop for key, prop in members.items() if key != name}
    return members | {name: draw(changed(members[name]))}


@st.composite
def pairs(draw: st.DrawFn, most: int) -> tuple[Plan, Plan]:
    """Two plans, some changes apart."""
    old = {name: draw(properties(name)) for name in draw(st.sampled_from([("p",), ("p", "q")]))}
    new = old
    for _ in range(draw(st.integers(1, most))):
        new = draw(changed_members(new, ("p", "q", "r")))
    return plan_of(old), plan_of(new)


def plan_of(members: dict[str, Property], **more: Any) -> Plan:
    event = Event(
        name="e", version="1.0", owner="o", description="d", stage=(), touchpoint=(), properties=members, **more
    )
    return Plan(
        name="n",
        version="1.0",
        description="d",
        stages=(),
        channels=(),
        properties=members,
        traits={},
        events={"e": event},
    )


# Documents --------------------------------------------------------------------------------------------------------

ABSENT = object()


def values_of(*props: Property) -> list[Any]:
    """Values for a property in the old and the new plan: some for each type, and those around each bound."""
    found: list[Any] = [ABSENT, None, *WORDS, True, "2026-01-31", "2026-01-31T12:00:00Z", 10**12, -(10**12)]
    for prop in props:
        numbers = [value for value in (prop.minimum, prop.maximum, *prop.enum, 0) if isinstance(value, int | float)]
        found += [number + step for number in numbers for step in (-1, -0.5, 0, 0.5, 1)]
        found += [value for value in prop.enum if isinstance(value, str)]
        lengths = {prop.min_length, prop.max_length} - {None}
        found += [letter * max(0, length + step) for letter in "ab" for length in lengths for step in (-1, 0, 1)]
    items = [prop.items for prop in props if prop.items is not None]
    if items:
        inner = [value for value in values_of(*items) if value is not ABSENT]
        found += [[value] * max(1, props[0].min_length or 0) for value in inner]
        fitting = _first_that_fits(items[0], inner)
        found += [[fitting] * length for length in range(6)] if fitting is not ABSENT else []
    fields = [prop.fields for prop in props if prop.fields]
    if fields:
        found += objects_of(*fields)
    return found


def objects_of(*plans: dict[str, Property]) -> list[dict[str, Any]]:
    """Objects in which one member takes every value, and the others what the first plan accepts."""
    names = list(dict.fromkeys(itertools.chain(*plans)))
    pools = {name: values_of(*[plan[name] for plan in plans if name in plan]) for name in names}
    basic = {name: _first_that_fits(plans[0][name], pools[name]) if name in plans[0] else ABSENT for name in names}
    made = [basic | {name: value} for name in names for value in pools[name]]
    return [{name: value for name, value in each.items() if value is not ABSENT} for each in made]


def _first_that_fits(prop: Property, pool: list[Any]) -> Any:
    check = compile_plan(plan_of({prop.name: prop})).find("track", "e")
    assert check is not None
    for value in sorted(pool, key=lambda value: value is ABSENT or value is None):
        raw = msgspec.json.encode({} if value is ABSENT else {prop.name: value})
        if isinstance(checked := check.check(raw), Checked) and not checked.unplanned:
            return value
    return ABSENT


def _told(values: Any) -> Any:
    """Without what is null: it is the same as a column that is not there."""
    told = msgspec.to_builtins(values)
    return _without_nulls(told)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def witnesses(old: Plan, new: Plan) -> Iterator[dict[str, Any]]:
    """Documents that the old plan accepts and the new one refuses or stores otherwise."""
    before, now = (compile_plan(plan).find("track", "e") for plan in (old, new))
    assert before is not None
    assert now is not None
    for document in objects_of(old.events["e"].properties, new.events["e"].properties):
        raw = msgspec.json.encode(document)
        if not isinstance(was := before.check(raw), Checked) or was.unplanned:
            continue
        found = now.check(raw)
        if not isinstance(found, Checked) or found.unplanned or not _keeps(_told(found.values), _told(was.values)):
            yield document


def _keeps(found: Any, was: Any) -> bool:
    """Whether all that was stored still is. A default may fill what was empty."""
    if isinstance(was, dict):
        return all(name in found and _keeps(found[name], value) for name, value in was.items())
    if isinstance(was, list):
        return len(found) == len(was) and all(map(_keeps, found, was))
    return bool(found == was)


def _only_spelling(differences: tuple[Difference, ...]) -> bool:
    """A text that was a uuid is stored as it is sent: the same meaning in another spelling."""
    return any(each.kind == DifferenceKind.TYPE_LOOSENED for each in differences)


@given(pairs(most=3))
@settings(max_examples=100)
def test_what_is_compatible_refuses_no_document_that_was_fine(pair: tuple[Plan, Plan]) -> None:
    found = compare(*pair)
    if not found.breaking and not _only_spelling(found.differences):
        assert list(witnesses(*pair)) == []


@given(pairs(most=1))
@settings(max_examples=100)
def test_what_is_breaking_has_a_document_that_shows_it(pair: tuple[Plan, Plan]) -> None:
    old, new = pair
    breaking = compare(old, new).breaking
    kinds = {each.kind for each in breaking}
    if not kinds or kinds <= UNDECIDED or any(each.needs == "impossible" for each in breaking):
        return
    # Where a pattern and a length meet on one text, the words above may not tell them apart.
    assume(not _has_pattern(old.events["e"].properties))
    assert next(witnesses(old, new), None) is not None, [each.message for each in breaking]


def _has_pattern(members: dict[str, Property]) -> bool:
    return any(
        prop.pattern is not None
        or _has_pattern(prop.fields)
        or (prop.items is not None and _has_pattern({"": prop.items}))
        for prop in members.values()
    )


# Names and calls --------------------------------------------------------------------------------------------------

NAMES = ("a", "b", "c")
SPELLINGS = ("A", "a b", "B", "aB", "x", "X")
ROUTES = [("track", name) for name in (*NAMES, *SPELLINGS, "a_b", "C")] + [("page", ""), ("screen", "")]


@st.composite
def routings(draw: st.DrawFn) -> Plan:
    """A plan of events that differ in how they are reached only."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    aliases = draw(st.lists(st.sampled_from((*SPELLINGS, *NAMES)), unique=True))
    free = [alias for alias in aliases if alias not in names]
    calls = draw(st.permutations(("page", "screen", "track", "track")))
    owners = [draw(st.sampled_from(names)) for _ in free]
    base = plan_of({}).events["e"]
    events = {
        name: replace(
            base,
            name=name,
            call=call,
            aliases=tuple(alias for alias, owner in zip(free, owners, strict=True) if owner == name),
        )
        for name, call in zip(names, calls, strict=False)
    }
    return replace(plan_of({}), events=events)


@given(routings(), routings())
@settings(max_examples=150)
def test_an_event_breaks_exactly_if_a_way_to_it_leads_elsewhere(old: Plan, new: Plan) -> None:
    before, now = compile_plan(old), compile_plan(new)
    broken = set()
    for call, name in ROUTES:
        was, found = before.find(call, name or None), now.find(call, name or None)
        if was is not None and (found is None or found.name != was.name):
            broken.add(was.name)
    assert {each.event for each in compare(old, new).breaking} == broken
