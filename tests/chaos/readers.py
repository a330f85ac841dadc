"""Engines that read the tables as strangers: DuckDB from the paths in the log, Polars, and Sail over Spark Connect."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow.compute as pc
from deltalake import DeltaTable

COLUMNS = {
    "events": ("event_id", "stream", "sequence", "event_name", "user_id", "product_id", "price", "query", "extra"),
    "quarantine": ("event_id", "stream", "sequence", "event_name", "source", "code", "path", "original"),
}

Reader = Callable[[Path], list[tuple[Any, ...]]]
"""The columns above of a table that is a folder of this name."""


def duckdb_rows(table: Path) -> list[tuple[Any, ...]]:
    """The files that the log names, and nothing else of it."""
    paths = DeltaTable(str(table)).file_uris()
    if not paths:
        return []
    connection = duckdb.connect()
    files = connection.read_parquet(paths, union_by_name=True, hive_partitioning=False)
    have = [name if name in files.columns else f"NULL AS {name}" for name in COLUMNS[table.name]]
    return list(files.project(", ".join(have)).fetchall())


def missing(lake: Path, ids: Sequence[str]) -> list[str]:
    """Which of these ids are in neither table, for somebody who opens them at this moment."""
    there: set[Any] = set()
    for name in COLUMNS:
        rows = DeltaTable(str(lake / name)).to_pyarrow_dataset()
        wanted = pc.field("event_id").isin(list(ids))
        there.update(rows.to_table(columns=["event_id"], filter=wanted)["event_id"].to_pylist())
    return [event_id for event_id in ids if event_id not in there]


def polars_rows(table: Path) -> list[tuple[Any, ...]]:
    import polars

    return list(polars.scan_delta(str(table)).select(COLUMNS[table.name]).collect().rows())


class Sail:
    """A Sail server and a Spark client in a process of their own; both are started once."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def __call__(self, table: Path) -> list[tuple[Any, ...]]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{table}\n".encode())
        self._process.stdin.flush()
        answer = msgspec.json.decode(self._process.stdout.readline())
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return [tuple(row) for row in answer]

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    @staticmethod
    def is_installed() -> bool:
        return all(importlib.util.find_spec(name) for name in ("pysail", "pyspark"))


def _answer() -> None:
    from pysail.spark import SparkConnectServer
    from pyspark.sql import SparkSession

    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    session = SparkSession.builder.remote(f"sc://127.0.0.1:{server.listening_address[1]}").getOrCreate()
    for line in sys.stdin:
        try:
            table = Path(line.strip())
            frame = session.read.format("delta").load(str(table)).select(*COLUMNS[table.name])
            answer: Any = [list(row) for row in frame.collect()]
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _answer()
