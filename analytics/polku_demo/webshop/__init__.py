"""A made-up outdoor shop: seeded journeys through web, app, mail, stores and call centre, all seven stages.

    shop = Webshop(people=2_000, seed=7)
    for call in shop.calls: ...
    shop.figures.orders

The same seed gives the same calls with the same ids on every machine, and a shop with more people contains
the smaller one. All of it is held in memory: a bit less than a kilobyte for each call.
"""

from datetime import date, timedelta

from polku_demo.calls import Call, by_time
from polku_demo.webshop.bots import visit_as_robot
from polku_demo.webshop.diary import DAY, Diary, WebshopFigures
from polku_demo.webshop.life import Household, Season

__all__ = ["DAYS", "LAST_DAY", "SOURCES", "Webshop", "WebshopFigures"]

DAYS = 90
LAST_DAY = date(2026, 4, 20)
# With the default last day these are the dates of `new_checkout` and `spring_campaign` in the built-in plan.
NEW_CHECKOUT_DAY = 40
SPRING_DAY = 70
# Source of events → channel, as the collector is to be told.
SOURCES = {
    "ads": "ads",
    "web": "web",
    "app": "app",
    "mail": "email",
    "store": "store",
    "call_centre": "call_centre",
    "server": "server",
}


class Webshop:
    """Ninety days of the shop: `calls` in the order of time, `figures` counted while they were made up.

    `people` is how many households find the shop by themselves; partners and friends come on top.
    """

    def __init__(self, people: int = 2_000, seed: int = 1, last_day: date = LAST_DAY) -> None:
        first_day = last_day - timedelta(days=DAYS - 1)
        diary = Diary(first_day, DAYS)
        season = Season(new_checkout=NEW_CHECKOUT_DAY * DAY, spring=SPRING_DAY * DAY)
        for number in range(1, people + 1):
            Household(diary, seed, f"{number:06d}", season).live()
            if number % 40 == 0:
                visit_as_robot(diary, seed, number)
        diary.calls.sort(key=by_time)
        diary.figures.events = len(diary.calls)
        self.calls: list[Call] = diary.calls
        self.figures: WebshopFigures = diary.figures
