"""Each event is decided once, alone: a good neighbour of a bad event is never touched."""

import base64
import json
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polku_collector.batch import Line, QuarantineLine
from polku_collector.intake.judged import Arrival, Judged
from polku_collector.intake.validate import Validator
from polku_collector.intake.wire import Unreadable, parse_batch
from polku_collector.settings import Source

from .world import LIMITS, NOW, PLAN, SOURCES

GOOD = b'{"type":"track","event":"product_viewed","userId":"u1","messageId":"good","properties":{"product_id":"p1"}}'


def judge(body: bytes, source: str = "web", sent_at: datetime | None = None) -> Judged:
    parsed = parse_batch(body)
    validator = Validator(PLAN, LIMITS, new_id=lambda: "made")
    return validator.judge(parsed, Arrival(NOW, sent_at or parsed.sent_at, source, SOURCES[source], body))


def judge_one(item: dict[str, Any], source: str = "web", **outer: Any) -> tuple[Line | QuarantineLine, Judged]:
    judged = judge(json.dumps({"batch": [item], **outer}).encode(), source)
    (line,) = judged.lines
    return line, judged


@pytest.mark.parametrize("outer", [{}, {"context": {"note": 1}}])
@pytest.mark.parametrize("days", [-31, 1])
def test_a_replaced_time_is_told_and_a_corrected_one_is_not(days: int, outer: dict[str, Any]) -> None:
    at = NOW + timedelta(days=days)
    item = {"type": "track", "event": "product_viewed", "userId": "u", "properties": {"product_id": "p"}}
    line, judged = judge_one({**item, "timestamp": at.isoformat()}, **outer)
    assert isinstance(line, Line) and (line.event_time, line.time_adjusted) == (NOW, True)
    [warning] = judged.warnings
    assert (warning.code, warning.path) == ("time_replaced", "$.timestamp")
    assert "more than 30 days ago or 60 minutes ahead" in (warning.message or "")
    line, judged = judge_one({**item, "timestamp": at.isoformat()}, "past", **outer)
    assert isinstance(line, Line) and (line.event_time, judged.warnings) == (at, [])
    line, judged = judge_one({**item, "timestamp": at.isoformat()}, sentAt=at.isoformat(), **outer)
    assert isinstance(line, Line) and (line.event_time, line.time_adjusted, judged.warnings) == (NOW, True, [])


DEEP = 100_000
"""Beyond what any Python decodes: 3.11 gives up at 1,000 levels, 3.13 at some 10,000."""

BROKEN = {
    "null": (b"null", "not_an_object", "$"),
    "number": (b"17", "not_an_object", "$"),
    "list": (b"[1,2]", "not_an_object", "$"),
    "bad UTF-8": (b'{"type":"track","event":"x\xff","userId":"u"}', "invalid_utf8", "$"),
    "bad UTF-8 in a property": (
        b'{"type":"track","event":"x","userId":"u","properties":{"a":"\xff"}}',
        "invalid_utf8",
        "$.properties",
    ),
    "deep": (
        b'{"type":"track","event":"x","userId":"u","properties":' + b"[" * DEEP + b"]" * DEEP + b"}",
        "too_deep",
        "$",
    ),
    "deep objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "too_deep", "$"),
    "not JSON": (b'{"type":track}', "invalid_json", "$"),
    "no type": (b'{"event":"x","userId":"u"}', "missing_type", "$.type"),
    "odd type": (b'{"type":"click","userId":"u"}', "unknown_type", "$.type"),
    "type of a wrong type": (b'{"type":5,"userId":"u"}', "wrong_type", "$.type"),
    "no name": (b'{"type":"track","userId":"u"}', "missing_event_name", "$.event"),
    "long name": (b'{"type":"track","userId":"u","event":"%b"}' % (b"n" * 300), "too_long", "$.event"),
    "nobody": (b'{"type":"track","event":"x","userId":null,"anonymousId":""}', "missing_id", "$"),
    "id of a wrong type": (b'{"type":"track","event":"x","userId":{"a":1}}', "invalid_id", "$.userId"),
    "long id": (b'{"type":"track","event":"x","userId":"%b"}' % (b"u" * 2000), "invalid_id", "$.userId"),
    "long message id": (
        b'{"type":"track","event":"x","userId":"u","messageId":"%b"}' % (b"m" * 200),
        "invalid_id",
        "$.messageId",
    ),
    "bad time": (b'{"type":"track","event":"x","userId":"u","timestamp":"yesterday"}', "invalid_time", "$.timestamp"),
    "properties of a wrong type": (
        b'{"type":"track","event":"product_viewed","userId":"u","properties":[1]}',
        "not_an_object",
        "$.properties",
    ),
    "wrong type": (
        b'{"type":"track","event":"product_viewed","userId":"u","properties":{"product_id":["p"]}}',
        "wrong_type",
        "$.properties.product_id",
    ),
    "missing": (
        b'{"type":"track","event":"product_viewed","userId":"u","properties":{}}',
        "missing_property",
        "$.properties.product_id",
    ),
    "out of range": (
        b'{"type":"track","event":"product_viewed","userId":"u","properties":{"product_id":"p","price":-1}}',
        "out_of_range",
        "$.properties.price",
    ),
    "trait of a wrong type": (b'{"type":"identify","userId":"u","traits":{"email":5}}', "wrong_type", "$.traits.email"),
    "too large": (
        b'{"type":"track","event":"x","userId":"u","properties":{"a":"%b"}}' % (b"a" * 30_000),
        "too_large",
        "$.properties",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_event_is_quarantined_with_reason_path_and_bytes_and_spares_its_neighbours(kind: str) -> None:
    item, code, path = BROKEN[kind]
    judged = judge(b'{"batch":[' + GOOD + b"," + item + b"," + GOOD + b"]}")
    before, bad, after = judged.lines
    assert isinstance(before, Line)
    assert isinstance(after, Line)
    assert isinstance(bad, QuarantineLine)
    assert (bad.code, bad.path) == (code, path)
    (verdict,) = judged.rejected
    assert (verdict.index, verdict.code, verdict.path) == (1, code, path)
    assert verdict.message == bad.message != ""
    if bad.original is not None:
        assert bad.original.encode() == item[: LIMITS.max_quarantine_bytes]
    else:
        assert bad.original_base64 is not None
        assert base64.b64decode(bad.original_base64) == item


def test_many_bad_events_are_taken_apart_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding the bytes of each bad event by reading the body again would take hours for a large batch."""
    from polku_collector.intake import wire

    looked = []
    members = wire.members
    monkeypatch.setattr(wire, "members", lambda body: looked.append(1) or members(body))
    bad = b'{"type":"track","event":"x"}'
    judged = judge(b'{"batch":[' + b",".join([bad] * 300) + b"]}")
    assert len(judged.rejected) == 300
    assert {line.original for line in judged.lines if isinstance(line, QuarantineLine)} == {bad.decode()}
    assert len(looked) == 1


def test_an_escaped_key_does_not_hide_the_batch() -> None:
    judged = judge(b'{"b\\u0061tch":[{"type":"track"},{"type":"track"}]}')
    assert [line.original for line in judged.lines if isinstance(line, QuarantineLine)] == ['{"type":"track"}'] * 2


def test_half_an_emoji_is_repaired_and_told() -> None:
    judged = judge(
        b'{"batch":[{"type":"track","event":"product_viewed","userId":"u","messageId":"m",'
        b'"properties":{"product_id":"p\\ud83d"}},' + GOOD + b"]}"
    )
    line = judged.lines[0]
    assert isinstance(line, Line)
    assert line.p.product_id == "p\ufffd"
    assert [(warning.index, warning.code) for warning in judged.warnings] == [(0, "repaired_text")]


def test_nan_in_an_unplanned_property_becomes_null() -> None:
    judged = judge(b'{"batch":[{"type":"track","event":"odd","userId":"u","properties":{"a":NaN,"b":Infinity}}]}')
    (line,) = judged.lines
    assert isinstance(line, Line)
    assert json.loads(line.extra or "")["properties"] == {"a": None, "b": None}


def test_an_alias_finds_its_event_and_the_plan_names_it() -> None:
    line, judged = judge_one(
        {"type": "track", "event": "Product Viewed", "userId": "u", "properties": {"product_id": "1"}}
    )
    assert isinstance(line, Line)
    assert (line.event_name, line.schema_version, line.unplanned) == ("product_viewed", "1.0", False)
    assert judged.warnings == []


def test_unplanned_data_is_kept_flagged_and_told() -> None:
    line, judged = judge_one(
        {
            "type": "track",
            "event": "product_viewed",
            "userId": "u",
            "properties": {"product_id": "1", "shelf": {"row": 2}},
        }
    )
    assert isinstance(line, Line)
    assert line.unplanned
    assert json.loads(line.extra or "") == {"properties": {"shelf": {"row": 2}}}
    assert judged.warnings[0].code == "unknown_property"
    assert "shelf" in judged.warnings[0].message


def test_a_strict_source_quarantines_what_is_not_planned() -> None:
    line, _ = judge_one({"type": "track", "event": "who_knows", "userId": "u"}, source="strict")
    assert isinstance(line, QuarantineLine)
    assert line.code == "unknown_event"
    item = {"type": "track", "event": "product_viewed", "userId": "u", "properties": {"product_id": "1", "shelf": 2}}
    line, _ = judge_one(item, source="strict")
    assert isinstance(line, QuarantineLine)
    assert line.code == "unknown_property"


def test_context_becomes_columns_and_the_rest_is_kept() -> None:
    line, judged = judge_one(
        {
            "type": "track",
            "event": "product_viewed",
            "anonymousId": "a",
            "properties": {"product_id": "1"},
            "context": {
                "page": {"url": "https://shop.example/p/1", "title": "One", "referrer": "https://x.example/", "tab": 3},
                "campaign": {"name": "spring", "source": "news", "medium": "email"},
                "userAgent": "Mozilla/5.0",
                "sessionId": 1700000000,
                "screen": {"width": 100},
                "ip": "203.0.113.9",
            },
        },
        context={"library": {"name": "lib", "version": "1"}, "locale": "fi-FI"},
    )
    assert isinstance(line, Line)
    assert msgspec.to_builtins(line.context) == {
        "page": {"url": "https://shop.example/p/1", "title": "One", "referrer": "https://x.example/"},
        "campaign": {"name": "spring", "source": "news", "medium": "email"},
        "userAgent": "Mozilla/5.0",
        "sessionId": "1700000000",
        "library": {"name": "lib", "version": "1"},
        "locale": "fi-FI",
    }
    assert json.loads(line.extra or "") == {"context": {"page": {"tab": 3}, "screen": {"width": 100}}}
    assert "203.0.113.9" not in msgspec.json.encode(line).decode()
    assert judged.warnings == []


def test_what_a_batch_says_for_all_its_events_is_kept_also_where_it_has_no_column() -> None:
    item = {"type": "track", "event": "product_viewed", "userId": "u", "properties": {"product_id": "1"}}
    around = {"app": {"build": "7"}, "locale": "fi", "channel": "store", "page": {"url": "/a", "title": "A"}}
    body = json.dumps({"batch": [item, item | {"context": {"app": 1, "page": {"url": "/b"}}}], "context": around})
    first, second = judge(body.encode()).lines
    assert isinstance(first, Line)
    assert isinstance(second, Line)
    assert (first.channel, json.loads(first.extra or "")) == ("store", {"context": {"app": {"build": "7"}}})
    assert (second.channel, json.loads(second.extra or "")) == ("store", {"context": {"app": 1}})
    assert msgspec.to_builtins(second.context) == {"locale": "fi", "page": {"url": "/b", "title": "A"}}
    assert msgspec.to_builtins(first.context) == {"locale": "fi", "page": {"url": "/a", "title": "A"}}


def test_identify_brings_traits_in_either_place() -> None:
    for item in (
        {"type": "identify", "userId": "u", "traits": {"email": "a@example.org"}},
        {"type": "identify", "userId": "u", "context": {"traits": {"email": "a@example.org"}}},
    ):
        line, _ = judge_one(item)
        assert isinstance(line, Line)
        assert (line.event_name, line.t.email, line.extra) == ("identify", "a@example.org", None)


def test_a_groups_traits_are_not_the_persons() -> None:
    line, judged = judge_one({"type": "group", "userId": "u", "groupId": "g", "traits": {"name": "Acme", "seats": 5}})
    assert isinstance(line, Line)
    assert (line.event_name, line.group_id, line.unplanned, judged.warnings) == ("group", "g", False, [])
    assert json.loads(line.extra or "") == {"traits": {"name": "Acme", "seats": 5}}


def test_a_page_call_names_its_page() -> None:
    line, judged = judge_one(
        {"type": "page", "userId": "u", "name": "Home", "properties": {"url": "https://shop.example/", "title": "Shop"}}
    )
    assert isinstance(line, Line)
    assert (line.event_name, line.p.page_name) == ("page_viewed", "Home")
    assert msgspec.to_builtins(line.context) == {"page": {"url": "https://shop.example/", "title": "Shop"}}
    assert (line.extra, judged.warnings) == (None, [])


def test_numbers_as_ids_become_text() -> None:
    line, _ = judge_one({"type": "track", "event": "x", "userId": 42, "anonymousId": 7.0})
    assert isinstance(line, Line)
    assert (line.user_id, line.anonymous_id) == ("42", "7")


def test_the_same_event_has_the_same_digest_on_either_path() -> None:
    alone = judge(b'{"batch":[' + GOOD + b"]}").lines[0]
    beside_a_bad_one = judge(b'{"batch":[' + GOOD + b",null]}").lines[0]
    other = judge(b'{"batch":[' + GOOD.replace(b"p1", b"p2") + b"]}").lines[0]
    assert isinstance(alone, Line)
    assert isinstance(beside_a_bad_one, Line)
    assert isinstance(other, Line)
    assert alone.digest == beside_a_bad_one.digest != other.digest


# Small: an item has ten of them, and hypothesis took a hundred times as long to think of large ones as we take to judge
# them.
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
wire_items = (
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["track", "identify", "page", "screen", "group", "alias", "x", None, 3]),
            "event": st.sampled_from(["product_viewed", "Order Completed", "zz", "", None, 4]) | json_values,
            "userId": json_values,
            "anonymousId": json_values,
            "messageId": json_values,
            "timestamp": json_values | st.datetimes().map(str),
            "properties": json_values | st.fixed_dictionaries({"product_id": json_values, "price": json_values}),
            "traits": json_values,
            "context": json_values,
            "name": json_values,
        },
    )
    | json_values
)


@settings(max_examples=300)
@given(st.lists(wire_items, max_size=4), json_values)
def test_whatever_comes_as_json_every_item_gets_one_line_that_the_journal_can_store(
    items: list[Any], outer: Any
) -> None:
    body = json.dumps({"batch": items, "context": outer}, ensure_ascii=True).encode()
    judged = judge(body)
    assert len(judged.lines) == len(items)
    for line in judged.lines:
        encoded = msgspec.json.encode(line)
        assert b"\n" not in encoded
        json.loads(encoded)


@settings(max_examples=300)
@given(
    st.binary(max_size=300) | st.binary(max_size=60).map(lambda middle: b'{"batch":[' + GOOD + b"," + middle + b"]}")
)
def test_whatever_bytes_come_nothing_is_raised_but_unreadable(body: bytes) -> None:
    try:
        parsed = parse_batch(body)
    except Unreadable as error:
        assert error.path
        return
    judged = Validator(PLAN, LIMITS, new_id=lambda: "made").judge(
        parsed, Arrival(NOW, None, "web", Source(keys=["k"]), body)
    )
    assert len(judged.lines) == len(parsed)
    for line in judged.lines:
        msgspec.json.encode(line).decode()
