"""The sections that answers of analyses fill; each is asked for only where its answer has something to show."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from html import escape
from typing import Any, Final, Literal

import polku_analytics.report.readings as readings
from polku_analytics.analyses.carts import OUTCOMES
from polku_analytics.analyses.deliveries import ALL as ALL_CARRIERS
from polku_analytics.analyses.retention import ALL as ALL_COHORTS
from polku_analytics.currencies import usual_first
from polku_analytics.report.answers import RECENT_DAYS, Answers
from polku_analytics.report.html import Bar, Section, asked, bars, section, table
from polku_analytics.report.wording import (
    amount,
    amount_or_unknown,
    bucket_label,
    change,
    day,
    duration,
    money,
    percent,
    title,
    window_words,
)
from polku_analytics.result import AnalysisResult
from polku_schemas.amounts import counted

Row = Mapping[str, Any]

HEADINGS: Final[dict[str, str]] = {
    "recent": "The last four weeks",
    "routes": "The ways to the goal",
    "anomalies": "Unusual days",
    "carts": "What becomes of carts",
    "checkout": "Where the checkout loses people",
    "campaigns": "What campaigns bring",
    "lifecycle": "Who is new, who stays, who goes",
    "retention": "Who comes back",
    "search": "What people search for",
    "deliveries": "Whether promises are kept",
    "returns": "What comes back",
    "performance": "Speed of pages, and orders",
    "friction": "Where people get stuck",
}
"""By the name of the section, which is that of its answer."""

DAYS: Final = 8
CAMPAIGNS: Final = 10
SLOW: Final = 8
TERMS: Final = 6
"""So many bars; the tables have the others."""

SURE: Final = 0.05
"""What chance explains no more often than this is told without a doubt."""

FEWEST_PEOPLE: Final = 2
"""Words that only one person searched for may be about that person, and a page goes from hand to hand."""

_Kind = Literal["count", "money", "share", "points"]

_FIGURES: Final[dict[str, tuple[str, _Kind]]] = {
    "orders": ("Orders", "count"),
    "net_revenue": ("Net revenue", "money"),
    "average_order_value": ("Average order", "money"),
    "margin_share": ("Margin", "share"),
    "visits": ("Visits", "count"),
    "visit_conversion": ("Visits with an order", "share"),
    "buyers": ("Buyers", "count"),
    "new_customers": ("New customers", "count"),
    "repeat_order_share": ("Repeat orders", "share"),
    "digital_share": ("Revenue outside stores", "share"),
    "complaints_per_order": ("Complaints per order", "share"),
    "net_promoter_score": ("Net promoter score", "points"),
}
"""Figures of the scorecards in the order in which they stand on the page; the others are shown whole further below."""

_COLORS: Final = {
    "ordered": "--accent",
    "emptied": "--stage-none",
    "abandoned": "--warm",
    "open": "--accent-soft",
}


def recent(answers: Answers) -> Section:
    """Management's figures of the last 28 days, against the 28 before."""
    result = answers.recent
    known = {row["figure"]: row for row in result.dicts() if row["value"] is not None}
    shown = [known[name] for name in _FIGURES if name in known]
    rows = [
        [
            _FIGURES[row["figure"]][0],
            _figure(row, row["value"]),
            _figure(row, row["previous"]),
            None if row["change"] is None else change(row["change"]),
            _target(row),
            f"{row['formula']}; {row['definition']}",
        ]
        for row in shown
    ]
    until = day(result.options["until"] - datetime.timedelta(days=1))
    return section(
        "recent",
        HEADINGS["recent"],
        f"{day(result.options['since'])} – {until}: the last {RECENT_DAYS} days that are over, and the {RECENT_DAYS} "
        "before. Targets are those of the tracking plan, for as many days.",
        f'<dl class="key">{"".join(map(_card, shown))}</dl>',
        table(["Figure", "Value", "Before", "Change", "Target", "Definition"], rows),
        reading=readings.of_recent(result),
        source=asked("scorecard management", "Scorecards"),
    )


def _card(row: Row) -> str:
    said = "nothing to compare with" if row["previous"] is None else f"{_figure(row, row['previous'])} before"
    if row["change"] is not None and _FIGURES[row["figure"]][1] in ("count", "money"):
        said += f" ({change(row['change'])})"
    if row["target_not_compared_because"] is not None:
        said += f"; target {row['target']:,.0f} not compared: {row['target_not_compared_because']}"
    elif row["target"] is not None:
        said += f"; target {_figure(row, row['target'])} {'met' if row['target_met'] else 'not met'}"
    name, kind = _FIGURES[row["figure"]]
    value = escape(_figure(row, row["value"]))
    if kind == "money" and row["of"]:
        value = f"{amount(row['value'], None)} <small>{escape(row['of'])}</small>"
    # A number and its unit stay in one line.
    note = escape(said).replace(" %", "\u00a0%")
    return f'<div><dt>{name}</dt><dd class="value">{value}</dd><dd class="note">{note}</dd></div>'


def _target(row: Row) -> str | None:
    if row["target"] is None:
        return None
    if row["target_not_compared_because"] is not None:
        return f"not compared with {row['target']:,.0f}: {row['target_not_compared_because']}"
    return f"{_figure(row, row['target'])}, {'met' if row['target_met'] else 'not met'}"


def _figure(row: Row, value: float | None) -> str:
    if value is None:
        return "–"
    kind = _FIGURES[row["figure"]][1]
    if kind == "money":
        return amount(value, row["of"])
    if kind == "share":
        return percent(value)
    return f"{100 * value:+.0f}" if kind == "points" else f"{value:,.0f}"


def routes(answers: Answers) -> Section | None:
    """Routes to the main goal, the simplest marked, and where people are lost on the way."""
    result, lost = answers.routes, answers.lost
    if result is None:
        return None
    rows = result.dicts()
    most = max(row["share"] for row in rows)
    body = bars(
        [
            Bar(
                name=title(row["route"]),
                share=row["share"] / most,
                figure=f"{row['journeys']:,}",
                more=percent(row["share"]),
                below=f"{readings.effort(row)}, in the median",
                tag="simplest" if row["simplest"] else "",
            )
            for row in rows
        ],
        "long",
    )
    body += '<p class="axis">Bar length and figures: journeys that reached the goal, and their share.</p>'
    parts = [row for row in lost.dicts() if row["lost"]] if lost is not None else []
    if parts:
        body += "<h4>Where most are lost on the way</h4>" + bars(
            [
                Bar(
                    name=title(row["micro_path"]),
                    share=row["loss"],
                    figure=f"{row['lost']:,} lost",
                    below=f"{percent(row['loss'])} of {row['people']:,} people",
                    color="--warm",
                )
                for row in parts
            ],
            "long",
        )
    goal = result.options["goal"]
    return section(
        "routes",
        f"The ways to the goal: {title(goal)}",
        f"The last {result.options['max_steps']} touchpoints up to each time a person reached it, runs of the same one "
        "counted once; … stands for earlier ones. The simplest way has fewest steps, then least time, among those that "
        "at least 1 % take. Lost: people who have both touchpoints one after the other, and never reached the goal "
        "from there, or not for seven days.",
        body,
        table(
            ["Way", "Journeys", "People", "Share", "Median steps", "Median time"],
            [
                [
                    title(row["route"]),
                    *(row["journeys"], row["people"], row["share"]),
                    *(f"{row['steps']:g}", duration(row["median_seconds"])),
                ]
                for row in rows
            ],
        ),
        reading=readings.of_routes(result, lost),
        source=asked(f"routes {goal}", "Routes"),
    )


def anomalies(answers: Answers) -> Section:
    """Days with strangely few or many visits."""
    result = answers.anomalies
    rows = result.dicts()
    body = data = ""
    if rows:
        shown = sorted(sorted(rows, key=lambda row: -abs(row["score"]))[:DAYS], key=lambda row: row["day"])
        most = max(max(row["count"], row["high"]) for row in shown)
        body = bars(
            [
                Bar(
                    name=f"{row['weekday'][:3]} {day(datetime.date.fromisoformat(row['day']))}",
                    share=row["count"] / most,
                    figure=f"{row['count']:,}",
                    below=f"{row['low']:,.0f} to {row['high']:,.0f} would be ordinary",
                    color="--warm" if row["verdict"] == "lower" else "",
                )
                for row in shown
            ]
        )
        data = table(
            ["Day", "Visits", "Expected", "Ordinary from", "Ordinary to", "Verdict"],
            [
                [
                    row["day"],
                    row["count"],
                    *(f"{row[name]:,.1f}" for name in ("expected", "low", "high")),
                    row["verdict"],
                ]
                for row in rows
            ],
        )
    return section(
        "anomalies",
        HEADINGS["anomalies"],
        "Days with far fewer or far more visits than the same weekday in the four weeks before and after; one answer "
        "in a hundred names a day that is ordinary. "
        f"Bars: the {DAYS} strangest at most.",
        body,
        data,
        reading=readings.of_anomalies(result),
        source=asked("anomalies", "Anomalies"),
    )


def carts(answers: Answers) -> Section:
    """The outcomes of carts in the currency of most."""
    rows = answers.carts.dicts()
    main = rows[0]
    parts = "".join(
        f'<span style="--color: var({_COLORS[name]}); flex-grow: {main[name]}"></span>'
        for name in OUTCOMES
        if main[name]
    )
    legend = "".join(
        f'<li><i style="--color: var({_COLORS[name]})"></i>{name} <b>{main[name]:,}</b></li>' for name in OUTCOMES
    )
    others = len(rows) - 1
    note = f" Shown are those in {main['currency'] or 'no currency'}; the table has the others." if others else ""
    return section(
        "carts",
        HEADINGS["carts"],
        f"Carts by what became of them. Abandoned: nothing has happened in it for {window_words(answers.carts)}; value "
        f"left: what still lay in it.{note}",
        f'<div class="stack" role="img" aria-label="Carts by what became of them; the figures follow">{parts}</div>'
        f'<ul class="legend">{legend}</ul>',
        table(
            ["Currency", "Carts", *map(title, OUTCOMES), "Abandoned of those over", "In the checkout", "Value left"],
            [
                [
                    row["currency"],
                    row["created"],
                    *(row[name] for name in OUTCOMES),
                    row["abandonment_share"],
                    row["abandoned_in_checkout"],
                    money(row["value_left"]),
                ]
                for row in rows
            ],
        ),
        reading=readings.of_carts(main),
        source=asked("carts", "Carts"),
    )


def checkout(answers: Answers) -> Section:
    """The steps of the checkout, and who leaves at each."""
    rows = answers.checkout.dicts()
    most = max(row["entered"] for row in rows)
    return section(
        "checkout",
        HEADINGS["checkout"],
        "Checkouts that come to each step, by its number and name; people have left at a step if they did nothing more "
        f"for {window_words(answers.checkout)} and came to no later one.",
        bars(
            [
                Bar(
                    name=_step(row),
                    share=row["entered"] / most,
                    figure=f"{row['entered']:,}",
                    more="" if row["step"] is None else f"{row['left']:,} left ({percent(row['abandonment_share'])})",
                )
                for row in rows
            ]
        ),
        table(
            ["Step", "Came", "Went on", "Left", "Still there", "Left of those who came", "Median time", "Value left"],
            [
                [
                    _step(row),
                    *(row["entered"], row["completed"], row["left"], row["open"], row["abandonment_share"]),
                    duration(row["median_seconds"]),
                    None if row["value_left"] is None else amount(row["value_left"], row["currency"]),
                ]
                for row in rows
            ],
        ),
        reading=readings.of_checkout(rows),
        source=asked("checkout", "Checkouts"),
    )


def _step(row: Row) -> str:
    name = title(row["name"] or "")
    return name if row["step"] is None else f"{row['step']} {name}".strip()


def campaigns(answers: Answers) -> Section:
    """The campaigns that brought most."""
    rows = answers.campaigns.dicts()
    shown = rows[:CAMPAIGNS]
    # Where they brought no visit that we know of, what is left to see is how many they were sent to.
    earned = any(row["net_revenue"] for row in shown)
    measure = "net_revenue" if earned else "sent"
    largest: dict[str | None, float] = {}
    for row in shown:
        largest[row["currency"]] = max(largest.get(row["currency"], 0.0), row[measure] or 0.0)
    rest = len(rows) - len(shown)
    more = f" The other {rest:,} are in the table." if rest else ""
    return section(
        "campaigns",
        HEADINGS["campaigns"],
        "Net revenue of the orders in visits that a campaign brought, and how far people came; ranked by what is left: "
        "margin, or net revenue where margins are not known, less what was spent; first in the "
        "currency of most orders. Return on spend is net revenue ÷ "
        f"spend. Orders per person: how many more in the {window_words(answers.campaigns)} after it than before it, "
        f"against people it was not sent to.{more}",
        bars(
            [
                Bar(
                    name=row["campaign"],
                    share=(row[measure] or 0.0) / largest[row["currency"]] if largest[row["currency"]] else 0.0,
                    figure=amount_or_unknown(row["net_revenue"], row["currency"]) if earned else f"{row['sent']:,}",
                    more=_return(row) if earned else "people",
                    below=_reached(row),
                )
                for row in shown
            ]
        ),
        table(
            [
                *("Campaign", "Sent", "Opened", "Clicked", "Visited", "With cart", "Ordered", "Orders"),
                *("Net revenue", "Currency", "Spend", "Left", "Return on spend", "More orders a person", "p-value"),
            ],
            [
                [
                    *(
                        row[name]
                        for name in ("campaign", "sent", "opened", "clicked", "visited", "with_cart", "ordered")
                    ),
                    *(row["orders"], money(row["net_revenue"]), row["currency"], money(row["spend"])),
                    *(money(row["result"]), money(row["return_on_spend"])),
                    *(_decimals(row["extra_orders_per_person"]), _decimals(row["extra_p_value"])),
                ]
                for row in rows
            ],
        ),
        reading=readings.of_campaigns(answers.campaigns),
        source=asked("campaigns", "Campaigns"),
    )


def _return(row: Row) -> str:
    return "" if row["return_on_spend"] is None else f"return on spend {row['return_on_spend']:,.2f}"


def _reached(row: Row) -> str:
    steps = [("sent", "sent to"), ("clicked", "clicked"), ("visited", "visited"), ("with_cart", "with a cart")]
    reached = " → ".join(f"{row[name]:,} {word}" for name, word in [*steps, ("ordered", "ordered")] if row[name])
    extra = row["extra_orders_per_person"]
    if extra is None:
        return reached
    chance = "" if row["extra_p_value"] < SURE else ", which may be chance"
    return f"{reached}; {extra:+.2f} orders per person{chance}".replace("-", "−")


def lifecycle(answers: Answers) -> Section:
    """Who is active by where they come from, above, and who has gone, below."""
    result = answers.lifecycle
    interval = result.options["interval"]
    legend = "".join(
        f'<li><i style="--color: var({color})"></i>{text}</li>'
        for text, color in (
            ("new", "--accent"),
            (f"there the {interval} before too", "--accent-soft"),
            ("back after a pause", "--stage-6"),
            (f"there the {interval} before, and not now (below the line)", "--warm"),
        )
    )
    names = ("active", "new", "returning", "resurrecting")
    return section(
        "lifecycle",
        HEADINGS["lifecycle"],
        f"People with any touchpoint in the {interval}, also one that we sent. Pale bars: the {interval} is not over, "
        "and who is gone is not known yet.",
        f'<ul class="legend">{legend}</ul><div class="plot lifecycle" data-plot="lifecycle" role="img" '
        f'aria-label="People per {interval}: new, returning, back and gone; the table below has the figures"></div>',
        table(
            [f"{title(interval)} from", "Active", "New", "Returning", "Back", "Gone", f"{title(interval)} is over"],
            [
                [
                    *(row["begins"], *(row[name] for name in names)),
                    *((row["dormant"], "yes") if row["complete"] else (None, "no")),
                ]
                for row in result.dicts()
            ],
        ),
        reading=readings.of_lifecycle(result),
        source=asked("lifecycle", "Lifecycle"),
    )


def retention(answers: Answers) -> Section:
    """Cohorts of first contact, and how many of each are back later."""
    result = answers.retention
    interval = result.options["interval"]
    rows = [row for row in result.dicts() if row["interval"]]
    last = max((row["interval"] for row in rows), default=0)
    most = max((row["share"] or 0.0 for row in rows), default=0.0)
    cohorts: dict[str, dict[int, Row]] = {}
    sizes = {row["cohort"]: row["size"] for row in result.dicts() if row["interval"] == 0}
    for row in rows:
        cohorts.setdefault(row["cohort"], {})[row["interval"]] = row
    head = "".join(f'<th scope="col">{number}</th>' for number in range(1, last + 1))
    body = "".join(
        f'<tr><th scope="row">{_cohort(name, interval)}</th><td class="size">{sizes.get(name, 0):,}</td>'
        + "".join(_cell(cells.get(number), most) for number in range(1, last + 1))
        + "</tr>"
        for name, cells in cohorts.items()
    )
    grid = (
        '<div class="scroll" tabindex="0"><table class="cohorts" aria-label="Share of each cohort that is back">'
        f'<thead><tr><th scope="col">first seen</th><th scope="col">people</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        if cohorts
        else f'<p class="empty">No first {interval} has another one after it yet.</p>'
    )
    return section(
        "retention",
        HEADINGS["retention"],
        f"People by the {interval} of their first touchpoint, and the share of them with one in the first, second, … "
        f"{interval} after it. A dashed cell is not over for all of them; the row of all counts only cells that are.",
        f'<p class="hint">Swipe sideways to see all.</p>{grid}'
        f'<p class="axis">Across: {interval}s after the first. Down: {interval} of the first touchpoint.</p>',
        reading=readings.of_retention(result),
        source=asked("retention", "Retention"),
    )


def _cohort(name: str, interval: str) -> str:
    return "all" if name == ALL_COHORTS else bucket_label(datetime.date.fromisoformat(name), interval)


def _cell(row: Row | None, most: float) -> str:
    if row is None or row["share"] is None:
        return "<td></td>"
    css = "" if row["complete"] else " class=open"
    return (
        f'<td{css} style="--v: {100 * row["share"] / most if most else 0:.0f}" '
        f'title="{row["count"]:,} of {row["size"]:,} people">{percent(row["share"])}</td>'
    )


def search(answers: Answers) -> Section:
    """What becomes of searches, and the words that find nothing."""
    rows = [row for row in answers.search.dicts() if row["of"]]
    vain = [row for row in answers.searched_in_vain.dicts() if row["units"] >= FEWEST_PEOPLE][:TERMS]
    most = max((row["zero_results"] for row in vain), default=0)
    what = bars(
        [
            Bar(
                name=title(row["measure"]),
                share=row["share"],
                figure=percent(row["share"]),
                more=f"{row['searches']:,}",
            )
            for row in rows[1:]
        ]
    )
    words = bars(
        [
            Bar(
                name=f"“{row['term']}”" if row["term"] else "no words",
                share=row["zero_results"] / most,
                figure=f"{row['zero_results']:,}",
                more=f"{counted(row['units'], 'person', 'people')}",
                color="--warm",
            )
            for row in vain
        ]
    )
    second = f"<div><h4>Searched for in vain</h4>{words}</div>" if vain else ""
    return section(
        "search",
        HEADINGS["search"],
        "Shares of all searches of which it is known. Success: it found something, and a result was clicked, or a "
        "product or content looked at or a product added, before the next search of the visit. Words of which only "
        "one person searched are not shown.",
        f'<div class="columns"><div><h4>What becomes of searches</h4>{what}</div>{second}</div>',
        table(
            ["Measure", "Searches", "Of", "Share", "People"],
            [[title(row["measure"]), *(row[name] for name in ("searches", "of", "share", "units"))] for row in rows],
        ),
        reading=readings.of_search(answers.search, vain),
        source=asked("search --show zero", "Searches"),
    )


def deliveries(answers: Answers) -> Section:
    """Promises kept, by carrier."""
    rows = answers.deliveries.dicts()
    named = [row for row in rows if row["carrier"] != ALL_CARRIERS and row["kept_share"] is not None]
    names = ("shipments", "on_time", "late", "overdue", "under_way", "kept_share")
    return section(
        "deliveries",
        HEADINGS["deliveries"],
        "Shipments that arrived by the time that was promised, of those whose promise is due: delivered, or overdue.",
        bars(
            [
                Bar(
                    name=row["carrier"],
                    share=row["kept_share"],
                    figure=percent(row["kept_share"]),
                    more=f"of {row['on_time'] + row['late'] + row['overdue']:,}",
                )
                for row in named
            ]
        ),
        table(
            ["Carrier", "Shipments", "On time", "Late", "Overdue", "Under way", "Kept", "Median delay"],
            [
                [
                    row["carrier"],
                    *(row[name] for name in names),
                    duration(None if row["median_late_hours"] is None else 3600 * row["median_late_hours"]),
                ]
                for row in rows
            ],
        ),
        reading=readings.of_deliveries(rows),
        source=asked("deliveries", "Deliveries"),
        css="half",
    )


def returns(answers: Answers) -> Section:
    """What came back, by reason."""
    main = min(answers.returns.dicts(), key=lambda row: usual_first(row["currency"], row["sold"]))
    reasons = answers.return_reasons.dicts()
    mine = [row for row in reasons if row["currency"] == main["currency"]]
    most = max((row["returned_value"] or 0.0 for row in mine), default=0.0)
    others = len(answers.returns.rows) - 1
    note = f" Shown are those in {main['currency'] or 'no currency'}; the table has the others." if others else ""
    return section(
        "returns",
        HEADINGS["returns"],
        "Orders of which something came back, and what that was worth, by the reason that was given; cancelled orders "
        f"were not sold.{note}",
        bars(
            [
                Bar(
                    name=title(row["name"]),
                    share=(row["returned_value"] or 0.0) / most if most else 0.0,
                    figure=amount_or_unknown(row["returned_value"], row["currency"]),
                    more=counted(row["returned"], "order"),
                )
                for row in mine
            ]
        ),
        table(
            ["Reason", "Currency", "Orders sold", "Came back", "Share", "Value", "Share of value"],
            [
                [
                    title(row["name"]),
                    row["currency"],
                    *(row["sold"], row["returned"], row["returned_share"]),
                    *(money(row["returned_value"]), row["returned_value_share"]),
                ]
                for row in [*answers.returns.dicts(), *reasons]
            ],
        ),
        reading=readings.of_returns(main, mine),
        source=asked("returns --by product", "Returns"),
        css="half",
    )


def performance(answers: Answers) -> Section:
    """Slow pages, with the conversion of the visits that had them."""
    rows = answers.performance.dicts()
    most = max(_painted(row) for row in rows[:SLOW]) or 1.0
    options = answers.performance.options
    return section(
        "performance",
        HEADINGS["performance"],
        "The time within which three quarters of the measurements show the largest thing on the page (where that is "
        "not sent, have loaded it), by kind of page, device and browser; slow is above "
        f"{options['slow_above_ms'] / 1000:g} s. Beside it the share of the visits there that end in an order. Those "
        "with most slow measurements come first.",
        bars(
            [
                Bar(
                    name=readings.place(row),
                    share=_painted(row) / most,
                    figure=f"{_painted(row) / 1000:.1f} s",
                    more=f"{percent(row['slow_share'])} slow",
                    below=f"{percent(row['conversion'])} of {row['sessions']:,} visits end in an order",
                    color="--warm" if _painted(row) > options["slow_above_ms"] else "",
                )
                for row in rows[:SLOW]
            ]
        ),
        table(
            ["Page", "Device", "Browser", "Measured", "Largest thing", "Loaded", "Slow", "Visits", "With an order"],
            [
                [
                    *(row["page"], row["device"], row["browser"], row["samples"]),
                    *(_seconds(row["p75_lcp_ms"]), _seconds(row["p75_load_ms"])),
                    *(row["slow_share"], row["sessions"], row["conversion"]),
                ]
                for row in rows
            ],
        ),
        reading=readings.of_performance(rows),
        source=asked("performance --by page", "Page speed"),
    )


def _painted(row: Row) -> float:
    return float(row["p75_load_ms"] or 0.0) if row["p75_lcp_ms"] is None else float(row["p75_lcp_ms"])


def _seconds(milliseconds: float | None) -> str | None:
    return None if milliseconds is None else f"{milliseconds / 1000:.1f} s"


def friction(answers: Answers) -> Section:
    """Signs of friction, and the orders they cost."""
    rows = answers.friction.dicts()
    shown = [row for row in rows if row["lost"] > 0] or rows[:1]
    most = max(row["lost"] for row in shown)
    return section(
        "friction",
        HEADINGS["friction"],
        "Errors, the same thing done again, three times at once (rage), and turning back, by where in a visit. Orders "
        "lost: visits with the sign × how much rarer they end in an order than visits that pass the place without it. "
        "Only what chance explains badly is called costly.",
        bars(
            [
                Bar(
                    name=f"{title(row['friction'])} at {title(row['place'])}",
                    share=row["lost"] / most if most > 0 else 0.0,
                    figure=f"{max(0.0, row['lost']):,.0f} lost",
                    more=f"{row['units']:,} visits",
                    below=f"{percent(row['conversion'])} end in an order, {percent(row['conversion_without'])} without "
                    f"it; {row['verdict']}",
                    color="--warm" if row["verdict"] == "costly" else "--stage-none",
                )
                for row in shown
            ]
        ),
        table(
            ["Sign", "Place", "Visits", "Order", "Order without it", "Orders lost", "Verdict"],
            [
                [
                    *(title(row["friction"]), title(row["place"]), row["units"]),
                    *(row["conversion"], row["conversion_without"], f"{row['lost']:,.1f}", row["verdict"]),
                ]
                for row in rows
            ],
        ),
        reading=readings.of_friction(rows),
        source=asked("friction", "Friction"),
    )


def absent(reasons: Mapping[str, str]) -> Section | None:
    """What has no section, and why."""
    lacking = [(HEADINGS[name], why) for name, why in reasons.items() if name in HEADINGS]
    if not lacking:
        return None
    return section(
        "absent",
        "What this data does not show",
        "Sections that are left out, because the analysis behind them found nothing to count.",
        '<dl class="absent">'
        + "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(why)}</dd></div>" for name, why in lacking)
        + "</dl>",
    )


def lifecycle_plot(result: AnalysisResult) -> dict[str, Any]:
    """What the script draws of the lifecycle."""
    rows, interval = result.dicts(), result.options["interval"]
    return {
        "interval": interval,
        "labels": [bucket_label(datetime.date.fromisoformat(row["begins"]), interval) for row in rows],
        "complete": [row["complete"] for row in rows],
        **{name: [row[name] for row in rows] for name in ("new", "returning", "resurrecting")},
        # Who has not come yet may still come.
        "dormant": [row["dormant"] if row["complete"] else None for row in rows],
    }


def of(name: str, answers: Answers) -> Section | None:
    """The section of this name."""
    return _SECTIONS[name](answers)


def _decimals(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


_SECTIONS: Final = {
    section.__name__: section
    for section in (
        *(recent, routes, anomalies, carts, checkout, campaigns, lifecycle, retention),
        *(search, deliveries, returns, performance, friction),
    )
}
