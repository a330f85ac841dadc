"""From the cart to the order: coupon, steps, payment, and the many places to give up."""

from typing import TypedDict

import msgspec

from polku_demo import events
from polku_demo.webshop.draw import Weighted
from polku_demo.webshop.session import Session
from polku_demo.webshop.world import CURRENCY, Line, items

FREE_SHIPPING_CENTS = 7_500
SHIPPING_CENTS = 590
OLD_STEPS = ("account", "address", "delivery", "summary", "payment")
LEAN_STEPS = ("address", "delivery", "payment")
COUPONS = {"WELCOME20": 20, "COMEBACK10": 10, "FRIEND15": 15}  # per cent off the goods


class Order(msgspec.Struct, frozen=True):
    """What was bought."""

    order_id: str
    time: float
    lines: tuple[Line, ...]
    revenue_cents: int  # of the goods, after discounts, without shipping
    source: str


class Checkout(TypedDict):
    """What joins the events of one checkout; each takes it with `**checkout`."""

    checkout_id: str
    order_id: str


def check_out(session: Session, lean: bool) -> Order | None:
    """Go through the steps with what is in the cart; None if the customer gives up on the way."""
    draw, customer = session.draw, session.customer
    lines = tuple(customer.cart)
    goods = sum(line.cents for line in lines)
    checkout: Checkout = {
        "checkout_id": f"CH-{customer.number}-{customer.visits}",
        "order_id": f"O-{customer.number}-{customer.orders + 1}",
    }
    session.page("/checkout", "Checkout", "checkout")
    products = items(lines)
    started = events.CheckoutStarted(**checkout, value=goods / 100, currency=CURRENCY, products=products)
    session.track(started, 15)
    coupon, discount = _coupon(session, checkout["order_id"], goods)
    method = draw.weighted(_PAYMENTS)
    for number, step in enumerate(LEAN_STEPS if lean else OLD_STEPS, 1):
        if step == "account" and customer.user_id is None:
            if draw.chance(0.2):  # "why would I need an account?"
                return None
            session.sign_up()
        session.track(events.CheckoutStepViewed(**checkout, step=number, step_name=step), 20)
        if draw.chance(0.16 if step == "delivery" and goods < FREE_SHIPPING_CENTS else 0.06):
            return None
        if step == "payment" and not _pay(session, checkout, method, goods - discount):
            return None
        session.track(events.CheckoutStepCompleted(**checkout, step=number, step_name=step), 2)
    if customer.user_id is None and draw.chance(0.75):
        session.sign_up()
    shipping = 0 if goods - discount >= FREE_SHIPPING_CENTS else SHIPPING_CENTS
    order = Order(checkout["order_id"], session.now, lines, goods - discount, session.source)
    completed = events.OrderCompleted(
        **checkout,
        revenue=order.revenue_cents / 100,
        total=(order.revenue_cents + shipping) / 100,
        shipping=shipping / 100,
        discount=discount / 100,
        coupon=coupon,
        coupon_discount=discount / 100,
        payment_method=method,
        currency=CURRENCY,
        products=products,
    )
    session.page("/thanks", "Thank you", "checkout")
    session.track(completed, 20)
    figures = session.diary.figures
    figures.orders += 1
    figures.order_lines += len(lines)
    figures.revenue_cents += order.revenue_cents
    customer.orders += 1
    customer.cart = []
    customer.readiness *= 0.4
    return order


def _coupon(session: Session, order_id: str, goods: int) -> tuple[str | None, int]:
    """Use the coupon in hand, if any: its code and what it takes off, in cents."""
    customer = session.customer
    coupon = session.arrival.coupon or customer.coupon
    if coupon is None:
        return None, 0
    customer.coupon = None
    session.track(events.CouponEntered(coupon=coupon, order_id=order_id), 3)
    if coupon == "WELCOME20" and customer.orders > 0:
        denied = events.CouponDenied(coupon=coupon, order_id=order_id, reason="only for a first order")
        session.track(denied, 4)
        return None, 0
    discount = goods * COUPONS[coupon] // 100
    applied = events.CouponApplied(
        coupon=coupon, coupon_id=coupon, order_id=order_id, currency=CURRENCY, discount=discount / 100
    )
    session.track(applied, 4)
    redeemed = events.CouponRedeemed(
        coupon=coupon, coupon_id=coupon, order_id=order_id, currency=CURRENCY, coupon_discount=discount / 100
    )
    session.track(redeemed, 1)
    return coupon, discount


def _pay(session: Session, checkout: Checkout, method: str, cents: int) -> bool:
    """Payment fails now and then, and most of the time in one old browser."""
    draw = session.draw
    fails = 0.55 if session.device.browser == "Samsung Internet" else 0.05
    for _ in range(3):
        session.track(events.PaymentInfoEntered(**checkout, payment_method=method), 8)
        if not draw.chance(fails):
            return True
        code = "script_error" if fails > 0.5 else draw.one(("card_declined", "timeout", "not_authenticated"))
        failed = events.PaymentFailed(
            **checkout, payment_method=method, failure_code=code, total=cents / 100, currency=CURRENCY
        )
        session.track(failed, 10)
        session.diary.figures.payment_failures += 1
        session.customer.satisfaction -= 0.08
        if draw.chance(0.35):
            return False
    return False


_PAYMENTS = Weighted({"card": 45.0, "bank": 25.0, "mobilepay": 20.0, "invoice": 10.0})
