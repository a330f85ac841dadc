"""Task times: how long it takes from one step to another, with those who have not finished in the reckoning.

A unit begins a task with the start step and finishes it with the first end step that follows; a start while a task
runs belongs to it. A task that has no end within the limit, or by the as-of time, is unfinished: it counts as lasting
at least so long (`survival.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.scope import Part, Scope, check_unit
from polku_analytics.analyses.steps import Step, parse_step, step_sql, vocabulary
from polku_analytics.analyses.survival import median_or_none, quantile_seconds
from polku_analytics.engines.engine import unit_numbers
from polku_analytics.journeys import Journeys
from polku_analytics.result import AnalysisResult, share, window_text

COLUMNS: Final = (
    "tasks",
    "units",
    "finished",
    "unfinished",
    "open",
    "share_finished",
    "median_seconds",
    "p90_seconds",
    "median_seconds_of_finished",
)


class TasksQuestion(Struct, frozen=True, kw_only=True):
    """From which step to which."""

    start: Step
    end: Step
    limit_seconds: int | None = None
    """A task that takes longer is not finished."""
    scope: Scope = Scope()


class Task(Struct, frozen=True):
    """One task: whose, since when, how long as far as is known, over or not."""

    unit: int
    begun: int
    """In microseconds."""
    seconds: float
    finished: bool


def tasks_question(
    journeys: Journeys, start: str, end: str, *, limit_seconds: int | None = None, scope: Scope | None = None
) -> TasksQuestion:
    """Read the two steps as people write them."""
    known = vocabulary(journeys)
    return TasksQuestion(
        start=parse_step(start, known),
        end=parse_step(end, known),
        limit_seconds=limit_seconds,
        scope=scope or Scope(),
    )


def run_tasks(journeys: Journeys, question: TasksQuestion) -> AnalysisResult:
    """Tasks that begin in the period; they may end after it."""
    check_unit(question.scope, ("person", "session", "account"), "a task")
    if question.start.when or question.end.when:
        journeys.with_events()
    limit = question.limit_seconds
    return answer(
        journeys,
        question.scope,
        lambda part: find_tasks(question, part),
        question=f"How long does it take from {question.start.label} to {question.end.label}?",
        window=None if limit is None else window_text(limit),
        options={
            "start": question.start.label,
            "end": question.end.label,
            "median": "Kaplan-Meier, unfinished censored",
        },
        columns=COLUMNS,
        keys=(),
        measure="median_seconds",
        adds_up=False,
    )


def find_tasks(question: TasksQuestion, part: Part) -> Finding:
    say = part.journeys.engine.dialect
    start, end = step_sql(question.start, "t"), step_sql(question.end, "t")
    sql = (
        f"SELECT t.{part.unit_column} AS unit, {say.microseconds('t.event_time')} AS microseconds, "
        f"CASE WHEN {start} THEN 1 ELSE 0 END AS begins, CASE WHEN {end} THEN 1 ELSE 0 END AS ends "
        f"FROM touchpoints AS t WHERE ({start} OR {end}) AND {part.members('t')} ORDER BY {part.order('t')}"
    )
    found = part.journeys.engine.columns(sql)
    as_of = part.journeys.as_of
    # A start in the period may belong to a task that was begun before it, so all tasks are walked through.
    walked = tasks_of(
        zip(
            unit_numbers(found["unit"]).tolist(),
            found["microseconds"].tolist(),
            found["begins"].tolist(),
            found["ends"].tolist(),
            strict=True,
        ),
        limit_seconds=question.limit_seconds,
        as_of_microseconds=0 if as_of is None else int(as_of.timestamp() * 1_000_000),
    )
    first, after = (None if edge is None else edge.timestamp() * 1e6 for edge in (part.period.start, part.period.end))
    tasks = [
        task for task in walked if (first is None or task.begun >= first) and (after is None or task.begun < after)
    ]
    seconds = [task.seconds for task in tasks]
    over = [task.finished for task in tasks]
    limit = question.limit_seconds
    still_open = sum(1 for task in tasks if not task.finished and (limit is None or task.seconds < limit))
    row: list[Any] = [
        len(tasks),
        len({task.unit for task in tasks}),
        sum(over),
        len(tasks) - sum(over),
        still_open,
        share(sum(over), len(tasks) - (0 if limit is None else still_open)),
        quantile_seconds(seconds, over, 0.5),
        quantile_seconds(seconds, over, 0.9),
        median_or_none([task.seconds for task in tasks if task.finished]),
    ]
    return Finding(rows=[row], sql=sql)


def tasks_of(
    rows: Iterable[tuple[Any, int, int, int]], *, limit_seconds: int | None, as_of_microseconds: int
) -> list[Task]:
    """The tasks in rows (unit, microseconds, begins, ends) that lie in the order of each unit.

    A row that both begins and ends finishes the task that runs and begins the next.
    """
    tasks: list[Task] = []
    limit = None if limit_seconds is None else limit_seconds * 1_000_000
    current: Any = None
    begun: int | None = None

    def close(at: int, finished: bool) -> None:
        assert begun is not None  # noqa: S101 - only called while a task runs
        lasted = max(0, at - begun)
        if limit is not None and lasted > limit:
            lasted, finished = limit, False
        tasks.append(Task(current, begun, lasted / 1_000_000, finished))

    for unit, at, begins, ends in rows:
        if unit != current:
            if begun is not None:
                close(as_of_microseconds, False)
            current, begun = unit, None
        if begun is not None and ends:
            close(at, True)
            begun = None
        elif begun is not None and begins and limit is not None and at - begun > limit:
            close(at, False)
            begun = None
        if begins and begun is None:
            begun = at
    if begun is not None:
        close(as_of_microseconds, False)
    return tasks
