"""One visit to the site or the app: from landing to leaving, with an order or without."""

from polku_demo import events
from polku_demo.webshop.checkout import Order, check_out
from polku_demo.webshop.customer import Customer
from polku_demo.webshop.devices import Device
from polku_demo.webshop.diary import Diary
from polku_demo.webshop.draw import Weighted
from polku_demo.webshop.session import Arrival, Session
from polku_demo.webshop.world import (
    ARTICLES,
    BY_CATEGORY,
    CAMPAIGNS,
    PRODUCTS,
    SEARCHES,
    SITE,
    UNSOLD_SEARCHES,
    VIDEOS,
    Line,
    Product,
    about,
    item,
    items,
)


class Visit(Session):
    """Tells one visit. Afterwards `order` and `abandoned` say how it ended."""

    def __init__(self, diary: Diary, customer: Customer, device: Device, time: float, arrival: Arrival) -> None:
        super().__init__(diary, customer, device, time, arrival)
        self.order: Order | None = None
        self.abandoned = False
        self.shared: Product | None = None
        self.meeting = False

    def run(self, lean_checkout: bool) -> None:
        """The whole visit."""
        draw, customer = self.draw, self.customer
        customer.visits += 1
        self._land()
        if self.user_id is not None and self.user_id != customer.user_id:
            # The last one forgot to log out: who has an account takes over, who has none starts afresh.
            self.log_in() if customer.user_id is not None else self.log_out()
        if self.arrival.to_cart and customer.cart:
            self._cart()
            self._check_out(lean_checkout)
            return
        if draw.chance(0.42 / max(self.arrival.buys, 0.3) - 0.1):  # bounced
            return
        if customer.user_id is not None and self.user_id is None and draw.chance(0.5):
            self.log_in()
        sign_up = 0.06 + 0.16 * customer.readiness + (0.45 if customer.referred_by else 0.0)
        for _ in range(1 + int(draw.wait(2.2))):
            _STEPS[draw.weighted(_NEXT)](self)
        if customer.user_id is None and draw.chance(sign_up):
            self.sign_up()
        if customer.cart:
            if draw.chance(0.8):
                self._cart()
            if draw.chance(min(0.95, (0.2 + 0.75 * customer.readiness) * self.arrival.buys)):
                self._check_out(lean_checkout)
            else:
                self._abandon()
        if draw.chance(0.03):
            self._call_to_action()

    def _land(self) -> None:
        arrival = self.arrival
        if arrival.campaign is not None:
            self.base["campaign"] = arrival.campaign
        self.page(arrival.path, arrival.title, "other" if arrival.campaign else "home")
        # What a link brought is said on the page it leads to, not on those after it.
        self.base.pop("campaign", None)
        if self.draw.chance(0.3):
            campaign = self.draw.one(CAMPAIGNS)
            viewed = events.PromotionViewed(
                promotion_id=campaign.campaign_id, creative=campaign.name, placement="home-top", position=1
            )
            self.track(viewed, 2)
            if self.draw.chance(0.15):
                clicked = events.PromotionClicked(
                    promotion_id=campaign.campaign_id, creative=campaign.name, placement="home-top", position=1
                )
                self.track(clicked, 2)
                self._list(self.customer.interests[0])

    # Looking at things

    def _category(self) -> str:
        first, second = self.customer.interests
        return first if self.draw.chance(0.7) else second

    def _list_of_interest(self) -> None:
        self._list(self._category())

    def _list(self, category: str) -> None:
        draw = self.draw
        slug = category.replace(" ", "-")
        self.page(f"/c/{slug}", category.capitalize(), "category")
        shown = BY_CATEGORY[category][:8]
        self.track(
            events.ProductListViewed(
                list_id=slug,
                category=category,
                products=[
                    events.Product(product_id=p.product_id, price=p.price, position=n) for n, p in enumerate(shown, 1)
                ],
            ),
            15,
        )
        if draw.chance(0.2):
            self.track(
                events.ProductListFiltered(
                    list_id=slug,
                    category=category,
                    filters=[events.Filter(filter_type="price", filter_value="up to 100")],
                ),
            )
        if draw.chance(0.75):
            position = 1 + min(len(shown) - 1, int(draw.wait(2.0)))
            product = shown[position - 1]
            self.track(events.ProductClicked(product_id=product.product_id, list_id=slug, position=position), 1)
            self._product(product)

    def _search(self) -> None:
        draw, figures = self.draw, self.diary.figures
        figures.searches += 1
        if draw.chance(0.14):
            query = draw.weighted(UNSOLD_SEARCHES)
            figures.failed_searches += 1
            self.page("/search", "Search", "search")
            self.track(events.ProductsSearched(query=query, results_count=0, search_id=draw.id()), 5)
            self.customer.satisfaction -= 0.04
            if draw.chance(0.4):
                self._search()
            return
        category = self._category()
        found = BY_CATEGORY[category]
        query = draw.one(SEARCHES[category])
        self.page("/search", "Search", "search")
        count, search_id = len(found), draw.id()
        self.track(events.ProductsSearched(query=query, results_count=count, search_id=search_id), 3)
        lowest = min(count, 3 + int(draw.wait(4.0)))
        viewed = events.SearchResultsViewed(
            query=query, results_count=count, search_id=search_id, lowest_position=lowest
        )
        self.track(viewed, 8)
        if draw.chance(0.7):
            position = draw.whole(1, lowest)
            product = found[position - 1]
            clicked = events.SearchResultClicked(
                query=query,
                results_count=count,
                search_id=search_id,
                product_id=product.product_id,
                position=position,
            )
            self.track(clicked, 1)
            self._product(product)

    def _any_product(self) -> None:
        self._product(self.draw.one(PRODUCTS))

    def _product(self, product: Product) -> None:
        draw, customer = self.draw, self.customer
        self.page(f"/p/{product.product_id}", product.name, "product")
        self.track(events.ProductViewed(**about(product)), 25)
        customer.viewed.append(product)
        customer.readiness = min(1.0, customer.readiness + 0.05)
        same = [p for p in customer.viewed if p.category == product.category and p is not product]
        if same and draw.chance(0.25):
            self.track(events.ProductsCompared(products=[item(p) for p in (*same[-2:], product)]), 30)
        if draw.chance(0.10):
            self.track(events.ProductAddedToWishlist(**about(product)), 4)
        if draw.chance(0.02):
            self.shared = product
        dear = product.price / (260.0 * customer.persona.spends)
        if draw.chance(0.38 * customer.readiness / (0.7 + 0.3 * dear)):
            self._add(product, 2 if product.price < 30 and draw.chance(0.3) else 1)

    def _add(self, product: Product, quantity: int) -> None:
        self.customer.cart = [line for line in self.customer.cart if line.product is not product]
        self.customer.cart.append(Line(product, quantity))
        self.track(events.ProductAdded(**about(product), quantity=quantity), 5)

    def _article(self) -> None:
        draw = self.draw
        category = self._category()
        slug, title, topic = draw.one([a for a in ARTICLES if a[2] == category])
        self.page(f"/guide/{slug}", title, "article")
        seconds = round(draw.duration(90, 0.6))
        self.now += seconds
        self.track(
            events.ArticleRead(
                content_id=slug,
                content_title=title,
                content_type="article",
                topic=topic,
                read_share=round(min(1.0, seconds / 150), 2),
                duration_seconds=seconds,
            ),
            5,
        )
        self.customer.readiness = min(1.0, self.customer.readiness + 0.04)

    def _video(self) -> None:
        draw = self.draw
        content, title, length = draw.one(VIDEOS)
        self.page(f"/watch/{content}", title, "article")
        started = events.PlaybackStarted(
            content_id=content, content_title=title, content_type="video", length_seconds=length
        )
        self.track(started, 1)
        if draw.chance(0.1):
            self.track(events.FeatureEnabled(feature="subtitles", placement="player"), 1)
        for quarter in (25, 50, 75):
            if draw.chance(0.3):
                return
            self.now += length / 4
            progressed = events.PlaybackProgressed(
                content_id=content,
                content_title=title,
                content_type="video",
                length_seconds=length,
                playback_seconds=length * quarter / 100,
                read_share=quarter / 100,
            )
            self.track(progressed, 0.1)
        self.now += length / 4
        completed = events.PlaybackCompleted(
            content_id=content,
            content_title=title,
            content_type="video",
            length_seconds=length,
            playback_seconds=length,
        )
        self.track(completed, 5)
        if draw.chance(0.2):
            self.track(events.ContentRated(content_id=content, content_type="video", rating=draw.whole(3, 5)), 3)

    def _call_to_action(self) -> None:
        """The way to a consultation: what the shop sells to companies begins here."""
        self.page("/business", "Bikes for companies", "service")
        self.track(
            events.CtaClicked(element="book-a-call", placement="business-top", target_url=f"{SITE}/business/call"),
            4,
        )
        self.track(events.FormSubmitted(form_id="book-a-call", form_type="contact"), 30)
        self.meeting = True

    def _cart(self) -> None:
        self.page("/cart", "Cart", "cart")
        cart = self.customer.cart
        self.track(events.CartViewed(products=items(cart)), 12)
        if len(cart) > 1 and self.draw.chance(0.1):
            line = cart.pop(self.draw.whole(0, len(cart) - 1))
            self.track(events.ProductRemoved(**about(line.product), quantity=line.quantity), 5)

    def _check_out(self, lean: bool) -> None:
        self.order = check_out(self, lean)
        if self.order is None:
            self._abandon()

    def _abandon(self) -> None:
        self.abandoned = True
        self.diary.figures.abandoned_carts += 1


_NEXT = Weighted({"list": 42.0, "search": 30.0, "article": 16.0, "video": 5.0, "product": 7.0})
_STEPS = {
    "list": Visit._list_of_interest,
    "search": Visit._search,
    "article": Visit._article,
    "video": Visit._video,
    "product": Visit._any_product,
}
