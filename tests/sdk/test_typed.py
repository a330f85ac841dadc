"""Typed events: classes such as `polku plan generate` writes, made, refused and sent."""

import copy
import decimal
import enum
import inspect
import math
import pickle
import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pytest

import polku
from polku import typed


class Product(typed.Object):
    """One of `products`."""

    product_id: Annotated[str, typed.text(min_length=1)]
    quantity: Annotated[int, typed.integer(minimum=0)] | None = None


class OrderCompleted(typed.Event, name="order_completed"):
    """An order was placed."""

    order_id: Annotated[str, typed.text(min_length=1, max_length=8, pattern="^O")]
    products: Annotated[list[Product], typed.items(min_length=1, max_length=2)]
    revenue: Annotated[float, typed.number(minimum=0)]
    currency: Literal["EUR", "USD"] | None = typed.default("EUR")
    delivered_at: Annotated[datetime, typed.moment()] | None = None
    email: Annotated[str, typed.text(pattern="@", expected="an e-mail address", private=True)] | None = None
    gift: bool | None = None
    promised_on: date | None = None
    rating: Literal[1, 2, 3] | None = None
    reference: uuid.UUID | None = None
    secret: Annotated[date, typed.private()] | None = None


class PageViewed(typed.PageEvent, name="page_viewed"):
    """A page was opened."""

    page_type: Literal["home", "cart"] | None = None


class ScreenViewed(typed.ScreenEvent, name="screen_viewed"):
    """A screen was opened."""


class Traits(typed.Traits):
    """What is known about a person."""

    email: Annotated[str, typed.text(min_length=3, private=True)] | None = None


class Explained(typed.Event, name="explained"):
    """A required property that may be null."""

    reason: str | None


ORDER: dict[str, Any] = {"order_id": "O-1", "products": [Product(product_id="p")], "revenue": 12.5}


@pytest.fixture(autouse=True)
def _raising() -> Iterator[None]:
    yield
    typed.when_invalid("raise")


def sent(*calls: tuple[str, tuple[Any, ...]], **options: Any) -> list[dict[str, Any]]:
    transport = polku.MemoryTransport()
    client = polku.Client("k", "http://c", transport=transport, **options)
    for call, arguments in calls:
        getattr(client, call)(*arguments, user_id="u") if call != "identify" else client.identify(*arguments)
    assert client.close()
    return [
        {key: item[key] for key in item if key not in ("messageId", "timestamp", "context")}
        for item in transport.events
    ]


def test_an_event_is_sent_under_its_name_with_its_properties() -> None:
    event = OrderCompleted(**ORDER, delivered_at=datetime(2026, 1, 31, 12, tzinfo=UTC), reference=uuid.UUID(int=7))
    properties = {
        "order_id": "O-1",
        "products": [{"product_id": "p"}],
        "revenue": 12.5,
        "currency": "EUR",
        "delivered_at": "2026-01-31T12:00:00Z",
        "reference": "00000000-0000-0000-0000-000000000007",
    }
    assert sent(("track", (event,))) == [
        {"type": "track", "event": "order_completed", "userId": "u", "properties": properties}
    ]


def test_each_kind_of_event_goes_with_its_own_call() -> None:
    page = {"type": "page", "userId": "u", "properties": {"page_type": "home"}}
    assert sent(
        ("track", (PageViewed(page_type="home"),)),
        ("page", ("Home", PageViewed(page_type="home"))),
        ("track", (ScreenViewed(),)),
        ("screen", ("Main", ScreenViewed())),
        ("identify", ("u", Traits(email="a@b.c"))),
    ) == [
        page,
        page | {"name": "Home"},
        {"type": "screen", "userId": "u", "properties": {}},
        {"type": "screen", "userId": "u", "name": "Main", "properties": {}},
        {"type": "identify", "userId": "u", "traits": {"email": "a@b.c"}},
    ]


def test_properties_beside_a_typed_event_are_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    [item] = sent(("track", (ScreenViewed(), {"more": 1})))
    assert item["properties"] == {}
    assert "stand beside a typed event" in caplog.text


def test_half_an_emoji_is_replaced_and_the_rest_sent(caplog: pytest.LogCaptureFixture) -> None:
    event = OrderCompleted(**ORDER | {"order_id": "O\ud83d", "products": [Product(product_id="😀\ude00")]})
    [item] = sent(("track", (event,)))
    assert item["properties"]["order_id"] == "O\ufffd"
    assert item["properties"]["products"] == [{"product_id": "😀\ufffd"}]
    assert "$.properties.products[0].product_id holds a lone surrogate" in caplog.text


def test_a_plan_may_look_at_typed_events_too() -> None:
    class Refusing:
        def find(self, call: str, name: str | None) -> Any:
            return None

    with pytest.raises(polku.InvalidEvent, match="not in the plan"):
        sent(("track", (OrderCompleted(**ORDER),)), plan=Refusing(), strict=True)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "too short": ({"order_id": ""}, "too_short at $.properties.order_id: expected at least 1 character, came 0"),
    "too long": (
        {"order_id": "O-4567890"},
        "too_long at $.properties.order_id: expected at most 8 characters, came 9",
    ),
    "pattern": (
        {"order_id": "X"},
        'pattern_mismatch at $.properties.order_id: expected a match of ^O, came the string "X"',
    ),
    "words for a pattern": (
        {"email": "nobody"},
        "pattern_mismatch at $.properties.email: expected an e-mail address, came the string",
    ),
    "null": (
        {"order_id": None},
        "missing_property at $.properties.order_id: expected the required property `order_id`, came null",
    ),
    "type": ({"order_id": 5}, "wrong_type at $.properties.order_id: expected a string, came the number 5"),
    "bytes": ({"order_id": b"O-1"}, "wrong_type at $.properties.order_id: expected a string, came a bytes"),
    "no JSON": ({"gift": object()}, "wrong_type at $.properties.gift: expected true or false, came a object"),
    "minimum": ({"revenue": -1}, "out_of_range at $.properties.revenue: expected at least 0, came the number -1.0"),
    "NaN": (
        {"revenue": math.nan},
        "wrong_type at $.properties.revenue: expected a finite number, came the number nan",
    ),
    "infinity": (
        {"revenue": math.inf},
        "wrong_type at $.properties.revenue: expected a finite number, came the number inf",
    ),
    "a decimal NaN": ({"revenue": decimal.Decimal("sNaN")}, "expected a finite number, came the number nan"),
    "a decimal without end": (
        {"revenue": decimal.Decimal("1E+999999999")},
        "expected a finite number, came the number inf",
    ),
    "enum": ({"currency": "EURO"}, 'expected one of "EUR", "USD", came the string "EURO"'),
    "enum of numbers": ({"rating": 4}, "expected one of 1, 2, 3, came the number 4"),
    "no zone": (
        {"delivered_at": datetime(2026, 1, 31, 12)},
        "wrong_type at $.properties.delivered_at: expected a date-time with a time zone (Z or +02:00), came the string"
        ' "2026-01-31T12:00:00"',
    ),
    "not a date": (
        {"promised_on": "31.1.2026"},
        'wrong_type at $.properties.promised_on: expected a date such as 2026-01-31, came the string "31.1.2026"',
    ),
    "private date": (
        {"secret": "31.1.2026"},
        "wrong_type at $.properties.secret: expected a date such as 2026-01-31, came the string",
    ),
    "not a UUID": ({"reference": "x"}, 'expected a UUID, came the string "x"'),
    "too few": ({"products": []}, "too_short at $.properties.products: expected at least 1 item, came 0"),
    "not a list": ({"products": "p"}, 'wrong_type at $.properties.products: expected a list, came the string "p"'),
    "an item": (
        {"products": [ORDER["products"][0], {"product_id": "p", "quantity": -1}]},
        "out_of_range at $.properties.products[1].quantity: expected at least 0, came the number -1",
    ),
    "64 bits": (
        {"products": [{"product_id": "p", "quantity": 2**63}]},
        "out_of_range at $.properties.products[0].quantity: expected an integer of 64 bits, came the number"
        " 9223372036854775808",
    ),
    "more digits than are written": (
        {"products": [{"product_id": "p", "quantity": 10**5_000}]},
        "expected an integer of 64 bits, came the number of 16610 bits",
    ),
    "a name that is not one": (
        {"ordr_id": "O-1"},
        'unknown_property at $.properties.ordr_id: expected one of "order_id", "products", "revenue", "currency",'
        ' "delivered_at", "email", "gift", "promised_on", "rating", "reference", "secret", came `ordr_id`',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_plan_does_not_allow_is_refused_with_event_place_and_reason(case: str) -> None:
    values, message = REFUSED[case]
    with pytest.raises(polku.InvalidValue) as caught:
        OrderCompleted(**ORDER | values)
    assert str(caught.value).startswith("order_completed: ")
    assert str(caught.value).endswith(message)
    assert caught.value.event == "order_completed"
    assert isinstance(caught.value, ValueError)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(polku.InvalidValue, match=r"at \$.properties.order_id: .* `order_id`, came nothing"):
        OrderCompleted()  # type: ignore[call-arg]
    with pytest.raises(polku.InvalidValue, match=r"^explained: missing_property"):
        Explained()  # type: ignore[call-arg]
    assert Explained(reason=None).reason is None


def test_objects_and_traits_are_refused_under_their_own_name() -> None:
    with pytest.raises(polku.InvalidValue, match=r"^Product: too_short at \$\.product_id: "):
        Product(product_id="")
    with pytest.raises(polku.InvalidValue, match=r"^Traits: too_short at \$\.traits\.email: .* came 1$"):
        Traits(email="a")


class Colour(enum.StrEnum):
    EURO = "EUR"


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"revenue": 3}, 3.0),
        ({"revenue": np.float64(1.5)}, 1.5),
        ({"revenue": decimal.Decimal("12.50")}, 12.5),
        ({"currency": Colour.EURO}, "EUR"),
        ({"currency": None}, None),
        ({"rating": 2.0}, 2),
        ({"rating": np.int64(2)}, 2),
        ({"rating": decimal.Decimal("2.0")}, 2),
        ({"promised_on": "2026-01-31"}, date(2026, 1, 31)),
        ({"products": (ORDER["products"][0],)}, ORDER["products"]),
        ({"products": [{"product_id": "p"}]}, ORDER["products"]),
        ({"reference": "00000000-0000-0000-0000-000000000007"}, uuid.UUID(int=7)),
    ],
)
def test_what_the_collector_would_take_is_taken_as_the_type_that_the_class_names(given: Any, taken: Any) -> None:
    [name] = given
    value = getattr(OrderCompleted(**ORDER | given), name)
    assert value == taken
    assert type(value) is type(taken)


def test_a_list_given_to_an_event_may_be_used_on() -> None:
    products = [Product(product_id="p")]
    event = OrderCompleted(**ORDER | {"products": products})
    products.append(Product(product_id="q"))
    assert len(event.products) == 1


def test_events_are_values() -> None:
    event = OrderCompleted(**ORDER)
    with pytest.raises(AttributeError):
        event.revenue = 5.0  # type: ignore[misc]
    with pytest.raises(TypeError, match="OrderCompleted takes its properties by name"):
        OrderCompleted("O-1")  # type: ignore[call-arg, misc]
    assert pickle.loads(pickle.dumps(event)) == copy.deepcopy(event) == event  # noqa: S301 - our own
    assert (
        repr(event)
        == "OrderCompleted(order_id='O-1', products=[Product(product_id='p')], revenue=12.5, currency='EUR')"
    )


def test_help_shows_the_types_without_their_constraints() -> None:
    assert str(inspect.signature(PageViewed)) == "(*, page_type: Optional[Literal['home', 'cart']] = None)"
    parameters = inspect.signature(OrderCompleted).parameters
    assert parameters["order_id"].annotation is str
    assert parameters["order_id"].default is inspect.Parameter.empty
    assert parameters["currency"].default == "EUR"


def test_with_warnings_nothing_raises_and_the_event_goes_on_to_be_quarantined(
    caplog: pytest.LogCaptureFixture,
) -> None:
    typed.when_invalid("warn")
    events = [OrderCompleted(order_id="O-1", revenue=-1, typo=2) for _ in range(3)]  # type: ignore[call-arg]
    items = sent(*[("track", (event,)) for event in events])
    assert [item["properties"] for item in items] == [
        {"order_id": "O-1", "products": None, "revenue": -1, "currency": "EUR"}
    ] * 3
    [record] = caplog.records
    assert record.getMessage().startswith(f"{__file__}:")
    assert "order_completed: unknown_property at $.properties.typo" in record.getMessage()
    with pytest.raises(ValueError, match="takes"):
        typed.when_invalid("ignore")  # type: ignore[arg-type]


def test_other_structs_are_sent_as_before() -> None:
    class Plain(msgspec.Struct):
        query: str

    at = datetime(2026, 1, 31, 14, tzinfo=timezone(timedelta(hours=2)))
    [item] = sent(("track", ("searched", {"plain": Plain("wool"), "at": at})))
    assert item["properties"] == {"plain": {"query": "wool"}, "at": "2026-01-31T14:00:00+02:00"}
