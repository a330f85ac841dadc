"""One lake and one server for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from polku_analytics.lake import Lake
from polku_schemas import Plan, builtin_plan_path, load_plan
from tests.engines.world import make_lake


@pytest.fixture(scope="session")
def plan() -> Plan:
    return load_plan(builtin_plan_path())


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> Lake:
    return make_lake(tmp_path_factory.mktemp("shop"), plan)


@pytest.fixture(scope="session")
def spark_remote() -> Iterator[str]:
    """Where Sail answers, a Spark Connect server in this process."""
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    yield f"sc://127.0.0.1:{server.listening_address[1]}"
    server.stop()
