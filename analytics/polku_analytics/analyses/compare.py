"""Compare: did it help? Before and after a dated change, or the variants of a test beside each other.

Beside each figure stand its interval, its p-value and a control: the same test where nothing has changed (the two
periods before the change; the same people before the test). A control that finds a difference says that the figure is
not to be trusted. So does a sample ratio that is not as expected.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from msgspec import Struct, structs

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.conversions import ORDERS, Conversion, conversions_sql, parse_conversion
from polku_analytics.analyses.funnel import FunnelQuestion, funnel_counts
from polku_analytics.analyses.scope import NONE, Part, Scope, check_unit, values_sql
from polku_analytics.analyses.significance import NOTHING, Difference, Sums, means, proportions, same_ratio
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.period import Period, days_from
from polku_analytics.result import UNIT_WORDS, AnalysisResult
from polku_schemas.rules import sql_literal

MOST_DAYS: Final = 28
"""So many days on each side of a change, unless others are asked for or the data has fewer; whole weeks if it can."""

MOST_DAYS_ASKED: Final = 36_600
"""A century: more than any data has."""

ALPHA: Final = 0.05
RATIO_ALPHA: Final = 0.001
"""Below this a sample ratio is taken for wrong: it should be right by construction, so chance is given little room."""

CHANGE: Final = "change"
VARIANT: Final = "variant"
CONTROL: Final = "no-change control"

COLUMNS: Final = (
    "comparison",
    "measure",
    "group",
    "units",
    "figure",
    "control_units",
    "control_figure",
    "difference",
    "low",
    "high",
    "lift",
    "p_value",
    "test",
    "verdict",
)


class CompareQuestion(Struct, frozen=True, kw_only=True):
    """What to compare. Either `change` or `variant`."""

    conversion: str = ORDERS
    funnel: FunnelQuestion | None = None
    """Instead of the conversion: from the first to the last step."""
    change: str | None = None
    """The name of a change of the plan, or a day."""
    days: int | None = None
    variant: str | None = None
    """A property, trait or column whose values are the variants."""
    control: str | None = None
    """The value that the others are compared with; the first by name."""
    split: Mapping[str, float] = {}
    """How units were to be divided; equally if empty."""
    scope: Scope = Scope()


def run_compare(journeys: Journeys, question: CompareQuestion) -> AnalysisResult:
    """Compare over the built tables."""
    check_unit(question.scope, ("person", "session", "account"), "a comparison")
    change, variant = question.change, question.variant
    if (change is None) == (variant is None):
        raise AnalyticsError("a comparison is of a change (--change) or of variants (--variant)")
    if question.days is not None and question.days > MOST_DAYS_ASKED:
        raise AnalyticsError(f"a comparison is of at most {MOST_DAYS_ASKED} days on each side")
    if question.scope.previous:
        raise AnalyticsError("a comparison has its period before already, as the no-change control")
    conversion = parse_conversion(journeys, question.conversion)
    what = conversion.label
    if question.funnel is not None:
        what = " → ".join(step.label for step in question.funnel.steps)
        if any(step.when for step in question.funnel.steps):
            journeys.with_events()
    measured = _Measured(conversion, question.funnel)
    days: int | None = None
    if change is not None:
        day = change_day(journeys, change)
        days = question.days or _fitting_days(journeys, day, question.scope.period.time_zone)
        scope = _around(question.scope, day, days)
        asked = f"Did {what} change on {day}?"
        compute = partial(_before_and_after, measured, day, days)
    else:
        scope = question.scope
        asked = f"Does {variant} make a difference to {what}?"
        compute = partial(_variants, measured, question, variant or "")

    return answer(
        journeys,
        scope,
        compute,
        question=asked,
        options={
            "change": question.change,
            "days": days,
            "variant": question.variant,
            "conversion": None if question.funnel else conversion.label,
            "steps_of": what if question.funnel else None,
            "value": None if question.funnel else conversion.value,
            "level": ALPHA,
            "counted": UNIT_WORDS[scope.unit],
        },
        columns=COLUMNS,
        keys=("comparison", "measure", "group"),
        measure="figure",
    )


def change_day(journeys: Journeys, text: str) -> datetime.date:
    """The day of a change of the plan, or the day that was written. UnknownNameError lists near matches."""
    named = {change.name: change.date for change in journeys.plan.changes}
    if text in named:
        return named[text]
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise UnknownNameError("change", text, named) from None


class _Measured(Struct, frozen=True):
    """What is looked at in each group."""

    conversion: Conversion
    funnel: FunnelQuestion | None


class _Group(Struct, frozen=True):
    """What is known of a group of units."""

    units: int
    reached: int
    value: Sums | None
    """What units brought of which it is known; None where none that converted is among them, or currencies differ."""
    currency: str | None
    """That of what they brought; None where it brought nothing, or none is told."""
    unvalued: int
    """Conversions that do not say their value."""
    sql: str


def _measure(measured: _Measured, part: Part) -> _Group:
    if measured.funnel is not None:
        counts, sql = funnel_counts(measured.funnel, part)
        return _Group(counts[0], counts[-1], None, None, 0, sql)
    unit = part.unit_column
    units = part.journeys.rows(f"SELECT COUNT(DISTINCT t.{unit}) FROM {part.rows()} AS t")[0][0]
    valued = "CASE WHEN c.value IS NOT NULL THEN c.currency END"
    known = "CASE WHEN u.unvalued = 0 THEN {} END"
    sql = (
        f"SELECT COUNT(*) AS reached, COUNT({known.format('1')}) AS known, SUM({known.format('u.value')}) AS total, "
        f"SUM({known.format('u.value * u.value')}) AS squares, SUM(u.unvalued) AS unvalued, "
        f"MIN(u.first_currency) AS first_currency, MAX(u.last_currency) AS last_currency FROM ("
        f"SELECT c.{unit} AS unit, SUM(c.value) AS value, COUNT(*) - COUNT(c.value) AS unvalued, "
        f"MIN({valued}) AS first_currency, MAX({valued}) AS last_currency "
        f"FROM {conversions_sql(measured.conversion, part)} AS c GROUP BY c.{unit}) AS u"
    )
    reached, known_units, total, squares, unvalued, first_currency, last_currency = part.journeys.rows(sql)[0]
    if measured.conversion.value is None:
        return _Group(units, reached, None, None, 0, sql)
    value = None
    # Who did not convert brought 0; of whom a conversion says no value nobody knows.
    if first_currency == last_currency and (known_units or not reached):
        value = Sums(units - reached + known_units, total or 0.0, squares or 0.0)
    return _Group(units, reached, value, first_currency, int(unvalued or 0), sql)


def _before_and_after(measured: _Measured, day: datetime.date, days: int, part: Part) -> Finding:
    step = datetime.timedelta(days=days)
    earlier, before, after = (
        _measure(measured, structs.replace(part, period=Period(start, start + step, part.period.time_zone)))
        for start in (day - 2 * step, day - step, day)
    )
    rows = _rows(CHANGE, "after", after, before, 1)
    rows.append(_ratio_row(CHANGE, "after", after.units, before.units, 0.5, None))
    rows += _rows(CONTROL, "before", before, earlier, 1)
    rows.append(_ratio_row(CONTROL, "before", before.units, earlier.units, 0.5, None))
    return Finding(rows=rows, sql=after.sql, coverage=_without_value(measured, (after, before, earlier)))


def _variants(measured: _Measured, question: CompareQuestion, variant: str, part: Part) -> Finding:
    engine = part.journeys.engine
    engine.keep("unit_variants", values_sql(part, variant))
    found = [row[0] for row in engine.rows("SELECT DISTINCT value FROM unit_variants WHERE value IS NOT NULL")]
    names = sorted(found)
    without = engine.rows("SELECT COUNT(*) FROM unit_variants WHERE value IS NULL")[0][0]
    control = question.control if question.control is not None else next(iter(names), NONE)
    if question.control is not None and control not in names:
        raise UnknownNameError("variant", control, names)
    unknown = sorted(set(question.split) - set(names))
    if unknown and names:
        raise UnknownNameError("variant", unknown[0], names)
    if len(names) < 2:
        why = f"a comparison needs two values of {variant}, and there is {f'only {names[0]}' if names else 'none'}"
        covered = {"variants": len(names), "units_without_variant": without}
        return Finding(rows=[], sql="", coverage=covered, why_empty=why)

    def group(name: str, period: Period) -> _Group:
        units = f"SELECT unit FROM unit_variants WHERE value = {sql_literal(name)}"
        return _measure(measured, structs.replace(part, period=period, units=units))

    now = {name: group(name, part.period) for name in names}
    others = [name for name in names if name != control]
    rows: list[list[Any]] = []
    p_value = same_ratio([now[name].units for name in names], [question.split.get(name, 1.0) for name in names])
    for name in others:
        rows += _rows(VARIANT, name, now[name], now[control], len(others))
    for name in others:
        pair = question.split.get(name, 1.0), question.split.get(control, 1.0)
        rows.append(_ratio_row(VARIANT, name, now[name].units, now[control].units, pair[0] / sum(pair), p_value))
    groups = list(now.values())
    if part.period.since is not None:
        earlier = part.period.previous(part.journeys.as_of)
        past = {name: group(name, earlier) for name in names}
        for name in others:
            rows += _rows(CONTROL, name, past[name], past[control], len(others))
        groups += past.values()
    covered = {"variants": len(names), "units_without_variant": without, **_without_value(measured, groups)}
    return Finding(rows=rows, sql=now[control].sql, coverage=covered)


def _without_value(measured: _Measured, groups: Iterable[_Group]) -> dict[str, int]:
    """How many of the conversions compared do not say their value, where they may have one."""
    if measured.funnel is not None or measured.conversion.value is None:
        return {}
    return {"conversions_without_value": sum(group.unvalued for group in groups)}


def _rows(comparison: str, name: str, group: _Group, control: _Group, tests: int) -> list[list[Any]]:
    found = proportions(group.reached, group.units, control.reached, control.units)
    shares = [part.reached / part.units if part.units else None for part in (group, control)]
    rows = [_row(comparison, "conversion", name, group.units, control.units, shares, found, tests)]
    one_currency = group.currency == control.currency or None in (group.currency, control.currency)
    if group.value is not None and control.value is not None and one_currency:
        values = [group.value.mean, control.value.mean]
        compared = means(group.value, control.value)
        units = group.value.units, control.value.units
        rows.append(_row(comparison, "value per unit", name, *units, values, compared, tests))
    return rows


def _row(
    comparison: str,
    measure: str,
    name: str,
    units: int,
    control_units: int,
    figures: Sequence[float | None],
    found: Difference,
    tests: int,
) -> list[Any]:
    figure, control = figures
    lift = figure / control - 1 if figure is not None and control else None
    rounded = [
        None if number is None else round(number, 6) for number in (found.difference, found.low, found.high, lift)
    ]
    return [
        *(comparison, measure, name, units, _round(figure), control_units, _round(control)),
        *rounded,
        _round(found.p_value, 9),
        found.test,
        _verdict(found, tests),
    ]


def _verdict(found: Difference, tests: int) -> str:
    if found is NOTHING or found.p_value is None or found.difference is None:
        return "too little data"
    # With several variants one of them looks better by chance more often; each is held to a stricter level.
    if found.p_value >= ALPHA / tests:
        return "no difference shown"
    return "higher" if found.difference > 0 else "lower"


def _ratio_row(
    comparison: str, name: str, units: int, control_units: int, expected: float, p_value: float | None
) -> list[Any]:
    both = units + control_units
    share = units / both if both else None
    if p_value is None:
        p_value = same_ratio([units, control_units], [expected, 1 - expected])
    verdict = "too little data" if p_value is None else "as expected" if p_value >= RATIO_ALPHA else "not as expected"
    difference = None if share is None else round(share - expected, 6)
    return [
        *(comparison, "sample ratio", name, units, _round(share), control_units, round(expected, 6), difference),
        *(None, None, None, _round(p_value, 9), None if p_value is None else "chi-square", verdict),
    ]


def _round(value: float | None, digits: int = 6) -> float | None:
    return None if value is None else round(value, digits)


def _around(scope: Scope, day: datetime.date, days: int) -> Scope:
    if scope.period.since is not None or scope.period.until is not None:
        raise AnalyticsError("a change says which days are compared: leave out --since and --until")
    step = datetime.timedelta(days=days)
    first, end = days_from(day, -2 * step), days_from(day, step)
    return structs.replace(scope, period=Period(first, end, scope.period.time_zone))


def _fitting_days(journeys: Journeys, day: datetime.date, time_zone: str) -> int:
    """As many days as the data has after the change, and twice before it; whole weeks if there is one."""
    first = journeys.rows("SELECT MIN(event_time) FROM touchpoints")[0][0]
    if first is None or journeys.as_of is None:
        return 1
    begun, last = (Period(time_zone=time_zone).local_day(at) for at in (first, journeys.as_of))
    # The last day is not over.
    days = min(MOST_DAYS, (last - day).days, (day - begun).days // 2)
    if days < 1:
        raise AnalyticsError(
            f"the data, from {begun} to {last}, has not a whole day after {day} and two before it: say --days to insist"
        )
    return days - days % 7 if days >= 7 else days
