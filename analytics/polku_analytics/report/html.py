"""What all sections of the report are made of: a heading, a reading in words, a definition, a plot and its table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from msgspec import Struct

from polku_analytics.report.wording import cell_text


class Section(Struct, frozen=True):
    """One section of the page; `name` is its address in it."""

    name: str
    heading: str
    html: str


class Bar(Struct, frozen=True, kw_only=True):
    """A line with a bar, and its figures as text."""

    name: str
    share: float
    """The length, of 1."""
    figure: str
    """What stands in bold at the end of the bar."""
    more: str = ""
    below: str = ""
    color: str = ""
    tag: str = ""


def section(
    name: str,
    heading: str,
    definition: str,
    body: str,
    table: str = "",
    *,
    reading: str = "",
    source: str = "",
    css: str = "",
) -> Section:
    """A section. `reading`: what it shows, in one line; `source`: who answers it, and where it is defined (`asked`)."""
    # A number and its unit stay in one line.
    words = escape(reading).replace(" %", "\u00a0%")
    told = f'<p class="reading">{words}</p>' if reading else ""
    asked = f'<p class="source">{source}</p>' if source else ""
    details = f"<details><summary>Figures as a table</summary>{table}{asked}</details>" if table else asked
    return Section(
        name,
        heading,
        f'<section id="{name}" aria-labelledby="{name}-title"{f" class={css}" if css else ""}>'
        f'<h3 id="{name}-title">{escape(heading)}</h3>{told}<p class="definition">{escape(definition)}</p>'
        f"{body}{details}</section>",
    )


def asked(command: str, defined: str) -> str:
    """The line that says how to ask on."""
    where = f"docs/definitions.md, section {escape(defined)}"
    return f"More of this: <code>polku {escape(command)}</code>. Defined in {where}."


def bars(items: Sequence[Bar], css: str = "") -> str:
    """Lines with bars."""
    return f'<ul class="bars{f" {css}" if css else ""}">{"".join(map(_bar, items))}</ul>'


def _bar(bar: Bar) -> str:
    style = f' style="--color: var({bar.color})"' if bar.color else ""
    tag = f' <span class="tag">{escape(bar.tag)}</span>' if bar.tag else ""
    more = f" <span>· {escape(bar.more)}</span>" if bar.more else ""
    below = f'<span class="below">{escape(bar.below)}</span>' if bar.below else ""
    return (
        f'<li{style}><span class="name">{escape(bar.name)}{tag}</span><span class="track" aria-hidden="true">'
        f'<span class="fill" style="width: {100 * min(1.0, max(0.0, bar.share)):.2f}%"></span></span>'
        f'<span class="figure"><b>{escape(bar.figure)}</b>{more}</span>{below}</li>'
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; columns of numbers stand to the right."""
    numeric = [all(not isinstance(row[i], str) or row[i][:1].isdigit() for row in rows) for i in range(len(heads))]
    head = "".join(_cell("th", name, n, ' scope="col"') for name, n in zip(heads, numeric, strict=True))
    body = "".join(
        "<tr>" + "".join(_cell("td", cell_text(value), n) for value, n in zip(row, numeric, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(tag: str, text: str, is_number: bool, more: str = "") -> str:
    return f"<{tag}{more}{' class=n' if is_number else ''}>{escape(text)}</{tag}>"
