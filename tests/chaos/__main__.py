"""Play the rounds, print what came of each and the report; exit 1 if anything was wrong, and say how to repeat it."""

from __future__ import annotations

import argparse
import itertools
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import damage, director
from .plan import SCENARIOS, draw
from .readers import Reader, Sail, duckdb_rows, polars_rows
from .report import Report, Run
from .world import can_step_clocks

ALL = [*SCENARIOS, damage.SCENARIO]
# The short form: begin no round after so many minutes. Scenarios take turns in an order that the seed gives.
SHORT_MINUTES, SHORT_SECONDS = 5.0, 15.0
# The long form goes on until it has this many, or until its minutes are over.
LONG_KILLS, LONG_WINDOWS, LONG_MINUTES, LONG_SECONDS = 500, 50, 60.0, 60.0


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0, or 1 when a round failed or the long form did not get as far as it has to."""
    given = _arguments(arguments)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # nothing may be left behind
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}", flush=True)
    missing: list[str] = []
    readers: dict[str, Reader] = {"DuckDB": duckdb_rows, "Polars": polars_rows}
    sail = Sail() if Sail.is_installed() else None
    if sail is not None:
        readers["Sail"] = sail
    else:
        missing.append("reading with Sail: pip install --group chaos")
    names = [name for name in given.scenario if _can(name, missing)]
    random.Random(seed).shuffle(names)
    started, report = time.monotonic(), Report.read(given.sum)
    report.runs.append(Run(seed))
    failed_before = len(report.failed)
    try:
        for number, name in _rounds(names, given.round):
            if given.long and report.scenarios.keys() >= {*names} and _is_enough(report):
                break
            minutes = (time.monotonic() - started) / 60
            if report.runs[-1].rounds and minutes > given.minutes:
                break
            if given.rounds and report.runs[-1].rounds >= given.rounds:
                break
            _play(f"{seed}.{number}", number, name, given, readers, report)
    finally:
        if sail is not None:
            sail.close()
        print(report.text(missing=missing), flush=True)
    if given.long and given.round is None and not _is_enough(report):
        print(f"FAILED: not {LONG_KILLS} kills and {LONG_WINDOWS} fault scenarios in time")
        return 1
    return 1 if len(report.failed) > failed_before else 0


def _arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--long", action="store_true", help=f"until {LONG_KILLS} kills and {LONG_WINDOWS} faults")
    parser.add_argument("--seed", type=int, help="of the run (default: drawn, and printed)")
    parser.add_argument("--round", type=int, help="only the round of this number")
    parser.add_argument("--rounds", type=int, help="so many rounds")
    parser.add_argument("--minutes", type=float, help="begin no round after so many minutes")
    parser.add_argument("--seconds", type=float, help="how long a round is under load")
    parser.add_argument("--scenario", action="append", choices=ALL, help="only this one; may be repeated")
    parser.add_argument(
        "--sum", type=Path, metavar="FILE", help="go on with the figures of the runs that are kept there"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folders of rounds that went well too")
    parser.add_argument("--show", action="store_true", help="print the plan of each round")
    given = parser.parse_args(arguments)
    given.scenario = given.scenario or ALL
    given.seconds = given.seconds or (LONG_SECONDS if given.long else SHORT_SECONDS)
    given.minutes = given.minutes or (LONG_MINUTES if given.long else math.inf if given.rounds else SHORT_MINUTES)
    if given.rounds is None and not given.long:
        given.rounds = len(given.scenario)
    return given


def _rounds(names: Sequence[str], only: int | None) -> Iterator[tuple[int, str]]:
    """Rounds are numbered, and their scenarios take turns."""
    if only is not None:
        return iter([(only, names[only % len(names)])])
    return zip(itertools.count(), itertools.cycle(names), strict=False)


def _is_enough(report: Report) -> bool:
    return report.kills.total() >= LONG_KILLS and report.windows >= LONG_WINDOWS


def _can(name: str, missing: list[str]) -> bool:
    """Whether this machine allows a scenario."""
    if name == "s3-clock-steps" and not can_step_clocks():
        missing.append(f"{name}: needs a C compiler")
        return False
    if name == "local-full-disk" and os.geteuid() != 0:
        missing.append(f"{name}: only root may mount a file system")
        return False
    return True


def _play(
    seed: str, number: int, name: str, given: argparse.Namespace, readers: dict[str, Reader], report: Report
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="polku-chaos-"))
    if name == damage.SCENARIO:
        outcome = damage.run(seed, folder, readers, given.seconds)
    else:
        plan = draw(name, seed, given.seconds)
        if given.show:
            print(plan)
        outcome = director.run(plan, folder, readers)
    again = f"--seed {seed.partition('.')[0]} --round {number} --scenario {name} --seconds {given.seconds:g}"
    report.add(name, again, outcome)
    if given.sum:
        report.write(given.sum)
    phases = f" ({', '.join(f'{phase} {seconds:.0f}' for phase, seconds in outcome.phases.items())})"
    print(
        f"{number:3} {name:30} {outcome.seconds:4.0f} s{phases}  {outcome.kills.total():3} kills  "
        f"{outcome.windows:3} faults  "
        f"{outcome.acknowledged:6} events  {outcome.duplicates:5} copies  load {os.getloadavg()[0]:2.0f}  "
        f"{'FAILED' if outcome.wrong else 'ok'}",
        flush=True,
    )
    for sentence in outcome.wrong:
        print(f"    {sentence}", flush=True)
    if outcome.wrong:
        print(f"    again: python -m tests.chaos {again}\n    what is left: {folder}", flush=True)
    elif not given.keep:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
