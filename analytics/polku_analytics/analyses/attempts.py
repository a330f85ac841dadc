"""Attempts: which units take given steps one after the other, over rows that are ordered by unit and time.

Of all attempts that reach a step at or before a row, the one that is furthest on in time reaches everything the others
can still reach: each of its events is at least as late as theirs. So one number per row and step suffices, the row that
stands before it in that attempt, and one pass over the rows a step. This holds for windows in total and per step, for
exclusions, and for every way to treat equal times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from msgspec import Struct

Order = Literal["in-order", "strict", "any"]
"""Other events may lie between the steps; none may; or the steps may come in any order."""
Reentry = Literal["any", "first"]
"""Which first step starts an attempt: every one, or only the unit's first ever (in the period)."""
Ties = Literal["ordered", "strict"]
"""Events at the same time count as in order; or a step must be later than the one before."""

NEVER: Final = np.iinfo(np.int64).min


class Excluded(Struct, frozen=True):
    """Rows that void an attempt when they lie strictly between its steps `after` and `before` (places from 0)."""

    rows: np.ndarray
    after: int
    before: int


class Rules(Struct, frozen=True, kw_only=True):
    """What makes an attempt."""

    order: Order = "in-order"
    reentry: Reentry = "any"
    window_microseconds: int | None = None
    """From the first step to the last, the end included."""
    step_window_microseconds: int | None = None
    """From each step to the next."""
    ties: Ties = "ordered"
    distinct_events: bool = False
    """An event serves one step of an attempt at most."""
    excluded: tuple[Excluded, ...] = ()


class FunnelOutcome(Struct, frozen=True, kw_only=True):
    """Per step: units that reach it, how fast, and of those that stop there, who has left and who may still go on."""

    counts: list[int]
    median_seconds: list[float | None]
    p90_seconds: list[float | None]
    median_seconds_from_previous: list[float | None]
    dropped: list[int]
    still_in_window: list[int]
    durations: np.ndarray
    """Microseconds that each unit which reaches the last step took."""
    followed: np.ndarray
    """Microseconds from the latest start of each other unit that has begun to the end of the data."""
    stops: dict[int, np.ndarray]
    """Per required step but the last: the row with which each unit that dropped out there reached it last."""


class _Step(Struct, frozen=True):
    """What is known of a step: how many reach it, and of the first time each unit does: how long it took."""

    count: int
    took: np.ndarray
    from_previous: np.ndarray


def count_funnel(
    units: np.ndarray,
    times: np.ndarray,
    matches: Sequence[np.ndarray],
    *,
    optional: Sequence[bool],
    as_of_microseconds: int | None,
    rules: Rules,
    stops_wanted: bool = False,
) -> FunnelOutcome:
    """The funnel over rows ordered by unit and time; `matches[k]` says which rows are step k."""
    if len(units) == 0:
        none = np.empty(0, dtype=np.int64)
        nothing = [_Step(0, none, none)] * len(matches)
        return _outcome(nothing, [0] * len(matches), [0] * len(matches), none, none, {})
    if rules.distinct_events and rules.order == "in-order":
        units, times, matches, rules, places = _by_step(units, times, matches, rules)
        found = _Rows.of(units, times).funnel(matches, optional, as_of_microseconds, rules, stops_wanted)
        stops = {step: places[rows] for step, rows in found.stops.items()}
        return FunnelOutcome(**{name: getattr(found, name) for name in found.__struct_fields__} | {"stops": stops})
    rows = _Rows.of(units, times)
    if rules.order == "any":
        return rows.any_order(matches, as_of_microseconds, rules)
    return rows.funnel(matches, optional, as_of_microseconds, rules, stops_wanted)


def _by_step(
    units: np.ndarray, times: np.ndarray, matches: Sequence[np.ndarray], rules: Rules
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], Rules, np.ndarray]:
    """The same rows with those of equal time in the order of the first step that they are, and where each was.

    Where an event serves one step only, it matters which of several at the same time comes first.
    """
    first = np.full(len(units), len(matches), dtype=np.int64)
    for step in range(len(matches) - 1, -1, -1):
        first[matches[step]] = step
    places = np.lexsort((first, times, np.cumsum(begins(units))))
    moved = tuple(Excluded(one.rows[places], one.after, one.before) for one in rules.excluded)
    rules = Rules(**{name: getattr(rules, name) for name in rules.__struct_fields__} | {"excluded": moved})
    return units[places], times[places], [match[places] for match in matches], rules, places


class _Rows(Struct, frozen=True):
    """The rows, and which of them belong together."""

    times: np.ndarray
    first_of_unit: np.ndarray
    unit_number: np.ndarray

    @classmethod
    def of(cls, units: np.ndarray, times: np.ndarray) -> _Rows:
        first_of_unit = begins(units)
        return cls(times, first_of_unit, np.cumsum(first_of_unit) - 1)

    @property
    def units(self) -> int:
        return int(self.unit_number[-1]) + 1

    def funnel(
        self,
        matches: Sequence[np.ndarray],
        optional: Sequence[bool],
        as_of: int | None,
        rules: Rules,
        stops_wanted: bool,
    ) -> FunnelOutcome:
        """Steps in their order."""
        times, unit_number, rows = self.times, self.unit_number, len(self.times)
        latest_before = self._latest_before(rules)
        starts = self._starts(matches[0], rules)
        start_of = np.full(rows, -1, dtype=np.int64)
        start_of[starts] = starts
        anchors = {one.after: np.full(rows, -1, dtype=np.int64) for one in rules.excluded if one.after > 0}
        lately = [self._latest_excluded(one.rows) for one in rules.excluded]
        reached = starts  # rows that reach the last step which holds people back
        level = np.zeros(self.units, dtype=np.int32)
        level[unit_number[starts]] = 1
        stop_row = {0: self._last_row(starts)} if stops_wanted else {}
        ends = _Ends(self, rules, matches, as_of)
        ends.see(0, starts, start_of, anchors)

        found = [_Step(int(np.count_nonzero(level)), np.empty(0, np.int64), np.empty(0, np.int64))]
        required = [0]
        for step in range(1, len(matches)):
            latest = np.full(rows, -1, dtype=np.int64)
            latest[reached] = reached
            if rules.order == "in-order":
                np.maximum.accumulate(latest, out=latest)
            candidates = np.flatnonzero(matches[step])
            if latest_before is None:
                before = np.where(candidates > 0, latest[candidates - 1], -1)
                if rules.ties == "strict":
                    before[times[before] == times[candidates]] = -1
            else:
                places = latest_before[candidates]
                before = latest[places]
                if rules.ties == "strict":
                    before[places < 0] = -1
            fits = before >= 0
            candidates, before = candidates[fits], before[fits]
            begun = start_of[before]
            fits = unit_number[before] == unit_number[candidates]
            if rules.window_microseconds is not None:
                fits &= times[candidates] - times[begun] <= rules.window_microseconds
            if rules.step_window_microseconds is not None:
                fits &= times[candidates] - times[before] <= rules.step_window_microseconds
            for one, excluded_at in zip(rules.excluded, lately, strict=True):
                if one.after < step <= one.before:
                    anchor = begun if one.after == 0 else anchors[one.after][before]
                    fits &= times[anchor] >= excluded_at[candidates]
            candidates, before, begun = candidates[fits], before[fits], begun[fits]
            firsts = _first_per_unit(unit_number[candidates])
            done = times[candidates[firsts]]
            # Of several rows at one time the later one may stand before: the time between is then 0.
            found.append(_Step(len(firsts), done - times[begun[firsts]], done - times[before[firsts]]))
            if optional[step]:
                continue
            start_of = np.full(rows, -1, dtype=np.int64)
            start_of[candidates] = begun
            for after, held in anchors.items():
                moved = np.full(rows, -1, dtype=np.int64)
                moved[candidates] = candidates if after == step else held[before]
                anchors[after] = moved
            reached = candidates
            required.append(step)
            level[unit_number[candidates]] = len(required)
            if stops_wanted:
                stop_row[step] = self._last_row(candidates)
            ends.see(step, candidates, start_of, anchors)
        return self._finish(found, required, level, starts, ends.open(level), stop_row, as_of)

    def any_order(self, matches: Sequence[np.ndarray], as_of: int | None, rules: Rules) -> FunnelOutcome:
        """Step k: k different ones of the steps are done within the window, whichever come first."""
        times, unit_number = self.times, self.unit_number
        either = np.logical_or.reduce(matches)
        since = np.full(len(times), NEVER, dtype=np.int64)
        if rules.window_microseconds is not None:
            since = times - rules.window_microseconds
        for one in rules.excluded:
            since = np.maximum(since, self._latest_excluded(one.rows))
        starts = np.flatnonzero(either)
        firsts = starts[_first_per_unit(unit_number[starts])]
        last = self._last_at_same_time()
        done_at = np.stack([self._latest_time(match)[last] for match in matches])
        done_at[done_at < since] = NEVER
        if rules.reentry == "first":
            # The only attempt begins with the unit's first step of all.
            begun = np.full(self.units, NEVER, dtype=np.int64)
            begun[unit_number[firsts]] = times[firsts]
            done_at[:, begun[unit_number] < since] = NEVER
        done_at = np.sort(done_at, axis=0)[::-1]  # the latest first: the k-th is where an attempt at k steps may begin
        level = np.zeros(self.units, dtype=np.int32)
        found = []
        for step in range(len(matches)):
            rows = np.flatnonzero(either & (done_at[step] > NEVER))
            rows = rows[_first_per_unit(unit_number[rows])]
            level[unit_number[rows]] = step + 1
            begin = times[firsts] if rules.reentry == "first" else None
            start = done_at[step][rows]
            if begin is not None and step:
                of_unit = np.full(self.units, NEVER, dtype=np.int64)
                of_unit[unit_number[firsts]] = begin
                start = of_unit[unit_number[rows]]
            previous = done_at[step - 1][rows] if step == 0 else done_at[1][rows]
            found.append(_Step(len(rows), times[rows] - start, times[rows] - previous))
        begins_at = firsts if rules.reentry == "first" else starts
        is_open = np.zeros(self.units, dtype=bool)
        if as_of is not None:
            latest = np.full(self.units, NEVER, dtype=np.int64)
            latest[unit_number[begins_at]] = times[begins_at]
            for one in rules.excluded:
                void = latest < self._latest_of_unit(one.rows)
                latest[void] = NEVER
            is_open = latest > NEVER
            if rules.window_microseconds is not None:
                is_open &= latest > as_of - rules.window_microseconds
        return self._finish(found, list(range(len(matches))), level, begins_at, is_open, {}, as_of)

    def _finish(
        self,
        found: list[_Step],
        required: list[int],
        level: np.ndarray,
        starts: np.ndarray,
        is_open: np.ndarray,
        stop_row: dict[int, np.ndarray],
        as_of: int | None,
    ) -> FunnelOutcome:
        dropped, waiting = [0] * len(found), [0] * len(found)
        stops = {}
        for number, step in enumerate(required[:-1], start=1):
            stops_here = level == number
            left = stops_here & ~is_open
            waiting[step] = int(np.count_nonzero(stops_here & is_open))
            dropped[step] = int(np.count_nonzero(left))
            if step in stop_row:
                stops[step] = stop_row[step][left]
        latest_start = np.full(self.units, NEVER, dtype=np.int64)
        latest_start[self.unit_number[starts]] = self.times[starts]
        unfinished = latest_start[(level > 0) & (level < len(required))]
        followed = np.maximum((as_of if as_of is not None else 0) - unfinished, 0)
        return _outcome(found, dropped, waiting, found[-1].took, followed, stops)

    def _starts(self, first_step: np.ndarray, rules: Rules) -> np.ndarray:
        starts = np.flatnonzero(first_step)
        return starts[_first_per_unit(self.unit_number[starts])] if rules.reentry == "first" else starts

    def _latest_before(self, rules: Rules) -> np.ndarray | None:
        """For each row the last one that may be the step before it; None: the one right above."""
        if rules.order == "strict":
            return None
        if rules.ties == "strict":
            return self._first_at_same_time() - 1
        return None if rules.distinct_events else self._last_at_same_time()

    def _same_time(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows with which a time of a unit begins, and for each row which of these it belongs to."""
        begin = self.first_of_unit.copy()
        begin[1:] |= self.times[1:] != self.times[:-1]
        return np.flatnonzero(begin), np.cumsum(begin) - 1

    def _last_at_same_time(self) -> np.ndarray:
        # Few rows have a time that another has: only those are looked at.
        ties = np.flatnonzero((self.times[1:] == self.times[:-1]) & ~self.first_of_unit[1:])
        last = np.arange(len(self.times))
        if len(ties):
            ends = ties[np.append(np.diff(ties) > 1, True)]
            last[ties] = ends[np.searchsorted(ends, ties)] + 1
        return last

    def _first_at_same_time(self) -> np.ndarray:
        firsts, group = self._same_time()
        return np.asarray(firsts[group])

    def _latest_time(self, wanted: np.ndarray) -> np.ndarray:
        """For each row the time of the latest wanted one of its unit so far, `NEVER` before the first."""
        latest = np.where(wanted, np.arange(len(self.times)), -1)
        np.maximum.accumulate(latest, out=latest)
        same = (latest >= 0) & (self.unit_number[latest] == self.unit_number)
        return np.where(same, self.times[latest], NEVER)

    def _latest_excluded(self, excluded: np.ndarray) -> np.ndarray:
        """For each row the time of its unit's latest excluded row that is strictly earlier."""
        above = self._first_at_same_time() - 1
        at = self._latest_time(excluded)[above]
        same = (above >= 0) & (self.unit_number[above] == self.unit_number)
        return np.where(same, at, NEVER)

    def _latest_of_unit(self, wanted: np.ndarray) -> np.ndarray:
        """For each unit the time of its latest wanted row."""
        latest = np.full(self.units, NEVER, dtype=np.int64)
        rows = np.flatnonzero(wanted)
        latest[self.unit_number[rows]] = self.times[rows]
        return latest

    def _last_row(self, rows: np.ndarray) -> np.ndarray:
        """For each unit the last of these rows; -1 for none."""
        last = np.full(self.units, -1, dtype=np.int64)
        last[self.unit_number[rows]] = rows  # rows are in time order: the last assignment stays
        return last


class _Ends:
    """Until when each unit can still go on: as long as one of its attempts is neither too old nor void."""

    def __init__(self, rows: _Rows, rules: Rules, matches: Sequence[np.ndarray], as_of: int | None) -> None:
        self.rows, self.rules, self.steps, self.as_of = rows, rules, len(matches), as_of
        self.until = np.full(rows.units, NEVER, dtype=np.int64)
        # In the plain case an attempt with nothing but its start has the most time left.
        self.start_is_enough = (
            rules.step_window_microseconds is None and not rules.excluded and rules.order == "in-order"
        )
        self.excluded_last = [rows._latest_of_unit(one.rows) for one in rules.excluded]

    def see(self, step: int, reached: np.ndarray, start_of: np.ndarray, anchors: dict[int, np.ndarray]) -> None:
        """Rows that reach a step."""
        if self.as_of is None or step == self.steps - 1 or (step and self.start_is_enough):
            return
        rows, rules = self.rows, self.rules
        reached = rows._last_row(reached)
        reached = reached[reached >= 0]
        unit = rows.unit_number[reached]
        until = np.full(len(reached), np.iinfo(np.int64).max, dtype=np.int64)
        if rules.window_microseconds is not None:
            until = rows.times[start_of[reached]] + rules.window_microseconds
        if rules.step_window_microseconds is not None:
            until = np.minimum(until, rows.times[reached] + rules.step_window_microseconds)
        void = np.zeros(len(reached), dtype=bool)
        if rules.order == "strict":
            void |= ~np.append(rows.first_of_unit[1:], True)[reached]
        for one, excluded_at in zip(rules.excluded, self.excluded_last, strict=True):
            if one.after <= step < one.before:
                held = start_of if one.after == 0 else anchors[one.after]
                void |= rows.times[held[reached]] < excluded_at[unit]
        until[void] = NEVER
        self.until[unit] = np.maximum(self.until[unit], until)

    def open(self, level: np.ndarray) -> np.ndarray:
        """Units that have begun and may yet go on."""
        if self.as_of is None:
            return np.zeros(len(level), dtype=bool)
        return np.asarray((level > 0) & (self.until > self.as_of))


def _outcome(
    found: Sequence[_Step],
    dropped: list[int],
    waiting: list[int],
    durations: np.ndarray,
    followed: np.ndarray,
    stops: dict[int, np.ndarray],
) -> FunnelOutcome:
    later = found[1:]
    return FunnelOutcome(
        counts=[step.count for step in found],
        median_seconds=[None, *(quantile_seconds(step.took, 0.5) for step in later)],
        p90_seconds=[None, *(quantile_seconds(step.took, 0.9) for step in later)],
        median_seconds_from_previous=[None, *(quantile_seconds(step.from_previous, 0.5) for step in later)],
        dropped=dropped,
        still_in_window=waiting,
        durations=durations,
        followed=followed,
        stops=stops,
    )


def begins(values: np.ndarray) -> np.ndarray:
    """Which positions differ from the one before; the first always does."""
    found = np.ones(len(values), dtype=bool)
    found[1:] = values[1:] != values[:-1]
    return found


def _first_per_unit(unit_numbers: np.ndarray) -> np.ndarray:
    """Positions of the first of each run of equal unit numbers."""
    return np.flatnonzero(begins(unit_numbers)) if len(unit_numbers) else np.empty(0, dtype=np.int64)


def quantile_seconds(microseconds: np.ndarray, share: float) -> float | None:
    """A quantile, between neighbours in proportion, in seconds; None of nothing."""
    if len(microseconds) == 0:
        return None
    value = np.median(microseconds) if share == 0.5 else np.quantile(microseconds, share)
    return round(float(value) / 1e6, 6)
