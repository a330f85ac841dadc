"""Audiences: who shall get a message, one row a person, with what it needs (such as the products of a forgotten cart).

The people are those of a segment. `cart_idle_seconds` keeps those whose cart holds something and has been left alone
for so long; a cart is what was put in and not taken out again since the person's last order on the web.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from polku_analytics.analyses.segments import parse_segment, person_kinds
from polku_analytics.delta_types import quoted
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.result import AnalysisResult, window_text
from polku_schemas.rules import sql_literal

Products = Literal["cart", "viewed"]

PERSON_COLUMNS: Final = ("person_id", "known_person", "account_id", "stage", "last_seen")
CART_COLUMNS: Final = ("cart_idle_hours", "cart_value", "cart_currency")

_ADDED: Final = ("product_added", "wishlist_product_added_to_cart")
_REMOVED: Final = ("product_removed",)
_WEB_ORDER: Final = "order_completed"


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
    """The people, by person id; products in the order in which they were last put in or looked at, the newest first."""
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
            if question.cart_idle_seconds is not None and cart.idle_hours * 3600 < question.cart_idle_seconds:
                continue
            row += [cart.idle_hours, cart.value, cart.currency]
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
    """The cart of each of the people (a condition on `profiles AS p`) who have one with something in it."""
    journeys.with_events()
    names = ", ".join(sql_literal(name) for name in (*_ADDED, *_REMOVED))
    removed = ", ".join(sql_literal(name) for name in _REMOVED)
    moves = journeys.rows(
        "SELECT t.person_key, t.event_time, e.product_id, "
        f"CASE WHEN t.event_name IN ({removed}) THEN -1.0 ELSE 1.0 END * COALESCE(CAST(e.quantity AS DOUBLE), 1.0) "
        "AS pieces, "
        "CAST(e.price AS DOUBLE) AS price, e.currency FROM touchpoints AS t "
        "JOIN events AS e ON e.source = t.source AND e.event_id = t.event_id AND e.event_name = t.event_name "
        "LEFT JOIN (SELECT person_key, MAX(event_time) AS ordered_at FROM touchpoints "
        f"WHERE event_name = {sql_literal(_WEB_ORDER)} GROUP BY person_key) AS o ON o.person_key = t.person_key "
        f"WHERE t.event_name IN ({names}) AND (o.ordered_at IS NULL OR t.event_time > o.ordered_at) "
        f"AND t.person_key IN (SELECT p.person_key FROM profiles AS p WHERE {where}) "
        "ORDER BY t.person_key, t.touchpoint_number"
    )
    as_of = journeys.as_of or datetime.datetime.now(datetime.UTC)
    by_person: dict[int, list[tuple[Any, ...]]] = {}
    for key, *move in moves:
        by_person.setdefault(key, []).append(tuple(move))
    found = {key: _cart(of_person, as_of) for key, of_person in by_person.items()}
    return {key: cart for key, cart in found.items() if cart is not None}


def _cart(moves: Sequence[tuple[Any, ...]], as_of: datetime.datetime) -> _Cart | None:
    """What is left in a cart after these moves (time, product, pieces, price, currency); None for nothing."""
    pieces: dict[str, float] = {}
    prices: dict[str, tuple[float | None, str | None]] = {}
    for _, product, change, price, currency in moves:
        name = product or ""
        left = pieces.pop(name, 0.0) + change  # popped: who is put in last stands last
        if left > 0:
            pieces[name] = left
        if change > 0:
            prices[name] = (price, currency)
    if not pieces:
        return None
    worth = [(prices[name], count) for name, count in pieces.items() if name in prices]
    currencies = {currency for (_, currency), _ in worth}
    # An amount in two currencies, or without the price of a piece, would be a wrong one.
    sound = len(worth) == len(pieces) and len(currencies) == 1 and all(price is not None for (price, _), _ in worth)
    return _Cart(
        products=[name for name in reversed(pieces) if name],
        value=round(sum((price or 0.0) * count for (price, _), count in worth), 6) if sound else None,
        currency=next(iter(currencies)) if sound else None,
        idle_hours=round((as_of - moves[-1][0]).total_seconds() / 3600, 4),
    )


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
