"""What follows an order: parcels on time or late, contacts, returns, opinions, friends."""

from typing import TYPE_CHECKING

from polku.typed import Event
from polku_demo import events
from polku_demo.webshop.checkout import Order
from polku_demo.webshop.customer import Customer
from polku_demo.webshop.diary import DAY, HOUR
from polku_demo.webshop.draw import Weighted
from polku_demo.webshop.session import referral_code
from polku_demo.webshop.visits import Visit
from polku_demo.webshop.world import AGENTS, CARRIERS, CURRENCY, Product, items

if TYPE_CHECKING:
    from polku_demo.webshop.life import Household

PROMISED_DAYS = 3
# How often a carrier is late. One of them is the weak link that the reports should find.
LATE = {"Posti": 0.08, "Matkahuolto": 0.32, "DHL": 0.05}


class Aftermath:
    """Writes the time after the order into the agenda of a household."""

    def __init__(self, household: "Household") -> None:
        self._household = household
        self._diary = household.diary

    def ordered(self, customer: Customer, order: Order) -> None:
        """Plan the parcel; some subscribe at once."""
        draw = customer.draw
        if customer.user_id is None:  # bought as a guest: nobody knows whom to write to
            return
        carrier = draw.weighted(CARRIERS)
        promised = order.time + PROMISED_DAYS * DAY
        late = draw.chance(LATE[carrier])
        shipped = order.time + draw.between(0.3, 1.2) * DAY
        delivered = promised + draw.between(0.5, 5.0) * DAY if late else promised - draw.between(0.1, 1.5) * DAY
        at = self._household.at
        at(shipped, lambda now: self._shipped(customer, order, carrier, promised, now))
        at(delivered, lambda now: self._delivered(customer, order, carrier, promised, now, late=late))
        if late and draw.chance(0.35):
            # Asks where the parcel is, after the promised day and before it comes.
            asks = promised + (delivered - promised) * draw.between(0.2, 0.9)
            at(_office_hour(asks), lambda now: self.contact(customer, "delivery", now, order))
        if not customer.subscribed and draw.chance(0.2):
            at(order.time + 2 * HOUR, lambda now: self._subscription(customer, now))

    def contact(self, customer: Customer, reason: events.ContactReason, now: float, order: Order | None = None) -> None:
        """A call answered by an agent. Good agents mend something."""
        draw = customer.draw
        agent, role = draw.one([a for a in AGENTS if a[1] != "sales"])
        resolved = draw.chance(0.85 if agent != "A13" else 0.5)
        customer.satisfaction += 0.08 if resolved else -0.12
        self._diary.figures.agent_contacts += 1
        contacted = events.AgentContacted(
            agent_id=agent,
            agent_role=role,
            contact_reason=reason,
            contact_medium="phone",
            wait_seconds=round(draw.wait(80.0)),
            duration_seconds=round(draw.duration(260, 0.6)),
            resolved=resolved,
            order_id=None if order is None else order.order_id,
        )
        self._write("call_centre", customer, now, contacted)

    def shared(self, customer: Customer, visit: Visit, product: Product) -> None:
        """A product is passed on, seen by us as a share."""
        network = customer.draw.one(("whatsapp", "instagram", "facebook"))
        visit.track(events.ProductShared(product_id=product.product_id, share_via=network))

    def _shipped(self, customer: Customer, order: Order, carrier: str, promised: float, now: float) -> None:
        shipped = events.OrderShipped(
            order_id=order.order_id, carrier=carrier, promised_at=self._diary.moment(promised)
        )
        self._write("server", customer, now, shipped)

    def _delivered(
        self, customer: Customer, order: Order, carrier: str, promised: float, now: float, *, late: bool
    ) -> None:
        draw, figures = customer.draw, self._diary.figures
        delivered = events.OrderDelivered(
            order_id=order.order_id,
            carrier=carrier,
            promised_at=self._diary.moment(promised),
            delivered_at=self._diary.moment(now),
        )
        self._write("server", customer, now, delivered)
        figures.deliveries += 1
        figures.late_deliveries += late
        customer.satisfaction += draw.between(-0.45, -0.2) if late else draw.between(0.0, 0.12)
        customer.satisfaction = min(1.0, max(0.0, customer.satisfaction))
        plan = self._household.in_days
        plan(customer, now, 1.0, lambda then: self._survey(customer, order, then))
        if late and draw.chance(0.35):
            plan(customer, now, 0.5, lambda then: self._complaint(customer, order, then))
        if draw.chance(0.20 if any(line.product.category == "clothing" for line in order.lines) else 0.07):
            plan(customer, now, 3 + draw.wait(4.0), lambda then: self._return(customer, order, then))
        if draw.chance(0.18):
            plan(customer, now, 5 + draw.wait(5.0), lambda then: self._review(customer, order, then))

    def _survey(self, customer: Customer, order: Order, now: float) -> None:
        draw, diary = customer.draw, self._diary
        asked = events.FeedbackRequested(survey_id="after-delivery", about="delivery", about_id=order.order_id)
        self._write("mail", customer, now, asked)
        if not draw.chance(0.4):
            self._mood(customer, now)
            return
        score = round(min(10.0, max(0.0, 1.5 + 8.5 * customer.satisfaction + draw.normal(0.0, 1.1))))
        answered = now + draw.between(0.05, 9.0) * HOUR
        diary.figures.survey_answers += 1
        answer = events.SurveyAnswered(
            survey_id="after-delivery",
            question="How likely are you to recommend us?",
            scale="nps",
            score=score,
            about="delivery",
            about_id=order.order_id,
        )
        self._write("mail", customer, answered, answer)
        if score >= 9 and draw.chance(0.5):
            self._household.in_days(customer, answered, 0.5, lambda then: self._refer(customer, then))
        self._mood(customer, answered)

    def _mood(self, customer: Customer, now: float) -> None:
        """Disappointed customers leave, and end what they had subscribed to."""
        if customer.satisfaction < 0.45 and customer.draw.chance(0.6):
            if customer.subscribed:
                self._unsubscribe(customer, "dissatisfied", now + 20)
            customer.gone = True

    def _unsubscribe(self, customer: Customer, reason: str, now: float) -> None:
        customer.subscribed = False
        cancelled = events.SubscriptionCancelled(
            subscription_id=f"PLUS-{customer.number}", subscription_plan="plus", reason=reason
        )
        self._write("web", customer, now, cancelled)

    def _refer(self, customer: Customer, now: float) -> None:
        referral = events.ReferralSent(
            referral_code=referral_code(f"customer-{customer.number}"), share_via="email", recipients_count=1
        )
        self._write("web", customer, now, referral)
        if customer.draw.chance(0.7):
            self._household.tell_friend(customer, now)

    def _review(self, customer: Customer, order: Order, now: float) -> None:
        draw = customer.draw
        product = draw.one(order.lines).product
        rating = round(min(5.0, max(1.0, 1.6 + 3.4 * customer.satisfaction + draw.normal(0.0, 0.6))))
        self._diary.figures.reviews += 1
        review = events.ReviewSubmitted(
            product_id=product.product_id, rating=rating, review_id=f"R-{order.order_id}", about="product"
        )
        self._write("web", customer, now, review)

    def _return(self, customer: Customer, order: Order, now: float) -> None:
        draw = customer.draw
        line = draw.one(order.lines)
        reason = draw.weighted(_RETURN_REASONS)
        self._diary.figures.returns += 1
        returned = events.OrderReturned(
            order_id=order.order_id,
            reason=reason,
            value=line.cents / 100,
            currency=CURRENCY,
            products=items([line]),
        )
        self._write("server", customer, now, returned)

    def _complaint(self, customer: Customer, order: Order, now: float) -> None:
        draw = customer.draw
        number = f"C-{order.order_id}"
        self._diary.figures.complaints += 1
        complaint = events.ComplaintOpened(complaint_id=number, order_id=order.order_id, complaint_topic="delivery")
        self._write("call_centre", customer, now, complaint)
        self._household.at(now + 40, lambda then: self.contact(customer, "complaint", then, order))
        solved = _office_hour(now + draw.between(0.5, 6.0) * DAY)
        self._household.at(solved, lambda then: self._solved(customer, order, number, then))

    def _solved(self, customer: Customer, order: Order, number: str, now: float) -> None:
        customer.satisfaction += 0.12
        customer.coupon = "COMEBACK10"
        settled = events.ComplaintSolved(complaint_id=number, order_id=order.order_id, resolution="voucher")
        self._write("call_centre", customer, now, settled)

    def _subscription(self, customer: Customer, now: float, number: int = 0) -> None:
        renewal = number > 0
        if renewal and not customer.subscribed:
            return
        if renewal and customer.draw.chance(0.12):
            self._unsubscribe(customer, "too_expensive", now)
            return
        customer.subscribed = True
        if renewal:
            renewed = events.SubscriptionRenewed(
                subscription_id=f"PLUS-{customer.number}",
                subscription_plan="plus",
                billing_period="month",
                value=4.9,
                currency=CURRENCY,
                renewal_number=number,
            )
            self._write("server", customer, now, renewed)
        else:
            started = events.SubscriptionStarted(
                subscription_id=f"PLUS-{customer.number}",
                subscription_plan="plus",
                billing_period="month",
                value=4.9,
                currency=CURRENCY,
            )
            self._write("web", customer, now, started)
        self._household.at(now + 30 * DAY, lambda then: self._subscription(customer, then, number + 1))

    def _write(self, source: str, customer: Customer, now: float, event: Event) -> None:
        self._diary.track(source, customer.draw.id(), now, event, customer.user_id)


def _office_hour(time: float) -> float:
    """The same day between 6 and 15 UTC, where the offices are open; the next morning if that is over."""
    day, rest = divmod(time, DAY)
    if rest > 15 * HOUR:
        return (day + 1) * DAY + 6 * HOUR + rest / 24
    return time if rest > 6 * HOUR else day * DAY + 6 * HOUR + rest / 24


_RETURN_REASONS = Weighted({"wrong_size": 45.0, "not_as_expected": 30.0, "damaged": 15.0, "late": 10.0})
