"""What an operator runs on a lake at rest: compaction, and a full vacuum, here without grace, and what is left then.

`python -m tests.chaos.upkeep LAKE` is `polku lake vacuum --full` for a retention of no hours, which no setting allows:
on a lake that nobody uses any more there is nobody to wait for.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from deltalake import DeltaTable

from tests.docs.blocks import ROOT

TABLES = ("events", "quarantine")
_LONGEST_SECONDS = 900  # a busy machine is no fault

# What stands beside the data files of a table, and has to.
_LOG = re.compile(
    r"_delta_log/("
    r"\d{20}\.json"  # a commit; those that a checkpoint replaced go after a while
    r"|\d{20}\.checkpoint(\.\d+\.\d+)?\.parquet"
    r"|_last_checkpoint"
    r"|\.torn-.+"  # set aside by who started after a power cut, for a person to look at
    r")"
)
# The S3 server's own, in the middle of a request when it was killed.
_OF_THE_SERVER = ".localbucket-"


def look_after(uri: str, environment: Mapping[str, str]) -> list[str]:
    """Compact a lake that nobody uses, then vacuum it; returns what did not work."""
    wrong = []
    for what, command in (
        ("compaction", ["polku.cli", "lake", "compact", "--lake", uri]),
        ("vacuum", ["tests.chaos.upkeep", uri]),
    ):
        try:
            done = subprocess.run(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env=dict(environment),
                capture_output=True,
                text=True,
                check=False,
                timeout=_LONGEST_SECONDS,
            )
        except subprocess.TimeoutExpired:
            wrong.append(f"{what} did not end in {_LONGEST_SECONDS} s")
            continue
        if done.returncode:
            wrong.append(f"{what} ended with {done.returncode}: {(done.stdout + done.stderr)[-1000:]}")
    return wrong


def left_over(lake: Path) -> list[str]:
    """Objects below a lake's address that are neither in the present state of a table nor its log.

    So nothing in `_handover`, no `_polku_probe-…`, no file that a crash left, and none that was merged into another.
    """
    named = {
        f"{table}/{row['path']}"
        for table in TABLES
        if DeltaTable.is_deltatable(str(lake / table))
        for row in live(lake / table)
    }
    there = {
        str(path.relative_to(lake))
        for path in lake.rglob("*")
        if path.is_file() and not path.name.startswith(_OF_THE_SERVER)
    }
    return sorted(name for name in there - named if not _is_log(name))


def live(table: Path) -> list[dict[str, object]]:
    """The files of a table as its log has them."""
    import pyarrow as pa

    return list(pa.table(DeltaTable(str(table)).get_add_actions(flatten=True)).to_pylist())


def _is_log(name: str) -> bool:
    table, _, inside = name.partition("/")
    return table in TABLES and _LOG.fullmatch(inside) is not None


def _vacuum(uri: str) -> None:
    from msgspec.structs import replace

    from polku_collector.compose_maintenance import by_hand
    from polku_collector.maintain.run import Unobserved
    from polku_collector.settings import load

    settings = load(None, os.environ, {"lake": uri, "dev": True})
    settings = replace(settings, maintenance=replace(settings.maintenance, vacuum_retention_hours=0))
    with by_hand(settings, Unobserved(), writes=True) as (maintainer, tables):
        for table in tables:
            maintainer.vacuum(table, full=True)
        maintainer.sweep()


if __name__ == "__main__":
    _vacuum(sys.argv[1])
