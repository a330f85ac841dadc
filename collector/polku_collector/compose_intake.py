"""An intake worker, put together: HTTP → validation → a stream of the journal of its own.

With `compose_committer` the only place where the stages meet; each loads only what its own process needs.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import ipaddress
import secrets
import socket
import sys
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import structlog
import uvicorn

from polku_schemas import Plan, compile_plan
from polku_schemas.visible import VISIBLE

from .app import Application, CollectorApp, below
from .batch import Line, QuarantineLine
from .browser_files import files_of, with_files
from .compose_tracing import TracedIntake
from .intake.allowance import SharedAllowance
from .intake.bots import IsBot
from .intake.client_address import Proxies
from .intake.endpoint import IntakeEndpoint
from .intake.guard import Closed, Guard, raise_open_files
from .intake.judged import Judged, Verdict
from .intake.pixel import PIXEL_PATHS, PixelEndpoint
from .intake.rate import Meter, SharedBucket
from .intake.senders import Senders, senders_of
from .intake.server import GuardedServer
from .intake.take import InForce, Intake
from .intake.validate import Validator
from .intake.wire import ClientLoss
from .journal.committed import CommitWatch
from .journal.stream import journal_bytes
from .journal.writer import StreamWriter
from .logs import configure
from .metrics import Metrics, exposition, metrics_directory, use_directory
from .planned import plan_in_force, protection_of, pseudonyms_of, schemas_of
from .senders_in_force import rates_directory, with_senders_in_force
from .settings import Settings, Source
from .supervisor import on_renewal, on_sigterm, wait_for_clearance
from .webhook.endpoint import PREFIX, WebhookEndpoint
from .webhook.ready import ReadyWebhook

log = structlog.get_logger("polku.collector")

# The loop thread hands the journal thread its turn this often; the default of 5 ms would be added to every answer.
_SWITCH_SECONDS = 0.001
_TALLY_SECONDS = 0.2
# Robots are looked for by user agent; a third of a kilobyte each.
_CACHED_AGENTS = 20_000
_RENEWING = threading.Lock()
# What a request allocates forms no cycles; looking for some after every 700 objects is time lost.
_GC_THRESHOLD = 50_000


def run(settings: Settings, port: int, webhooks: Mapping[str, ReadyWebhook], clearance: socket.socket) -> None:
    """One intake worker: HTTP → validation → its own stream of the journal. Ends on SIGTERM.

    Everything is loaded before `clearance` is waited for, and nothing is in the journal before it is given.
    """
    configure(readable=settings.dev)
    settings = with_senders_in_force(settings)
    use_directory(metrics_directory(settings.journal.directory))
    sys.setswitchinterval(_SWITCH_SECONDS)
    observer = _IntakeObserver(_Tally(Metrics(), Path(settings.journal.directory)), echo=settings.dev)
    directory = Path(settings.journal.directory)
    in_force = _in_force(plan_in_force(directory), settings)
    wait_for_clearance(clearance)
    journal = StreamWriter(
        directory,
        max_bytes=settings.journal.max_bytes,
        segment_bytes=settings.journal.segment_bytes,
        reserve_bytes=settings.journal.reserve_bytes,
        observe=observer.block,
    )
    commits = CommitWatch(directory, journal.stream_id)
    traced = TracedIntake(settings)
    networks = tuple(ipaddress.ip_network(network) for network in settings.server.trusted_proxies)
    proxies = Proxies(networks, settings.server.client_address_header.encode())
    files = raise_open_files(settings.limits.max_connections)
    guard = Guard(settings.limits, proxies, observer.closed, observer.error, files=files)
    if guard.max_connections < settings.limits.max_connections:
        log.warning("fewer connections than limits.max_connections: the system allows fewer open files", files=files)
    intake = IntakeEndpoint(
        in_force=in_force,
        journal=traced.journal(journal, journal.stream_id),
        commits=traced.commits(commits),
        observer=observer,
        proxies=proxies,
        new_id=new_event_id,
    )
    if not traced.is_on:
        guard.at_once = lambda scope, body, respond: intake.at_once(scope, body, journal.put, respond)
    app: Application = CollectorApp(
        traced.application(intake),
        not_ready=lambda: "the journal cannot be written" if journal.broken else journal.full(),
        metrics=exposition,
        plan=lambda: intake.in_force.schemas,
        ways_in=traced.applications(ways_in(intake, webhooks, observer.webhook)),
    )
    app = with_files(files_of(settings.server.script_path), app)
    if settings.server.path_prefixes:
        app = below(settings.server.path_prefixes, app)
    on_renewal(lambda: _renew(intake, guard, settings))
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,  # its lines go where all others go: see logs.py
            ws="none",
            log_level="error",  # a warning for every port scan would let anybody fill the log
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,  # who is believed is ours to say: `Proxies`
            timeout_graceful_shutdown=int(settings.limits.drain_seconds),
            backlog=4096,
        ),
        guard,
        observer.connections,
    )

    def end() -> None:
        server.should_exit = True
        commits.stop()  # who waits for the lake is answered now: it may be long

    on_sigterm(end)
    try:
        server.run(sockets=[_listen(settings.server.host, port)])
    finally:
        journal.close()
        traced.close()


def ways_in(
    intake: Intake, webhooks: Mapping[str, ReadyWebhook], observe: Callable[[str, str], None]
) -> dict[str, Application]:
    """The addresses beside intake's own under which events come."""
    pixel = PixelEndpoint(intake)
    return dict.fromkeys(PIXEL_PATHS, pixel) | {
        PREFIX + name: WebhookEndpoint(name, webhook, intake, observe) for name, webhook in webhooks.items()
    }


def _in_force(plan: Plan, settings: Settings) -> InForce:
    protection = protection_of(plan, settings)
    validator = Validator(compile_plan(plan), settings.limits, new_id=new_event_id, protection=protection)
    return InForce(validator, schemas_of(plan), _senders(settings))


def _senders(settings: Settings) -> Senders:
    rates = rates_directory(Path(settings.journal.directory))
    quarantined = Path(settings.journal.directory) / "quarantined"

    def meter_of(name: str, source: Source) -> Meter | None:
        rate, burst = source.rate_events_per_second, source.burst
        if rate is None:
            return None
        # What is owed is a time, and says nothing at another rate: that has a bucket of its own.
        return Meter(rate, burst, SharedBucket(rates / _file_name(f"{name}\0{rate}\0{burst}")))

    def allowance_of(name: str) -> SharedAllowance:
        return SharedAllowance(quarantined / _file_name(name), settings.limits.max_quarantine_bytes_a_day)

    return senders_of(
        settings.sources,
        settings.limits,
        meter_of=meter_of,
        is_bot=_is_bot,
        pseudonym=pseudonyms_of(settings),
        allowance_of=allowance_of,
    )


def _file_name(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()[:32]  # a name may hold anything


def _is_bot() -> IsBot:
    """As the lake sees it. Loaded only for who asks: it takes a third of a second and some memory."""
    from .lake.enrich import UserAgents

    agents = UserAgents(max_entries=_CACHED_AGENTS)
    agents.resolve([""])  # now, and not while a request waits
    return lambda user_agent: agents.resolve([user_agent])[0].is_bot


def _renew(intake: Intake, guard: Guard, settings: Settings) -> None:
    """Take what is in force now, beside the requests: each is judged and stored by the old or by this."""

    def renew() -> None:
        with _RENEWING:  # one after the other, so that the newest plan is the last
            plan = plan_in_force(Path(settings.journal.directory))
            now = with_senders_in_force(settings)
            before, intake.in_force = intake.in_force, _in_force(plan, now)
            guard.use(now.limits)
        another = plan.fingerprint != before.schemas.plan_fingerprint
        log.info(
            "validating by another plan" if another else "taking in by other sources and limits",
            plan=f"{plan.name} {plan.version}",
            fingerprint=plan.fingerprint,
        )

    threading.Thread(target=renew, name="polku-plan").start()


class _Server(GuardedServer):
    """uvicorn with our signals: it would raise SIGTERM again after finishing, before the journal is closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    return listener


def new_event_id() -> str:
    """A UUIDv7 for an event whose client sent no id: it cannot be told from its own retry, but has a name."""
    milliseconds = time.time_ns() // 1_000_000
    return str(
        uuid.UUID(
            int=(milliseconds << 80) | (0x7 << 76) | (secrets.randbits(12) << 64) | (0b10 << 62) | secrets.randbits(62)
        )
    )


class _Tally:
    """Counts of this worker, handed on to the shared metrics a few times a second.

    A shared counter costs some microseconds an increment; with one event a request that would be felt.
    """

    def __init__(self, metrics: Metrics, journal: Path) -> None:
        self._metrics, self._journal = metrics, journal
        self._counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
        self._observed: list[tuple[str, float]] = []
        self._answered: deque[tuple[int, float]] = deque()
        self._stored: deque[tuple[str, int, int]] = deque()
        self._lock = threading.Lock()  # the loop's thread and the journal's both count
        threading.Thread(target=self._hand_on_forever, name="polku-metrics", daemon=True).start()

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        with self._lock:
            self._counts[name, tuple(labels.items())] += amount  # type: ignore[assignment]  # any number will do

    def request(self, status: int, seconds: float) -> None:
        """One that was answered. A deque needs no lock."""
        self._answered.append((status, seconds))

    def stored(self, source: str, accepted: int, body_bytes: int) -> None:
        """One whose events are durable."""
        self._stored.append((source, accepted, body_bytes))

    def set(self, name: str, value: float) -> None:
        self._metrics.set(name, value)

    def observe(self, name: str, value: float) -> None:
        with self._lock:
            self._observed.append((name, value))

    def _hand_on_forever(self) -> None:
        while True:
            time.sleep(_TALLY_SECONDS)
            with self._lock:
                counts, self._counts = self._counts, Counter()
                observed, self._observed = self._observed, []
            answered = [self._answered.popleft() for _ in range(len(self._answered))]
            stored = [self._stored.popleft() for _ in range(len(self._stored))]
            for source, accepted, body_bytes in stored:
                counts["polku_body_bytes_total", ()] += body_bytes
                if accepted:
                    counts["polku_events_accepted_total", (("source", source),)] += accepted
            try:
                for status, number in Counter(status for status, _ in answered).items():
                    self._metrics.count("polku_requests_total", number, status=str(status))
                self._metrics.observe_all("polku_request_seconds", [seconds for _, seconds in answered])
                for (name, labels), amount in counts.items():
                    self._metrics.count(name, amount, **dict(labels))
                for name, value in observed:
                    self._metrics.observe(name, value)
                self._metrics.set("polku_journal_bytes", journal_bytes(self._journal))
            except OSError as error:  # a full disk, say: counting must not end for good
                log.warning("metrics not handed on", reason=str(error))


class _IntakeObserver:
    """Counts requests and events; with `echo`, shows each event and its verdict on standard output."""

    def __init__(self, tally: _Tally, *, echo: bool) -> None:
        self._tally, self._echo = tally, echo

    def judged(self, source: str, judged: Judged, body_bytes: int) -> Callable[[], None]:
        stored = partial(self._tally.stored, source, judged.accepted, body_bytes)
        told = judged.rejected, judged.warnings, judged.losses, judged.unkept
        if not self._echo and not any(told):
            return stored
        said = "\n".join(_echo_lines(judged)) if self._echo else None
        return partial(self._stored, stored, source, *told, said)

    def _stored(
        self,
        stored: Callable[[], None],
        source: str,
        rejected: list[Verdict],
        warnings: list[Verdict],
        losses: Sequence[ClientLoss],
        unkept: int,
        said: str | None,
    ) -> None:
        stored()
        count = self._tally.count
        for verdict in rejected:
            count("polku_events_rejected_total", source=source, code=verdict.code)
        if unkept:
            count("polku_quarantine_unkept_total", unkept, source=source)
        for verdict in warnings:
            count("polku_events_warned_total", source=source, code=verdict.code)
        for loss in losses:
            count("polku_client_lost_events_total", loss.count, source=source, reason=loss.reason)
        if said is not None:
            print(said, flush=True)

    def refused(self, source: str, reason: str, events: int) -> None:
        if reason != "bot":  # of such a request only some events are refused
            self._tally.count("polku_refused_requests_total", source=source, reason=reason)
        if events:
            self._tally.count("polku_refused_events_total", events, source=source, reason=reason)

    def error(self, error: str) -> None:
        self._tally.count("polku_errors_total", error=error)

    def waited(self, source: str, seconds: float, *, late: bool) -> None:
        self._tally.observe("polku_lake_ack_seconds", seconds)
        if late:
            self._tally.count("polku_lake_acks_late_total", source=source)

    def closed(self, reason: Closed) -> None:
        self._tally.count("polku_connections_closed_total", reason=reason)

    def connections(self, number: int) -> None:
        self._tally.set("polku_connections", number)

    def answered(self, status: int, seconds: float) -> None:
        self._tally.request(status, seconds)

    def webhook(self, name: str, outcome: str) -> None:
        self._tally.count("polku_webhook_deliveries_total", webhook=name, outcome=outcome)

    def block(self, lines: int, size: int, seconds: float) -> None:
        """A group commit of the journal; called in its thread."""
        self._tally.observe("polku_journal_block_seconds", seconds)
        self._tally.count("polku_journal_blocks_total")
        self._tally.count("polku_journal_written_bytes_total", size)


def _echo_lines(judged: Judged) -> Iterator[str]:
    """One line an event, whatever was sent: a sender gives a terminal no commands, and begins no line."""
    return (line.translate(VISIBLE) for line in _echoed(judged))


def _echoed(judged: Judged) -> Iterator[str]:
    warned = {verdict.index: verdict for verdict in judged.warnings}
    for index, line in enumerate(judged.lines):
        who = (line.user_id or line.anonymous_id) if isinstance(line, Line) else line.event_id
        head = f"{line.received_at:%H:%M:%S} {line.event_name or line.event_type or '?'} {who or ''}".rstrip()
        if isinstance(line, QuarantineLine):
            yield f"✗ {head}: {line.code} at {line.path}: {line.message}"
        elif index in warned:
            yield f"! {head}: {warned[index].code} at {warned[index].path}: {warned[index].message}"
        else:
            yield f"✓ {head}"
