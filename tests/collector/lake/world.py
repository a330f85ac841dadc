"""Lines, and a committer over a journal and a lake on this disk."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from polku_collector.batch import Line, QuarantineLine, Schemas
from polku_collector.files import DISK, Files
from polku_collector.journal.reader import StreamReader
from polku_collector.journal.stream import streams_directory
from polku_collector.lake.checkpoints import Checkpoints
from polku_collector.lake.columns import ColumnsStep
from polku_collector.lake.handover import Note, read_notes
from polku_collector.lake.local_store import LocalStore
from polku_collector.lake.loop import Committer, Flush
from polku_collector.lake.remember import open_memory
from polku_collector.lake.store import Store
from polku_collector.lake.table import QUARANTINE_COLUMNS, Table
from polku_schemas import ENVELOPE_COLUMNS

NOW = datetime(2026, 11, 22, tzinfo=UTC)
PLANS = [Schemas("p", "1", "f", {"a": {}}, {}), Schemas("p", "2", "g", {"a": {"price": "double"}}, {})]


def line(event_id: str) -> Line:
    return Line(
        received_at=NOW,
        event_time=NOW,
        event_id=event_id,
        event_type="track",
        event_name="a",
        schema_version="1.0",
        source="web",
    )


def line_of(event_id: str) -> Line | QuarantineLine:
    if not event_id.startswith("refused"):
        return line(event_id)
    return QuarantineLine(
        received_at=NOW, source="web", event_id=event_id, code="wrong_type", path="$", message="no", original="{}"
    )


class Node:
    """A committer over a journal and a lake, with trimming noted instead of done, so that every run has all of it."""

    def __init__(
        self,
        root: Path,
        lake: Path | Store,
        disk: Files = DISK,
        *,
        keep_ids: bool = False,
        checkpoint_commits: int = 2,
    ) -> None:
        self.trimmed = 0
        self.trimmed_after: list[int] = []
        """How many operations of the disk were done each time."""
        store = LocalStore(lake, disk) if isinstance(lake, Path) else lake
        self.events = Table(store, "events", "event_date", {**ENVELOPE_COLUMNS, "extra": "string"})
        quarantine = Table(store, "quarantine", "received_date", QUARANTINE_COLUMNS)
        (directory,) = streams_directory(root / "journal").iterdir()
        reader = StreamReader(directory)
        node = self

        class Noting:
            stream_id = reader.stream_id

            @property
            def durable(self) -> int:
                return reader.durable

            def read(self, after: int, max_bytes: int) -> Any:
                return reader.read(after, max_bytes)

            def trim(self, committed: int) -> None:
                if committed > node.trimmed:
                    node.trimmed = committed
                    node.trimmed_after.append(len(getattr(disk, "operations", ())))

        if not keep_ids:
            shutil.rmtree(root / "ids", ignore_errors=True)
        self.committer = Committer(
            store=store,
            events=self.events,
            quarantine=quarantine,
            columns=ColumnsStep(root / "scratch", no_agents, threads=1),
            memory=open_memory(root / "ids", self.events, [], window_seconds=1e6, max_bytes=1 << 20),
            streams=lambda: {reader.stream_id: Noting()},
            observer=Silent(),
            flush_bytes=1,  # a block a flush
            checkpoints=Checkpoints(checkpoint_commits),
        )

    def run(self) -> None:
        while self.committer.flush():
            pass


class Silent:
    def flushed(self, flush: Flush) -> None: ...

    def failed(self, error: Exception, seconds: float) -> None: ...


def no_agents(distinct: Any) -> pa.Table:
    names = {
        "user_agent": pa.string(),
        "device": pa.string(),
        "os": pa.string(),
        "browser": pa.string(),
        "is_bot": pa.bool_(),
    }
    return pa.table({name: pa.array([], kind) for name, kind in names.items()})


def ids(lake: Path) -> list[str]:
    """Those of both tables."""
    found: list[str] = []
    for name in ("events", "quarantine"):
        table = DeltaTable(str(lake / name)).to_pyarrow_table(columns=["event_id"])
        found += table["event_id"].drop_null().to_pylist()
    return sorted(found)


def notes_in(lake: Path) -> dict[str, Note]:
    """What is handed over and not committed, by its keys."""
    return read_notes(LocalStore(lake)).good
