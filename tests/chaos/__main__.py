"""Play the rounds, print what came of each and the report; exit 1 if anything was wrong, and say how to see it again."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from . import director
from .plan import SCENARIOS, draw
from .readers import Reader, Sail, duckdb_rows, polars_rows


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, help="of the run; default: drawn")
    parser.add_argument("--scenario", action="append", help="only this one, may be repeated")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args(arguments)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1_000_000)
    readers: dict[str, Reader] = {"DuckDB": duckdb_rows, "Polars": polars_rows}
    failed = 0
    for number in range(given.rounds):
        for name in given.scenario or SCENARIOS:
            folder = Path(tempfile.mkdtemp(prefix="polku-chaos-"))
            outcome = director.run(draw(name, f"{seed}.{number}", given.seconds), folder, readers)
            print(name, seed, number, outcome, folder, flush=True)
            if outcome.wrong:
                failed += 1
            else:
                shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
