"""Run the subjects that were named, print their figures as one table, say which targets are met."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import analyses, end_to_end, freshness, growth, hostile, intake, lake, peers, scale, track, validate
from .figures import Figure, NotAsExpected, as_json, machine, machine_lines, table

SUBJECTS: dict[str, Callable[[Path, float], list[Figure]]] = {
    "intake": intake.run,
    "lake": lake.run,
    "end-to-end": end_to_end.run,
    "track": track.run,
    "peers": peers.run,
    "validate": validate.run,
    "hostile": hostile.run,
    "growth": growth.run,
    "freshness": freshness.run,
    "scale": scale.run,
    "analyses": analyses.run,
}


def main(arguments: Sequence[str]) -> int:
    """Returns the exit code: 0, or 1 when a subject was not as expected. A missed target is printed, not an error."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"subjects: {', '.join(SUBJECTS)} (default: all)")
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="how long load is put on the whole way (default: 20)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to a file")
    parser.add_argument("--folder", type=Path, help="where journals and lakes are made (default: the temporary folder)")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in SUBJECTS]:
        parser.error(f"no subject {', '.join(unknown)}; there are {', '.join(SUBJECTS)}")
    if given.seconds <= 0:
        parser.error("--seconds must be more than 0")

    if given.folder:
        given.folder.mkdir(parents=True, exist_ok=True)
    where, figures, failed = machine(), list[Figure](), list[str]()
    for name in given.names or SUBJECTS:
        print(f"{name} …", end="", file=sys.stderr, flush=True)
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="polku-bench-", dir=given.folder) as folder:
            try:
                figures += SUBJECTS[name](Path(folder), given.seconds)
            except NotAsExpected as error:
                failed.append(f"{name}: {error}")
        print(f" {time.monotonic() - started:.0f} s", file=sys.stderr)
    print(f"{machine_lines(where)}\n\n{table(figures)}")
    if given.json:
        given.json.write_bytes(as_json(where, figures))
    for sentence in failed:
        print(f"NOT AS EXPECTED  {sentence}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
