"""The committer's cycle when something goes wrong in the middle of it."""

import asyncio
from pathlib import Path

import pytest

from polku_collector.batch import QuarantineLine, Schemas
from polku_collector.files import Files
from polku_collector.journal.stream import segment_path, streams_directory
from polku_collector.journal.writer import StreamWriter
from tests.power_cut.test_journal import NOW, line
from tests.power_cut.test_lake import Node, ids

SCHEMAS = Schemas("p", "1", "f", {"a": {}}, {})


@pytest.fixture
def journal(tmp_path: Path) -> StreamWriter:
    (tmp_path / "journal").mkdir()
    (tmp_path / "scratch").mkdir()
    return StreamWriter(tmp_path / "journal", max_bytes=1 << 30, segment_bytes=1 << 20)


def test_ids_of_a_commit_that_proved_itself_later_are_known(
    tmp_path: Path, journal: StreamWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit landed, then something failed before the ids were remembered: a retry is still no second event."""
    asyncio.run(journal.append([line("m1")], SCHEMAS, 10))
    node = Node(tmp_path, tmp_path / "lake", Files())
    settle = node.events.settle

    def fail() -> None:
        monkeypatch.setattr(node.events, "settle", settle)
        raise OSError("the answer was lost")

    monkeypatch.setattr(node.events, "settle", fail)
    with pytest.raises(OSError, match="lost"):
        node.committer.flush()
    asyncio.run(journal.append([line("m2"), line("m1")], SCHEMAS, 10))
    node = Node(tmp_path, tmp_path / "lake", Files(), keep_ids=True)
    node.run()
    asyncio.run(journal.append([line("m1"), line("m3")], SCHEMAS, 10))
    Node(tmp_path, tmp_path / "lake", Files(), keep_ids=True).run()
    assert ids(tmp_path / "lake") == ["m1", "m2", "m3"]
    journal.close()


def test_damage_in_a_half_done_flush_does_not_stop_the_others(tmp_path: Path, journal: StreamWriter) -> None:
    """`quarantine` was committed, `events` was not, and the block in between is damaged: reported, passed over."""
    refused = QuarantineLine(received_at=NOW, source="web", code="wrong_type", path="$", message="m", original="{}")
    asyncio.run(journal.append([line("m1"), refused], SCHEMAS, 10))
    node = Node(tmp_path, tmp_path / "lake", Files())
    commit = node.events.commit
    node.events.commit = _refuse  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        node.committer.flush()
    node.events.commit = commit  # type: ignore[method-assign]
    directory = next(streams_directory(tmp_path / "journal").iterdir())
    path = segment_path(directory, 1)
    data = bytearray(path.read_bytes())
    data[data.index(b"m1")] ^= 1
    path.write_bytes(data)
    asyncio.run(journal.append([line("m2")], SCHEMAS, 10))
    node = Node(tmp_path, tmp_path / "lake", Files())
    node.run()  # passes over what is lost
    node.run()
    assert ids(tmp_path / "lake") == ["m2"]
    journal.close()


def _refuse(*_: object) -> None:
    raise KeyboardInterrupt("stop here")


def test_a_flush_of_too_many_days_is_taken_in_parts(
    tmp_path: Path, journal: StreamWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    import msgspec

    from polku_collector.lake import loop

    monkeypatch.setattr(loop, "MAX_DAYS", 5)
    for day in range(20):
        asyncio.run(
            journal.append(
                [msgspec.structs.replace(line(f"{day:02}"), event_time=NOW - timedelta(days=day))], SCHEMAS, 10
            )
        )
    node = Node(tmp_path, tmp_path / "lake", Files())
    node.committer._flush_bytes = 1 << 30
    files = []
    node.committer._observer.flushed = lambda flush: files.append(len(flush.written.events))  # type: ignore[method-assign]
    node.run()
    assert ids(tmp_path / "lake") == [f"{day:02}" for day in range(20)]
    assert max(files) <= 5
    journal.close()
