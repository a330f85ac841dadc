"""The slow path says what is wrong, where, and what was expected; or it keeps the event with what it carries."""

import json
from typing import Any

import msgspec
import pytest

from polku_schemas import (
    Checked,
    CompiledEvent,
    Problem,
    ProblemCode,
    builtin_plan_path,
    compile_plan,
    load_plan,
)

COMPILED = compile_plan(load_plan(builtin_plan_path()))


def event(name: str) -> CompiledEvent:
    found = COMPILED.traits if name == "traits" else COMPILED.find("track", name)
    assert found is not None
    return found


def refused(name: str, raw: bytes) -> Problem:
    result = event(name).check(raw)
    assert isinstance(result, Problem)
    with pytest.raises((msgspec.MsgspecError, ValueError, RecursionError)):
        event(name).decode(raw)
    return result


def accepted(name: str, raw: bytes) -> Checked:
    result = event(name).check(raw)
    assert isinstance(result, Checked), result
    return result


def viewed(**properties: Any) -> bytes:
    return json.dumps({"product_id": "1"} | properties).encode()


@pytest.mark.parametrize(
    ("name", "raw", "code", "path", "message"),
    [
        ("product_viewed", b"{}", "missing_property", "$.properties.product_id",
         "expected the required property `product_id`, came nothing"),
        ("product_viewed", b'{"product_id":null}', "missing_property", "$.properties.product_id",
         "expected the required property `product_id`, came null"),
        ("product_viewed", viewed(product_id=7), "wrong_type", "$.properties.product_id",
         "expected a string, came the number 7"),
        ("product_viewed", viewed(price="59,90"), "wrong_type", "$.properties.price",
         'expected a number, came the string "59,90"'),
        ("product_viewed", viewed(price=True), "wrong_type", "$.properties.price", "expected a number, came true"),
        ("product_viewed", viewed(price=float("nan")), "wrong_type", "$.properties.price",
         "expected a finite number, came the number nan"),
        ("product_viewed", viewed(quantity=1.5), "wrong_type", "$.properties.quantity",
         "expected an integer, came the number 1.5"),
        ("product_viewed", viewed(in_stock="yes"), "wrong_type", "$.properties.in_stock",
         'expected true or false, came the string "yes"'),
        ("product_viewed", viewed(name=["x", "y"]), "wrong_type", "$.properties.name",
         "expected a string, came a list of 2"),
        ("product_viewed", viewed(name={}), "wrong_type", "$.properties.name", "expected a string, came an object"),
        ("product_viewed", viewed(price=-1), "out_of_range", "$.properties.price",
         "expected at least 0, came the number -1.0"),
        ("content_rated", b'{"content_id":"1","rating":6}', "out_of_range", "$.properties.rating",
         "expected at most 5, came the number 6.0"),
        ("product_viewed", viewed(quantity=2**63), "out_of_range", "$.properties.quantity",
         "expected an integer of 64 bits, came the number 9223372036854775808"),
        ("product_viewed", viewed(product_id=""), "too_short", "$.properties.product_id",
         "expected at least 1 character, came 0"),
        ("product_viewed", viewed(product_id="x" * 129), "too_long", "$.properties.product_id",
         "expected at most 128 characters, came 129"),
        ("products_compared", b'{"products":[{"product_id":"1"}]}', "too_short", "$.properties.products",
         "expected at least 2 items, came 1"),
        ("traits", b'{"country":"fi"}', "pattern_mismatch", "$.traits.country",
         'expected a match of ^[A-Z]{2}$, came the string "fi"'),
        ("product_viewed", viewed(currency="eur"), "not_in_enum", "$.properties.currency",
         'expected one of "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT" '
         'and 144 more, came the string "eur"'),
        ("page_viewed", b'{"page_type":"hom"}', "not_in_enum", "$.properties.page_type",
         'expected one of "home", "category", "product", "search", "cart", "checkout", "account", "article", '
         '"service", "store", "other", came the string "hom"'),
        ("cart_viewed", b'{"products":{}}', "wrong_type", "$.properties.products", "expected a list, came an object"),
        ("cart_viewed", b'{"products":[{"product_id":"1"},5]}', "wrong_type", "$.properties.products[1]",
         "expected an object, came the number 5"),
        ("cart_viewed", b'{"products":[{"product_id":"1"},{"price":1}]}', "missing_property",
         "$.properties.products[1].product_id", "expected the required property `product_id`, came nothing"),
        ("cart_viewed", b'{"products":[{"product_id":"1","price":"x"}]}', "wrong_type",
         "$.properties.products[0].price", 'expected a number, came the string "x"'),
        ("order_delivered", b'{"order_id":"1","delivered_at":"2026-02-06T12:12:00"}', "wrong_type",
         "$.properties.delivered_at",
         'expected a date-time with a time zone (Z or +02:00), came the string "2026-02-06T12:12:00"'),
        ("order_delivered", b'{"order_id":"1","delivered_at":"yesterday"}', "wrong_type", "$.properties.delivered_at",
         'expected a date-time such as 2026-01-31T12:00:00Z, came the string "yesterday"'),
        ("order_delivered", b'{"order_id":"1","delivered_at":"0001-01-01T00:00:00+02:00"}', "out_of_range",
         "$.properties.delivered_at",
         'expected a year from 1 to 9999 in UTC, came the string "0001-01-01T00:00:00+02:00"'),
        ("campaign_received", b'{"campaign_id":"1","campaign_start":"2026-02-30"}', "wrong_type",
         "$.properties.campaign_start", 'expected a date such as 2026-01-31, came the string "2026-02-30"'),
        ("product_viewed", b"[]", "not_an_object", "$.properties", "expected an object, came a list of 0"),
        ("product_viewed", b'{"product_id":"\xff"}', "invalid_utf8", "$.properties",
         "expected UTF-8, came the byte 0xff"),
        ("product_viewed", b'{"product_id":', "invalid_json", "$.properties",
         "expected JSON, came something else at character 14 (Expecting value)"),
        ("product_viewed", b'{"product_id":"1","x":' + b"[" * 2000 + b"]" * 2000 + b"}", "too_deep", "$.properties",
         "expected at most 100 levels, came more"),
        ("product_viewed", b'{"product_id":"1","x":' + b"[" * 101 + b"]" * 101 + b"}", "too_deep", "$.properties",
         "expected at most 100 levels, came more"),
    ],
)  # fmt: skip
def test_a_broken_property_gets_a_code_a_path_and_a_message(
    name: str, raw: bytes, code: str, path: str, message: str
) -> None:
    problem = refused(name, raw)
    assert (problem.code, problem.path, problem.message) == (ProblemCode(code), path, message)
    assert problem.message == f"expected {problem.expected}, came {problem.came}"


def test_a_broken_trait_is_at_its_own_path() -> None:
    result = COMPILED.traits.check(b'{"newsletter":"yes"}')
    assert isinstance(result, Problem)
    assert (result.code, result.path) == (ProblemCode.WRONG_TYPE, "$.traits.newsletter")


def test_a_message_never_repeats_a_personal_value() -> None:
    result = COMPILED.traits.check(b'{"email":"aino.virtanen"}')
    message = "expected a match of @, came the string"
    expected = Problem(ProblemCode.PATTERN_MISMATCH, "$.traits.email", message, "a match of @", "the string")
    assert result == expected


def test_a_message_repeats_only_the_start_of_a_long_value() -> None:
    assert len(refused("product_viewed", viewed(price="x" * 10_000)).message) < 200


def test_unplanned_properties_are_kept_apart() -> None:
    checked = accepted("product_viewed", viewed(colour={"code": [1, None, True, "x"]}))
    assert checked.unplanned == {"colour": {"code": [1, None, True, "x"]}}
    assert not checked.repaired
    assert checked.values == event("product_viewed").decode(viewed())


def test_unplanned_fields_of_a_list_keep_their_place() -> None:
    raw = b'{"cart_id":"c","products":[{"product_id":"1"},{"product_id":"2","colour":"red"}]}'
    checked = accepted("cart_viewed", raw)
    assert checked.unplanned == {"products": [{}, {"colour": "red"}]}
    assert msgspec.json.encode(checked.values) == raw.replace(b',"colour":"red"', b"")


def test_a_whole_float_is_an_integer() -> None:
    checked = accepted("product_viewed", b'{"product_id":"1","quantity":2.0,"position":1e1}')
    assert (checked.values.quantity, checked.values.position) == (2, 10)  # type: ignore[attr-defined]
    assert type(checked.values.quantity) is int  # type: ignore[attr-defined]
    assert not checked.repaired


def test_lone_surrogates_are_replaced_and_flagged() -> None:
    checked = accepted("product_viewed", rb'{"product_id":"a\ud83d","\udc00":["\ud83d\ude00 \ud83d"]}')
    assert checked.values.product_id == "a\ufffd"  # type: ignore[attr-defined]
    assert checked.unplanned == {"\ufffd": ["😀 \ufffd"]}
    assert checked.repaired


def test_a_whole_pair_is_no_repair() -> None:
    assert not accepted("product_viewed", rb'{"product_id":"\ud83d\ude00","x":1}').repaired


def test_what_no_json_reader_takes_is_made_safe_where_no_type_was_promised() -> None:
    raw = b'{"product_id":"1","a":NaN,"b":[-Infinity,1e999],"c":9223372036854775808,"d":%s}' % (b"9" * 5000)
    checked = accepted("product_viewed", raw)
    assert checked.unplanned == {"a": None, "b": [None, None], "c": "9223372036854775808", "d": "9" * 5000}
    assert checked.repaired
    msgspec.json.encode(checked.unplanned)


@pytest.mark.parametrize("value", [b"NaN", b"[-Infinity]", b"1e999", b"9223372036854775808", rb'"\ud800"'])
def test_each_kind_of_repair_is_flagged(value: bytes) -> None:
    assert accepted("product_viewed", b'{"product_id":"1","a":%s}' % value).repaired


@pytest.mark.parametrize("raw", [b"", b"  ", b"null", b"{}"])
def test_no_properties_at_all_are_an_empty_object(raw: bytes) -> None:
    assert accepted("logged_in", raw) == Checked(event("logged_in").decode(b"{}"), {}, False)


def test_the_raw_part_of_a_decoded_item_can_be_given_as_it_is() -> None:
    raw = msgspec.json.decode(b'{"properties": {"product_id": 1}}', type=dict[str, msgspec.Raw])["properties"]
    assert isinstance(event("product_viewed").check(raw), Problem)


def test_a_nullable_required_property_may_be_null_but_not_absent(write_plan: Any) -> None:
    folder = write_plan(
        {"properties.yaml": "amount: {type: number, description: A., privacy: none, nullable: true}\n"
         "count: {type: integer, description: C., privacy: none}\n"}
    )  # fmt: skip
    paid = compile_plan(load_plan(folder)).find("track", "paid")
    assert paid is not None
    assert paid.check(b'{"amount":null}') == Checked(paid.decode(b'{"amount":null}'), {}, False)
    assert isinstance(paid.check(b"{}"), Problem)
    with pytest.raises(msgspec.ValidationError):
        paid.decode(b"{}")
