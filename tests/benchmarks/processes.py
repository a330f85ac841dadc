"""The processes the benchmarks look at: a real collector, the baseline server, and what the kernel says of them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from deltalake import DeltaTable
from msgspec import Struct

from polku_collector.journal.stream import SharedNumber, streams_directory
from polku_schemas import builtin_plan_path

from .figures import NotAsExpected

CONFIG = """
[sources.bench]
keys = ["bench"]
channel = "web"

[journal]
max_bytes = 17179869184
"""
# Longer than any run: the committer then only waits, and the figure is that of intake alone.
NEVER_SECONDS = 100_000.0

CONSTANT_ANSWER = '{"success":true,"accepted":0,"rejected":[]}'
_CONSTANT = """
import sys
import uvicorn

async def app(scope, receive, send):
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    body = sys.argv[2].encode()
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})

uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False, lifespan="off", server_header=False,
            backlog=4096, loop="uvloop", http="httptools")
"""

# What no collector can leave out that answers when events are valid and durable, in the same language on the same
# server: each body is read, decoded with the plan's decoders, encoded once, checked and synced, with one sync for all
# that wait. No ids, times, keys, limits, verdicts, metrics.
_LEAST = """
import asyncio, os, sys, threading
import msgspec, uvicorn
from isal.isal_zlib import crc32
from polku_collector.intake.wire import parse_batch
from polku_schemas import compile_plan, load_plan
plan, encode = compile_plan(load_plan(sys.argv[3])), msgspec.json.Encoder().encode_lines
file, answer = os.open(sys.argv[4], os.O_CREAT | os.O_WRONLY), sys.argv[2].encode()
waiting, wake = [], threading.Event()
head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]

def tell(group):
    for future in group:
        if not future.done():
            future.set_result(None)

def sync(loop):
    while True:
        wake.wait()
        wake.clear()
        group = waiting[:]
        del waiting[: len(group)]
        checksum = 0
        for lines, _ in group:
            checksum = crc32(lines, checksum)
        os.writev(file, [lines for lines, _ in group] + [b"%08x" % checksum])
        os.fdatasync(file)
        loop.call_soon_threadsafe(tell, [future for _, future in group])

async def app(scope, receive, send):
    loop = asyncio.get_running_loop()
    if not started:
        started.append(threading.Thread(target=sync, args=(loop,), daemon=True).start())
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message.get("more_body", False)
    events = parse_batch(body).events if body else []
    for event in events:
        event.properties = plan.find(event.type, event.event).decode(event.properties)
    future = loop.create_future()
    waiting.append((encode(events), future))
    wake.set()
    await future
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": answer})

started = []
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning", access_log=False, lifespan="off", server_header=False,
            backlog=4096, loop="uvloop", http="httptools")
"""


class Memory(Struct, frozen=True):
    """Resident memory of a process in MiB; `own` leaves out the pages of files it has mapped."""

    all: float
    own: float


class Collector:
    """`polku collector` with one intake worker, as an operator starts it."""

    def __init__(self, root: Path, *, flush_seconds: float, config: str = CONFIG, lake: str = "") -> None:
        """`lake`: another place than below `root`."""
        self.lake, self.journal = root / "lake", root / "journal"
        root.mkdir(parents=True, exist_ok=True)
        (root / "collector.toml").write_text(config)
        self.port = free_port()
        self.log_path = root / "collector.log"
        arguments = ["--lake", lake or str(self.lake), "--journal", str(self.journal), "--port", str(self.port)]
        arguments += ["--flush-seconds", str(flush_seconds), "--workers", "1"]
        command = [sys.executable, "-m", "polku.cli", "collector", str(root / "collector.toml"), *arguments]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def wait_ready(self) -> None:
        """Return when it takes events. Raises NotAsExpected with its log when it ended instead."""
        wait_for_answer(self.process, f"http://127.0.0.1:{self.port}/readyz", self.log)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")[-3_000:]

    def durable(self) -> int:
        """Events that are fsynced in the journal, over all of its streams."""
        numbers = [SharedNumber(path) for path in streams_directory(self.journal).glob("*/durable")]
        try:
            return sum(number.value for number in numbers)
        finally:
            for number in numbers:
                number.close()

    def wait_for_committer(self) -> None:
        """Return when it is there: it begins after the first workers. Raises NotAsExpected."""
        deadline = time.monotonic() + 30
        while "committer" not in self.memory():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise NotAsExpected(f"the collector has no committer process: {self.log()}")
            time.sleep(0.05)

    def memory(self) -> dict[str, Memory]:
        """The memory of the intake worker and of the committer."""
        roles = {}
        for pid in children_of(self.process.pid):
            if role := _role(pid):
                roles[role] = _memory(pid)
        return roles

    def intake_cpu_seconds(self) -> float:
        """Processor time the intake worker has used so far."""
        for pid in children_of(self.process.pid):
            if _role(pid) == "intake":
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        raise NotAsExpected("the collector has no intake worker")

    def kill(self) -> None:
        """End it at once: its children go with it, and what was not committed stays where it is."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def collector(root: Path, *, flush_seconds: float, config: str = CONFIG, lake: str = "") -> Iterator[Collector]:
    """A collector that takes events, ended on leaving."""
    started = Collector(root, flush_seconds=flush_seconds, config=config, lake=lake)
    try:
        started.wait_ready()
        yield started
    finally:
        started.kill()


@contextlib.contextmanager
def constant_server() -> Iterator[int]:
    """The same ASGI server as the collector's, reading each body and answering a constant; yields its port."""
    with _server(_CONSTANT) as port:
        yield port


@contextlib.contextmanager
def least_server(journal: Path) -> Iterator[int]:
    """The same server with the least work that valid and durable events need; yields its port."""
    with _server(_LEAST, str(builtin_plan_path()), str(journal)) as port:
        yield port


@contextlib.contextmanager
def _server(program: str, *arguments: str) -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", program, str(port), CONSTANT_ANSWER, *arguments])
    try:
        wait_for_answer(process, f"http://127.0.0.1:{port}/", lambda: "")
        yield port
    finally:
        process.kill()
        process.wait()


class Contents(Struct, frozen=True):
    """What a fresh reader finds in a table."""

    rows: int
    files: int
    size_bytes: int


def contents(lake: Path, table: str) -> Contents:
    """Rows, files and bytes of a table as a reader who just opened it sees them."""
    path = lake / table
    if not (path / "_delta_log").is_dir() or not DeltaTable.is_deltatable(str(path)):
        return Contents(0, 0, 0)
    actions = DeltaTable(str(path)).get_add_actions(flatten=True)
    rows, sizes = actions.column("num_records").to_pylist(), actions.column("size_bytes").to_pylist()
    return Contents(sum(rows), len(rows), sum(sizes))


def wait_for_rows(
    lake: Path, rows: int, *, patience_seconds: float, alive: subprocess.Popen[bytes], log: Path
) -> float:
    """The time (Unix) at which a fresh reader saw all rows. Raises NotAsExpected when nothing more comes."""
    seen, moved = -1, time.monotonic()
    while True:
        now = time.time()
        found = contents(lake, "events").rows
        if found == rows:
            break
        if found > rows:
            raise NotAsExpected(f"{rows} events were sent, {found} rows are in the lake")
        if found != seen:
            seen, moved = found, time.monotonic()
        if time.monotonic() - moved > patience_seconds or alive.poll() is not None:
            raise NotAsExpected(f"only {found} of {rows} rows arrived: {log.read_text(errors='replace')[-3_000:]}")
        time.sleep(0.1)
    if refused := contents(lake, "quarantine").rows:
        raise NotAsExpected(f"{refused} events are in quarantine")
    return now


def wait_for_answer(process: subprocess.Popen[bytes], url: str, log: object) -> None:
    """Return when a server answers 200."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            if answer.status == 200:
                return
        time.sleep(0.05)
    raise NotAsExpected(f"{url} does not answer: {log() if callable(log) else log}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def children_of(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _role(pid: int) -> str | None:
    """The name the supervisor gives its children."""
    with contextlib.suppress(OSError):
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        return name.removeprefix("polku-") if name.startswith("polku-") else None
    return None


def _memory(pid: int) -> Memory:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return Memory(int(fields["VmRSS"].split()[0]) / 1024, int(fields["RssAnon"].split()[0]) / 1024)
