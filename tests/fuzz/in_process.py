"""The real application with a real journal in this process: as fast as it goes, and every line read back from disk."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from polku_collector.app import CollectorApp
from polku_collector.batch import Block
from polku_collector.compose_intake import new_event_id, ways_in
from polku_collector.intake.allowance import SharedAllowance
from polku_collector.intake.endpoint import IntakeEndpoint
from polku_collector.intake.rate import Meter, SharedBucket
from polku_collector.intake.senders import senders_of
from polku_collector.intake.take import InForce
from polku_collector.intake.validate import Validator
from polku_collector.journal.reader import StreamReader
from polku_collector.journal.stream import streams_directory
from polku_collector.journal.writer import StreamWriter
from polku_collector.lake.columns import ColumnsStep, Keys, Repeats
from polku_collector.lake.enrich import UserAgents
from polku_collector.planned import schemas_of
from polku_collector.settings import IdCookie, Limits, Source, Webhook, WebhookHmac
from polku_collector.webhook.mapping_file import read_webhook_mapping
from polku_collector.webhook.ready import ReadyWebhook
from polku_schemas import CompiledPlan, Plan, builtin_plan_path, compile_plan, load_plan
from tests.collector.intake.world import Silent

from .inputs import MAX_BODY_BYTES, MAX_EVENT_BYTES, MAX_EVENTS, ORIGIN, SECRET, Input, key_of, make_input, source_of
from .oracle import Answered, Stored, complaints

# Requests that are under way at once; each has a source of its own, by which its lines are known.
SLOTS = 64
# Journal bytes after which what is read goes through the columns step.
_COLUMNS_BYTES = 4 << 20

MAPPING = """
id: $.id
events:
  product_viewed:
    when: {"$.kind": sale}
    each: $.lines
    user_id: $.user
    timestamp: $.at
    properties:
      product_id: "@.sku"
      price: {from: "@.price", cast: number}
      url: $.x
  any:
    call: identify
    id: body
    when: {"$.kind": {not: sale}}
    user_id: {from: $.user, default: nobody}
    traits: $.x
"""


@functools.cache
def _plan() -> tuple[Plan, CompiledPlan]:
    plan = load_plan(builtin_plan_path())
    return plan, compile_plan(plan)


@functools.cache
def _agents() -> UserAgents:
    return UserAgents()


def source(slot: int) -> Source:
    """Sources of every kind: those that refuse what is unplanned, believe any time, set a cookie, wait for the lake.

    The rate is one that nobody reaches, and nobody is a robot: what becomes of an event is known beforehand.
    """
    keys = [key_of(slot)]
    if slot % 8 == 4:
        return Source(keys=keys, ip="hash", rate_events_per_second=1e9)
    if slot % 8 == 5:
        return Source(keys=keys, unplanned="quarantine", bots="refuse", ack="lake", ip="keep")
    if slot % 4 == 1:
        return Source(keys=keys, unplanned="quarantine", ip="truncate")
    if slot % 4 == 2:
        return Source(keys=keys, historical=True, channel="web", ip="keep")
    if slot % 4 == 3:
        return Source(keys=keys, cors=[ORIGIN], cookie=IdCookie(consent="statistics"))
    return Source(keys=keys)


class InProcess:
    """Takes waves of inputs, checks each against what was answered and what is in the journal."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._seed = seed
        (folder / "map.yaml").write_text(MAPPING)
        mapping = read_webhook_mapping(folder / "map.yaml")
        plan, compiled = _plan()
        sources = {source_of(slot): source(slot) for slot in range(SLOTS)}
        limits = Limits(
            max_body_bytes=MAX_BODY_BYTES,
            max_batch_events=MAX_EVENTS,
            max_event_bytes=MAX_EVENT_BYTES,
            max_quarantine_bytes=2_000,
        )
        self._writer = StreamWriter(folder / "journal", max_bytes=1 << 40, segment_bytes=4 << 20)
        (directory,) = streams_directory(folder / "journal").iterdir()
        self.corrupt: list[str] = []
        self._reader = StreamReader(directory, on_corruption=self.corrupt.append)
        self._read_to = 0
        self._step = ColumnsStep(_made(folder / "scratch"), _agents().table, threads=1)
        self._blocks: list[Block] = []
        schemas = schemas_of(plan)
        senders = senders_of(
            sources,
            limits,
            meter_of=lambda name, source: _meter(source, folder / name),
            is_bot=lambda: lambda user_agent: False,
            pseudonym=lambda text: f"pseudonym of {len(text)}",
            allowance_of=lambda name: SharedAllowance(folder / f"{name} quarantined", 1 << 40),
        )
        intake = IntakeEndpoint(
            in_force=InForce(Validator(compiled, limits, new_id=new_event_id), schemas, senders),
            journal=self._writer,
            commits=_Committed(),
            observer=Silent(),
            new_id=new_event_id,
        )
        hmac = WebhookHmac(header="X-Signature")
        webhooks = {
            f"w{slot}": ReadyWebhook(Webhook("map.yaml", source_of(slot), hmac), mapping, (SECRET,))
            for slot in range(SLOTS)
        }
        self._app = CollectorApp(
            intake,
            not_ready=lambda: None,
            metrics=lambda: b"",
            plan=lambda: schemas,
            ways_in=ways_in(intake, webhooks, lambda name, outcome: None),
        )
        self.outcomes: Counter[str] = Counter()
        self.complaints: list[str] = []

    async def wave(self, first: int, count: int) -> None:
        """Send inputs side by side; then read what they left in the journal, and compare."""
        requests = [make_input(self._seed, first + slot, slot) for slot in range(count)]
        answers = await asyncio.gather(*(self._send(request) for request in requests))
        stored = self._stored()
        for request, answer in zip(requests, answers, strict=True):
            lines = stored.pop(source_of(request.slot), [])
            self._count(request, answer, lines)
            wrong = (
                [f"{type(answer).__name__}: {answer}"]
                if isinstance(answer, BaseException)
                else complaints(request, answer, lines)
            )
            self.complaints += [f"{text}\n  {request.shown()}" for text in wrong]
        if stored:
            self.complaints.append(f"lines of sources that sent nothing: {sorted(stored)}")
        if self.corrupt:
            self.complaints.append(f"the journal is damaged: {self.corrupt}")
        if sum(len(block.lines) for block in self._blocks) > _COLUMNS_BYTES:
            self.columns()

    def columns(self) -> None:
        """What was journalled becomes rows: one for each line, none that does not convert."""
        if not self._blocks:
            return
        blocks, self._blocks = self._blocks, []
        written = self._step.write(blocks, _nothing_repeats)
        lines = sum(run.lines for block in blocks for run in block.runs)
        if written.unconvertible:
            self.complaints.append(f"{written.unconvertible} accepted lines do not become columns")
        if written.event_rows + written.quarantine_rows != lines:
            self.complaints.append(f"{lines} lines are {written.event_rows} + {written.quarantine_rows} rows")
        for file in (*written.events, *written.quarantine):
            Path(file.path).unlink()
        self._reader.trim(self._read_to)

    def close(self) -> None:
        self.columns()
        self._writer.close()

    async def _send(self, request: Input) -> Answered | BaseException:
        sent: list[dict[str, Any]] = []
        parts = _parts(request)

        async def receive() -> dict[str, Any]:
            body, more = next(parts, (b"", False))
            return {"type": "http.request", "body": body, "more_body": more}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "",
            "method": request.method, "path": request.path, "raw_path": request.path.encode("utf-8", "surrogatepass"),
            "query_string": request.query, "headers": request.headers, "client": ("127.0.0.1", 1), "server": ("x", 80),
        }  # fmt: skip
        try:
            await self._app(scope, receive, send)
        except Exception as error:
            return error
        head, *bodies = sent
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in head["headers"]}
        return Answered(head["status"], headers, b"".join(body["body"] for body in bodies))

    def _stored(self) -> dict[str, list[Stored]]:
        """What is new in the journal, by source; read as the lake reads it."""
        found: dict[str, list[Stored]] = {}
        while blocks := self._reader.read(self._read_to, 1 << 30):
            self._read_to = blocks[-1].last_sequence
            self._blocks += blocks
            for block in blocks:
                for run in block.runs:
                    text = bytes(block.lines[run.offset : run.offset + run.length])
                    lines = [msgspec.json.decode(line) for line in text.split(b"\n")[:-1]]
                    if len(lines) != run.lines:
                        self.complaints.append(f"the run {run.name} says {run.lines} lines and has {len(lines)}")
                    for line in lines:
                        found.setdefault(line["source"], []).append(Stored(run.name, line))
        return found

    def _count(self, request: Input, answer: Answered | BaseException, lines: Sequence[Stored]) -> None:
        status = "raised" if isinstance(answer, BaseException) else str(answer.status)
        self.outcomes[f"{request.kind} {status}"] += 1
        self.outcomes["lines accepted"] += sum(not line.refused for line in lines)
        self.outcomes["lines refused"] += sum(line.refused for line in lines)
        if request.known is not None:
            self.outcomes["items known beforehand"] += len(request.known)


class _Committed:
    """A lake that has everything at once."""

    async def why_not_committed(self, sequence: int, seconds: float) -> str | None:
        await asyncio.sleep(0)
        return None


def _meter(source: Source, path: Path) -> Meter | None:
    rate = source.rate_events_per_second
    return None if rate is None else Meter(rate, source.burst, SharedBucket(path))


def _parts(request: Input) -> Iterator[tuple[bytes, bool]]:
    """The body in one piece, or in several."""
    body = request.body
    if request.number % 5 or len(body) < 2:
        yield body, False
        return
    cuts = [0, len(body) // 3, len(body) // 2, len(body)]
    for start, end in itertools.pairwise(cuts):
        yield body[start:end], end < len(body)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _nothing_repeats(keys: Keys, streams: list[str]) -> Repeats:
    none = np.zeros(len(keys.high), np.bool_)
    return Repeats(none, none)
