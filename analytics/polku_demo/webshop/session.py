"""One stay on the site or in the app: its clock, its pages, and who the device thinks is there."""

from typing import Final, Literal

import msgspec

from polku.typed import Event
from polku_demo import events
from polku_demo.calls import NOTHING, Call, Values
from polku_demo.webshop.customer import Customer
from polku_demo.webshop.devices import Device
from polku_demo.webshop.diary import Diary
from polku_demo.webshop.world import COUNTRIES, SITE


class Arrival(msgspec.Struct, frozen=True):
    """How a visit begins: where from, on which page, and with what in hand."""

    path: str = "/"
    title: str = "Polku Outdoor"
    referrer: str = ""
    campaign: Values | None = None
    buys: float = 1.0  # factor on the readiness to buy
    coupon: str | None = None
    to_cart: bool = False  # comes back for what was left in the cart


class Session:
    """Writes into the diary what one customer does on one device; `now` is the time of the next thing."""

    def __init__(self, diary: Diary, customer: Customer, device: Device, time: float, arrival: Arrival) -> None:
        self.diary = diary
        self.customer = customer
        self.draw = customer.draw
        self.device = device
        self.arrival = arrival
        self.now = time
        self.source = "app" if device.kind == "app" else "web"
        self.user_id = device.knows  # on a shared device perhaps somebody else
        self.path = arrival.path
        self.base: dict[str, object] = {
            "sessionId": self.draw.id(),
            "userAgent": device.user_agent,
            "locale": "fi-FI",
            "timezone": "Europe/Helsinki",
            "consent": customer.consent,
        }
        self.context: Values = self.base

    def page(self, path: str, title: str, kind: events.PageType) -> None:
        """A page of the site, or the screen of the app that corresponds to it."""
        referrer = SITE + self.path if self.context is not self.base else self.arrival.referrer
        self.path = path
        self.context = {
            **self.base,
            "page": {"url": SITE + path, "path": path, "title": title, "referrer": referrer},
        }
        app = self.source == "app"
        seen = (
            events.ScreenViewed(screen_name=title, page_type=kind)
            if app
            else events.PageViewed(page_name=title, page_type=kind)
        )
        self.diary.add(
            Call(
                source=self.source,
                verb="screen" if app else "page",
                message_id=self.draw.id(),
                timestamp=self.diary.moment(self.now),
                name=title,
                user_id=self.user_id,
                anonymous_id=self.device.anonymous_id,
                values=seen,
                context=self.context,
            )
        )
        self._seen()
        if not app and self.draw.chance(0.25):
            self._measure(kind)
        self.wait(14)

    def track(self, event: Event, seconds: float = 6.0) -> None:
        """Something happens on this page; then time passes."""
        self.diary.track(
            self.source,
            self.draw.id(),
            self.now,
            event,
            self.user_id,
            self.device.anonymous_id,
            self.context,
        )
        self._seen()
        self.wait(seconds)

    def wait(self, seconds: float) -> None:
        """Time passes, about so much of it."""
        self.now += 0.4 + self.draw.wait(seconds)

    def _seen(self) -> None:
        if self.user_id is None:
            self.device.seen = True

    def _measure(self, page_type: events.PageType) -> None:
        draw, slow = self.draw, self.device.slow
        load = draw.duration(1500 * slow * (1.5 if page_type == "category" else 1.0), 0.35)
        self.diary.track(
            self.source,
            draw.id(),
            self.now + load / 1000,
            events.PagePerformanceMeasured(
                load_ms=round(load),
                lcp_ms=round(load * 0.8),
                page_type=page_type,
                cls=round(draw.random() * 0.1 * slow, 3),
            ),
            self.user_id,
            self.device.anonymous_id,
            self.context,
        )
        if load > 6000 and draw.chance(0.5):  # the page seems dead: people try again and again
            for _ in range(draw.whole(2, 4)):
                self.track(
                    events.ErrorShown(
                        error_code="page_timeout",
                        error_message="The page took too long.",
                        http_status=504,
                    ),
                    2,
                )

    def sign_up(self) -> None:
        """An account: from here on the anonymous id and the user are one person."""
        customer, draw, figures = self.customer, self.draw, self.diary.figures
        customer.user_id = f"customer-{customer.number}"
        figures.accounts += 1
        figures.sign_ups_by_referral += customer.referred_by is not None
        customer.newsletter = draw.chance(0.6) and "marketing" in customer.consent
        self.page("/account/new", "Create an account", "account")
        if self.source == "app":  # older mobile clients join the two ids by alias before they identify
            self._know("alias", NOTHING, previous_id=self.device.anonymous_id)
        self._know("identify", self._traits())
        referred_by = customer.referred_by
        signed_up = events.SignedUp(
            method=draw.one(("password", "google", "apple")),
            referral_code=None if referred_by is None else referral_code(referred_by),
        )
        self.track(signed_up, 8)

    def log_in(self) -> None:
        """The customer is recognised on this device too."""
        self.page("/account/login", "Log in", "account")
        self._know("identify", self._traits())
        self.track(events.LoggedIn(method="password"), 4)

    def log_out(self) -> None:
        """The device forgets the customer and starts with a new anonymous id, as our SDKs do."""
        self.track(events.LoggedOut(), 1)
        self.user_id = self.device.knows = None
        self.device.renew(self.draw)

    def _know(
        self, verb: Literal["alias", "identify"], values: events.Traits | Values, previous_id: str | None = None
    ) -> None:
        customer, device = self.customer, self.device
        self.user_id = device.knows = customer.user_id
        if device.seen and device.first_user is None and not customer.was_anonymous:
            customer.was_anonymous = True
            self.diary.figures.anonymous_then_known += 1
        device.first_user = device.first_user or customer.user_id
        if device.first_user != customer.user_id and not device.taken_over:
            device.taken_over = True
            self.diary.figures.shared_ids += 1
        self.diary.add(
            Call(
                source=self.source,
                verb=verb,
                message_id=self.draw.id(),
                timestamp=self.diary.moment(self.now),
                user_id=customer.user_id,
                anonymous_id=None if verb == "alias" else self.device.anonymous_id,
                previous_id=previous_id,
                values=values,
                context=self.context,
            )
        )
        self.wait(1)

    def _traits(self) -> events.Traits:
        customer = self.customer
        return events.Traits(
            email=f"{customer.number}@mail.example",
            age_band=customer.age_band,
            city=customer.place,
            customer_type=customer.customer_type,
            interests=list(customer.interests),
            kids_count=customer.kids_count,
            loyalty_tier=_TIERS[min(3, customer.orders)],
            country=COUNTRIES.get(customer.place, "FI"),
            newsletter=customer.newsletter,
        )


def referral_code(user_id: str) -> str:
    """The code that joins who recommends and who follows it."""
    return f"F-{user_id.removeprefix('customer-')}"


_TIERS: Final[tuple[events.LoyaltyTier, ...]] = ("none", "bronze", "silver", "gold")  # by the number of orders
