"""Prompts: at which step to speak to people who are not known yet, for example to ask them to log in.

That is the step after which they most often leave, or turn to service: there a prompt has the most to win.
"""

from __future__ import annotations

import datetime
from typing import Any, Final, Literal

from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.scope import Part, Scope, check_unit
from polku_analytics.analyses.significance import wilson
from polku_analytics.analyses.steps import Step, parse_step, step_sql, vocabulary
from polku_analytics.errors import AnalyticsError
from polku_analytics.journeys import PUSHED_CHANNELS, Journeys
from polku_analytics.result import AnalysisResult
from polku_schemas.rules import sql_literal

By = Literal["touchpoint", "event", "page"]
"""What a step is."""

SERVICE: Final = "touchpoint:service"
"""Turning to service, in the built-in plan."""

_COLUMN: Final[dict[By, str]] = {"touchpoint": "touchpoint", "event": "event_name", "page": "page_path"}

COLUMNS: Final = ("step", "passes", "people", "open", "then_service", "then_left", "share", "at_least")


class PromptQuestion(Struct, frozen=True, kw_only=True):
    """Where people who are not known leave or ask for help."""

    by: By = "touchpoint"
    contact: str | None = None
    """The step that is turning to service; None for that of the built-in plan, if this plan has it."""
    fewest: int = 20
    """Steps with fewer passes of which it is known what followed are left out."""
    top: int = 10
    scope: Scope = Scope(unit="event")


def run_prompt(journeys: Journeys, question: PromptQuestion) -> AnalysisResult:
    """Rank the steps of people who are not known at that time."""
    check_unit(question.scope, ("event",), "the moment for a prompt")
    if question.fewest < 1 or question.top < 1:
        raise AnalyticsError("the moment for a prompt needs at least one pass, and at least one row")
    known = vocabulary(journeys)
    contact: Step | None = None
    if question.contact is not None:
        contact = parse_step(question.contact, known)
        if contact.when:
            journeys.with_events()
    elif SERVICE.removeprefix("touchpoint:") in known.touchpoints:
        contact = parse_step(SERVICE, known)
    return answer(
        journeys,
        question.scope,
        lambda part: _find(question, contact, part),
        question="After which step do people who are not known leave or turn to service?",
        options={
            "by": question.by,
            "service": contact.label if contact else "not in the plan",
            "fewest": question.fewest,
            "steps": None,
        },
        columns=COLUMNS,
        keys=("step",),
        measure="share",
        adds_up=False,
    )


def _find(question: PromptQuestion, contact: Step | None, part: Part) -> Finding:
    column = _COLUMN[question.by]
    asked = f"CASE WHEN {step_sql(contact, 't')} THEN 1 ELSE 0 END" if contact else "0"
    pushed = ", ".join(map(sql_literal, PUSHED_CHANNELS))
    # NULLIF, because after the last one ClickHouse would say 0 for a number that is never null.
    # What the plan places in no stage is measured, not done: it is no step, and nothing that comes next. Who has
    # ordered may leave; and where we come to people there is nobody to prompt.
    sql = (
        f"SELECT s.item, COUNT(*) AS passes, COUNT(DISTINCT s.person_key) AS people, "
        f"COUNT(CASE WHEN s.next_asked = 1 THEN 1 END) AS then_service, "
        f"COUNT(CASE WHEN s.next_asked IS NULL AND v.may_go_on = 0 THEN 1 END) AS then_left, "
        f"COUNT(CASE WHEN s.next_asked IS NULL AND v.may_go_on = 1 THEN 1 END) AS still_open FROM ("
        f"SELECT t.*, t.{column} AS item, {asked} AS asked, LEAD(NULLIF({asked}, -1)) OVER ("
        f"PARTITION BY t.session_key ORDER BY t.touchpoint_number) AS next_asked, "
        f"COUNT(t.order_id) OVER (PARTITION BY t.session_key ORDER BY t.touchpoint_number "
        f"ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS ordered "
        f"FROM touchpoints AS t WHERE t.stage IS NOT NULL OR {asked} = 1) AS s "
        f"JOIN ({_visits_sql(part.journeys)}) AS v ON v.visit = s.session_key "
        f"WHERE s.item IS NOT NULL AND s.asked = 0 AND s.ordered = 0 AND NOT s.known_person "
        f"AND COALESCE(s.channel, '') NOT IN ({pushed}) AND {part.condition('s')} GROUP BY s.item"
    )
    rows: list[list[Any]] = []
    passes_in_all = most = 0
    for item, passes, people, service, left, still_open in part.journeys.rows(sql):
        over = passes - still_open
        passes_in_all, most = passes_in_all + passes, max(most, over)
        if over >= question.fewest:
            share = (service + left) / over
            at_least = round(wilson(service + left, over)[0], 6)
            rows.append([item, passes, people, still_open, service, left, round(share, 6), at_least])
    rows.sort(key=lambda row: (-row[7], -row[1], row[0]))
    why = None
    if not rows:
        why = "nobody who is not known has passed a step"
        if passes_in_all:
            why = "nobody who is not known has passed a step in a visit that is over"
        if most:
            why = (
                f"people who are not known passed the most frequent step {most} times, and a row must stand on "
                f"{question.fewest}: lower --fewest to {most}, or ask about a longer period"
            )
    return Finding(
        rows=rows[: question.top],
        rest=rows[question.top :],
        sql=sql,
        coverage={"passes_unknown": passes_in_all},
        why_empty=why,
    )


def _visits_sql(journeys: Journeys) -> str:
    """Each session, and whether it may go on: an event could come that would still belong to it."""
    if journeys.as_of is None:
        return "SELECT v.session_key AS visit, 0 AS may_go_on FROM sessions AS v"
    rules = journeys.sessions
    compared = ">" if rules.new_at_gap else ">="
    since = journeys.engine.dialect.moment(journeys.as_of - datetime.timedelta(seconds=rules.gap_seconds))
    return (
        f"SELECT v.session_key AS visit, CASE WHEN v.ended_at {compared} {since} THEN 1 ELSE 0 END AS may_go_on "
        "FROM sessions AS v"
    )
