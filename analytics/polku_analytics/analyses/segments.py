"""Segments: reading who is meant, as a condition on `profiles`.

A segment is the name of one of the plan, or terms joined by `and`: a comparison on a column of `profiles`
(`orders >= 2`, `trait_city = Oulu`), `stage:NAME` (the present stage), `did:STEP` or `not did:STEP` (ever, whatever the
period).
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from polku_analytics.analyses.steps import condition, parse_step, step_sql, vocabulary
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys
from polku_schemas import segment_sql, when_sql
from polku_schemas.rules import Kind, sql_literal

PEOPLE: Final = "profiles"
"""The table whose columns a segment may ask about."""

_AND: Final = re.compile(r"""\s+and\s+(?![^\[]*\])(?=(?:[^'"]|'[^']*'|"[^"]*")*$)""", re.IGNORECASE)
_TERM: Final = re.compile(r"(?P<no>not\s+)?(?P<kind>did|stage):(?P<rest>.+)", re.IGNORECASE | re.DOTALL)


class SegmentFilter(Struct, frozen=True):
    """A segment that is known to make sense."""

    label: str
    sql: str
    """The condition on a row of `profiles AS p`."""

    @property
    def keys_sql(self) -> str:
        """The person keys of its people, one column."""
        return f"SELECT p.person_key FROM {PEOPLE} AS p WHERE {self.sql}"


def parse_segment(journeys: Journeys, text: str) -> SegmentFilter:
    """Read one segment. AnalyticsError or UnknownNameError says what is wrong with it."""
    saved = journeys.plan.segments.get(text.strip())
    if saved is not None:
        return SegmentFilter(saved.name, segment_sql(saved, "p"))
    terms = [part.strip() for part in _AND.split(text.strip())]
    if len(terms) == 1 and re.fullmatch(r"\w+", terms[0]):
        columns = person_kinds(journeys)
        known = {*journeys.plan.segments, *(name for name, kind in columns.items() if kind == "boolean")}
        if terms[0] not in known and terms[0] in columns:
            raise AnalyticsError(f"{terms[0]} is a column: compare it with something, such as '{terms[0]} >= 1'")
        if terms[0] not in known:
            raise UnknownNameError("segment", terms[0], known)
    return SegmentFilter(text.strip(), " AND ".join(_term_sql(journeys, term, text) for term in terms))


def person_kinds(journeys: Journeys) -> dict[str, Kind]:
    """The columns of `profiles` that a segment or a breakdown may ask about, and what they hold."""
    kinds: dict[str, Kind] = {}
    for field in journeys.engine.arrow(f"SELECT * FROM {PEOPLE} LIMIT 0").schema:
        kind = _KINDS.get(str(field.type))
        if kind is not None:
            kinds[field.name] = kind
    return kinds


_KINDS: Final[dict[str, Kind]] = {
    "string": "string",
    "large_string": "string",
    "string_view": "string",
    "int64": "integer",
    "double": "number",
    "bool": "boolean",
}


def _term_sql(journeys: Journeys, term: str, text: str) -> str:
    match = _TERM.fullmatch(term)
    if match is None:
        return when_sql(condition(term, text, person_kinds(journeys)), "p")
    if match["kind"].lower() == "stage":
        if match["rest"] not in journeys.plan.stages:
            raise UnknownNameError("stage", match["rest"], journeys.plan.stages)
        sql = f"p.stage = {sql_literal(match['rest'])}"
        return f"COALESCE(NOT ({sql}), TRUE)" if match["no"] else sql
    step = parse_step(match["rest"], vocabulary(journeys))
    if step.when:
        journeys.with_events()
    found = f"SELECT t.person_key FROM touchpoints AS t WHERE {step_sql(step, 't')}"
    return f"p.person_key {'NOT IN' if match['no'] else 'IN'} ({found})"


def require_people(journeys: Journeys, segment: SegmentFilter) -> None:
    """AnalyticsError if nobody is in the segment: an answer over nobody would look like an answer."""
    if not journeys.rows(f"SELECT 1 FROM ({segment.keys_sql}) LIMIT 1"):
        raise AnalyticsError(f"nobody is in the segment {segment.label!r}")
