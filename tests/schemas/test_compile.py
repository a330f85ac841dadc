"""Finding an event, and decoding it on the fast path."""

import datetime
from typing import Any

import msgspec
import pytest

from polku_schemas import CompiledEvent, builtin_plan_path, compile_plan, load_plan, snake_case

PLAN = load_plan(builtin_plan_path())
COMPILED = compile_plan(PLAN)


def event(name: str, call: str = "track") -> CompiledEvent:
    found = COMPILED.find(call, name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "name", ["order_completed", "Order Completed", "orderCompleted", "ORDER_COMPLETED", "order-completed "]
)
def test_a_track_call_is_found_by_name_alias_and_snake_case(name: str) -> None:
    assert event(name).name == "order_completed"


def test_an_alias_wins_over_snake_case() -> None:
    assert event("Signed In").name == "logged_in"


@pytest.mark.parametrize("name", ["", "Order", "order_completed" * 20, None])
def test_an_unknown_name_is_not_found(name: str | None) -> None:
    assert COMPILED.find("track", name) is None


@pytest.mark.parametrize("text", ["ProductAdded", "Product Added", "product.added", "  product  added "])
def test_snake_case(text: str) -> None:
    assert snake_case(text) == "product_added"


@pytest.mark.parametrize(
    ("call", "name"),
    [("page", "page_viewed"), ("screen", "screen_viewed"), *((c, c) for c in ("identify", "group", "alias"))],
)
def test_the_other_calls_are_found_whatever_their_name(call: str, name: str) -> None:
    for given in (None, "Home", "order_completed"):
        found = COMPILED.find(call, given)
        assert found is not None
        assert found.name == name


def test_an_unknown_call_is_not_found() -> None:
    assert COMPILED.find("click", "order_completed") is None


def test_identify_group_and_alias_have_no_properties_of_their_own() -> None:
    assert event("", "identify").struct.__struct_fields__ == ()
    assert COMPILED.traits.struct.__struct_fields__ == tuple(PLAN.traits)


def test_date_times_come_in_utc_and_are_written_with_a_z() -> None:
    values = event("order_delivered").decode(b'{"order_id":"1","delivered_at":"2026-02-06T12:12:00.1234567+02:00"}')
    delivered: datetime.datetime = values.delivered_at  # type: ignore[attr-defined]
    assert delivered.tzinfo is datetime.UTC
    assert msgspec.json.encode(values) == b'{"order_id":"1","delivered_at":"2026-02-06T10:12:00.123457Z"}'


@pytest.mark.parametrize(
    "raw",
    [
        b'{"order_id":"1","delivered_at":"2026-02-06T12:12:00"}',
        b'{"order_id":"1","delivered_at":"0001-01-01T00:00:00+02:00"}',
        b'{"order_id":"1","delivered_at":1770000000}',
    ],
)
def test_a_date_time_without_zone_or_outside_the_calendar_is_refused(raw: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        event("order_delivered").decode(raw)


@pytest.mark.parametrize("digits", ["9223372036854775808", "-9223372036854775809", "1" * 5000])
def test_integers_are_bounded_to_64_bits(digits: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        event("product_viewed").decode(f'{{"product_id":"1","quantity":{digits}}}'.encode())


def test_absent_and_null_optional_properties_are_none_and_are_not_written() -> None:
    values = event("product_viewed").decode(b'{"product_id":"1","price":null}')
    assert values.price is None  # type: ignore[attr-defined]
    assert msgspec.json.encode(values) == b'{"product_id":"1"}'


def test_values_cannot_be_changed_by_mistake() -> None:
    values = event("product_viewed").decode(b'{"product_id":"1"}')
    with pytest.raises(AttributeError):
        values.product_id = "2"  # type: ignore[attr-defined]


def test_a_channel_can_be_fixed_be_ruled_or_be_left_to_the_source() -> None:
    fixed, ruled, free = event("email_opened"), event("agent_contacted"), event("product_viewed")
    assert (fixed.channel, fixed.channel_rules) == ("email", False)
    assert (ruled.channel, ruled.channel_rules) == (None, True)
    assert (free.channel, free.channel_rules) == (None, False)
    raw = b'{"agent_role":"store","contact_reason":"return","duration_seconds":60%s}'
    assert ruled.channel_of(ruled.decode(raw % b"")) == "store"
    assert ruled.channel_of(ruled.decode(raw % b',"contact_medium":"chat"')) == "web"
    assert fixed.channel_of(fixed.decode(b'{"email_id":"1"}')) == "email"
    assert free.channel_of(free.decode(b'{"product_id":"1"}')) is None


def test_the_fast_path_is_what_one_would_write_by_hand() -> None:
    """A bound C method over one closed struct; only types with date-times run any Python while decoding."""
    decode: Any = event("product_viewed").decode
    assert type(decode).__name__ == "builtin_function_or_method"
    assert isinstance(decode.__self__, msgspec.json.Decoder)
    for name in PLAN.events:
        struct = event(name).struct
        config = struct.__struct_config__
        assert (config.frozen, config.forbid_unknown_fields, config.omit_defaults, config.gc) == (
            True,
            True,
            True,
            False,
        )
        has_times = any(prop.type == "date-time" for prop in PLAN.events[name].properties.values())
        assert hasattr(struct, "__post_init__") == has_times, name


def test_constraints_are_those_of_msgspec() -> None:
    hints = msgspec.inspect.type_info(event("search_result_clicked").struct)
    assert isinstance(hints, msgspec.inspect.StructType)
    position = next(field for field in hints.fields if field.name == "position")
    assert position.type == msgspec.inspect.IntType(ge=1, le=2**63 - 1)
    assert position.required
    traits = msgspec.inspect.type_info(COMPILED.traits.struct)
    assert isinstance(traits, msgspec.inspect.StructType)
    country = next(field for field in traits.fields if field.name == "country")
    assert isinstance(country.type, msgspec.inspect.UnionType)
    assert msgspec.inspect.StrType(pattern="^[A-Z]{2}$") in country.type.types
