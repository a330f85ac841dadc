"""What a plan does not let be stored is dropped or becomes a pseudonym, wherever it stands."""

import hashlib
import hmac
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polku_schemas import Checked, Plan, compile_plan, read_plan
from polku_schemas.model import Event, Property, Treatment
from polku_schemas.privacy import PSEUDONYM, Protection, as_stored, needs_key, treatment_of

from .conftest import SMALL_PLAN, WritePlan

KEY = b"a key of more than sixteen bytes"
SECRET = "aino@example.com"


def prop(name: str, kind: Any = "string", privacy: Any = "none", **more: Any) -> Property:
    return Property(name=name, type=kind, description="…", privacy=privacy, **more)


PROPERTIES = {
    "plain": prop("plain"),
    "email": prop("email", privacy="personal", required=True, format="email", max_length=20),
    "visitor": prop("visitor", "uuid", "personal"),
    "age": prop("age", "integer", "personal"),
    "faith": prop("faith", privacy="sensitive", default="none said"),
    "friends": prop("friends", "array", "personal", items=prop("", "string")),
    "guests": prop(
        "guests",
        "array",
        items=prop("", "object", fields={"seat": prop("seat"), "guest": prop("guest", privacy="personal")}),
    ),
    "contact": prop("contact", "object", fields={"phone": prop("phone", privacy="personal")}),
}
TRAITS = {"name": prop("name", privacy="personal"), "level": prop("level")}


def plan_of(**privacy: Treatment) -> Plan:
    event = Event(name="met", version="1.0", owner="o", description="…", stage=(), touchpoint=(), properties=PROPERTIES)
    fields = {field.name: field for one in ("guests", "contact") for field in _fields(PROPERTIES[one])}
    return Plan(
        name="p",
        version="1.0",
        description="…",
        stages=("s",),
        channels=("web",),
        privacy=privacy,  # type: ignore[arg-type]
        properties=PROPERTIES | fields,
        traits=TRAITS,
        events={"met": event},
    )


def _fields(of: Property) -> list[Property]:
    return list((of.items or of).fields.values())


def pseudonym(text: str, key: bytes = KEY) -> str:
    return "psn-" + hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:32]


EVERYTHING = {
    "plain": "seen",
    "email": SECRET,
    "visitor": "018f2f6e-0000-7000-8000-000000000001",
    "age": 44,
    "faith": "lutheran",
    "friends": ["eino", SECRET],
    "guests": [{"seat": "1A", "guest": "eino"}, {"seat": "1B"}],
    "contact": {"phone": "+358 40 1"},
}


def stored(plan: Plan, document: dict[str, Any]) -> dict[str, Any]:
    values = compile_plan(plan).find("track", "met").decode(msgspec.json.encode(document))  # type: ignore[union-attr]
    if protect := Protection(plan, KEY).events.get("met"):
        protect(values)
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(values))
    return found


def test_a_pseudonym_takes_the_place_of_texts_and_what_is_no_text_is_dropped() -> None:
    assert stored(plan_of(personal="pseudonymise", sensitive="drop"), EVERYTHING) == {
        "plain": "seen",
        "email": pseudonym(SECRET),
        "visitor": pseudonym(EVERYTHING["visitor"]),  # type: ignore[arg-type]
        "faith": None,
        "friends": [pseudonym("eino"), pseudonym(SECRET)],
        "guests": [{"seat": "1A", "guest": pseudonym("eino")}, {"seat": "1B"}],
        "contact": {"phone": pseudonym("+358 40 1")},
    }


def test_a_class_that_the_plan_does_not_name_is_stored_as_it_comes() -> None:
    assert stored(plan_of(), EVERYTHING) == EVERYTHING
    assert not Protection(plan_of())
    only = stored(plan_of(sensitive="drop"), EVERYTHING)
    assert only == EVERYTHING | {"faith": None}


def test_dropped_values_are_nowhere_even_where_they_are_required() -> None:
    assert stored(plan_of(personal="drop"), EVERYTHING) == {
        "plain": "seen",
        "email": None,
        "faith": "lutheran",
        "guests": [{"seat": "1A"}, {"seat": "1B"}],
        "contact": {},
    }


def test_a_pseudonym_depends_on_the_key_and_on_nothing_else() -> None:
    plan = plan_of(personal="pseudonymise")
    assert Protection(plan, KEY).pseudonym("x") == Protection(plan, KEY).pseudonym("x") == pseudonym("x")
    assert Protection(plan, KEY[1:]).pseudonym("x") == pseudonym("x", KEY[1:]) != pseudonym("x")
    assert PSEUDONYM.fullmatch(pseudonym("x"))
    assert Protection(plan, KEY).pseudonym(pseudonym("x")) == pseudonym("x"), "never twice"
    with pytest.raises(ValueError, match="no key"):
        Protection(plan)
    assert needs_key(plan)
    assert not needs_key(plan_of(personal="drop"))


def test_members_that_are_not_planned_are_known_by_their_names() -> None:
    protection = Protection(plan_of(personal="pseudonymise", sensitive="drop"), KEY)
    found = protection.of_properties(
        {"Email": SECRET, "faith": "x", "other": [{"deep": {"phone": "1", "age": 3}}], "guest": ["a", 5], "plain": "p"}
    )
    assert found == {"Email": pseudonym(SECRET), "other": [{"deep": {"phone": pseudonym("1")}}],
                     "guest": [pseudonym("a")], "plain": "p"}  # fmt: skip
    assert protection.of_properties({"name": "Aino"}) == {"name": pseudonym("Aino")}, "a trait's name"
    twice = msgspec.structs.replace(
        plan_of(personal="drop"), properties=PROPERTIES | {"name": prop("name"), "level": prop("level", "integer")}
    )
    assert Protection(twice).of_properties({"name": "Boots"}) == {"name": "Boots"}, "where it stands it is a product's"
    assert Protection(twice).of_traits({"name": "Aino"}) == {}
    assert Protection(twice).of_anything({"name": "Who knows"}) == {}


@pytest.mark.parametrize("name", ["email", "eMail", "E-Mail", "e_mail", " EMAIL ", "Ema\ud800il"])
def test_a_name_is_known_however_it_is_spelled(name: str) -> None:
    protection = Protection(plan_of(personal="drop"), KEY)
    assert protection.of_properties({"x": [{name: SECRET}]}) == {"x": [{}]}


def test_a_name_of_the_plan_is_never_taken_for_another_spelling() -> None:
    plan = plan_of(personal="drop")
    plan = msgspec.structs.replace(plan, properties=plan.properties | {"e_mail": prop("e_mail")})
    assert Protection(plan).of_properties({"eMail": "a mailing", "E mail": 1}) == {"eMail": "a mailing", "E mail": 1}
    assert Protection(plan).of_properties({"EMAIL": SECRET}) == {}


def test_in_place_of_an_object_with_protected_fields_nothing_else_is_kept() -> None:
    protection = Protection(plan_of(personal="drop"), KEY)
    found = protection.of_properties({"contact": '{"phone": "1"}', "guests": ["eino", {"guest": "e", "seat": "1A"}, 5]})
    assert found == {"contact": "", "guests": ["", {"seat": "1A"}, 0]}, "as wrong as it was, without what it said"
    assert protection.of_properties({"contact": None, "guests": []}) == {"contact": None, "guests": []}


def test_a_verdict_does_not_repeat_what_came_in_place_of_such_an_object() -> None:
    event = compile_plan(plan_of()).find("track", "met")
    assert event is not None
    properties = [{"contact": SECRET}, {"guests": SECRET}, {"guests": [SECRET]}]
    for document in (*({"email": "a@b.fi"} | each for each in properties), SECRET, json.dumps({"x": SECRET})):
        problem = event.check(msgspec.json.encode(document))
        assert not isinstance(problem, Checked)
        assert SECRET not in problem.message
        assert problem.came == "the string"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(SECRET),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
names = st.sampled_from(["email", "Email", "EMAIL", "faith", "phone", "guest", "friends", "visitor"])


@given(st.dictionaries(names, json_values), st.lists(st.text(max_size=3), max_size=4))
def test_nothing_under_a_protected_name_is_left_however_deep(secrets: dict[str, Any], path: list[str]) -> None:
    protection = Protection(plan_of(personal="pseudonymise", sensitive="drop"), KEY)
    document: dict[str, Any] = secrets
    for name in path:
        document = {name: [document]}
    once = protection.of_properties(document)
    assert SECRET not in str(once)
    assert protection.of_properties(once) == once


def test_what_was_stored_fits_the_plan_as_it_is_stored() -> None:
    for privacy in ({"personal": "pseudonymise", "sensitive": "drop"}, {"personal": "drop"}, {}):
        plan = plan_of(**privacy)  # type: ignore[arg-type]
        event = compile_plan(as_stored(plan)).find("track", "met")
        assert event is not None
        again = event.check(msgspec.json.encode(stored(plan, EVERYTHING)))
        assert isinstance(again, Checked), again
        assert not again.unplanned
    assert as_stored(plan_of()) == plan_of()
    broken = compile_plan(as_stored(plan_of(personal="drop"))).find("track", "met")
    assert broken is not None
    assert not isinstance(broken.check(b'{"plain":5}'), Checked), "what is stored as it comes is still checked"


def test_the_plan_says_what_becomes_of_a_class(write_plan: WritePlan) -> None:
    head = SMALL_PLAN["plan.yaml"] + "privacy: {personal: pseudonymise}\n"
    plan = read_plan(write_plan({"plan.yaml": head})).plan
    assert plan is not None
    assert plan.privacy == {"personal": "pseudonymise"}
    assert treatment_of(plan, plan.traits["email"]) == "pseudonymise"
    assert treatment_of(plan, plan.properties["amount"]) is None
