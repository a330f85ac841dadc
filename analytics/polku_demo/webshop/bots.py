"""Robots that read the shop: many pages in a hurry, never anything else."""

from polku_demo import events
from polku_demo.calls import Call
from polku_demo.webshop.devices import BOTS
from polku_demo.webshop.diary import Diary
from polku_demo.webshop.draw import Draw
from polku_demo.webshop.world import PRODUCTS, SITE


def visit_as_robot(diary: Diary, seed: int, number: int) -> None:
    """One visit of one robot."""
    draw = Draw(seed, f"robot-{number}")
    now = draw.random() * (diary.end - 3600)
    robot, anonymous_id = draw.one(BOTS), draw.id()
    diary.figures.bot_visits += 1
    for product in PRODUCTS[:: draw.whole(2, 9)]:
        path = f"/p/{product.product_id}"
        diary.add(
            Call(
                source="web",
                verb="page",
                message_id=draw.id(),
                timestamp=diary.moment(now),
                name=product.name,
                anonymous_id=anonymous_id,
                values=events.PageViewed(page_type="product"),
                context={
                    "userAgent": robot,
                    "page": {"url": SITE + path, "path": path, "title": product.name},
                },
            )
        )
        now += draw.between(0.3, 2.0)
