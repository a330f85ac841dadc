"""Where the shop meets its customers outside the site: mail, coupons, stores, meetings."""

from typing import TYPE_CHECKING

from polku.typed import Event
from polku_demo import events
from polku_demo.calls import Values
from polku_demo.webshop.customer import Customer
from polku_demo.webshop.devices import Device
from polku_demo.webshop.diary import DAY, HOUR, MINUTE
from polku_demo.webshop.session import Arrival
from polku_demo.webshop.world import BY_CATEGORY, CURRENCY, STORES, Line, items

if TYPE_CHECKING:
    from polku_demo.webshop.life import Household

# What a newsletter offers to click, best first.
ELEMENTS = ("hero", "product-tip", "guide", "coupon", "footer")


class Outreach:
    """Writes what the shop sends, and what happens in its stores, into the agenda of a household."""

    def __init__(self, household: "Household") -> None:
        self._household = household
        self._diary = household.diary

    def welcome(self, customer: Customer, now: float) -> None:
        """A welcome mail to everybody who signs up; then the newsletter for those who want it."""
        self._mail(customer, now + 5 * MINUTE, "welcome", opens=0.6, clicks=0.2)
        if customer.newsletter:
            self._plan_newsletter(customer, now)

    def cart_reminder(self, customer: Customer, now: float) -> None:
        """The forgotten cart, some hours later."""
        self._household.at(now + customer.draw.between(3.0, 20.0) * HOUR, lambda then: self._remind(customer, then))

    def meeting(self, customer: Customer, now: float) -> None:
        """A consultation was asked for: a confirmation, the call, a follow-up mail with an offer."""
        draw = customer.draw
        day = 1 + draw.whole(1, 5)
        call = (now // DAY + day) * DAY + draw.between(6.0, 13.0) * HOUR
        if customer.user_id is None:  # an e-mail address was given, but nobody has an account yet
            return
        booked = events.MeetingBooked(
            meeting_id=f"M-{customer.number}-{customer.visits}", starts_at=self._diary.moment(call)
        )
        self._write("web", customer, now, booked)
        self._mail(customer, now + MINUTE, "meeting-confirmation", opens=0.9, clicks=0.0)
        self._household.at(call, lambda then: self._consult(customer, then))

    def store(self, customer: Customer, now: float) -> None:
        """A known customer comes to a store with the loyalty card, if there is one in town."""
        store = STORES.get(customer.place)
        if store is None or customer.gone or not 6 * HOUR < now % DAY < 18 * HOUR:
            return
        draw = customer.draw
        self._write("store", customer, now, events.StoreVisited(store_id=store, visit_purpose="buy"))
        now += draw.between(5.0, 20.0) * MINUTE
        if draw.chance(0.3):
            self._talk(customer, store, now)
            now += 4 * MINUTE
        if draw.chance(0.45):
            self._buy(customer, store, now)

    def join_in_store(self, customer: Customer, now: float) -> None:
        """The loyalty card is handed out at the till: a known person without any trace on the web."""
        if not 6 * HOUR < now % DAY < 18 * HOUR:
            now = (now // DAY) * DAY + customer.draw.between(8.0, 16.0) * HOUR
        store, figures = STORES[customer.place], self._diary.figures
        customer.user_id = f"customer-{customer.number}"
        customer.newsletter = "marketing" in customer.consent
        figures.accounts += 1
        self._write("store", customer, now, events.StoreVisited(store_id=store, visit_purpose="browse"))
        self._talk(customer, store, now + 4 * MINUTE)
        self._write("store", customer, now + 15 * MINUTE, events.SignedUp(method="loyalty_card"))
        self._buy(customer, store, now + 16 * MINUTE)
        self.welcome(customer, now + 20 * MINUTE)
        if customer.draw.chance(0.5):
            self._household.in_days(customer, now, 4.0, lambda then: self._household.visit(customer, then, Arrival()))

    def advertise(self, customer: Customer, device: Device, campaign: Values, click: float) -> None:
        """An advertisement is seen a few times before it is clicked; the click leads to the visit."""
        draw = customer.draw
        at, network, name = self._household.at, campaign["source"], campaign["name"]
        ad_id = f"{name}-{draw.whole(1, 3)}"
        viewed = events.AdViewed(ad_id=ad_id, ad_network=network, campaign_id=name, ad_cost=0.004, currency=CURRENCY)
        for moment in (click - 8, *(click - draw.wait(2.0) * DAY for _ in range(draw.whole(0, 3)))):
            at(max(0.0, moment), lambda now: self._advert(device, now, viewed))
        cost = round(draw.between(0.2, 0.9), 2)
        clicked = events.AdClicked(ad_id=ad_id, ad_network=network, campaign_id=name, ad_cost=cost, currency=CURRENCY)
        at(max(0.0, click - 3), lambda now: self._advert(device, now, clicked))

    def _advert(self, device: Device, now: float, event: Event) -> None:
        """What the network reports about a device: it knows the anonymous id of that moment and nobody's name."""
        device.seen = True
        draw, context = self._household.draw, {"userAgent": device.user_agent}
        self._diary.track("ads", draw.id(), now, event, None, device.anonymous_id, context)

    def _plan_newsletter(self, customer: Customer, now: float) -> None:
        """Every Tuesday morning."""
        today = int(now // DAY)
        ahead = (1 - (self._household.weekday + today)) % 7 or 7
        morning = (today + ahead) * DAY + 5 * HOUR + customer.draw.between(0.0, 20.0) * MINUTE
        self._household.at(morning, lambda then: self._newsletter(customer, then))

    def _newsletter(self, customer: Customer, now: float) -> None:
        if not customer.newsletter:
            return
        draw = customer.draw
        if draw.chance(0.01):
            customer.newsletter = False
            self._write("mail", customer, now + HOUR, events.EmailUnsubscribed(email_id="newsletter"))
            return
        self._diary.figures.newsletters += 1
        name = f"newsletter-{int(now // (7 * DAY)) + 1:02d}"
        self._mail(customer, now, name, opens=0.25 + 0.3 * customer.satisfaction, clicks=0.22)
        self._plan_newsletter(customer, now)

    def _mail(
        self,
        customer: Customer,
        now: float,
        campaign: str,
        opens: float,
        clicks: float,
        to_cart: bool = False,
    ) -> None:
        """Sent, perhaps opened, perhaps clicked; a click is a visit with the campaign and the element."""
        draw = customer.draw
        email_id = f"{campaign}-{customer.number}"
        self._write("mail", customer, now, events.EmailSent(email_id=email_id, campaign_id=campaign))
        if not draw.chance(opens):
            return
        now += 2 * MINUTE + draw.wait(4 * HOUR)
        self._write("mail", customer, now, events.EmailOpened(email_id=email_id, campaign_id=campaign))
        if not draw.chance(clicks):
            return
        element = "cart" if to_cart else ELEMENTS[min(len(ELEMENTS) - 1, int(draw.wait(1.3)))]
        now += 30
        clicked = events.EmailClicked(email_id=email_id, campaign_id=campaign, element=element)
        self._write("mail", customer, now, clicked)
        if element == "coupon":
            customer.coupon = "COMEBACK10"
            received = events.CouponReceived(coupon_id="COMEBACK10", coupon="COMEBACK10", campaign_id=campaign)
            self._write("mail", customer, now + 1, received)
        arrival = Arrival(
            path="/cart" if to_cart else f"/news/{element}",
            title="Cart" if to_cart else "News",
            campaign={"source": "newsletter", "medium": "email", "name": campaign, "content": element},
            buys=1.6 if to_cart or element == "coupon" else 1.2,
            coupon="COMEBACK10" if element == "coupon" else None,
            to_cart=to_cart,
        )
        self._household.at(now + 3, lambda then: self._household.visit(customer, then, arrival))

    def _remind(self, customer: Customer, now: float) -> None:
        if customer.cart:
            self._mail(customer, now, "cart-reminder", opens=0.55, clicks=0.45, to_cart=True)

    def _consult(self, customer: Customer, now: float) -> None:
        draw = customer.draw
        self._diary.figures.agent_contacts += 1
        contacted = events.AgentContacted(
            agent_id=draw.one(("A21", "A22")),
            agent_role="sales",
            contact_reason="quote",
            contact_medium="video",
            duration_seconds=round(draw.duration(1500, 0.3)),
            resolved=True,
        )
        self._write("call_centre", customer, now, contacted)
        customer.readiness = 1.0
        bike = draw.one(BY_CATEGORY["bikes"])
        if not customer.cart:
            customer.cart = [Line(bike, draw.whole(1, 3))]
        self._mail(customer, now + HOUR, "offer", opens=0.9, clicks=0.6, to_cart=True)

    def _talk(self, customer: Customer, store: str, now: float) -> None:
        draw = customer.draw
        self._diary.figures.agent_contacts += 1
        customer.satisfaction = min(1.0, customer.satisfaction + 0.05)
        contacted = events.AgentContacted(
            agent_id=f"{store}-{draw.whole(1, 4)}",
            agent_role="store",
            contact_reason="product_advice",
            contact_medium="store",
            duration_seconds=round(draw.duration(240, 0.4)),
            resolved=True,
        )
        self._write("store", customer, now, contacted)

    def _buy(self, customer: Customer, store: str, now: float) -> None:
        draw, figures = customer.draw, self._diary.figures
        wanted = [p for p in customer.viewed if p.price < 300]
        chosen = [draw.one(wanted) if wanted else draw.one(BY_CATEGORY[customer.interests[0]])]
        if draw.chance(0.4):
            extra = draw.one(BY_CATEGORY[customer.interests[1]])
            if extra not in chosen:
                chosen.append(extra)
        lines = tuple(Line(product, 1) for product in chosen)
        cents = sum(line.cents for line in lines)
        customer.orders += 1
        figures.store_orders += 1
        figures.order_lines += len(lines)
        figures.revenue_cents += cents
        completed = events.StoreOrderCompleted(
            order_id=f"O-{customer.number}-{customer.orders}",
            store_id=store,
            revenue=cents / 100,
            currency=CURRENCY,
            products=items(lines),
        )
        self._write("store", customer, now, completed)

    def _write(self, source: str, customer: Customer, now: float, event: Event) -> None:
        self._diary.track(source, customer.draw.id(), now, event, customer.user_id)
