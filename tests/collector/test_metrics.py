"""What processes share of their metrics."""

import subprocess
import sys
from pathlib import Path


def test_many_at_once_are_in_a_histogram_as_one_by_one(tmp_path: Path) -> None:
    """In a process of its own: prometheus-client reads where its files are when it is loaded."""
    script = """
import sys
from pathlib import Path
from polku_collector.metrics import METRICS, Metrics, exposition, use_directory

use_directory(Path(sys.argv[1]))
metrics = Metrics()
at_once, by_one = "polku_request_seconds", "polku_lake_flush_seconds"
bounds = METRICS[at_once].buckets
assert bounds == METRICS[by_one].buckets
values = [0.0, 1e9, *bounds, *bounds[::2], *(bound * 1.01 for bound in bounds)]
metrics.observe_all(at_once, values)
metrics.observe_all(at_once, [])
for value in values:
    metrics.observe(by_one, value)
lines = exposition().decode().splitlines()
for name in (at_once, by_one):
    told = (line.removeprefix(name).rsplit(" ", 1) for line in lines if line.startswith(name))
    print(sorted((of, f"{float(value):.9g}") for of, value in told))  # newer Pythons add up more exactly
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    at_once, by_one = done.stdout.splitlines() or (done.stderr, "")
    assert at_once == by_one and at_once.count("_bucket") > 10
