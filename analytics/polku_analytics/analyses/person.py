"""One person: what is known of them, and their touchpoints over all channels in the order of time."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from polku_analytics.delta_types import quoted
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.journeys import Journeys, period_sql
from polku_analytics.period import Period
from polku_analytics.result import AnalysisResult
from polku_schemas import TRAIT_PREFIX, table_columns
from polku_schemas.rules import sql_literal

COLUMNS: Final = (
    "at",
    "session",
    "channel",
    "touchpoint",
    "event",
    "stage",
    "account_id",
    "order_id",
    "revenue",
    "said",
)

_KEPT_BACK: Final = ("personal", "sensitive")
"""Values of these classes are shown on request only."""


class PersonQuestion(Struct, frozen=True, kw_only=True):
    """Whose timeline."""

    id: str
    """The person id, or any user id or anonymous id of the person."""
    last: int | None = 50
    """So many touchpoints, the newest; None: all."""
    period: Period = Period()
    with_personal: bool = False
    """Show values that the plan calls personal or sensitive, too."""


def run_person(journeys: Journeys, question: PersonQuestion) -> AnalysisResult:
    """The timeline of one person, with `options.profile` beside it. The table `person_links` has to be open."""
    if question.last is not None and question.last < 1:
        raise AnalyticsError("a timeline has at least one touchpoint: --last 1")
    key = find_person(journeys, question.id)
    journeys.with_events()
    plan = journeys.plan
    shown = [
        name
        for name in table_columns(plan)
        if not name.startswith(TRAIT_PREFIX)
        and (question.with_personal or plan.properties[name].privacy not in _KEPT_BACK)
    ]
    properties = "".join(f", e.{quoted(name)}" for name in shown)
    dialect = journeys.engine.dialect
    sql = (
        "SELECT t.event_time, t.session_key, t.channel, t.touchpoint, t.event_name, t.stage, t.account_id, t.order_id, "
        f"t.revenue{properties} FROM touchpoints AS t "
        "LEFT JOIN events AS e ON e.source = t.source AND e.event_id = t.event_id AND e.event_name = t.event_name "
        f"WHERE t.person_key = {key} AND {period_sql(question.period, 't', dialect=dialect)} "
        "ORDER BY t.touchpoint_number"
    )
    found = journeys.rows(sql)
    sessions: dict[int, int] = {}
    rows = []
    for at, session, *facts in found:
        number = sessions.setdefault(session, len(sessions) + 1)
        said = {name: value for name, value in zip(shown, facts[7:], strict=True) if value is not None}
        rows.append([at, number, *facts[:7], said_text(said)])
    left_out = 0 if question.last is None else max(0, len(rows) - question.last)
    return AnalysisResult(
        question=f"What has {question.id} done?",
        unit="event",
        window=None,
        options={
            "since": question.period.since,
            "until": question.period.until,
            "time_zone": question.period.time_zone,
            "last": question.last,
            "profile": _profile(journeys, key, question.with_personal),
        },
        coverage={"touchpoints": len(rows), "sessions": len(sessions), "earlier_touchpoints_left_out": left_out},
        as_of=journeys.as_of,
        columns=list(COLUMNS),
        rows=rows[left_out:],
        sql=sql,
    )


def find_person(journeys: Journeys, name: str) -> int:
    """The key of the person with this person id, user id or anonymous id; of several people of a device the latest."""
    literal = sql_literal(name)
    for sql in (
        f"SELECT person_key FROM persons WHERE person_id = {literal}",
        f"SELECT person_key FROM person_links WHERE user_id = {literal} ORDER BY person_key LIMIT 1",
        f"SELECT person_key FROM person_links WHERE anonymous_id = {literal} "
        "ORDER BY CASE WHEN valid_from IS NULL THEN 0 ELSE 1 END DESC, valid_from DESC LIMIT 1",
    ):
        rows = journeys.rows(sql)
        if rows:
            return int(rows[0][0])
    # All ids would be too many to compare with: those that begin alike.
    alike = sql_literal(name[:3] + "%")
    near = journeys.rows(f"SELECT person_id FROM persons WHERE person_id LIKE {alike} ORDER BY person_id LIMIT 1000")
    raise UnknownNameError("person", name, [row[0] for row in near])


def said_text(said: dict[str, Any]) -> str | None:
    """Properties as compact JSON; None for none."""
    return msgspec.json.encode(said, enc_hook=str).decode() if said else None


def _profile(journeys: Journeys, key: int, with_personal: bool) -> dict[str, Any]:
    table = journeys.engine.arrow(f"SELECT * FROM profiles WHERE person_key = {key}")
    traits = journeys.plan.traits
    return {
        name: value
        for name, value in table.to_pylist()[0].items()
        if value is not None
        and name != "person_key"
        and (
            with_personal
            or not name.startswith(TRAIT_PREFIX)
            or traits[name.removeprefix(TRAIT_PREFIX)].privacy not in _KEPT_BACK
        )
    }
