"""Paths: which touchpoints (or events) people pass one after the other, as the edges of a layered graph.

The journey of a unit is its touchpoints in time order, repeats collapsed; `start` cuts it to begin at the first
occurrence of an item, `end` to finish at the first one after that. What is counted are edges between step n and step
n + 1, so the graph has no circles and a Sankey diagram can show it. docs/definitions.md has the definition.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
from msgspec import Struct, structs

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.scope import Part, Scope, check_unit
from polku_analytics.analyses.steps import touchpoint_names, vocabulary
from polku_analytics.engines.engine import unit_numbers
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.result import UNIT_WORDS, AnalysisResult

By = Literal["touchpoint", "event"]
"""What an item of a path is."""

OTHER: Final = "(other)"
"""All items that are not among the `top` most passed."""
MIDDLE: Final = "(…)"
"""What lies between when a path from `start` to `end` is longer than `max_steps`."""
_SORTED_BY_DIGITS: Final = 2**16
"""Up to here numpy sorts by digits, in a fraction of the time."""
_PIECE_ROWS: Final = 500_000
"""So many are counted at a time: larger arrays take longer to be made than to be counted."""

LEFT: Final = "(left)"
"""The journey ended here, as far as the period and the data go."""

COLUMNS: Final = ("step", "from", "to", "transitions", "people", "median_seconds")


class PathsQuestion(Struct, frozen=True, kw_only=True):
    """Paths to count."""

    by: By = "touchpoint"
    scope: Scope = Scope(unit="session")
    start: str | None = None
    end: str | None = None
    collapse: bool = True
    """Count a run of the same item as one, at the time of its first."""
    top: int = 12
    """So many items by name, the rest as `(other)`."""
    max_steps: int = 5
    """Items of a path that are looked at: the first ones, or with `end` alone the last ones."""
    staged: bool = False
    """Only touchpoints that the plan places in a stage."""


def run_paths(journeys: Journeys, question: PathsQuestion) -> AnalysisResult:
    """Count paths over the built tables."""
    check_unit(question.scope, ("person", "session", "account"), "paths")
    question = _checked(journeys, question)
    names = _item_names(journeys, question)
    # What stands side by side has the same items by name: those of the first segment, and of the period asked about.
    named: dict[str | None, np.ndarray] = {}
    return answer(
        journeys,
        question.scope,
        lambda part: _find(question, names, part, named),
        question=_sentence(question),
        options={
            "by": question.by,
            "from": question.start,
            "to": question.end,
            "collapse": question.collapse,
            "top": question.top,
            "max_steps": question.max_steps,
            "staged": question.staged,
        },
        columns=COLUMNS,
        keys=("step", "from", "to"),
        measure="transitions",
    )


def _find(question: PathsQuestion, names: list[str], part: Part, named: dict[str | None, np.ndarray]) -> Finding:
    sql = paths_sql(question, names, part)
    arrays = part.ordered(sql, part.order("t"))
    counted = count_paths(
        unit_numbers(arrays["unit"]),
        arrays["person_key"],
        arrays["microseconds"],
        arrays["item"].astype(np.int64),
        start=None if question.start is None else names.index(question.start),
        end=None if question.end is None else names.index(question.end),
        collapse=question.collapse,
        top=question.top,
        max_steps=question.max_steps,
        item_count=len(names),
        named=named.get(part.value),
    )
    if counted.paths:
        named.setdefault(part.value, counted.named)
    labels = [*names, OTHER, MIDDLE, LEFT]
    rows: list[list[Any]] = [
        [step, labels[a], labels[b], count, people, seconds] for step, a, b, count, people, seconds in counted.edges
    ]
    rows.sort(key=lambda row: (row[0], -row[3], row[1], row[2]))
    sql = f"{sql} ORDER BY {part.order('t')}"
    coverage = {"paths": counted.paths, "people_on_paths": counted.people}
    return Finding(rows=rows, whole=counted.paths, sql=sql, coverage=coverage, why_empty=_why_none(question))


def _why_none(question: PathsQuestion) -> str:
    sought = " and after it ".join(item for item in (question.start, question.end) if item is not None)
    if question.scope.unit == "session":
        return f"no session has {sought or 'a touchpoint'}; try --unit person"
    return f"nobody has {sought or 'a touchpoint'}"


def paths_sql(question: PathsQuestion, names: list[str], part: Part) -> str:
    """All touchpoints of the part, each item as its place in `names`; they are read in the order of their unit."""
    say = part.journeys.engine.dialect
    column = "t.touchpoint" if question.by == "touchpoint" else "t.event_name"
    staged = " AND t.stage IS NOT NULL" if question.staged else ""
    return (
        f"SELECT t.{part.unit_column} AS unit, t.person_key, {say.read_microseconds('t.event_time')} AS microseconds, "
        f"{say.code(column, names)} AS item"
        f"{part.number} FROM touchpoints AS t WHERE {part.condition('t')}{staged}"
    )


class CountedPaths(Struct, frozen=True):
    """Edges (step, from, to, transitions, people, median seconds); codes beyond the items: OTHER, MIDDLE, LEFT."""

    edges: list[tuple[int, int, int, int, int, float | None]]
    paths: int
    people: int
    named: np.ndarray
    """Which items have their name."""


def count_paths(
    units: np.ndarray,
    persons: np.ndarray,
    times: np.ndarray,
    items: np.ndarray,
    *,
    start: int | None,
    end: int | None,
    collapse: bool,
    top: int,
    max_steps: int,
    item_count: int,
    named: np.ndarray | None = None,
) -> CountedPaths:
    """Count the edges of rows that are ordered by unit and time; `items` are codes below `item_count`.

    `named`: the items that have their name; the `top` most frequent ones, unless they are given.
    """

    def walked(piece: slice) -> _Walk:
        return _walk(
            units[piece], persons[piece], times[piece], items[piece], start, end, collapse=collapse, max_steps=max_steps
        )

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:  # numpy lets go of the interpreter
        walks = list(pool.map(walked, _pieces(units, persons)))
        paths = sum(len(walk.first) for walk in walks)
        if paths == 0:
            return CountedPaths([], 0, 0, np.zeros(item_count, dtype=bool))
        if named is None:
            passed = (np.bincount(walk.passed(), minlength=item_count) for walk in walks)
            named = _named(np.sum(list(passed), axis=0), {start, end} - {None}, top, item_count)
        code = np.where(named, np.arange(item_count), item_count)
        groups = list(
            pool.map(lambda walk: _group(_edges(walk, code, max_steps, to_end=end is not None), item_count + 3), walks)
        )
    people = sum(_distinct(walk.persons[walk.first]) for walk in walks)
    return CountedPaths(_merged(groups, item_count + 3), paths, people, named)


def _pieces(units: np.ndarray, persons: np.ndarray) -> list[slice]:
    """Rows that are counted together: few enough to stay near the processor, and all of a unit and of a person."""
    if len(persons) <= _PIECE_ROWS or (persons[1:] < persons[:-1]).any():
        return [slice(None)]
    borders: list[int] = []
    for row in range(_PIECE_ROWS, len(persons), _PIECE_ROWS):
        border = int(np.searchsorted(persons, persons[row]))
        if border > (borders[-1] if borders else 0) and units[border] != units[border - 1]:
            borders.append(border)
    return [slice(low, high) for low, high in pairwise([0, *borders, len(persons)])]


class _Walk(Struct, frozen=True):
    """The paths of some rows. Of each path: its first and last row, and which of its rows are looked at."""

    persons: np.ndarray
    times: np.ndarray
    items: np.ndarray
    first: np.ndarray
    last: np.ndarray
    begin: np.ndarray
    """The first row that is looked at …"""
    head: np.ndarray
    """… how many there are …"""
    first_step: np.ndarray
    """… and the step that it stands on."""
    cut: np.ndarray
    """Which paths are too long: of these the last row is looked at as well."""
    offset: np.ndarray
    """Of each row that is looked at: its place in its path …"""
    row: np.ndarray
    """… and its number."""

    def passed(self) -> np.ndarray:
        """The items that are looked at."""
        return np.asarray(self.items[np.concatenate([self.row, self.last[self.cut]])])


def _walk(
    units: np.ndarray,
    persons: np.ndarray,
    times: np.ndarray,
    items: np.ndarray,
    start: int | None,
    end: int | None,
    *,
    collapse: bool,
    max_steps: int,
) -> _Walk:
    if collapse and len(items):
        kept = _begins(units)
        kept[1:] |= items[1:] != items[:-1]
        units, persons, times, items = units[kept], persons[kept], times[kept], items[kept]
    first, last = _slices(_begins(units), items, start, end)
    length = last - first + 1
    head = np.minimum(length, max_steps)
    cut = np.zeros(len(first), dtype=bool)
    if start is not None and end is not None:
        cut = length > max_steps
        head = np.where(cut, max_steps - 2, head)
    begin = last - head + 1 if start is None and end is not None else first
    # Where the end is what is asked for, steps are counted so that it stands on the last one.
    first_step = max_steps - head + 1 if start is None and end is not None else np.ones(len(first), dtype=np.int64)
    before = np.cumsum(head) - head
    offset = np.arange(int(head.sum())) - np.repeat(before, head)
    row = np.repeat(begin, head) + offset
    return _Walk(persons, times, items, first, last, begin, head, first_step, cut, offset, row)


def _edges(walk: _Walk, code: np.ndarray, max_steps: int, *, to_end: bool) -> list[_Edges]:
    """From each row that is looked at to the next one, over what is cut out, and to where a path has ended."""
    middle, left = len(code) + 1, len(code) + 2
    to_next = walk.offset + 1 < np.repeat(walk.head, walk.head)
    row = walk.row[to_next]
    step = (np.repeat(walk.first_step, walk.head) + walk.offset)[to_next]
    gap = walk.times[row + 1] - walk.times[row]
    edges = [_Edges(step, code[walk.items[row]], code[walk.items[row + 1]], walk.persons[row], gap)]
    if walk.cut.any():
        before, last = (walk.begin + walk.head - 1)[walk.cut], walk.last[walk.cut]
        persons = walk.persons[before]
        edges.append(_Edges.constant(max_steps - 2, code[walk.items[before]], middle, persons))
        edges.append(_Edges.constant(max_steps - 1, middle, code[walk.items[last]], persons))
    if not to_end:
        length = walk.last - walk.first + 1
        ends = length < max_steps
        last = walk.last[ends]
        source = code[walk.items[last]]
        edges.append(_Edges(length[ends], source, np.full(len(last), left), walk.persons[last], None))
    return edges


class _Edges(Struct, frozen=True):
    """Single edges as columns; `gap` is in microseconds, None where it means nothing."""

    step: np.ndarray
    source: np.ndarray
    target: np.ndarray
    person: np.ndarray
    gap: np.ndarray | None

    @classmethod
    def constant(cls, step: int, source: np.ndarray | int, target: np.ndarray | int, person: np.ndarray) -> _Edges:
        """Edges that share the step and one of their ends, and have no meaningful time."""
        shape = person.shape
        return cls(np.full(shape, step), np.broadcast_to(source, shape), np.broadcast_to(target, shape), person, None)


def _slices(begins: np.ndarray, items: np.ndarray, start: int | None, end: int | None) -> tuple[np.ndarray, np.ndarray]:
    """First and last row of each unit's path; units without `start`, or without `end` after it, have none."""
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(items)) - 1
    if start is not None:
        found = _next_row(items == start, first)
        kept = found <= last
        first, last = found[kept], last[kept]
    if end is not None:
        found = _next_row(items == end, first if start is None else first + 1)
        kept = found <= last
        first, last = first[kept], found[kept]
    return first, last


def _next_row(wanted: np.ndarray, since: np.ndarray) -> np.ndarray:
    """For each row number, the first wanted row at or after it; a number beyond all rows if there is none."""
    rows = np.append(np.flatnonzero(wanted), np.iinfo(np.int64).max)
    return rows[np.searchsorted(rows, since)]


def _named(occurrences: np.ndarray, always: set[int | None], top: int, item_count: int) -> np.ndarray:
    """Which items keep their name: `always`, and the `top` that occur most (ties: the earlier name)."""
    pinned = [item for item in always if item is not None]
    named = np.zeros(item_count, dtype=bool)
    occurrences[pinned] = 0
    ranked = np.argsort(-occurrences, kind="stable")[:top]
    named[ranked[occurrences[ranked] > 0]] = True
    named[pinned] = True
    return named


class _Group(Struct, frozen=True):
    """Edges of one kind: how many, of how many people, and the microseconds each took."""

    count: int
    people: int
    gaps: np.ndarray | None


def _group(edges: list[_Edges], codes: int) -> dict[int, _Group]:
    """Edges by step, source and target, which are one number."""
    groups: dict[int, _Group] = {}
    for part in edges:
        if len(part.step) == 0:
            continue
        key = (part.step * codes + part.source) * codes + part.target
        if key.max() < _SORTED_BY_DIGITS:
            key = key.astype(np.uint16)
        order = np.argsort(key, kind="stable")
        key, person = key[order], part.person[order]
        gap = None if part.gap is None else part.gap[order]
        begins = np.flatnonzero(_begins(key))
        for low, high in zip(begins, np.append(begins[1:], len(key)), strict=True):
            gaps = None if gap is None else gap[low:high]
            groups[int(key[low])] = _Group(int(high - low), _distinct(person[low:high]), gaps)
    return groups


def _merged(pieces: list[dict[int, _Group]], codes: int) -> list[tuple[int, int, int, int, int, float | None]]:
    """The edges of all pieces. Nobody is in two of them."""
    counted: list[tuple[int, int, int, int, int, float | None]] = []
    for key in set().union(*pieces):
        rest, target = divmod(key, codes)
        step, source = divmod(rest, codes)
        parts = [piece[key] for piece in pieces if key in piece]
        gaps = [part.gaps for part in parts if part.gaps is not None]
        seconds = round(float(np.median(np.concatenate(gaps))) / 1e6, 6) if gaps else None
        count, people = sum(part.count for part in parts), sum(part.people for part in parts)
        counted.append((step, source, target, count, people, seconds))
    return counted


def _distinct(persons: np.ndarray) -> int:
    """How many there are, of persons that nearly always lie in their order."""
    if (persons[1:] < persons[:-1]).any():
        persons = np.sort(persons)
    return int(np.count_nonzero(persons[1:] != persons[:-1])) + 1 if len(persons) else 0


def _begins(values: np.ndarray) -> np.ndarray:
    """Which positions differ from the one before; the first always does."""
    begins = np.ones(len(values), dtype=bool)
    begins[1:] = values[1:] != values[:-1]
    return begins


def _checked(journeys: Journeys, question: PathsQuestion) -> PathsQuestion:
    """The question with aliases replaced. AnalyticsError for names and numbers that make no sense."""
    if question.max_steps < 2 or question.top < 1:
        raise AnalyticsError("paths need at least 2 steps and 1 named item")
    if question.start is not None and question.end is not None and question.max_steps < 3:
        raise AnalyticsError("paths from one item to another need at least 3 steps")
    known = vocabulary(journeys)

    def resolve(name: str | None) -> str | None:
        if name is None:
            return None
        if question.by == "event":
            event = known.event(name)
            if event is None:
                raise UnknownNameError("event", name, known.event_names, known.aliases)
            return event
        if name not in known.touchpoints:
            raise UnknownNameError("touchpoint", name, known.touchpoints)
        return name

    return structs.replace(question, start=resolve(question.start), end=resolve(question.end))


def _item_names(journeys: Journeys, question: PathsQuestion) -> list[str]:
    if question.by == "touchpoint":
        seen = set(touchpoint_names(journeys))
    else:
        seen = {row[0] for row in journeys.rows("SELECT DISTINCT event_name FROM touchpoints") if row[0] is not None}
    return sorted(seen | {name for name in (question.start, question.end) if name is not None})


def _sentence(question: PathsQuestion) -> str:
    units = UNIT_WORDS[question.scope.unit]
    items = "touchpoints" if question.by == "touchpoint" else "events"
    parts = [f"Which {items} do {units} pass"]
    if question.start is not None:
        parts.append(f"from {question.start}")
    if question.end is not None:
        parts.append(f"on the way to {question.end}")
    return " ".join(parts) + "?"
