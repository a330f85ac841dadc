"""Sessions against retentioneering, which splits by `>` too."""

from __future__ import annotations

import pyarrow as pa
import pytest
from retentioneering import Eventstream

from polku_analytics.build import build
from polku_analytics.journeys import Journeys, open_journeys
from polku_analytics.lake import Lake
from polku_analytics.session_rules import SessionRules
from polku_schemas import Plan


def test_as_many_sessions_as_retentioneering_finds(ecom: pa.Table, ecom_journeys: Journeys) -> None:
    frame = ecom.select(["user_id", "event_name", "event_time"]).to_pandas()
    frame.columns = ["user_id", "event", "timestamp"]
    theirs = Eventstream(frame).split_sessions(timeout="30m").df["session_id"].nunique()

    assert theirs == 3605
    assert ecom_journeys.rows("SELECT COUNT(*) FROM sessions") == [(theirs,)]


@pytest.mark.parametrize(("new_at_gap", "sessions"), [(False, 4171), (True, 4173)])
def test_the_exact_gap_tells_the_two_rules_apart(
    ecom: pa.Table, plan: Plan, tmp_path_factory: pytest.TempPathFactory, new_at_gap: bool, sessions: int
) -> None:
    import deltalake

    folder = tmp_path_factory.mktemp("ecom")
    deltalake.write_deltalake(str(folder / "events"), ecom)
    lake = Lake(folder, environ={})
    build(lake, plan, sessions=SessionRules(gap_seconds=600, new_at_gap=new_at_gap))
    assert open_journeys(lake, plan).rows("SELECT COUNT(*) FROM sessions") == [(sessions,)]
