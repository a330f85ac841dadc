"""Validate: bytes in, verdict out, for single events, beside a struct written by hand and a JSON Schema validator.

The struct is what a good engineer writes for the same properties and constraints. The validator is `jsonschema-rs` on
what `orjson` reads, with the event's own exported schema. All three take short turns, and each figure is the median of
the ratios of the turns, so that neither a busy machine nor its clock favours one of them.
"""

from __future__ import annotations

import datetime
import statistics
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema_rs
import msgspec
import orjson
from msgspec import Meta, Struct

from polku_schemas import Checked, CompiledEvent, Event, Property, builtin_plan_path, event_schema, load_plan
from polku_schemas.formats import FORMATS

from .figures import Figure, NotAsExpected

TARGET_OF_HAND_WRITTEN = 0.6
TARGET_OF_VALIDATOR = 2.0
_TURN = 200
"""Verdicts a turn."""

PLAN = load_plan(builtin_plan_path())

# The same properties and constraints by hand ----------------------------------------------------------------------

Key = Annotated[str, Meta(min_length=1, max_length=128)]
Code = Annotated[str, Meta(max_length=128)]
Amount = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0)]
Moment = Annotated[datetime.datetime, Meta(tz=True)]
Currency = Literal[PLAN.properties["currency"].enum]  # type: ignore[valid-type]


class ProductViewed(Struct):
    product_id: Key
    sku: Code | None = None
    name: Annotated[str, Meta(max_length=500)] | None = None
    category: Annotated[str, Meta(max_length=300)] | None = None
    brand: Annotated[str, Meta(max_length=200)] | None = None
    variant: Annotated[str, Meta(max_length=200)] | None = None
    price: Amount | None = None
    currency: Currency | None = None
    quantity: Count | None = None
    position: Count | None = None
    coupon: Code | None = None
    in_stock: bool | None = None
    url: Annotated[str, Meta(max_length=2000)] | None = None
    image_url: Annotated[str, Meta(max_length=2000)] | None = None


class Product(Struct):
    product_id: Key
    sku: str | None = None
    name: str | None = None
    category: str | None = None
    department: str | None = None
    brand: str | None = None
    variant: str | None = None
    package_size: str | None = None
    price: Amount | None = None
    quantity: Count | None = None
    position: Count | None = None
    coupon: str | None = None
    discount: Amount | None = None
    coupon_discount: Amount | None = None
    revenue: Amount | None = None
    url: str | None = None
    image_url: str | None = None


class OrderCompleted(Struct):
    order_id: Key
    revenue: Amount
    products: Annotated[list[Product], Meta(min_length=1, max_length=1000)]
    checkout_id: Code | None = None
    affiliation: Annotated[str, Meta(max_length=200)] | None = None
    total: Amount | None = None
    value: Amount | None = None
    shipping: Amount | None = None
    tax: Amount | None = None
    discount: Amount | None = None
    coupon_discount: Amount | None = None
    coupon: Code | None = None
    currency: Currency | None = None
    payment_method: Annotated[str, Meta(max_length=100)] | None = None
    shipping_method: Annotated[str, Meta(max_length=100)] | None = None


class OrderDelivered(Struct):
    order_id: Key
    delivered_at: Moment
    shipment_id: Code | None = None
    carrier: Annotated[str, Meta(max_length=100)] | None = None
    promised_at: Moment | None = None


class SignedUp(Struct):
    account_id: uuid.UUID
    email: Annotated[str, Meta(pattern=FORMATS["email"].pattern)]
    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")] | None = None
    website: Annotated[str, Meta(pattern=FORMATS["uri"].pattern)] | None = None
    birthday: datetime.date | None = None
    signed_up_at: Moment | None = None
    newsletter: bool = False


# Events -----------------------------------------------------------------------------------------------------------


class Case(Struct, frozen=True, kw_only=True):
    """One event, its twin by hand, and bytes of it."""

    what: str
    event: Event
    by_hand: type[Struct]
    raw: bytes


def _cases() -> list[Case]:
    viewed, completed, delivered = (
        PLAN.events[name] for name in ("product_viewed", "order_completed", "order_delivered")
    )
    order = completed.examples[0] | {"products": completed.examples[0]["products"] * 4}
    times = delivered.examples[0] | {"delivered_at": "2026-02-06T10:12:00.123Z"}
    signed_up = {
        "account_id": "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "email": "aino.virtanen@example.com",
        "country": "FI",
        "website": "https://aino.example.com/about?lang=fi",
        "birthday": "1990-02-28",
        "signed_up_at": "2026-02-06T10:12:00.123Z",
        "newsletter": True,
    }
    return [
        _case("product_viewed", viewed, ProductViewed, viewed.examples[0]),
        _case("order_completed, 8 products", completed, OrderCompleted, order),
        _case("order_delivered, 2 times in UTC", delivered, OrderDelivered, times),
        _case("signed_up: patterns, formats, dates, a default", SIGNED_UP, SignedUp, signed_up),
    ]


def _case(what: str, event: Event, by_hand: type[Struct], example: dict[str, Any]) -> Case:
    raw = msgspec.json.encode(example)
    return Case(what=f"{what}, {len(raw)} bytes", event=event, by_hand=by_hand, raw=raw)


def _property(name: str, kind: str, **constraints: Any) -> Property:
    return msgspec.convert({"name": name, "type": kind, "description": "", **constraints}, Property)


SIGNED_UP = Event(
    name="signed_up",
    version="1.0",
    owner="bench",
    description="",
    stage=(),
    touchpoint=(),
    properties={
        prop.name: prop
        for prop in (
            _property("account_id", "uuid", required=True),
            _property("email", "string", format="email", required=True),
            _property("country", "string", pattern="^[A-Z]{2}$"),
            _property("website", "string", format="uri"),
            _property("birthday", "date"),
            _property("signed_up_at", "date-time"),
            _property("newsletter", "boolean", default=False),
        )
    },
)


# Figures ----------------------------------------------------------------------------------------------------------


def run(work: Path, seconds: float) -> list[Figure]:
    """Ratios for events that are plainly accepted; then what the others cost."""
    turns = max(3, int(seconds * 10))
    figures = []
    for case in _cases():
        compiled = CompiledEvent(case.event, "$.properties")
        by_hand = msgspec.json.Decoder(case.by_hand).decode
        accepts = _validator(case.event)
        if not accepts(case.raw) or not isinstance(compiled.check(case.raw), Checked):
            raise NotAsExpected(f"validate: {case.what} is refused")
        ours, others = _rates([compiled.decode, by_hand, accepts], case.raw, turns)
        figures += _ratios(case.what, ours, others)
    return figures + _slow_figures(turns)


def _ratios(what: str, ours: float, others: list[tuple[float, float]]) -> list[Figure]:
    names = ("% of a struct by hand", "× orjson + jsonschema-rs")
    targets = (TARGET_OF_HAND_WRITTEN * 100, TARGET_OF_VALIDATOR)
    return [
        Figure(
            subject="validate",
            what=what,
            value=ratio * (100 if unit.startswith("%") else 1),
            unit=unit,
            target=target,
            note=f"{ours:,.0f} against {theirs:,.0f} verdicts/s",
        )
        for unit, target, (ratio, theirs) in zip(names, targets, others, strict=True)
    ]


def _slow_figures(turns: int) -> list[Figure]:
    """What a verdict costs that needs Python: beside the plain one, or that of a validator with its reasons."""
    viewed, delivered = PLAN.events["product_viewed"], PLAN.events["order_delivered"]
    plain, in_utc = viewed.examples[0], delivered.examples[0] | {"delivered_at": "2026-02-06T10:12:00Z"}
    both = msgspec.json.encode(in_utc)
    reasons = _validator(viewed, reasons=True)
    cases = (
        (
            "1 of 2 times not in UTC",
            delivered,
            in_utc | {"delivered_at": "2026-02-06T12:12:00+02:00"},
            both,
            "both in UTC",
        ),
        (
            "2 unplanned properties",
            viewed,
            plain | {"arm": "b", "speed": 0.7},
            msgspec.json.encode(plain),
            "without them",
        ),
        (
            "refused, with the reason",
            viewed,
            plain | {"price": "59,90"},
            reasons,
            "orjson + jsonschema-rs, its reasons",
        ),
    )
    figures = []
    for what, event, example, beside, name in cases:
        verdict, raw = _verdict_of(CompiledEvent(event, "$.properties")), msgspec.json.encode(example)
        baseline = (lambda _, raw=beside, verdict=verdict: verdict(raw)) if isinstance(beside, bytes) else beside
        ours, [(_, theirs)] = _rates([verdict, baseline], raw, turns)
        figures.append(
            Figure(
                subject="validate",
                what=f"{event.name}, {what}",
                value=ours,
                unit="verdicts/s",
                baseline=theirs,
                baseline_what=name,
            )
        )
    return figures


def _verdict_of(compiled: CompiledEvent) -> Callable[[bytes], object]:
    """What the collector does with the bytes of one event."""

    def verdict(raw: bytes) -> object:
        try:
            return compiled.decode(raw)
        except msgspec.ValidationError:
            return compiled.check(raw)

    return verdict


def _validator(event: Event, *, reasons: bool = False) -> Callable[[bytes], object]:
    """The event's schema as the validator does it fastest: with its own readers of formats in place of our patterns."""
    schema = event_schema(event)
    for member in schema["properties"].values():
        member.pop("allOf", None)
    validator = jsonschema_rs.validator_for(schema, validate_formats=True, pattern_options=jsonschema_rs.RegexOptions())
    if reasons:
        return lambda raw: list(validator.iter_errors(orjson.loads(raw)))
    is_valid, loads = validator.is_valid, orjson.loads
    return lambda raw: is_valid(loads(raw))


def _rates(
    contenders: list[Callable[[bytes], object]], raw: bytes, turns: int
) -> tuple[float, list[tuple[float, float]]]:
    """Verdicts a second of the first; for each of the others its ratio to it, and its own. Medians over the turns."""
    taken: list[list[int]] = [[] for _ in contenders]
    clock = time.perf_counter_ns
    for _ in range(turns):
        for contender, times in zip(contenders, taken, strict=True):
            started = clock()
            for _ in range(_TURN):
                contender(raw)
            times.append(clock() - started)
    first, *rest = taken
    rates = [_TURN * 1e9 / statistics.median(times) for times in taken]
    ratios = [statistics.median(b / a for a, b in zip(first, times, strict=True)) for times in rest]
    return rates[0], list(zip(ratios, rates[1:], strict=True))
