"""Search quality: what is searched for in vain, what is chosen from the results, and where a search leads."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.scope import Part, Scope, check_unit
from polku_analytics.journeys import Journeys
from polku_analytics.result import UNIT_WORDS, AnalysisResult, share

Shown = Literal["summary", "zero", "terms", "positions"]
"""All searches together; words that found nothing; all words; places on the list of results."""

SUMMARY_COLUMNS: Final = ("measure", "searches", "of", "share", "units")
TERM_COLUMNS: Final = (
    "term",
    "searches",
    "units",
    "zero_results",
    "zero_share",
    "refined",
    "chosen",
    "success",
    "success_share",
    "exits",
)
POSITION_COLUMNS: Final = ("position", "chosen", "share", "share_up_to", "seen")

MEASURES: Final = (
    ("searches", "TRUE", "TRUE"),
    ("zero results", "x.zero_results", "x.zero_results IS NOT NULL"),
    ("refined", "x.refined", "x.refined IS NOT NULL"),
    ("chosen from", "x.clicked", "TRUE"),
    (
        "scrolled to the last",
        "x.lowest_position >= x.results_count",
        "x.lowest_position IS NOT NULL AND x.results_count > 0",
    ),
    ("success", "x.success", "TRUE"),
    ("exit without a product", "x.exit_after", "TRUE"),
)
"""Name, the searches it is about, and those for which it is known."""


class SearchQuestion(Struct, frozen=True, kw_only=True):
    """What to show of the searches in the scope."""

    scope: Scope = Scope()
    show: Shown = "summary"
    top: int = 20
    """So many words, or places."""


def run_search(journeys: Journeys, question: SearchQuestion) -> AnalysisResult:
    """What becomes of searches."""
    check_unit(question.scope, ("person", "session", "account"), "a question about searches")
    units = UNIT_WORDS[question.scope.unit]
    sentence, columns, key, measure = {
        "summary": (f"What becomes of the searches of {units}?", SUMMARY_COLUMNS, "measure", "share"),
        "zero": (f"What do {units} search for in vain?", TERM_COLUMNS, "term", "zero_results"),
        "terms": (f"What do {units} search for?", TERM_COLUMNS, "term", "searches"),
        "positions": (f"Which place on the list do {units} choose?", POSITION_COLUMNS, "position", "chosen"),
    }[question.show]
    return answer(
        journeys,
        question.scope,
        lambda part: _find(question, part),
        question=sentence,
        options={"show": question.show, "top": None if question.show == "summary" else question.top},
        columns=columns,
        keys=(key,),
        measure=measure,
        adds_up=measure != "share",
    )


def _find(question: SearchQuestion, part: Part) -> Finding:
    if question.show == "summary":
        return _summary(part)
    if question.show == "positions":
        return _positions(part, question.top)
    return _terms(part, question.top, zero_only=question.show == "zero")


def _summary(part: Part) -> Finding:
    terms = []
    for number, (_, is_so, known) in enumerate(MEASURES):
        terms += [
            f"COUNT(CASE WHEN {known} AND {is_so} THEN 1 END) AS searches_{number}",
            f"COUNT(CASE WHEN {known} THEN 1 END) AS of_{number}",
            f"COUNT(DISTINCT CASE WHEN {known} AND {is_so} THEN x.{part.unit_column} END) AS units_{number}",
        ]
    sql = f"SELECT {', '.join(terms)} FROM {part.rows('searches', 'searched_at')} AS x"
    found = part.journeys.rows(sql)[0]
    rows = []
    for number, (name, _, _) in enumerate(MEASURES):
        count, known_count, units = found[3 * number : 3 * number + 3]
        rows.append([name, count, known_count, share(count, known_count), units])
    return Finding(rows=rows, sql=sql)


def _terms(part: Part, top: int, *, zero_only: bool) -> Finding:
    def count(condition: str) -> str:
        return f"COUNT(CASE WHEN {condition} THEN 1 END)"

    zero = count("x.zero_results")
    having, first = (f" HAVING {zero} > 0", "zeros DESC, ") if zero_only else ("", "")
    sql = (
        f"SELECT x.words AS term, COUNT(*) AS searches, COUNT(DISTINCT x.{part.unit_column}) AS units, "
        f"{zero} AS zeros, {count('x.zero_results IS NOT NULL')} AS told, {count('x.refined')} AS refined, "
        f"{count('x.clicked')} AS chosen, {count('x.success')} AS success, {count('x.exit_after')} AS exits "
        f"FROM {part.rows('searches', 'searched_at')} AS x GROUP BY x.words{having} "
        f"ORDER BY {first}searches DESC, term"
    )
    rows = [
        [term, searches, units, zeros, share(zeros, told), refined, chosen, success, share(success, searches), exits]
        for term, searches, units, zeros, told, refined, chosen, success, exits in part.journeys.rows(sql)
    ]
    why = None if rows else _why_none(part, "is known to have found nothing")
    return Finding(rows=rows[:top], rest=rows[top:], sql=sql, why_empty=why)


def _why_none(part: Part, what: str) -> str:
    searches = part.journeys.rows(f"SELECT COUNT(*) FROM {part.rows('searches', 'searched_at')} AS x")[0][0]
    return f"of {searches} searches none {what}" if searches else "nobody searched"


def _positions(part: Part, top: int) -> Finding:
    sql = (
        "SELECT x.chosen_position, x.lowest_position, COUNT(*) AS searches "
        f"FROM {part.rows('searches', 'searched_at')} AS x "
        "WHERE x.chosen_position IS NOT NULL OR x.lowest_position IS NOT NULL "
        "GROUP BY x.chosen_position, x.lowest_position"
    )
    rows = position_rows(part.journeys.rows(sql), top)
    why = None if rows else _why_none(part, "is known to have been chosen from")
    return Finding(rows=rows, sql=sql, why_empty=why)


def position_rows(counted: list[tuple[int | None, int | None, int]], top: int) -> list[list[Any]]:
    """A row a place from 1 to the lowest that was chosen, at most `top` of them: how often chosen, how often seen."""
    chosen: dict[int, int] = {}
    for position, _, count in counted:
        if position is not None:
            chosen[position] = chosen.get(position, 0) + count
    total, so_far = sum(chosen.values()), 0
    rows: list[list[Any]] = []
    # From 0 where lists are numbered so.
    for position in range(min(1, min(chosen, default=1)), max(chosen, default=0) + 1):
        so_far += chosen.get(position, 0)
        if len(rows) < top:
            # What was chosen was seen, whatever was said of it.
            seen = sum(count for at, lowest, count in counted if max(at or 0, lowest or 0) >= position)
            rows.append(
                [position, chosen.get(position, 0), share(chosen.get(position, 0), total), share(so_far, total), seen]
            )
    return rows
