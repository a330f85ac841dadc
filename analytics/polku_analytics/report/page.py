"""The report as HTML: one function per section, all from `ReportFigures`, with the scripts and styles written into it.

Bars and heat maps are plain HTML, so they can be read, printed and spoken without a script; ECharts draws the paths,
the orders over time and the lifecycle. Every section says in a line what it shows, how that is defined, and has its
figures as a table. The sections that an analysis answers are in `sections.py`; those here read the tables of `data.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import msgspec

import polku_analytics.report.readings as readings
import polku_analytics.report.sections as sections
from polku_analytics.analyses.paths import OTHER
from polku_analytics.report.data import (
    ChannelFigure,
    HeatMap,
    KeyFigure,
    ReportContext,
    ReportFigures,
    StageFigure,
    flows,
)
from polku_analytics.report.html import Section, section, table
from polku_analytics.report.plots import plot_figures
from polku_analytics.report.wording import (
    day,
    duration,
    moment,
    money,
    percent,
    short_number,
    title,
    window_words,
)
from polku_schemas.amounts import counted

_STATIC: Final = Path(__file__).parent / "static"

# The page may run its own script and style and load nothing at all.
_POLICY: Final = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"

_MARK: Final = (
    '<svg viewBox="0 0 32 32" aria-hidden="true"><path d="M7 28c0-7 18-6 18-13S9 10 13 4" fill="none" '
    'stroke="currentColor" stroke-width="3" stroke-linecap="round"/><circle cx="7" cy="28" r="2.6" '
    'fill="currentColor"/><circle cx="13.6" cy="4" r="2.6" fill="currentColor"/></svg>'
)


def render(figures: ReportFigures, context: ReportContext) -> str:
    """The whole page."""
    chapters = [(heading, found) for heading, found in _chapters(figures, context) if found]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(context.title)}</title>",
            f"<style>{_static('report.css')}</style>",
            "</head>",
            "<body>",
            _header(figures, context),
            _contents(chapters),
            "<main>",
            *(part for heading, found in chapters for part in (f"<h2>{heading}</h2>", *(one.html for one in found))),
            "</main>",
            _footer(figures),
            f'<script type="application/json" id="figures">{_script_json(plot_figures(figures, context))}</script>',
            f"<script>{_static('echarts.min.js')}</script>",
            f"<script>{_static('report.js')}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _chapters(figures: ReportFigures, context: ReportContext) -> list[tuple[str, list[Section]]]:
    """The sections in the order of the page, those that there are."""

    def answered(*names: str) -> list[Section | None]:
        return [sections.of(name, figures.answers) for name in names if name not in figures.missing]

    chapters: list[tuple[str, list[Section | None]]] = [
        ("How we are doing", answered("recent")),
        ("The journey", [_stage_section(figures), _paths_section(figures), *answered("routes")]),
        (
            "Selling",
            [
                _orders_section(figures),
                *answered("anomalies"),
                _heat_section(figures, context),
                _funnel_section(figures),
                *answered("carts", "checkout"),
            ],
        ),
        (
            "Marketing",
            [
                _channel_section(figures.channels, "channel", figures.currency),
                _channel_section(figures.marketing_channels, "marketing channel", figures.currency),
                *answered("campaigns"),
            ],
        ),
        ("Customers", answered("lifecycle", "retention")),
        ("Shop and service", answered("search", "deliveries", "returns")),
        ("Technology", answered("performance", "friction")),
        ("Limits", [sections.absent(figures.missing)]),
    ]
    return [(heading, [one for one in found if one is not None]) for heading, found in chapters]


def _contents(chapters: Sequence[tuple[str, Sequence[Section]]]) -> str:
    """Links to the sections, by chapter."""
    parts = "".join(
        f"<div><dt>{heading}</dt>"
        + "".join(f'<dd><a href="#{one.name}">{escape(one.heading)}</a></dd>' for one in found)
        + "</div>"
        for heading, found in chapters
    )
    return f'<nav class="contents" aria-label="On this page"><dl>{parts}</dl></nav>'


def _header(figures: ReportFigures, context: ReportContext) -> str:
    coverage = figures.coverage
    zone = context.time_zone
    period = f"{day(coverage['first_event'], zone)} – {day(coverage['last_event'], zone)}"
    what = f"{_strong(coverage['people'], 'person', 'people')} and " + _strong(
        coverage["touchpoints"], "touchpoint", "touchpoints"
    )
    left_out = f"{counted(coverage['bot_events_left_out'], 'bot event')} left out"
    if coverage["unplaced_events"]:
        left_out += f"; {counted(coverage['unplaced_events'], 'event')} the plan does not place in a stage"
    facts = [
        ("Period", period),
        ("As of", moment(figures.as_of, zone)),
        ("Time zone", zone),
        ("Tracking plan", figures.plan),
        ("Coverage", f"all events of the lake, each counted once; {left_out}"),
    ]
    notes = "".join(f"<p>{escape(note)}</p>" for note in context.notes)
    links = "".join(
        f'<li><a href="{escape(link.url)}">Other report: {escape(link.text)} →</a></li>' for link in context.links
    )
    return "\n".join(
        [
            "<header>",
            f'<div class="brand">{_MARK}<span>Polku</span></div>',
            f"<h1>{escape(context.title)}</h1>",
            f'<p class="lede">The journeys of {what}, {escape(period)}.</p>',
            f'<div class="notes">{notes}</div>' if notes else "",
            f'<nav aria-label="Other reports"><ul class="links">{links}</ul></nav>' if links else "",
            '<dl class="facts">',
            *(f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>" for name, value in facts),
            "</dl>",
            '<dl class="key">',
            *(_key_figure(figure) for figure in figures.key_figures),
            "</dl>",
            "</header>",
        ]
    )


def _strong(count: int, one: str, many: str) -> str:
    number, _, noun = counted(count, one, many).partition(" ")
    return f"<strong>{number}</strong> {noun}"


def _key_figure(figure: KeyFigure) -> str:
    value = "–" if figure.value is None else short_number(figure.value)
    unit = f" <small>{escape(figure.unit)}</small>" if figure.unit else ""
    return (
        f'<div><dt>{escape(figure.label)}</dt><dd class="value">{value}{unit}</dd>'
        f'<dd class="note">{escape(figure.note)}</dd></div>'
    )


def _stage_section(figures: ReportFigures) -> Section:
    missing = [figure.stage for figure in figures.stages if figure.people is None]
    legend = [
        '<li><i class="light"></i>people who have entered the stage</li>',
        "<li><i></i>of these, people for whom it is the furthest so far</li>",
    ]
    if missing:
        legend.append('<li><i class="absent"></i>not collected: this data has no event that could show it</li>')
    rows = [
        [figure.stage, "not collected" if figure.people is None else figure.people, figure.present, figure.share]
        for figure in figures.stages
    ]
    return section(
        "stages",
        "How far people come",
        "People with at least one touchpoint in a stage, whatever they did before; the stages stand in the order of "
        "the plan.",
        f'<ul class="legend">{"".join(legend)}</ul>'
        f'<ol class="bars stages">{"".join(_stage_bar(n, f) for n, f in enumerate(figures.stages, start=1))}</ol>'
        '<p class="axis">Bar length: share of all people. Figures: people, share of all people.</p>',
        table(["Stage", "People entered", "People present", "Share of all people"], rows),
        reading=readings.of_stages(figures.stages),
    )


def _stage_bar(number: int, figure: StageFigure) -> str:
    name = f'<span class="name"><span class="number">{number}</span>{escape(title(figure.stage))}</span>'
    if figure.people is None or figure.present is None or figure.share is None:
        return (
            f'<li class="missing">{name}<span class="track absent" aria-hidden="true"></span>'
            '<span class="figure">not collected</span></li>'
        )
    color = f"--color: var(--stage-{min(number, 7)})"
    present = figure.share * figure.present / figure.people if figure.people else 0.0
    return (
        f'<li style="{color}">{name}<span class="track" aria-hidden="true">'
        f'<span class="fill" style="width: {100 * figure.share:.2f}%"></span>'
        f'<span class="part" style="width: {100 * present:.2f}%"></span></span>'
        f'<span class="figure"><b>{figure.people:,}</b> <span>· {percent(figure.share)}</span></span></li>'
    )


def _paths_section(figures: ReportFigures) -> Section:
    result = figures.paths
    steps = int(result.options["max_steps"])
    shown = flows(result)
    if not shown:
        plot = '<p class="empty">Nobody in this data passed two different touchpoints.</p>'
    else:
        last = max(row[0] for row in shown)
        heads = "".join(f'<li style="--at: {n / last:.4f}">step {n + 1}</li>' for n in range(last + 1))
        plot = (
            '<p class="hint">Swipe sideways to see all steps.</p>'
            '<div class="scroll" tabindex="0" role="region" '
            'aria-label="Paths as a flow diagram; the table below has the figures">'
            f'<ol class="steps" aria-hidden="true">{heads}</ol>'
            '<div class="plot sankey" data-plot="sankey" role="img" '
            'aria-label="Flow of people from touchpoint to touchpoint"></div></div>'
            f'<ul class="legend">{_stage_legend(figures, shown)}</ul>'
            '<p class="axis">Width of nodes and bands: people. Colour: the stage a touchpoint mostly stands for.</p>'
        )
    rows = [[row[0], title(row[1]), title(row[2]), row[3], duration(row[5])] for row in result.rows]
    return section(
        "paths",
        "The paths people take",
        f"The first {steps} touchpoints of each person in any stage, runs of the same one counted once; the "
        f"{result.options['top']} most frequent by name, the rest as (other). Where a band ends, people have gone no "
        "further yet.",
        plot,
        table(["Step", "From", "To", "People", "Median time between"], rows),
        reading=readings.of_paths(result),
    )


def _stage_legend(figures: ReportFigures, shown: Sequence[Sequence[Any]]) -> str:
    items = {name for row in shown for name in (row[1], row[2])}
    has_rest = OTHER in items
    items -= {OTHER}
    used = {figures.touchpoint_stages.get(item) for item in items}
    chips = [
        f'<li><i style="--color: var(--stage-{min(number, 7)})"></i>{escape(title(figure.stage))}</li>'
        for number, figure in enumerate(figures.stages, start=1)
        if figure.stage in used
    ]
    if None in used:
        chips.append('<li><i style="--color: var(--stage-none)"></i>no stage</li>')
    if has_rest:
        chips.append('<li><i style="--color: var(--stage-none)"></i>(other): less frequent ones, of any stage</li>')
    return "".join(chips)


def _orders_section(figures: ReportFigures) -> Section:
    series = figures.orders
    heading = "Orders and revenue over time"
    definition = (
        "Orders, each order id once, and what those in the currency of most brought, by the time of the order; returns "
        "are not subtracted. "
        "Pale bars cover only part of their time."
    )
    if series is None:
        return section("orders", heading, definition, '<p class="empty">This data has no orders.</p>')
    rows = [
        [day(start), count, money(revenue)]
        for start, count, revenue in zip(series.starts, series.orders, series.revenue, strict=True)
    ]
    return section(
        "orders",
        heading,
        definition,
        '<div class="plot series" data-plot="series" role="img" '
        f'aria-label="Orders and revenue per {series.bucket}; the table below has the figures"></div>',
        table([f"{title(series.bucket)} from", "Orders", f"Revenue {series.currency}".strip()], rows),
        reading=readings.of_orders(series),
    )


def _heat_section(figures: ReportFigures, context: ReportContext) -> Section:
    heading = "When people come"
    zone = context.time_zone
    if not figures.heat_maps:
        return section("hours", heading, "", '<p class="empty">This data has no visits and no orders.</p>')
    maps = figures.heat_maps
    inputs = labels = ""
    if len(maps) > 1:
        inputs = "".join(
            f'<input type="radio" name="heat" id="heat-{n}"{" checked" if n == 1 else ""} aria-label="Show {m.unit}">'
            for n, m in enumerate(maps, start=1)
        )
        labels = "".join(f'<label for="heat-{n}">{m.unit}</label>' for n, m in enumerate(maps, start=1))
        labels = f'<div class="choice">{labels}</div>'
    else:
        inputs = '<input type="radio" name="heat" checked aria-hidden="true" tabindex="-1">'
    tables = "".join(_heat_table(number, heat_map, zone) for number, heat_map in enumerate(maps, start=1))
    return section(
        "hours",
        heading,
        f"Beginnings of visits and times of orders by weekday and hour, in the time zone {zone}. A visit is a session "
        "that did not begin with something sent to the person (mail, ads, deliveries).",
        f'<div class="heat">{inputs}{labels}{tables}</div>',
        reading=readings.of_hours(maps[0]),
    )


def _heat_table(number: int, heat_map: HeatMap, zone: str) -> str:
    most = max(max(row) for row in heat_map.counts)
    one, many = heat_map.unit.removesuffix("s"), heat_map.unit
    head = "".join(f'<th scope="col">{hour}</th>' for hour in range(24))
    body = []
    for name, counts in zip(readings.WEEKDAYS, heat_map.counts, strict=True):
        cells = "".join(
            f'<td style="--v: {100 * count / most if most else 0:.0f}" '
            f'title="{name} {hour:02d}–{hour + 1:02d}: {counted(count, one, many)}"><span>{count:,}</span></td>'
            for hour, count in enumerate(counts)
        )
        body.append(f'<tr><th scope="row" abbr="{name}">{name[:3]}</th>{cells}</tr>')
    return (
        f'<div class="map map-{number}"><table aria-label="{title(heat_map.unit)} by weekday and hour">'
        f'<thead><tr><th scope="col"><span>weekday</span></th>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'
        f'<p class="axis">Across: hour of the day ({escape(zone)}). Down: weekday.</p>'
        f'<p class="scale">0<i></i>{counted(most, one, many)} in that hour of the week, over the whole period</p></div>'
    )


def _funnel_section(figures: ReportFigures) -> Section | None:
    result = figures.funnel
    if result is None:
        return None
    units = "people" if result.unit == "person" else "sessions"
    most = max((row[2] for row in result.rows), default=0)
    bars = []
    for index, row in enumerate(result.rows):
        following = next((later for later in result.rows[index + 1 :] if not later[9]), None)
        is_collected = row[1].partition("[")[0] in figures.seen_events
        bars.append(_funnel_bar(row, following, most, is_collected))
    rows = [[r[0], title(r[1]), r[2], r[3], r[4], duration(r[5]), r[7], r[8]] for r in result.rows]
    heads = ["Step", "Name", title(units), "Share of previous", "Share of first"]
    return section(
        "funnel",
        f"Funnel: {title(str(result.options['funnel']))}",
        f"{title(units)} that take the steps in this order within {window_words(result)} of the first one; other "
        "things may lie between. Who has stopped but still has time is counted apart from who has dropped out.",
        f'<ol class="bars">{"".join(bars)}</ol>'
        f'<p class="axis">Bar length: share of the first step. Figures: {units}, share of the first step.</p>',
        table([*heads, "Median time from first", "Dropped out", "Still has time"], rows),
        reading=readings.of_funnel(result, units),
    )


def _funnel_bar(row: Sequence[Any], following: Sequence[Any] | None, most: int, is_collected: bool) -> str:
    name = f'<span class="name"><span class="number">{row[0]}</span>{escape(title(row[1]))}'
    if row[9] and not is_collected:
        return (
            f'<li class="missing">{name} (optional)</span><span class="track absent" aria-hidden="true"></span>'
            '<span class="figure">not collected</span></li>'
        )
    optional = " (optional)" if row[9] else ""
    between = ""
    if following is not None and not row[9] and row[2]:
        told = [f"{percent(following[3])} go on to {escape(title(following[1]))}"]
        if following[6] is not None:
            told.append(f"median {duration(following[6])} later")
        told.append(f"{row[7]:,} drop out")
        if row[8]:
            told.append(f"{row[8]:,} still have time")
        between = f'<span class="between">{" · ".join(told)}</span>'
    width = 100 * row[2] / most if most else 0
    return (
        f"<li>{name}{optional}</span>"
        f'<span class="track" aria-hidden="true"><span class="fill" style="width: {width:.2f}%">'
        f'</span></span><span class="figure"><b>{row[2]:,}</b> <span>· {percent(row[4])}</span></span>{between}</li>'
    )


def _channel_section(channels: Sequence[ChannelFigure], what: str, currency: str) -> Section | None:
    if not channels:
        return None
    most = max(channel.people for channel in channels)
    shown = channels[:12]
    bars = "".join(
        f'<li><span class="name">{escape(title(c.channel))}</span><span class="track" aria-hidden="true">'
        f'<span class="fill" style="width: {100 * c.people / most:.2f}%"></span></span>'
        f'<span class="figure"><b>{c.people:,}</b> <span>· {counted(c.orders, "order")}</span></span></li>'
        for c in shown
    )
    definition = {
        "channel": "Place of contact: people with at least one touchpoint there, and the orders made there. "
        "One person may be in several.",
        "marketing channel": "Where a visit came from, as the collector derives it from campaign parameters and "
        "referrer: people with at least one such visit, and the orders made in it. Sessions that began with something "
        "sent to the person are no visits.",
    }[what]
    return section(
        what.replace(" ", "-"),
        "Where people meet us" if what == "channel" else "Where visits come from",
        definition,
        f'<ul class="bars">{bars}</ul><p class="axis">Bar length: people. Figures: people, orders.</p>',
        table(
            [title(what), "People", "Touchpoints", "Orders", f"Revenue {currency}".strip()],
            [[title(c.channel), c.people, c.touchpoints, c.orders, money(c.revenue)] for c in channels],
        ),
        reading=readings.of_channels(channels),
        css="half",
    )


def _footer(figures: ReportFigures) -> str:
    return (
        "<footer><p>Every number is defined in Polku's docs/definitions.md. People are groups of ids that belong "
        "together; two known users are never merged because they shared a device.</p>"
        f"<p>Build {escape(figures.built[:12])}. Charts: Apache ECharts.</p></footer>"
    )


def _script_json(value: Any) -> str:
    # A "</script>" in a name must not end the element.
    return msgspec.json.encode(value).decode().replace("<", "\\u003c")


def _static(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")
