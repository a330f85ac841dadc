"""Which currency is shown: one rule, whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from polku_analytics.analyses.scope import Scope
from polku_analytics.analyses.segment_sizes import SegmentsQuestion, run_segments
from polku_analytics.currencies import usual_currency
from polku_analytics.journeys import Journeys
from polku_analytics.period import Period
from polku_analytics.scorecards.card import run_scorecard
from tests.analytics.conftest import START


def test_the_one_of_most_and_of_as_many_the_first_by_name() -> None:
    assert usual_currency({"EUR": 1, "SEK": 2}) == "SEK"
    assert usual_currency({"SEK": 2, None: 2, "EUR": 2, "": 2}) == "EUR"
    assert usual_currency({"EUR": 1, None: 2}) is None
    assert usual_currency({}) is None


def test_tables_and_answers_show_the_same(event: Callable[..., dict[str, Any]], built: Callable[..., Journeys]) -> None:
    """An order in kronor, one in euros, one that names none."""
    rows = []
    for number, (currency, revenue) in enumerate((("SEK", 99.0), ("EUR", 10.0), (None, 1.0))):
        visit = {"user_id": f"u{number}", "session_id": f"s{number}", "utm_campaign": "spring"}
        told = {"revenue": revenue, **({"currency": currency} if currency else {})}
        rows.append(event("order_completed", number, order_id=str(number), **visit, **told))
    journeys = built(rows)
    assert journeys.rows("SELECT currency, net_revenue FROM daily_metrics") == [("EUR", 10.0)]
    assert journeys.rows("SELECT currency, net_revenue FROM campaigns") == [("EUR", 10.0)]
    card = {
        row["figure"]: row for row in run_scorecard(journeys, "management", Scope(period=Period(START.date()))).dicts()
    }
    assert (card["net_revenue"]["of"], card["net_revenue"]["value"]) == ("EUR", 10.0)
    (size,) = run_segments(journeys, SegmentsQuestion(scope=Scope(segments=("orders >= 1",)))).dicts()
    assert (size["currency"], size["revenue"]) == ("EUR", 10.0)
