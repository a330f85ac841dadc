"""One customer: who they are, what they carry along from visit to visit, and when they have time."""

import math

import msgspec

from polku_demo import events
from polku_demo.webshop.devices import Device, new_device
from polku_demo.webshop.diary import DAY, HOUR
from polku_demo.webshop.draw import Draw, Weighted
from polku_demo.webshop.world import CATEGORIES, CONSENTS, PERSONAS, PLACES, Line, Persona, Product


class Customer(msgspec.Struct):
    """A person, known to the shop or not yet. Scores run from 0 to 1."""

    number: str
    draw: Draw
    persona: Persona
    place: str
    age_band: str
    customer_type: events.CustomerType
    kids_count: str
    consent: tuple[str, ...]
    interests: tuple[str, str]
    devices: list[Device]
    readiness: float  # how close to buying
    satisfaction: float = 0.72
    user_id: str | None = None
    newsletter: bool = False
    subscribed: bool = False
    has_app: bool = False
    gone: bool = False  # will not come back
    was_anonymous: bool = False  # before being known, on the same device
    orders: int = 0
    visits: int = 0
    cart: list[Line] = []
    viewed: list[Product] = []
    coupon: str | None = None
    referred_by: str | None = None


def new_customer(draw: Draw, number: str, referred_by: str | None = None) -> Customer:
    """A person who has not seen the shop yet. A friend's word makes them readier."""
    persona = PERSONAS[draw.weighted(_PERSONA)]
    first = persona.interest if draw.chance(0.7) else draw.weighted(CATEGORIES)
    devices = [new_device(draw)]
    if draw.chance(0.4):
        devices.append(new_device(draw))
    has_app = draw.chance(persona.app / 3)  # some have the app before they have an account
    if has_app:
        devices.append(new_device(draw, app=True))
    return Customer(
        number=number,
        draw=draw,
        persona=persona,
        place=draw.weighted(PLACES),
        age_band=_age_band(draw.normal(persona.age, 7.0)),
        kids_count=draw.one(("1", "2", "3+")) if draw.chance(persona.kids) else "0",
        customer_type="business" if draw.chance(0.06) else "private",
        consent=draw.weighted(CONSENTS),
        interests=(first, draw.weighted(CATEGORIES)),
        devices=devices,
        readiness=draw.between(0.05, 0.45) + (0.3 if referred_by else 0.0),
        has_app=has_app,
        referred_by=referred_by,
    )


def free_moment(customer: Customer, day: int, first_weekday: int) -> float:
    """A moment of that day, in seconds since the first day: evenings, at weekends from noon on."""
    draw = customer.draw
    weekend = (first_weekday + day) % 7 >= 5
    hour = draw.weighted(_WEEKEND if weekend else customer.persona.hours)
    return day * DAY + hour * HOUR + draw.random() * HOUR


def free_day(draw: Draw, around: float, first_weekday: int) -> int:
    """A day near `around` (in days): a day at the weekend is taken a third more often than a working day."""
    day = max(0, math.floor(around))
    for _ in range(3):
        if (first_weekday + day) % 7 >= 5 or draw.chance(0.75):
            break
        day += 1
    return day


def _age_band(age: float) -> str:
    for limit, band in ((25, "19-24"), (35, "25-34"), (45, "35-44"), (55, "45-54"), (65, "55-64")):
        if age < limit:
            return band
    return "65+"


_PERSONA = Weighted({name: persona.share for name, persona in PERSONAS.items()})
# Hours in UTC; the shop's customers live two or three hours ahead of it.
_WEEKEND = Weighted(dict(enumerate((
    1, 0.4, 0.3, 0.2, 0.3, 0.6, 1.5, 3, 5, 7, 8, 8, 8, 8, 7, 7, 7, 7, 8, 7, 5, 4, 3, 2))))  # fmt: skip
