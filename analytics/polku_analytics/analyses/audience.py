"""Audiences: who shall get a message, one row a person, with what it needs (such as the products of a forgotten cart).

The people are those of a segment. `cart_idle_seconds` keeps those who have an open cart (that of `profiles`) which has
been left alone for so long.
"""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from polku_analytics.analyses.segments import parse_segment, person_kinds
from polku_analytics.delta_types import quoted
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.result import AnalysisResult, window_text

Products = Literal["cart", "viewed"]

PERSON_COLUMNS: Final = ("person_id", "known_person", "account_id", "stage", "last_seen")
CART_COLUMNS: Final = ("cart_idle_hours", "cart_value", "cart_currency")


class AudienceQuestion(Struct, frozen=True, kw_only=True):
    """Whom, and what to say of them."""

    segments: tuple[str, ...] = ()
    """People in all of them; none: everybody."""
    cart_idle_seconds: int | None = None
    products: Products | None = None
    """Which products to list; those of the cart, where it is asked about, unless said otherwise."""
    columns: tuple[str, ...] = ()
    """Further columns of `profiles`, such as `trait_email`."""


class _Cart(Struct, frozen=True, kw_only=True):
    products: list[str]
    value: float | None
    currency: str | None
    idle_hours: float


def run_audience(journeys: Journeys, question: AudienceQuestion) -> AnalysisResult:
    """The people, by person id; products of a cart by their id, those looked at the newest first."""
    kinds = person_kinds(journeys)
    known = {*kinds, *PERSON_COLUMNS}
    for name in question.columns:
        if name not in known:
            raise UnknownNameError("column", name, known)
    segments = [parse_segment(journeys, text) for text in question.segments]
    where = " AND ".join(f"({segment.sql})" for segment in segments) or "TRUE"
    columns = list(dict.fromkeys((*PERSON_COLUMNS, *question.columns)))
    sql = (
        f"SELECT p.person_key, {', '.join(f'p.{quoted(name)}' for name in columns)} FROM profiles AS p "
        f"WHERE {where} ORDER BY p.person_id, p.person_key"
    )
    people = journeys.rows(sql)
    products = question.products or ("cart" if question.cart_idle_seconds is not None else None)
    with_cart = products == "cart" or question.cart_idle_seconds is not None
    carts = open_carts(journeys, where) if with_cart else {}
    viewed = viewed_products(journeys, where) if products == "viewed" else {}
    rows = []
    for key, *facts in people:
        cart = carts.get(key)
        if with_cart and cart is None:
            continue
        row = list(facts)
        if cart is not None:
            if question.cart_idle_seconds is not None and round(cart.idle_hours * 3600, 6) < question.cart_idle_seconds:
                continue
            row += [round(cart.idle_hours, 4), cart.value, cart.currency]
        if products:
            row.append(cart.products if cart is not None and products == "cart" else viewed.get(key, []))
        rows.append(row)
    idle = question.cart_idle_seconds
    return AnalysisResult(
        question="Who is in the audience?",
        unit="person",
        window=None if idle is None else window_text(idle),
        options={"segments": list(question.segments) or None, "cart_idle_seconds": idle, "products": products},
        coverage={"people": len(rows), "people_without_user_id": sum(not row[1] for row in rows)},
        as_of=journeys.as_of,
        columns=[*columns, *(CART_COLUMNS if with_cart else ()), *(["product_ids"] if products else [])],
        rows=rows,
        sql=sql,
    )


def open_carts(journeys: Journeys, where: str) -> dict[int, _Cart]:
    """The open cart of each of the people (a condition on `profiles AS p`) who have one."""
    rows = journeys.rows(
        "SELECT c.person_key, c.product_ids, c.value_left, c.currency, c.idle_hours "
        "FROM profiles AS p JOIN carts AS c ON c.cart_key = p.open_cart_key "
        f"WHERE {where}"
    )
    return {
        key: _Cart(
            products=products or [],
            value=None if value is None else round(value, 6),
            currency=currency,
            idle_hours=idle,
        )
        for key, products, value, currency, idle in rows
    }


def viewed_products(journeys: Journeys, where: str) -> dict[int, list[str]]:
    """Products that each of the people looked at after their last order, the newest first."""
    journeys.with_events()
    looks = journeys.rows(
        "SELECT t.person_key, e.product_id, MAX(t.touchpoint_number) AS last_number FROM touchpoints AS t "
        "JOIN events AS e ON e.source = t.source AND e.event_id = t.event_id AND e.event_name = t.event_name "
        "JOIN profiles AS p ON p.person_key = t.person_key "
        f"WHERE t.event_name = 'product_viewed' AND e.product_id IS NOT NULL AND ({where}) "
        "AND (p.last_ordered_at IS NULL OR t.event_time > p.last_ordered_at) "
        "GROUP BY t.person_key, e.product_id ORDER BY t.person_key, last_number DESC"
    )
    found: dict[int, list[str]] = {}
    for key, product, _ in looks:
        found.setdefault(key, []).append(product)
    return found


def check_choice(question: AudienceQuestion) -> None:
    """AnalyticsError for an audience that asks for nothing: everybody is not an audience by mistake."""
    if not question.segments and question.cart_idle_seconds is None:
        raise AnalyticsError("an audience needs a segment, a condition such as 'orders >= 2', or --cart-idle 24h")
