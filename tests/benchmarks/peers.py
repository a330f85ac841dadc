"""Peers: what one event costs a program with our SDK and with four others, each in a process of its own.

The caller's share is the processor time of the thread that tracks; the whole is that of the process, from the first
call until all was handed to a real server on loopback, which answers every request with the same 200. An import is
timed in a fresh interpreter that has loaded what nearly every program has. The others are packages of the group
`bench`; those that are not installed are left out.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import msgspec
from msgspec import Struct

from .figures import Figure, NotAsExpected
from .processes import constant_server
from .sdk_sender import PROPERTIES
from .track import TARGET_MICROSECONDS

_CALLS = 5_000  # half of what the smallest queue holds: nobody drops any
_ROUNDS = 7
_BURST, _BREATH_SECONDS = 100, 0.002
_TIMES_LESS = 8
_WARM_SECONDS = 3.0
_PROCESS_MICROSECONDS, _IMPORT_MILLISECONDS = 20.0, 25.0
_HAD_ANYWAY = "import msgspec, logging, threading, queue, contextvars, datetime"


class Peer(Struct, frozen=True):
    """One SDK: how it is imported, and a function that makes its `track` and its `finish`."""

    module: str
    made: Callable[[int], tuple[Callable[[], object], Callable[[], object]]]
    constructed: str
    """A statement that makes a client, after the import."""


class Cost(Struct, frozen=True):
    """Microseconds of processor time an event: of the caller, of the whole process."""

    caller: float
    process: float


def _polku(port: int) -> tuple[Callable[[], object], Callable[[], object]]:
    import polku

    client = polku.Client("bench", f"http://127.0.0.1:{port}")

    def finish() -> None:
        client.close(60.0)
        stats = client.stats()
        if stats.lost or stats.delivered != _CALLS + 1:
            raise SystemExit(f"not all was delivered: {stats}")

    return lambda: client.track("product_viewed", PROPERTIES, anonymous_id="a-1", user_id="u-1"), finish


def _segment(port: int) -> tuple[Callable[[], object], Callable[[], object]]:
    from segment.analytics.client import Client

    client = Client("bench", host=f"http://127.0.0.1:{port}")
    return lambda: client.track("u-1", "product_viewed", PROPERTIES, anonymous_id="a-1"), client.shutdown


def _rudder(port: int) -> tuple[Callable[[], object], Callable[[], object]]:
    from rudderstack.analytics.client import Client

    client = Client("bench", host=f"http://127.0.0.1:{port}")
    return lambda: client.track("u-1", "product_viewed", PROPERTIES, anonymous_id="a-1"), client.join


def _posthog(port: int) -> tuple[Callable[[], object], Callable[[], object]]:
    from posthog import Posthog

    client = Posthog("bench", host=f"http://127.0.0.1:{port}")
    return lambda: client.capture("product_viewed", distinct_id="u-1", properties=PROPERTIES), client.shutdown


def _snowplow(port: int) -> tuple[Callable[[], object], Callable[[], object]]:
    from snowplow_tracker import AsyncEmitter, SelfDescribing, SelfDescribingJson, Tracker

    emitter = AsyncEmitter("127.0.0.1", protocol="http", port=port, method="post", batch_size=100)
    tracker = Tracker("bench", emitters=emitter)
    schema = "iglu:com.example/product_viewed/jsonschema/1-0-0"

    def finish() -> None:
        tracker.flush(is_async=False)

    return lambda: tracker.track(SelfDescribing(SelfDescribingJson(schema, PROPERTIES))), finish


PEERS = {
    "polku": Peer("polku", _polku, 'polku.Client("k", "http://127.0.0.1:9")'),
    "segment-analytics-python": Peer(
        "segment.analytics.client", _segment, 'segment.analytics.client.Client("k", host="http://127.0.0.1:9")'
    ),
    "rudder-sdk-python": Peer(
        "rudderstack.analytics.client", _rudder, 'rudderstack.analytics.client.Client("k", host="http://127.0.0.1:9")'
    ),
    "posthog": Peer("posthog", _posthog, 'posthog.Posthog("k", host="http://127.0.0.1:9")'),
    "snowplow-tracker": Peer(
        "snowplow_tracker", _snowplow, 'snowplow_tracker.Tracker("n", snowplow_tracker.Emitter("127.0.0.1"))'
    ),
}


def run(work: Path, seconds: float) -> list[Figure]:
    """Caller, process and import of each that is installed, in turns."""
    installed = {name: peer for name, peer in PEERS.items() if find_spec(peer.module.partition(".")[0]) is not None}
    rounds = 1 if seconds < 1 else _ROUNDS
    costs: dict[str, list[Cost]] = {name: [] for name in installed}
    imports: dict[str, list[float]] = {name: [] for name in installed}
    with constant_server() as port:
        for _ in range(rounds):
            for name, peer in installed.items():
                costs[name].append(_cost_of(name, port, min(_WARM_SECONDS, seconds)))
                imports[name].append(_import_of(peer))
    return _figures(costs, imports)


def _figures(costs: dict[str, list[Cost]], imports: dict[str, list[float]]) -> list[Figure]:
    # The least of the rounds: what else is at work on the machine only adds.
    caller = {name: min(cost.caller for cost in given) for name, given in costs.items()}
    process = {name: min(cost.process for cost in given) for name, given in costs.items()}
    load = {name: min(given) for name, given in imports.items()}
    others = [name for name in costs if name != "polku"]

    def figure(what: str, of: dict[str, float], unit: str, target: float) -> Figure:
        best = min(others, key=of.__getitem__, default=None)
        return Figure(
            subject="peers",
            what=what,
            value=of["polku"],
            unit=unit,
            baseline=None if best is None else of[best],
            baseline_what=best or "",
            target=target,
            lower_is_better=True,
            note=", ".join(f"{name} {of[name]:.0f}" for name in others) or "no peer: pip install --group bench",
        )

    one = f"one track() with {len(PROPERTIES)} properties: "
    figures = [
        figure(one + "processor time of the caller", caller, "µs", TARGET_MICROSECONDS),
        figure(one + "of the whole process, until it is delivered", process, "µs", _PROCESS_MICROSECONDS),
        figure("import and a client, beyond what a program has anyway", load, "ms", _IMPORT_MILLISECONDS),
    ]
    if others:
        # Rounds by turns, and the middle of each: the least of a peer is that of the one round in which its own threads
        # disturbed it least, which is not what its user pays.
        usual = {name: statistics.median(cost.caller for cost in given) for name, given in costs.items()}
        best = min(others, key=usual.__getitem__)
        rounds = sorted(theirs.caller / ours.caller for ours, theirs in zip(costs["polku"], costs[best], strict=True))
        figures.append(
            Figure(
                subject="peers",
                what=one + f"{_TIMES_LESS} times less than the best peer, median of {len(rounds)} rounds",
                value=usual["polku"],
                unit="µs",
                baseline=usual[best],
                baseline_what=best,
                target=usual[best] / _TIMES_LESS,
                lower_is_better=True,
                note=f"{rounds[0]:.1f} to {rounds[-1]:.1f} times by round, "
                f"{caller[best] / caller['polku']:.1f} by the least of each",
            )
        )
    return figures


def _cost_of(name: str, port: int, warm_seconds: float) -> Cost:
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.peers", name, str(port), str(warm_seconds)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise NotAsExpected(f"{name}: {done.stderr.decode(errors='replace')[-1_000:]}")
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Cost)


def _import_of(peer: Peer) -> float:
    """Milliseconds of processor time for the import and a client, by a fresh interpreter with compiled bytecode."""
    code = (
        f"{_HAD_ANYWAY}\nimport time, os\nbegan = time.process_time()\n"
        f"import {peer.module}\n{peer.constructed}\nprint((time.process_time() - began) * 1e3, flush=True)\nos._exit(0)"
    )
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    taken = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code], capture_output=True, check=False, env=compiled
        )
        if done.returncode:
            raise NotAsExpected(f"{peer.module}: {done.stderr.decode(errors='replace')[-1_000:]}")
        taken.append(float(done.stdout.splitlines()[-1]))
    return min(taken[1:])  # the first may have compiled


def measure(name: str, port: int, warm_seconds: float) -> Cost:
    """Track in bursts, then wait until all was sent."""
    track, finish = PEERS[name].made(port)
    track()  # threads and imports that come with the first event, and with the first request
    time.sleep(warm_seconds)
    caller, began = 0, time.process_time()
    for _ in range(0, _CALLS, _BURST):
        before = time.thread_time_ns()
        for _ in range(_BURST):
            track()
        caller += time.thread_time_ns() - before
        time.sleep(_BREATH_SECONDS)
    finish()
    return Cost(caller / _CALLS / 1e3, (time.process_time() - began) / _CALLS * 1e6)


if __name__ == "__main__":
    found = measure(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
    sys.stdout.buffer.write(msgspec.json.encode(found) + b"\n")
