"""The made-up shop: the same everywhere, valid, and telling the stories it promises to tell."""

from collections import Counter, defaultdict
from datetime import datetime, timedelta
from statistics import mean
from typing import Any

import msgspec
import pytest

from polku_demo.calls import Call
from polku_demo.webshop import DAYS, LAST_DAY, NEW_CHECKOUT_DAY, SOURCES, SPRING_DAY, Webshop
from polku_demo.webshop.draw import Draw
from polku_schemas import builtin_plan_path, compile_plan, load_plan

PLAN = load_plan(builtin_plan_path())


@pytest.fixture(scope="module")
def shop() -> Webshop:
    return Webshop(people=1_500, seed=7)


def named(shop: Webshop, *names: str) -> list[Call]:
    return [call for call in shop.calls if call.verb == "track" and call.name in names]


def moment(text: Any) -> datetime:
    return datetime.fromisoformat(text)


def test_the_same_seed_is_the_same_shop_and_another_seed_another() -> None:
    first, again, other = Webshop(60, seed=3), Webshop(60, seed=3), Webshop(60, seed=4)
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
    assert all(msgspec.json.encode(large[name]) == msgspec.json.encode(call) for name, call in small.items())


def test_ids_are_unique_and_calls_in_the_order_of_time(shop: Webshop) -> None:
    assert len({call.message_id for call in shop.calls}) == len(shop.calls) == shop.figures.events
    times = [call.timestamp for call in shop.calls]
    assert times == sorted(times)
    first_day = LAST_DAY - timedelta(days=DAYS - 1)
    assert times[0].date() >= first_day
    assert times[-1].date() <= LAST_DAY + timedelta(days=1)


def test_every_call_fits_the_built_in_plan(shop: Webshop) -> None:
    compiled = compile_plan(PLAN)
    for call in shop.calls:
        event = compiled.find(call.verb, call.name if call.verb == "track" else None)
        assert event is not None, call.name
        event = compiled.traits if call.verb == "identify" else event
        event.decode(msgspec.json.encode(call.values))


def test_every_event_has_a_source_and_somebody_it_is_about(shop: Webshop) -> None:
    assert {call.source for call in shop.calls} == set(SOURCES)
    assert all(call.user_id or call.anonymous_id for call in shop.calls)


def test_all_seven_stages_have_events(shop: Webshop) -> None:
    stages = {rule.then for call in shop.calls if call.name in PLAN.events for rule in PLAN.events[call.name].stage}
    assert stages >= set(PLAN.stages)


def test_figures_are_what_the_calls_say(shop: Webshop) -> None:
    figures, orders = shop.figures, named(shop, "order_completed", "store_order_completed")
    assert len(named(shop, "order_completed")) == figures.orders
    assert len(named(shop, "store_order_completed")) == figures.store_orders
    assert sum(round(call.values["revenue"] * 100) for call in orders) == figures.revenue_cents
    assert sum(len(call.values["products"]) for call in orders) == figures.order_lines
    assert len({call.user_id for call in shop.calls if call.user_id}) == figures.accounts
    for name, count in {
        "signed_up": figures.accounts,
        "payment_failed": figures.payment_failures,
        "products_searched": figures.searches,
        "order_delivered": figures.deliveries,
        "order_returned": figures.returns,
        "complaint_opened": figures.complaints,
        "agent_contacted": figures.agent_contacts,
        "survey_answered": figures.survey_answers,
        "review_submitted": figures.reviews,
    }.items():
        assert len(named(shop, name)) == count, name
        assert count > 0, name


def test_order_ids_are_unique_and_amounts_add_up(shop: Webshop) -> None:
    orders = named(shop, "order_completed", "store_order_completed")
    assert len({call.values["order_id"] for call in orders}) == len(orders)
    for call in named(shop, "order_completed"):
        values = call.values
        goods = sum(round(line["price"] * 100) * line["quantity"] for line in values["products"])
        assert round(values["revenue"] * 100) == goods - round(values["discount"] * 100)
        assert round(values["total"] * 100) == round(values["revenue"] * 100) + round(values["shipping"] * 100)


def test_visitors_become_known_on_the_device_they_were_unknown_on(shop: Webshop) -> None:
    unknown = {call.anonymous_id for call in shop.calls if call.user_id is None}
    linked = {call.user_id for call in shop.calls if call.user_id and call.anonymous_id in unknown}
    assert len(linked) >= shop.figures.anonymous_then_known > 0.5 * shop.figures.accounts
    # And some have an account without any trace of before: they joined in a store.
    assert shop.figures.anonymous_then_known < shop.figures.accounts


def test_a_logout_ends_the_anonymous_id(shop: Webshop) -> None:
    ended: dict[str, datetime] = {}
    logouts = named(shop, "logged_out")
    assert logouts
    for call in logouts:
        assert call.anonymous_id not in ended
        ended[str(call.anonymous_id)] = call.timestamp
    after = [
        call
        for call in shop.calls
        if call.anonymous_id in ended
        and call.timestamp > ended[str(call.anonymous_id)]
        and call.name != "page_performance_measured"  # measured late, of a page before the logout
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
    late = {
        call.values["order_id"]: moment(call.values["delivered_at"]) > moment(call.values["promised_at"])
        for call in named(shop, "order_delivered")
    }
    scores: dict[bool, list[float]] = {True: [], False: []}
    for call in named(shop, "survey_answered"):
        scores[late[call.values["about_id"]]].append(call.values["score"])
    assert sum(late.values()) == shop.figures.late_deliveries
    assert mean(scores[True]) < mean(scores[False]) - 1.5


def test_one_carrier_is_late_far_more_often(shop: Webshop) -> None:
    late: dict[str, list[bool]] = defaultdict(list)
    for call in named(shop, "order_delivered"):
        late[call.values["carrier"]].append(moment(call.values["delivered_at"]) > moment(call.values["promised_at"]))
    shares = {carrier: mean(values) for carrier, values in late.items()}
    assert max(shares, key=lambda carrier: shares[carrier]) == "Matkahuolto"


def test_payment_breaks_in_one_old_browser(shop: Webshop) -> None:
    tried, failed = Counter[bool](), Counter[bool]()
    for call in named(shop, "payment_info_entered", "payment_failed"):
        assert call.context is not None
        old = "SamsungBrowser" in call.context["userAgent"]
        (tried if call.name == "payment_info_entered" else failed)[old] += 1
    assert failed[True] / tried[True] > 4 * failed[False] / tried[False]


def test_searches_fail_for_what_is_not_sold(shop: Webshop) -> None:
    failed = Counter(
        call.values["query"] for call in named(shop, "products_searched") if call.values["results_count"] == 0
    )
    assert failed.total() == shop.figures.failed_searches
    assert failed.most_common(1)[0][0] == "electric bike"


def test_the_checkout_gets_shorter_and_the_spring_campaign_starts(shop: Webshop) -> None:
    first_day = LAST_DAY - timedelta(days=DAYS - 1)
    assert first_day + timedelta(days=NEW_CHECKOUT_DAY) == PLAN_DATES["new_checkout"]
    assert first_day + timedelta(days=SPRING_DAY) == PLAN_DATES["spring_campaign"]
    steps: dict[bool, set[str]] = {True: set(), False: set()}
    for call in named(shop, "checkout_step_viewed"):
        steps[call.timestamp.date() > PLAN_DATES["new_checkout"]].add(call.values["step_name"])
    assert len(steps[False]) == 5
    assert len(steps[True]) == 3
    spring = [c for c in named(shop, "ad_clicked") if c.values["campaign_id"] == "spring-search"]
    assert spring
    assert min(call.timestamp.date() for call in spring) >= PLAN_DATES["spring_campaign"] - timedelta(days=1)


def test_friends_come_by_referral_after_they_were_told(shop: Webshop) -> None:
    sent = {call.values["referral_code"]: call.timestamp for call in named(shop, "referral_sent")}
    joined = [call for call in named(shop, "signed_up") if "referral_code" in call.values]
    assert len(joined) == shop.figures.sign_ups_by_referral > 0
    assert all(sent[call.values["referral_code"]] < call.timestamp for call in joined)


def test_robots_and_many_browsers_come_by(shop: Webshop) -> None:
    agents = {call.context["userAgent"] for call in shop.calls if call.context and "userAgent" in call.context}
    assert any("Googlebot" in agent for agent in agents)
    assert len(agents) >= 10


def test_people_come_in_the_evening_more_than_at_night(shop: Webshop) -> None:
    hours = Counter(call.timestamp.hour for call in shop.calls if call.source == "web")
    assert sum(hours[hour] for hour in (16, 17, 18, 19)) > 3 * sum(hours[hour] for hour in (1, 2, 3, 4))


PLAN_DATES = {change.name: change.date for change in PLAN.changes}
