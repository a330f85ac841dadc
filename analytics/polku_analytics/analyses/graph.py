"""Graph: which touchpoint directly follows which (the directly-follows graph of process mining), variants and loops."""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
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
from polku_analytics.errors import AnalyticsError
from polku_analytics.journeys import Journeys
from polku_analytics.result import UNIT_WORDS, AnalysisResult, share

Show = Literal["edges", "variants", "loops"]

_MANY_CODES: Final = 1 << 20
"""A table of so many is made in no time, also for few rows."""

BEGIN: Final = "(begin)"
END: Final = "(end)"

COLUMNS: Final[dict[Show, tuple[str, ...]]] = {
    "edges": ("from", "to", "transitions", "units", "people", "median_seconds"),
    "variants": ("variant", "units", "people", "share", "steps", "median_seconds"),
    "loops": ("item", "returns", "units", "people", "share"),
}
_KEYS: Final[dict[Show, tuple[str, ...]]] = {"edges": ("from", "to"), "variants": ("variant",), "loops": ("item",)}
_MEASURES: Final[dict[Show, str]] = {"edges": "transitions", "variants": "units", "loops": "returns"}


class GraphQuestion(Struct, frozen=True, kw_only=True):
    """A graph to count."""

    show: Show = "edges"
    """Edges; whole sequences and how many have each; or items that units come back to."""
    by: By = "touchpoint"
    collapse: bool = False
    """Count a run of the same item as one, at the time of its first."""
    staged: bool = False
    """Only touchpoints that the plan places in a stage."""
    top: int = 50
    """So many rows, the largest; None: all."""
    scope: Scope = Scope(unit="session")


def run_graph(journeys: Journeys, question: GraphQuestion) -> AnalysisResult:
    """Count a graph over the built tables."""
    check_unit(question.scope, ("session", "person", "account"), "a graph")
    if question.top < 1:
        raise AnalyticsError("a graph needs at least one row")
    names = item_names(journeys, question.by)
    units = UNIT_WORDS[question.scope.unit]
    asked = {
        "edges": f"What directly follows what for {units}?",
        "variants": f"Which ways do {units} take from beginning to end?",
        "loops": f"What do {units} come back to?",
    }
    return answer(
        journeys,
        question.scope,
        lambda part: _find(question, names, part),
        question=asked[question.show],
        options={
            "by": question.by,
            "collapse": question.collapse,
            "staged": question.staged,
            "top": question.top,
        },
        columns=COLUMNS[question.show],
        keys=_KEYS[question.show],
        measure=_MEASURES[question.show],
    )


def _find(question: GraphQuestion, names: list[str], part: Part) -> Finding:
    sql = sequences_sql(part, question.by, names, staged=question.staged)
    rows = read_sequences(part, sql)
    sql = f"{sql} ORDER BY {part.order('t')}"
    if len(rows.unit) == 0:
        return Finding(rows=[], whole=0, sql=sql, why_empty=NO_ITEMS)
    if question.collapse:
        rows = rows.only(rows.without_repeats(rows.unit))
    count = {"edges": _edges, "variants": _variants, "loops": _loops}[question.show]
    found = count(rows, names)
    return Finding(
        rows=found[: question.top],
        rest=found[question.top :],
        whole=int(np.count_nonzero(_ends(rows.unit)[0])),
        sql=sql,
        coverage={"rows_in_all": len(found)},
        why_empty="nobody comes back to anything",
    )


def _edges(rows: Sequences, names: list[str]) -> list[list[Any]]:
    first, last = _ends(rows.unit)
    begin, end = len(names), len(names) + 1
    follows = np.flatnonzero(~last)
    source = np.concatenate([rows.item[follows], np.full(int(first.sum()), begin), rows.item[last]])
    target = np.concatenate([rows.item[follows + 1], rows.item[first], np.full(int(last.sum()), end)])
    at = np.concatenate([follows, np.flatnonzero(first), np.flatnonzero(last)])
    gap = np.zeros(len(at), dtype=np.int64)
    gap[: len(follows)] = rows.times[follows + 1] - rows.times[follows]
    keys, group, counts = _numbered(source * (end + 1) + target, (end + 1) ** 2)
    units = distinct_per_group(group, rows.unit[at], len(keys))
    people = distinct_per_group(group, rows.person[at], len(keys))
    seconds = medians(group, gap, len(keys))
    labels = [*names, BEGIN, END]
    found: list[list[Any]] = []
    for place, key in enumerate(keys):
        a, b = divmod(int(key), end + 1)
        between = None if a == begin or b == end else seconds[place]
        found.append([labels[a], labels[b], int(counts[place]), int(units[place]), int(people[place]), between])
    found.sort(key=lambda row: (-row[2], row[0], row[1]))
    return found


def _numbered(codes: np.ndarray, bound: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The codes that occur, which of them each row has, and how often each does; all are below `bound`."""
    if bound > len(codes) + _MANY_CODES:
        return np.unique(codes, return_inverse=True, return_counts=True)
    counts = np.bincount(codes, minlength=bound)  # sorts nothing
    keys = np.flatnonzero(counts)
    places = np.zeros(bound, dtype=np.int64)
    places[keys] = np.arange(len(keys))
    return keys, places[codes], counts[keys]


def _variants(rows: Sequences, names: list[str]) -> list[list[Any]]:
    first, last = _ends(rows.unit)
    begins, ends = np.flatnonzero(first), np.flatnonzero(last)
    group, texts = grouped_texts(rows.item, begins, ends, names)
    units = np.bincount(group, minlength=len(texts))
    people = distinct_per_group(group, rows.person[begins], len(texts))
    seconds = medians(group, rows.times[ends] - rows.times[begins], len(texts))
    found: list[list[Any]] = [
        [text, int(units[n]), int(people[n]), share(int(units[n]), len(begins)), text.count(" → ") + 1, seconds[n]]
        for n, text in enumerate(texts)
    ]
    found.sort(key=lambda row: (-row[1], row[0]))
    return found


def _loops(rows: Sequences, names: list[str]) -> list[list[Any]]:
    """An item again in the same unit, be it at once or later."""
    order = np.lexsort((np.arange(len(rows.unit)), rows.item, rows.unit))
    unit, item = rows.unit[order], rows.item[order]
    again = np.zeros(len(order), dtype=bool)
    again[1:] = (unit[1:] == unit[:-1]) & (item[1:] == item[:-1])
    places = order[again]
    if len(places) == 0:
        return []
    returns = np.bincount(rows.item[places], minlength=len(names))
    units = distinct_per_group(rows.item[places], rows.unit[places], len(names))
    people = distinct_per_group(rows.item[places], rows.person[places], len(names))
    having = distinct_per_group(rows.item, rows.unit, len(names))
    found: list[list[Any]] = [
        [names[n], int(returns[n]), int(units[n]), int(people[n]), share(int(units[n]), int(having[n]))]
        for n in np.flatnonzero(returns)
    ]
    found.sort(key=lambda row: (-row[1], row[0]))
    return found


def grouped_texts(
    items: np.ndarray, begins: np.ndarray, ends: np.ndarray, names: list[str]
) -> tuple[np.ndarray, list[str]]:
    """Which of the different sequences each one is (rows `begins` to `ends` of `items`), and how these are written."""
    known: dict[bytes, int] = {}
    group = np.empty(len(begins), dtype=np.int64)
    texts: list[str] = []
    for number, (low, high) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
        key = items[low : high + 1].tobytes()
        place = known.setdefault(key, len(known))
        if place == len(texts):
            texts.append(" → ".join(names[item] for item in items[low : high + 1].tolist()))
        group[number] = place
    return group, texts


def _ends(unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first = np.append(True, unit[1:] != unit[:-1])
    return first, np.append(first[1:], True)
