"""Scale: a plan four times as large, a start with a full journal, and several collectors on one table."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from pathlib import Path

from polku_schemas import builtin_plan_path, load_plan

from .bodies import save
from .figures import Figure, NotAsExpected
from .lake import commit_seconds, prepare
from .load import Load, finish, generate, start
from .processes import CONFIG, NEVER_SECONDS, Collector, collector, contents, wait_for_rows
from .shop import Shop

_BATCH = 100
_ANSWER = f'{{"success":true,"accepted":{_BATCH},"rejected":[]}}'
_ROUNDS = 2
_EVENTS, _PROPERTIES = 300, 1_000
_JOURNAL_BYTES_PER_SECOND = 54_000_000  # of the time given: 20 s are 1 GiB
_COLLECTORS = 4
# Of each collector: four of these leave two cores some room, so that what is seen is the table and not the processor.
_PACED_EVENTS_PER_SECOND = 4_000


def run(work: Path, seconds: float) -> list[Figure]:
    """All three."""
    return [*_large_plan(work, seconds), *_start_up(work, seconds), _collectors(work, seconds)]


# A large plan ---------------------------------------------------------------------------------------------------------


def _large_plan(work: Path, seconds: float) -> list[Figure]:
    folder = work / "large-plan"
    _write_large_plan(folder)
    large = Shop(seed=6, plan=load_plan(folder))
    small = Shop(seed=6)
    templates = save(small.templates(50, _BATCH), work / "plans.templates")
    turn = min(2.0, seconds / 5)
    config = f'plan = "{folder}"\n{CONFIG}'
    with (
        collector(work / "small-plan-intake", flush_seconds=NEVER_SECONDS) as ours,
        collector(work / "large-plan-intake", flush_seconds=NEVER_SECONDS, config=config) as theirs,
    ):
        rates: dict[int, list[float]] = {ours.port: [], theirs.port: []}
        for _ in range(_ROUNDS):
            for port, found in rates.items():
                load = generate(port, templates, _ANSWER, connections=32, seconds=turn)
                found.append(load.events / load.seconds)
    events = int(seconds * 5_000)
    took = {}
    for name, shop in (("small", small), ("large", large)):
        (root := work / f"{name}-plan-lake").mkdir()
        took[name] = commit_seconds(root, asyncio.run(prepare(root, shop, events, None)))
    size = f"a plan of {len(large.plan.events)} events and {len(large.plan.properties):,} properties"
    beside = f"{len(small.plan.events)} events, {len(small.plan.properties)} properties"
    return [
        Figure(
            subject="scale",
            what=f"intake, {size}",
            value=max(rates[theirs.port]),
            unit="events/s",
            baseline=max(rates[ours.port]),
            baseline_what=beside,
            target=max(rates[ours.port]) * 0.8,
        ),
        Figure(
            subject="scale",
            what=f"lake, {size}",
            value=events / took["large"],
            unit="events/s",
            baseline=events / took["small"],
            baseline_what=beside,
            target=events / took["small"] * 0.8,
        ),
    ]


def _write_large_plan(folder: Path) -> None:
    """The built-in plan, and as many more events and properties as make the size."""
    shutil.copytree(builtin_plan_path(), folder)
    plan = load_plan(folder)
    added = [f"bench_property_{number}" for number in range(_PROPERTIES - len(plan.properties))]
    types = ("string", "number", "integer", "boolean")
    with (folder / "properties.yaml").open("a") as file:
        for number, name in enumerate(added):
            kind = types[number % len(types)]
            file.write(
                f"\n{name}:\n  type: {kind}\n  description: Of the benchmark, number {number}.\n  privacy: none\n"
            )
    for number in range(_EVENTS - len(plan.events)):
        own = added[number :: _EVENTS - len(plan.events)]
        listed = "".join(f"  {name}: {{}}\n" for name in own)
        (folder / "events" / f"bench_event_{number}.yaml").write_text(
            f'name: bench_event_{number}\nversion: "1.0"\nowner: bench\ndescription: Of the benchmark.\n'
            f"stage: interest\ntouchpoint: ad\nproperties:\n{listed}examples:\n  - {{}}\n"
        )


# A start with a full journal ------------------------------------------------------------------------------------------


def _start_up(work: Path, seconds: float) -> list[Figure]:
    root = work / "start-up"
    root.mkdir()
    shop = Shop(seed=7)
    prepared = asyncio.run(prepare(root, shop, int(seconds * _JOURNAL_BYTES_PER_SECOND / 900), None))
    held = sum(path.stat().st_size for path in prepared.journal.rglob("*.journal"))
    empty = _seconds_to_serve(work / "start-up-empty")
    started = time.time()
    server = Collector(root, flush_seconds=1.0)
    try:
        server.wait_ready()
        serving = time.time() - started
        seen = wait_for_rows(
            server.lake, prepared.events, patience_seconds=60, alive=server.process, log=server.log_path
        )
    finally:
        server.kill()
    (alone := work / "start-up-alone").mkdir()
    part = max(1, prepared.events // 4)
    rate = part / commit_seconds(alone, asyncio.run(prepare(alone, shop, part, None)))
    return [
        Figure(
            subject="scale",
            what=f"start with a journal of {held / 2**20:,.0f} MiB that is not in the lake → serving",
            value=serving,
            unit="s",
            baseline=empty,
            baseline_what="with an empty journal",
            target=3.0,
            lower_is_better=True,
        ),
        Figure(
            subject="scale",
            what=f"catching up with {prepared.events:,} events",
            value=prepared.events / (seen - started),
            unit="events/s",
            baseline=rate,
            baseline_what="the committer alone",
            note="start-up included",
        ),
    ]


def _seconds_to_serve(root: Path) -> float:
    started = time.time()
    with collector(root, flush_seconds=1.0):
        return time.time() - started


# Several collectors on one table --------------------------------------------------------------------------------------


def _collectors(work: Path, seconds: float) -> Figure:
    templates = save(Shop(seed=8).templates(50, _BATCH), work / "collectors.templates")
    one, _ = _together(work / "one-collector", 1, templates, seconds / 2)
    several, loads = _together(work / "several-collectors", _COLLECTORS, templates, seconds / 2)
    return Figure(
        subject="scale",
        what=f"{_COLLECTORS} collectors on one table, {_PACED_EVENTS_PER_SECOND:,} events/s sent to each",
        value=several,
        unit="events/s",
        baseline=one,
        baseline_what="one collector",
        target=one * 3,
        note=f"ack p99 {max(load.latency(0.99) for load in loads) * 1000:.0f} ms",
    )


def _together(root: Path, number: int, templates: Path, seconds: float) -> tuple[float, list[Load]]:
    """Events a second that became visible, by so many collectors together."""
    lake = root / "lake"
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(collector(root / str(node), flush_seconds=1.0, lake=str(lake)))
            for node in range(number)
        ]
        pace = _PACED_EVENTS_PER_SECOND / _BATCH
        generators = [
            start(server.port, templates, _ANSWER, connections=4, seconds=seconds, requests_per_second=pace)
            for server in servers
        ]
        loads = [finish(generator) for generator in generators]
        sent = sum(load.events for load in loads)
        first = servers[0]
        seen = wait_for_rows(lake, sent, patience_seconds=60, alive=first.process, log=first.log_path)
    if contents(lake, "events").rows != sent:
        raise NotAsExpected("the collectors' rows are not those that were sent")
    return sent / (seen - min(load.first for load in loads)), loads
