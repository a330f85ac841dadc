"""Scope: what a question is asked about, the same for every analysis.

A scope has a unit, a period, segments to look at side by side, a breakdown, and whether the period before is looked at
too. It falls into parts (segment × value of the breakdown); an analysis computes one part at a time, over the rows that
the part gives it, and `answer.py` puts the parts together.

The value of a unit is decided once, so that no unit is in two parts: for a column of `profiles` the person's; for one
of `touchpoints` or a property the first known one of the unit in the period (for unit `event` the event's own).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import numpy as np
from msgspec import Struct, structs

from polku_analytics.analyses.segments import PEOPLE, SegmentFilter, parse_segment, person_kinds, require_people
from polku_analytics.delta_types import quoted
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys, period_sql
from polku_analytics.period import Period
from polku_analytics.result import UNIT_COLUMNS, Unit
from polku_schemas.rules import sql_literal

Arrays = Mapping[str, np.ndarray]
"""Columns of the same length, by name."""

BY_TIME: Final = "unit, microseconds"
"""Unit after unit in the order of time, in a SELECT that names them so; what happened at the same time, anyhow."""

OTHER: Final = "(other)"
"""The values of a breakdown that are not among the `top` with most units."""
NONE: Final = "(none)"
"""Units for which the breakdown's value is not known."""

TOUCHPOINT_BREAKDOWNS: Final = (
    "channel",
    "marketing_channel",
    "device",
    "os",
    "browser",
    "country",
    "utm_campaign",
    "page_path",
    "touchpoint",
    "event_name",
    "source",
)
"""Columns of `touchpoints` a breakdown may name, beside the properties of the plan and the columns of `profiles`."""

_VALUES: Final = "unit_values"
_VALUES_BEFORE: Final = "unit_values_before"


class Scope(Struct, frozen=True, kw_only=True):
    """Whom and when a question is about."""

    unit: Unit = "person"
    period: Period = Period()
    segments: tuple[str, ...] = ()
    """Names or conditions (`segments.py`); each is answered for itself."""
    breakdown: str | None = None
    top: int = 10
    """So many values of the breakdown by name, the rest as `(other)`."""
    previous: bool = False
    """Look at the period before, too."""


class Part(Struct, frozen=True, kw_only=True):
    """A part of a scope, and the rows that belong to it."""

    journeys: Journeys
    unit: Unit
    period: Period
    segment: SegmentFilter | None = None
    value: str | None = None
    """Of the breakdown; None without one."""
    values: str = _VALUES
    """The table of the value of each unit, while this part is looked at."""
    units: str | None = None
    """Only these units: SQL that selects them."""
    asked: Period | None = None
    """Of a part in the period before: the period that it is compared with."""

    def before(self) -> Part:
        """The same in the period before, in which units have values of their own."""
        earlier = self.period.previous(self.journeys.as_of)
        return structs.replace(self, period=earlier, values=_VALUES_BEFORE, asked=self.period)

    @property
    def unit_column(self) -> str:
        """The column that tells units apart, in `touchpoints`, and in other tables that have it."""
        return UNIT_COLUMNS[self.unit]

    def order(self, alias: str) -> str:
        """The order in which a unit's touchpoints happened, unit after unit."""
        within = f"{alias}.touchpoint_number"
        if self.unit == "account":
            within = f"{alias}.event_time, {alias}.event_id, {alias}.source"
        return f"{alias}.{self.unit_column}, {within}"

    @property
    def lies_in_order(self) -> bool:
        """Whether the part's touchpoints come in the order of each unit, or in a few runs of which each does."""
        # A condition on units is a join, and a join may turn the order over.
        plain = self.unit in ("person", "session") and self.members("t") == "TRUE"
        return plain and self.journeys.engine.runs_in_order("touchpoints") > 0

    @property
    def number(self) -> str:
        """A column for a SELECT from `touchpoints AS t` that `ordered` is to put in the order of their numbers.

        None where they lie so already: it would be read for nothing.
        """
        runs = self.journeys.engine.runs_in_order("touchpoints")
        return ", t.touchpoint_number AS number" if self.lies_in_order and runs > 1 else ""

    def ordered(self, sql: str, order: str, *, joins: bool = False) -> Arrays:
        """The columns of a SELECT from `touchpoints`, among them `unit` and `microseconds`, by unit and in this order,
        which is `BY_TIME` or that of `order`; for the latter it has the column `number` where there is one.

        `joins`: its conditions look into other tables.
        Rows that already lie so are read as they are: to sort all rows costs more than to count them.
        """
        engine = self.journeys.engine
        if self.lies_in_order and not joins:
            arrays = _merged(engine.columns(sql))
            within = arrays.get("number", arrays["microseconds"])
            wrong = _out_of_order(arrays["unit"], within)
            if len(wrong) == 0:
                return arrays
            if order == BY_TIME or "number" in arrays:  # an event that came late, among what was built before
                return _sorted_within(arrays, within, arrays["unit"][wrong])
        return engine.columns(f"{sql} ORDER BY {order}")

    def condition(self, alias: str, time: str = "event_time") -> str:
        """The condition that a row is in the part: a row of a table with `person_key`, the unit's column and a time."""
        terms = [period_sql(self.period, alias, time, self.journeys.engine.dialect)]
        return " AND ".join(term for term in [*terms, self.members(alias)] if term != "TRUE") or "TRUE"

    def members(self, alias: str) -> str:
        """The same without the period: whose row it is."""
        terms = []
        if self.segment is not None:
            terms.append(f"{alias}.person_key IN ({self.segment.keys_sql})")
        if self.value is not None:
            key, columns = f"{alias}.{self.unit_column}", _key_columns(self)
            if self.unit == "event":
                key = f"({key}, {alias}.source)"
            units = f"SELECT {columns} FROM {self.values} WHERE value = {sql_literal(self.value)}"
            terms.append(f"{key} IN ({units})")
        if self.units is not None:
            terms.append(f"{alias}.{self.unit_column} IN ({self.units})")
        if self.unit == "account":
            terms.append(f"{alias}.account_id IS NOT NULL")
        return " AND ".join(terms) or "TRUE"

    def rows(self, table: str = "touchpoints", time: str = "event_time") -> str:
        """The rows of a table in the part, as something to put after FROM; give it an alias."""
        return f"(SELECT x.* FROM {table} AS x WHERE {self.condition('x', time)})"


def looks_elsewhere(condition: str) -> bool:
    """Whether a condition asks other tables; it may be thought to where a text has the word."""
    return "SELECT" in condition


def _merged(arrays: Arrays) -> Arrays:
    """Rows in the order of their units: runs are merged, and so are sessions of one person that run side by side."""
    units = arrays["unit"]
    if not (units[1:] < units[:-1]).any():
        return arrays
    places = np.argsort(units, kind="stable")  # of what lies in runs this is a merge
    return {name: values[places] for name, values in arrays.items()}


def _out_of_order(units: np.ndarray, within: np.ndarray) -> np.ndarray:
    """The rows that come before the one in front of them, in the same unit."""
    return np.flatnonzero((within[1:] < within[:-1]) & (units[1:] == units[:-1])) + 1


def _sorted_within(arrays: Arrays, within: np.ndarray, units: np.ndarray) -> Arrays:
    """The same with the rows of these units in order, which are few."""
    rows = np.flatnonzero(np.isin(arrays["unit"], np.unique(units)))
    placed = rows[np.lexsort((within[rows], arrays["unit"][rows]))]
    found = {}
    for name, values in arrays.items():
        found[name] = values.copy()
        found[name][rows] = values[placed]
    return found


def parts(journeys: Journeys, scope: Scope, asked_of: Callable[[Part], str] | None = None) -> Iterator[Part]:
    """The parts of a scope: segments as they were given, within each the values of the breakdown, most units first.

    `asked_of`: rows (to put after FROM) of all units that an analysis counts, where some may have no touchpoint in the
    period: they are in a part, too.
    """
    segments: list[SegmentFilter | None] = [None]
    if scope.segments:
        segments = [parse_segment(journeys, text) for text in scope.segments]
    for segment in segments:
        if segment is not None:
            require_people(journeys, segment)
        whole = Part(journeys=journeys, unit=scope.unit, period=scope.period, segment=segment)
        if scope.breakdown is None:
            yield whole
        else:
            for value in _decide(whole, scope.breakdown, scope, asked_of):
                yield structs.replace(whole, value=value)


def _decide(whole: Part, name: str, scope: Scope, asked_of: Callable[[Part], str] | None) -> list[str]:
    """Decide the value of each unit; the values in the order of their size, `(other)` and `(none)` last.

    Values that only the period before has follow those of now, and have their name while there is room for it.
    """
    engine = whole.journeys.engine
    looks = [whole, whole.before()] if scope.previous else [whole]
    named: list[str] = []
    found: set[str | None] = set()
    for part in looks:
        engine.keep(f"{part.values}_all", _all_values_sql(part, name, asked_of))
        counts = part.journeys.rows(f"SELECT value, SUM(is_here) AS units FROM {part.values}_all GROUP BY value")
        found.update(value for value, _ in counts)
        ranked = [value for value, _ in sorted(counts, key=lambda row: (-row[1], str(row[0])))]
        # What the data call `(other)` is in that group, and none of the values beside it.
        fresh = [value for value in ranked if value not in (None, OTHER, *named)]
        named += fresh[: scope.top - len(named)]
    listed = ", ".join(sql_literal(value) for value in named) or "NULL"
    for part in looks:
        engine.keep(
            part.values,
            f"SELECT {_key_columns(part)}, CASE WHEN value IN ({listed}) THEN value "
            f"WHEN value IS NULL THEN {sql_literal(NONE)} "
            f"ELSE {sql_literal(OTHER)} END AS value FROM {part.values}_all",
        )
    rest = [OTHER] if found - {*named, None} else []
    return [*named, *rest, *([NONE] if None in found else [])]


def _all_values_sql(part: Part, name: str, asked_of: Callable[[Part], str] | None) -> str:
    """`values_sql` with `is_here`, 1 for units with a touchpoint in the period.

    Of the others that are asked about what a person is stays known, and what they did in the period is not.
    """
    here = values_sql(part, name)
    if asked_of is None:
        return f"SELECT {_key_columns(part)}, value, 1 AS is_here FROM ({here}) AS h"
    always = name not in TOUCHPOINT_BREAKDOWNS and name in person_kinds(part.journeys)
    known = values_sql(structs.replace(part, period=Period()), name) if always else here
    return (
        f"SELECT a.unit AS unit, k.value AS value, CASE WHEN h.unit IS NULL THEN 0 ELSE 1 END AS is_here FROM ("
        f"SELECT DISTINCT unit FROM (SELECT r.{part.unit_column} AS unit FROM {asked_of(part)} AS r "
        f"UNION ALL SELECT unit FROM ({here}) AS o) AS b) AS a "
        f"LEFT JOIN ({here}) AS h ON h.unit = a.unit LEFT JOIN ({known}) AS k ON k.unit = a.unit"
    )


def _key_columns(part: Part) -> str:
    """What tells units apart in a table of their values: two sources may give an event the same id."""
    return "unit, source" if part.unit == "event" else "unit"


def values_sql(whole: Part, name: str) -> str:
    """The value of each unit of a part: `unit` (of an event `source`, too) and `value`.

    NULL where none is known, and so for an empty one or `(none)`. UnknownNameError for a name that is no breakdown.
    """
    journeys, unit, keys = whole.journeys, whole.unit_column, _key_columns(whole)
    source_of = ", t.source" if whole.unit == "event" else ""

    def known(column: str) -> str:
        return f"NULLIF(NULLIF({journeys.engine.dialect.text(column)}, ''), {sql_literal(NONE)})"

    people = person_kinds(journeys)
    if name in TOUCHPOINT_BREAKDOWNS:
        source, column = whole.rows(), f"t.{quoted(name)}"
    elif name in people:
        found = f"SELECT DISTINCT t.{unit} AS unit, t.person_key{source_of} FROM {whole.rows()} AS t"
        # A session or event has one person; an account takes the value of its first person.
        return (
            f"SELECT {keys}, MIN({known(f'p.{quoted(name)}')}) AS value FROM ({found}) AS u "
            f"JOIN {PEOPLE} AS p ON p.person_key = u.person_key GROUP BY {keys}"
        )
    elif name in journeys.plan.properties:
        journeys.with_events()
        source = (
            f"(SELECT r.*, e.{quoted(name)} AS broken_by FROM {whole.rows()} AS r "
            f"LEFT JOIN events AS e ON e.source = r.source AND e.event_id = r.event_id)"
        )
        column = "t.broken_by"
    else:
        raise UnknownNameError("breakdown", name, {*TOUCHPOINT_BREAKDOWNS, *people, *journeys.plan.properties})
    return (
        f"SELECT {keys}, value FROM (SELECT t.{unit} AS unit{source_of}, {known(column)} AS value, ROW_NUMBER() OVER ("
        f"PARTITION BY t.{unit}{source_of} ORDER BY CASE WHEN {known(column)} IS NULL THEN 1 ELSE 0 END, t.event_time, "
        f"t.event_id, t.source) AS place FROM {source} AS t) AS v WHERE place = 1"
    )


def check_unit(scope: Scope, allowed: tuple[Unit, ...], what: str) -> None:
    """AnalyticsError if an analysis cannot count this unit."""
    if scope.unit not in allowed:
        raise AnalyticsError(f"{what} counts {' or '.join(allowed)}, not {scope.unit}")
