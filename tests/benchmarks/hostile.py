"""Hostile clients: how much longer a well-behaved client waits at p99 while others are idle, slow, many, or bombs.

The well-behaved client keeps two connections and sends the next batch of ten when the last is answered. Any answer but
a 200 voids the run. Its usual p99 is taken before and after each attack; the attackers are niced, because on one
machine they would compete with the collector for its processors. Memory is that of the intake worker, of its own pages.
"""

from __future__ import annotations

import contextlib
import statistics
from pathlib import Path

from .attacks import ATTACKS, attack
from .bodies import save
from .figures import Figure, NotAsExpected
from .load import Load, generate
from .processes import NEVER_SECONDS, Collector, collector
from .shop import Shop

_BATCH = 10
_CONNECTIONS = 2
_SHORT_SECONDS = 1.0  # a run that only shows that nothing breaks has all attacks at once, and that is it
_ALLOWED_RATIO = 2.0
_ANSWER = f'{{"success":true,"accepted":{_BATCH},"rejected":[]}}'


def run(work: Path, seconds: float) -> list[Figure]:
    """The p99 under each attack, and under all of them at once."""
    path = save(Shop().templates(100, _BATCH), work / "batch.templates")
    turn = min(5.0, max(0.3, seconds / 4))
    figures: list[Figure] = []
    with collector(work / "hostile", flush_seconds=NEVER_SECONDS) as server:

        def client() -> Load:
            return generate(server.port, path, _ANSWER, connections=_CONNECTIONS, seconds=turn)

        client()
        before = client()
        alone = [[kind] for kind in ATTACKS] if seconds >= _SHORT_SECONDS else []
        for kinds in [*alone, list(ATTACKS)]:
            memory = _own_memory(server)
            with contextlib.ExitStack() as stack:
                attacks = [stack.enter_context(attack(server.port, kind)) for kind in kinds]
                during = client()
                grown = _own_memory(server) - memory
            after = client()
            done = [found for each in attacks for found in each]
            if len(done) < len(kinds) or not all(found.connections for found in done):
                raise NotAsExpected(f"{', '.join(kinds)}: no attack took place")
            usual = statistics.mean((before.latency(0.99), after.latency(0.99)))
            figures.append(_figure(kinds, during, usual, [found.connections for found in done], grown))
            before = after
        server.wait_ready()
    return figures


def _figure(kinds: list[str], during: Load, usual: float, connections: list[int], grown: float) -> Figure:
    return Figure(
        subject="hostile",
        what=f"p99 of a well-behaved client, attack: {' + '.join(kinds)}",
        value=during.latency(0.99) * 1e3,
        unit="ms",
        baseline=usual * 1e3,
        baseline_what="usual p99",
        target=usual * 1e3 * _ALLOWED_RATIO,
        lower_is_better=True,
        note=f"{sum(connections):,} hostile connections, worker {grown:+.0f} MiB, {during.requests:,} requests of ours",
    )


def _own_memory(server: Collector) -> float:
    return server.memory()["intake"].own
