"""The made-up shop: the same everywhere, valid, and telling the stories it promises to tell."""

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from statistics import mean
from typing import TypeVar

import msgspec
import pytest

import polku
from polku.typed import Event, Traits
from polku_demo import events
from polku_demo.calls import Call
from polku_demo.sending import make
from polku_demo.webshop import DAYS, LAST_DAY, NEW_CHECKOUT_DAY, SOURCES, SPRING_DAY, Webshop
from polku_demo.webshop.draw import Draw
from polku_schemas import builtin_plan_path, compile_plan, load_plan

PLAN = load_plan(builtin_plan_path())
E = TypeVar("E", bound=Event)


@pytest.fixture(scope="module")
def shop() -> Webshop:
    return Webshop(people=1_500, seed=7)


def calls_of(shop: Webshop, *kinds: type[Event]) -> list[Call]:
    return [call for call in shop.calls if isinstance(call.values, kinds)]


def events_of(shop: Webshop, kind: type[E]) -> list[E]:
    return [call.values for call in shop.calls if isinstance(call.values, kind)]


def test_the_same_seed_is_the_same_shop_and_another_seed_another() -> None:
    first, again, other = Webshop(60, seed=3), Webshop(60, seed=3), Webshop(60, seed=4)
    assert first.calls == again.calls
    assert msgspec.json.encode(first.calls) == msgspec.json.encode(again.calls)
    assert first.figures == again.figures
    assert not {call.message_id for call in first.calls} & {call.message_id for call in other.calls}


def test_the_first_numbers_of_a_seed_never_change() -> None:
    """Ids are promised to be the same on every machine and every Python."""
    draw = Draw(1, "000001")
    assert draw.id() == "d99c94eab6e0598cea9606bd011b2a83"


def test_a_larger_shop_contains_the_smaller_one() -> None:
    small = {call.message_id: call for call in Webshop(40, seed=5).calls}
    large = {call.message_id: call for call in Webshop(80, seed=5).calls}
    assert all(large[name] == call for name, call in small.items())
    assert all(msgspec.json.encode(large[name]) == msgspec.json.encode(call) for name, call in small.items())


def test_ids_are_unique_and_calls_in_the_order_of_time(shop: Webshop) -> None:
    assert len({call.message_id for call in shop.calls}) == len(shop.calls) == shop.figures.events
    times = [call.timestamp for call in shop.calls]
    assert times == sorted(times)
    first_day = LAST_DAY - timedelta(days=DAYS - 1)
    assert times[0].date() >= first_day
    assert times[-1].date() <= LAST_DAY + timedelta(days=1)


def test_every_call_is_a_typed_event(shop: Webshop) -> None:
    """The shop is an example of how to instrument. An alias has neither event nor traits."""
    kinds: dict[str, type] = {"track": Event, "page": Event, "screen": Event, "identify": Traits}
    assert all(isinstance(call.values, kinds.get(call.verb, dict)) for call in shop.calls)


def test_what_is_sent_is_each_call_and_fits_the_built_in_plan(shop: Webshop) -> None:
    compiled, transport = compile_plan(PLAN), polku.MemoryTransport()
    with polku.Client("dev", "http://127.0.0.1:9", transport=transport, full_queue="block", strict=True) as client:
        for call in shop.calls:
            make(client, call)
        assert client.flush(60)
    assert len(transport.events) == len(shop.calls)
    for call, sent in zip(shop.calls, transport.events, strict=True):
        assert (sent["type"], sent["messageId"]) == (call.verb, call.message_id)
        assert (sent.get("userId"), sent.get("anonymousId")) == (call.user_id, call.anonymous_id)
        event = compiled.find(sent["type"], sent.get("event"))
        assert event is not None, sent
        if call.verb == "identify":
            compiled.traits.decode(msgspec.json.encode(sent["traits"]))
        else:
            event.decode(msgspec.json.encode(sent.get("properties", {})))
    pages = [(call.name, sent) for call, sent in zip(shop.calls, transport.events, strict=True) if call.verb == "page"]
    assert all(sent["name"] == name and "page_type" in sent["properties"] for name, sent in pages)


def test_every_event_has_a_source_and_somebody_it_is_about(shop: Webshop) -> None:
    assert {call.source for call in shop.calls} == set(SOURCES)
    assert all(call.user_id or call.anonymous_id for call in shop.calls)


def test_all_seven_stages_have_events(shop: Webshop) -> None:
    names = {call.values._name for call in shop.calls if isinstance(call.values, Event)}
    assert {rule.then for name in names for rule in PLAN.events[name].stage} >= set(PLAN.stages)


def test_figures_are_what_the_calls_say(shop: Webshop) -> None:
    figures = shop.figures
    web_orders, store_orders = events_of(shop, events.OrderCompleted), events_of(shop, events.StoreOrderCompleted)
    assert len(web_orders) == figures.orders
    assert len(store_orders) == figures.store_orders
    assert sum(round(order.revenue * 100) for order in (*web_orders, *store_orders)) == figures.revenue_cents
    assert sum(len(order.products) for order in (*web_orders, *store_orders)) == figures.order_lines
    assert len({call.user_id for call in shop.calls if call.user_id}) == figures.accounts
    counts: dict[type[Event], int] = {
        events.SignedUp: figures.accounts,
        events.PaymentFailed: figures.payment_failures,
        events.ProductsSearched: figures.searches,
        events.OrderDelivered: figures.deliveries,
        events.OrderReturned: figures.returns,
        events.ComplaintOpened: figures.complaints,
        events.AgentContacted: figures.agent_contacts,
        events.SurveyAnswered: figures.survey_answers,
        events.ReviewSubmitted: figures.reviews,
    }
    for kind, count in counts.items():
        assert len(events_of(shop, kind)) == count, kind
        assert count > 0, kind


def test_order_ids_are_unique_and_amounts_add_up(shop: Webshop) -> None:
    web_orders, store_orders = events_of(shop, events.OrderCompleted), events_of(shop, events.StoreOrderCompleted)
    assert len({order.order_id for order in (*web_orders, *store_orders)}) == len(web_orders) + len(store_orders)
    for order in web_orders:
        goods = sum(round(line.price * 100) * line.quantity for line in order.products)
        assert round(order.revenue * 100) == goods - round(order.discount * 100)
        assert round(order.total * 100) == round(order.revenue * 100) + round(order.shipping * 100)


def test_visitors_become_known_on_the_device_they_were_unknown_on(shop: Webshop) -> None:
    unknown = {call.anonymous_id for call in shop.calls if call.user_id is None}
    linked = {call.user_id for call in shop.calls if call.user_id and call.anonymous_id in unknown}
    assert len(linked) >= shop.figures.anonymous_then_known > 0.5 * shop.figures.accounts
    # And some have an account without any trace of before: they joined in a store.
    assert shop.figures.anonymous_then_known < shop.figures.accounts


def test_a_logout_ends_the_anonymous_id(shop: Webshop) -> None:
    ended: dict[str, datetime] = {}
    logouts = calls_of(shop, events.LoggedOut)
    assert logouts
    for call in logouts:
        assert call.anonymous_id not in ended
        ended[str(call.anonymous_id)] = call.timestamp
    after = [
        call
        for call in shop.calls
        if call.anonymous_id in ended
        and call.timestamp > ended[str(call.anonymous_id)]
        # Measured late, of a page before the logout.
        and not isinstance(call.values, events.PagePerformanceMeasured)
    ]
    assert after == []


def test_some_people_share_a_device_without_logging_out(shop: Webshop) -> None:
    users = defaultdict(set)
    for call in shop.calls:
        if call.user_id and call.anonymous_id:
            users[call.anonymous_id].add(call.user_id)
    assert sum(len(names) > 1 for names in users.values()) == shop.figures.shared_ids > 0


def test_aliases_lead_from_an_anonymous_id_to_its_user(shop: Webshop) -> None:
    aliases = [call for call in shop.calls if call.verb == "alias"]
    assert aliases
    seen = {call.anonymous_id for call in shop.calls if call.user_id is None}
    assert all(call.user_id and call.previous_id in seen for call in aliases)


def test_late_parcels_cost_good_will(shop: Webshop) -> None:
    late = {parcel.order_id: is_late(parcel) for parcel in events_of(shop, events.OrderDelivered)}
    scores: dict[bool, list[float]] = {True: [], False: []}
    for answer in events_of(shop, events.SurveyAnswered):
        scores[late[answer.about_id]].append(answer.score)
    assert sum(late.values()) == shop.figures.late_deliveries
    assert mean(scores[True]) < mean(scores[False]) - 1.5


def is_late(parcel: events.OrderDelivered) -> bool:
    return parcel.delivered_at > parcel.promised_at


def test_one_carrier_is_late_far_more_often(shop: Webshop) -> None:
    late: dict[str, list[bool]] = defaultdict(list)
    for parcel in events_of(shop, events.OrderDelivered):
        late[parcel.carrier].append(is_late(parcel))
    shares = {carrier: mean(values) for carrier, values in late.items()}
    assert max(shares, key=lambda carrier: shares[carrier]) == "Matkahuolto"


def test_payment_breaks_in_one_old_browser(shop: Webshop) -> None:
    tried, failed = Counter[bool](), Counter[bool]()
    for call in calls_of(shop, events.PaymentInfoEntered, events.PaymentFailed):
        assert call.context is not None
        old = "SamsungBrowser" in call.context["userAgent"]
        (tried if isinstance(call.values, events.PaymentInfoEntered) else failed)[old] += 1
    assert failed[True] / tried[True] > 4 * failed[False] / tried[False]


def test_searches_fail_for_what_is_not_sold(shop: Webshop) -> None:
    failed = Counter(search.query for search in events_of(shop, events.ProductsSearched) if search.results_count == 0)
    assert failed.total() == shop.figures.failed_searches
    assert failed.most_common(1)[0][0] == "electric bike"


def test_the_checkout_gets_shorter_and_the_spring_campaign_starts(shop: Webshop) -> None:
    first_day = LAST_DAY - timedelta(days=DAYS - 1)
    assert first_day + timedelta(days=NEW_CHECKOUT_DAY) == PLAN_DATES["new_checkout"]
    assert first_day + timedelta(days=SPRING_DAY) == PLAN_DATES["spring_campaign"]
    steps: dict[bool, set[str]] = {True: set(), False: set()}
    for call in calls_of(shop, events.CheckoutStepViewed):
        steps[call.timestamp.date() > PLAN_DATES["new_checkout"]].add(call.values.step_name)
    assert len(steps[False]) == 5
    assert len(steps[True]) == 3
    spring = [call for call in calls_of(shop, events.AdClicked) if call.values.campaign_id == "spring-search"]
    assert spring
    assert min(call.timestamp.date() for call in spring) >= PLAN_DATES["spring_campaign"] - timedelta(days=1)


def test_friends_come_by_referral_after_they_were_told(shop: Webshop) -> None:
    sent = {call.values.referral_code: call.timestamp for call in calls_of(shop, events.ReferralSent)}
    joined = [call for call in calls_of(shop, events.SignedUp) if call.values.referral_code is not None]
    assert len(joined) == shop.figures.sign_ups_by_referral > 0
    assert all(sent[call.values.referral_code] < call.timestamp for call in joined)


def test_robots_and_many_browsers_come_by(shop: Webshop) -> None:
    agents = {call.context["userAgent"] for call in shop.calls if call.context and "userAgent" in call.context}
    assert any("Googlebot" in agent for agent in agents)
    assert len(agents) >= 10


def test_people_come_in_the_evening_more_than_at_night(shop: Webshop) -> None:
    hours = Counter(call.timestamp.hour for call in shop.calls if call.source == "web")
    assert sum(hours[hour] for hour in (16, 17, 18, 19)) > 3 * sum(hours[hour] for hour in (1, 2, 3, 4))


PLAN_DATES = {change.name: change.date for change in PLAN.changes}
