"""The shop that never existed: its goods, words, campaigns, articles, people behind the counter.

Data only, all of it made up here. What the generator does with it is in the other modules.
"""

from collections.abc import Iterable
from typing import Final, TypedDict

import msgspec

from polku_demo import events
from polku_demo.webshop.draw import Weighted

SITE = "https://www.polku.example"
CURRENCY: Final = "EUR"


class Product(msgspec.Struct, frozen=True):
    """One thing on sale."""

    product_id: str
    name: str
    category: str
    brand: str
    price: float


class Line(msgspec.Struct, frozen=True):
    """A product in a cart or an order."""

    product: Product
    quantity: int

    @property
    def cents(self) -> int:
        """What the line costs."""
        return round(self.product.price * 100) * self.quantity


class AboutProduct(TypedDict):
    """What every event about one product says: `events.ProductViewed(**about(product))`."""

    product_id: str
    name: str
    category: str
    brand: str
    price: float
    currency: events.Currency


def about(product: Product) -> AboutProduct:
    """The properties of an event about this product."""
    return {
        "product_id": product.product_id,
        "name": product.name,
        "category": product.category,
        "brand": product.brand,
        "price": product.price,
        "currency": CURRENCY,
    }


def item(product: Product) -> events.Product:
    """A product as one of `products`."""
    return events.Product(
        product_id=product.product_id,
        name=product.name,
        category=product.category,
        price=product.price,
    )


def items(lines: Iterable[Line]) -> list[events.Product]:
    """The lines of a cart or an order as `products`."""
    return [
        events.Product(
            product_id=line.product.product_id,
            name=line.product.name,
            category=line.product.category,
            brand=line.product.brand,
            price=line.product.price,
            quantity=line.quantity,
        )
        for line in lines
    ]


class Campaign(msgspec.Struct, frozen=True):
    """One advertisement: where it runs, what it costs the reader to see it, how well its visitors buy."""

    campaign_id: str
    name: str
    source: str
    medium: str
    referrer: str
    buys: float  # factor on the visitors' readiness: visits are not yet orders
    coupon: str | None = None
    spring_only: bool = False


class Persona(msgspec.Struct, frozen=True):
    """A kind of customer: how many there are, what they are after, and when they have time."""

    share: float
    age: float
    interest: str
    spends: float  # factor on how dear a product may be
    app: float  # how often they install the app
    kids: float  # how often there are children
    hours: Weighted[int]  # of a working day, UTC


def _hours(*weights: float) -> Weighted[int]:
    return Weighted(dict(enumerate(weights)))


_COMMUTING = _hours(1, 0.4, 0.3, 0.3, 2, 6, 5, 3, 2, 3, 3, 2, 3, 6, 7, 6, 7, 9, 9, 7, 4, 3, 2, 1)
_LATE = _hours(4, 2, 1, 0.5, 0.3, 0.5, 1, 2, 3, 4, 4, 4, 4, 4, 5, 6, 8, 9, 10, 10, 9, 8, 6, 5)
_AFTER_BEDTIME = _hours(0.5, 0.3, 0.2, 0.2, 1, 2, 2, 2, 2, 3, 3, 2, 2, 3, 3, 4, 7, 13, 14, 10, 4, 2, 1, 0.5)

PERSONAS = {
    "commuter": Persona(26.0, 38.0, "bikes", 1.1, 0.30, 0.2, _COMMUTING),
    "hiker": Persona(24.0, 46.0, "hiking", 1.2, 0.15, 0.25, _COMMUTING),
    "parent": Persona(22.0, 37.0, "clothing", 1.0, 0.25, 1.0, _AFTER_BEDTIME),
    "student": Persona(16.0, 22.0, "running", 0.5, 0.45, 0.0, _LATE),
    "athlete": Persona(12.0, 30.0, "running", 1.4, 0.40, 0.1, _COMMUTING),
}
CONSENTS = Weighted({("analytics", "marketing"): 78.0, ("analytics",): 22.0})

# category: (brands, things, lowest and highest price). Prices are spread evenly, so that every category has
# a cheap and a dear end for comparison.
_RANGES: dict[str, tuple[tuple[str, ...], tuple[str, ...], float, float]] = {
    "bikes": (
        ("Tuuli", "Karhu", "Norden"),
        ("City bike", "Gravel bike", "Trail bike", "Cargo bike"),
        449,
        1890,
    ),
    "bike parts": (("Ketju", "Norden"), ("Chain", "Brake pads", "Saddle", "Inner tube", "Pedals"), 6, 89),
    "hiking": (
        ("Tunturi", "Erä"),
        ("Tent", "Sleeping bag", "Rucksack", "Camping stove", "Trekking poles"),
        29,
        389,
    ),
    "running": (("Vauhti", "Karhu"), ("Road shoes", "Trail shoes", "Running belt", "Head torch"), 19, 169),
    "winter": (("Hanki", "Tunturi"), ("Skis", "Ski boots", "Snowshoes", "Sledge", "Thermos"), 15, 349),
    "clothing": (
        ("Villa", "Tuuli", "Erä"),
        ("Rain jacket", "Base layer", "Down vest", "Wool socks", "Cap"),
        12,
        279,
    ),
    "water": (("Saimaa", "Meri"), ("Kayak", "Paddle", "Dry bag", "Life jacket"), 18, 990),
    "electronics": (("Sisu", "Meri"), ("GPS watch", "Bike computer", "Action camera", "Power bank"), 25, 449),
}


def _catalogue() -> tuple[Product, ...]:
    products: list[Product] = []
    for category, (brands, things, lowest, highest) in _RANGES.items():
        kinds = [(brand, thing) for thing in things for brand in brands]
        step = (highest - lowest) / (len(kinds) - 1)
        for place, (brand, thing) in enumerate(kinds):
            price = float(round(lowest + step * ((place * 5) % len(kinds)))) - 0.1
            number = f"P{len(products) + 1001}"
            products.append(Product(number, f"{brand} {thing.lower()}", category, brand, round(price, 2)))
    return tuple(products)


PRODUCTS = _catalogue()
BY_CATEGORY = {name: tuple(p for p in PRODUCTS if p.category == name) for name in _RANGES}
CATEGORIES = Weighted(
    {
        "bikes": 14.0,
        "bike parts": 14.0,
        "hiking": 18.0,
        "running": 16.0,
        "winter": 8.0,
        "clothing": 18.0,
        "water": 5.0,
        "electronics": 9.0,
    }
)

# Words people search for within a category, and what nobody here sells although it is asked for: the shop
# could earn more.
SEARCHES = {
    "bikes": ("city bike", "gravel bike", "bike for commuting", "cargo bike"),
    "bike parts": ("chain 11 speed", "brake pads", "saddle", "inner tube 28"),
    "hiking": ("tent 2 persons", "light rucksack", "sleeping bag winter", "camping stove"),
    "running": ("trail shoes", "head torch", "running belt", "shoes wide"),
    "winter": ("cross country skis", "snowshoes", "thermos 1 l", "sledge"),
    "clothing": ("rain jacket", "merino base layer", "down vest", "wool socks"),
    "water": ("kayak", "dry bag 20 l", "paddle", "life jacket kids"),
    "electronics": ("gps watch", "bike computer", "power bank", "action camera"),
}
UNSOLD_SEARCHES = Weighted(
    {
        "electric bike": 40.0,
        "kids bike trailer": 22.0,
        "hammock": 15.0,
        "sup board": 12.0,
        "left-handed fishing reel": 4.0,
        "ice skates size 47": 4.0,
        "gift card": 3.0,
    }
)

CAMPAIGNS = (
    Campaign("spring-search", "Spring bikes", "google", "cpc", "https://www.google.com/", 1.3, spring_only=True),
    Campaign("brand-search", "Brand words", "bing", "cpc", "https://www.bing.com/", 1.5),
    Campaign(
        "insta-20",
        "20 off for newcomers",
        "instagram",
        "paid_social",
        "https://l.instagram.com/",
        1.1,
        "WELCOME20",
    ),
    Campaign("viral-video", "Across Lapland", "tiktok", "paid_social", "https://www.tiktok.com/", 0.25),
    Campaign(
        "banner-outdoor",
        "Outdoor weeks",
        "outdoorblog.example",
        "display",
        "https://outdoorblog.example/gear",
        0.7,
    ),
    Campaign("partner-review", "Tent test", "geartest.example", "affiliate", "https://geartest.example/tents", 1.2),
)
CAMPAIGN = {campaign.campaign_id: campaign for campaign in CAMPAIGNS}

# Where a first visit comes from. A campaign, or else the referrer of a visit nobody paid for.
ARRIVALS = Weighted(
    {
        "spring-search": 17.0,
        "brand-search": 6.0,
        "insta-20": 14.0,
        "viral-video": 12.0,
        "banner-outdoor": 8.0,
        "partner-review": 6.0,
        "https://www.google.com/": 16.0,
        "https://duckduckgo.com/": 3.0,
        "https://www.facebook.com/": 4.0,
        "https://chatgpt.com/": 3.0,
        "": 11.0,
    }
)

ARTICLES = (
    ("choosing-a-gravel-bike", "Choosing a gravel bike", "bikes"),
    ("bike-commuting-in-winter", "Commuting by bike in winter", "bikes"),
    ("change-your-brake-pads", "Change your brake pads", "bike parts"),
    ("tents-for-two", "Tents for two, compared", "hiking"),
    ("packing-for-a-week", "Packing for a week of hiking", "hiking"),
    ("first-trail-run", "Your first trail run", "running"),
    ("waxing-skis", "How to wax skis", "winter"),
    ("layers-explained", "Layers explained", "clothing"),
    ("kayak-safety", "Kayak safety for beginners", "water"),
    ("watch-battery-life", "Make the battery of your watch last", "electronics"),
)
VIDEOS = (
    ("across-lapland", "Across Lapland on two wheels", 540),
    ("tent-in-three-minutes", "A tent in three minutes", 180),
    ("service-your-bike", "Service your bike at home", 900),
)
PLACES = Weighted(
    {
        "Helsinki": 30.0,
        "Tampere": 14.0,
        "Turku": 11.0,
        "Oulu": 11.0,
        "Jyväskylä": 8.0,
        "Rovaniemi": 4.0,
        "Stockholm": 8.0,
        "Tallinn": 6.0,
    }
)
COUNTRIES = {"Stockholm": "SE", "Tallinn": "EE"}  # the others are in Finland
STORES = {"Helsinki": "S01", "Tampere": "S02", "Oulu": "S03"}
AGENTS: tuple[tuple[str, events.AgentRole], ...] = (
    ("A11", "service"),
    ("A12", "service"),
    ("A13", "service"),
    ("A21", "sales"),
    ("A22", "sales"),
    ("A31", "technical"),
)
CARRIERS = Weighted({"Posti": 55.0, "Matkahuolto": 30.0, "DHL": 15.0})
