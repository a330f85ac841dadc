"""Suspicious merges: people who may be several, and several who may be one person. Nothing is changed by it.

Each finding says what it stands on, and why the ids were merged or not.

Reads what the build linked (`person_links`) and what identify calls told (`events`). The values of traits are not in
the answer: ids are enough to look them up, and an address in a terminal is one too many.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from polku_analytics.build.identity_traits import MAX_TELLERS, told_sql
from polku_analytics.errors import AnalyticsError
from polku_analytics.journeys import Journeys
from polku_analytics.period import Period
from polku_analytics.result import NO_ROWS, AnalysisResult
from polku_schemas import TRAIT_PREFIX
from polku_schemas.rules import sql_literal

COLUMNS: Final = ("finding", "id", "count", "days", "ids", "meaning")

PLACEHOLDERS: Final = (
    *(
        "null",
        "undefined",
        "none",
        "nan",
        "nil",
        "n/a",
        "true",
        "false",
        "0",
        "-1",
        "00000000-0000-0000-0000-000000000000",
    ),
    *("anonymous", "guest", "unknown", "user", "test", "default", "[object object]"),
)
"""User ids that stand for nobody: what code sends when it has none. All who send one are merged into one person."""

MEANINGS: Final = {
    "placeholder_id": "a user id that stands for nobody: people without an id are merged into it",
    "values_differ": "its user ids were joined, and tell different values of a trait that is one person's",
    "many_ids": "one person with very many ids: perhaps several people, or a shared log-in",
    "shared_device": "several known people, not merged: no device joins user ids",
    "same_value": "different people tell the same value: perhaps one person; joined only if the plan says join_users",
    "value_of_many": f"told by more than {MAX_TELLERS} ids: it joins nothing",
}
"""Findings, the gravest first. The table for people cuts what is longer than 60 characters."""

_SHOWN_IDS: Final = 5


class IdentityQuestion(Struct, frozen=True, kw_only=True):
    """What counts as many."""

    many_ids: int = 10
    shared_by: int = 3
    top: int = 20
    """Rows of each finding, the largest."""


def run_identity(journeys: Journeys, question: IdentityQuestion) -> AnalysisResult:
    """List suspicious merges and likely duplicates. Needs the table `person_links` to be open."""
    if question.many_ids < 2 or question.shared_by < 2:
        raise AnalyticsError("many ids, and a shared device, begin with 2")
    found = [*_of_links(journeys, question), *_of_values(journeys)]
    order = list(MEANINGS)
    found.sort(key=lambda row: (order.index(row[0]), -row[2], row[1]))
    kept: list[list[Any]] = []
    totals: dict[str, int] = defaultdict(int)
    for finding, name, count, days, ids in found:
        totals[finding] += 1
        if totals[finding] <= question.top:
            shown = ", ".join(ids[:_SHOWN_IDS]) + (
                f" and {len(ids) - _SHOWN_IDS} more" if len(ids) > _SHOWN_IDS else ""
            )
            kept.append([finding, name, count, days, shown or None, MEANINGS[finding]])
    return AnalysisResult(
        question="Which merges of ids look wrong, and who may be one person twice?",
        unit="person",
        window=None,
        options={
            "many_ids": question.many_ids,
            "shared_by": question.shared_by,
            "join_by": list(journeys.plan.join_by) or None,
            "join_users": journeys.plan.join_users,
        },
        coverage={
            **journeys.coverage(Period()),
            **{finding: totals[finding] for finding in order},
            **({} if kept else {NO_ROWS: "no merge looks wrong, and nobody looks like one person twice"}),
        },
        as_of=journeys.as_of,
        columns=list(COLUMNS),
        rows=kept,
        sql=_LINKS_SQL,
    )


_LINKS_SQL: Final = (
    "SELECT DISTINCT l.anonymous_id, l.user_id, l.person_key, p.person_id, p.known_person "
    "FROM person_links AS l JOIN persons AS p ON p.person_key = l.person_key"
)

_Found = tuple[str, str, int, int | None, list[str]]
"""Finding, id, count, days on which the id was seen (of ids that are in events), ids."""


def _of_links(journeys: Journeys, question: IdentityQuestion) -> Iterator[_Found]:
    many = (
        "SELECT person_id, user_ids, anonymous_ids, person_key FROM persons "
        f"WHERE user_ids + anonymous_ids >= {question.many_ids}"
    )
    crowded = journeys.rows(many)
    ids_of: dict[int, set[str]] = defaultdict(set)
    for key, name in journeys.rows(
        "SELECT DISTINCT l.person_key, COALESCE(l.anonymous_id, l.user_id) AS name "
        f"FROM person_links AS l JOIN ({many}) AS m ON m.person_key = l.person_key"
    ):
        ids_of[key].add(name)
    for person_id, user_ids, anonymous_ids, key in crowded:
        yield "many_ids", person_id, user_ids + anonymous_ids, None, sorted(ids_of[key])
    shared = (
        "SELECT l.anonymous_id, COUNT(DISTINCT l.person_key) AS people FROM person_links AS l "
        "WHERE l.anonymous_id IS NOT NULL AND l.user_id IS NOT NULL GROUP BY l.anonymous_id "
        f"HAVING COUNT(DISTINCT l.person_key) >= {question.shared_by}"
    )
    people_of: dict[str, set[str]] = defaultdict(set)
    for device, person_id in journeys.rows(
        "SELECT DISTINCT l.anonymous_id, l.person_id FROM person_links AS l "
        f"JOIN ({shared}) AS s ON s.anonymous_id = l.anonymous_id WHERE l.user_id IS NOT NULL"
    ):
        people_of[device].add(person_id)
    devices = dict(journeys.rows(shared))
    days_of = _days(journeys, "anonymous_id", devices)
    for device, people in devices.items():
        yield "shared_device", device, people, days_of.get(device, 0), sorted(people_of[device])
    listed = ", ".join(sql_literal(name) for name in PLACEHOLDERS)
    nobody = dict(
        journeys.rows(
            "SELECT l.user_id, COUNT(DISTINCT d.anonymous_id) AS devices FROM person_links AS l "
            "LEFT JOIN person_links AS d ON d.person_key = l.person_key AND d.anonymous_id IS NOT NULL "
            f"WHERE l.anonymous_id IS NULL AND LOWER(l.user_id) IN ({listed}) GROUP BY l.user_id"
        )
    )
    days_of = _days(journeys, "user_id", nobody)
    for user_id, count in nobody.items():
        yield "placeholder_id", user_id, count, days_of.get(user_id, 0), []


def _days(journeys: Journeys, column: str, ids: Collection[str]) -> dict[str, int]:
    """On how many days (UTC) each of the ids was seen."""
    if not ids:
        return {}
    journeys.with_events()
    day, listed = journeys.engine.dialect.local_day("e.event_time", "UTC"), ", ".join(map(sql_literal, sorted(ids)))
    sql = (
        f"SELECT e.{column}, COUNT(DISTINCT {day}) AS days FROM events AS e "
        f"WHERE e.{column} IN ({listed}) AND NOT COALESCE(e.is_bot, FALSE) GROUP BY e.{column}"
    )
    return dict(journeys.rows(sql))


def _of_values(journeys: Journeys) -> Iterator[_Found]:
    columns = [f"{TRAIT_PREFIX}{name}" for name in journeys.plan.join_by]
    if not columns:
        return
    journeys.with_events()
    told = journeys.rows(
        "SELECT DISTINCT v.trait, v.value, v.user_id, v.anonymous_id, l.person_id "
        f"FROM ({told_sql(columns, 'events')}) AS v "
        "LEFT JOIN person_links AS l ON l.anonymous_id IS NULL AND l.user_id = v.user_id"
    )
    by_person: dict[str, dict[tuple[str, str], set[str]]] = defaultdict(lambda: defaultdict(set))
    by_value: dict[tuple[str, str], set[str]] = defaultdict(set)
    tellers: dict[tuple[str, str], set[str]] = defaultdict(set)
    for trait, value, user_id, anonymous_id, person_id in told:
        tellers[trait, value].add(user_id or anonymous_id)
        if person_id is not None:
            by_person[person_id][trait, value].add(user_id)
            by_value[trait, value].add(person_id)
    for person_id, told_by in by_person.items():
        if _differ(told_by):
            users = set().union(*told_by.values())
            yield "values_differ", person_id, len(users), None, sorted(users)
    for key, people in by_value.items():
        if len(tellers[key]) <= MAX_TELLERS and len(people) > 1:
            yield "same_value", min(people), len(people), None, sorted(people)
    for key, ids in tellers.items():
        if len(ids) > MAX_TELLERS:
            yield "value_of_many", key[0].removeprefix(TRAIT_PREFIX), len(ids), None, sorted(ids)


def _differ(told_by: Mapping[tuple[str, str], set[str]]) -> bool:
    """Whether users tell different values of one trait and nothing binds them: no value that both told, nor a chain."""
    bound: list[set[str]] = []
    for users in told_by.values():
        touched = [group for group in bound if group & users]
        bound = [group for group in bound if not group & users] + [users.union(*touched)]
    return any(
        sum(any(group & users for (of, _), users in told_by.items() if of == trait) for group in bound) > 1
        for trait, _ in told_by
    )
