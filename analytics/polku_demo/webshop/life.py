"""The life of a household with the shop: an agenda of what happens when, until the days are over.

A household is one customer, or two who share a device. Every action may write further actions into the
agenda; nothing looks at another household, so each can be told alone and a larger shop contains the same
people.
"""

import heapq
from collections.abc import Callable

import msgspec

from polku_demo.webshop.aftermath import Aftermath
from polku_demo.webshop.customer import Customer, free_day, free_moment, new_customer
from polku_demo.webshop.devices import Device, new_device
from polku_demo.webshop.diary import DAY, HOUR, MINUTE, Diary
from polku_demo.webshop.draw import Draw
from polku_demo.webshop.outreach import Outreach
from polku_demo.webshop.session import Arrival
from polku_demo.webshop.visits import Visit
from polku_demo.webshop.world import ARRIVALS, CAMPAIGN, STORES

Action = Callable[[float], None]


class Season(msgspec.Struct, frozen=True):
    """What changes for everybody, in seconds since the first day."""

    new_checkout: float
    spring: float  # the spring campaign starts, and brings more people


class Household:
    """Tells its life into the diary."""

    def __init__(self, diary: Diary, seed: int, number: str, season: Season, referred_by: str | None = None) -> None:
        self.diary = diary
        self.number = number
        self.weekday = diary.start.weekday()
        self.draw = Draw(seed, number)
        self.shared: Device | None = None
        self.customers = [new_customer(self.draw, number, referred_by)]
        self._seed = seed
        self._season = season
        self._agenda: list[tuple[float, int, Action]] = []
        self._noted = 0
        self._friends = 0
        self._busy_until: dict[str, float] = {}
        self._aftermath = Aftermath(self)
        self._outreach = Outreach(self)
        if self.draw.chance(0.06):
            self.customers.append(new_customer(self.draw, f"{number}b"))
            self.shared = new_device(self.draw)
            for customer in self.customers:
                customer.devices.insert(0, self.shared)
                customer.readiness += 0.3  # what one tells the other about the shop

    def live(self, told_at: float | None = None) -> None:
        """From the first visit (for a friend: some time after being told) to the end of the diary."""
        for customer in self.customers:
            self.diary.figures.people += 1
            if told_at is None:
                # Evenly over the days, but nobody on the last few: their journeys would be all beginning.
                first = (self.diary.end / DAY - 4.0) * self.draw.random()
                if self.draw.chance(0.15):
                    first = self._season.spring / DAY + 12.0 * self.draw.random()
            else:
                first = told_at / DAY + self.draw.wait(2.5)
            day = free_day(self.draw, first, self.weekday)
            self._plan_first_visit(customer, max(free_moment(customer, day, self.weekday), told_at or 0.0))
        while self._agenda:
            time, _, action = heapq.heappop(self._agenda)
            action(time)
        devices = {id(device): device for customer in self.customers for device in customer.devices}
        for device in devices.values():
            self.diary.figures.unknown_visitors += device.seen and device.first_user is None

    def at(self, time: float, action: Action) -> None:
        """Plan something. What lies behind the last day does not happen."""
        if time < self.diary.end:
            self._noted += 1
            heapq.heappush(self._agenda, (time, self._noted, action))

    def in_days(self, customer: Customer, now: float, days: float, action: Action) -> None:
        """Plan something for a free moment of the customer, about so many days ahead."""
        moment = free_moment(customer, free_day(customer.draw, now / DAY + days, self.weekday), self.weekday)
        self.at(moment if moment > now else now + customer.draw.between(1.0, 5.0) * HOUR, action)

    def tell_friend(self, customer: Customer, time: float) -> None:
        """A friend hears of the shop, and has a life of their own from then on."""
        self._friends += 1
        number = f"{self.number}f{self._friends}"
        Household(self.diary, self._seed, number, self._season, customer.user_id).live(time)

    def visit(self, customer: Customer, time: float, arrival: Arrival, device: Device | None = None) -> None:
        """One visit and what follows from it."""
        if customer.gone:
            return
        draw = customer.draw
        if device is None:
            device = self.shared if self.shared and draw.chance(0.6) else draw.one(customer.devices)
        # Neither a person nor a device does two things at once.
        time = max(
            time,
            self._busy_until.get(customer.number, 0.0),
            self._busy_until.get(device.anonymous_id, 0.0),
        )
        known_before = customer.user_id
        visit = Visit(self.diary, customer, device, time, arrival)
        visit.run(lean_checkout=time >= self._season.new_checkout)
        shared = device is self.shared
        # On the shared device some forget to log out: then the next to log in ends the link.
        if visit.user_id is not None and draw.chance(0.7 if shared else 0.08):
            visit.log_out()
        end = visit.now + MINUTE
        self._busy_until[customer.number] = self._busy_until[device.anonymous_id] = end
        self._follow(customer, visit, end, signed_up=known_before is None and customer.user_id is not None)

    def _plan_first_visit(self, customer: Customer, time: float) -> None:
        if customer.referred_by is not None:
            arrival = Arrival(
                path="/welcome",
                title="A friend sends you",
                campaign={"source": "friend", "medium": "referral", "name": "bring-a-friend"},
                buys=1.6,
                coupon="FRIEND15",
            )
        else:
            arrival = _arrival(customer, spring=time >= self._season.spring)
            if customer.place in STORES and customer.draw.chance(0.12):
                # Some get to know the shop over the counter, and its site only afterwards, or never.
                self.at(time, lambda now: self._outreach.join_in_store(customer, now))
                return
        device = self.shared or customer.devices[0]
        if arrival.campaign is not None and customer.referred_by is None:
            self._outreach.advertise(customer, device, arrival.campaign, time)
        self.at(time, lambda now: self.visit(customer, now, arrival, device))

    def _follow(self, customer: Customer, visit: Visit, end: float, *, signed_up: bool) -> None:
        draw = customer.draw
        if signed_up:
            self._outreach.welcome(customer, end)
        if visit.shared is not None:
            self._aftermath.shared(customer, visit, visit.shared)
        if visit.meeting:
            self._outreach.meeting(customer, end)
        if visit.order is not None:
            self._aftermath.ordered(customer, visit.order)
            if not customer.has_app and draw.chance(customer.persona.app):
                customer.has_app = True
                customer.devices.append(new_device(draw, app=True))
        elif visit.abandoned and customer.user_id is not None and "marketing" in customer.consent:
            self._outreach.cart_reminder(customer, end)
        liking = 0.2 if customer.orders else 0.0
        if draw.chance(0.34 + liking + 0.3 * customer.readiness + 0.4 * (customer.satisfaction - 0.6)):
            self.in_days(customer, end, 0.3 + draw.wait(8.0), lambda now: self.visit(customer, now, _return(customer)))
        if customer.user_id is not None and draw.chance(0.12):
            self.in_days(customer, end, 1 + draw.wait(9.0), lambda now: self._outreach.store(customer, now))


def _arrival(customer: Customer, *, spring: bool) -> Arrival:
    """How a stranger comes: by an advertisement, a search, a link, or by typing the address."""
    origin = customer.draw.weighted(ARRIVALS)
    campaign = CAMPAIGN.get(origin)
    if campaign is None or (campaign.spring_only and not spring):
        origin = "" if campaign else origin
        article = customer.draw.chance(0.3)
        return Arrival("/guide", "Guides", origin) if article else Arrival(referrer=origin)
    return Arrival(
        path=f"/landing/{campaign.campaign_id}",
        title=campaign.name,
        referrer=campaign.referrer,
        campaign={"source": campaign.source, "medium": campaign.medium, "name": campaign.campaign_id},
        buys=campaign.buys,
        coupon=campaign.coupon,
    )


def _return(customer: Customer) -> Arrival:
    """Who comes back types the address or searches for the name; the cart is still there."""
    draw = customer.draw
    to_cart = bool(customer.cart) and draw.chance(0.3)
    return Arrival(referrer="" if draw.chance(0.65) else "https://www.google.com/", buys=1.25, to_cart=to_cart)
