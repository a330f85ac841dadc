"""A real collector process on loopback, to start, kill and stop; and what its lake holds."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
from deltalake import DeltaTable

CONFIG = """
[sources.web]
keys = ["web-key"]
channel = "web"

[sources.past]
keys = ["past-key"]
historical = true

[limits]
drain_seconds = 60
"""


class CollectorProcess:
    """`polku collector` as an operator starts it. Its children are found by their parent's id."""

    def __init__(
        self, root: Path, *arguments: str, lake: str | None = None, port: int = 0, config: str = CONFIG
    ) -> None:
        self.root, self.lake = root, lake or str(root / "lake")
        root.mkdir(parents=True, exist_ok=True)
        (root / "collector.toml").write_text(config)
        self._arguments = [str(root / "collector.toml"), "--lake", self.lake, "--journal", str(root / "journal")]
        self._arguments += ["--flush-seconds", "0.2", *arguments]
        self.port = port or free_port()
        self._log = (root / "collector.log").open("ab")
        self.process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "polku.cli", "collector", *self._arguments, "--port", str(self.port)]
        return subprocess.Popen(command, stdout=self._log, stderr=self._log)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log(self) -> str:
        return (self.root / "collector.log").read_text()

    def wait_ready(self, seconds: float = 60) -> "CollectorProcess":
        def ready() -> bool:
            assert self.process.poll() is None, f"the collector ended:\n{self.log()}"
            try:
                is_serving = httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
                return is_serving and bool(self.children("committer"))  # it begins after intake
            except httpx.TransportError:
                return False

        wait_until(ready, seconds, self.log)
        return self

    def children(self, role: str) -> list[int]:
        """The process ids of the living children of a role: `intake`, `committer` or `maintenance`."""
        found = []
        name = f"polku-{role}"[:15]  # the kernel keeps no more
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                text = status.read_text()
                if f"PPid:\t{self.process.pid}\n" in text and text.startswith(f"Name:\t{name}\n"):
                    found.append(int(status.parent.name))
        return found

    def kill_child(self, role: str) -> bool:
        """SIGKILL one child; False if there was none to kill just now."""
        for pid in self.children(role):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return True
        return False

    def kill(self) -> None:
        """SIGKILL the supervisor; its children must follow it."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> "CollectorProcess":
        self.process = self._spawn()
        return self

    def stop(self, seconds: float = 90) -> int:
        """SIGTERM; returns the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(seconds)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._log.close()


@contextlib.contextmanager
def collector(root: Path, *arguments: str, **options: Any) -> Iterator[CollectorProcess]:
    process = CollectorProcess(root, *arguments, **options)
    try:
        yield process.wait_ready()
    finally:
        process.close()


def batch(*ids: str, **fields: object) -> dict[str, object]:
    """The body of a request with an event for each id."""
    item = {"type": "track", "event": "product_viewed", "userId": "u1", "properties": {"product_id": "p1"}}
    return {"batch": [item | {"messageId": event_id} | fields for event_id in ids]}


def send(process: CollectorProcess, body: object, key: str = "web-key") -> httpx.Response:
    return httpx.post(f"{process.url}/v1/batch", json=body, auth=(key, ""), timeout=30)


def rows(lake: str, table: str, columns: str = "*", options: dict[str, str] | None = None) -> list[tuple[Any, ...]]:
    """The rows of a table as a fresh reader sees them, without Polku's own code."""
    uri = f"{lake}/{table}"
    if not DeltaTable.is_deltatable(uri, storage_options=options):
        return []
    events = DeltaTable(uri, storage_options=options).to_pyarrow_dataset()
    connection = duckdb.connect().register("events", events)
    found = connection.sql(f"SELECT {columns} FROM events").to_arrow_table()
    return [tuple(row.values()) for row in found.to_pylist()]


def wait_until(condition: Any, seconds: float, explain: Any = lambda: "") -> None:
    """Poll a condition; fail with an explanation when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds} s: {explain()}"
        time.sleep(0.05)


def free_port() -> int:
    """A port that nobody listens on just now. Tests that run side by side take theirs from ranges apart."""
    first = 10_000 + 1_000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = first + random.randrange(1_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
