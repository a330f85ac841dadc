"""What waits in a journal is measured from outside: events, bytes, and the age of the oldest."""

import asyncio
from datetime import timedelta
from pathlib import Path

import msgspec

from polku_collector.batch import QuarantineLine, received_at_of
from polku_collector.journal.backlog import Backlog, BacklogWatch
from polku_collector.journal.stream import SharedNumber, segment_path, streams_directory
from polku_collector.journal.writer import StreamWriter

from .world import NOW, SCHEMAS, append, line, reader, writer

THEN = NOW.timestamp()


def append_at(journal: StreamWriter, minute: int, event_id: str) -> None:
    later = msgspec.structs.replace(line(event_id), received_at=NOW + timedelta(minutes=minute))
    asyncio.run(journal.append([later], SCHEMAS, 100))


def test_the_oldest_event_that_is_not_committed_counts(tmp_path: Path) -> None:
    watch = BacklogWatch(tmp_path)
    assert watch.look(THEN) == Backlog(0, 0, 0.0)
    journal = writer(tmp_path)
    assert watch.look(THEN) == Backlog(0, 0, 0.0)
    append(journal, "1", "2")
    append_at(journal, 3, "3")
    append_at(journal, 5, "4")
    found = watch.look(THEN + 600)
    assert (found.events, found.seconds) == (4, 600.0)
    stream = reader(tmp_path)
    blocks = stream.read(0, 1 << 20)
    stream.trim(2)
    rest = watch.look(THEN + 600)
    assert (rest.events, rest.seconds) == (2, 420.0)
    assert rest.bytes < found.bytes and rest.bytes > sum(len(block.lines) for block in blocks[1:])
    stream.trim(4)
    assert watch.look(THEN + 600) == Backlog(0, 0, 0.0)
    append_at(journal, 9, "5")
    assert watch.look(THEN + 600).seconds == 60.0
    journal.close()


def test_a_look_follows_the_segments_and_a_fresh_watch_sees_the_same(tmp_path: Path) -> None:
    journal = writer(tmp_path, segment_bytes=500)
    stream, watch = None, BacklogWatch(tmp_path)
    for number in range(40):
        append_at(journal, number, str(number))
        stream = stream or reader(tmp_path)
        if number % 7 == 3:
            stream.trim(number - 1)  # two are left
        seen, fresh = watch.look(THEN + 36_000), BacklogWatch(tmp_path).look(THEN + 36_000)
        assert seen == fresh
        assert seen.events == number + 1 - stream.committed
        assert seen.seconds == 36_000 - 60 * stream.committed
    assert stream is not None and stream.committed > 30
    journal.close()


def test_the_oldest_of_all_streams_counts(tmp_path: Path) -> None:
    first, second = writer(tmp_path), writer(tmp_path)
    append_at(first, 2, "1")
    append_at(second, 1, "2")
    found = BacklogWatch(tmp_path).look(THEN + 120)
    assert (found.events, found.seconds) == (2, 60.0)
    first.close()
    second.close()


def test_events_in_a_damaged_block_wait_since_they_were_looked_for(tmp_path: Path) -> None:
    journal = writer(tmp_path)
    append(journal, "1")
    journal.close()
    path = segment_path(streams_directory(tmp_path) / journal.stream_id, 1)
    path.write_bytes(path.read_bytes().replace(b"#polku-block", b"#polku-bleck"))
    watch = BacklogWatch(tmp_path)
    assert watch.look(THEN + 1000).seconds == 0.0
    assert watch.look(THEN + 1030).seconds == 30.0


def test_a_look_leaves_nothing_behind_in_a_stream_that_is_being_removed(tmp_path: Path) -> None:
    directory = streams_directory(tmp_path) / "a"
    directory.mkdir(parents=True)
    assert BacklogWatch(tmp_path).look(THEN) == Backlog(0, 0, 0.0)
    for name in ("durable", "committed"):
        SharedNumber(directory / name).value = 1 if name == "durable" else 0
    assert BacklogWatch(tmp_path).look(THEN).events == 1
    assert {path.name for path in directory.iterdir()} == {"durable", "committed"}


def test_the_time_of_receipt_is_read_from_the_start_of_a_line() -> None:
    numbered = msgspec.structs.replace(line("x"), sequence=7)
    refused = QuarantineLine(received_at=NOW, source="web", code="c", path="$", message="m")
    for one in (line("x"), numbered, refused):
        assert received_at_of(msgspec.json.encode(one)[:256]) == NOW
    assert received_at_of(b'{"sequence":1}\n{"received_at":"2026-11-22T12:00:00Z"}') is None
    assert received_at_of(b'{"received_at":"soon"}') is None
