"""Nodes hand over files and one commits them: each event once, whoever dies, and wherever."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from polku_collector.batch import QuarantineLine, Schemas
from polku_collector.compose_status import status
from polku_collector.errors import CommitUncertain
from polku_collector.journal.reader import StreamReader
from polku_collector.journal.stream import segment_path, streams_directory
from polku_collector.journal.writer import StreamWriter
from polku_collector.lake import handover
from polku_collector.lake.checkpoints import Checkpoints
from polku_collector.lake.columns import ColumnsStep
from polku_collector.lake.handover import HandingCommitter, Note, Taker, choose, note_key
from polku_collector.lake.local_store import LocalStore
from polku_collector.lake.loop import Committer
from polku_collector.lake.remember import open_memory
from polku_collector.lake.table import QUARANTINE_COLUMNS, Table
from polku_collector.settings import Lake, Settings
from polku_schemas import ENVELOPE_COLUMNS
from tests.collector.lake.world import NOW, Silent, ids, line, no_agents, notes_in

SCHEMAS = Schemas("p", "1", "f", {"a": {}}, {})


class Journal:
    """A node's journal, which outlives its committers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "journal").mkdir(parents=True)
        (root / "scratch").mkdir()
        self.writer = StreamWriter(root / "journal", max_bytes=1 << 30, segment_bytes=1)

    def take_in(self, *event_ids: str, refused: int = 0) -> None:
        lines: list[Any] = [line(event_id) for event_id in event_ids]
        lines += [
            QuarantineLine(received_at=NOW, source="web", code="wrong_type", path="$", message="m", original="{}")
            for _ in range(refused)
        ]
        asyncio.run(self.writer.append(lines, SCHEMAS, 10))

    def life(self, lake: Path, kind: type[Committer] = HandingCommitter, flush_bytes: int = 1 << 20) -> Committer:
        """A committer that has just been started."""
        store = LocalStore(lake)
        events = Table(store, "events", "event_date", {**ENVELOPE_COLUMNS, "extra": "string"})
        (directory,) = streams_directory(self.root / "journal").iterdir()
        reader = StreamReader(directory)
        return kind(
            store=store,
            events=events,
            quarantine=Table(store, "quarantine", "received_date", QUARANTINE_COLUMNS),
            columns=ColumnsStep(self.root / "scratch", no_agents, threads=1),
            memory=open_memory(self.root / "ids", events, [reader.stream_id], window_seconds=1e6, max_bytes=1 << 20),
            streams=lambda: {reader.stream_id: reader},
            observer=Silent(),
            flush_bytes=flush_bytes,
            checkpoints=Checkpoints(20),
        )

    @property
    def segments(self) -> int:
        """How many files the journal has: committed ones are deleted, but for the newest."""
        (directory,) = streams_directory(self.root / "journal").iterdir()
        return sum(1 for number in range(1, 20) if segment_path(directory, number).exists())


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(handover, "_UNSURE_SECONDS", 0.0)
    monkeypatch.setattr(handover, "_PAUSE_SECONDS", 0.0)
    return tmp_path / "lake"


@pytest.fixture
def journal(tmp_path: Path, lake: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "node")
    yield journal
    journal.writer.close()


def taker(lake: Path) -> Taker:
    store = LocalStore(lake)
    tables = Table(store, "events", "event_date", None), Table(store, "quarantine", "received_date", None)
    return Taker(store, *tables, checkpoint_commits=20)


def take(lake: Path) -> int:
    """All that is there, by a process that has just been started."""
    one, taken = taker(lake), 0
    while notes := one.take():
        taken += len(notes)
    return taken


def refused(lake: Path) -> int:
    return int(DeltaTable(str(lake / "quarantine")).to_pyarrow_table().num_rows)


def added(lake: Path) -> list[str]:
    """The files that the logs of both tables add, as often as they do."""
    entries = [json.loads(each) for path in lake.rglob("_delta_log/*.json") for each in path.read_text().splitlines()]
    return [entry["add"]["path"] for entry in entries if "add" in entry]


def note(before: dict[str, int], after: dict[str, int]) -> Note:
    return Note(1, "t", before, after, 0.0, [], [])


def noted(*notes: Note) -> dict[str, Note]:
    return {note_key(each.before): each for each in notes}


def test_notes_are_taken_in_the_order_of_their_streams_and_stale_ones_are_told() -> None:
    first, second = note({"a": 5}, {"a": 10}), note({"a": 10, "b": 0}, {"a": 12, "b": 3})
    third, gap, old = note({"b": 3}, {"b": 4}), note({"c": 7}, {"c": 9}), note({"d": 1}, {"d": 2})
    chosen = choose(noted(third, gap, second, old, first), {"a": 5, "b": 0, "c": 0, "d": 2})
    assert chosen.taken == [note_key(each.before) for each in (first, second, third)]
    assert chosen.stale == [note_key(old.before)]
    assert len(choose(noted(first, second, third), {"a": 5, "b": 0}, most=2).taken) == 2


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.integers(1, 3)), max_size=12), st.data())
def test_what_is_taken_never_leaves_a_gap_and_never_goes_back(spans: list[tuple[str, int, int]], data: Any) -> None:
    notes = noted(*[note({stream: first}, {stream: first + length}) for stream, first, length in spans])
    stand = {stream: data.draw(st.integers(0, 5)) for stream in "abc"}
    for key in choose(notes, dict(stand)).taken:
        for stream, first in notes[key].before.items():
            assert stand[stream] == first
        stand |= notes[key].after


def test_many_nodes_are_one_commit_and_journals_are_trimmed_behind_it(tmp_path: Path, lake: Path) -> None:
    journals = [Journal(tmp_path / f"node-{number}") for number in range(3)]
    lives = []
    for number, journal in enumerate(journals):
        journal.take_in(f"{number}a", f"{number}b", refused=1)
        lives.append(journal.life(lake))
        lives[-1].flush()
        journal.take_in(f"{number}c", f"{number}a")  # a copy of what is handed over and not committed
        lives[-1].flush()
        assert lives[-1].waiting() == 0
    version = DeltaTable(str(lake / "events")).version()
    assert ids(lake) == []
    held = [journal.segments for journal in journals]
    assert take(lake) == 6
    assert DeltaTable(str(lake / "events")).version() == version + 1
    assert ids(lake) == sorted(f"{number}{each}" for number in range(3) for each in "abc")
    assert refused(lake) == 3
    assert notes_in(lake) == {}
    for journal, life, before in zip(journals, lives, held, strict=True):
        life.flush()
        assert journal.segments < before
        journal.writer.close()


def test_a_node_that_dies_after_its_note_waits_for_it_and_goes_on(lake: Path, journal: Journal) -> None:
    journal.take_in("1", "2")
    journal.life(lake).flush()
    journal.take_in("3", "1")
    life = journal.life(lake)
    assert life.flush() == 0 and life.flush() == 0, "which ids are handed over is not known to it yet"
    assert len(notes_in(lake)) == 1
    assert take(lake) == 1
    assert life.flush() > 0
    take(lake)
    assert ids(lake) == ["1", "2", "3"]


def test_a_node_that_dies_before_its_note_comes_back_with_other_files(
    lake: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.take_in("1", "2", refused=1)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    life = journal.life(lake)
    monkeypatch.setattr(life._store, "create", die)
    with pytest.raises(KeyboardInterrupt):
        life.flush()
    journal.take_in("3")
    journal.life(lake).flush()
    take(lake)
    assert (ids(lake), refused(lake)) == (["1", "2", "3"], 1)
    assert len(list((lake / "events").rglob("*.parquet"))) == 2, "one is left over, for a vacuum"


def test_a_note_whose_storing_is_in_doubt_is_not_stored_twice(
    lake: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.take_in("1")
    life = journal.life(lake)
    create = life._store.create

    def lost(key: str, data: bytes) -> bool:
        create(key, data)
        monkeypatch.setattr(life._store, "create", create)
        raise OSError("the answer was lost")

    monkeypatch.setattr(life._store, "create", lost)
    with pytest.raises(OSError, match="lost"):
        life.flush()
    journal.take_in("2")
    with pytest.raises(CommitUncertain):
        life.flush()
    assert life.flush() == 0
    take(lake)
    assert life.flush() > 0
    take(lake)
    assert ids(lake) == ["1", "2"]


@pytest.mark.parametrize("table", ["quarantine", "events"])
def test_whoever_takes_over_may_die_before_and_after_each_commit(
    lake: Path, journal: Journal, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.take_in("1", refused=1)
    life = journal.life(lake)
    life.flush()
    journal.take_in("2", refused=2)
    life.flush()
    for after in (False, True):
        one = taker(lake)
        dying = getattr(one, f"_{table}")
        commit = dying.commit

        def die(*arguments: Any, commit: Any = commit, after: bool = after) -> None:
            if after:
                commit(*arguments)
            raise KeyboardInterrupt

        monkeypatch.setattr(dying, "commit", die)
        with pytest.raises(KeyboardInterrupt):
            one.take()
    take(lake)
    assert (ids(lake), refused(lake)) == (["1", "2"], 3)
    assert notes_in(lake) == {}
    assert len(added(lake)) == len(set(added(lake))), "a file that was merged away meanwhile would come back"


def test_two_that_take_over_at_once_do_it_once(lake: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.take_in("1", refused=1)
    journal.life(lake).flush()
    one = taker(lake)
    settle = one._commit

    def overtaken(*arguments: Any) -> None:
        assert take(lake) == 1
        settle(*arguments)

    monkeypatch.setattr(one, "_commit", overtaken)
    one.take()
    assert taker(lake).take() == []
    assert (ids(lake), refused(lake)) == (["1"], 1)


def test_a_node_that_vanishes_leaves_nothing_uncommitted_that_it_handed_over(lake: Path, journal: Journal) -> None:
    journal.take_in("1", "2")
    journal.life(lake).flush()
    shutil.rmtree(journal.root / "journal" / "streams")
    take(lake)
    assert ids(lake) == ["1", "2"]


def test_an_old_note_without_its_files_is_handed_over_anew(
    lake: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.take_in("1")
    life = journal.life(lake)
    life.flush()
    journal.take_in("2")
    life.flush()
    (first,) = [each for each in notes_in(lake).values() if set(each.before.values()) == {0}]
    (lake / "events" / first.events[0].key).unlink()  # as a vacuum would, long after
    monkeypatch.setattr(handover, "SUSPECT_AFTER_SECONDS", 0.0)
    assert take(lake) == 0
    assert ids(lake) == []
    monkeypatch.setattr(handover, "LOOK_EVERY_SECONDS", 0.0)
    for _ in range(3):
        life.flush()
        take(lake)
    assert ids(lake) == ["1", "2"]
    assert notes_in(lake) == {}


def test_a_note_that_is_lost_while_another_is_in_doubt_is_handed_over_anew(
    lake: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node stood behind it for ever: nothing was committed any more until it was started anew."""
    journal.take_in("1")
    journal.take_in("2")
    life = journal.life(lake, flush_bytes=1)
    life.flush()
    create = life._store.create

    def in_doubt(key: str, data: bytes) -> bool:
        monkeypatch.setattr(life._store, "create", create)
        return not create(key, data)  # sent twice, as a client does whose answer was lost

    monkeypatch.setattr(life._store, "create", in_doubt)
    with pytest.raises(CommitUncertain):
        life.flush()
    (lake / min(notes_in(lake))).unlink()
    for _ in range(5):
        with contextlib.suppress(CommitUncertain):
            life.flush()
        take(lake)
    assert ids(lake) == ["1", "2"]


def test_a_journal_whose_events_another_node_committed_is_gone_after_a_drain(lake: Path, tmp_path: Path) -> None:
    journal = Journal(tmp_path / "node")
    for number in range(3):
        journal.take_in(str(number))
    journal.life(lake).flush()
    journal.writer.close()
    take(lake)
    assert journal.segments == 3
    command = ["lake", "drain", "--lake", str(lake), "--journal", str(journal.root / "journal")]
    done = subprocess.run([sys.executable, "-m", "polku.cli", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [*streams_directory(journal.root / "journal").iterdir()] == []
    assert ids(lake) == ["0", "1", "2"]


def test_a_node_that_commits_itself_again_makes_its_notes_stale(lake: Path, journal: Journal) -> None:
    journal.take_in("1")
    journal.life(lake).flush()
    journal.life(lake, Committer).flush()
    assert take(lake) == 0
    assert ids(lake) == ["1"]
    assert notes_in(lake) == {}


def test_a_half_done_flush_of_a_node_that_begins_to_hand_over_is_finished(
    lake: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.take_in("1", refused=2)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    life = journal.life(lake, Committer)
    monkeypatch.setattr(life._events, "commit", die)
    with pytest.raises(KeyboardInterrupt):
        life.flush()
    journal.take_in("2", refused=1)
    handing = journal.life(lake)
    while handing.flush():
        take(lake)
    take(lake)
    assert (ids(lake), refused(lake)) == (["1", "2"], 3)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def no_utf8(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"event_date=", b"event\xffdate="))


def no_streams(path: Path) -> None:
    path.write_bytes(msgspec.json.encode(note({}, {})))


def other_streams(path: Path) -> None:
    said = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode(said | {"after": {**said["after"], "nobody's": 3}}))


def cut_statistics(path: Path) -> None:
    said = msgspec.json.decode(path.read_bytes())
    said["events"][0]["statistics"] = said["events"][0]["statistics"][:20]
    path.write_bytes(msgspec.json.encode(said))


def unknown_column(path: Path) -> None:
    said = msgspec.json.decode(path.read_bytes())
    said["events"][0]["places"].append("nobody's")
    path.write_bytes(msgspec.json.encode(said))


def unreadable(path: Path) -> None:
    """The disk says EIO, which no permission says to root."""
    path.unlink()
    path.symlink_to("/proc/self/mem")


DAMAGE = [cut, no_utf8, no_streams, other_streams, cut_statistics, unknown_column, unreadable]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_bad_note_is_passed_over_told_and_kept_and_keeps_only_its_own_node_waiting(
    lake: Path, tmp_path: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "LOOK_EVERY_SECONDS", 0.0)
    bad, good = Journal(tmp_path / "bad"), Journal(tmp_path / "good")
    bad.take_in("1")
    life = bad.life(lake)
    life.flush()
    (path,) = (lake / "_handover").rglob("*.json")
    good.take_in("2")
    good.life(lake).flush()
    damage(path)
    told: list[int] = []
    store = LocalStore(lake)
    tables = Table(store, "events", "event_date", None), Table(store, "quarantine", "received_date", None)
    one = Taker(store, *tables, checkpoint_commits=20, passed_over=told.append)
    assert len(one.take()) == 1
    assert (ids(lake), told) == (["2"], [1])
    seen = status(Settings(lake=Lake(uri=str(lake))), None)
    assert seen.notes is not None
    assert (seen.notes.waiting, [*seen.notes.passed_over]) == (0, [path.relative_to(lake).as_posix()])
    assert str(path.relative_to(lake)) in seen.to_do[-1]
    assert path.is_file(), "nobody else knows what it was"
    bad.take_in("3")
    life.flush()
    again = bad.life(lake)
    if damage is not unknown_column:  # which only the tables can tell
        assert again.flush() == 0, "which ids are handed over is not known to it"
    path.unlink()  # somebody has looked at it
    for _ in range(4):
        again.flush()
        one.take()
    assert (ids(lake), told[-1]) == (["1", "2", "3"], 0)
    for each in (bad, good):
        each.writer.close()


def test_notes_of_another_table_are_left_alone(lake: Path, journal: Journal) -> None:
    journal.take_in("1")
    journal.life(lake).flush()
    shutil.rmtree(lake / "events")
    Table(LocalStore(lake), "events", "event_date", {**ENVELOPE_COLUMNS, "extra": "string"})
    assert take(lake) == 0
    assert len(notes_in(lake)) == 1
