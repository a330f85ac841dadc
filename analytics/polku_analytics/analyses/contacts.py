"""Service: contacts with agents (per order, how long, again, how satisfied after) and complaints (settled or not)."""

from __future__ import annotations

import bisect
from collections import defaultdict
from typing import Any, Final, Literal, get_args

from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.scope import NONE, Part, Scope, check_unit
from polku_analytics.analyses.survival import median_or_none, percentile_or_none, quantile_seconds
from polku_analytics.errors import UnknownNameError
from polku_analytics.journeys import Journeys, period_sql
from polku_analytics.result import AnalysisResult, share

By = Literal["agent_role", "reason", "medium", "agent_id", "channel"]

ALL: Final = "(all)"

ANSWER_SECONDS: Final = 7 * 86400
"""An answer at most so long after a contact, and after none in between, is about it."""

CONTACT_COLUMNS: Final = (
    "contacts",
    "people",
    "contacts_per_order",
    "median_seconds",
    "p90_seconds",
    "median_wait_seconds",
    "resolved_share",
    "repeat_share",
    "answers",
    "promoter_share",
    "detractor_share",
)

COMPLAINT_COLUMNS: Final = (
    "topic",
    "complaints",
    "people",
    "complaints_per_order",
    "solved",
    "solved_share",
    "median_seconds",
    "p90_seconds",
)


class ContactsQuestion(Struct, frozen=True, kw_only=True):
    """Contacts in the period, by what."""

    by: By = "agent_role"
    scope: Scope = Scope()


def run_contacts(journeys: Journeys, question: ContactsQuestion) -> AnalysisResult:
    """One row for all contacts and one for each role (or what was asked for), the most frequent first."""
    check_unit(question.scope, ("person",), "contacts")
    if question.by not in get_args(By):
        raise UnknownNameError("breakdown of contacts", question.by, get_args(By))
    return answer(
        journeys,
        question.scope,
        lambda part: find_contacts(part, question.by),
        question="How do people fare who contact us?",
        columns=(question.by, *CONTACT_COLUMNS),
        keys=(question.by,),
        measure="contacts",
        options={"by": question.by, "answer_within": "7d"},
    )


class _Contact(Struct, frozen=True):
    person: int
    number: int
    at: int
    asked: bool
    """Whether it lies in the period."""
    value: str
    duration: float | None
    wait: float | None
    resolved: bool | None
    repeat: bool


def find_contacts(part: Part, by: By) -> Finding:
    journeys, say = part.journeys, part.journeys.engine.dialect
    sql = (
        f"SELECT c.person_key, c.contact_number, {say.microseconds('c.contacted_at')} AS microseconds, "
        f"{period_sql(part.period, 'c', 'contacted_at', say)} AS asked, c.{by} AS value, "
        "c.duration_seconds, c.wait_seconds, c.resolved, c.repeat_contact "
        f"FROM contacts AS c WHERE {part.members('c')} ORDER BY c.person_key, c.contact_number"
    )
    every = [
        _Contact(key, number, at, bool(asked), value or NONE, *rest)
        for key, number, at, asked, value, *rest in journeys.rows(sql)
    ]
    found = [contact for contact in every if contact.asked]
    orders = order_count(part)
    # An answer belongs to the last contact before it, also where that one lies after the period.
    bands = _answers_after(part, every)
    grouped: dict[str, list[_Contact]] = defaultdict(list)
    for contact in found:
        grouped[contact.value].append(contact)
    ranked = sorted(grouped, key=lambda value: (-len(grouped[value]), value))
    rows = [_contact_row(ALL, found, orders, bands)]
    rows += [_contact_row(value, grouped[value], orders, bands) for value in ranked]
    return Finding(rows=rows, sql=sql, coverage={"orders": orders})


def _contact_row(value: str, found: list[_Contact], orders: int, bands: dict[tuple[int, int], list[str]]) -> list[Any]:
    durations = [contact.duration for contact in found if contact.duration is not None]
    known = [contact.resolved for contact in found if contact.resolved is not None]
    answers = [band for contact in found for band in bands.get((contact.person, contact.number), ())]
    return [
        value,
        len(found),
        len({contact.person for contact in found}),
        share(len(found), orders),
        median_or_none(durations),
        percentile_or_none(durations, 0.9),
        median_or_none([contact.wait for contact in found if contact.wait is not None]),
        share(sum(known), len(known)),
        share(sum(contact.repeat for contact in found), len(found)),
        len(answers),
        share(answers.count("promoter"), len(answers)),
        share(answers.count("detractor"), len(answers)),
    ]


def _answers_after(part: Part, found: list[_Contact]) -> dict[tuple[int, int], list[str]]:
    """The bands of survey answers by the contact (person, number) that each of them followed."""
    say = part.journeys.engine.dialect
    contacts: dict[int, list[_Contact]] = defaultdict(list)
    for contact in found:
        contacts[contact.person].append(contact)
    bands: dict[tuple[int, int], list[str]] = defaultdict(list)
    answers = part.journeys.rows(
        f"SELECT s.person_key, {say.microseconds('s.answered_at')} AS microseconds, s.band FROM satisfaction AS s "
        f"WHERE s.band IS NOT NULL AND s.event_name = 'survey_answered' AND {part.members('s')} "
        "ORDER BY s.person_key, microseconds"
    )
    for person, at, band in answers:
        mine = contacts.get(person, [])
        place = bisect.bisect_right(mine, at, key=lambda contact: contact.at) - 1
        if place >= 0 and at - mine[place].at <= ANSWER_SECONDS * 1_000_000:
            bands[person, mine[place].number].append(band)
    return bands


def order_count(part: Part) -> int:
    """Orders of the part in its period."""
    return int(part.journeys.rows(f"SELECT COUNT(*) FROM {part.rows()} AS t WHERE t.order_id IS NOT NULL")[0][0])


def run_complaints(journeys: Journeys, scope: Scope) -> AnalysisResult:
    """Complaints opened in the period by topic; those that are open still count as lasting until the as-of time."""
    check_unit(scope, ("person",), "complaints")
    return answer(
        journeys,
        scope,
        find_complaints,
        question="What do people complain about, and is it settled?",
        columns=COMPLAINT_COLUMNS,
        keys=("topic",),
        measure="complaints",
        options={"median": "Kaplan-Meier, open complaints censored"},
    )


def find_complaints(part: Part) -> Finding:
    journeys, say = part.journeys, part.journeys.engine.dialect
    sql = (
        f"SELECT c.person_key, {say.microseconds('c.opened_at')} AS microseconds, c.topic, c.solved_seconds "
        f"FROM {part.rows('complaints', 'opened_at')} AS c ORDER BY c.person_key, microseconds, c.complaint_id"
    )
    as_of = 0 if journeys.as_of is None else int(journeys.as_of.timestamp() * 1_000_000)
    orders = order_count(part)
    grouped: dict[str, list[tuple[int, float, bool]]] = defaultdict(list)
    for person, at, topic, seconds in journeys.rows(sql):
        lasted = (as_of - at) / 1_000_000 if seconds is None else seconds
        for name in (ALL, topic or NONE):
            grouped[name].append((person, lasted, seconds is not None))
    rows: list[list[Any]] = []
    grouped.setdefault(ALL, [])
    for name in sorted(grouped, key=lambda value: (value != ALL, -len(grouped[value]), value)):
        found = grouped[name]
        solved = sum(over for _, _, over in found)
        seconds, over = [row[1] for row in found], [row[2] for row in found]
        rows.append(
            [
                name,
                len(found),
                len({person for person, _, _ in found}),
                share(len(found), orders),
                solved,
                share(solved, len(found)),
                quantile_seconds(seconds, over, 0.5),
                quantile_seconds(seconds, over, 0.9),
            ]
        )
    return Finding(rows=rows, sql=sql, coverage={"orders": orders})
