"""A small plan with one of everything, and generated source brought to life."""

import sys
import types
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from polku_schemas import Event, Plan, Property
from polku_schemas.model import Call
from polku_schemas.plan import fingerprint


def prop(name: str, type_: Any, description: str = "Shown.", **more: Any) -> Property:
    return Property(name=name, type=type_, description=description, **more)


def by_name(properties: Iterable[Property]) -> dict[str, Property]:
    return {each.name: each for each in properties}


def event(name: str, *properties: Property, call: Call = "track", description: str = "It happened.") -> Event:
    return Event(
        name=name,
        version="1.0",
        owner="shop",
        description=description,
        stage=(),
        touchpoint=(),
        call=call,
        properties=by_name(properties),
    )


def plan(*events: Event, dictionary: Iterable[Property] | None = None, traits: Iterable[Property] = ()) -> Plan:
    """A plan whose dictionary is what the events have, unless it is given."""
    used = [each for one in events for each in one.properties.values()] if dictionary is None else dictionary
    bare = Plan(
        name="shop",
        version="1.2",
        description="A shop.",
        stages=("interest",),
        channels=("web",),
        properties=by_name(used),
        traits=by_name(traits),
        events={one.name: one for one in events},
    )
    return replace(bare, fingerprint=fingerprint(bare))


def module_of(source: str, name: str) -> types.ModuleType:
    """The module that some source text is. It is known under its name, so that its annotations are found."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, f"<{name}>", "exec", dont_inherit=True), vars(module))  # noqa: S102 - what is being tested
    return module


_PRODUCT = [
    prop("product_id", "string", "Key of the product.", required=True, min_length=1, examples=("P-1",)),
    prop("price", "number", "Price of one piece.", minimum=0, examples=(59.9,)),
    prop("quantity", "integer", "Number of pieces.", minimum=1, maximum=999),
]
_PRODUCTS = prop(
    "products",
    "array",
    "What was bought.",
    required=True,
    min_length=1,
    max_length=100,
    items=prop("products", "object", "What was bought.", fields=by_name(_PRODUCT)),
)
_CURRENCIES = ("EUR", "SEK", "NOK", "DKK", "GBP", "USD", "CHF", "PLN", "CZK", "HUF", "RON", "BGN", "ISK", "TRY")

SHOP = plan(
    event(
        "order_completed",
        prop("order_id", "string", "Key of the order.", required=True, pattern=r"^O-\d+$", privacy="pseudonymous"),
        _PRODUCTS,
        prop("revenue", "number", "What was paid, in `currency`.", required=True, minimum=0, examples=(53.9,)),
        prop("currency", "string", "Currency of all amounts.", enum=_CURRENCIES, default="EUR"),
        prop("coupon", "string", "Coupon, or null where the shop has none.", required=True, nullable=True),
        prop("delivered_at", "date-time", "When the goods were handed over."),
        prop("promised_on", "date", "The day that was promised.", examples=("2026-01-31",)),
        prop("returned_until", "date-time", "Last moment of return.", default="2026-12-31T23:59:59+02:00"),
        prop("reference", "uuid", "Key of the payment."),
        prop("gift", "boolean", "Whether it is a gift.", default=False),
        prop("rating", "integer", "How it went.", enum=(1, 2, 3)),
        prop("tags", "array", "Free words.", items=prop("tags", "string", "Free words.", max_length=20)),
        prop("note", "string", "What the customer wrote.", privacy="personal", max_length=200),
        prop(
            "address",
            "object",
            "Where it goes.",
            privacy="sensitive",
            fields=by_name([prop("city", "string", "Town.", required=True, privacy="sensitive")]),
        ),
        description="An order was placed and paid.",
    ),
    event("logged_out", description="A person logged out."),
    event("page_viewed", prop("page_type", "string", "Kind of page.", enum=("home", "cart")), call="page"),
    event("screen_viewed", prop("screen_name", "string", "Name of the screen.", required=True), call="screen"),
    traits=[
        prop(
            "email",
            "string",
            "Address.",
            privacy="personal",
            format="email",
            min_length=7,
            examples=("aino@a.example",),
        ),
        prop("homepage", "string", "Own page.", format="uri", pattern="^https:"),
        prop("birthday", "date", "Day of birth.", privacy="sensitive"),
    ],
)
"""A plan with one of everything."""
