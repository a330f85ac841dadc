"""Sequences: the touchpoints of each unit in their order, as numbers; what graphs and routes are counted from."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from msgspec import Struct

from polku_analytics.analyses.scope import Part, looks_elsewhere
from polku_analytics.analyses.steps import touchpoint_names
from polku_analytics.engines.engine import unit_numbers
from polku_analytics.journeys import Journeys

By = Literal["touchpoint", "event"]
"""What an item of a sequence is."""

NO_ITEMS: Final = "there is no touchpoint of those that are asked about"


class Sequences(Struct, frozen=True):
    """Rows ordered by unit and time; units count from 0."""

    unit: np.ndarray
    person: np.ndarray
    times: np.ndarray
    item: np.ndarray
    marked: np.ndarray
    """Rows for which the condition held that was asked for."""

    def only(self, kept: np.ndarray) -> Sequences:
        """Some of the rows."""
        return Sequences(self.unit[kept], self.person[kept], self.times[kept], self.item[kept], self.marked[kept])

    def without_repeats(self, piece: np.ndarray) -> np.ndarray:
        """Rows that are not of the same item as the one before in the same piece: runs at the time of their first."""
        kept = np.ones(len(self.item), dtype=bool)
        kept[1:] = (piece[1:] != piece[:-1]) | (self.item[1:] != self.item[:-1])
        return kept


def sequences_sql(part: Part, by: By, names: Sequence[str], mark: str = "FALSE", staged: bool = False) -> str:
    """All touchpoints of the part, each item as its place in `names`; they are read in the order of their unit."""
    say = part.journeys.engine.dialect
    column = "t.touchpoint" if by == "touchpoint" else "t.event_name"
    more = f" AND (t.stage IS NOT NULL OR {mark})" if staged else ""
    return (
        f"SELECT t.{part.unit_column} AS unit, t.person_key, {say.microseconds('t.event_time')} AS microseconds, "
        f"{say.code(column, names)} AS item, CASE WHEN {mark} THEN 1 ELSE 0 END AS marked"
        f"{part.number} FROM touchpoints AS t WHERE {part.condition('t')}{more}"
    )


def read_sequences(part: Part, sql: str) -> Sequences:
    """The rows of `sequences_sql` in their order."""
    arrays = part.ordered(sql, part.order("t"), joins=looks_elsewhere(sql.removeprefix("SELECT")))
    numbers = unit_numbers(arrays["unit"])
    unit = np.cumsum(np.append(True, numbers[1:] != numbers[:-1])[: len(numbers)]) - 1
    return Sequences(
        unit, arrays["person_key"], arrays["microseconds"], arrays["item"].astype(np.int64), arrays["marked"] == 1
    )


def item_names(journeys: Journeys, by: By) -> list[str]:
    """All items that occur."""
    if by == "touchpoint":
        return touchpoint_names(journeys) or ["(none)"]
    found = journeys.rows("SELECT DISTINCT event_name FROM touchpoints")
    return sorted(row[0] for row in found if row[0] is not None) or ["(none)"]


def distinct_per_group(group: np.ndarray, value: np.ndarray, groups: int) -> np.ndarray:
    """How many different values each group has."""
    order = _by_group(group, groups)
    grouped, values = group[order], value[order]
    if ((values[1:] < values[:-1]) & (grouped[1:] == grouped[:-1])).any():  # units and persons come in their order
        order = np.lexsort((value, group))
        grouped, values = group[order], value[order]
    first = np.ones(len(grouped), dtype=bool)
    first[1:] = (grouped[1:] != grouped[:-1]) | (values[1:] != values[:-1])
    return np.bincount(grouped[first], minlength=groups)


def medians(group: np.ndarray, value: np.ndarray, groups: int) -> list[float | None]:
    """The median of each group in seconds, of microseconds; None for an empty one."""
    value = value[_by_group(group, groups)]
    ends = np.append(0, np.cumsum(np.bincount(group, minlength=groups)))
    found: list[float | None] = []
    for low, high in itertools.pairwise(ends.tolist()):
        if low == high:
            found.append(None)
            continue
        middle = (high - low - 1) // 2, (high - low) // 2
        parted = np.partition(value[low:high], middle)
        found.append(round(float((parted[middle[0]] + parted[middle[1]]) / 2 / 1e6), 6))
    return found


def _by_group(group: np.ndarray, groups: int) -> np.ndarray:
    """The rows group after group, those of one in their order; a few groups are sorted in one go over the rows."""
    return np.argsort(group.astype(np.uint16) if groups <= 1 << 16 else group, kind="stable")
