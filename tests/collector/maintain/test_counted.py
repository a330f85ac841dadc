"""What maintenance did is in its metrics, and a commit that is in doubt in the committer's."""

import os
import subprocess
import sys
import time
from pathlib import Path

from .world import Lake, event

# In a process of its own: the metrics of another test's would be in the way of its own.
KEEPS = """
import sys, threading
from pathlib import Path
from polku_collector.compose_committer import _LakeObserver
from polku_collector.compose_maintenance import _Keeper
from polku_collector.errors import CommitUncertain, StoreUnreachable
from polku_collector.metrics import exposition, use_directory
from polku_collector.settings import JournalSettings, Lake, Maintenance, Retention, Settings

class Keeper(_Keeper):
    looks = 0

    def _look(self):
        super()._look()
        self.looks += 1
        if self.looks == 2:
            stop.set()

root = Path(sys.argv[1])
use_directory(root / "metrics")
stop = threading.Event()
rules = Maintenance(interval_seconds=0.01, compact_files=10, retention=Retention(events={"old": 1000}))
keeper = Keeper(Settings(lake=Lake(str(root / "lake")), journal=JournalSettings(str(root)), maintenance=rules), stop)
keeper.run()
committer = _LakeObserver(keeper._metrics, ())
for error in (CommitUncertain("somebody was faster"), CommitUncertain("again"), StoreUnreachable("away")):
    committer.failed(error, 0.1)
print(exposition().decode())
"""


def test_what_was_merged_removed_and_in_doubt_is_counted(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake", tmp_path / "scratch")
    for number in range(12):
        lake.write(event("same", stream=f"{number}"), event(), event(name="old", days_ago=4000), stream=f"{number}")
    size = sum((tmp_path / "lake" / "events" / path).stat().st_size for path in lake.files())
    began = time.time()
    command = [sys.executable, "-c", KEEPS, str(tmp_path)]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    lines = [line.rpartition(" ") for line in done.stdout.splitlines() if line.startswith("polku_")]
    found = {name.removeprefix("polku_"): float(value) for name, _, value in lines}

    events = '{table="events"}'
    expected = {
        f"compactions_total{events}": 2,  # two days
        f"compaction_files_total{events}": 24,
        f"compaction_bytes_total{events}": size,
        "compaction_duplicates_total": 11,
        "compaction_conflicting_ids_total": 0,
        f"retention_rows_total{events}": 12,
        f"table_files{events}": 1,
        f"vacuum_files_total{events}": 0,  # what left the table stays a day for its readers
        "maintenance_failures_total": 0,
        "maintenance_conflicts_total": 0,
        "lake_failures_total": 3,
        "lake_conflicts_total": 2,
    }
    assert {name: found.get(name) for name in expected} == expected, done.stderr
    for work in ("compaction", "retention", "vacuum"):
        assert began <= found[f'maintenance_last_seconds{{work="{work}"}}'] <= time.time()
