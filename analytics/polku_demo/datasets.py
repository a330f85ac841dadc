"""The two data sets as the runner takes them: calls to make, and figures to find in the lake afterwards."""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from polku_demo.calls import Call
from polku_demo.retail import SOURCE, Retail
from polku_demo.webshop import SOURCES, Webshop

# One row an event, as the models count.
COUNTED = """SELECT * FROM events
             QUALIFY row_number() OVER (PARTITION BY source, event_id ORDER BY received_at, stream, sequence) = 1"""


class Figure(msgspec.Struct, frozen=True):
    """A number that is known before anything is sent, and the SQL (over `counted` events) that has to find it."""

    name: str
    expected: int
    sql: str
    cents: bool = False  # an amount, shown with two decimals


class Dataset(msgspec.Struct, frozen=True):
    """All that a run needs to know."""

    name: str
    title: str
    about: str  # what the data can show, and what it cannot
    not_collected: tuple[str, ...]  # stages of the journey without any source here
    sources: Mapping[str, str]  # source → channel
    time_zone: str  # of the customers
    parameters: Mapping[str, object]  # what makes two runs the same
    events: int
    figures: tuple[Figure, ...]
    calls: Callable[[], Iterable[Call]]
    next_commands: tuple[str, ...]  # with {lake}


RETAIL_ABOUT = (
    "The Complete Journey: one year of a grocery retailer, till receipts of households with their campaigns and "
    "redeemed coupons. It shows campaign, coupon, basket and repeat purchase. Whatever happens before the store "
    "and after the till is not in it: no web, no search, no service, no opinions."
)
WEBSHOP_ABOUT = (
    "A made-up outdoor shop: ninety days of web, app, mail, advertisements, stores and call centre, through all "
    "seven stages, with visitors who become known, failed searches, abandoned carts, late parcels, returns and "
    "referrals. Every person and number in it is invented by a seeded generator; what it shows is how the journey "
    "is told, not how people behave."
)


def retail(households: int | None) -> Dataset:
    """The slice of so many households, None for the year of all."""
    data = Retail(households)
    expected = data.expected()
    orders = "event_name = 'store_order_completed'"
    return Dataset(
        name="retail",
        title="The Complete Journey",
        about=RETAIL_ABOUT,
        not_collected=("interest", "comparison", "referral"),
        sources={SOURCE: "store"},
        time_zone="America/New_York",
        parameters={"households": households},
        events=expected.events,
        figures=(
            Figure("events, one row each", expected.events, "SELECT count(*) FROM events"),
            _count("orders (baskets)", expected.orders, "DISTINCT order_id", orders),
            _count("households with orders", expected.households, "DISTINCT user_id", orders),
            Figure(
                "items (lines of baskets)",
                expected.items,
                f"SELECT sum(len(products)) FROM counted WHERE {orders}",
            ),
            _cents("revenue, USD", expected.revenue_cents, orders),
            _count("campaigns received", expected.campaigns_received, "*", "event_name = 'campaign_received'"),
            _count("coupons redeemed", expected.redemptions, "*", "event_name = 'coupon_redeemed'"),
            _count(
                "households with demographics",
                expected.households_with_traits,
                "DISTINCT user_id",
                "trait_age_band IS NOT NULL",
            ),
            Figure("persons (model)", expected.households, "SELECT count(*) FROM persons"),
            _QUARANTINE,
        ),
        calls=data.calls,
        next_commands=(
            'polku query --lake {lake} "SELECT event_name, count(*) AS events FROM events GROUP BY 1 ORDER BY 2 DESC"',
            "polku funnel campaign_received coupon_redeemed store_order_completed --window 60d --lake {lake}",
        ),
    )


def webshop(people: int, seed: int) -> Dataset:
    """The shop of this seed, told at once: its calls are in memory from here on."""
    shop = Webshop(people, seed)
    figures = shop.figures
    named = "event_name = '{}'".format
    return Dataset(
        name="webshop",
        title="Polku Outdoor, a made-up shop",
        about=WEBSHOP_ABOUT,
        not_collected=(),
        sources=SOURCES,
        time_zone="Europe/Helsinki",
        parameters={"people": people, "seed": seed},
        events=figures.events,
        figures=(
            Figure("events, one row each", figures.events, "SELECT count(*) FROM events"),
            _count("people with an account", figures.accounts, "DISTINCT user_id", "TRUE"),
            Figure("of these, seen before unknown", figures.anonymous_then_known, _ANONYMOUS_THEN_KNOWN),
            Figure("unknown visitors", figures.unknown_visitors, _UNKNOWN_VISITORS),
            Figure("anonymous ids of two people", figures.shared_ids, _SHARED_IDS),
            Figure(
                "persons (model)",
                figures.accounts + figures.unknown_visitors,
                "SELECT count(*) FROM persons",
            ),
            _count("visits of robots", figures.bot_visits, "DISTINCT anonymous_id", "is_bot"),
            _count("orders, web and app", figures.orders, "*", named("order_completed")),
            _count("orders, stores", figures.store_orders, "*", named("store_order_completed")),
            Figure(
                "order lines",
                figures.order_lines,
                f"SELECT sum(len(products)) FROM counted WHERE {_ORDERS}",
            ),
            _cents("revenue, EUR", figures.revenue_cents, _ORDERS),
            _count("payment failures", figures.payment_failures, "*", named("payment_failed")),
            _count("searches", figures.searches, "*", named("products_searched")),
            _count("searches without a result", figures.failed_searches, "*", "results_count = 0"),
            _count("deliveries", figures.deliveries, "*", named("order_delivered")),
            _count("late deliveries", figures.late_deliveries, "*", "delivered_at > promised_at"),
            _count("returns", figures.returns, "*", named("order_returned")),
            _count("complaints", figures.complaints, "*", named("complaint_opened")),
            _count("contacts with agents", figures.agent_contacts, "*", named("agent_contacted")),
            _count("survey answers", figures.survey_answers, "*", named("survey_answered")),
            _count("reviews", figures.reviews, "*", named("review_submitted")),
            _count(
                "newsletters sent",
                figures.newsletters,
                "*",
                "event_name = 'email_sent' AND campaign_id LIKE 'newsletter-%'",
            ),
            _count(
                "sign-ups by referral",
                figures.sign_ups_by_referral,
                "*",
                "event_name = 'signed_up' AND referral_code IS NOT NULL",
            ),
            _QUARANTINE,
        ),
        calls=lambda: shop.calls,
        next_commands=(
            'polku query --lake {lake} "SELECT query, count(*) AS failed FROM events '
            'WHERE results_count = 0 GROUP BY 1 ORDER BY 2 DESC"',
            "polku funnel product_viewed product_added checkout_started order_completed --lake {lake}",
        ),
    )


_ORDERS = "event_name IN ('order_completed', 'store_order_completed')"
_QUARANTINE = Figure("events in quarantine", 0, "SELECT count(*) FROM quarantine")
_IDS = """SELECT anonymous_id, count(DISTINCT user_id) AS users,
                 min(event_time) FILTER (WHERE user_id IS NULL) AS unknown_from,
                 min(event_time) FILTER (WHERE user_id IS NOT NULL) AS known_from,
                 arg_min(user_id, event_time) FILTER (WHERE user_id IS NOT NULL) AS first_user
          FROM counted WHERE anonymous_id IS NOT NULL AND is_bot IS NOT TRUE GROUP BY 1"""
_ANONYMOUS_THEN_KNOWN = f"SELECT count(DISTINCT first_user) FROM ({_IDS}) WHERE unknown_from < known_from"
_UNKNOWN_VISITORS = f"SELECT count(*) FROM ({_IDS}) WHERE users = 0"
_SHARED_IDS = f"SELECT count(*) FROM ({_IDS}) WHERE users > 1"


def _count(name: str, expected: int, what: str, condition: str) -> Figure:
    return Figure(name, expected, f"SELECT count({what}) FROM counted WHERE {condition}")


def _cents(name: str, expected: int, condition: str) -> Figure:
    sql = f"SELECT sum(CAST(round(revenue * 100) AS BIGINT)) FROM counted WHERE {condition}"
    return Figure(name, expected, sql, cents=True)
