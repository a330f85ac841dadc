"""The committer's cycle when something goes wrong in the middle of it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from polku_collector.batch import QuarantineLine, Schemas
from polku_collector.files import Files
from polku_collector.journal.reader import StreamReader, open_streams
from polku_collector.journal.stream import segment_path, streams_directory
from polku_collector.journal.writer import StreamWriter
from tests.collector.lake.world import NOW, Node, ids, line

SCHEMAS = Schemas("p", "1", "f", {"a": {}}, {})


@pytest.fixture
def journal(tmp_path: Path) -> StreamWriter:
    (tmp_path / "journal").mkdir()
    (tmp_path / "scratch").mkdir()
    return StreamWriter(tmp_path / "journal", max_bytes=1 << 30, segment_bytes=1 << 20)


def flush_without_an_answer(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit to `events` lands; what would have made it durable fails."""

    def fail() -> None:
        raise OSError("the answer was lost")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="lost"):
        patch.setattr(node.events, "settle", fail)
        node.committer.flush()


def test_ids_of_a_commit_that_proved_itself_later_are_known(
    tmp_path: Path, journal: StreamWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit landed, then something failed before the ids were remembered: a retry is still no second event."""
    asyncio.run(journal.append([line("m1")], SCHEMAS, 10))
    node = Node(tmp_path, tmp_path / "lake", Files())
    flush_without_an_answer(node, monkeypatch)
    asyncio.run(journal.append([line("m2"), line("m1")], SCHEMAS, 10))
    node = Node(tmp_path, tmp_path / "lake", Files(), keep_ids=True)
    node.run()
    asyncio.run(journal.append([line("m1"), line("m3")], SCHEMAS, 10))
    Node(tmp_path, tmp_path / "lake", Files(), keep_ids=True).run()
    assert ids(tmp_path / "lake") == ["m1", "m2", "m3"]
    journal.close()


def test_ids_of_a_flush_that_failed_are_not_taken_for_those_of_the_next(
    tmp_path: Path, journal: StreamWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit landed, its answer was lost, and the next flush has no events and is of another stream."""
    asyncio.run(journal.append([line("m1")], SCHEMAS, 10))
    node = Node(tmp_path, tmp_path / "lake", Files())
    flush_without_an_answer(node, monkeypatch)
    node.committer._reopen()
    other = StreamWriter(tmp_path / "journal", max_bytes=1 << 30, segment_bytes=1 << 20)
    refused = QuarantineLine(
        received_at=NOW, source="web", event_id="q", code="wrong_type", path="$", message="m", original="{}"
    )
    asyncio.run(other.append([refused], SCHEMAS, 10))
    readers: dict[str, StreamReader] = {}
    open_streams(tmp_path / "journal", readers)
    node.committer._streams = lambda: readers
    node.run()
    assert ids(tmp_path / "lake") == ["m1", "q"]
    for opened in (journal, other, *readers.values()):
        opened.close()


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


def test_a_refused_event_is_one_row_when_somebody_else_commits_it_meanwhile(
    tmp_path: Path, journal: StreamWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who takes over notes of an earlier life, say, and is killed between his two commits."""
    refused = QuarantineLine(
        received_at=NOW, source="web", event_id="q", code="wrong_type", path="$", message="m", original="{}"
    )
    asyncio.run(journal.append([line("m1"), refused], SCHEMAS, 10))
    node, other = (Node(tmp_path, tmp_path / "lake", Files()) for _ in range(2))
    monkeypatch.setattr(other.events, "commit", _refuse)
    write = node.committer._written

    def meanwhile(*arguments: Any) -> Any:
        with pytest.raises(KeyboardInterrupt):
            other.committer.flush()
        return write(*arguments)

    monkeypatch.setattr(node.committer, "_written", meanwhile)
    node.run()
    assert ids(tmp_path / "lake") == ["m1", "q"]
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


class _Recording(Files):
    """The real disk, with what is made durable below the lake noted in plain words."""

    def __init__(self, lake: Path, effects: list[str]) -> None:
        self._lake, self._effects = lake, effects

    def sync_file(self, path: Path) -> None:
        super().sync_file(path)
        if path.suffix == ".json" and path.parent.name == "_delta_log":
            self._effects.append(f"log of {self._table_of(path)} synced")
        if path.suffix == ".parquet" and self._lake not in path.parents:
            self._effects.append("file synced")

    def sync_directory(self, path: Path) -> None:
        super().sync_directory(path)
        if path.name == "_delta_log":
            self._effects.append(f"folder of the log of {self._table_of(path)} synced")
        elif "_date=" in path.name:
            self._effects.append(f"folder of {self._table_of(path)} synced")

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        self._effects.append(f"file of {self._table_of(new)} in place")

    def _table_of(self, path: Path) -> str:
        return path.relative_to(self._lake).parts[0]


def test_the_effects_of_a_flush_come_in_the_promised_order(
    tmp_path: Path, journal: StreamWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Columns, files, `quarantine`, `events`, each durable before the next; then the ids, last the journal."""
    refused = QuarantineLine(received_at=NOW, source="web", code="wrong_type", path="$", message="m", original="{}")
    with_price = Schemas("p", "2", "g", {"a": {"price": "double"}}, {})
    asyncio.run(journal.append([line("m1"), refused], with_price, 10))
    effects: list[str] = []
    node = Node(tmp_path, tmp_path / "lake", _Recording(tmp_path / "lake", effects))
    committer = node.committer

    def note(owner: Any, method: str, effect: str) -> None:
        act = getattr(owner, method)

        def noted(*arguments: Any, **named: Any) -> Any:
            result = act(*arguments, **named)
            effects.append(effect)
            return result

        monkeypatch.setattr(owner, method, noted)

    note(committer._events, "widen", "columns added")
    note(committer._events, "commit", "events committed")
    note(committer._quarantine, "commit", "quarantine committed")
    note(committer._memory, "remember", "ids remembered")
    streams = committer._streams()
    for stream in streams.values():
        note(stream, "trim", "journal trimmed")
    monkeypatch.setattr(committer, "_streams", lambda: streams)
    effects.clear()
    committer.flush()
    assert effects == [
        *("log of events synced", "folder of the log of events synced", "columns added"),
        *("file synced", "file of events in place", "folder of events synced"),
        *("file synced", "file of quarantine in place", "folder of quarantine synced"),
        *("quarantine committed", "log of quarantine synced", "folder of the log of quarantine synced"),
        *("events committed", "log of events synced", "folder of the log of events synced"),
        *("ids remembered", "journal trimmed"),
    ]
    journal.close()


@pytest.mark.parametrize("name", ["events", "quarantine"])
def test_what_a_failure_left_undurable_is_durable_before_the_journal_is_trimmed(
    tmp_path: Path, journal: StreamWriter, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    refused = QuarantineLine(received_at=NOW, source="web", code="wrong_type", path="$", message="m", original="{}")
    asyncio.run(journal.append([line("m1"), refused], SCHEMAS, 10))
    effects: list[str] = []
    node = Node(tmp_path, tmp_path / "lake", _Recording(tmp_path / "lake", effects))
    committer = node.committer
    table = {"events": committer._events, "quarantine": committer._quarantine}[name]
    settle = table.settle

    def fail() -> None:
        monkeypatch.setattr(table, "settle", settle)
        raise OSError("the disk did not answer")

    monkeypatch.setattr(table, "settle", fail)
    streams = committer._streams()
    for stream in streams.values():
        monkeypatch.setattr(stream, "trim", lambda committed: effects.append(f"trimmed to {committed}"))
    monkeypatch.setattr(committer, "_streams", lambda: streams)
    effects.clear()
    with pytest.raises(OSError, match="did not answer"):
        committer.flush()
    assert not [effect for effect in effects if effect == f"log of {name} synced" or effect.startswith("trimmed")]
    committer._reopen()
    committer.flush()
    assert effects.index(f"log of {name} synced") < effects.index("trimmed to 2")
    journal.close()
