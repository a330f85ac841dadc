"""Growth: a commit after very many others beside one of the first, with maintenance on; and a query before and after
a compaction.

One request at a time is sent and waited for, until its rows are in the table: so a commit is a request, and its time is
the freshness. `--seconds 200` makes 5,000 commits, 20 make 500.
"""

from __future__ import annotations

import asyncio
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from pathlib import Path

import duckdb
import msgspec
from deltalake import DeltaTable

from polku_collector.settings import JournalSettings, Lake, Settings

from .bodies import patched
from .figures import Figure, NotAsExpected
from .lake import _COMMITTER, prepare
from .load import FIRST_IDS
from .processes import CONFIG, Collector, collector, contents, wait_for_rows
from .shop import Shop

_COMMITS_PER_SECOND = 25
_EARLY = 50  # after so many come the commits that the last ones are compared with
_WINDOW = 200  # so many each: a single one takes half or twice as long as the next
_SHARE_KEPT = 0.9
_EVENTS = 20
_FLUSH_SECONDS = 0.02
_SMALL_FILES_PER_SECOND = 20
_MOST_FILES = 200
_MAINTENANCE = f"\n[maintenance]\ncompact_files = {_MOST_FILES}\ninterval_seconds = 1\n"
_PATIENCE_SECONDS = 60.0


def run(work: Path, seconds: float) -> list[Figure]:
    """Growth and compaction."""
    return _growth(work / "growth", seconds) + _compaction(work / "compaction", seconds)


def _growth(root: Path, seconds: float) -> list[Figure]:
    commits = max(10, int(seconds * _COMMITS_PER_SECOND))
    start, window = min(_EARLY, commits // 3), min(_WINDOW, commits // 3)
    shop, first = Shop(seed=4), next(FIRST_IDS)
    took: list[float] = []
    most_files = 0
    with collector(root, flush_seconds=_FLUSH_SECONDS, config=CONFIG + _MAINTENANCE) as server:
        reader = _Reader(server.lake / "events")
        for number in range(commits):
            body = patched(shop.templates(1, _EVENTS)[0], first + number * _EVENTS)
            took.append(_until_visible(server, reader, body, (number + 1) * _EVENTS))
            most_files = max(most_files, reader.files)
        held = contents(server.lake, "events")
        if held.rows != commits * _EVENTS:
            raise NotAsExpected(f"{commits * _EVENTS} events were sent, {held.rows} rows are there")
        version = DeltaTable(str(server.lake / "events")).version()
    early, late = took[start : start + window], took[-window:]  # the very first warm up
    return [
        Figure(
            subject="growth",
            what=f"commits one after the other, the last {window} of {commits:,}",
            value=window / sum(late),
            unit="commits/s",
            baseline=window / sum(early),
            baseline_what=f"those after {start}",
            target=window / sum(early) * _SHARE_KEPT,
            note=f"version {version:,}; {most_files} files at most, {held.files} at the end (bound {_MOST_FILES})",
        ),
        Figure(
            subject="growth",
            what="request → visible rows, median of the last",
            value=statistics.median(late) * 1000,
            unit="ms",
            baseline=statistics.median(early) * 1000,
            baseline_what=f"median of those after {start}",
            target=statistics.median(early) * 1000 / _SHARE_KEPT,
            lower_is_better=True,
            note=f"longest of all {max(took) * 1000:,.0f} ms",
        ),
    ]


def _until_visible(server: Collector, reader: _Reader, body: bytes, rows: int) -> float:
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/v1/batch",
        body,
        {"content-type": "application/json", "authorization": f"Basic {b64encode(b'bench:').decode()}"},
    )
    started = time.perf_counter()
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        if b'"rejected":[]' not in answer.read():
            raise NotAsExpected("an event was refused")
    while reader.rows() < rows:
        if time.perf_counter() - started > _PATIENCE_SECONDS or server.process.poll() is not None:
            raise NotAsExpected(f"{rows} rows did not arrive: {server.log()}")
        time.sleep(0.005)
    return time.perf_counter() - started


class _Reader:
    """Somebody who follows the table's log: rows are there when their commit is.

    Not a handle of deltalake that is kept open: that takes longer for each commit it has seen (9 ms after 100, 80 after
    600, measured), and would be what is measured.
    """

    def __init__(self, path: Path) -> None:
        self._log, self._version, self._rows = path / "_delta_log", 0, 0
        self.files = 0

    def rows(self) -> int:
        """As they are now; 0 while there is no table."""
        while (commit := self._log / f"{self._version:020d}.json").exists():
            self._version += 1
            for action in map(msgspec.json.decode, commit.read_bytes().splitlines()):
                if "remove" in action:
                    self.files -= 1
                if add := action.get("add"):
                    self.files += 1
                    self._rows += msgspec.json.decode(add["stats"])["numRecords"] if add["dataChange"] else 0
        return self._rows


def _compaction(root: Path, seconds: float) -> list[Figure]:
    """Small files as a committer without maintenance leaves them; a funnel over them, before and after."""
    root.mkdir()
    prepared = asyncio.run(prepare(root, Shop(seed=5), max(1, int(seconds * _SMALL_FILES_PER_SECOND)) * 500, None))
    lake = root / "lake"
    settings = Settings(
        lake=Lake(uri=str(lake), flush_seconds=0.01, flush_bytes=1),
        journal=JournalSettings(directory=str(prepared.journal)),
    )
    log = root / "committer.log"
    with log.open("wb") as output:
        command = [sys.executable, "-c", _COMMITTER, msgspec.json.encode(settings).decode()]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_for_rows(lake, prepared.events, patience_seconds=120, alive=process, log=log)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    small = contents(lake, "events")
    before, counted = _funnel(lake)
    started = time.perf_counter()
    command = [sys.executable, "-m", "polku.cli", "lake", "compact", "--lake", str(lake)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - started
    if done.returncode:
        raise NotAsExpected(f"the lake could not be compacted: {done.stderr[-1_000:]}")
    after, counted_after = _funnel(lake)
    held = contents(lake, "events")
    if counted != counted_after or held.rows != small.rows:
        raise NotAsExpected(f"other figures after compaction: {counted} and {counted_after}")
    return [
        Figure(
            subject="compaction",
            what=f"funnel over {small.rows:,} rows, in {held.files} merged files",
            value=after * 1000,
            unit="ms",
            baseline=before * 1000,
            baseline_what=f"in {small.files:,} small files",
            lower_is_better=True,
            note=f"{small.size_bytes / 2**20:.1f} MiB before, {held.size_bytes / 2**20:.1f} after",
        ),
        Figure(
            subject="compaction",
            what=f"merging {small.files:,} files, as a command",
            value=small.rows / taken,
            unit="rows/s",
            note=f"{taken:.1f} s, start-up included",
        ),
    ]


def _funnel(lake: Path) -> tuple[float, list[tuple[int, ...]]]:
    """Seconds of the best of three, and how many people reached each of four steps in order."""
    files = DeltaTable(str(lake / "events")).file_uris()
    steps = ("product_viewed", "product_added", "checkout_started", "order_completed")
    names = ", ".join(f"'{step}'" for step in steps)
    times = ", ".join(f"min(event_time) FILTER (event_name = '{step}') AS s{n}" for n, step in enumerate(steps))
    counts = ", ".join(
        f"count(*) FILTER ({' AND '.join([f's{n} IS NOT NULL' for n in range(last + 1)])})"
        for last in range(len(steps))
    )
    query = (
        f"SELECT {counts} FROM (SELECT coalesce(user_id, anonymous_id) AS person, {times} "
        f"FROM read_parquet({files!r}, union_by_name = true) WHERE event_name IN ({names}) GROUP BY person)"
    )
    best, found = float("inf"), list[tuple[int, ...]]()
    for _ in range(3):
        started = time.perf_counter()
        found = duckdb.connect().execute(query).fetchall()
        best = min(best, time.perf_counter() - started)
    return best, found
