"""Sessions against retentioneering, which splits by `>` too."""

from __future__ import annotations

from polku_analytics.journeys import Journeys

RETENTIONEERING_AT_30_MINUTES = 3605


def test_as_many_sessions_as_retentioneering_finds(ecom_journeys: Journeys) -> None:
    assert ecom_journeys.rows("SELECT COUNT(*) FROM sessions") == [(RETENTIONEERING_AT_30_MINUTES,)]
