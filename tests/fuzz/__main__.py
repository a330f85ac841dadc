"""`python -m tests.fuzz`: so many inputs in this process, a share of them to a real collector, and what came of it."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from .in_process import SLOTS, InProcess

_MOST_COMPLAINTS = 20
_REPORTS = 20
# Memory is judged in long runs: by then it has to be flat.
_LONG = 100_000
_GROWTH_MIB = 32


def main() -> int:
    """Run; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input, to make one again")
    parser.add_argument("--over-http", type=float, default=0.02, help="this share is sent to a real collector too")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}, {options.inputs} inputs", flush=True)
    with tempfile.TemporaryDirectory(prefix="polku-fuzz-") as folder:
        wrong = _in_process(Path(folder), seed, options.first, options.inputs)
        share = int(options.inputs * options.over_http)
        if share and not wrong:
            from .over_http import over_http

            wrong += over_http(Path(folder) / "http", seed, options.first, share)
    for text in wrong[:_MOST_COMPLAINTS]:
        print(f"WRONG: {text}")
    print(f"{len(wrong)} complaints; again with --seed {seed}")
    return 1 if wrong else 0


def _in_process(folder: Path, seed: int, first: int, inputs: int) -> list[str]:
    fuzzer = InProcess(folder, seed)
    started = time.monotonic()
    memory: list[int] = []

    async def waves() -> None:
        every = max(SLOTS, inputs // _REPORTS // SLOTS * SLOTS)
        for start in range(first, first + inputs, SLOTS):
            await fuzzer.wave(start, min(SLOTS, first + inputs - start))
            done = start - first + SLOTS
            if done % every == 0:
                memory.append(_resident_mib())
                rate = done / (time.monotonic() - started)
                print(f"  {done} inputs, {rate:.0f}/s, {memory[-1]} MiB", flush=True)
            if len(fuzzer.complaints) >= _MOST_COMPLAINTS:
                return

    asyncio.run(waves())
    fuzzer.close()
    for name, count in sorted(fuzzer.outcomes.items()):
        print(f"  {name:28} {count}")
    settled = memory[len(memory) // 5 :]  # the first fifth fills caches, and DuckDB's pool
    half = len(settled) // 2
    if inputs >= _LONG and max(settled[half:]) > max(settled[:half]) + _GROWTH_MIB:
        fuzzer.complaints.append(f"memory grows: {memory} MiB")
    return fuzzer.complaints


def _resident_mib() -> int:
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) // 1024


if __name__ == "__main__":
    sys.exit(main())
