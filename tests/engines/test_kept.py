"""What Spark computes once, and what a server that keeps no rows makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
from pysail.spark import SparkConnectServer
from pyspark.errors import PySparkException
from pyspark.errors.exceptions.connect import SparkConnectGrpcException

from polku_analytics.engines.choice import open_engine
from polku_analytics.engines.spark import computed
from polku_analytics.errors import QueryError

ANEW: Final = "SELECT UUID() AS c"
FAILS: Final = "SELECT RAISE_ERROR('not a number') AS c FROM RANGE(3)"
SAILS_COMPLAINT: Final = "checkpoint object-store path is not configured; set execution.checkpoint.path"


class Refuses:
    """A query that a server does not compute at once."""

    def __init__(self, error: PySparkException) -> None:
        self.error = error

    def localCheckpoint(self) -> Any:
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        SparkConnectGrpcException(SAILS_COMPLAINT),
        SparkConnectGrpcException("[UNSUPPORTED_FEATURE.X] not here", "UNSUPPORTED_FEATURE.X", sql_state="0A000"),
    ],
    ids=["Sail", "not supported"],
)
def test_where_no_rows_can_be_kept_the_query_stands_in_for_them(error: PySparkException) -> None:
    frame = Refuses(error)
    assert computed(frame) is frame


@pytest.mark.parametrize(
    "error",
    [
        SparkConnectGrpcException("boom"),
        SparkConnectGrpcException("[DIVIDE_BY_ZERO] by zero", "DIVIDE_BY_ZERO", sql_state="22012"),
        # A query's own words, which Spark repeats.
        SparkConnectGrpcException("[CAST] 'execution.checkpoint.path' is no number", "CAST", sql_state="22018"),
    ],
    ids=["Sail", "Spark", "Spark of those words"],
)
def test_a_complaint_about_the_query_is_told(error: PySparkException) -> None:
    with pytest.raises(SparkConnectGrpcException) as caught:
        computed(Refuses(error))
    assert caught.value is error


@pytest.fixture(scope="module")
def keeping_remote(spark_remote: str, is_apache_spark: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that keeps rows: Spark does, Sail if it is given a place."""
    if is_apache_spark:
        yield spark_remote
        return
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SAIL_EXECUTION__CHECKPOINT__PATH", tmp_path_factory.mktemp("kept").as_uri())
        server = SparkConnectServer("127.0.0.1", 0)
        server.start(background=True)
    yield f"sc://127.0.0.1:{server.listening_address[1]}"
    server.stop()


def test_what_is_kept_is_computed_once_and_at_once(keeping_remote: str) -> None:
    engine = open_engine("spark", keeping_remote)
    engine.keep("k", ANEW)
    assert engine.rows("SELECT c FROM k") == engine.rows("SELECT c FROM k")
    with pytest.raises(QueryError, match="not a number"):
        engine.keep("k", FAILS)


def test_each_session_of_a_process_keeps_its_own(keeping_remote: str) -> None:
    first, second = (open_engine("spark", keeping_remote) for _ in range(2))
    for number, engine in enumerate((first, second, first)):
        engine.keep("k", f"SELECT {number} AS c")
    assert (first.rows("SELECT c FROM k"), second.rows("SELECT c FROM k")) == ([(2,)], [(1,)])


def test_without_a_place_sail_computes_at_every_question(spark_remote: str) -> None:
    engine = open_engine("spark", spark_remote)
    engine.keep("k", ANEW)
    assert engine.rows("SELECT c FROM k") != engine.rows("SELECT c FROM k")
