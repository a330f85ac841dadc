"""Funnel: how many people (or sessions) take given steps within a window, and where they stop.

A unit reaches step k if it has events e1 … ek that match the steps, in time order, with time(ek) - time(e1) within
the window, both ends included; anything may lie between. This is the rule of ClickHouse's `windowFunnel` in its default
mode: equal times count as in order, one event may serve two different steps, and a later first step starts a new
attempt. Each of these is an option; `attempts.py` counts, docs/definitions.md has the definitions with examples.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import numpy as np
from msgspec import Struct, structs

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.attempts import (
    Excluded,
    FunnelOutcome,
    Order,
    Reentry,
    Rules,
    Ties,
    count_funnel,
    quantile_seconds,
)
from polku_analytics.analyses.scope import BY_TIME, Arrays, Part, Scope, check_unit
from polku_analytics.analyses.steps import Step, funnel_steps, parse_step, step_sql, touchpoint_names, vocabulary
from polku_analytics.engines.engine import unit_numbers
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.period import Period
from polku_analytics.result import UNIT_WORDS, AnalysisResult, share, window_text

Show = Literal["steps", "times"]
"""The steps; or how long those who take them all need."""

DEFAULT_WINDOW_SECONDS: Final = 7 * 86400

LEFT: Final = "(nothing)"
"""Nothing more happened within the window, as far as the data goes."""

_STEPS_PER_MASK: Final = 62
"""Steps are read as bits of a signed 64-bit number; more steps take more numbers."""

_BETWEEN: Final = re.compile(r"(?P<step>.+?)\s+between\s+(?P<after>\d+)\s+and\s+(?P<before>\d+)", re.DOTALL)

COLUMNS: Final = (
    "step",
    "name",
    "count",
    "share_of_previous",
    "share_of_first",
    "median_seconds",
    "median_seconds_from_previous",
    "dropped",
    "still_in_window",
    "optional",
    "p90_seconds",
)
TIMES_COLUMNS: Final = ("up_to", "up_to_seconds", "count", "share", "share_so_far", "expected_share_so_far")
DROP_OFF_COLUMNS: Final = ("next", "count", "share", "median_seconds")

_EDGES: Final = (60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600)
_DAYS: Final = (1, 2, 3, 5, 7, 14, 21, 30, 45, 60, 90, 180, 365)
"""Where the bars of a histogram end: minutes and hours, then days."""


class Exclusion(Struct, frozen=True):
    """An attempt is void if this happens strictly between its steps `after` and `before` (numbers from 1)."""

    step: Step
    after: int
    before: int


class FunnelQuestion(Struct, frozen=True, kw_only=True):
    """A funnel to compute."""

    steps: tuple[Step, ...]
    window_seconds: int | None = DEFAULT_WINDOW_SECONDS
    """From the first step to the last; None: any time."""
    step_window_seconds: int | None = None
    """From each step to the next; None: any time."""
    order: Order = "in-order"
    reentry: Reentry = "any"
    ties: Ties = "ordered"
    distinct_events: bool = False
    """An event serves one step of an attempt at most."""
    exclusions: tuple[Exclusion, ...] = ()
    show: Show = "steps"
    drop_off: int | None = None
    """Show what those did next who dropped out at this step (a number from 1)."""
    scope: Scope = Scope()
    name: str | None = None
    """Of the saved funnel, if it is one."""


def funnel_question(
    journeys: Journeys,
    steps: Sequence[str],
    *,
    window_seconds: int | None = None,
    step_window_seconds: int | None = None,
    order: Order = "in-order",
    reentry: Reentry = "any",
    ties: Ties = "ordered",
    distinct_events: bool = False,
    exclude: Sequence[str] = (),
    show: Show = "steps",
    drop_off: str | None = None,
    scope: Scope | None = None,
) -> FunnelQuestion:
    """Read steps as people write them: at least two, or the name of one saved funnel of the plan.

    Without a scope a saved funnel counts its own unit. Without a window it is 7 days, or the saved funnel's; none in
    total where there is one per step. An exclusion is a step, or `STEP between 2 and 3`.
    """
    known = vocabulary(journeys)
    saved = journeys.plan.funnels
    if len(steps) == 1 and steps[0] in saved:
        funnel = saved[steps[0]]
        question = FunnelQuestion(
            steps=tuple(funnel_steps(funnel)),
            window_seconds=funnel.window_seconds,
            scope=scope or Scope(unit=funnel.unit),
            name=funnel.name,
        )
    elif len(steps) == 1 and known.event(steps[0]) is None and ":" not in steps[0] and "[" not in steps[0]:
        raise UnknownNameError("saved funnel or event", steps[0], {*saved, *known.event_names}, known.aliases)
    elif len(steps) < 2:
        listed = f" Saved funnels: {', '.join(sorted(saved))}." if saved else ""
        raise AnalyticsError(f"a funnel needs at least two steps, or the name of a saved one.{listed}")
    else:
        question = FunnelQuestion(steps=tuple(parse_step(text, known) for text in steps), scope=scope or Scope())
    total = None if step_window_seconds is not None else question.window_seconds
    question = structs.replace(
        question,
        window_seconds=window_seconds or total,
        step_window_seconds=step_window_seconds,
        order=order,
        reentry=reentry,
        ties=ties,
        distinct_events=distinct_events,
        show=show,
    )
    question = structs.replace(
        question,
        exclusions=tuple(
            _exclusion(text, len(question.steps), lambda step: parse_step(step, known)) for text in exclude
        ),
        drop_off=None if drop_off is None else _step_number(drop_off, question.steps),
    )
    _check(question)
    return question


def _exclusion(text: str, steps: int, read: Callable[[str], Step]) -> Exclusion:
    match = _BETWEEN.fullmatch(text.strip())
    if match is None:
        return Exclusion(read(text), 1, steps)
    after, before = int(match["after"]), int(match["before"])
    if not 1 <= after < before <= steps:
        raise AnalyticsError(f"{text!r} names steps that do not follow each other; there are {steps}")
    return Exclusion(read(match["step"]), after, before)


def _step_number(text: str, steps: Sequence[Step]) -> int:
    labels = [step.label for step in steps]
    if text.isdigit() and 1 <= int(text) <= len(steps):
        return int(text)
    if text in labels:
        return labels.index(text) + 1
    raise UnknownNameError("step of this funnel", text, labels)


def _check(question: FunnelQuestion) -> None:
    """AnalyticsError for options that mean nothing together."""
    held = [number for number, step in enumerate(question.steps, start=1) if not step.optional]
    if question.order == "any":
        if question.step_window_seconds is not None or question.distinct_events or question.ties == "strict":
            raise AnalyticsError("steps in any order have a window in total, and neither ties nor events of their own")
        if len(held) < len(question.steps) or any(
            (one.after, one.before) != (1, len(question.steps)) for one in question.exclusions
        ):
            raise AnalyticsError(
                "steps in any order are all required, and exclusions hold between the first and the last"
            )
        if question.drop_off is not None:
            raise AnalyticsError("steps in any order have no step to drop out at")
    if question.order == "strict" and question.exclusions:
        raise AnalyticsError("where no other event may lie between the steps, exclusions mean nothing")
    for one in question.exclusions:
        if one.after not in held or (one.before not in held and one.before != len(question.steps)):
            raise AnalyticsError("exclusions hold between steps that are not optional")
    if question.drop_off is not None and (question.drop_off not in held[:-1]):
        raise AnalyticsError("nobody drops out at the last step, nor at an optional one")


def run_funnel(journeys: Journeys, question: FunnelQuestion) -> AnalysisResult:
    """Compute a funnel over the built tables."""
    check_unit(question.scope, ("person", "session", "account"), "a funnel")
    if any(step.when for step in [*question.steps, *(one.step for one in question.exclusions)]):
        journeys.with_events()
    columns: tuple[str, ...] = COLUMNS
    key = "step"
    if question.drop_off is not None:
        columns, key = DROP_OFF_COLUMNS, "next"
    elif question.show == "times":
        columns, key = TIMES_COLUMNS, "up_to"
    return answer(
        journeys,
        question.scope,
        lambda part: _find(question, part),
        question=_sentence(question),
        window=None if question.window_seconds is None else window_text(question.window_seconds),
        options={
            "funnel": question.name,
            "steps": [step.label for step in question.steps],
            "window_seconds": question.window_seconds,
            "window_per_step": question.step_window_seconds and window_text(question.step_window_seconds),
            "reentry": question.reentry,
            "order": question.order,
            "ties": question.ties,
            "distinct_events": question.distinct_events,
            "exclude": [f"{one.step.label} between {one.after} and {one.before}" for one in question.exclusions]
            or None,
            "drop_off": question.drop_off,
        },
        columns=columns,
        keys=(key,),
        measure="count",
    )


def _sentence(question: FunnelQuestion) -> str:
    units = UNIT_WORDS[question.scope.unit]
    joint = {"in-order": " → ", "strict": " ⇒ ", "any": " + "}[question.order]
    names = joint.join(step.label for step in question.steps)
    within = f" within {window_text(question.window_seconds)}" if question.window_seconds else ""
    if question.step_window_seconds:
        within += f" within {window_text(question.step_window_seconds)} a step"
    if question.drop_off is not None:
        stop = question.steps[question.drop_off - 1].label
        return f"What do {units} do next who drop out of {names} at {stop}{within}?"
    if question.show == "times":
        return f"How long do {units} take for {names}{within}?"
    return f"How many {units} go {names}{within}?"


def funnel_counts(question: FunnelQuestion, part: Part) -> tuple[list[int], str]:
    """How many units of a part reach each step, and the SQL that read the data."""
    outcome, _, sql = _outcome(question, part, [])
    return outcome.counts, sql


def _find(question: FunnelQuestion, part: Part) -> Finding:
    names = _touchpoints(part.journeys) if question.drop_off is not None else []
    outcome, arrays, sql = _outcome(question, part, names)
    units, times = unit_numbers(arrays["unit"]), arrays["microseconds"]
    coverage: dict[str, Any] = {"still_in_window": sum(outcome.still_in_window)}
    if question.drop_off is not None:
        stops = outcome.stops.get(question.drop_off - 1, np.empty(0, dtype=np.int64))
        within = _microseconds(question.step_window_seconds or question.window_seconds)
        rows = _drop_off_rows(units, times, arrays["item"].astype(np.int64), stops, names, within)
        coverage["dropped"] = len(stops)
    elif question.show == "times":
        rows = _times_rows(outcome, question.window_seconds)
        if not part.value and not part.segment:
            coverage |= {"median_seconds": outcome.median_seconds[-1], "p90_seconds": outcome.p90_seconds[-1]}
        coverage |= {"began": outcome.counts[0], "took_all_steps": outcome.counts[-1]}
    else:
        rows = _rows(question.steps, outcome, question.order)
    whole = coverage["dropped"] if question.drop_off is not None else outcome.counts[0]
    return Finding(rows=rows, whole=whole, sql=sql, coverage=coverage, why_empty=_why_none(question, outcome))


def _why_none(question: FunnelQuestion, outcome: FunnelOutcome) -> str:
    began = f"{outcome.counts[0]} began with {question.steps[0].label}"
    if question.drop_off is None:
        return f"{began}, and none of them took all steps"
    return f"{began}, and none of them dropped out at {question.steps[question.drop_off - 1].label}"


def _outcome(question: FunnelQuestion, part: Part, names: Sequence[str]) -> tuple[FunnelOutcome, Arrays, str]:
    whole = question.order == "strict" or question.drop_off is not None
    sql = funnel_sql([*question.steps, *(one.step for one in question.exclusions)], part, whole=whole, names=names)
    joins = any(step.when for step in [*question.steps, *(one.step for one in question.exclusions)])
    order = part.order("t") if whole else BY_TIME
    arrays = part.ordered(sql, order, joins=joins)
    bits = [
        arrays[f"steps_{n // _STEPS_PER_MASK}"] & (1 << (n % _STEPS_PER_MASK)) != 0
        for n in range(len(question.steps) + len(question.exclusions))
    ]
    units, times = unit_numbers(arrays["unit"]), arrays["microseconds"]
    outcome = count_funnel(
        units,
        times,
        bits[: len(question.steps)],
        optional=[step.optional for step in question.steps],
        as_of_microseconds=data_end(part.journeys, part.period),
        rules=Rules(
            order=question.order,
            reentry=question.reentry,
            window_microseconds=_microseconds(question.window_seconds),
            step_window_microseconds=_microseconds(question.step_window_seconds),
            ties=question.ties,
            distinct_events=question.distinct_events,
            excluded=tuple(
                Excluded(rows, one.after - 1, one.before - 1)
                for rows, one in zip(bits[len(question.steps) :], question.exclusions, strict=True)
            ),
        ),
        stops_wanted=question.drop_off is not None,
    )
    return outcome, arrays, f"{sql} ORDER BY {order}"


def _microseconds(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * 1_000_000


def funnel_sql(steps: Sequence[Step], part: Part, *, whole: bool = False, names: Sequence[str] = ()) -> str:
    """The rows that match a step, with a bit per step; they are read by unit and time.

    `whole`: the other touchpoints too; with `names`, each as its place in them.
    """
    say = part.journeys.engine.dialect
    conditions = [step_sql(step, "t") for step in steps]
    masks = []
    for number in range(_mask_count(len(conditions))):
        of_mask = conditions[number * _STEPS_PER_MASK : (number + 1) * _STEPS_PER_MASK]
        bits = " + ".join(
            f"CASE WHEN {condition} THEN CAST({1 << bit} AS BIGINT) ELSE 0 END" for bit, condition in enumerate(of_mask)
        )
        masks.append(f"CAST({bits} AS BIGINT) AS steps_{number}")
    either = " OR ".join(dict.fromkeys(conditions))
    item = f", {say.code('t.touchpoint', names)} AS item" if names else ""
    wanted = part.condition("t") if whole else f"({either}) AND {part.condition('t')}"
    return (
        f"SELECT t.{part.unit_column} AS unit, {say.microseconds('t.event_time')} AS microseconds, "
        f"{', '.join(masks)}{item}{part.number if whole else ''} FROM touchpoints AS t WHERE {wanted}"
    )


def _touchpoints(journeys: Journeys) -> list[str]:
    return touchpoint_names(journeys) or [LEFT]


def _drop_off_rows(
    units: np.ndarray,
    times: np.ndarray,
    items: np.ndarray,
    stops: np.ndarray,
    names: Sequence[str],
    within: int | None,
) -> list[list[Any]]:
    """The first touchpoint of another kind that each unit has after its stop, and how soon."""
    if len(stops) == 0:
        return []
    changes = np.ones(len(units), dtype=bool)
    changes[1:] = (units[1:] != units[:-1]) | (items[1:] != items[:-1])
    rows = np.append(np.flatnonzero(changes), len(units))
    following = rows[np.searchsorted(rows, stops, side="right")]
    found = np.minimum(following, len(units) - 1)
    goes_on = (following < len(units)) & (units[found] == units[stops])
    gap = times[found] - times[stops]
    if within is not None:
        goes_on &= gap <= within
    code = np.where(goes_on, items[found], len(names))
    answers: list[list[Any]] = []
    for item in np.unique(code):
        of_item = code == item
        count = int(np.count_nonzero(of_item))
        seconds = quantile_seconds(gap[of_item], 0.5) if item < len(names) else None
        answers.append([[*names, LEFT][item], count, share(count, len(stops)), seconds])
    answers.sort(key=lambda row: (-row[1], row[0]))
    return answers


def _times_rows(outcome: FunnelOutcome, window: int | None) -> list[list[Any]]:
    """How many take so long, as bars; and the share that has gone through by then, as if nobody were cut off by the end
    of the data (Kaplan and Meier's estimate)."""
    took = outcome.durations
    if len(took) == 0:
        return []
    last = window if window is not None else int(-(-int(took.max()) // 1_000_000)) or 1
    ends = [end for end in [*_EDGES, *(day * 86400 for day in _DAYS)] if end < last] + [last]
    followed = outcome.followed if window is None else np.minimum(outcome.followed, window * 1_000_000)
    at, expected = expected_shares(took, followed)
    rows: list[list[Any]] = []
    before = 0
    for end in ends:
        so_far = int(np.count_nonzero(took <= end * 1_000_000))
        place = int(np.searchsorted(at, end * 1_000_000, side="right"))
        by_then = round(float(expected[place - 1]), 6) if place else 0.0
        begun = outcome.counts[0]
        rows.append(
            [window_text(end), end, so_far - before, share(so_far - before, begun), share(so_far, begun), by_then]
        )
        before = so_far
    return rows


def expected_shares(took: np.ndarray, followed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kaplan and Meier: after how long which share is through, of `took` (through after so long) and `followed` (not
    through so far, and not known of for longer)."""
    at, through = np.unique(took, return_counts=True)
    took, followed = np.sort(took), np.sort(followed)
    at_risk = len(took) - np.searchsorted(took, at) + len(followed) - np.searchsorted(followed, at)
    return at, 1 - np.cumprod(1 - through / at_risk)


def _mask_count(steps: int) -> int:
    return (steps + _STEPS_PER_MASK - 1) // _STEPS_PER_MASK


def data_end(journeys: Journeys, period: Period) -> int | None:
    """The last moment the answer knows of, in microseconds: the newest event, or the end of the period before that."""
    if journeys.as_of is None:
        return None
    end = journeys.as_of
    if period.end is not None:
        end = min(end, period.end)
    return round(end.timestamp() * 1_000_000)


def _rows(steps: Sequence[Step], outcome: FunnelOutcome, order: Order) -> list[list[Any]]:
    rows = []
    previous = 0
    for number, step in enumerate(steps):
        count = outcome.counts[number]
        rows.append(
            [
                number + 1,
                f"any {number + 1} of {len(steps)}" if order == "any" else step.label,
                count,
                share(count, outcome.counts[previous]) if number else None,
                share(count, outcome.counts[0]),
                outcome.median_seconds[number],
                outcome.median_seconds_from_previous[number],
                outcome.dropped[number],
                outcome.still_in_window[number],
                step.optional,
                outcome.p90_seconds[number],
            ]
        )
        if not step.optional:
            previous = number
    return rows
