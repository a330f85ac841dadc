"""Two plans side by side: what each kind of difference is, what it needs, and which versions say enough.

Every kind has a pair of plans here; every breaking kind also an event that was fine and is so no more.
"""

from typing import Any, NamedTuple

import msgspec
import pytest
from msgspec.structs import replace

from polku_schemas import Checked, Funnel, Goal, Plan, Property, Rule, builtin_plan_path, compile_plan, load_plan
from polku_schemas.columns import table_columns
from polku_schemas.compare import CLASSIFICATIONS, DifferenceKind, PlanDiff, VersionNeed, compare
from polku_schemas.model import Comparison, Event, FunnelStep
from tests.docs.blocks import ROOT, tables_of

WEB = (Rule("web"),)
PROPERTIES = {
    "text": Property(name="text", type="string", description="d", min_length=1, max_length=5),
    "word": Property(name="word", type="string", description="d", enum=("red", "blue")),
    "code": Property(name="code", type="string", description="d", pattern="^[0-9]", privacy="pseudonymous"),
    "count": Property(name="count", type="integer", description="d", required=True, minimum=0),
    "level": Property(name="level", type="integer", description="d", minimum=1, maximum=3),
    "price": Property(name="price", type="number", description="d", required=True, nullable=True),
    "unit": Property(name="unit", type="string", description="d", default="EUR"),
    "id": Property(name="id", type="uuid", description="d"),
    "tags": Property(
        name="tags",
        type="array",
        description="d",
        max_length=3,
        items=Property(name="tags", type="string", description="d"),
    ),
    "lines": Property(
        name="lines",
        type="array",
        description="d",
        items=Property(
            name="lines",
            type="object",
            description="d",
            fields={
                "sku": Property(name="sku", type="string", description="d", required=True),
                "pieces": Property(name="pieces", type="integer", description="d"),
            },
        ),
    ),
}
BASIC = {"count": 1, "price": 1.5}
PAID = Event(
    name="paid",
    version="1.2",
    owner="shop",
    description="d",
    stage=(Rule("purchase"),),
    touchpoint=(Rule("till"),),
    aliases=("Payment",),
    properties=PROPERTIES,
)
VIEWED = replace(PAID, name="viewed", version="1.0", aliases=("Looked",), call="page", properties={})
PLAN = Plan(
    name="small",
    version="1.0",
    description="d",
    stages=("interest", "purchase"),
    channels=("web",),
    properties=PROPERTIES,
    traits={"email": Property(name="email", type="string", description="d", privacy="personal")},
    events={"paid": PAID, "viewed": VIEWED},
    goals={"order": Goal(name="order", description="d", events=("paid",))},
)


def with_property(name: str, **changes: Any) -> Plan:
    """The plan with one property of `paid` changed, also in the dictionary."""
    return with_properties(PROPERTIES | {name: replace(PROPERTIES[name], **changes)})


def with_properties(properties: dict[str, Property]) -> Plan:
    return replace(with_event(properties=properties), properties=PROPERTIES | properties)


def with_event(name: str = "paid", **changes: Any) -> Plan:
    return with_events({**PLAN.events, name: replace(PLAN.events[name], **changes)})


def with_events(events: dict[str, Event]) -> Plan:
    return replace(PLAN, events=events)


def without(name: str) -> dict[str, Property]:
    return {key: prop for key, prop in PROPERTIES.items() if key != name}


def with_line(name: str, **changes: Any) -> Plan:
    """The plan with one field of the list of objects changed."""
    items = PROPERTIES["lines"].items
    assert items is not None
    fields = items.fields | {name: replace(items.fields.get(name, optional(name)), **changes)}
    return with_property("lines", items=replace(items, fields=fields))


def optional(name: str, **members: Any) -> Property:
    return Property(name=name, type="string", description="d", **members)


class Sent(msgspec.Struct, frozen=True):
    """An event as it is sent: BASIC and `properties`."""

    properties: dict[str, Any] = {}
    name: str = "paid"
    call: str = "track"


class Case(NamedTuple):
    """A new plan beside PLAN, and an event that shows what breaks (None: nothing does, or only a column's type)."""

    new: Plan
    sent: Sent | None = None
    old: Plan = PLAN


K = DifferenceKind
CASES: dict[DifferenceKind, list[Case]] = {
    K.PLAN_RENAMED: [Case(replace(PLAN, name="other"))],
    K.STAGES_CHANGED: [Case(replace(PLAN, stages=("purchase", "interest")))],
    K.CHANNELS_CHANGED: [Case(replace(PLAN, channels=("web", "app")))],
    K.TREATMENT_CHANGED: [Case(replace(PLAN, privacy={"personal": "drop"}))],
    K.RESERVED_CHANGED: [Case(replace(PLAN, reserved=("internal",)))],
    K.IDENTITY_CHANGED: [Case(replace(PLAN, join_by=("email",))), Case(replace(PLAN, join_users=True))],
    K.EVENT_ADDED: [Case(with_events({**PLAN.events, "left": replace(VIEWED, name="left", aliases=(), call="track")}))],
    K.EVENT_REMOVED: [Case(with_events({"paid": PAID}), Sent(name="viewed"))],
    K.EVENT_RENAMED: [
        Case(
            with_events({"paid": PAID, "seen": replace(VIEWED, name="seen", aliases=("viewed", "Looked"))}),
            Sent(name="viewed"),
        ),
        # Into an event that was there already.
        Case(
            with_events({"paid": replace(PAID, aliases=("Payment", "bought"))}),
            Sent(name="bought"),
            old=with_events({"paid": PAID, "bought": replace(PAID, name="bought", aliases=())}),
        ),
    ],
    K.ALIAS_ADDED: [Case(with_event(aliases=("Payment", "Purchase")))],
    K.ALIAS_REMOVED: [Case(with_event(aliases=()), Sent(name="Payment"))],
    K.ALIAS_MOVED: [
        Case(
            with_events({"paid": replace(PAID, aliases=()), "viewed": replace(VIEWED, aliases=("Looked", "Payment"))}),
            Sent(name="Payment"),
        ),
        # "Paid" needed no alias to be found in snake case, until another event took it.
        Case(with_event("viewed", aliases=("Looked", "Paid")), Sent(name="Paid")),
    ],
    K.CALL_ADDED: [Case(with_event(call="screen"))],
    K.CALL_REMOVED: [
        Case(with_event("viewed", call="track"), Sent(name="", call="page")),
        Case(with_event("viewed", call="screen"), Sent(name="", call="page")),
    ],
    K.STAGE_CHANGED: [Case(with_event(stage=(Rule("interest"),)))],
    K.TOUCHPOINT_CHANGED: [Case(with_event(touchpoint=()))],
    K.CHANNEL_CHANGED: [Case(with_event(channel=WEB))],
    K.PROPERTY_ADDED: [
        Case(with_properties(PROPERTIES | {"note": optional("note")})),
        Case(with_line("note")),
        Case(replace(PLAN, traits=PLAN.traits | {"town": optional("town")})),
    ],
    K.REQUIRED_PROPERTY_ADDED: [
        Case(with_properties(PROPERTIES | {"note": optional("note", required=True)}), Sent()),
        Case(with_line("note", required=True), Sent({"lines": [{"sku": "a"}]})),
    ],
    K.PROPERTY_REMOVED: [Case(with_properties(without("text")), Sent({"text": "a"}))],
    K.TYPE_CHANGED: [
        Case(with_property("count", type="number"), Sent({"count": 2})),
        Case(with_property("level", type="string", minimum=None, maximum=None), Sent({"level": 2})),
        Case(with_line("pieces", type="boolean"), Sent({"lines": [{"sku": "a", "pieces": 1}]})),
        Case(
            with_property("tags", items=Property(name="tags", type="integer", description="d")), Sent({"tags": ["a"]})
        ),
        # Nobody has both, but they are one column.
        Case(
            replace(
                with_events({"paid": PAID, "viewed": replace(VIEWED, properties={"a": optional("a")})}),
                properties=PROPERTIES | {"a": optional("a")},
            ),
            old=replace(
                with_event(properties=PROPERTIES | {"a": replace(optional("a"), type="date")}),
                properties=PROPERTIES | {"a": replace(optional("a"), type="date")},
            ),
        ),
    ],
    K.TYPE_TIGHTENED: [Case(with_property("text", type="uuid", min_length=None, max_length=None), Sent({"text": "a"}))],
    K.TYPE_LOOSENED: [Case(with_property("id", type="string"))],
    K.BECAME_REQUIRED: [
        Case(with_property("text", required=True), Sent()),
        Case(with_property("unit", required=True, default=None, nullable=True), Sent()),
    ],
    K.BECAME_OPTIONAL: [Case(with_property("count", required=False))],
    K.NULL_REFUSED: [Case(with_property("price", nullable=False), Sent({"price": None}))],
    K.NULL_ALLOWED: [Case(with_property("count", nullable=True))],
    K.CONSTRAINT_TIGHTENED: [
        Case(with_property("count", minimum=1), Sent({"count": 0})),
        Case(with_property("count", maximum=2**40), Sent({"count": 2**41})),
        Case(with_property("price", maximum=9.5), Sent({"price": 9.6})),
        Case(with_property("text", min_length=2), Sent({"text": "a"})),
        Case(with_property("text", max_length=4), Sent({"text": "abcde"})),
        Case(with_property("text", pattern="^a"), Sent({"text": "b"})),
        Case(with_property("tags", max_length=2), Sent({"tags": ["a", "b", "c"]})),
        Case(with_line("pieces", minimum=1), Sent({"lines": [{"sku": "a", "pieces": 0}]})),
    ],
    K.CONSTRAINT_LOOSENED: [
        Case(with_property("count", minimum=None)),
        Case(with_property("text", max_length=9)),
        Case(with_property("code", pattern=None)),
        Case(with_property("level", minimum=None, maximum=None, enum=(1, 2, 3, 4))),
        Case(PLAN, old=with_property("code", format="email")),
    ],
    K.CONSTRAINT_REPLACED: [Case(with_property("code", pattern="^[1-9]"), Sent({"code": "0"}))],
    K.ENUM_INTRODUCED: [
        Case(with_property("code", pattern=None, enum=("1",)), Sent({"code": "2"})),
        Case(with_property("level", minimum=None, maximum=None, enum=(1, 2, 4)), Sent({"level": 3})),
    ],
    K.ENUM_DROPPED: [Case(with_property("word", enum=())), Case(with_property("word", enum=(), pattern="^red|^blue"))],
    K.ENUM_VALUE_ADDED: [Case(with_property("word", enum=("red", "blue", "green")))],
    K.ENUM_VALUE_REMOVED: [
        Case(with_property("word", enum=("red",)), Sent({"word": "blue"})),
        Case(with_property("word", enum=(), max_length=3), Sent({"word": "blue"})),
    ],
    K.DEFAULT_ADDED: [
        Case(with_property("text", default="a")),
        Case(with_property("unit", nullable=False), old=with_property("unit", nullable=True)),
    ],
    K.DEFAULT_CHANGED: [Case(with_property("unit", default="USD"), Sent())],
    K.DEFAULT_REMOVED: [
        Case(with_property("unit", default=None), Sent()),
        Case(with_property("unit", nullable=True), Sent({"unit": None})),
    ],
    K.PRIVACY_STRICTER: [Case(with_property("text", privacy="sensitive"))],
    K.PRIVACY_LOOSER: [Case(with_property("code", privacy="none"))],
    K.JOURNEY_ADDED: [Case(replace(PLAN, goals=PLAN.goals | {"view": replace(PLAN.goals["order"], name="view")}))],
    K.JOURNEY_REMOVED: [Case(replace(PLAN, goals={}))],
    K.JOURNEY_CHANGED: [Case(replace(PLAN, goals={"order": replace(PLAN.goals["order"], value="price")}))],
    K.WORDING_CHANGED: [
        Case(with_event(description="e")),
        Case(with_event(owner="e")),
        Case(with_event(examples=(BASIC,))),
        Case(with_property("text", description="e")),
        Case(with_property("text", examples=("a",))),
        Case(replace(PLAN, description="e")),
        Case(replace(PLAN, goals={"order": replace(PLAN.goals["order"], description="e")})),
    ],
}


BESIDES = {
    # A name that moves, or whose event goes into another one, is won by that one.
    K.ALIAS_MOVED: {K.ALIAS_ADDED},
    K.EVENT_RENAMED: {K.ALIAS_ADDED},
    K.CALL_REMOVED: {K.CALL_ADDED},
    # A property that moves from one event to another is missed in the first.
    K.TYPE_CHANGED: {K.PROPERTY_REMOVED},
}


@pytest.mark.parametrize("kind", DifferenceKind)
def test_each_kind_is_found_alone_with_what_it_needs(kind: DifferenceKind) -> None:
    for case in CASES[kind]:
        found = compare(case.old, case.new).differences
        assert {difference.kind for difference in found} - BESIDES.get(kind, set()) == {kind}
        for difference in found:
            known = CLASSIFICATIONS[difference.kind]
            assert (difference.needs, difference.reason, difference.way_out) == (
                known.needs,
                known.reason,
                known.way_out,
            )
            assert difference.message


@pytest.mark.parametrize("kind", [kind for kind in DifferenceKind if CLASSIFICATIONS[kind].needs == "major"])
def test_what_is_called_breaking_breaks_an_event_that_was_fine(kind: DifferenceKind) -> None:
    for case in CASES[kind]:
        assert case.sent is not None
        before = stored(case.old, case.sent)
        assert before is not None
        assert stored(case.new, case.sent) != before


@pytest.mark.parametrize("kind", DifferenceKind)
def test_breaking_kinds_say_why_and_the_way_out_and_others_nothing(kind: DifferenceKind) -> None:
    known = CLASSIFICATIONS[kind]
    assert bool(known.reason) == bool(known.way_out) == (known.needs in ("major", "impossible"))


def test_the_page_has_every_kind_with_its_rule() -> None:
    """`docs/plan-versions.md`; each kind in one of its tables."""
    rows: list[tuple[str, list[str]]] = []
    for table in tables_of(ROOT / "docs" / "plan-versions.md").values():
        rows += [(name, cells) for name, cells in table.items() if len(cells) == 5 and name != "code"]
    known = {str(kind): [rule.needs, rule.reason, rule.way_out] for kind, rule in CLASSIFICATIONS.items()}
    assert {name: cells[2:] for name, cells in rows} == known
    assert len(rows) == len(DifferenceKind)
    assert all(cells[1] for _, cells in rows)


def stored(plan: Plan, sent: Sent) -> tuple[str, dict[str, Any]] | None:
    """What a strict source's event becomes: the name and the values of the columns; None if it is refused."""
    compiled = compile_plan(plan).find(sent.call, sent.name or None)
    if compiled is None:
        return None
    body = {name: value for name, value in BASIC.items() if name in plan.events[compiled.name].properties}
    checked = compiled.check(msgspec.json.encode(body | sent.properties))
    if not isinstance(checked, Checked) or checked.unplanned:
        return None
    values: dict[str, Any] = msgspec.to_builtins(checked.values)
    for name, prop in plan.events[compiled.name].properties.items():
        null_is_a_value = prop.nullable and name in sent.properties
        if values.get(name) is None and prop.default is not None and not null_is_a_value:
            values[name] = prop.default
    return compiled.name, {name: value for name, value in values.items() if value is not None}


def test_a_plan_does_not_differ_from_itself() -> None:
    plan = load_plan(builtin_plan_path())
    assert compare(plan, plan) == PlanDiff(
        old_name="ecommerce",
        old_version=plan.version,
        old_fingerprint=plan.fingerprint,
        new_name="ecommerce",
        new_version=plan.version,
        new_fingerprint=plan.fingerprint,
        differences=(),
        versions=(),
    )


def test_differences_come_in_the_order_plan_events_traits_journey() -> None:
    new = replace(
        with_events({"viewed": replace(VIEWED, owner="o"), "paid": replace(PAID, owner="o")}),
        stages=("purchase",),
        traits={},
        goals={},
    )
    found = compare(PLAN, new).differences
    assert [(each.subject, each.event, each.name) for each in found] == [
        ("plan", None, "stages"),
        ("event", "paid", ""),
        ("event", "viewed", ""),
        ("trait", None, "email"),
        ("journey", None, "goals.order"),
    ]


def test_fields_and_items_have_names_of_their_own() -> None:
    names = {each.name for each in compare(PLAN, with_line("pieces", minimum=1)).differences}
    tags = replace(PROPERTIES["tags"], items=replace(optional("tags"), max_length=4))
    names |= {each.name for each in compare(PLAN, with_properties(PROPERTIES | {"tags": tags})).differences}
    assert names == {"lines.pieces", "tags[]"}


def test_a_message_has_the_old_and_the_new_value() -> None:
    (found,) = compare(PLAN, with_property("text", max_length=3)).differences
    assert found.message == "`text` has max_length 3, was 5"
    (found,) = compare(PLAN, with_property("word", enum=("red",))).differences
    assert found.message == '`word` may not be "blue" any more'
    rules = (Rule("interest", (Comparison("level", ">", 2),)), Rule("purchase"))
    (found,) = compare(PLAN, with_event(stage=rules)).differences
    assert found.message.startswith("stage: interest when level > 2, purchase; was purchase")


@pytest.mark.parametrize(("kind", "items", "word"), [("integer", None, "integer"), ("array", "uuid", "array of uuid")])
def test_a_new_property_has_the_type_that_the_plan_gives_it(kind: Any, items: Any, word: str) -> None:
    added = replace(optional("note"), type=kind, items=items and replace(optional("note"), type=items))
    (found,) = compare(PLAN, with_properties(PROPERTIES | {"note": added})).differences
    assert found.message == f"`note` is new: {word}, optional"


def test_an_example_that_does_not_fit_any_more_is_named() -> None:
    old = with_property("code", examples=("12", "02"))
    (found,) = compare(old, with_property("code", examples=("12", "02"), pattern="^[1-9]")).differences
    assert found.message.endswith('the example "02" does not fit any more')


@pytest.mark.parametrize("key", ["goals", "segments", "funnels", "targets"])
def test_each_file_of_the_journey_is_compared(key: str) -> None:
    plan = load_plan(builtin_plan_path())
    name = next(iter(getattr(plan, key)))
    (found,) = compare(
        plan, replace(plan, **{key: {k: v for k, v in getattr(plan, key).items() if k != name}})
    ).differences
    assert (found.kind, found.name) == (K.JOURNEY_REMOVED, f"{key}.{name}")


def test_a_funnel_of_other_steps_counts_for_the_past() -> None:
    steps = (FunnelStep(event="viewed"), FunnelStep(event="paid"))
    funnel = Funnel(name="f", description="d", steps=steps, window_seconds=60)
    old, new = replace(PLAN, funnels={"f": funnel}), replace(PLAN, funnels={"f": replace(funnel, window_seconds=120)})
    (found,) = compare(old, new).differences
    assert (found.name, found.message) == (
        "funnels.f",
        "the funnel `f` has window_seconds 120, was 60; counts for the past too",
    )


def test_an_alias_that_is_found_without_it_may_go() -> None:
    """`Paid` leads to `paid` in snake case."""
    more = with_event(aliases=("Payment", "Paid"))
    assert compare(more, PLAN).differences == compare(PLAN, more).differences == ()


def test_an_order_of_enum_values_or_aliases_means_nothing() -> None:
    assert compare(PLAN, with_property("word", enum=("blue", "red"))).differences == ()
    two = with_event(aliases=("Payment", "Purchase"))
    assert compare(two, with_event(aliases=("Purchase", "Payment"))).differences == ()


def test_a_bound_that_says_nothing_is_none() -> None:
    tags = with_property("tags", min_length=0)
    assert compare(PLAN, tags).differences == compare(tags, PLAN).differences == ()
    count = with_property("count", minimum=-(2**63))
    assert compare(with_property("count", minimum=None), count).differences == ()
    level = with_property("level", minimum=None, maximum=None, enum=(3, 1, 2))
    assert compare(PLAN, level).differences == ()


def test_the_same_default_for_null_and_nothing_is_found_once() -> None:
    (found,) = compare(with_property("unit", nullable=True), with_property("unit", default="USD")).differences
    assert found.kind == K.DEFAULT_CHANGED


# Versions ---------------------------------------------------------------------------------------------------------


def needs(old: Plan, new: Plan) -> dict[str | None, tuple[str, bool]]:
    return {need.event: (need.needed, need.met) for need in compare(old, new).versions}


def test_a_compatible_change_needs_the_next_minor() -> None:
    new = with_event(aliases=("Payment", "Purchase"))
    assert needs(PLAN, new) == {None: ("1.1", False), "paid": ("1.3", False)}


def test_a_breaking_change_needs_the_next_major() -> None:
    new = with_property("count", minimum=1)
    assert needs(PLAN, new) == {None: ("1.1", False), "paid": ("2.0", False)}


@pytest.mark.parametrize(
    ("version", "met"), [("1.2", False), ("1.3", False), ("1.10", False), ("2.0", True), ("2.1", True), ("11.0", True)]
)
def test_a_version_says_enough_from_the_needed_one_on(version: str, met: bool) -> None:
    new = with_event(version=version, aliases=())
    assert VersionNeed(event="paid", old="1.2", new=version, needed="2.0").met is met
    assert needs(PLAN, new)["paid"] == ("2.0", met)


def test_words_need_no_version() -> None:
    assert needs(PLAN, with_event(description="e")) == {None: ("1.0", True), "paid": ("1.2", True)}


@pytest.mark.parametrize(("version", "met"), [("1.1", False), ("0.9", False), ("1.3", True), ("2.0", True)])
def test_a_version_never_goes_backwards(version: str, met: bool) -> None:
    found = compare(PLAN, with_event(version=version))
    assert found.differences == ()
    assert found.versions == (VersionNeed(event="paid", old="1.2", new=version, needed="1.2"),)
    assert bool(found.unmet) is not met


def test_a_plan_never_goes_backwards_either() -> None:
    found = compare(PLAN, replace(PLAN, version="0.9"))
    assert found.unmet == (VersionNeed(event=None, old="1.0", new="0.9", needed="1.0"),)


def test_contents_that_change_under_the_same_version_are_caught() -> None:
    """What users of schema registries suffer from: two different schemas with one version number."""
    found = compare(PLAN, replace(with_property("text", max_length=9), version="1.1"))
    assert [need.event for need in found.unmet] == ["paid"]


def test_the_plan_needs_a_major_when_an_event_goes_or_a_trait_breaks() -> None:
    assert needs(PLAN, with_events({"paid": PAID}))[None] == ("2.0", False)
    assert needs(PLAN, CASES[K.EVENT_RENAMED][0].new)[None] == ("2.0", False)
    assert needs(PLAN, replace(PLAN, traits={})) == {None: ("2.0", False)}


def test_an_event_that_breaks_with_its_major_leaves_the_plan_a_minor() -> None:
    new = replace(with_event(version="2.0", properties=without("text")), version="1.1")
    found = compare(PLAN, new)
    assert (len(found.breaking), found.unmet) == (1, ())


def test_no_version_makes_another_type_right() -> None:
    new = replace(with_property("count", type="number"), version="9.0")
    new = replace(new, events=new.events | {"paid": replace(new.events["paid"], version="9.0")})
    found = compare(PLAN, new)
    assert [each.name for each in found.impossible] == ["count"]
    assert found.unmet == ()


def test_a_new_event_cannot_take_a_column_of_another_type() -> None:
    added = replace(VIEWED, name="left", aliases=(), call="track", properties={"count": optional("count")})
    new = replace(with_events({"viewed": VIEWED, "left": added}), properties={"count": optional("count")})
    assert table_columns(PLAN)["count"] == "long"
    (found,) = compare(PLAN, new).impossible
    assert (found.event, found.name) == ("left", "count")
