"""Which engine answers: its name becomes an engine, and the packages of the others are never imported."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from polku_analytics.engines.duckdb import DuckDB
from polku_analytics.engines.engine import Engine
from polku_analytics.errors import AnalyticsError, UnknownNameError
from polku_analytics.lake import Lake, open_duckdb
from polku_schemas import Plan

if TYPE_CHECKING:
    from polku_analytics.build import Build
    from polku_analytics.engines.spark import Spark
    from polku_analytics.session_rules import SessionRules

EngineName = Literal["duckdb", "datafusion", "chdb", "spark"]

ENGINE_NAMES: Final[tuple[EngineName, ...]] = ("duckdb", "datafusion", "chdb", "spark")

_PACKAGES: Final = {"datafusion": "datafusion", "chdb": "chdb", "spark": "pyspark"}


def open_engine(name: EngineName = "duckdb", spark_remote: str | None = None) -> Engine:
    """An engine without tables. AnalyticsError says what to install, or that Spark's address is missing."""
    if name not in ENGINE_NAMES:  # from Python; the commands know their choices
        raise UnknownNameError("engine", name, ENGINE_NAMES)
    if name == "duckdb":
        return DuckDB(open_duckdb())
    _require(name)
    if name == "datafusion":
        from polku_analytics.engines.datafusion import DataFusion

        return DataFusion()
    if name == "chdb":
        from polku_analytics.engines.chdb import ClickHouse

        return ClickHouse()
    return _spark(spark_remote)


def build_on_spark(
    spark_remote: str | None,
    lake: Lake,
    plan: Plan,
    progress: Callable[[str], None],
    sessions: SessionRules | None = None,
) -> Build:
    """`build.build`, computed by a cluster."""
    _require("spark")
    from polku_analytics.engines.spark_build import build

    return build(_spark(spark_remote), lake, plan, progress, sessions)


def _require(name: EngineName) -> None:
    if importlib.util.find_spec(_PACKAGES[name]) is None:
        raise AnalyticsError(f"the engine {name} is not installed: run `pip install 'polku[{name}]'`")


def _spark(remote: str | None) -> Spark:
    if not remote:
        raise AnalyticsError("the engine spark needs an address: give --spark sc://HOST:PORT or set SPARK_REMOTE")
    from polku_analytics.engines.spark import Spark

    return Spark(remote)
