"""What each section says in one line, so that nobody has to read a plot. Each function takes what the section shows."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Final

from polku_analytics.analyses.deliveries import ALL as ALL_CARRIERS
from polku_analytics.analyses.paths import LEFT, OTHER
from polku_analytics.analyses.retention import ALL as ALL_COHORTS
from polku_analytics.analyses.scope import NONE
from polku_analytics.report.answers import RECENT_DAYS
from polku_analytics.report.data import ChannelFigure, HeatMap, Series, StageFigure
from polku_analytics.report.wording import amount, bucket_label, change, day, duration, percent, title
from polku_analytics.result import AnalysisResult
from polku_schemas.amounts import counted

WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

Row = Mapping[str, Any]


def of_recent(result: AnalysisResult) -> str:
    """How orders and revenue have moved, and which targets are met."""
    rows = {row["figure"]: row for row in result.dicts()}
    said = []
    orders, revenue = rows.get("orders"), rows.get("net_revenue")
    if orders and orders["value"] is not None:
        said.append(f"{counted(orders['value'], 'order')}{_moved(orders, f' on the {RECENT_DAYS} days before')}")
    if revenue and revenue["value"] is not None:
        said.append(f"net revenue {amount(revenue['value'], revenue['of'])}{_moved(revenue, '')}")
    text = f"The last {RECENT_DAYS} days: {'; '.join(said)}." if said else ""
    aims = [row["target_met"] for row in rows.values() if row["target_met"] is not None]
    others = sum(row["target_not_compared_because"] is not None for row in rows.values())
    if aims or others:
        text += f" {sum(aims)} of {counted(len(aims) + others, 'target')} met"
        text += f", {others} not compared." if others else "."
    return text.strip()


def _moved(row: Row, against: str) -> str:
    return "" if row["change"] is None else f" ({change(row['change'])}{against})"


def of_stages(stages: Sequence[StageFigure]) -> str:
    """Where most have got to, and how many have got to the last stage."""
    known = [figure for figure in stages if figure.people is not None]
    if not known:
        return ""
    most, last = max(known, key=lambda figure: figure.present or 0), known[-1]
    return (
        f"For most people ({most.present or 0:,}) {title(most.stage)} is the furthest so far; "
        f"{last.people:,} ({percent(last.share)}) have come to {title(last.stage)}."
    )


def of_paths(result: AnalysisResult) -> str:
    """Where most begin, and where most go from a first touchpoint."""
    begins: dict[str, int] = {}
    for step, source, _, count, *_ in result.rows:
        if step == 1:
            begins[source] = begins.get(source, 0) + count
    named = {name: count for name, count in begins.items() if name != OTHER}
    if not named:
        return ""
    first = max(named, key=lambda name: named[name])
    nexts = [row for row in result.rows if row[0] == 1 and row[1] == first and row[2] != OTHER]
    text = f"Most begin with {title(first)} ({named[first]:,} of {sum(begins.values()):,} people)"
    if nexts:
        best = max(nexts, key=lambda row: row[3])
        goes = "go no further yet" if best[2] == LEFT else f"go on to {title(best[2])}"
        text += f"; of these most ({best[3]:,}) {goes}"
    return text + "."


def of_orders(series: Series) -> str:
    """How much in all, and when most."""
    best = max(range(len(series.starts)), key=lambda place: series.orders[place])
    when = {"day": "on ", "week": "in the week from ", "month": "in "}[series.bucket]
    others = f", without {series.in_other_currencies:,} in other currencies" if series.in_other_currencies else ""
    known = [revenue for revenue in series.revenue if revenue is not None]
    brought = f"brought {amount(sum(known), series.currency)}" if known else "of which none says its revenue"
    return (
        f"{counted(sum(series.orders), 'order')} {brought}{others}; "
        f"most came {when}{bucket_label(series.starts[best], series.bucket)} ({series.orders[best]:,})."
    )


def of_hours(heat_map: HeatMap) -> str:
    """The hour of the week with most."""
    weekday, hour = max(((d, h) for d in range(7) for h in range(24)), key=lambda at: heat_map.counts[at[0]][at[1]])
    return (
        f"Most {heat_map.unit} begin on {WEEKDAYS[weekday]} between {hour:02d} and {hour + 1:02d}."
        if heat_map.unit == "visits"
        else f"Most {heat_map.unit} come on {WEEKDAYS[weekday]} between {hour:02d} and {hour + 1:02d}."
    )


def of_funnel(result: AnalysisResult, units: str) -> str:
    """How many come to the end, and where most drop out."""
    first, last = result.rows[0], result.rows[-1]
    worst = max(result.rows[:-1], key=lambda row: row[7] or 0)
    text = f"Of {first[2]:,} {units} {last[2]:,} ({percent(last[4])}) come to the end"
    if worst[7]:
        text += f"; most drop out after {title(worst[1])} ({worst[7]:,})"
    return text + "."


def of_channels(channels: Sequence[ChannelFigure]) -> str:
    """Where most people are, and where most orders are made."""
    people, orders = max(channels, key=lambda c: c.people), max(channels, key=lambda c: c.orders)
    text = f"Most people: {title(people.channel)} ({people.people:,})"
    if orders.orders:
        text += f"; most orders: {title(orders.channel)} ({orders.orders:,} of {sum(c.orders for c in channels):,})"
    return text + "."


def of_routes(result: AnalysisResult, lost: AnalysisResult | None) -> str:
    """The most frequent route, the simplest one, and where most are lost."""
    rows = result.dicts()
    most, simplest = rows[0], next((row for row in rows if row["simplest"]), None)
    reached = result.coverage["journeys_that_reached_it"]
    text = f"{percent(most['share'])} of the {counted(reached, 'journey')} to it end the same way"
    if simplest is not None:
        text += f"; the simplest takes {effort(simplest)}"
    worst = lost.dicts()[0] if lost is not None and lost.rows else None
    if worst is not None and worst["lost"]:
        text += (
            f". Most people are lost after {title(worst['micro_path'])}: {worst['lost']:,} of {worst['people']:,} "
            "never got there"
        )
    return text + "."


def effort(row: Row) -> str:
    """How many steps a route has, and how long it takes."""
    steps = f"{row['steps']:g} step{'' if row['steps'] == 1 else 's'}"
    return f"{steps} and {duration(row['median_seconds'])}"


def of_anomalies(result: AnalysisResult) -> str:
    """Which days stand out."""
    judged = result.coverage["days_judged"]
    if not result.rows:
        return f"None of the {counted(judged, 'day')} that can be judged stands out."
    worst = max(result.dicts(), key=lambda row: abs(row["score"]))
    which = day(datetime.date.fromisoformat(worst["day"]))
    return (
        f"{counted(len(result.rows), 'day')} of {judged:,} stand{'s' if len(result.rows) == 1 else ''} out, most of "
        f"all {which}: {worst['count']:,} visits where {worst['expected']:,.0f} were to be expected."
    )


def of_carts(row: Row) -> str:
    """How many carts are abandoned, and what is left in them."""
    over = row["created"] - row["open"]
    gone = f"{row['abandoned']:,} ({percent(row['abandonment_share'])})"
    text = f"Of {counted(over, 'cart')} no longer open {gone} were abandoned"
    if row["value_left"] is not None:
        text += f", with {amount(row['value_left'], row['currency'])} left in them"
    return f"{text}; {row['abandoned_in_checkout']:,} of these had begun the checkout."


def of_checkout(rows: Sequence[Row]) -> str:
    """How many checkouts end in an order, and at which step most are left. The order is the last row."""
    *steps, order = rows
    begun = round(order["entered"] / order["share_of_checkouts"]) if order["share_of_checkouts"] else None
    worst = max(steps, key=lambda row: row["left"], default=None)
    of = "checkouts" if begun is None else f"{counted(begun, 'checkout')}"
    text = f"{percent(order['share_of_checkouts'])} of {of} end in an order"
    if worst is not None and worst["left"]:
        name = title(worst["name"] or f"step {worst['step']}")
        text += f"; most are left at {name} ({worst['left']:,}, {percent(worst['abandonment_share'])} of those there)"
    return text + "."


def of_search(result: AnalysisResult, in_vain: Sequence[Row]) -> str:
    """How many searches find nothing, and for what; how many lead on."""
    rows = {row["measure"]: row for row in result.dicts()}
    zero, success = rows["zero results"], rows["success"]
    text = f"{counted(rows['searches']['searches'], 'search', 'searches')}"
    if zero["of"]:
        text += f", of which {zero['searches']:,} ({percent(zero['share'])}) found nothing"
        if in_vain:
            term = in_vain[0]
            text += f", most often “{term['term']}” ({term['zero_results']:,})"
    return f"{text}; {percent(success['share'])} led on to a product or content."


def of_deliveries(rows: Sequence[Row]) -> str:
    """How many promises were kept, and who keeps fewest. The first row is all carriers together."""
    every = rows[0]
    due = every["on_time"] + every["late"] + every["overdue"]
    if not due:
        return f"{counted(every['shipments'], 'shipment')}, and no promise that is due."
    text = f"{every['on_time']:,} of {counted(due, 'promise')} that were due ({percent(every['kept_share'])}) were kept"
    carriers = [row for row in rows if row["carrier"] != ALL_CARRIERS and row["kept_share"] is not None]
    if len(carriers) > 1:
        worst = min(carriers, key=lambda row: row["kept_share"])
        text += f"; {worst['carrier']} kept fewest ({percent(worst['kept_share'])})"
    return text + "."


def of_returns(row: Row, reasons: Sequence[Row]) -> str:
    """How much came back, and why most."""
    text = f"{row['returned']:,} of {counted(row['sold'], 'order')} ({percent(row['returned_share'])}) came back" + (
        "" if row["returned_value"] is None else f", worth {amount(row['returned_value'], row['currency'])}"
    )
    if row["returned_value_share"] is not None:
        text += f" ({percent(row['returned_value_share'])} of revenue)"
    mine = [reason for reason in reasons if reason["currency"] == row["currency"]]
    if mine and mine[0]["name"] != NONE:
        text += f"; most by value: {title(mine[0]['name'])}"
    return text + "."


def of_campaigns(result: AnalysisResult) -> str:
    """Which brought most, and what comes back for the money where that is known."""
    rows = result.dicts()
    best, campaigns = rows[0], counted(len({row["campaign"] for row in rows}), "campaign")
    brought = [row for row in rows if row["orders"]]
    if not brought:
        return f"{campaigns}, and no order in a visit that one of them brought."
    if all(row["result"] is None for row in brought):
        return f"{campaigns}, and no order in a visit that one of them brought says its value."
    among = f" in {best['currency'] or 'no currency'}" if len({row["currency"] for row in brought}) > 1 else ""
    text = (
        f"Of {campaigns}, “{best['campaign']}” leaves most{among}: "
        f"{counted(best['orders'], 'order')}, {amount(best['result'], best['currency'])}"
    )
    paid = [row for row in rows if row["return_on_spend"] is not None]
    if paid:
        most, least = (pick(paid, key=lambda row: row["return_on_spend"]) for pick in (max, min))
        text += (
            f". For each {most['currency'] or 'unit of money'} spent, “{most['campaign']}” brought back most "
            f"({most['return_on_spend']:,.2f})"
        )
        if least is not most:
            text += f" and “{least['campaign']}” least ({least['return_on_spend']:,.2f})"
        return text + "."
    return text + ". What they cost is not known: it comes with polku load spend."


def of_lifecycle(result: AnalysisResult) -> str:
    """The last interval that is over."""
    over = [row for row in result.dicts() if row["complete"]]
    if not over:
        return ""
    last, interval = over[-1], result.options["interval"]
    begins = bucket_label(datetime.date.fromisoformat(last["begins"]), interval)
    when = {"week": "In the week from ", "month": "In "}[interval]
    return (
        f"{when}{begins} {last['active']:,} people were active: {last['new']:,} new, {last['returning']:,} who were "
        f"there the {interval} before, {last['resurrecting']:,} back after a pause; {last['dormant']:,} of the "
        f"{interval} before stayed away."
    )


def of_retention(result: AnalysisResult) -> str:
    """How many are back in the next interval, and in the last one that is known."""
    every = {row["interval"]: row["share"] for row in result.dicts() if row["cohort"] == ALL_COHORTS}
    interval, last = result.options["interval"], max(every, default=0)
    if not last:
        return f"No first {interval} has been over for a {interval} yet."
    text = f"Of those who come for the first time {percent(every.get(1))} are there again one {interval} later"
    return text + (f", and {percent(every[last])} {last} {interval}s later." if last > 1 else ".")


def of_performance(rows: Sequence[Row]) -> str:
    """Where most measurements are slow, and how many there convert."""
    worst = rows[0]
    return (
        f"Most slow pages: {place(worst)}, {worst['slow']:,} of {worst['samples']:,} measurements "
        f"({percent(worst['slow_share'])}); {percent(worst['conversion'])} of the visits there end in an order."
    )


def place(row: Row) -> str:
    """A page, device and browser in one name."""
    return " · ".join(title(row[part]) for part in ("page", "device", "browser") if row[part])


def of_friction(rows: Sequence[Row]) -> str:
    """What costs conversions for certain."""
    costly = [row for row in rows if row["verdict"] == "costly"]
    if not costly:
        return "No sign of friction is shown to cost orders."
    worst = costly[0]
    where = f"{worst['friction']} at {title(worst['place'])}"
    which = f"{title(where)} costs orders" if len(costly) == 1 else f"{len(costly)} signs cost orders, most {where}"
    return (
        f"{which}: {percent(worst['conversion'])} of the {worst['units']:,} "
        f"visits with it end in an order, {percent(worst['conversion_without'])} of those without; about "
        f"{worst['lost']:,.0f} orders are lost."
    )
