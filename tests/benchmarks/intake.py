"""Intake: what one worker validates, makes durable and acknowledges, beside the same server doing nothing.

The collector and the baseline take turns under the same generator with the same connections. The committer of the
collector is idle (its flush interval is longer than the run). Each event has an id of its own.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import msgspec

from polku_collector.intake.wire import parse_batch
from polku_schemas import compile_plan

from .bodies import Template, patched, save
from .figures import Figure, NotAsExpected
from .load import Load, generate
from .processes import CONSTANT_ANSWER, NEVER_SECONDS, Collector, collector, constant_server
from .shop import Shop

# Batch size → connections: enough that requests wait for each other's fsync and not for the disk's latency.
BATCHES = {1: 128, 10: 64, 100: 32}
_ROUNDS = 2
_DISTINCT_EVENTS = 5_000


def run(work: Path, seconds: float) -> list[Figure]:
    """All figures of intake; `seconds` as given to the suite."""
    shop = Shop()
    figures: list[Figure] = []
    latency: list[Figure] = []
    turn = min(2.0, seconds / 10)
    with constant_server() as constant, collector(work / "intake", flush_seconds=NEVER_SECONDS) as server:
        sent = 0
        for batch, connections in BATCHES.items():
            templates = shop.templates(_DISTINCT_EVENTS // batch, batch)
            path = save(templates, work / f"batch-{batch}.templates")
            generate(server.port, path, _accepted(batch), connections=connections, seconds=turn / 4)  # warm up
            sent = server.durable()
            ours: list[Load] = []
            theirs: list[Load] = []
            cpu = 0.0
            for _ in range(_ROUNDS):
                before = server.intake_cpu_seconds()
                ours.append(generate(server.port, path, _accepted(batch), connections=connections, seconds=turn))
                cpu += server.intake_cpu_seconds() - before
                theirs.append(generate(constant, path, CONSTANT_ANSWER, connections=connections, seconds=turn))
            sent = _all_durable(server, sent, ours)
            figures += _throughput(batch, ours, theirs, cpu)
            if batch != 10:
                latency.append(_latency(server, path, templates, batch, turn))
        figures.append(_decoding(shop, templates, turn))
        figures.append(_unplanned(server, shop, work, turn, figures[-2].value))
    return figures + latency


def _throughput(batch: int, ours: list[Load], theirs: list[Load], cpu: float) -> list[Figure]:
    busy = max(load.busy for load in (*ours, *theirs))
    requests = statistics.median(load.requests / load.seconds for load in ours)
    constant = statistics.median(load.requests / load.seconds for load in theirs)
    size = sum(load.body_bytes for load in ours) / sum(load.events for load in ours)
    worker = f"{cpu / sum(load.events for load in ours) * 1e6:.1f} µs of the worker's CPU an event"
    what = f"batches of {batch} ({size:.0f}-byte events, {BATCHES[batch]} connections)"
    return [
        Figure(
            subject="intake",
            what=what,
            value=requests,
            unit="requests/s",
            baseline=constant,
            baseline_what="constant answer",
            note=f"generator ≤ {busy:.0%} busy",
        ),
        Figure(
            subject="intake",
            what=what,
            value=requests * batch,
            unit="events/s",
            baseline=constant * batch,
            baseline_what="constant answer",
            note=worker,
        ),
    ]


def _unplanned(server: Collector, shop: Shop, work: Path, turn: float, planned: float) -> Figure:
    """Events with two properties the plan does not have: the tolerant path, and a warning for each."""
    batch = 100
    path = save(shop.templates(20, batch, unplanned=True), work / "unplanned.templates")
    before = server.durable()
    load = generate(
        server.port, path, _accepted(batch)[:-1] + ',"warnings":[', connections=BATCHES[batch], seconds=turn
    )
    _all_durable(server, before, [load])
    return Figure(
        subject="intake",
        what=f"batches of {batch}, each event with 2 unplanned properties",
        value=load.events / load.seconds,
        unit="events/s",
        baseline=planned,
        baseline_what="planned only",
    )


def _decoding(shop: Shop, templates: list[Template], turn: float) -> Figure:
    """The floor: envelope and properties decoded with the compiled plan, in this process, and nothing else."""
    plan = compile_plan(shop.plan)
    bodies = [template.body for template in templates]
    deadline, events, started = time.perf_counter() + turn, 0, time.perf_counter()
    while time.perf_counter() < deadline:
        for body in bodies:
            items = parse_batch(body).events
            if items is None:
                raise NotAsExpected("a body took the tolerant path")
            for item in items:
                planned = plan.find(item.type or "", item.event)
                assert planned is not None and isinstance(item.properties, msgspec.Raw)
                planned.decode(bytes(item.properties))
            events += len(items)
    return Figure(
        subject="intake",
        what="decode with the plan's decoders alone (same bodies, in process)",
        value=events / (time.perf_counter() - started),
        unit="events/s",
    )


def _latency(server: Collector, path: Path, templates: list[Template], batch: int, turn: float) -> Figure:
    """The time to a durable 200 when nobody else is sending, beside write + fdatasync of the same bytes alone."""
    before = server.durable()
    load = generate(server.port, path, _accepted(batch), connections=1, seconds=turn)
    _all_durable(server, before, [load])
    disk = _disk_latencies(templates, server.journal, turn / 2)
    p99 = disk[int(0.99 * len(disk))]
    return Figure(
        subject="intake",
        what=f"ack of one batch of {batch}, one connection, p50",
        value=load.latency(0.5) * 1e3,
        unit="ms",
        baseline=statistics.median(disk) * 1e3,
        baseline_what="write + fdatasync",
        lower_is_better=True,
        note=f"p99 {load.latency(0.99) * 1e3:.1f} ms, of the disk alone {p99 * 1e3:.1f} ms",
    )


def _disk_latencies(templates: list[Template], folder: Path, seconds: float) -> list[float]:
    taken: list[float] = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline or len(taken) < 2:
            body = patched(templates[len(taken) % len(templates)], 0)
            started = time.perf_counter()
            os.write(file.fileno(), body)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - started)
    return sorted(taken)


def _all_durable(server: Collector, before: int, loads: list[Load]) -> int:
    """Every event that was acknowledged is in the journal. Returns how many it holds."""
    durable, acknowledged = server.durable(), sum(load.events for load in loads)
    if durable - before != acknowledged:
        raise NotAsExpected(f"{acknowledged} events were acknowledged, {durable - before} are in the journal")
    return durable


def _accepted(batch: int) -> str:
    return f'{{"success":true,"accepted":{batch},"rejected":[]}}'
