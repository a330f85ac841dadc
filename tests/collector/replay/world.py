"""A small lake with events in quarantine, made as the collector makes it, and replays over it in this process."""

import asyncio
import functools
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import msgspec
from deltalake import DeltaTable

from polku_collector.batch import Line, QuarantineLine
from polku_collector.compose_replay import Judge, block_maker
from polku_collector.files import DISK, Files
from polku_collector.intake.judged import Arrival
from polku_collector.intake.validate import Validator
from polku_collector.intake.wire import parse_batch
from polku_collector.journal.reader import StreamReader
from polku_collector.journal.stream import stream_directories
from polku_collector.journal.writer import StreamWriter
from polku_collector.lake.checkpoints import Checkpoints
from polku_collector.lake.columns import ColumnsStep
from polku_collector.lake.local_store import LocalStore
from polku_collector.lake.loop import Committer
from polku_collector.lake.remember import open_memory
from polku_collector.lake.table import QUARANTINE_COLUMNS, Table
from polku_collector.planned import events_table_columns, schemas_of
from polku_collector.replay.mapping import Mapping
from polku_collector.replay.report import Report
from polku_collector.replay.rows import Selection
from polku_collector.replay.run import Replay
from polku_collector.settings import Limits, Settings, Source
from polku_schemas import Plan, builtin_plan_path, compile_plan, load_plan
from tests.collector.lake.world import Silent, no_agents

NOW = datetime(2026, 11, 22, 12, 0, 0, 654321, tzinfo=UTC)
WHOLE = load_plan(builtin_plan_path())
_EVENTS = {name: WHOLE.events[name] for name in ("product_viewed", "page_viewed")}
# A few events of it: compiling them all takes longer than a test.
PLAN = msgspec.structs.replace(WHOLE, events=_EVENTS, fingerprint="small")
SOURCES = {
    "web": Source(keys=["web-key"], channel="web"),
    "strict": Source(keys=["strict-key"], unplanned="quarantine"),
    "past": Source(keys=["past-key"], historical=True),
}
SETTINGS = Settings(sources=SOURCES, limits=Limits(max_quarantine_bytes=2000))


def without(event: str, *required: str) -> Plan:
    """The plan in which properties of an event are not required any more."""
    loose = {name: msgspec.structs.replace(PLAN.events[event].properties[name], required=False) for name in required}
    changed = msgspec.structs.replace(PLAN.events[event], properties=PLAN.events[event].properties | loose)
    return msgspec.structs.replace(PLAN, events=PLAN.events | {event: changed}, fingerprint="loose")


# `product_viewed` may come without a product now.
LOOSE = without("product_viewed", "product_id")


def viewed(event_id: str | None, **properties: Any) -> dict[str, Any]:
    """An event that PLAN refuses for want of a product_id, and LOOSE takes."""
    item = {"type": "track", "event": "product_viewed", "userId": "u1", "properties": properties}
    return item if event_id is None else item | {"messageId": event_id}


class World:
    """A journal, a lake and a committer below one folder."""

    def __init__(self, root: Path, files: Files = DISK, plan: Plan = PLAN) -> None:
        self.root, self.lake, self.plan = root, root / "lake", plan
        for folder in ("journal", "scratch", "lake"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        self._files = files
        self._scratches = 0

    def send(
        self,
        *items: Any,
        source: str = "web",
        received_at: datetime = NOW,
        sent_at: datetime | None = None,
        context: dict[str, Any] | None = None,
    ) -> None:
        """One request, as intake takes it; it stays in the journal."""
        body = json.dumps({"batch": items} | ({"context": context} if context is not None else {})).encode()
        numbers = iter(range(10**6))
        validator = Validator(compile_plan(self.plan), SETTINGS.limits, new_id=lambda: f"made-{next(numbers)}")
        judged = validator.judge(parse_batch(body), Arrival(received_at, sent_at, source, SOURCES[source], body))
        self.journal(judged.lines)

    def journal(self, lines: Sequence[Line | QuarantineLine]) -> None:
        """Lines as intake leaves them, in a stream of their own."""
        writer = StreamWriter(self.root / "journal", max_bytes=1 << 30, segment_bytes=1 << 20, files=self._files)
        asyncio.run(writer.append([*lines], schemas_of(self.plan), 10))
        writer.close()

    def committer(self) -> Committer:
        """A committer with a memory that outlives it."""
        store = LocalStore(self.lake, self._files)
        events = Table(store, "events", "event_date", events_table_columns(self.plan))
        quarantine = Table(store, "quarantine", "received_date", QUARANTINE_COLUMNS)
        readers = [StreamReader(directory) for directory in stream_directories(self.root / "journal")]
        streams = {reader.stream_id: reader for reader in readers}
        return Committer(
            store=store,
            events=events,
            quarantine=quarantine,
            columns=_step("committer", self.root / "scratch"),
            memory=open_memory(self.root / "ids", events, streams, window_seconds=7 * 86_400, max_bytes=1 << 20),
            streams=lambda: streams,
            observer=Silent(),
            flush_bytes=1 << 20,
            checkpoints=Checkpoints(1000),
        )

    def commit(self) -> None:
        """All that was sent is in the lake."""
        committer = self.committer()
        while committer.flush():
            pass

    def prepare(
        self,
        *,
        plan: Plan = LOOSE,
        mapping: Mapping | None = None,
        selection: Selection | None = None,
        dry_run: bool = False,
        batch_rows: int = 1000,
        settings: Settings = SETTINGS,
        role: str = "replay",
    ) -> Replay:
        """A replay that is ready to run. Of two that run in turns each has a role of its own."""
        store = LocalStore(self.lake, self._files)
        columns = (None, None) if dry_run else (events_table_columns(plan), QUARANTINE_COLUMNS)
        self._scratches += 1
        scratch = self.root / "scratch" / f"{self._scratches}"
        scratch.mkdir(parents=True, exist_ok=True)
        return Replay(
            store=store,
            events=Table(store, "events", "event_date", columns[0]),
            quarantine=Table(store, "quarantine", "received_date", columns[1]),
            columns=_step(role, scratch),
            judge=Judge(plan, settings, mapping or Mapping()),
            make_block=block_maker(plan),
            selection=selection or Selection(),
            dry_run=dry_run,
            scratch=scratch,
            batch_rows=batch_rows,
        )

    def replay(self, **options: Any) -> Report:
        return self.prepare(**options).run()

    def events(self, columns: str = "event_id") -> list[tuple[Any, ...]]:
        return rows(self.lake / "events", columns)

    def quarantine(self, columns: str = "event_id") -> list[tuple[Any, ...]]:
        return rows(self.lake / "quarantine", columns)

    def ids(self) -> tuple[list[str], list[str]]:
        """The ids in `events` and in `quarantine`, sorted."""
        return sorted(event_id for (event_id,) in self.events()), sorted(f"{found[0]}" for found in self.quarantine())


@functools.cache
def _columns_step(role: str) -> ColumnsStep:
    return ColumnsStep(Path(), no_agents, threads=1)


def _step(role: str, scratch: Path) -> ColumnsStep:
    """Made once for each role: its database takes longer to start than a test."""
    step = _columns_step(role)
    step._scratch = scratch
    return step


def rows(table: Path, columns: str) -> list[tuple[Any, ...]]:
    """The rows of a table as a fresh reader sees them."""
    found = DeltaTable(str(table)).to_pyarrow_dataset()
    connection = duckdb.connect().register("found", found)
    connection.execute("SET TimeZone = 'UTC'")
    return sorted(connection.sql(f"SELECT {columns} FROM found").fetchall(), key=repr)


def at(replay: Any, name: str, effect: Callable[[], None]) -> None:
    """Do something once, just before a method of an object is called the next time."""
    method = getattr(replay, name)

    def first(*arguments: Any, **options: Any) -> Any:
        setattr(replay, name, method)
        effect()
        return method(*arguments, **options)

    setattr(replay, name, first)


def replay_of(root: Path, batch_rows: int) -> None:
    """A whole run, for a process of its own."""
    World(root).replay(batch_rows=batch_rows)
