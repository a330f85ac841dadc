"""Peers that answer the same questions. They are in the venv of `make test-oracles` and nowhere else."""

import importlib.util
import os
from pathlib import Path

import deltalake
import pyarrow as pa
import pyarrow.csv
import pytest

from polku_analytics.build import build
from polku_analytics.journeys import Journeys, open_journeys
from polku_analytics.lake import Lake
from polku_schemas import Plan
from tests.analytics.conftest import built, event, make_lake, new_history, plan

__all__ = ["built", "event", "make_lake", "new_history", "plan"]

os.environ["RETENTIONEERING_NO_TRACK"] = "1"  # before it is imported: it calls home otherwise

collect_ignore_glob = [] if importlib.util.find_spec("retentioneering") else ["test_*.py"]


@pytest.fixture(scope="session")
def ecom() -> pa.Table:
    """Retentioneering's made-up electronics shop: 600 people, 31,106 events; columns as `events` has them."""
    from retentioneering import datasets

    path = Path(datasets.__file__).with_name("ecom.csv.gz")
    read = pyarrow.csv.read_csv(path)
    times = read["timestamp"].cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
    number = pa.array(range(len(read)), pa.int64())
    ids = pa.array([f"e{n:06}" for n in range(len(read))])
    columns = {
        "event_id": ids,
        "event_type": pa.array(["track"] * len(read)),
        "event_name": read["event"].cast(pa.string()),
        "event_time": times,
        "received_at": times,
        "event_date": times.cast(pa.date32()),
        "stream": pa.array(["in-1"] * len(read)),
        "sequence": number,
        "source": pa.array(["shop"] * len(read)),
        "channel": pa.array(["web"] * len(read)),
        "user_id": read["user_id"].cast(pa.string()),
        "device": read["platform"].cast(pa.string()),
        "marketing_channel": read["acquisition_channel"].cast(pa.string()),
    }
    return pa.table(columns)


@pytest.fixture(scope="session")
def ecom_lake(ecom: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The same as the table `events` of a lake; sessions are for us to find."""
    folder = tmp_path_factory.mktemp("ecom")
    deltalake.write_deltalake(str(folder / "events"), ecom)
    return Lake(folder, environ={})


@pytest.fixture(scope="session")
def ecom_journeys(ecom_lake: Lake, plan: Plan) -> Journeys:
    """The same, built; no event of it is in the plan, so each keeps its name as touchpoint."""
    build(ecom_lake, plan)
    return open_journeys(ecom_lake, plan)
