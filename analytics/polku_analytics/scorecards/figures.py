"""The figures: formula, meaning, the decision each serves, and how it is read from the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import structs

from polku_analytics.analyses.attribution import spend_and_rows_of
from polku_analytics.analyses.contacts import COMPLAINT_COLUMNS, CONTACT_COLUMNS, find_complaints, find_contacts
from polku_analytics.analyses.scope import NONE, Part
from polku_analytics.analyses.steps import Step
from polku_analytics.analyses.survival import percentile_or_none
from polku_analytics.analyses.tasks import COLUMNS as TASK_COLUMNS
from polku_analytics.analyses.tasks import TasksQuestion, find_tasks
from polku_analytics.currencies import usual_currency
from polku_analytics.scorecards.figure import (
    Figure,
    Value,
    events_in,
    first_row,
    main_currency,
    money,
    money_column,
    orders_in,
    ratio,
    valued_term,
    visits_sql,
)
from polku_schemas.rules import sql_literal

_STORE: Final = "store_order_completed"


def _contact(name: str) -> Callable[[Part], Value]:
    """A column of `polku contacts`, of all contacts together."""
    place = 1 + CONTACT_COLUMNS.index(name)
    return lambda part: Value(find_contacts(part, "agent_role").rows[0][place])


def _complaint(name: str) -> Callable[[Part], Value]:
    place = COMPLAINT_COLUMNS.index(name)
    return lambda part: Value(find_complaints(part).rows[0][place])


def _revenue(part: Part) -> Value:
    column = f"o.{money_column(part)}"
    (revenue, orders, valued), currency = money(part, [column, "1", valued_term(part)])
    # Without an order it is 0; of orders that all say no value nobody knows what they brought.
    return Value(None if orders and not valued else revenue, currency or None)


def _order_value(part: Part) -> Value:
    (revenue, valued), currency = money(part, [f"o.{money_column(part)}", valued_term(part)])
    return Value(round(revenue / valued, 6) if valued else None, currency or None)


def _margin(part: Part) -> Value:
    known = "CASE WHEN o.margin IS NOT NULL THEN {} END"
    (margin, revenue), currency = money(part, [known.format("o.margin"), known.format("o.net_revenue")])
    return Value(ratio(margin, revenue).number, currency or None)


def _digital(part: Part) -> Value:
    column = money_column(part)
    (digital, whole), currency = money(
        part, [f"CASE WHEN o.event_name <> '{_STORE}' THEN o.{column} END", f"o.{column}"]
    )
    return Value(ratio(digital, whole).number, currency or None)


def _of_orders(condition: str) -> Callable[[Part], Value]:
    """The share of orders for which a condition on `o` holds."""

    def find(part: Part) -> Value:
        some, every = first_row(
            part,
            f"SELECT SUM(CASE WHEN {condition} THEN 1 ELSE 0 END), COUNT(*) "
            f"FROM {part.rows('orders', 'ordered_at')} AS o",
        )
        return ratio(some, every)

    return find


def _buyers(condition: str) -> Callable[[Part], Value]:
    def find(part: Part) -> Value:
        rows = part.rows("orders", "ordered_at")
        return Value(first_row(part, f"SELECT COUNT(DISTINCT o.person_key) FROM {rows} AS o WHERE {condition}")[0])

    return find


def _product_group(order: str) -> Callable[[Part], Value]:
    def find(part: Part) -> Value:
        found = part.journeys.rows(
            "SELECT l.category, SUM(l.revenue) AS sold "
            f"FROM {part.rows('order_lines', 'ordered_at')} AS l "
            "WHERE l.category IS NOT NULL AND l.revenue IS NOT NULL AND NOT l.cancelled "
            f"AND COALESCE(l.currency, '') = {sql_literal(main_currency(part))} "
            f"GROUP BY l.category ORDER BY sold {order}, l.category LIMIT 1"
        )
        return Value(round(float(found[0][1]), 6), found[0][0]) if found else Value(None)

    return find


def _visits(part: Part) -> Value:
    return Value(first_row(part, f"SELECT COUNT(*) FROM {visits_sql(part)} AS s")[0])


def _of_visits(condition: str) -> Callable[[Part], Value]:
    """The share of visits for which a condition on `s` holds."""

    def find(part: Part) -> Value:
        some, every = first_row(
            part, f"SELECT SUM(CASE WHEN {condition} THEN 1 ELSE 0 END), COUNT(*) FROM {visits_sql(part)} AS s"
        )
        return ratio(some, every)

    return find


def _peak_hour(part: Part) -> Value:
    at = part.journeys.engine.dialect.microseconds("s.started_at")
    rows = part.journeys.rows(f"SELECT {at} AS microseconds FROM {visits_sql(part)} AS s")
    counts: dict[int, int] = {}
    for (microseconds,) in rows:
        hour = microseconds // 3_600_000_000
        counts[hour] = counts.get(hour, 0) + 1
    return Value(max(counts.values(), default=0))


def _gap(part: Part) -> Value:
    """The conversion of visits on phones against that of visits on computers."""
    rows = part.journeys.rows(
        "SELECT s.device, COUNT(*) AS visits, SUM(CASE WHEN s.orders > 0 THEN 1 ELSE 0 END) AS converted "
        f"FROM {visits_sql(part)} AS s WHERE s.device IN ('mobile', 'desktop') GROUP BY s.device"
    )
    rates = {device: converted / visits for device, visits, converted in rows}
    # Without a visit on a phone there is no conversion of one: it is not 0.
    return ratio(rates["mobile"], rates.get("desktop")) if "mobile" in rates else Value(None)


def _weakest_browser(part: Part) -> Value:
    """The browser, among those with at least a hundredth of the visits, that converts worst."""
    every = _visits(part).number or 0
    found = part.journeys.rows(
        "SELECT b.browser, COUNT(*) AS visits, SUM(CASE WHEN b.orders > 0 THEN 1 ELSE 0 END) AS converted FROM ("
        f"SELECT s.session_key, MAX(s.orders) AS orders, MIN(t.browser) AS browser FROM {visits_sql(part)} AS s "
        f"JOIN {part.rows()} AS t ON t.session_key = s.session_key WHERE t.browser IS NOT NULL GROUP BY s.session_key"
        ") AS b GROUP BY b.browser"
    )
    large = [(float(converted) / visits, browser) for browser, visits, converted in found if visits * 100 >= every]
    return Value(round(min(large)[0], 6), min(large)[1]) if large else Value(None)


def _load_times(part: Part) -> list[tuple[str | None, float]]:
    return [
        (browser, float(milliseconds))
        for browser, milliseconds in part.journeys.rows(
            f"SELECT w.browser, w.load_ms FROM {part.rows('web_vitals', 'measured_at')} AS w "
            "WHERE w.load_ms IS NOT NULL"
        )
    ]


def _load_time(part: Part) -> Value:
    return Value(percentile_or_none([milliseconds for _, milliseconds in _load_times(part)], 0.75))


def _slowest_browser(part: Part) -> Value:
    times: dict[str, list[float]] = {}
    found = _load_times(part)
    for browser, milliseconds in found:
        if browser is not None:
            times.setdefault(browser, []).append(milliseconds)
    large = [(percentile_or_none(of, 0.75) or 0.0, name) for name, of in times.items() if len(of) * 100 >= len(found)]
    return Value(*max(large)) if large else Value(None)


def _per(above: tuple[str, ...], below: tuple[str, ...]) -> Callable[[Part], Value]:
    return lambda part: ratio(events_in(part, *above), events_in(part, *below))


def _payments_failed(part: Part) -> Value:
    failed, paid = first_row(
        part,
        "SELECT COUNT(CASE WHEN t.event_name = 'payment_failed' THEN 1 END), "
        "COUNT(CASE WHEN t.event_name = 'order_completed' AND t.order_id IS NOT NULL THEN 1 END) "
        f"FROM {part.rows()} AS t",
    )
    return ratio(failed, failed + paid)


def _checkout(name: str) -> Callable[[Part], Value]:
    question = TasksQuestion(
        start=Step("checkout_started", "event_name", "checkout_started"),
        end=Step("order_completed", "event_name", "order_completed"),
        limit_seconds=86400,
    )
    place = TASK_COLUMNS.index(name)
    return lambda part: Value(find_tasks(question, part).rows[0][place])


def _share(table: str, time: str, condition: str, among: str = "TRUE") -> Callable[[Part], Value]:
    """The share of a table's rows `x` for which a condition holds."""

    def find(part: Part) -> Value:
        some, every = first_row(
            part,
            f"SELECT SUM(CASE WHEN {condition} THEN 1 ELSE 0 END), COUNT(*) FROM {part.rows(table, time)} AS x "
            f"WHERE {among}",
        )
        return ratio(some, every)

    return find


def _net_promoters(part: Part) -> Value:
    promoters, detractors, every = first_row(
        part,
        "SELECT SUM(CASE WHEN s.band = 'promoter' THEN 1 ELSE 0 END), "
        "SUM(CASE WHEN s.band = 'detractor' THEN 1 ELSE 0 END), COUNT(*) "
        f"FROM {part.rows('satisfaction', 'answered_at')} AS s WHERE s.scale = 'nps' AND s.band IS NOT NULL",
    )
    return ratio((promoters or 0) - (detractors or 0), every)


def _after_contact(part: Part) -> Value:
    row: list[Any] = find_contacts(part, "agent_role").rows[0]
    good, bad = (row[1 + CONTACT_COLUMNS.index(name)] for name in ("promoter_share", "detractor_share"))
    return Value(None if good is None else round(good - bad, 6))


def _referrers(part: Part) -> Value:
    return Value(
        first_row(part, f"SELECT COUNT(DISTINCT t.person_key) FROM {part.rows()} AS t WHERE t.stage = 'referral'")[0]
    )


def _spent(part: Part) -> dict[str | None, dict[str, tuple[float, int]]]:
    """What was spent in the part's days, and how many rows of spend say so, by currency and campaign."""
    spent: dict[str | None, dict[str, tuple[float, int]]] = {}
    for (campaign, currency), (amount, rows) in spend_and_rows_of("campaign", part).items():
        if campaign != NONE and amount > 0:
            spent.setdefault(currency, {})[campaign] = amount, rows
    return spent


def _return_on_spend(part: Part) -> Value:
    # What was spent was spent on everybody: there is no share of it for a segment.
    if part.segment is not None or part.value is not None:
        return Value(None)
    # The period before is in the currency of the one it is compared with, where anything was spent then.
    asked = _spent(structs.replace(part, period=part.asked)) if part.asked is not None else {}
    spent = _spent(part)
    if not spent:
        return Value(None)
    # Rows and not amounts: 500 SEK are not more than 100 EUR.
    rows = {money: sum(rows for _, rows in campaigns.values()) for money, campaigns in (asked or spent).items()}
    currency = usual_currency(rows)
    of_campaign = {campaign: amount for campaign, (amount, _) in spent.get(currency, {}).items()}
    earned = part.journeys.rows(
        "SELECT c.campaign, SUM(c.net_revenue) AS revenue "
        f"FROM {part.rows('campaign_steps', 'happened_at')} AS c WHERE c.step = 'order' "
        f"AND COALESCE(c.currency, '') = {sql_literal(currency or '')} GROUP BY c.campaign"
    )
    brought = [amount for campaign, amount in earned if campaign in of_campaign]
    revenue = [amount for amount in brought if amount is not None]
    # Without an order nothing came back; of orders that all say no value nobody knows what did.
    return Value(ratio(sum(revenue), sum(of_campaign.values())).number if revenue or not brought else None, currency)


ORDERS = Figure(
    name="orders",
    formula="orders",
    definition="orders in the period, on the web, in the app and in stores",
    decision="whether to hold the course, or to look where the trend bends",
    find=lambda part: Value(orders_in(part)),
    events=("order_completed", _STORE),
    target=("count", "order"),
)
REVENUE = Figure(
    name="net_revenue",
    formula="Σ revenue of orders, net of returns where the build knows them",
    definition="in the currency of most orders of the period; others, and orders without a value, are not in it",
    decision="whether the target is in reach, and if not, which lever to pull",
    find=_revenue,
    events=("order_completed", _STORE),
    target=("value", "order"),
)
MARGIN = Figure(
    name="margin_share",
    formula="Σ margin ÷ Σ net revenue",
    definition="over orders whose margin is known",
    decision="which prices, discounts and assortments to change",
    find=_margin,
    table="orders",
    columns=("margin", "net_revenue"),
)
DIGITAL = Figure(
    name="digital_share",
    formula="net revenue of orders not made in stores ÷ net revenue",
    definition=f"an order in a store is a {_STORE} event; in the currency of most orders",
    decision="how to divide money between stores and digital channels",
    find=_digital,
    events=(_STORE,),
)
ORDER_VALUE = Figure(
    name="average_order_value",
    formula="net revenue ÷ orders whose value is known",
    definition="orders in the currency of most orders",
    decision="whether to work on order size: cross-selling, thresholds for free delivery",
    find=_order_value,
    events=("order_completed", _STORE),
)
BUYERS = Figure(
    name="buyers",
    formula="different people with an order",
    definition="people as identity has them, known or not",
    decision="whether the customer base grows",
    find=_buyers("TRUE"),
    events=("order_completed", _STORE),
)
NEW_CUSTOMERS = Figure(
    name="new_customers",
    formula="people whose first order lies in the period",
    definition="the first order ever seen of the person",
    decision="whether to push for new customers or for those there are",
    find=_buyers("o.first_order"),
    events=("order_completed", _STORE),
)
REPEAT_ORDERS = Figure(
    name="repeat_order_share",
    formula="orders that are not the person's first ÷ orders",
    definition="by order_number",
    decision="whether to invest in the time after the first order",
    find=_of_orders("NOT o.first_order"),
    events=("order_completed", _STORE),
)
BEST_GROUP = Figure(
    name="best_product_group",
    formula="greatest Σ revenue of order lines of one category",
    definition="in the currency of most orders, without those that were cancelled; the category stands beside it",
    decision="what to show and stock more of",
    find=_product_group("DESC"),
    table="order_lines",
    columns=("category", "revenue", "currency", "cancelled"),
)
WORST_GROUP = Figure(
    name="worst_product_group",
    formula="smallest Σ revenue of order lines of one category",
    definition="likewise, among categories that sold anything",
    decision="what to drop or to price anew",
    find=_product_group("ASC"),
    table="order_lines",
    columns=("category", "revenue", "currency", "cancelled"),
)
LATE = Figure(
    name="late_delivery_share",
    formula="deliveries later than promised ÷ deliveries with a promise",
    definition="delivered in the period, without those of cancelled orders; on_time of the table deliveries",
    decision="which carrier or promise to change",
    find=_share("deliveries", "delivered_at", "NOT x.on_time", "x.on_time IS NOT NULL AND NOT x.cancelled"),
    table="deliveries",
    columns=("delivered_at", "on_time", "cancelled"),
    smaller_is_better=True,
)
COMPLAINTS = Figure(
    name="complaints_per_order",
    formula="complaints opened ÷ orders",
    definition="both in the period",
    decision="where a promise is broken that costs the next order",
    find=_complaint("complaints_per_order"),
    events=("complaint_opened",),
    smaller_is_better=True,
)
VISITS = Figure(
    name="visits",
    formula="sessions that began where people come to us",
    definition="sessions without those in ads, delivery, email, push, server and sms",
    decision="whether attention or conversion is what lacks",
    find=_visits,
)
CONVERSION = Figure(
    name="visit_conversion",
    formula="visits with an order ÷ visits",
    definition="visits as above",
    decision="whether the shop or the traffic has to get better",
    find=_of_visits("s.orders > 0"),
    events=("order_completed", _STORE),
)
OPENED = Figure(
    name="mails_opened",
    formula="email_opened ÷ email_sent",
    definition="events in the period; a mail may be opened more than once, and after it",
    decision="which subjects and times of sending to keep",
    find=_per(("email_opened",), ("email_sent",)),
    events=("email_sent",),
    counted=("email_opened",),
)
CLICKED = Figure(
    name="mails_clicked",
    formula="email_clicked ÷ email_sent",
    definition="events in the period",
    decision="which offers to keep in mails",
    find=_per(("email_clicked",), ("email_sent",)),
    events=("email_sent",),
    counted=("email_clicked",),
)
ADS = Figure(
    name="ads_clicked",
    formula="ad_clicked ÷ ad_viewed",
    definition="events in the period",
    decision="which ads to stop",
    find=_per(("ad_clicked",), ("ad_viewed",)),
    events=("ad_viewed",),
    counted=("ad_clicked",),
)
CAMPAIGN_VISITS = Figure(
    name="campaign_visit_share",
    formula="visits with a campaign ÷ visits",
    definition="utm_campaign of the session",
    decision="whether campaigns bring traffic that would not come by itself",
    find=_of_visits("s.utm_campaign IS NOT NULL"),
)
RETURN_ON_SPEND = Figure(
    name="return_on_spend",
    formula="net revenue of campaigns ÷ their spend",
    definition="campaigns with a spend in the period, orders in their visits, in the currency of most rows of spend",
    decision="which campaigns to give more money",
    find=_return_on_spend,
    table="spend",
    columns=("date", "utm_campaign", "amount", "currency"),
    target=("return_on_spend", "order"),
)
COUPONS = Figure(
    name="discounted_order_share",
    formula="orders with a coupon or discount ÷ orders",
    definition="coupon and discount of the order",
    decision="whether the price campaign lifts volume or gives margin away",
    find=_of_orders("o.coupon IS NOT NULL OR o.discount > 0"),
    table="orders",
    columns=("coupon", "discount"),
)
REFERRERS = Figure(
    name="referrers",
    formula="different people with a touchpoint of the stage referral",
    definition="the stage is the plan's",
    decision="whether to ask for recommendations more",
    find=_referrers,
    stage="referral",
    target=("people", "recommendation_given"),
)
ABANDONED = Figure(
    name="carts_abandoned",
    formula="carts abandoned ÷ carts not open any more",
    definition="outcome of the table carts, by when the cart was begun",
    decision="whether to remind, and where the checkout loses people",
    find=_share("carts", "started_at", "x.outcome = 'abandoned'", "x.outcome <> 'open'"),
    table="carts",
    columns=("started_at", "outcome"),
    smaller_is_better=True,
)
CHECKOUT = Figure(
    name="checkout_completion",
    formula="checkouts with an order within a day ÷ checkouts but those younger than a day without one",
    definition="tasks from checkout_started to order_completed (polku tasks)",
    decision="whether to mend the checkout before buying traffic",
    find=_checkout("share_finished"),
    events=("checkout_started",),
    counted=("order_completed",),
)
CHECKOUT_TIME = Figure(
    name="checkout_median_seconds",
    formula="Kaplan-Meier median from checkout_started to order_completed",
    definition="unfinished checkouts count as lasting at least so long",
    decision="which step of the checkout to shorten",
    find=_checkout("median_seconds"),
    events=("checkout_started",),
    counted=("order_completed",),
    smaller_is_better=True,
)
ZERO_RESULTS = Figure(
    name="searches_without_result",
    formula="searches with zero results ÷ searches that tell how many results they had",
    definition="zero_results of the table searches",
    decision="which words to teach the search, which products to take in",
    find=_share("searches", "searched_at", "x.zero_results", "x.zero_results IS NOT NULL"),
    table="searches",
    columns=("searched_at", "zero_results"),
    smaller_is_better=True,
)
SEARCH_SUCCESS = Figure(
    name="searches_successful",
    formula="searches with success ÷ searches",
    definition="success of the table searches",
    decision="whether to change the ranking of results",
    find=_share("searches", "searched_at", "x.success"),
    table="searches",
    columns=("searched_at", "success"),
)
ERRORS = Figure(
    name="errors_per_visit",
    formula="error_shown ÷ visits",
    definition="events over sessions of the period",
    decision="what to mend first",
    find=lambda part: ratio(events_in(part, "error_shown"), _visits(part).number),
    events=("error_shown",),
    smaller_is_better=True,
)
PAYMENT_FAILURES = Figure(
    name="payments_failed",
    formula="payment_failed ÷ (payment_failed + order_completed)",
    definition="events in the period; an order counts once, however often it is reported",
    decision="whether to change the payment provider or its form",
    find=_payments_failed,
    events=("payment_failed",),
    smaller_is_better=True,
)
MOBILE = Figure(
    name="mobile_visit_share",
    formula="visits on phones ÷ visits",
    definition="device of the session is mobile",
    decision="how much of the work goes into the mobile shop",
    find=_of_visits("s.device = 'mobile'"),
)
MOBILE_GAP = Figure(
    name="mobile_conversion_ratio",
    formula="conversion of visits on phones ÷ of those on computers",
    definition="1 is no difference",
    decision="whether the mobile shop loses orders",
    find=_gap,
    events=("order_completed", _STORE),
)
WEAKEST_BROWSER = Figure(
    name="weakest_browser_conversion",
    formula="smallest conversion of visits with one browser",
    definition="browsers with at least 1 % of the visits; its name stands beside it",
    decision="which browser to optimise first",
    find=_weakest_browser,
    events=("order_completed", _STORE),
)
PEAK = Figure(
    name="peak_hour_visits",
    formula="most visits that began in one hour",
    definition="hours of UTC",
    decision="whether more capacity is needed",
    find=_peak_hour,
)
LOAD_TIME = Figure(
    name="page_load_p75_ms",
    formula="75th percentile of load_ms",
    definition="of all pages measured in the period, linear between two measurements",
    decision="whether speed needs money",
    find=_load_time,
    table="web_vitals",
    columns=("measured_at", "browser", "load_ms"),
    events=("page_performance_measured",),
    smaller_is_better=True,
)
SLOWEST_BROWSER = Figure(
    name="slowest_browser_p75_ms",
    formula="greatest 75th percentile of load_ms of one browser",
    definition="browsers with at least 1 % of the measurements; its name stands beside it",
    decision="for which browser to make pages faster first",
    find=_slowest_browser,
    table="web_vitals",
    columns=("measured_at", "browser", "load_ms"),
    events=("page_performance_measured",),
    smaller_is_better=True,
)
CONTACTS = Figure(
    name="contacts_per_order",
    formula="contacts ÷ orders",
    definition="both in the period",
    decision="which reason for contacts to remove at its root",
    find=_contact("contacts_per_order"),
    events=("agent_contacted",),
    smaller_is_better=True,
)
HANDLING = Figure(
    name="handling_median_seconds",
    formula="median duration of contacts",
    definition="contacts whose duration is known",
    decision="which tools and texts agents lack",
    find=_contact("median_seconds"),
    events=("agent_contacted",),
    smaller_is_better=True,
)
WAITING = Figure(
    name="waiting_median_seconds",
    formula="median waiting time before contacts",
    definition="contacts whose waiting time is known",
    decision="when to have more people at the phones",
    find=_contact("median_wait_seconds"),
    events=("agent_contacted",),
    smaller_is_better=True,
)
REPEAT_CONTACTS = Figure(
    name="repeat_contact_share",
    formula="repeat contacts ÷ contacts",
    definition="the same reason or order within 7 days",
    decision="what to settle at once instead of twice",
    find=_contact("repeat_share"),
    events=("agent_contacted",),
    smaller_is_better=True,
)
RESOLVED = Figure(
    name="resolved_share",
    formula="contacts that settled the matter ÷ contacts that say so or not",
    definition="resolved of agent_contacted",
    decision="which matters agents need the power to settle",
    find=_contact("resolved_share"),
    events=("agent_contacted",),
)
SOLVED = Figure(
    name="complaints_solved_share",
    formula="complaints settled by now ÷ complaints opened in the period",
    definition="complaint_solved of the same person and id",
    decision="whether complaints are left lying",
    find=_complaint("solved_share"),
    events=("complaint_opened",),
)
SOLVING = Figure(
    name="complaint_median_seconds",
    formula="Kaplan-Meier median from opening to settlement",
    definition="open complaints count as lasting until now",
    decision="how many people complaints need",
    find=_complaint("median_seconds"),
    events=("complaint_opened",),
    smaller_is_better=True,
)
AFTER_CONTACT = Figure(
    name="satisfaction_after_contact",
    formula="(promoters − detractors) ÷ answers at most 7 days after a contact",
    definition="survey answers with a band, for the last contact before",
    decision="whom to train, what to praise",
    find=_after_contact,
    events=("survey_answered",),
)
NPS = Figure(
    name="net_promoter_score",
    formula="(promoters − detractors) ÷ answers on the scale nps",
    definition="between −1 and 1",
    decision="whether the relationship is in good health",
    find=_net_promoters,
    events=("survey_answered",),
)
