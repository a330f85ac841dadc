"""Realistic events of the built-in plan, about 670 bytes each: thirty names in the proportions of a web shop."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from polku_schemas import Plan, builtin_plan_path, compile_plan, load_plan

from .bodies import NO_ID, Template, template
from .figures import NotAsExpected

# How often each event comes for a hundred page views: the order of magnitude of a web shop.
_MIX_TEXT = """
page_viewed 100, product_list_viewed 40, product_viewed 60, product_clicked 30, products_searched 16,
search_results_viewed 15, search_result_clicked 8, product_list_filtered 9, banner_viewed 30, banner_clicked 3,
promotion_viewed 20, promotion_clicked 3, cta_clicked 6, product_added 9, product_removed 2,
product_added_to_wishlist 2, cart_viewed 7, checkout_started 4, checkout_step_viewed 8, checkout_step_completed 6,
payment_info_entered 3, order_completed 3, coupon_entered 2, coupon_applied 1, page_performance_measured 20,
error_shown 1, logged_in 5, email_opened 6, email_clicked 2, article_read 4
"""
MIX = {name: int(weight) for name, weight in (pair.split() for pair in _MIX_TEXT.split(","))}

_BROWSERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 "
    "Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile "
    "Safari/537.36",
)
_REFERRERS = (None, None, "https://www.google.com/", "https://www.instagram.com/", "https://shop.example/")
_CATEGORIES = ("Clothing/Sweaters", "Clothing/Socks", "Home/Textiles", "Home/Lamps", "Toys/Puzzles", "Garden/Tools")
_WORDS = ("wool", "blue", "summer", "lamp", "gift", "outdoor", "linen", "kids", "desk", "garden", "soft", "large")


class Shop:
    """A seeded source of events; every name's properties start from the plan's own example."""

    def __init__(self, seed: int = 1, plan: Plan | None = None) -> None:
        self.plan = plan or load_plan(builtin_plan_path())
        self._draw = random.Random(seed)
        self._visits = [self._visit() for _ in range(20_000)]
        self._products = [self._product(number) for number in range(2_000)]
        self._names, self._weights = list(MIX), list(MIX.values())
        self._now = datetime.now(UTC)

    def event(self, name: str | None = None, *, unplanned: bool = False) -> dict[str, Any]:
        """One item of a batch; of the mix, or of one name. `unplanned` adds two properties the plan does not have."""
        draw = self._draw
        name = name or draw.choices(self._names, self._weights)[0]
        visit = draw.choice(self._visits)
        described = self.plan.events[name]
        product = draw.choice(self._products)
        properties = self._properties(dict(draw.choice(described.examples)), product)
        if unplanned:
            properties |= {"experiment_arm": draw.choice("abc"), "scroll_speed": draw.random()}
        path = f"/{product['category'].lower()}/{product['product_id'].lower()}"
        page = {"url": f"https://shop.example{path}", "path": path, "title": product["name"]}
        if referrer := draw.choice(_REFERRERS):
            page["referrer"] = referrer
        happened = self._now - timedelta(seconds=draw.uniform(0, 3 * 3600))
        item: dict[str, Any] = {"type": described.call}
        if described.call == "track":
            item["event"] = name
        item |= {
            "messageId": NO_ID,
            "timestamp": happened.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "anonymousId": visit["anonymous"],
            "properties": properties,
            "context": {"page": page, **visit["context"]},
        }
        if visit["user"]:
            item["userId"] = visit["user"]
        return item

    def templates(self, count: int, batch: int, name: str | None = None, *, unplanned: bool = False) -> list[Template]:
        """Bodies of /v1/batch with `batch` events each. Raises NotAsExpected if the plan would refuse one."""
        compiled = compile_plan(self.plan)
        made = []
        for _ in range(count):
            events = [self.event(name, unplanned=unplanned) for _ in range(batch)]
            for event in events if not unplanned else ():
                planned = compiled.find(event["type"], event.get("event"))
                if planned is None:
                    raise NotAsExpected(f"the plan has no event {event.get('event')!r}")
                planned.decode(msgspec.json.encode(event["properties"]))
            made.append(template(msgspec.json.encode({"batch": events})))
        return made

    def _visit(self) -> dict[str, Any]:
        draw = self._draw
        return {
            "anonymous": f"{draw.getrandbits(128):032x}",
            "user": f"u-{draw.randrange(10**6)}" if draw.random() < 0.3 else None,
            "context": {
                "sessionId": f"s-{draw.getrandbits(48):012x}",
                "userAgent": draw.choice(_BROWSERS),
                "locale": draw.choice(("fi-FI", "sv-SE", "en-GB")),
                "library": {"name": "polku.js", "version": "0.1.0"},
            },
        }

    def _product(self, number: int) -> dict[str, Any]:
        draw = self._draw
        return {
            "product_id": f"P-{number:04d}",
            "sku": f"P-{number:04d}-{draw.choice('SML')}",
            "name": " ".join(draw.sample(_WORDS, 2)).capitalize(),
            "category": draw.choice(_CATEGORIES),
            "brand": f"Brand {draw.randrange(60)}",
            "price": round(draw.lognormvariate(3, 0.8), 2),
        }

    def _properties(self, properties: dict[str, Any], product: dict[str, Any]) -> dict[str, Any]:
        """The example with other products, numbers and keys; what the plan constrains closely is left alone."""
        draw = self._draw
        for key, value in properties.items():
            if key in product:
                properties[key] = product[key]
            elif key == "products":
                properties[key] = [
                    {member: picked.get(member, of) for member, of in line.items()}
                    for line, picked in ((line, draw.choice(self._products)) for line in value)
                ]
            elif key == "query":
                properties[key] = " ".join(draw.sample(_WORDS, draw.randint(1, 3)))
            elif key in ("results_count", "position", "lowest_position", "load_ms", "ttfb_ms", "lcp_ms"):
                properties[key] = int(draw.lognormvariate(2 if "_ms" not in key else 6, 1)) + 1
            elif key in ("order_id", "cart_id", "checkout_id", "search_id", "email_id"):
                properties[key] = f"{key[:2]}-{draw.randrange(10**9)}"
            elif key in ("total", "revenue", "value", "tax"):
                properties[key] = round(draw.lognormvariate(4, 0.7), 2)
        return properties
