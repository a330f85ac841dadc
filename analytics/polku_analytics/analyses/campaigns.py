"""Campaigns: from what was sent to what was earned, campaign by campaign, and whether sending made people buy more.

The steps are those of the table `campaign_steps`. The lift has a control: people who were there before the campaign and
were not sent it, over the same days. What both groups did more than in the days before is set against each other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.attribution import spend_and_rows_of
from polku_analytics.analyses.scope import NONE, Part, Scope, check_unit
from polku_analytics.analyses.significance import NOTHING, Difference, Sums, means
from polku_analytics.currencies import usual_first
from polku_analytics.errors import UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.result import AnalysisResult, window_text

DEFAULT_WINDOW_SECONDS: Final = 14 * 86400
"""After a campaign went out, so long what people order is looked at; and as long before it."""

_AT_ONCE: Final = 0.8
"""A lift is told for campaigns that reach at least this share of their people within the window. The others, such as a
reminder of a cart, go to people because of what they did, and nobody is like them who was not sent it."""

_FEWEST_PEOPLE: Final = 20
"""In either group; with fewer, or where nobody changed, a t-test is too sure of itself."""

_NONE_NAMED: Final = "no touchpoint says of which campaign it is (campaign_id or utm_campaign)"

STEPS: Final = ("sent", "opened", "clicked", "visit", "cart", "order")

COLUMNS: Final = (
    "campaign",
    "sent",
    "opened",
    "clicked",
    "visited",
    "with_cart",
    "ordered",
    "orders",
    "net_revenue",
    "margin",
    "currency",
    "spend",
    "result",
    "return_on_spend",
    "extra_orders_per_person",
    "extra_p_value",
)


class CampaignsQuestion(Struct, frozen=True, kw_only=True):
    """All campaigns, or one."""

    campaign: str | None = None
    window_seconds: int = DEFAULT_WINDOW_SECONDS
    scope: Scope = Scope()


def run_campaigns(journeys: Journeys, question: CampaignsQuestion) -> AnalysisResult:
    """Rank campaigns by what is left of them, in the currency of most orders; what is in others comes after it."""
    check_unit(question.scope, ("person", "session", "account"), "a campaign")
    has_spend = journeys.with_loaded("spend")
    if question.campaign is not None:
        known = {row[0] for row in journeys.rows("SELECT DISTINCT campaign FROM campaign_steps")}
        if has_spend:
            paid = journeys.rows("SELECT DISTINCT s.utm_campaign FROM spend AS s WHERE s.utm_campaign IS NOT NULL")
            known |= {row[0] for row in paid}
        if question.campaign not in known:
            raise UnknownNameError("campaign", question.campaign, known)
    window = window_text(question.window_seconds)
    return answer(
        journeys,
        question.scope,
        lambda part: _find(question, has_spend, part),
        question="How far do campaigns reach, and what do they bring?",
        window=window,
        options={
            "campaign": question.campaign,
            "spend": None if has_spend else "not known",
            "extra_orders": f"within {window} of the first sending, against people it was not sent to",
        },
        columns=COLUMNS,
        # Who ordered stands on each row of a campaign, in whatever currency: it is compared as a whole.
        keys=("campaign",),
        measure="ordered",
    )


def _find(question: CampaignsQuestion, has_spend: bool, part: Part) -> Finding:
    unit, rows_of = part.unit_column, part.rows("campaign_steps", "happened_at")
    reached = ", ".join(f"COUNT(DISTINCT CASE WHEN c.step = '{step}' THEN c.{unit} END) AS n_{step}" for step in STEPS)
    sql = f"SELECT c.campaign, {reached} FROM {rows_of} AS c GROUP BY c.campaign"
    money: dict[str, dict[str | None, tuple[Any, ...]]] = defaultdict(dict)
    for campaign, currency, *amounts in part.journeys.rows(
        "SELECT c.campaign, c.currency, COUNT(*) AS orders, SUM(c.net_revenue) AS net_revenue, "
        "CASE WHEN COUNT(c.margin) = COUNT(*) THEN SUM(c.margin) END AS margin "
        f"FROM {rows_of} AS c WHERE c.step = 'order' GROUP BY c.campaign, c.currency ORDER BY orders DESC, c.currency"
    ):
        money[campaign][currency] = tuple(amounts)
    whole = part.segment is None and part.value is None
    costs: dict[str, dict[str | None, float]] = defaultdict(dict)
    paid: Counter[str | None] = Counter()
    for (campaign, currency), (amount, times) in (
        spend_and_rows_of("campaign", part) if has_spend and whole else {}
    ).items():
        if campaign != NONE:
            costs[campaign][currency] = amount
            paid[currency] += times
    reached_by = {campaign: counts for campaign, *counts in part.journeys.rows(sql)}
    extra = _extra_orders(question.window_seconds, part)
    rows: list[list[Any]] = []
    # What was paid for and reached nobody in these days is a row of zeros, in the currency of what it cost.
    for campaign in {**reached_by, **costs}:
        if question.campaign not in (None, campaign):
            continue
        counts, found = reached_by.get(campaign, [0] * len(STEPS)), extra.get(campaign, NOTHING)
        for currency in {**money[campaign], **costs[campaign]} or (None,):
            orders, revenue, margin = money[campaign].get(currency, (0, 0.0, None))
            cost = costs[campaign].get(currency)
            brought = revenue if margin is None else margin
            result = None if brought is None else round(brought - (cost or 0.0), 2)
            rows.append(
                [
                    *(campaign, *counts, orders),
                    None if revenue is None else round(revenue, 2),
                    None if margin is None else round(margin, 2),
                    *(currency, cost, result),
                    round(revenue / cost, 6) if cost and revenue is not None else None,
                    None if found.difference is None else round(found.difference, 6),
                    None if found.p_value is None else round(found.p_value, 9),
                ]
            )
    ordered: Counter[str | None] = Counter()
    for of_campaign in money.values():
        ordered.update({currency: amounts[0] for currency, amounts in of_campaign.items()})
    # Of most orders first, and of those without an order by rows of spend.
    ranked = sorted({**ordered, **paid}, key=lambda name: (-ordered[name], *usual_first(name, paid[name])))
    rows.sort(key=partial(_rank, {currency: place for place, currency in enumerate(ranked)}))
    return Finding(rows=rows, sql=sql, coverage={"campaigns": len({row[0] for row in rows})}, why_empty=_NONE_NAMED)


def _rank(places: Mapping[str | None, int], row: Sequence[Any]) -> tuple[Any, ...]:
    """What to sort a row by, given the places of the currencies: amounts in different ones are not compared."""
    of = dict(zip(COLUMNS, row, strict=True))
    # What brought and cost nothing is 0 in every currency; of what brought orders without a value nobody knows.
    place = places[of["currency"]] if of["orders"] or of["spend"] else 0
    left = of["result"] is None, -(of["result"] or 0.0)
    return place, *left, -of["ordered"], -of["sent"], of["campaign"]


def _extra_orders(window_seconds: int, part: Part) -> dict[str, Difference]:
    """By campaign: orders per person after it went out less those before; receivers against people like them."""
    say, engine, window = part.journeys.engine.dialect, part.journeys.engine, window_seconds * 1_000_000
    among = f"p.person_key IN (SELECT x.person_key FROM touchpoints AS x WHERE {part.members('x')})"
    people = engine.columns(
        f"SELECT p.person_key, {say.microseconds('p.first_seen')} AS first_seen, p.known_person "
        f"FROM persons AS p WHERE {among} ORDER BY p.person_key"
    )
    orders = engine.columns(
        f"SELECT t.person_key, {say.microseconds('t.event_time')} AS at_microseconds FROM touchpoints AS t "
        "WHERE t.order_id IS NOT NULL"
    )
    keys = people["person_key"]
    if len(keys) == 0:
        return {}
    place = np.minimum(np.searchsorted(keys, orders["person_key"]), len(keys) - 1)
    mine = keys[place] == orders["person_key"]
    place, times = place[mine], orders["at_microseconds"][mine]
    sent: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for campaign, person, first in engine.rows(
        f"SELECT c.campaign, c.person_key, MIN({say.microseconds('c.happened_at')}) AS first_at "
        f"FROM {part.rows('campaign_steps', 'happened_at')} AS c WHERE c.step = 'sent' "
        "GROUP BY c.campaign, c.person_key ORDER BY c.campaign, c.person_key"
    ):
        sent[campaign].append((person, first))
    # Also before or after the period, and in visits of another kind: they are like nobody who was not sent it.
    ever: dict[str, list[int]] = defaultdict(list)
    for campaign, person in engine.rows(
        "SELECT DISTINCT c.campaign, c.person_key FROM campaign_steps AS c WHERE c.step = 'sent'"
    ):
        ever[campaign].append(person)
    found = {}
    for campaign, receivers in sent.items():
        begun = min(first for _, first in receivers)
        if np.mean([first - begun <= window for _, first in receivers]) < _AT_ONCE:
            continue
        after = np.bincount(place[(times >= begun) & (times < begun + window)], minlength=len(keys))
        before = np.bincount(place[(times >= begun - window) & (times < begun)], minlength=len(keys))
        more = (after - before).astype(float)
        # Who came in the days before has not had all of them to order; and only known people can be written to.
        there = people["first_seen"] < begun - window
        treated = np.isin(keys, [person for person, _ in receivers])
        known = people["known_person"].astype(bool)
        if known[treated].all():
            there &= known
        groups = [_sums(more[there & treated]), _sums(more[there & ~np.isin(keys, ever[campaign])])]
        if all(group.units >= _FEWEST_PEOPLE and group.deviation > 0 for group in groups):
            found[campaign] = means(*groups)
    return found


def _sums(values: np.ndarray) -> Sums:
    return Sums(len(values), float(values.sum()), float((values * values).sum()))
