"""An intake on a real loopback server with a journal in memory."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import httpx
import msgspec
import uvicorn

from polku_collector.app import CollectorApp, below
from polku_collector.batch import Line, QuarantineLine, Schemas
from polku_collector.compose_intake import ways_in
from polku_collector.errors import JournalFull
from polku_collector.intake.client_address import Proxies
from polku_collector.intake.endpoint import IntakeEndpoint
from polku_collector.intake.guard import Guard
from polku_collector.intake.judged import Judged
from polku_collector.intake.senders import Senders, senders_of
from polku_collector.intake.server import GuardedServer
from polku_collector.intake.take import InForce
from polku_collector.intake.validate import Validator
from polku_collector.planned import schemas_of
from polku_collector.settings import IdCookie, Limits, Source
from polku_collector.webhook.ready import ReadyWebhook
from polku_schemas import builtin_plan_path, compile_plan, load_plan

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
PLAN = compile_plan(load_plan(builtin_plan_path()))

SOURCES = {
    "web": Source(keys=["web-key"], channel="web"),
    "strict": Source(keys=["strict-key"], unplanned="quarantine", cors=["https://shop.example"]),
    "past": Source(keys=["past-key"], historical=True),
    "site": Source(keys=["site-key"], cors=["https://shop.example"], cookie=IdCookie(domain="shop.example")),
}
NO_PROXIES = Proxies()
# One event of the built-in plan as a client may send it.
GOOD = {"type": "track", "event": "Order Refunded", "userId": "u1", "messageId": "m1", "properties": {"order_id": "o1"}}
HEAD = b"POST /v1/batch?writeKey=web-key HTTP/1.1\r\nhost: x\r\n"

LIMITS = Limits(max_body_bytes=200_000, max_batch_events=500, max_event_bytes=20_000, body_seconds=1.0)
PATIENT = msgspec.structs.replace(LIMITS, header_seconds=3600, idle_seconds=3600, body_seconds=60)


class MemoryJournal:
    """The journal's twin: keeps lines, or is full."""

    def __init__(self) -> None:
        self.lines: list[Line | QuarantineLine] = []
        self.numbered = 0
        self.full = False
        self.tasks: list[asyncio.Task[None]] = []

    async def append(self, lines: list[Line | QuarantineLine], schemas: Schemas, size_bytes: int) -> int:
        if self.full:
            raise JournalFull("the journal holds 5 of 5 bytes")
        for line in lines:
            self.numbered += 1
            line.sequence = self.numbered
        self.lines += lines
        lines.clear()
        return self.numbered

    def put(
        self,
        lines: list[Line | QuarantineLine],
        schemas: Schemas,
        size_bytes: int,
        done: Callable[[Exception | None], object],
    ) -> None:
        async def appended() -> None:
            try:
                await self.append(lines, schemas, size_bytes)
            except JournalFull as error:
                done(error)
            else:
                with contextlib.suppress(OSError):  # a fault of one is its own: the writer goes on, too
                    done(None)

        # Kept, as a loop keeps none of its tasks.
        self.tasks.append(asyncio.get_running_loop().create_task(appended()))


class MemoryCommits:
    """The lake's twin: has everything at once, or is away and says why. `asked`: for which sequences."""

    def __init__(self) -> None:
        self.why: str | None = None
        self.asked: list[int] = []

    async def why_not_committed(self, sequence: int, seconds: float) -> str | None:
        self.asked.append(sequence)
        return self.why


class Silent:
    def judged(self, source: str, judged: Judged, body_bytes: int) -> Callable[[], None]:
        return lambda: None

    def refused(self, source: str, reason: str, events: int) -> None: ...

    def error(self, error: str) -> None: ...

    def waited(self, source: str, seconds: float, *, late: bool) -> None: ...

    def answered(self, status: int, seconds: float) -> None: ...


class Counted(Silent):
    """Remembers what was refused, and why connections were closed."""

    def __init__(self) -> None:
        self.refusals: list[tuple[str, str, int]] = []
        self.closings: list[str] = []
        self.outcomes: list[tuple[str, str]] = []
        self.errors: list[str] = []
        self.judgements: list[Judged] = []

    def judged(self, source: str, judged: Judged, body_bytes: int) -> Callable[[], None]:
        # Of the lines nothing is left after the answer.
        self.judgements.append(msgspec.structs.replace(judged, lines=[*judged.lines]))
        return super().judged(source, judged, body_bytes)

    def error(self, error: str) -> None:
        self.errors.append(error)

    def webhook(self, name: str, outcome: str) -> None:
        self.outcomes.append((name, outcome))

    def refused(self, source: str, reason: str, events: int) -> None:
        self.refusals.append((source, reason, events))


class World:
    def __init__(
        self,
        journal: MemoryJournal,
        client: httpx.Client,
        port: int,
        counted: Counted,
        endpoint: IntakeEndpoint,
        commits: MemoryCommits,
    ) -> None:
        self.journal, self.client, self.port = journal, client, port
        self.counted, self.endpoint = counted, endpoint
        self.commits = commits
        self.outcomes = counted.outcomes

    def post(self, body: object, key: str = "web-key", path: str = "/v1/batch", **options: object) -> httpx.Response:
        if not isinstance(body, bytes):
            return self.client.post(path, json=body, auth=(key, ""), **options)  # type: ignore[arg-type]
        return self.client.post(path, content=body, auth=(key, ""), **options)  # type: ignore[arg-type]

    def taken(self) -> list[Line | QuarantineLine]:
        lines, self.journal.lines = self.journal.lines, []
        return lines


@contextlib.contextmanager
def intake(
    limits: Limits = LIMITS,
    senders: Senders | None = None,
    proxies: Proxies = NO_PROXIES,
    prefixes: Sequence[str] = (),
    files: int | None = None,
    webhooks: Mapping[str, ReadyWebhook] | None = None,
    at_once: bool = True,
) -> Iterator[World]:
    """`senders`: default are those of SOURCES. `files`: how many may be open at most. `at_once`: what need not wait."""
    counted = Counted()
    guard = Guard(limits, proxies, counted.closings.append, counted.errors.append, files=files)
    journal, commits, numbers = MemoryJournal(), MemoryCommits(), iter(range(10**9))
    senders = senders or senders_of(SOURCES, limits)
    endpoint = IntakeEndpoint(
        in_force=InForce(
            Validator(PLAN, limits, new_id=lambda: f"made-{next(numbers)}"), schemas_of(PLAN.plan), senders
        ),
        journal=journal,
        commits=commits,
        observer=counted,
        proxies=proxies,
        now=lambda: NOW,
        new_id=lambda: f"made-{next(numbers)}",
    )
    if at_once:
        guard.at_once = lambda scope, body, respond: endpoint.at_once(scope, body, journal.put, respond)
    app = CollectorApp(
        endpoint,
        not_ready=lambda: "full" if journal.full else None,
        metrics=lambda: b"",
        plan=lambda: endpoint.in_force.schemas,
        ways_in=ways_in(endpoint, webhooks or {}, counted.webhook),
    )
    config = uvicorn.Config(below(prefixes, app), port=0, log_level="critical", lifespan="off", ws="none")
    server = GuardedServer(config, guard)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        yield World(journal, client, port, counted, endpoint, commits)
    server.should_exit = True
    thread.join()


def error(response: object) -> tuple[int, str]:
    assert hasattr(response, "status_code")
    document = response.json()  # type: ignore[attr-defined]
    assert document["success"] is False
    assert document["message"]
    return response.status_code, document["error"]


@contextlib.contextmanager
def connected(world: World, data: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", world.port), timeout=20) as connection:
        connection.sendall(data)
        yield connection


def until_closed(connection: socket.socket) -> bytes:
    """All that comes until the server closes; a timeout fails."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received
