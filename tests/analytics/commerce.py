"""Histories of shoppers drawn at random, and what carts, orders, checkouts, searches and deliveries they come to.

The reckoning goes through the events one by one, as a person would with a pencil; it shares nothing with the models.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

Row = dict[str, Any]
GAP = 1800
ADDS = ("product_added", "wishlist_product_added_to_cart")
CART = (*ADDS, "product_removed", "cart_viewed", "checkout_started")
STEPS = ("checkout_step_viewed", "checkout_step_completed", "payment_info_entered")


class Choice:
    """Values one of which is drawn."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def draw(self, random: Random) -> Any:
        value = random.choice(self.values)
        return value.draw(random) if isinstance(value, Choice | Lines) else value


class Lines:
    """A list of objects, each member of them drawn."""

    def __init__(self, longest: int, **members: Choice) -> None:
        self.longest, self.members = longest, members

    def draw(self, random: Random) -> list[Row]:
        count = random.randint(0, self.longest)
        return [{name: choice.draw(random) for name, choice in self.members.items()} for _ in range(count)]


def _maybe(*values: Any) -> Choice:
    return Choice(None, *values)


Kind = tuple[tuple[str, ...], dict[str, Any]]


def _event(*names: str, **columns: Any) -> Kind:
    return names, columns


_product = Choice("p", "q")
_lines = Lines(2, product_id=_product, quantity=_maybe(1, 3))
_bought = Lines(3, product_id=_product, quantity=_maybe(0, 2), price=_maybe(2.5, 4.0), revenue=_maybe(3.0))
_priced = Lines(3, product_id=_product, quantity=Choice(1, 2), price=Choice(2.5, 4.0), revenue=Choice(None))
_cart = {"cart_id": _maybe("c1", "c2")}
_checkout = {"checkout_id": _maybe("k1", "k2")}
_order = {"order_id": Choice("1", "2")}
_money = {"currency": _maybe("EUR", "USD")}
_search = {"search_id": _maybe("s1", "s2"), "query": Choice("wool", " Wool", "socks")}

SHOPPING = (
    _event(*ADDS, product_id=_product, quantity=_maybe(1, 2), price=_maybe(5.0, 10.0), **_cart),
    _event("product_removed", product_id=_product, quantity=_maybe(1), price=_maybe(5.0), **_cart),
    _event("cart_viewed", value=_maybe(0.0, 7.0), **_cart),
    _event("checkout_started", **_cart, **_checkout),
    _event(*STEPS, step=Choice(1, 2, 3), value=_maybe(7.5, 12.0), **_money, **_checkout),
    _event("order_completed", order_id=_maybe("1", "2"), **_checkout),
)
BUYING = (
    _event(
        "order_completed",
        "store_order_completed",
        order_id=_maybe("1", "2"),
        revenue=_maybe(20.0),
        products=Choice(_bought, _priced),
        **_money,
    ),
    _event("order_returned", value=_maybe(3.0, 50.0), products=_lines, **_order, **_money),
    _event("order_refunded", revenue=_maybe(4.0), total=_maybe(6.0), products=_lines, **_order),
    _event("order_cancelled", **_order),
    _event("order_shipped", shipment_id=_maybe("x", "a"), promised=_maybe(50, 5000), carrier=_maybe("post"), **_order),
    _event(
        "order_delivered",
        shipment_id=_maybe("x", "y"),
        promised=_maybe(50),
        delivered=_maybe(50, 51),
        carrier=_maybe("van"),
        **_order,
    ),
)
SEARCHING = (
    _event("products_searched", results_count=_maybe(0, 5), **_search),
    _event("products_searched", results_count=_maybe(0, 5), **_search),
    _event("search_results_viewed", lowest_position=_maybe(3, 5), **_search),
    _event("search_result_clicked", position=_maybe(1, 4), **_search),
    _event("product_viewed", "product_clicked", "article_read", "page_viewed", "product_added", product_id=_product),
)


def histories(random: Random, people: int) -> list[list[Row]]:
    """The events of so many people of each kind, each event so many seconds after the one before."""
    return [
        [_drawn(random, kinds) for _ in range(random.randint(1, 12))]
        for kinds in (SHOPPING, BUYING, SEARCHING)
        for _ in range(people)
    ]


def _drawn(random: Random, kinds: tuple[Kind, ...]) -> Row:
    names, columns = random.choice(kinds)
    values = {
        name: choice.draw(random) if isinstance(choice, Choice | Lines) else choice for name, choice in columns.items()
    }
    return {"name": random.choice(names), "wait": random.choice((0, 0, 10, 1800, 1801)), **values}


def rows_of(people: list[list[Row]], event: Callable[..., Row], start: datetime.datetime) -> list[Row]:
    """The histories as rows of `events`, ids of orders made the person's own."""
    rows = []
    for number, history in enumerate(people):
        seconds = 0
        for told in history:
            columns = {key: value for key, value in told.items() if value is not None and key != "wait"}
            seconds += told["wait"]
            if "order_id" in columns:
                columns["order_id"] = f"{number}-{columns['order_id']}"
            for short, name in (("promised", "promised_at"), ("delivered", "delivered_at")):
                if short in columns:
                    columns[name] = start + datetime.timedelta(seconds=columns.pop(short))
            if number % 3:
                columns["device"] = ("phone", "computer")[number % 3 - 1]
            rows.append(event(columns.pop("name"), seconds, user_id=f"u{number:03}", **columns))
    return rows


def by_person(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows of each person in the person's order, with the number of their session."""
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["event_time"], row["event_id"])):
        mine = found.setdefault(row["user_id"], [])
        session = 0
        if mine:
            gap = (row["event_time"] - mine[-1]["event_time"]).total_seconds()
            session = mine[-1]["session"] + (gap > GAP)
        mine.append({**row, "session": session})
    return found


def counted_orders(mine: list[Row]) -> set[str]:
    """The event ids that count for an order."""
    seen, counted = set(), set()
    for row in mine:
        if row["event_name"] in ("order_completed", "store_order_completed"):
            key = (row["event_name"], _key(row))
            if key not in seen:
                counted.add(row["event_id"])
            seen.add(key)
    return counted


def carts(rows: list[Row]) -> list[tuple[Any, ...]]:
    """(person, cart id, start, items added, items, value added, value left, products, checkout, order, last event)."""
    found = []
    for person, mine in by_person(rows).items():
        counted = counted_orders(mine)
        stretch: list[Row] = []
        for row in mine:
            if row["event_name"] in CART:
                stretch.append(row)
            elif row["event_name"] == "order_completed" and row["event_id"] in counted:
                found += [(person, *cart) for cart in _carts_of([*stretch, row])]
                stretch = []
        found += [(person, *cart) for cart in _carts_of(stretch)]
    return sorted(found, key=str)


def _carts_of(stretch: list[Row]) -> list[tuple[Any, ...]]:
    names: list[str | None] = []
    for row in stretch:
        same = [
            r.get("cart_id") for r in stretch if row.get("checkout_id") and r.get("checkout_id") == row["checkout_id"]
        ]
        ids = [name for name in same if name]
        names.append(row.get("cart_id") or (max(ids) if ids else None))
    known: list[str | None] = []
    for at, name in enumerate(names):
        before = [n for n in names[: at + 1] if n]
        later = [n for n in names[at:] if n]
        known.append(name or (before[-1] if before else later[0] if later else None))
    return [
        cart
        for one in dict.fromkeys(known)
        if (cart := _cart_of([row for row, name in zip(stretch, known, strict=True) if name == one], one))
    ]


def _cart_of(events: list[Row], name: str | None) -> tuple[Any, ...] | None:
    quantity: dict[str, float] = {}
    added: dict[str, float] = {}
    price: dict[str, float] = {}
    made, seen, checkout, last = False, None, None, None
    order = None
    for row in events:
        kind, pieces = row["event_name"], row.get("quantity")
        if kind == "order_completed":
            order = _key(row)
            continue
        last = row["event_time"]
        if kind in (*ADDS, "product_removed"):
            product = row["product_id"]
            have = quantity.get(product, 0.0)
            if kind in ADDS:
                made = True
                quantity[product] = have + (1 if pieces is None else pieces)
                added[product] = added.get(product, 0.0) + (1 if pieces is None else pieces)
            else:
                quantity[product] = 0.0 if pieces is None else max(0.0, have - pieces)
                added.setdefault(product, 0.0)
            if row.get("price") is not None:
                price[product] = row["price"]
        if kind == "cart_viewed":
            made = made or (row.get("value") or 0) > 0
            seen = row["value"] if row.get("value") is not None else seen
        if kind == "checkout_started":
            made = True
            checkout = checkout or row["event_time"]
    if not made:
        return None
    left = _worth_of(quantity, price) if price else seen
    return (
        name,
        events[0]["event_time"],
        sum(added.values()) if added else None,
        sum(quantity.values()) if quantity else None,
        _worth_of(added, price) if price else None,
        left,
        sorted(p for p, n in quantity.items() if n > 0) or None,
        checkout,
        order,
        last,
    )


def _worth_of(pieces: dict[str, float], price: dict[str, float]) -> float | None:
    held = [product for product, count in pieces.items() if count > 0]
    known = [price[product] * pieces[product] for product in held if product in price]
    return sum(known) if known or not held else None


def checkout_steps(rows: list[Row]) -> list[tuple[Any, ...]]:
    """(person, step, entered, completed, outcome, order, value, currency)."""
    return sorted(
        ((person, *step, *told_value(events)) for person, events in checkouts(rows) for step in steps_of(events)),
        key=str,
    )


def told_value(events: list[Row]) -> tuple[float | None, str | None]:
    """What the events of a checkout say last of its value, and of the currency of one."""
    value, currency = None, None
    for row in events:
        if not row["is_order"] and row.get("value") is not None:
            value, currency = row["value"], row.get("currency") or currency
    return value, currency


def checkouts(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    """The person and the events of each checkout that has a step; `is_order` marks the order."""
    found = []
    for person, mine in by_person(rows).items():
        counted = counted_orders(mine)
        mine_by_key: dict[Any, list[Row]] = {}
        orders, current, starts = 0, None, 0
        place: tuple[int, int] | None = None
        for row in mine:
            is_order = row["event_name"] == "order_completed" and row["event_id"] in counted
            if not is_order and row["event_name"] not in ("checkout_started", *STEPS):
                continue
            if place != (row["session"], orders):
                place, current, starts = (row["session"], orders), None, 0
            current = row.get("checkout_id") or current
            if current is None and row["event_name"] == "checkout_started":
                starts += 1
            key = current if current is not None else (place, starts)
            mine_by_key.setdefault(key, []).append({**row, "is_order": is_order})
            orders += is_order
        found += [(person, events) for events in mine_by_key.values() if not all(row["is_order"] for row in events)]
    return found


def steps_of(events: list[Row]) -> list[tuple[Any, ...]]:
    """(step, entered, completed, outcome, order) of one checkout."""
    entered: dict[int, Any] = {}
    filled: dict[int, Any] = {}
    ordered = [row for row in events if row["is_order"]]
    for row in events:
        if row["is_order"]:
            continue
        step = 0 if row["event_name"] == "checkout_started" else row["step"]
        entered.setdefault(step, row["event_time"])
        if row["event_name"] == "checkout_step_completed":
            filled.setdefault(step, row["event_time"])
    found = []
    went = [
        (0 if row["event_name"] == "checkout_started" else row["step"], row) for row in events if not row["is_order"]
    ]
    for step, at in entered.items():
        ends = [row["event_time"] for later, row in went if later > step and row["event_time"] >= at]
        done = filled.get(step)
        if done is None and ends:
            done = min(ends)
        if done is None and ordered and ordered[0]["event_time"] >= at:
            done = ordered[0]["event_time"]
        left = step == max(entered) and not ordered
        order = min((_key(row) for row in ordered), default=None)
        found.append((step, at, done, "left" if left else "completed", order))
    return found


def searches(rows: list[Row]) -> list[tuple[Any, ...]]:
    """(person, time, query, results, zero, refined, position, lowest, clicked, success, exit)."""
    found = []
    for person, mine in by_person(rows).items():
        for session in sorted({row["session"] for row in mine}):
            events = [row for row in mine if row["session"] == session]
            places = [at for at, row in enumerate(events) if row["event_name"] == "products_searched"]
            found += [(person, *_search_of(events, place, places)) for place in places]
    return sorted(found, key=str)


def _search_of(events: list[Row], place: int, places: list[int]) -> tuple[Any, ...]:
    search = events[place]
    mine = [row for at, row in enumerate(events) if _search_for(events, at, places) == place]
    clicks = [row for row in mine if row["event_name"] == "search_result_clicked"]
    positions = [row["position"] for row in clicks if "position" in row]
    views = [row["lowest_position"] for row in mine if "lowest_position" in row]
    later = [at for at in places if at > place]
    next_place = later[0] if later else len(events)
    products = ("product_viewed", "product_clicked", *ADDS)
    between = [row["event_name"] for row in events[place + 1 : next_place]]
    after = [row["event_name"] for row in events[place + 1 :]]
    other_words = bool(later) and _words(events[next_place]) != _words(search)
    count = search.get("results_count")
    return (
        search["event_time"],
        search["query"],
        count,
        None if count is None else count == 0,
        other_words and not clicks,
        positions[0] if positions else None,
        max(views, default=None),
        bool(clicks),
        count != 0 and (bool(clicks) or any(name in (*products, "article_read") for name in between)),
        not later and not clicks and not any(name in products for name in after),
    )


def _search_for(events: list[Row], at: int, places: list[int]) -> int | None:
    """The place of the search that a view or a click belongs to."""
    row = events[at]
    if row["event_name"] not in ("search_results_viewed", "search_result_clicked"):
        return None
    before = [place for place in places if place < at]
    same = [place for place in before if row.get("search_id") and events[place].get("search_id") == row["search_id"]]
    return (same or before or [None])[-1]


def _words(search: Row) -> str:
    return str(search["query"]).strip().lower()


def orders(rows: list[Row]) -> list[tuple[Any, ...]]:
    """(event name, order id, revenue, returned value, refunded value, cancelled, net revenue)."""
    found = []
    for mine in by_person(rows).values():
        for order, events in orders_of(mine):
            revenue, lines = order.get("revenue"), lines_of(order)
            returned = _capped([_worth(row, order, lines, ("value",)) for row in events["order_returned"]], revenue)
            refunded = _capped(
                [_worth(row, order, lines, ("revenue", "value", "total")) for row in events["order_refunded"]], revenue
            )
            cancelled = bool(events["order_cancelled"])
            known = [worth for worth in (returned, refunded) if worth is not None]
            unknown = len(known) < 2 and not any(known)
            net = 0.0 if cancelled else None if revenue is None or unknown else revenue - max(known)
            found.append((order["event_name"], _key(order), revenue, returned, refunded, cancelled, net))
    return sorted(found, key=str)


def _key(order: Row) -> str:
    return str(order.get("order_id", f"{order['source']}:{order['event_id']}"))


def orders_of(mine: list[Row]) -> list[tuple[Row, dict[str, list[Row]]]]:
    """Each order with what was told of it afterwards; of two with one id, all goes to the earlier one."""
    counted = counted_orders(mine)
    orders = [row for row in mine if row["event_id"] in counted]
    kinds = ("order_returned", "order_refunded", "order_cancelled")
    found, taken = [], set()
    for order in sorted(orders, key=lambda row: (row["event_time"], row["event_name"])):
        mine_to_take = _key(order) not in taken
        taken.add(_key(order))
        about = [row for row in mine if row.get("order_id") == _key(order) and mine_to_take]
        found.append((order, {kind: [row for row in about if row["event_name"] == kind] for kind in kinds}))
    return found


def lines_of(order: Row) -> list[Row]:
    """The lines of an order with quantity and revenue."""
    told = order.get("products") or []
    prices = [line["price"] for line in told]
    has_own = any(line["revenue"] is not None for line in told)
    lines = []
    gross = sum((p or 0.0) * _pieces(line) for p, line in zip(prices, told, strict=True))
    for line in told:
        own = line["revenue"]
        amount = None if line["price"] is None else line["price"] * _pieces(line)
        in_proportion = not has_own and None not in prices and order.get("revenue") is not None and gross > 0
        if in_proportion:
            amount = amount * order["revenue"] / gross
        elif own is not None:
            amount = own
        lines.append({"product_id": line["product_id"], "quantity": _pieces(line), "revenue": amount})
    return lines


def _pieces(line: Row) -> float:
    return 1.0 if line["quantity"] is None else float(line["quantity"])


def _worth(row: Row, order: Row, lines: list[Row], names: tuple[str, ...]) -> float | None:
    amounts = [row[name] for name in names if row.get(name) is not None]
    ours, theirs = order.get("currency"), row.get("currency")
    if amounts and (ours is None or theirs is None or ours == theirs):
        return float(amounts[0])
    if row.get("products"):
        pieces: dict[str, float] = {}
        for line in row["products"]:
            pieces[line["product_id"]] = pieces.get(line["product_id"], 0.0) + _pieces(line)
        worth = 0.0
        for product, count in pieces.items():
            same = [line for line in lines if line["product_id"] == product]
            had = sum(line["quantity"] for line in same)
            if had > 0:
                if all(line["revenue"] is None for line in same):
                    return None
                worth += sum(line["revenue"] or 0.0 for line in same) * min(count, had) / had
        return worth
    return order.get("revenue") if not amounts else None


def _capped(worths: list[float | None], revenue: float | None) -> float | None:
    if None in worths:
        return None
    total = sum(worth for worth in worths if worth is not None)
    return total if revenue is None else min(total, revenue)


def order_lines(rows: list[Row]) -> list[tuple[Any, ...]]:
    """(event name, order id, line, product, quantity, revenue, returned quantity, cancelled)."""
    found = []
    for mine in by_person(rows).values():
        for order, events in orders_of(mine):
            whole = any(row.get("value") is None and not row.get("products") for row in events["order_returned"])
            back: dict[str, float] = {}
            for row in events["order_returned"]:
                for line in row.get("products") or []:
                    back[line["product_id"]] = back.get(line["product_id"], 0.0) + _pieces(line)
            for number, line in enumerate(lines_of(order), 1):
                taken = min(line["quantity"], back.get(line["product_id"], 0.0))
                back[line["product_id"]] = back.get(line["product_id"], 0.0) - taken
                returned = line["quantity"] if whole else taken
                found.append(
                    (
                        order["event_name"],
                        _key(order),
                        number,
                        line["product_id"],
                        line["quantity"],
                        line["revenue"],
                        returned,
                        bool(events["order_cancelled"]),
                    )
                )
    return sorted(found, key=str)


def deliveries(rows: list[Row]) -> list[tuple[Any, ...]]:
    """(order id, shipment id, carrier, shipped, promised, delivered, on time)."""
    found = []
    for mine in by_person(rows).values():
        told = [row for row in mine if row["event_name"] in ("order_shipped", "order_delivered")]
        shipments: dict[tuple[str, str | None], list[Row]] = {}
        for row in told:
            ids = [r["shipment_id"] for r in told if r["order_id"] == row["order_id"] and "shipment_id" in r]
            name = row.get("shipment_id", next(iter(ids), None))
            shipments.setdefault((row["order_id"], name), []).append(row)
        for (order, name), events in shipments.items():
            shipped = [row["event_time"] for row in events if row["event_name"] == "order_shipped"]
            delivered = [
                row.get("delivered_at", row["event_time"]) for row in events if row["event_name"] == "order_delivered"
            ]
            promised = next((row["promised_at"] for row in events if "promised_at" in row), None)
            came = min(delivered, default=None)
            found.append(
                (
                    order,
                    name,
                    next((row["carrier"] for row in events if "carrier" in row), None),
                    min(shipped, default=None),
                    promised,
                    came,
                    None if promised is None or came is None else came <= promised,
                )
            )
    return sorted(found, key=str)
