"""Routes: the ways on which people reach a goal, which of them is the simplest, and where on the way most are lost.

A unit's touchpoints are cut after each that reaches the goal, as in the table `journeys`; within the period only.
docs/definitions.md has the definitions.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.conversions import goal_sql
from polku_analytics.analyses.funnel import data_end
from polku_analytics.analyses.graph import grouped_texts
from polku_analytics.analyses.scope import Part, Scope, check_unit
from polku_analytics.analyses.sequences import (
    NO_ITEMS,
    By,
    Sequences,
    distinct_per_group,
    item_names,
    medians,
    read_sequences,
    sequences_sql,
)
from polku_analytics.analyses.steps import parse_step, step_sql, vocabulary
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.result import UNIT_WORDS, AnalysisResult, share, window_text

Show = Literal["routes", "micro-paths"]

SIMPLEST_SHARE: Final = 0.01
"""A route that fewer take may be short by chance; the simplest one is looked for among the others."""

COLUMNS: Final[dict[Show, tuple[str, ...]]] = {
    "routes": ("route", "journeys", "people", "share", "steps", "median_seconds", "simplest"),
    "micro-paths": ("micro_path", "people", "reached", "lost", "loss"),
}


class RoutesQuestion(Struct, frozen=True, kw_only=True):
    """Routes to count."""

    goal: str
    goal_sql: str
    """The condition that a row of `touchpoints AS t` reaches the goal."""
    needs_events: bool = False
    show: Show = "routes"
    by: By = "touchpoint"
    staged: bool = False
    max_steps: int = 5
    """Of a longer route only the last ones are told apart."""
    length: int = 2
    """Items of a micro-path."""
    idle_seconds: int = 7 * 86400
    """Who has not reached the goal is lost after so long without a touchpoint."""
    top: int = 20
    scope: Scope = Scope()


def routes_question(journeys: Journeys, goal: str, **options: Any) -> RoutesQuestion:
    """Read the goal: one of the plan, or a step."""
    known = journeys.plan.goals.get(goal)
    known_names = vocabulary(journeys)
    if known is None:
        if ":" not in goal and "[" not in goal and known_names.event(goal) is None:
            names = {*journeys.plan.goals, *known_names.event_names}
            raise UnknownNameError("goal or event", goal, names, known_names.aliases)
        step = parse_step(goal, known_names)
        return _checked(
            RoutesQuestion(goal=step.label, goal_sql=step_sql(step, "t"), needs_events=bool(step.when), **options)
        )
    return _checked(
        RoutesQuestion(goal=goal, goal_sql=f"({goal_sql(known)})", needs_events=bool(known.when), **options)
    )


def _checked(question: RoutesQuestion) -> RoutesQuestion:
    if question.max_steps < 1 or question.length < 2 or question.top < 1:
        raise AnalyticsError("routes need at least one step and one row, micro-paths at least two items")
    return question


def run_routes(journeys: Journeys, question: RoutesQuestion) -> AnalysisResult:
    """Count routes over the built tables."""
    check_unit(question.scope, ("person", "session", "account"), "routes")
    if question.needs_events:
        journeys.with_events()
    names = item_names(journeys, question.by)
    units = UNIT_WORDS[question.scope.unit]
    asked = {
        "routes": f"On which routes do {units} reach {question.goal}?",
        "micro-paths": f"On which part of the way to {question.goal} are most {units} lost?",
    }
    return answer(
        journeys,
        question.scope,
        lambda part: _find(question, names, part),
        question=asked[question.show],
        options={
            "goal": question.goal,
            "by": question.by,
            "staged": question.staged,
            "max_steps": question.max_steps if question.show == "routes" else None,
            "idle": window_text(question.idle_seconds) if question.show == "micro-paths" else None,
        },
        columns=COLUMNS[question.show],
        keys=(COLUMNS[question.show][0],),
        measure=COLUMNS[question.show][1],
    )


class Pieces(Struct, frozen=True):
    """Journeys: rows `first` to `last` (runs of an item are one row), and whether they reach the goal."""

    rows: Sequences
    first: np.ndarray
    last: np.ndarray
    reached: np.ndarray
    until: np.ndarray
    """The time of the last touchpoint, repeats included."""


def pieces_of(rows: Sequences) -> Pieces:
    """Cut units after each row that reaches the goal; the row that does is never taken for a repeat."""
    begins = np.append(True, (rows.unit[1:] != rows.unit[:-1]) | rows.marked[:-1])
    ends = np.append(np.flatnonzero(begins)[1:] - 1, len(rows.unit) - 1)
    piece = np.cumsum(begins) - 1
    kept = rows.without_repeats(piece) | rows.marked
    reached, until = rows.marked[ends], rows.times[ends]
    rows, piece = rows.only(kept), piece[kept]
    first = np.flatnonzero(np.append(True, piece[1:] != piece[:-1]))
    return Pieces(rows, first, np.append(first[1:], len(piece)) - 1, reached, until)


def _find(question: RoutesQuestion, names: list[str], part: Part) -> Finding:
    sql = sequences_sql(part, question.by, names, question.goal_sql, question.staged)
    rows = read_sequences(part, sql)
    sql = f"{sql} ORDER BY {part.order('t')}"
    if len(rows.unit) == 0:
        return Finding(rows=[], whole=0, sql=sql, why_empty=NO_ITEMS)
    pieces = pieces_of(rows)
    reached = int(np.count_nonzero(pieces.reached))
    coverage: dict[str, Any] = {"journeys_that_reached_it": reached, "open_journeys": len(pieces.reached) - reached}
    if question.show == "routes":
        found = _routes(question, pieces, names)
        whole = reached
        why = f"nobody reached {question.goal}"
    else:
        # What came after the period is not looked at: who was there shortly before its end may have gone on.
        end = data_end(part.journeys, part.period)
        idle_since = 0 if end is None else end - question.idle_seconds * 1_000_000
        found = _micro_paths(question, pieces, names, idle_since)
        whole = len(np.unique(rows.person))
        why = f"no journey that is over has {question.length} touchpoints: shorten --length, or --idle"
    return Finding(
        rows=found[: question.top],
        rest=found[question.top :],
        whole=whole,
        sql=sql,
        coverage=coverage | {"rows_in_all": len(found)},
        why_empty=why,
    )


def _routes(question: RoutesQuestion, pieces: Pieces, names: list[str]) -> list[list[Any]]:
    first, last = pieces.first[pieces.reached], pieces.last[pieces.reached]
    if len(first) == 0:
        return []
    shown = np.maximum(first, last - question.max_steps + 1)
    # Whether something is cut off tells routes apart, too: it stands before them as an item of its own.
    items = np.append(pieces.rows.item, len(names))
    group, texts = grouped_texts(items, shown, last, names)
    cut = shown > first
    keys, group = np.unique(group * 2 + cut, return_inverse=True)
    routes = [("… → " if key % 2 else "") + texts[key // 2] for key in keys.tolist()]
    counts = np.bincount(group)
    people = distinct_per_group(group, pieces.rows.person[first], len(routes))
    seconds = medians(group, pieces.rows.times[last] - pieces.rows.times[first], len(routes))
    steps = medians(group, (last - first + 1) * 1_000_000, len(routes))
    found: list[list[Any]] = [
        [route, int(counts[n]), int(people[n]), share(int(counts[n]), len(first)), steps[n], seconds[n], False]
        for n, route in enumerate(routes)
    ]
    found.sort(key=lambda row: (-row[1], row[0]))
    simplest = min(
        (row for row in found if row[3] >= SIMPLEST_SHARE), key=lambda row: (row[4], row[5], -row[1]), default=None
    )
    if simplest is not None:
        simplest[6] = True
    return found


def _micro_paths(question: RoutesQuestion, pieces: Pieces, names: list[str], idle_since: int) -> list[list[Any]]:
    """Items that follow each other on the way: how many people have them, and how many of these never got there."""
    decided = pieces.reached | (pieces.until <= idle_since)
    starts = [
        np.arange(low, high - question.length + 2)
        for low, high in zip(pieces.first[decided].tolist(), pieces.last[decided].tolist(), strict=True)
    ]
    counts = [len(one) for one in starts]
    if not sum(counts):
        return []
    start = np.concatenate(starts)
    reached = np.repeat(pieces.reached[decided], counts)
    group, texts = grouped_texts(pieces.rows.item, start, start + question.length - 1, names)
    person = pieces.rows.person[start]
    people = distinct_per_group(group, person, len(texts))
    got_there = distinct_per_group(group[reached], person[reached], len(texts))
    found: list[list[Any]] = []
    for n, text in enumerate(texts):
        lost = int(people[n] - got_there[n])
        found.append([text, int(people[n]), int(got_there[n]), lost, share(lost, int(people[n]))])
    found.sort(key=lambda row: (-row[3], -row[1], row[0]))
    return found
