"""What Spark computes once, and what a server that keeps no rows makes of it."""

from __future__ import annotations

from typing import Any, Final

import pytest
from pyspark.errors import PySparkException
from pyspark.errors.exceptions.connect import SparkConnectGrpcException

from polku_analytics.engines.choice import open_engine
from polku_analytics.engines.spark import computed
from polku_analytics.errors import QueryError

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


def test_spark_computes_at_once_and_sail_at_every_question(spark_remote: str, is_apache_spark: bool) -> None:
    """Sail is given no place for rows here; its users can give it one."""
    engine = open_engine("spark", spark_remote)
    engine.keep("k", "SELECT UUID() AS c FROM RANGE(3)")
    is_kept = engine.rows("SELECT c FROM k ORDER BY c") == engine.rows("SELECT c FROM k ORDER BY c")
    assert is_kept is is_apache_spark
    with pytest.raises(QueryError, match="not a number"):
        engine.keep("k", FAILS)
        # What Sail has not kept, it has not computed either.
        assert not is_apache_spark
        engine.rows("SELECT c FROM k")
