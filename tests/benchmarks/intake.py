"""Intake: what one worker validates, makes durable and acknowledges, beside the same server doing nothing.

The collector and the baseline take turns under the same generator with the same connections. The committer of the
collector is idle (its flush interval is longer than the run). Each event has an id of its own.
"""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from polku_collector.intake.judged import Arrival
from polku_collector.intake.validate import Validator
from polku_collector.intake.wire import parse_batch
from polku_collector.journal.writer import encoded_runs
from polku_collector.settings import Limits, Source
from polku_schemas import compile_plan

from .bodies import Template, patched, save
from .figures import Figure, NotAsExpected
from .load import Load, generate
from .processes import CONSTANT_ANSWER, NEVER_SECONDS, Collector, collector, constant_server, least_server
from .shop import Shop

# Batch size → connections: enough that requests wait for each other's fsync and not for the disk's latency.
BATCHES = {1: 128, 10: 64, 100: 32}
_ROUNDS = 2
_EVENTS_PER_SECOND = 90_000
_SINGLE_REQUESTS_PER_SECOND, _SINGLE_SHARE = 5_000, 0.6
_CONCURRENT = 8
_ALLOWED_P99 = 5.0
_DISTINCT_EVENTS = 5_000


def run(work: Path, seconds: float) -> list[Figure]:
    """All figures of intake; `seconds` as given to the suite."""
    shop = Shop()
    figures: list[Figure] = []
    latency: list[Figure] = []
    turn = min(2.0, seconds / 10)
    with (
        constant_server() as constant,
        least_server(work / "least") as least,
        collector(work / "intake", flush_seconds=NEVER_SECONDS) as server,
    ):
        sent = 0
        for batch, connections in BATCHES.items():
            templates = shop.templates(_DISTINCT_EVENTS // batch, batch)
            path = save(templates, work / f"batch-{batch}.templates")
            generate(server.port, path, _accepted(batch), connections=connections, seconds=turn / 4)  # warm up
            sent = server.durable()
            ours: list[Load] = []
            theirs: list[Load] = []
            needed: list[Load] = []
            cpu = 0.0
            for _ in range(_ROUNDS):
                before = server.intake_cpu_seconds()
                ours.append(generate(server.port, path, _accepted(batch), connections=connections, seconds=turn))
                cpu += server.intake_cpu_seconds() - before
                theirs.append(generate(constant, path, CONSTANT_ANSWER, connections=connections, seconds=turn))
                needed.append(generate(least, path, CONSTANT_ANSWER, connections=connections, seconds=turn))
            sent = _all_durable(server, sent, ours)
            figures += _throughput(batch, ours, theirs, cpu)
            figures.append(_beside_the_least(batch, ours, theirs, needed))
            if batch != 10:
                latency += _latency(server, path, templates, batch, turn)
        acknowledged, possible = figures[-1].value, figures[-1].baseline or 0.0
        figures += _decoding(shop, templates, turn, acknowledged, possible)
        figures.append(_unplanned(server, shop, work, turn, acknowledged))
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
            target=max(_SINGLE_REQUESTS_PER_SECOND, constant * _SINGLE_SHARE) if batch == 1 else None,
            note=f"generator ≤ {busy:.0%} busy",
        ),
        Figure(
            subject="intake",
            what=what,
            value=requests * batch,
            unit="events/s",
            baseline=constant * batch,
            baseline_what="constant answer",
            target=_EVENTS_PER_SECOND if batch == 100 else None,
            note=worker,
        ),
    ]


def _beside_the_least(batch: int, ours: list[Load], theirs: list[Load], needed: list[Load]) -> Figure:
    """How near that is to what is possible: the work that valid and durable events need, and nothing else."""
    events = statistics.median(load.events / load.seconds for load in ours)
    possible = statistics.median(load.events / load.seconds for load in needed)
    constant = statistics.median(load.events / load.seconds for load in theirs)
    return Figure(
        subject="intake",
        what=f"batches of {batch}, beside the least there is to do: decode, encode once, checksum, sync",
        value=events,
        unit="events/s",
        baseline=possible,
        baseline_what="that alone",
        note=f"that alone is {possible / constant:.2f} of a constant answer",
    )


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


def _decoding(shop: Shop, templates: list[Template], turn: float, acknowledged: float, possible: float) -> list[Figure]:
    """The floor: envelope and properties decoded with the compiled plan, in this process, and nothing else.

    And what the steps of intake take in this process: what is left of the worker's time is HTTP, the event loop, the
    checksum and the disk.
    """
    plan = compile_plan(shop.plan)
    validator, source = Validator(plan, Limits(), new_id=str), Source(keys=["bench"], channel="web")
    bodies = [template.body for template in templates]
    taken = dict.fromkeys(("parse", "decode properties", "judge", "encode"), 0.0)
    deadline, events = time.perf_counter() + turn, 0
    while time.perf_counter() < deadline:
        for body in bodies:
            moments = [time.perf_counter()]
            parsed = parse_batch(body)
            moments.append(time.perf_counter())
            if parsed.events is None:
                raise NotAsExpected("a body took the tolerant path")
            for item in parsed.events:
                planned = plan.find(item.type or "", item.event)
                assert planned is not None and isinstance(item.properties, msgspec.Raw)
                planned.decode(bytes(item.properties))
            moments.append(time.perf_counter())
            judged = validator.judge(parsed, Arrival(datetime.now(UTC), None, "bench", source, body))
            moments.append(time.perf_counter())
            encoded_runs(judged.lines, 1)
            moments.append(time.perf_counter())
            for step, (start, end) in zip(taken, itertools.pairwise(moments), strict=True):
                taken[step] += end - start
            events += len(parsed.events)
    decoded = events / (taken["parse"] + taken["decode properties"])
    steps = {name: taken[name] / events * 1e6 for name in ("parse", "judge", "encode")}
    return [
        Figure(
            subject="intake",
            what="the same, beside decoding alone (the plan's decoders, same bodies, in process)",
            value=acknowledged,
            unit="events/s",
            baseline=decoded,
            baseline_what="decoding alone",
            target=decoded / 2,
            note=f"the least there is to do is {possible / decoded:.2f} of it",
        ),
        Figure(
            subject="intake",
            what="steps in one process: " + ", ".join(f"{name} {each:.1f} µs" for name, each in steps.items()),
            value=sum(steps.values()),
            unit="µs/event",
            lower_is_better=True,
        ),
    ]


def _latency(server: Collector, path: Path, templates: list[Template], batch: int, turn: float) -> list[Figure]:
    """The time to a durable 200, beside write + fdatasync of the same bytes by as many at the same time."""
    figures = []
    for connections, share, name, target in ((1, 0.5, "p50", None), (_CONCURRENT, 0.99, "p99", _ALLOWED_P99)):
        before = server.durable()
        load = generate(server.port, path, _accepted(batch), connections=connections, seconds=turn)
        _all_durable(server, before, [load])
        disk = _disk_latencies(templates, server.journal, turn / 2, connections)
        bare = disk[int(share * len(disk))]
        figures.append(
            Figure(
                subject="intake",
                what=f"ack of one batch of {batch}, {connections} at a time, {name}",
                value=load.latency(share) * 1e3,
                unit="ms",
                baseline=bare * 1e3,
                baseline_what="write + fdatasync",
                target=None if target is None else bare * 1e3 * target,
                lower_is_better=True,
            )
        )
    return figures


def _disk_latencies(templates: list[Template], folder: Path, seconds: float, writers: int) -> list[float]:
    """Each writer appends to a file of its own, as a connection of its own would."""
    deadline = time.perf_counter() + seconds

    def write(_: int) -> list[float]:
        taken: list[float] = []
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            while time.perf_counter() < deadline or len(taken) < 2:
                body = patched(templates[len(taken) % len(templates)], 0)
                started = time.perf_counter()
                os.write(file.fileno(), body)
                os.fdatasync(file.fileno())
                taken.append(time.perf_counter() - started)
        return taken

    with ThreadPoolExecutor(writers) as pool:
        return sorted(itertools.chain.from_iterable(pool.map(write, range(writers))))


def _all_durable(server: Collector, before: int, loads: list[Load]) -> int:
    """Every event that was acknowledged is in the journal. Returns how many it holds."""
    durable, acknowledged = server.durable(), sum(load.events for load in loads)
    if durable - before != acknowledged:
        raise NotAsExpected(f"{acknowledged} events were acknowledged, {durable - before} are in the journal")
    return durable


def _accepted(batch: int) -> str:
    return f'{{"success":true,"accepted":{batch},"rejected":[]}}'
