"""Satisfaction: scores by the touchpoint they followed, and what people of each band do afterwards."""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

from msgspec import Struct

from polku_analytics.analyses.answer import Finding, answer
from polku_analytics.analyses.scope import NONE, Part, Scope, check_unit
from polku_analytics.analyses.steps import Step, parse_step, step_sql, vocabulary
from polku_analytics.errors import UnknownNameError
from polku_analytics.journeys import Journeys
from polku_analytics.result import AnalysisResult, share

By = Literal["touchpoint_before", "event_before", "about", "survey_id", "event_name", "channel"]
BANDS: Final = ("promoter", "passive", "detractor")
SCALES: Final = ("nps", "csat", "ces", "stars", "yes_no")
"""Those whose ends the table `satisfaction` knows: a score without a band lies outside of them."""

SCORE_COLUMNS: Final = (
    "scale",
    "answers",
    "people",
    "mean_score",
    "promoters",
    "passives",
    "detractors",
    "net_share",
)
BAND_COLUMNS: Final = (
    "band",
    "people",
    "buyers",
    "repeat_rate",
    "ordered_after",
    "ordered_after_share",
    "referred_after",
    "referral_rate",
)


class SatisfactionQuestion(Struct, frozen=True, kw_only=True):
    """Answers in the period, by what."""

    by: By = "touchpoint_before"
    scope: Scope = Scope()


def run_satisfaction(journeys: Journeys, question: SatisfactionQuestion) -> AnalysisResult:
    """Scores by touchpoint (or what was asked for) and scale: means of different scales are never mixed."""
    check_unit(question.scope, ("person", "session"), "satisfaction")
    if question.by not in get_args(By):
        raise UnknownNameError("breakdown of satisfaction", question.by, get_args(By))
    return answer(
        journeys,
        question.scope,
        lambda part: _scores(part, question.by),
        question="How satisfied are people, and after what?",
        columns=(question.by, *SCORE_COLUMNS),
        keys=(question.by, "scale"),
        measure="mean_score",
        adds_up=False,
        options={"by": question.by},
    )


def _scores(part: Part, by: By) -> Finding:
    known = ", ".join(f"'{scale}'" for scale in SCALES)
    within = f"CASE WHEN s.band IS NOT NULL OR COALESCE(s.scale, '') NOT IN ({known}) THEN s.score END"
    counted = ", ".join(f"SUM(CASE WHEN s.band = '{band}' THEN 1 ELSE 0 END) AS {band}s" for band in BANDS)
    sql = (
        f"SELECT s.{by} AS value, s.scale, COUNT(*) AS answers, COUNT(DISTINCT s.person_key) AS people, "
        f"AVG({within}) AS mean_score, {counted} FROM {part.rows('satisfaction', 'answered_at')} AS s "
        f"WHERE s.score IS NOT NULL GROUP BY s.{by}, s.scale"
    )
    found = sorted(part.journeys.rows(sql), key=lambda row: (-row[2], row[0] or NONE, row[1] or ""))
    rows = []
    for value, scale, answers, people, mean, *bands in found:
        promoters, passives, detractors = (int(count) for count in bands)
        banded = promoters + passives + detractors
        net = round((promoters - detractors) / banded, 6) if banded else None
        score = None if mean is None else round(float(mean), 6)
        rows.append([value or NONE, scale, answers, people, score, promoters, passives, detractors, net])
    return Finding(rows=rows, sql=sql, why_empty="no answer, review or rating has a score")


def run_bands(journeys: Journeys, scope: Scope, referral: str | None = None) -> AnalysisResult:
    """What people of each band do after their first survey answer in the period.

    `referral`: the step that is a referral; the stage `referral`, where the plan has it, unless another is named.
    """
    check_unit(scope, ("person",), "satisfaction bands")
    if referral is None and "referral" in journeys.plan.stages:
        referral = "stage:referral"
    step = None if referral is None else parse_step(referral, vocabulary(journeys))
    if step is not None and step.when:
        journeys.with_events()
    return answer(
        journeys,
        scope,
        lambda part: _bands(part, step),
        question="Do satisfied people come back and refer others?",
        columns=BAND_COLUMNS,
        keys=("band",),
        measure="people",
        options={"referral": None if step is None else step.label},
    )


def _bands(part: Part, referral: Step | None) -> Finding:
    answered = (
        "SELECT person_key, band, answered_at FROM (SELECT s.person_key, s.band, s.answered_at, ROW_NUMBER() OVER ("
        "PARTITION BY s.person_key ORDER BY s.answered_at, s.event_id, s.source) AS place "
        f"FROM {part.rows('satisfaction', 'answered_at')} AS s "
        "WHERE s.band IS NOT NULL AND s.event_name = 'survey_answered') AS f WHERE place = 1"
    )
    later = "MAX(CASE WHEN {} AND t.event_time > a.answered_at THEN 1 ELSE 0 END)"
    refers = "1 = 0" if referral is None else step_sql(referral, "t")
    sql = (
        "SELECT u.band, COUNT(*) AS people, SUM(CASE WHEN p.orders >= 1 THEN 1 ELSE 0 END) AS buyers, "
        "SUM(CASE WHEN p.orders >= 2 THEN 1 ELSE 0 END) AS repeaters, SUM(u.ordered) AS ordered, "
        "SUM(u.referred) AS referred FROM ("
        f"SELECT a.person_key, a.band, {later.format('t.order_id IS NOT NULL')} AS ordered, "
        f"{later.format(refers)} AS referred FROM ({answered}) AS a "
        "JOIN touchpoints AS t ON t.person_key = a.person_key GROUP BY a.person_key, a.band) AS u "
        "JOIN profiles AS p ON p.person_key = u.person_key GROUP BY u.band"
    )
    found = {row[0]: [int(value or 0) for value in row[1:]] for row in part.journeys.rows(sql)}
    rows: list[list[Any]] = []
    for band in BANDS:
        people, buyers, repeaters, ordered, referred = found.get(band, [0] * 5)
        rows.append(
            [
                band,
                people,
                buyers,
                share(repeaters, buyers),
                ordered,
                share(ordered, people),
                None if referral is None else referred,
                None if referral is None else share(referred, people),
            ]
        )
    return Finding(rows=rows, sql=sql)
