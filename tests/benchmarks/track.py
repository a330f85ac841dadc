"""Track: what one call costs the program that makes it, in a process of its own, beside a bare `queue.put`.

Calls come in bursts with a breath between them. The figure is processor time of the thread that calls, as that of
`peers`, with the same target. Beside it, in the note, each call by the clock on the wall: the SDK's own thread is at
work meanwhile, and what it takes from the caller through the interpreter's lock is in there, with all else that runs.
"""

from __future__ import annotations

import queue
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

import polku
from polku.transport import Answer

from .figures import Figure, NotAsExpected
from .processes import constant_server
from .sdk_sender import PROPERTIES

TARGET_MICROSECONDS = 8.0
"""Of processor time, as docs/sdk-python.md has it. `peers` goes by it too."""
_BURST = 500
_BREATH_SECONDS = 0.005


class Cost(Struct, frozen=True):
    """Microseconds a call: of its caller's processor time, and by the clock on the wall."""

    processor: float
    median: float
    p99: float


class Costs(Struct, frozen=True):
    bare: Cost
    swallowed: Cost
    loopback: Cost


class _Swallow:
    """A transport to nowhere: what remains is the call, the queue, the cutting and compressing of batches."""

    def send(self, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        return Answer(200, b'{"success":true}')

    def close(self) -> None: ...

    def forget(self) -> None: ...


def run(work: Path, seconds: float) -> list[Figure]:
    """The caller's cost with a transport to nowhere and with a real server on loopback."""
    calls = max(2 * _BURST, int(seconds * 2_000))
    with constant_server() as port:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.track", str(port), str(calls)], capture_output=True, check=False
        )
    if done.returncode:
        raise NotAsExpected(f"track: {done.stderr.decode(errors='replace')[-1_000:]}")
    costs = msgspec.json.decode(done.stdout, type=Costs)
    return [
        _figure("transport that swallows", costs.swallowed, costs.bare, calls),
        _figure("real server on loopback", costs.loopback, costs.bare, calls),
    ]


def _figure(what: str, cost: Cost, bare: Cost, calls: int) -> Figure:
    return Figure(
        subject="track",
        what=f"one track() with {len(PROPERTIES)} properties, processor time of the caller, mean of {calls:,}, {what}",
        value=cost.processor,
        unit="µs",
        baseline=bare.processor,
        baseline_what="queue.Queue().put",
        target=TARGET_MICROSECONDS,
        lower_is_better=True,
        note=f"on the wall: median {cost.median:.1f}, p99 {cost.p99:.1f} µs",
    )


def measure(port: int, calls: int) -> Costs:
    """All three costs, one after the other. Raises SystemExit if an event was not delivered."""
    waiting: queue.Queue[object] = queue.Queue()
    bare = _cost(lambda: waiting.put(PROPERTIES), calls)
    return Costs(
        bare,
        _client_cost(polku.Client("bench", "http://127.0.0.1:1", transport=_Swallow()), calls),
        _client_cost(polku.Client("bench", f"http://127.0.0.1:{port}"), calls),
    )


def _client_cost(client: polku.Client, calls: int) -> Cost:
    client.track("product_viewed", PROPERTIES, anonymous_id="a-1", user_id="u-1")  # its thread and imports start here
    client.flush()
    cost = _cost(lambda: client.track("product_viewed", PROPERTIES, anonymous_id="a-1", user_id="u-1"), calls)
    client.close(60.0)
    stats = client.stats()
    if stats.delivered != calls + 1 or stats.lost:
        raise SystemExit(f"{calls + 1} calls, but {stats}")
    return cost


def _cost(call: Callable[[], object], calls: int) -> Cost:
    taken: list[int] = []
    clock, processor = time.perf_counter_ns, 0
    for _ in range(0, calls, _BURST):
        used = time.thread_time_ns()
        for _ in range(_BURST):
            started = clock()
            call()
            taken.append(clock() - started)
        processor += time.thread_time_ns() - used
        time.sleep(_BREATH_SECONDS)
    taken.sort()
    return Cost(processor / len(taken) / 1e3, taken[len(taken) // 2] / 1e3, taken[int(0.99 * len(taken))] / 1e3)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(measure(int(sys.argv[1]), int(sys.argv[2]))))
