"""The points on disk: a process dies where it was told to, or its disk says what it was told to say. Plans repeat."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .plan import SCENARIOS, draw
from .points import INTAKE_POINTS, DiskPoint, DiskPoints
from .world import INJECTED, built_clock, can_step_clocks

SCRIPT = """
import ctypes, sys
from pathlib import Path
from polku_collector.files import DISK
ctypes.CDLL(None).prctl(15, b"polku-intake")
path = Path(sys.argv[1])
descriptor = DISK.create(path)
for number in range(5):
    try:
        DISK.write(descriptor, [b"0123", b"4567"])
        DISK.sync(descriptor)
    except OSError as error:
        print(error.errno)
"""


def write_with(points: DiskPoints, path: Path) -> subprocess.CompletedProcess[str]:
    paths = ":".join([str(INJECTED), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "POLKU_CHAOS_POINTS": str(points.folder)}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path)], capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.parametrize(
    ("operation", "moment", "skip", "left"),
    [
        ("create", "before", 0, None),
        ("create", "after", 0, 0),
        ("write", "before", 2, 16),
        ("write", "middle", 2, 20),
        ("write", "after", 2, 24),
        ("sync", "before", 0, 8),
    ],
)
def test_a_process_is_killed_at_its_point(
    tmp_path: Path, operation: str, moment: str, skip: int, left: int | None
) -> None:
    points, path = DiskPoints(tmp_path / "points"), tmp_path / "file.journal"
    armed = points.arm(DiskPoint("intake", operation, r"\.journal$", moment, skip))  # type: ignore[arg-type]
    assert write_with(points, path).returncode == -signal.SIGKILL
    assert points.has_fired(armed)
    assert (path.stat().st_size if path.exists() else None) == left


def test_another_role_path_or_moment_is_left_alone(tmp_path: Path) -> None:
    points = DiskPoints(tmp_path / "points")
    armed = [
        points.arm(DiskPoint("committer", "sync", r"\.journal$", "before")),
        points.arm(DiskPoint("intake", "sync", r"\.parquet$", "before")),
        points.arm(DiskPoint("intake", "rename", r"\.journal$", "before")),
    ]
    assert write_with(points, tmp_path / "file.journal").returncode == 0
    assert not any(map(points.disarm, armed))


def test_a_disk_gives_its_error_until_it_is_disarmed(tmp_path: Path) -> None:
    points = DiskPoints(tmp_path / "points")
    armed = points.arm(DiskPoint("", "sync", r"\.journal$", "before", skip=1, error="ENOSPC"))
    assert write_with(points, tmp_path / "file.journal").stdout.split() == ["28"] * 4
    assert points.disarm(armed)
    assert write_with(points, tmp_path / "other.journal").stdout == ""


@pytest.mark.skipif(not can_step_clocks(), reason="needs a C compiler")
def test_a_clock_that_steps_changes_the_time_and_no_wait(tmp_path: Path) -> None:
    script = """
import sys, time, threading, datetime
print(time.time(), datetime.datetime.now().timestamp(), time.time_ns() / 1e9)
started = time.monotonic()
time.sleep(0.05), threading.Event().wait(0.05), threading.Lock().acquire() and threading.Condition().acquire()
print(time.monotonic() - started)
"""
    clock = tmp_path / "clock"
    clock.write_bytes((-259_200).to_bytes(8, "little", signed=True))
    environment = os.environ | {"LD_PRELOAD": str(built_clock(tmp_path)), "CHAOS_CLOCK": str(clock)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True)
    *times, waited = map(float, done.stdout.split())
    assert all(abs(shown - (time.time() - 259_200)) < 60 for shown in times)
    assert 0.1 <= waited < 60


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_seed_says_the_whole_round(scenario: str) -> None:
    assert draw(scenario, "7.1", 20.0) == draw(scenario, "7.1", 20.0) != draw(scenario, "7.2", 20.0)


def test_every_operation_of_a_point_is_one_of_the_product() -> None:
    from polku_collector.files import Files

    assert {point.operation for point in INTAKE_POINTS.values()} <= set(dir(Files))
