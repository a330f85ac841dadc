"""End to end: requests → journal → rows that a fresh `DeltaTable` shows; then the same through the real SDK.

The clock runs from the first request to the moment all rows are visible, so what the journal still held when the load
ended is paid for. Every id is unique, and duplicates are looked for, as always.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from .bodies import save
from .figures import Figure, NotAsExpected
from .load import finish, start
from .processes import Collector, Memory, collector, contents, wait_for_rows
from .sdk_sender import Sent
from .shop import Shop

TARGET_EVENTS_PER_SECOND = 60_000
_BATCH = 100
_CONNECTIONS = 8
_DISTINCT_EVENTS = 20_000
_FLUSH_SECONDS = 1.0
_LONG_SECONDS, _FLAT = 120.0, 1.1
"""Memory is judged after two minutes, and may then be a tenth more than it was in the second quarter."""
_FUNNEL_FROM_SECONDS = 1.0  # after less there are too few rows to say anything
_FUNNEL = ("product_viewed", "product_added", "checkout_started", "order_completed")


def run(work: Path, seconds: float) -> list[Figure]:
    """The whole way under a generator for so many seconds, and half as long under the SDK."""
    templates = save(Shop(seed=3).templates(max(1, _DISTINCT_EVENTS // _BATCH), _BATCH), work / "end-to-end.templates")
    with collector(work / "end-to-end", flush_seconds=_FLUSH_SECONDS) as server:
        figures, rows = _over_http(server, templates, seconds)
        figures += _through_sdk(server, rows, seconds / 2)
        if seconds >= _FUNNEL_FROM_SECONDS and (funnel := _funnel(server.lake)):
            figures.append(funnel)
    return figures


def _over_http(server: Collector, templates: Path, seconds: float) -> tuple[list[Figure], int]:
    server.wait_for_committer()
    answer = f'{{"success":true,"accepted":{_BATCH},"rejected":[]}}'
    generator = start(server.port, templates, answer, connections=_CONNECTIONS, seconds=seconds)
    farthest_behind, memory = 0, [server.memory()]
    while generator.poll() is None:
        memory.append(server.memory())
        farthest_behind = max(farthest_behind, server.durable() - contents(server.lake, "events").rows)
        time.sleep(min(1.0, seconds / 4))
    load = finish(generator)
    visible = wait_for_rows(server.lake, load.events, patience_seconds=60, alive=server.process, log=server.log_path)
    held = contents(server.lake, "events")
    figures = [
        Figure(
            subject="end to end",
            what=f"requests of {_BATCH} → visible rows, {load.events:,} events",
            value=load.events / (visible - load.first),
            unit="events/s",
            baseline=load.events / load.seconds,
            baseline_what="acknowledged",
            target=TARGET_EVENTS_PER_SECOND,
            note=f"{visible - load.last:.1f} s from the last ack to the last row; at most {farthest_behind:,} behind",
        ),
        Figure(
            subject="end to end",
            what="stored size",
            value=held.size_bytes / held.rows,
            unit="bytes/event",
            baseline=load.body_bytes / load.events,
            baseline_what="JSON as sent",
            lower_is_better=True,
            target=load.body_bytes / load.events / 15,
            note=f"{held.files} files",
        ),
    ]
    return figures + [_memory(role, memory, seconds) for role in ("intake", "committer")], load.events


def _memory(role: str, seen: list[dict[str, Memory]], seconds: float) -> Figure:
    """Of the second quarter and of the last one: it goes up and down with each flush, so one look says little."""
    if role not in seen[-1]:
        raise NotAsExpected(f"the collector has no {role} process any more")
    quarter = max(1, len(seen) // 4)
    early, late = (
        [look[role] for look in part if role in look] for part in (seen[quarter : 2 * quarter], seen[-quarter:])
    )
    highest = max(look.own for look in late), max(look.own for look in early or late)
    flat = statistics.median(look.own for look in early or late) * _FLAT
    return Figure(
        subject="end to end",
        what=f"memory of the {role} process, median of the last quarter",
        value=statistics.median(look.own for look in late),
        unit="MiB",
        baseline=statistics.median(look.own for look in early or late),
        baseline_what="of the second quarter",
        target=flat if seconds >= _LONG_SECONDS else None,
        lower_is_better=True,
        note=f"at most {highest[0]:.0f} and {highest[1]:.0f}; and {late[-1].all - late[-1].own:.0f} of mapped files",
    )


def _through_sdk(server: Collector, rows_before: int, seconds: float) -> list[Figure]:
    """One `Client` in a process of its own, as a program would use it."""
    command = [sys.executable, "-m", "tests.benchmarks.sdk_sender", str(server.port), str(seconds)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise NotAsExpected(f"the SDK did not deliver everything: {done.stderr.decode(errors='replace')[-1_000:]}")
    sent = msgspec.json.decode(done.stdout, type=Sent)
    visible = wait_for_rows(
        server.lake, rows_before + sent.events, patience_seconds=60, alive=server.process, log=server.log_path
    )
    return [
        Figure(
            subject="end to end",
            what=f"Client.track() → visible rows, one client, {sent.events:,} events",
            value=sent.events / (visible - sent.first),
            unit="events/s",
            baseline=sent.events / (sent.last - sent.first),
            baseline_what="delivered",
            note=f"{sent.requests} requests, {sent.retries} retries",
        )
    ]


def _funnel(lake: Path) -> Figure | None:
    """A saved funnel over the rows just written; None where the analytics are not installed."""
    command = [sys.executable, "-m", "polku.cli", "funnel", *_FUNNEL, "--lake", str(lake)]
    build = [sys.executable, "-m", "polku.cli", "build", "--lake", str(lake)]
    if subprocess.run(build, capture_output=True, check=False).returncode:
        return None
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        return None
    taken = time.perf_counter() - started
    rows = contents(lake, "events").rows
    return Figure(
        subject="end to end",
        what=f"{len(_FUNNEL)}-step funnel over these rows, as a command",
        value=rows / taken,
        unit="rows/s",
        note=f"{rows:,} rows in {taken:.1f} s, start-up included",
    )
