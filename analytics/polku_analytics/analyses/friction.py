"""Friction: where people get stuck, ranked by what it costs.

Four signs are looked for in each visit: errors, the same thing done again, the same thing done again and again at once
(rage), and turning back. What a sign costs at a touchpoint is the difference in conversion between those who had it
there and those who passed the same touchpoint without it, times how many had it. Most signs are harmless; only what
chance explains badly is called costly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.conversions import ORDERS, Conversion, parse_conversion
from polku_analytics.analyses.scope import Part, Scope, check_unit, looks_elsewhere
from polku_analytics.analyses.significance import proportions
from polku_analytics.analyses.steps import parse_step, step_sql, vocabulary
from polku_analytics.engines.engine import unit_numbers
from polku_analytics.errors import AnalyticsError
from polku_analytics.journeys import Journeys
from polku_analytics.result import UNIT_WORDS, AnalysisResult, share
from polku_schemas.amounts import counted

By = Literal["touchpoint", "event", "page"]
"""What a place is."""

ERRORS: Final = ("error_shown", "payment_failed", "coupon_denied")
"""The errors of the built-in plan."""

RAGE_TIMES: Final = 3
RAGE_MICROSECONDS: Final = 10_000_000
"""The same thing so often within so long."""

ALPHA: Final = 0.01
"""Stricter than usual: friction is looked for in many places, and in each value of a breakdown again."""

KINDS: Final = ("error", "rage", "repeat", "back")

_COLUMN: Final[dict[By, str]] = {"touchpoint": "touchpoint", "event": "event_name", "page": "page_path"}

COLUMNS: Final = (
    "friction",
    "place",
    "units",
    "people",
    "conversion",
    "conversion_without",
    "loss",
    "lost",
    "p_value",
    "verdict",
)


class FrictionQuestion(Struct, frozen=True, kw_only=True):
    """Where people get stuck on the way to a conversion."""

    by: By = "touchpoint"
    conversion: str = ORDERS
    errors: tuple[str, ...] = ()
    """Steps that are errors; those of the built-in plan if empty."""
    fewest: int = 10
    """Rows of fewer units, with or without the sign, are left out."""
    top: int = 20
    scope: Scope = Scope(unit="session")


def run_friction(journeys: Journeys, question: FrictionQuestion) -> AnalysisResult:
    """Rank friction over the built tables."""
    check_unit(question.scope, ("session", "person", "account"), "friction")
    if question.fewest < 1 or question.top < 1:
        raise AnalyticsError("friction needs at least one unit, and at least one row")
    conversion = parse_conversion(journeys, question.conversion)
    known = vocabulary(journeys)
    steps = [parse_step(text, known) for text in question.errors or [e for e in ERRORS if e in known.event_names]]
    if any(step.when for step in steps):
        journeys.with_events()
    errors = " OR ".join(step_sql(step, "t") for step in steps) or "FALSE"
    return answer(
        journeys,
        question.scope,
        lambda part: _find(question, conversion, errors, part),
        question=f"Where do people get stuck on the way to {conversion.label}, and what does it cost?",
        options={
            "by": question.by,
            "conversion": conversion.label,
            "errors": [step.label for step in steps],
            "fewest": question.fewest,
            "level": ALPHA,
        },
        columns=COLUMNS,
        keys=("friction", "place"),
        measure="lost",
        adds_up=False,
    )


def _find(question: FrictionQuestion, conversion: Conversion, errors: str, part: Part) -> Finding:
    say, column = part.journeys.engine.dialect, _COLUMN[question.by]
    names = _names(part.journeys, column)
    events, pages = _names(part.journeys, "event_name"), _names(part.journeys, "page_path")
    sql = (
        f"SELECT t.{part.unit_column} AS unit, t.person_key, {say.microseconds('t.event_time')} AS microseconds, "
        f"CASE WHEN t.{column} IS NULL THEN -1 ELSE {say.code(f't.{column}', names)} END AS place, "
        f"{say.code('t.event_name', events)} AS event, "
        f"CASE WHEN t.page_path IS NULL THEN -1 ELSE {say.code('t.page_path', pages)} END AS page, "
        f"t.stage IS NOT NULL AS staged, COALESCE({errors}, FALSE) AS is_error, "
        f"COALESCE({conversion.sql}, FALSE) AS converts{part.number} FROM touchpoints AS t "
        f"WHERE {part.condition('t')} AND (t.stage IS NOT NULL OR COALESCE({errors}, FALSE) "
        f"OR COALESCE({conversion.sql}, FALSE))"
    )
    rows = part.ordered(sql, part.order("t"), joins=looks_elsewhere(errors + conversion.sql))
    sql = f"{sql} ORDER BY {part.order('t')}"
    signs = find_signs(
        unit_numbers(rows["unit"]),
        rows["microseconds"],
        rows["place"].astype(np.int64),
        rows["event"].astype(np.int64),
        rows["page"].astype(np.int64),
        rows["staged"].astype(bool),
        rows["is_error"].astype(bool),
    )
    counted = count_signs(
        unit_numbers(rows["unit"]),
        rows["person_key"],
        rows["microseconds"],
        rows["place"].astype(np.int64),
        rows["converts"].astype(bool),
        signs,
        len(names),
    )
    covered = {"signs": len(counted)}
    found, why = _rows(question, counted, names), _why_none(question, counted)
    return Finding(rows=found[: question.top], rest=found[question.top :], sql=sql, coverage=covered, why_empty=why)


def _why_none(question: FrictionQuestion, signs: Sequence[Sign]) -> str:
    units = UNIT_WORDS[question.scope.unit]
    if not signs:
        return f"no {units} show an error, a repeat, rage or turning back"
    most = max(min(sign.units, sign.without) for sign in signs)
    if not most:
        return f"of {counted(len(signs), 'sign')} none can be judged: no {units} passed its place without it"
    return (
        f"of {counted(len(signs), 'sign')} none has {question.fewest} {units} with it and as many without, the most "
        f"have {most}: lower --fewest to {most}, or ask about a longer period"
    )


def _names(journeys: Journeys, column: str) -> list[str]:
    found = journeys.rows(f"SELECT DISTINCT {column} FROM touchpoints WHERE {column} IS NOT NULL")
    return sorted(row[0] for row in found)


def find_signs(
    units: np.ndarray,
    times: np.ndarray,
    places: np.ndarray,
    events: np.ndarray,
    pages: np.ndarray,
    staged: np.ndarray,
    errors: np.ndarray,
) -> dict[str, np.ndarray]:
    """By kind of friction: for each row the place where it shows one, else -1. Rows are ordered by unit and time."""
    count = len(units)
    none = np.full(count, -1, dtype=np.int64)
    # An error that the plan places nowhere happened where the person was.
    here = np.where(staged & ~errors, np.arange(count), -1)
    np.maximum.accumulate(here, out=here)
    here = np.where((here >= 0) & (units[here] == units), here, np.arange(count)) if count else here
    signs = {"error": np.where(errors, np.where(staged, places, places[here]), none)}

    same = np.zeros(count, dtype=bool)
    same[1:] = (
        (units[1:] == units[:-1])
        & (events[1:] == events[:-1])
        & (pages[1:] == pages[:-1])
        # Without a page it is not known whether it is the same thing.
        & (pages[1:] >= 0)
        & ~errors[1:]
    )
    signs["repeat"] = np.where(same, places, none)

    at_once, back = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
    if count >= RAGE_TIMES:
        at_once[2:] = same[2:] & same[1:-1] & (times[2:] - times[:-2] <= RAGE_MICROSECONDS)
        back[2:] = (units[2:] == units[:-2]) & (places[2:] == places[:-2]) & (places[2:] != places[1:-1])
        back[2:] &= ~(errors[2:] | errors[1:-1] | errors[:-2])
        back[2:] &= places[2:] >= 0  # of two pages that are not known nobody knows that they are the same
    signs["rage"] = np.where(at_once, places, none)
    # What a person turns back from is where the friction is.
    signs["back"] = np.where(back, np.roll(places, 1), none)
    return signs


class Sign(Struct, frozen=True):
    """One kind of friction at one place."""

    kind: str
    place: int
    units: int
    people: int
    converted: int
    without: int
    converted_without: int


def count_signs(
    units: np.ndarray,
    people: np.ndarray,
    times: np.ndarray,
    places: np.ndarray,
    converts: np.ndarray,
    signs: dict[str, np.ndarray],
    place_count: int,
) -> list[Sign]:
    """Who has each sign, who passes its place without, and how many of either convert from that place on."""
    if len(units) == 0:
        return []
    number = np.unique(units, return_inverse=True)[1]
    last = np.full(int(number.max()) + 1, np.iinfo(np.int64).min, dtype=np.int64)
    np.maximum.at(last, number[converts], times[converts])
    width = place_count + 1
    key = number * width + places + 1
    first_rows = np.sort(np.unique(key, return_index=True)[1])
    visited_unit, visited_place = number[first_rows], places[first_rows]
    won = last[visited_unit] >= times[first_rows]
    found = []
    for kind in KINDS:
        marked = np.flatnonzero(signs[kind] >= 0)
        had = np.isin(visited_unit * width + visited_place + 1, number[marked] * width + signs[kind][marked] + 1)
        for place in np.unique(signs[kind][marked]):
            here = visited_place == place
            who = np.isin(number, visited_unit[here & had])
            found.append(
                Sign(
                    kind,
                    int(place),
                    int((here & had).sum()),
                    len(np.unique(people[who])),
                    int((here & had & won).sum()),
                    int((here & ~had).sum()),
                    int((here & ~had & won).sum()),
                )
            )
    return found


def _rows(question: FrictionQuestion, signs: Sequence[Sign], names: Sequence[str]) -> list[list[Any]]:
    enough = [sign for sign in signs if min(sign.units, sign.without) >= question.fewest]
    rows: list[list[Any]] = []
    for sign in enough:
        with_it, without = share(sign.converted, sign.units), share(sign.converted_without, sign.without)
        tested = proportions(sign.converted, sign.units, sign.converted_without, sign.without)
        loss = -(tested.difference or 0.0)
        # Of many signs some look costly by chance: each is held to a stricter level (Bonferroni).
        costly = loss > 0 and tested.p_value is not None and tested.p_value < ALPHA / len(enough)
        rows.append(
            [
                *(sign.kind, names[sign.place], sign.units, sign.people, with_it, without),
                *(round(loss, 6) + 0.0, round(sign.units * loss, 6) + 0.0),
                None if tested.p_value is None else round(tested.p_value, 9),
                "costly" if costly else "not shown to cost",
            ]
        )
    rows.sort(key=lambda row: (row[9] != "costly", -row[7], row[0], row[1]))
    return rows
