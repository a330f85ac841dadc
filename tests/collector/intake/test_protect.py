"""What the plan does not let be stored is in no line that intake makes, whatever the event looked like."""

import json
from typing import Any

import msgspec
import pytest

from polku_collector.batch import Line, QuarantineLine
from polku_collector.intake.judged import Arrival, Judged
from polku_collector.intake.protect import protected_item
from polku_collector.intake.validate import Validator
from polku_collector.intake.wire import Context, parse_batch
from polku_schemas import compile_plan
from polku_schemas.privacy import Protection

from .world import LIMITS, NOW, PLAN, SOURCES

KEY = b"a key of more than sixteen bytes"
RULES = msgspec.structs.replace(PLAN.plan, privacy={"personal": "pseudonymise", "sensitive": "drop"})
PROTECTION = Protection(RULES, KEY)
COMPILED = compile_plan(RULES)
MAIL, BORN = "aino@example.com", "1982-03-04"
HASHED = PROTECTION.pseudonym(MAIL)


def judge(*items: Any, source: str = "web", **outer: Any) -> Judged:
    body = b'{"batch":[%b]}' % b",".join(i if isinstance(i, bytes) else json.dumps(i).encode() for i in items)
    if outer:
        body = body[:-1] + b"," + json.dumps(outer).encode()[1:]
    validator = Validator(COMPILED, LIMITS, new_id=lambda: "made", protection=PROTECTION)
    return validator.judge(parse_batch(body), Arrival(NOW, None, source, SOURCES[source], body))


def only(judged: Judged) -> Line | QuarantineLine:
    (line,) = judged.lines
    written = msgspec.json.encode(line).decode() + msgspec.json.encode([judged.rejected, judged.warnings]).decode()
    assert MAIL not in written
    assert BORN not in written
    return line


def track(properties: Any = None, event: str = "product_viewed", **more: Any) -> dict[str, Any]:
    return {"type": "track", "event": event, "userId": "u", "messageId": "m", "properties": properties, **more}


def test_traits_are_protected_in_their_columns() -> None:
    traits = {"email": MAIL, "birthday": BORN, "language": "fi"}
    for item in (
        {"type": "identify", "userId": "u", "traits": traits},
        track({"product_id": "p"}, context={"traits": traits}),
    ):
        line = only(judge(item))
        assert isinstance(line, Line)
        assert msgspec.to_builtins(line.t) == {"email": HASHED, "language": "fi"}


def test_properties_are_protected_in_their_columns_on_the_fast_path_and_on_the_slow_one() -> None:
    sent = track({"product_id": "p", "rating": 5, "review_body": MAIL}, "review_submitted")
    repaired = track({"product_id": "p", "rating": 5.0, "review_body": MAIL, "size": "\ud800"}, "review_submitted")
    for item in (sent, repaired):
        line = only(judge(item))
        assert isinstance(line, Line)
        assert line.p.review_body == HASHED
        assert line.p.rating == 5


def test_the_digest_is_of_what_is_stored_so_that_nobody_finds_a_value_by_trying() -> None:
    def digest(item: dict[str, Any], key: bytes = KEY) -> int:
        body = json.dumps({"batch": [item]}).encode()
        validator = Validator(COMPILED, LIMITS, new_id=lambda: "made", protection=Protection(RULES, key))
        (line,) = validator.judge(parse_batch(body), Arrival(NOW, None, "web", SOURCES["web"], body)).lines
        assert isinstance(line, Line)
        return line.digest

    def identify(**traits: Any) -> dict[str, Any]:
        return {"type": "identify", "userId": "u", "traits": traits}

    assert digest(identify(birthday=BORN)) == digest(identify(birthday="1999-09-09"))
    assert digest(identify(email=MAIL)) != digest(identify(email="eino@example.com")), "they have two pseudonyms"
    assert digest(identify(level=1)) != digest(identify(level=2))
    for item in (
        identify(email=MAIL),
        track({"product_id": "p", "rating": 5, "review_body": MAIL}, "review_submitted"),
        track({"product_id": "p", "email": MAIL}),
        track({"email": MAIL}, "never_planned"),
    ):
        assert digest(item) == digest(item)
        assert digest(item) != digest(item, KEY[1:]), "it cannot be made without the key"


def test_unplanned_members_are_protected_in_extra() -> None:
    line = only(judge(track({"product_id": "p", "Email": MAIL, "note": {"birthday": BORN}, "colour": "red"})))
    assert isinstance(line, Line)
    assert json.loads(line.extra or "") == {"properties": {"Email": HASHED, "note": {}, "colour": "red"}}
    line = only(judge(track({"email": MAIL, "birthday": BORN}, "never_planned", context={"device": {"phone": MAIL}})))
    assert isinstance(line, Line)
    assert json.loads(line.extra or "") == {
        "properties": {"email": HASHED}, "context": {"device": {"phone": HASHED}},
    }  # fmt: skip
    assert line.unplanned


def test_an_extra_of_which_nothing_may_be_stored_is_none() -> None:
    line = only(judge(track({"product_id": "p", "birthday": BORN})))
    assert isinstance(line, Line)
    assert line.extra is None
    assert line.unplanned, "the sender still hears of it"


REFUSED = {
    "a property of a wrong type": (track({"product_id": ["p"], "email": MAIL, "birthday": BORN}), {"email": HASHED}),
    "a strict source": (track({"product_id": "p", "email": MAIL, "birthday": BORN}), {"email": HASHED}),
    "nobody": ({**track({"email": MAIL}), "userId": None}, {"email": HASHED}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_original_of_a_refused_event_is_protected(case: str) -> None:
    item, kept = REFUSED[case]
    line = only(judge(item, source="strict"))
    assert isinstance(line, QuarantineLine)
    original = json.loads(line.original or "")
    product = {"product_id": item["properties"]["product_id"]} if "product_id" in item["properties"] else {}
    assert original == {**item, "properties": {**product, **kept}}


def test_a_broken_trait_is_not_told_and_not_kept() -> None:
    item = {"type": "identify", "userId": "u", "name": "Sign-up", "traits": {"email": [MAIL], "name": {"first": MAIL}}}
    line = only(judge(item, context={"library": {"name": "analytics.js", "version": "1"}}))
    assert isinstance(line, QuarantineLine)
    assert json.loads(line.original or "") == {**item, "traits": {"email": [HASHED]}}, "`name` of a call is the wire's"
    assert line.library == "analytics.js"


@pytest.mark.parametrize(
    "raw",
    [b'"%b"', b'["%b"]', b'{"email":%b}', b'{"email":"%b\xff"}'],
)
def test_what_is_no_json_object_is_not_kept_at_all(raw: bytes) -> None:
    line = only(judge(raw % MAIL.encode()))
    assert isinstance(line, QuarantineLine)
    assert (line.original, line.original_base64) == (None, None)
    assert "its text is not kept" in line.message


REPEATED = [
    b'"properties":{"email":"%b"},"properties":{"product_id":5}',
    b'"properties":{"product_id":5,"x":{"email":"%b"},"x":1}',
    b'"email":"%b","email":"","properties":{"product_id":5}',
    b'"properties":{"product_id":5},"context":{"traits":{"email":"%b"},"traits":null}',
]


@pytest.mark.parametrize("members", REPEATED)
def test_of_a_name_that_stands_twice_the_first_is_not_kept_unseen(members: bytes) -> None:
    line = only(judge(b'{"type":"track","event":"product_viewed","userId":"u",%b}' % (members % MAIL.encode())))
    assert isinstance(line, QuarantineLine)
    assert json.loads(line.original or "")["properties"]["product_id"] == 5


def test_bytes_that_another_encoding_makes_json_of_are_not_kept() -> None:
    raw = b'{\x00"\x00%b"\x00:\x001\x00}\x00' % MAIL.encode()
    assert isinstance(only(judge(raw)), QuarantineLine)


WIRE = [*sorted(Context.__struct_encode_fields__), "traits", "device"]


@pytest.mark.parametrize("name", WIRE)
@pytest.mark.parametrize("product_id", ["p", 5])
def test_known_members_of_the_context_hide_nothing(name: str, product_id: Any) -> None:
    for value in ({"email": MAIL}, [{"email": MAIL}], {"deep": [{"birthday": BORN, "E-Mail": MAIL}]}):
        only(judge(track({"product_id": product_id}, context={name: value})))
        only(judge(track({"product_id": product_id}), context={name: value}))


def test_members_of_the_context_without_a_column_are_known_by_their_names() -> None:
    properties = RULES.properties | {
        name: msgspec.structs.replace(RULES.properties["query"], name=name, privacy="sensitive")
        for name in ("search", "ip")
    }
    plan = msgspec.structs.replace(RULES, properties=properties)
    context = {"ip": "192.0.2.1", "page": {"search": "?q=illness", "path": "/"}}
    for within in ({}, {"context": context}):
        body = json.dumps({"batch": [track({"product_id": 5}, **within)], "context": context}).encode()
        validator = Validator(compile_plan(plan), LIMITS, new_id=lambda: "made", protection=Protection(plan, KEY))
        (line,) = validator.judge(parse_batch(body), Arrival(NOW, None, "web", SOURCES["web"], body)).lines
        assert isinstance(line, QuarantineLine)
        assert "illness" not in str(line)
        assert "192.0.2.1" not in str(line)
        assert json.loads(line.context or "") == {"page": {"path": "/"}}


def test_what_the_wire_says_of_the_context_is_kept() -> None:
    context = {"campaign": {"name": "Spring"}, "page": {"title": "Boots"}, "library": {"name": "l"}, "locale": "fi"}
    line = only(judge(track({"product_id": 5}, context=context)))
    assert isinstance(line, QuarantineLine)
    assert json.loads(line.original or "")["context"] == context


@pytest.mark.parametrize("written", [json.dumps({"email": MAIL}), MAIL, [MAIL], [[{"email": MAIL}]]])
def test_properties_that_are_no_object_are_not_kept_and_still_refused_when_judged_again(written: Any) -> None:
    for item in (track(written), {"type": "identify", "userId": "u", "traits": written}):
        line = only(judge(item))
        assert isinstance(line, QuarantineLine)
        assert line.code == "not_an_object"
        again = only(judge((line.original or "").encode()))
        assert isinstance(again, QuarantineLine)
        assert again.code == "not_an_object"
    for context in (written, {"traits": written}):
        only(judge(track({"product_id": "p"}, context=context)))
        only(judge(track({"product_id": 5}, context=context)))


def test_the_name_of_a_page_is_protected_as_the_property_that_it_becomes() -> None:
    named = RULES.properties["page_name"]
    properties = RULES.properties | {"page_name": msgspec.structs.replace(named, privacy="sensitive")}
    protection = Protection(msgspec.structs.replace(RULES, properties=properties), KEY)
    page = {"type": "page", "userId": "u", "name": "Results of a test", "category": "Health", "properties": []}
    kept = protected_item(protection, json.dumps(page).encode())
    assert json.loads(kept or b"") == {"type": "page", "userId": "u", "category": "Health", "properties": []}
    assert protected_item(PROTECTION, json.dumps(page).encode()) == json.dumps(page).encode()


def test_an_original_without_anything_to_protect_is_kept_byte_for_byte() -> None:
    raw = b'{"type":"track", "event":"product_viewed","userId":"\\u0061","properties":{"product_id":5e-324}}'
    line = only(judge(raw))
    assert isinstance(line, QuarantineLine)
    assert line.original == raw.decode()


def test_a_plan_without_privacy_rules_changes_nothing() -> None:
    validator = Validator(PLAN, LIMITS, new_id=lambda: "made", protection=Protection(PLAN.plan))
    body = json.dumps({"batch": [{"type": "identify", "userId": "u", "traits": {"email": MAIL}}]}).encode()
    (line,) = validator.judge(parse_batch(body), Arrival(NOW, None, "web", SOURCES["web"], body)).lines
    assert isinstance(line, Line)
    assert line.t.email == MAIL
