"""A small journal to test with: lines that know their number, a writer, and reading everything back."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from polku_collector.batch import Block, Line, Schemas
from polku_collector.files import DISK, Files
from polku_collector.journal.reader import StreamReader
from polku_collector.journal.stream import streams_directory
from polku_collector.journal.writer import StreamWriter

SCHEMAS = Schemas("test", "1", "f0", {"a": {}, "b": {}}, {})
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def line(event_id: str, name: str = "a") -> Line:
    return Line(
        received_at=NOW,
        event_time=NOW,
        event_id=event_id,
        event_type="track",
        event_name=name,
        schema_version="1.0",
        source="web",
        user_id="u1",
    )


def writer(journal: Path, files: Files = DISK, segment_bytes: int = 1 << 20, max_bytes: int = 1 << 30) -> StreamWriter:
    return StreamWriter(journal, files=files, segment_bytes=segment_bytes, max_bytes=max_bytes)


def append(journal: StreamWriter, *ids: str) -> None:
    """Append one group and wait until it is acknowledged."""
    asyncio.run(journal.append([line(name) for name in ids], SCHEMAS, 100))


def reader(journal: Path, files: Files = DISK) -> StreamReader:
    (directory,) = streams_directory(journal).iterdir()
    return StreamReader(directory, files=files)


def ids_of(blocks: list[Block]) -> list[str]:
    return [msgspec.json.decode(text)["event_id"] for block in blocks for text in bytes(block.lines).splitlines()]


def read_all(stream: StreamReader, after: int = 0) -> list[str]:
    found = []
    while blocks := stream.read(after, 1):
        found += ids_of(blocks)
        after = blocks[-1].last_sequence
    return found
