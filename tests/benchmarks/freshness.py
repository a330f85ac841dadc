"""Freshness: from the receipt of each event to the moment a reader sees its row, while a steady load is on.

A reader looks for new versions all the time and notes when it saw each; what a version added says when its rows were
received. So every row is measured, at the reader, and not only the oldest of a commit.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from tests.s3_server import s3_bucket

from .bodies import save
from .figures import Figure, NotAsExpected
from .load import Load, generate
from .processes import collector
from .shop import Shop

HALF_LOAD = 30_000
"""Events a second: half of what the collector is to sustain end to end (60,000, two cores)."""
_BATCH = 100
_S3_BATCHES_PER_SECOND = 5
_LOOK_SECONDS = 0.01
_PATIENCE_SECONDS = 60.0


def run(work: Path, seconds: float) -> list[Figure]:
    """On disk with a flush of 1 s and of 0.5 s, and on an S3-compatible server with one of 1 s."""
    figures = []
    templates = save(Shop(seed=5).templates(100, _BATCH), work / "freshness.templates")
    for flush_seconds, target in ((1.0, 1.5), (0.5, 1.0)):
        root = work / f"freshness-{flush_seconds}"
        ages = _ages(root, str(root / "lake"), templates, seconds, flush_seconds, HALF_LOAD / _BATCH)
        figures.append(_figure("on disk", ages, flush_seconds, target, HALF_LOAD))
    with pytest.MonkeyPatch.context() as patch, s3_bucket("bench", patch):
        ages = _ages(work / "freshness-s3", "s3://bench/lake", templates, seconds, 1.0, _S3_BATCHES_PER_SECOND)
    figures.append(_figure("on S3", ages, 1.0, 1.0 + 2.0, _S3_BATCHES_PER_SECOND * _BATCH))
    return figures


def _figure(where: str, ages: np.ndarray, flush_seconds: float, target: float, load: int) -> Figure:
    return Figure(
        subject="freshness",
        what=f"receipt → visible row, {where}, p99, flush every {flush_seconds:g} s, {load:,} events/s",
        value=float(np.quantile(ages, 0.99)),
        unit="s",
        baseline=flush_seconds,
        baseline_what="the flush interval",
        target=target,
        lower_is_better=True,
        note=f"p50 {np.quantile(ages, 0.5):.2f} s, longest {ages.max():.2f} s, {len(ages):,} rows",
    )


def _ages(
    root: Path, lake: str, templates: Path, seconds: float, flush_seconds: float, requests_per_second: float
) -> np.ndarray:
    """Seconds from receipt to sight, of every row."""
    answer = f'{{"success":true,"accepted":{_BATCH},"rejected":[]}}'
    with collector(root, flush_seconds=flush_seconds, lake=lake) as server:
        reader = _Reader(f"{lake}/events")
        reader.start()
        try:
            # What a collector does once, such as making the table, is not what a steady load sees.
            first: Load = generate(server.port, templates, answer, connections=1, seconds=0.1)
            _until(lambda: reader.rows >= first.events, server.log)
            load: Load = generate(
                server.port, templates, answer, connections=8, seconds=seconds, requests_per_second=requests_per_second
            )
            _until(lambda: reader.rows >= first.events + load.events, server.log)
        finally:
            reader.stop()
        ages = reader.ages(since=load.first)
    if len(ages) != load.events:
        raise NotAsExpected(f"{load.events} events were sent, {len(ages)} rows were seen to appear")
    return ages


class _Reader:
    """Somebody who has the table open and looks for new versions."""

    def __init__(self, table: str) -> None:
        self._table, self._options = table, _options()
        self._seen: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.rows = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def ages(self, since: float) -> np.ndarray:
        """Of every row that was received since then (Unix time): when its file was seen, less when it was received.

        Raises NotAsExpected after a compaction.
        """
        rows = self._open().to_pyarrow_dataset().to_table(["received_at", "__filename"])
        files = [path.rpartition("/")[2] for path in rows["__filename"].to_pylist()]
        if unseen := set(files) - self._seen.keys():
            raise NotAsExpected(f"files were replaced meanwhile: {sorted(unseen)[:3]}")
        received = rows["received_at"].to_numpy().astype("datetime64[us]").astype(np.int64) / 1e6
        return (np.array([self._seen[name] for name in files]) - received)[received >= since]

    def _open(self) -> DeltaTable:
        return DeltaTable(self._table, storage_options=self._options)

    def _look(self) -> None:
        table: DeltaTable | None = None
        version = -1
        while not self._over.wait(_LOOK_SECONDS):
            try:
                if table is None:
                    table = self._open()
                else:
                    table.update_incremental()
            except TableNotFoundError:
                continue
            now = time.time()
            if table.version() == version:
                continue
            version = table.version()
            actions = table.get_add_actions(flatten=True)
            for path in actions.column("path").to_pylist():
                self._seen.setdefault(path.rpartition("/")[2], now)
            self.rows = sum(actions.column("num_records").to_pylist())


def _options() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


def _until(condition: Callable[[], bool], log: Callable[[], str]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise NotAsExpected(f"not all rows appeared: {log()}")
        time.sleep(0.05)
