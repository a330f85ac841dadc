"""How the report writes figures for people: names, shares, times and dates."""

from __future__ import annotations

import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from polku_analytics.result import AnalysisResult

_ABBREVIATIONS: Final = {"ai": "AI", "sms": "SMS", "id": "ID", "faq": "FAQ", "cta": "CTA"}


def title(name: str) -> str:
    """A name of the plan as a label: `product_added` is `Product added`."""
    words = [_ABBREVIATIONS.get(word, word) for word in name.replace("_", " ").split(" ")]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def cell_text(value: Any) -> str:
    """A value of a table."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return percent(value)
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def short_number(value: float) -> str:
    """A number for the head of the page."""
    if value >= 1_000_000:
        return f"{value / 1_000_000:,.2f} M"
    return f"{value:,.0f}"


def percent(value: float | None) -> str:
    """A share between 0 and 1. Nearly none and nearly all are not rounded to none and all."""
    if value is None:
        return "–"
    if value == 0:
        return "0 %"
    if value < 0.0005:
        return "<0.1 %"
    if 0.99 < value < 1:
        return ">99 %"
    return f"{100 * value:.1f} %" if value < 0.1 else f"{100 * value:.0f} %"


def duration(seconds: float | None) -> str:
    """A length of time in the unit one would say it in."""
    if seconds is None:
        return "–"
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"


def window_words(result: AnalysisResult) -> str:
    """The window in words: `7d` is 7 days."""
    text = result.window or ""
    word = {"d": "day", "h": "hour", "m": "minute", "s": "second"}.get(text[-1:], "")
    return f"{text[:-1]} {word}" + ("" if text[:-1] == "1" else "s")


def shortened(text: str) -> str:
    """A label that fits beside a node."""
    return text if len(text) <= 18 else text[:17] + "…"


def day(value: datetime.date | None, zone: str = "UTC") -> str:
    """A date in words; that of a point in time in the time zone."""
    if isinstance(value, datetime.datetime):
        value = value.astimezone(ZoneInfo(zone))
    return "–" if value is None else f"{value.day} {value:%B %Y}"


def moment(value: datetime.datetime | None, zone: str) -> str:
    """A point in time, in the time zone."""
    if value is None:
        return "no events"
    return f"{day(value, zone)}, {value.astimezone(ZoneInfo(zone)):%H:%M} ({zone})"


def bucket_label(start: datetime.date, bucket: str) -> str:
    """The name of a day, of a week by its Monday, or of a month."""
    if bucket == "month":
        return f"{start:%b %Y}"
    return f"{start.day} {start:%b %Y}"


def amount(value: float, currency: str | None) -> str:
    """An amount of money, without its cents where it is large."""
    return f"{value:,.{0 if abs(value) >= 1000 else 2}f} {currency or ''}".strip()


def amount_or_unknown(value: float | None, currency: str | None) -> str:
    """The same of what may not be known."""
    return "not known" if value is None else amount(value, currency)


def money(value: float | None) -> str | None:
    """An amount as a cell of a table, whose head names the currency; None where it is not known."""
    return None if value is None else f"{value:,.2f}"


def change(value: float) -> str:
    """How much more or less, as a share of what was."""
    rounded = round(100 * value)
    return f"{'+' if rounded > 0 else '−' if rounded < 0 else '±'}{abs(rounded):,} %"
