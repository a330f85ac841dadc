"""Attribution: which touches before a conversion get how much of its credit.

A touch is a visit (a session whose marketing channel is known) or, by touchpoint and channel, a single touchpoint. Of
each conversion those count that lie within the lookback, both ends included. Each model but participation hands out
every conversion once, so the credits add up to the total exactly: they are rounded together, not each for itself.
docs/definitions.md has the models with an example.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

import numpy as np
from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.conversions import ORDERS, Conversion, conversions_sql, parse_conversion
from polku_analytics.analyses.scope import NONE, Part, Scope, check_unit
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.result import UNIT_COLUMNS, AnalysisResult, window_text
from polku_schemas.rules import sql_literal

Attribution = Literal[
    "first", "last", "last_non_direct", "linear", "position", "j", "inverse_j", "time_decay", "participation"
]
"""How the credit of a conversion is handed out."""
MODELS: Final[tuple[Attribution, ...]] = get_args(Attribution)

By = Literal["marketing_channel", "campaign", "touchpoint", "channel"]
"""What gets the credit; the first two look at visits, the others at single touchpoints."""
VISITS: Final = ("marketing_channel", "campaign")

UNATTRIBUTED: Final = "(unattributed)"
"""Conversions without any touch within the lookback."""
SPENT_ON_NONE: Final = {
    "campaign": "(spend without campaign)",
    "marketing_channel": "(spend without marketing channel)",
}
"""What was spent on nothing that is named; it is not what visits cost that came without anything named."""
DIRECT: Final = "direct"
"""The marketing channel of visits that nobody sent."""

DEFAULT_LOOKBACK_SECONDS: Final = 30 * 86400
DEFAULT_HALF_LIFE_SECONDS: Final = 7 * 86400

COLUMNS: Final = ("model", "item", "conversions", "share", "value", "currency", "spend", "return_on_spend")

_CREDIT_DIGITS: Final = 6
_MONEY_DIGITS: Final = 2

_ENDS: Final[dict[str, tuple[float, float, float]]] = {
    # First touch, last touch; what is left is shared by those between. The third number: the first of two touches.
    "position": (0.4, 0.4, 0.5),
    "j": (0.2, 0.6, 0.25),
    "inverse_j": (0.6, 0.2, 0.75),
}


class AttributionQuestion(Struct, frozen=True, kw_only=True):
    """Conversions to attribute."""

    models: tuple[Attribution, ...] = ("last_non_direct",)
    by: By = "marketing_channel"
    conversion: str = ORDERS
    lookback_seconds: int = DEFAULT_LOOKBACK_SECONDS
    half_life_seconds: int = DEFAULT_HALF_LIFE_SECONDS
    scope: Scope = Scope()


def attribution_models(names: Sequence[str]) -> tuple[Attribution, ...]:
    """Models as people name them, `all` among them. UnknownNameError lists near matches."""
    found: list[Attribution] = []
    for name in names:
        plain = name.strip().lower().replace("-", "_")
        if plain == "all":
            found.extend(MODELS)
        elif plain in MODELS:
            found.append(plain)
        else:
            raise UnknownNameError("model", name, {*MODELS, "all"})
    return tuple(dict.fromkeys(found))


def run_attribution(journeys: Journeys, question: AttributionQuestion) -> AnalysisResult:
    """Compute attribution over the built tables."""
    check_unit(question.scope, ("person", "account"), "attribution")
    if "last_non_direct" in question.models and question.by not in VISITS:
        if question.models != MODELS:
            raise AnalyticsError("last_non_direct looks at visits: ask by marketing_channel or campaign")
        question = _without_direct(question)
    conversion = parse_conversion(journeys, question.conversion)
    has_spend = question.by in VISITS and journeys.with_loaded("spend")
    lookback = window_text(question.lookback_seconds)
    return answer(
        journeys,
        question.scope,
        lambda part: _find(question, conversion, has_spend, part),
        question=f"Which {question.by} brings {conversion.label} within {lookback}?",
        window=lookback,
        options={
            "models": list(question.models),
            "by": question.by,
            "conversion": conversion.label,
            "value": conversion.value,
            "touches": "visits" if question.by in VISITS else "touchpoints",
            "half_life": window_text(question.half_life_seconds) if "time_decay" in question.models else None,
            "participation": "adds up to more than there is" if "participation" in question.models else None,
            "spend": None if has_spend else "not known" if question.by in VISITS else None,
        },
        columns=COLUMNS,
        keys=("model", "item", "currency"),
        measure="conversions",
    )


def _without_direct(question: AttributionQuestion) -> AttributionQuestion:
    return AttributionQuestion(
        models=tuple(model for model in question.models if model != "last_non_direct"),
        by=question.by,
        conversion=question.conversion,
        lookback_seconds=question.lookback_seconds,
        half_life_seconds=question.half_life_seconds,
        scope=question.scope,
    )


def _find(question: AttributionQuestion, conversion: Conversion, has_spend: bool, part: Part) -> Finding:
    engine = part.journeys.engine
    converted = engine.arrow(converted_sql(conversion, part))
    touches_sql = _touches(question.by, conversion, part)
    names = sorted(row[0] for row in engine.rows(f"SELECT DISTINCT item FROM ({touches_sql}) AS x"))
    touches = engine.columns(
        f"SELECT unit, microseconds, {engine.dialect.code('item', names)} AS item, direct "
        f"FROM ({touches_sql}) AS x ORDER BY unit, microseconds, place, source, item"
    )
    items = touches["item"].astype(np.int64)
    seen = match_touches(
        touches["unit"],
        touches["microseconds"],
        _array(converted["unit"]),
        _array(converted["microseconds"]),
        question.lookback_seconds * 1_000_000,
    )
    currencies = [None if value is None else str(value) for value in converted["currency"].to_pylist()]
    values = [None if value is None else float(value) for value in converted["value"].to_pylist()]
    spent = spend_of(question.by, part) if has_spend and part.segment is None and part.value is None else {}
    spent = {(SPENT_ON_NONE[question.by] if item == NONE else item, money): n for (item, money), n in spent.items()}
    has_value = conversion.value is not None
    rows: list[list[Any]] = []
    for model in question.models:
        weights = weigh(model, seen, items, touches["direct"], question.half_life_seconds * 1_000_000)
        credited = _credits(weights, seen, items, names, currencies, values)
        rows += _rows(model, credited, currencies, values, has_value, spent)
    return Finding(
        rows=rows,
        sql=touches_sql,
        coverage={
            "conversions": len(currencies),
            "unattributed_conversions": int(np.count_nonzero(seen.last == seen.first)),
            **({"conversions_without_value": values.count(None)} if has_value else {}),
        },
        why_empty=f"there are no conversions: no {conversion.label}",
    )


def converted_sql(conversion: Conversion, part: Part) -> str:
    """The conversions of a part: unit, time, value and currency, ordered by unit and time."""
    say = part.journeys.engine.dialect
    return (
        f"SELECT c.{part.unit_column} AS unit, {say.microseconds('c.event_time')} AS microseconds, c.value, c.currency "
        f"FROM {conversions_sql(conversion, part)} AS c ORDER BY unit, microseconds, c.event_id, c.source"
    )


def _touches(by: By, conversion: Conversion, part: Part) -> str:
    """All touches of the part's units, also before the period: unit, microseconds, place, source, item, direct.

    `place` and `source` tell the order of touches at the same time: that of the events.
    """
    say, unit = part.journeys.engine.dialect, UNIT_COLUMNS[part.unit]
    of_account = part.unit == "account"  # whose people count their touchpoints and sessions each for themselves
    if by in VISITS:
        item = "s.marketing_channel"
        if by == "campaign":
            item = f"COALESCE(s.utm_campaign, {sql_literal(NONE)})"
        place, first = "s.session_key AS place, '' AS source", ""
        if of_account:
            place = "f.event_id AS place, f.source AS source"
            first = (
                "JOIN touchpoints AS f ON f.person_key = s.person_key AND f.session_key = s.session_key "
                "AND f.touchpoint_number = s.session_key - s.person_key * 16777216 "
            )
        return (
            f"SELECT s.{unit} AS unit, {say.microseconds('s.started_at')} AS microseconds, {place}, "
            f"{item} AS item, s.marketing_channel = {sql_literal(DIRECT)} AS direct "
            f"FROM sessions AS s {first}WHERE s.marketing_channel IS NOT NULL AND {part.members('s')}"
        )
    place = "t.event_id" if of_account else "t.touchpoint_number"
    return (
        f"SELECT t.{unit} AS unit, {say.microseconds('t.event_time')} AS microseconds, "
        f"{place} AS place, t.source AS source, t.{by} AS item, FALSE AS direct "
        f"FROM touchpoints AS t WHERE t.{by} IS NOT NULL AND NOT COALESCE({conversion.sql}, FALSE) "
        f"AND {part.members('t')}"
    )


class Matched(Struct, frozen=True):
    """Each conversion with its touches: rows `first` up to `last` of the touches; and all of these pairs, flat."""

    first: np.ndarray
    last: np.ndarray
    conversion: np.ndarray
    """Of each pair: the conversion's number."""
    touch: np.ndarray
    place: np.ndarray
    """From 0 for the first touch of its conversion."""
    age: np.ndarray
    """How long before the conversion, in microseconds."""

    @property
    def length(self) -> np.ndarray:
        """Of each pair: how many touches its conversion has."""
        return np.asarray((self.last - self.first)[self.conversion])


def match_touches(
    touch_units: np.ndarray,
    touch_times: np.ndarray,
    units: np.ndarray,
    times: np.ndarray,
    lookback_microseconds: int,
) -> Matched:
    """The touches of each conversion; touches are ordered by unit and time.

    One sort finds both ends: before each conversion's lookback begins, and at the conversion, so many touches are past.
    """
    count, touched = len(units), len(touch_units)
    codes = np.unique(np.concatenate([touch_units, units]), return_inverse=True)[1] if count + touched else np.empty(0)
    unit = np.concatenate([codes[touched:], codes[:touched], codes[touched:]])
    time = np.concatenate([times - lookback_microseconds, touch_times, times])
    kind = np.repeat([0, 1, 2], [count, touched, count])
    order = np.lexsort((kind, time, unit))
    passed = np.empty(len(order), dtype=np.int64)
    passed[order] = np.cumsum(kind[order] == 1)
    first, last = passed[:count], passed[count + touched :]
    length = last - first
    conversion = np.repeat(np.arange(count), length)
    place = np.arange(len(conversion)) - np.repeat(np.cumsum(length) - length, length)
    # The touches lie as they came: by unit and time, which is the order the sort keeps.
    touch = first[conversion] + place
    return Matched(first, last, conversion, touch, place, times[conversion] - touch_times[touch])


def weigh(
    model: Attribution, seen: Matched, items: np.ndarray, direct: np.ndarray, half_life_microseconds: int
) -> np.ndarray:
    """Of each pair the share of its conversion that its touch gets."""
    place, length = seen.place, seen.length
    from_end = length - 1 - place
    match model:
        case "first":
            return np.asarray((place == 0).astype(float))
        case "last":
            return np.asarray((from_end == 0).astype(float))
        case "last_non_direct":
            # Visits that somebody sent rank above all direct ones; the highest rank of a conversion gets it.
            rank = np.where(direct[seen.touch].astype(bool), place, place + length)
            return np.asarray((rank == _by_conversion(np.maximum, rank, seen)).astype(float))
        case "linear":
            return np.asarray(1.0 / length)
        case "position" | "j" | "inverse_j":
            at_first, at_last, first_of_two = _ENDS[model]
            between = (1.0 - at_first - at_last) / np.maximum(length - 2, 1)
            weights = np.where(place == 0, at_first, np.where(from_end == 0, at_last, between))
            weights = np.where(length == 2, np.where(place == 0, first_of_two, 1.0 - first_of_two), weights)
            return np.where(length == 1, 1.0, weights)
        case "time_decay":
            # By the age of the last touch, so that old touches do not all fade to nothing.
            age = seen.age - _by_conversion(np.minimum, seen.age, seen)
            faded = np.exp2(-age / half_life_microseconds)
            return np.asarray(faded / _by_conversion(np.add, faded, seen))
        case "participation":
            pair = seen.conversion * (int(items.max(initial=0)) + 1) + items[seen.touch]
            weights = np.zeros(len(pair))
            weights[np.unique(pair, return_index=True)[1]] = 1.0
            return weights


def _by_conversion(reduce: np.ufunc, values: np.ndarray, seen: Matched) -> np.ndarray:
    """For each pair, what the values of its conversion come to."""
    if len(values) == 0:
        return values
    begins = np.flatnonzero(seen.place == 0)
    return np.repeat(reduce.reduceat(values, begins), (seen.last - seen.first)[seen.last > seen.first])


class _Credit(NamedTuple):
    """What an item is given: conversions, value, and how many of the conversions say one."""

    conversions: float
    value: float
    valued: float


_Credits = dict[tuple[str, str | None], _Credit]
"""By item and currency."""


def _credits(
    weights: np.ndarray,
    seen: Matched,
    items: np.ndarray,
    names: Sequence[str],
    currencies: Sequence[str | None],
    values: Sequence[float | None],
) -> _Credits:
    known: list[str | None] = [*sorted({name for name in currencies if name is not None})]
    known += [None] if None in currencies else []
    currency = np.array([known.index(name) for name in currencies], dtype=np.int64)
    worth, says = np.array([value or 0.0 for value in values]), np.array([value is not None for value in values])
    cells = items[seen.touch] * len(known) + currency[seen.conversion]
    sums = [
        np.bincount(cells, part, len(names) * len(known))
        for part in (weights, weights * worth[seen.conversion], weights * says[seen.conversion])
    ]
    credited: _Credits = {
        (names[cell // len(known)], known[cell % len(known)]): _Credit(*(float(part[cell]) for part in sums))
        for cell in map(int, np.flatnonzero(sums[0]))
    }
    for place in map(int, np.flatnonzero(seen.last == seen.first)):
        key = (UNATTRIBUTED, currencies[place])
        before, value = credited.get(key, _Credit(0.0, 0.0, 0.0)), values[place]
        credited[key] = _Credit(
            before.conversions + 1.0, before.value + (value or 0.0), before.valued + (value is not None)
        )
    return credited


def _rows(
    model: Attribution,
    credited: _Credits,
    currencies: Sequence[str | None],
    values: Sequence[float | None],
    has_value: bool,
    spent: dict[tuple[str, str | None], float],
) -> list[list[Any]]:
    sums: dict[str | None, tuple[float, float]] = {}
    for currency, value in zip(currencies, values, strict=True):
        conversions, total = sums.get(currency, (0.0, 0.0))
        sums[currency] = (conversions + 1.0, total + (value or 0.0))
    rows = []
    for currency, (conversions, total) in sums.items():
        keys = [key for key in credited if key[1] == currency]
        fair = _rounded_each if model == "participation" else _rounded_together
        counted = fair([credited[key].conversions for key in keys], conversions, _CREDIT_DIGITS)
        worth = fair([credited[key].value for key in keys], total, _MONEY_DIGITS)
        for key, credit, value in zip(keys, counted, worth, strict=True):
            cost, known = spent.get(key), has_value and credited[key].valued > 0
            rows.append(
                [
                    model,
                    key[0],
                    credit,
                    round(credit / len(currencies), 6),
                    value if known else None,
                    currency,
                    cost,
                    round(value / cost, 6) if cost and known else None,
                ]
            )
    # What cost and brought nothing is a finding, too. Of conversions that are worth nothing it brought nothing known;
    # likewise what was spent on nothing that is named.
    there, unnamed = {(row[1], row[5]) for row in rows}, SPENT_ON_NONE.values()
    for (item, currency), cost in spent.items():
        if (item, currency) not in there:
            nothing = 0.0 if has_value and item not in unnamed else None
            rows.append([model, item, 0.0, 0.0, nothing, currency, cost, nothing if cost else None])
    return sorted(rows, key=lambda row: (row[1] in unnamed, row[1] == UNATTRIBUTED, -row[2], row[1], row[5] or ""))


def _rounded_each(parts: Sequence[float], total: float, digits: int) -> list[float]:
    return [round(part, digits) for part in parts]


def _rounded_together(parts: Sequence[float], total: float, digits: int) -> list[float]:
    """The parts rounded so that they add up to the rounded total: what is left goes where rounding took the most."""
    scale = 10**digits
    exact = [part * scale for part in parts]
    whole = [int(np.floor(part)) for part in exact]
    left = round(total * scale) - sum(whole)
    order = sorted(range(len(parts)), key=lambda place: (whole[place] - exact[place], place))
    step = 1 if left > 0 else -1
    if left < 0:
        order.reverse()
    for turn in range(abs(left) if parts else 0):
        whole[order[turn % len(order)]] += step
    return [number / scale for number in whole]


def spend_of(by: By, part: Part) -> dict[tuple[str, str | None], float]:
    """What was spent in the part's days, by item and currency."""
    return {key: amount for key, (amount, _) in spend_and_rows_of(by, part).items()}


def spend_and_rows_of(by: By, part: Part) -> dict[tuple[str, str | None], tuple[float, int]]:
    """The same with the number of rows of `spend` behind it, which can be compared over currencies."""
    column = "marketing_channel" if by == "marketing_channel" else "utm_campaign"
    days = [f"s.date >= DATE '{part.period.since}'"] if part.period.since else []
    days += [f"s.date < DATE '{part.period.until}'"] if part.period.until else []
    rows = part.journeys.rows(
        f"SELECT COALESCE(s.{column}, {sql_literal(NONE)}) AS item, s.currency, SUM(s.amount) AS amount, COUNT(*) AS n "
        f"FROM spend AS s WHERE {' AND '.join(['s.amount IS NOT NULL', *days])} "
        f"GROUP BY s.{column}, s.currency ORDER BY item, s.currency"
    )
    return {(str(item), currency): (round(float(amount), _MONEY_DIGITS), n) for item, currency, amount, n in rows}


def _array(column: Any) -> np.ndarray:
    return np.asarray(column.to_numpy())
