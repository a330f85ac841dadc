"""The processes of a round: collectors with the harness's half in them, killed by role or by whose request it was."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

from polku_collector.settings import Settings
from tests.collector.world import CollectorProcess

from .points import DiskPoints, StorePoints
from .ports import own_port
from .proxy import Moment, Proxy, Request
from .store import BUCKET, StoreProcess

INJECTED = Path(__file__).parent / "injected"
CLOCK_SOURCE = Path(__file__).parent / "clock.c"
ROLES = ("intake", "committer", "maintenance", "handover", "plan")
_CLOCK = struct.Struct("<q")
COMMITS = 5  # between two checkpoints, so that there are many

# Small segments, so that they roll and are trimmed all the time; small flushes, so that many are half done.
CONFIG = """
[sources.web]
keys = ["web-key"]
channel = "web"

[sources.sure]
keys = ["sure-key"]
ack = "lake"

[lake]
commit = "{commit}"
flush_bytes = 1048576
checkpoint_commits = {commits}

[journal]
segment_bytes = 20000
reserve_bytes = {reserve}

[limits]
drain_seconds = {drain:g}
ack_lake_seconds = {ack:g}
"""
# A busy machine is no fault: what is not done by then hangs.
START_SECONDS = 600.0
DRAIN_SECONDS = 300.0
# Intake is waited for as long, and then the committer and ten seconds, and the helpers.
STOP_SECONDS = 2 * DRAIN_SECONDS + 60
# With compaction all the time, where this version of the collector has it.
HAS_MAINTENANCE = "maintenance" in Settings.__struct_fields__
MAINTENANCE = """
[maintenance]
compact_files = 10
interval_seconds = 1
"""


class Node(CollectorProcess):
    """One collector with its journal, its points and, before an object store, its proxy."""

    def __init__(
        self,
        root: Path,
        lake: str,
        *,
        store: StoreProcess | None,
        proxy_port: int,
        workers: int,
        flush_seconds: float,
        seed: str,
        reserve_bytes: int = 1 << 20,
        clock: bool = False,
        commit: str = "self",
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.disk, self.points = DiskPoints(root / "points"), StorePoints()
        self.whole_node = False
        """whether the supervisor dies with whoever is killed at a point in the store"""
        self.killed: Counter[str] = Counter()
        """kills at points in the store, by role"""
        self.proxy: Proxy | None = None
        self._clock = root / "clock"
        self._clock.write_bytes(_CLOCK.pack(0))
        paths = [str(INJECTED), *filter(None, os.environ.get("PYTHONPATH", "").split(":"))]
        self._environment = os.environ | {"PYTHONPATH": ":".join(paths), "POLKU_CHAOS_POINTS": str(self.disk.folder)}
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)  # some thousand starts, each of them faster
        if clock:
            self._environment |= {"LD_PRELOAD": str(built_clock(root)), "CHAOS_CLOCK": str(self._clock)}
        if store is not None:
            self.proxy = Proxy(store.port, proxy_port, seed=seed, on_moment=self._moment)
            self._environment |= store_environment(self.proxy.address)
        config = CONFIG.format(
            commit=commit, commits=COMMITS, reserve=reserve_bytes, drain=DRAIN_SECONDS, ack=max(10, 3 * flush_seconds)
        )
        if HAS_MAINTENANCE:
            config += MAINTENANCE
        arguments = ["--flush-seconds", str(flush_seconds), "--workers", str(workers)]
        super().__init__(root, *arguments, lake=lake, port=own_port(), config=config)

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "polku.cli", "collector", *self._arguments, "--port", str(self.port)]
        return subprocess.Popen(command, stdout=self._log, stderr=self._log, env=self._environment)

    def children(self, role: str) -> list[int]:
        """The process ids of the living children of a role."""
        return [pid for pid in _children_of(self.process.pid) if _role_of(pid) == role]

    def kill_role(self, role: str, which: int) -> bool:
        """SIGKILL a child; False if there was none."""
        pids = self.children(role)
        if not pids:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[which % len(pids)], signal.SIGKILL)
            return True
        return False

    def restart_if_dead(self) -> bool:
        """Start a supervisor that was killed; whether it was."""
        if self.process.poll() is None:
            return False
        self.restart()
        return True

    def step_clock(self, seconds: int) -> None:
        """What the node's clock is off from now on."""
        with self._clock.open("r+b") as file:  # its processes have it mapped
            file.write(_CLOCK.pack(seconds))

    def close(self) -> None:
        super().close()
        if self.proxy is not None:
            self.proxy.close()

    def _moment(self, moment: Moment, request: Request, peer_port: int) -> bool:
        """Called by the proxy: kill whoever asked, if that is the point to do it at."""
        if not self.points.take(moment, request):
            return False
        for pid in _children_of(self.process.pid):
            if _holds_port(pid, peer_port):
                role = _role_of(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                self.killed[role] += 1
                if self.whole_node:
                    self.process.kill()
                    self.killed["supervisor"] += 1
                return True
        return False


def can_step_clocks() -> bool:
    return shutil.which("cc") is not None


def built_clock(folder: Path) -> Path:
    library = folder / "clock.so"
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(CLOCK_SOURCE), "-ldl"], check=True)
    return library


def store_environment(address: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def lake_folder(store: StoreProcess) -> Path:
    """Where the server keeps what collectors know as `LAKE_URI`."""
    return store.folder / BUCKET / "chaos"


LAKE_URI = f"s3://{BUCKET}/chaos"


def _children_of(parent: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return []


def _role_of(pid: int) -> str:
    """By the process's name, of which the kernel keeps 15 characters."""
    with contextlib.suppress(OSError):
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        return next((role for role in ROLES if name == f"polku-{role}"[:15]), name)
    return ""


def _holds_port(pid: int, port: int) -> bool:
    """Whether a process has the connection whose local port this is."""
    try:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        inodes = {f"socket:[{row[9]}]" for row in rows if int(row[1].split(":")[1], 16) == port}
        return any(str(link.readlink()) in inodes for link in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
