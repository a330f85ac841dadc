"""One lake and one server for all tests. With `--apache-spark VENV` it is Spark itself, and only Spark is asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from polku_analytics.engines.choice import ENGINE_NAMES
from polku_analytics.lake import Lake
from polku_schemas import Plan, builtin_plan_path, load_plan
from tests.engines.apache_spark import java_complaint, spark_server
from tests.engines.world import make_lake

SAILS_ALONE = frozenset(
    (
        # Spark wants hadoop-aws and the AWS SDK for it, some 700 MB of jars.
        "test_a_lake_on_a_store",
        "test_without_a_place_sail_computes_at_every_question",
    )
)
"""Tests of a Spark Connect server that Spark itself is not asked."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--apache-spark", type=Path, metavar="VENV", help="ask Spark itself, of the PySpark in this venv")


def pytest_report_header(config: pytest.Config) -> str:
    return f"Spark Connect: {'Sail' if config.getoption('apache_spark', None) is None else 'Apache Spark'}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("apache_spark", None) is not None:
        complaint = java_complaint(os.environ)
        if complaint is not None:
            pytest.exit(complaint, returncode=pytest.ExitCode.USAGE_ERROR)
        items[:] = [item for item in items if isinstance(item, pytest.Function) and _asks_spark(item)]


def _asks_spark(test: pytest.Function) -> bool:
    parameters = test.callspec.params.values() if hasattr(test, "callspec") else ()
    of_others = any(name in parameters for name in ENGINE_NAMES if name != "spark")
    return "spark_remote" in test.fixturenames and not of_others and test.originalname not in SAILS_ALONE


@pytest.fixture(scope="session")
def plan() -> Plan:
    return load_plan(builtin_plan_path())


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> Lake:
    return make_lake(tmp_path_factory.mktemp("shop"), plan)


@pytest.fixture(scope="session")
def is_apache_spark(request: pytest.FixtureRequest) -> bool:
    return request.config.getoption("apache_spark") is not None


@pytest.fixture(scope="session")
def spark_remote(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a Spark Connect server answers: Sail in this process, or Spark itself."""
    venv: Path | None = request.config.getoption("apache_spark")
    if venv is not None:
        with spark_server(venv, tmp_path_factory.mktemp("spark")) as remote:
            yield remote
        return
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    yield f"sc://127.0.0.1:{server.listening_address[1]}"
    server.stop()
