"""Two replays, a committer and lost answers, at every step of a replay: each event is in one table, once."""

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from polku_collector.lake.local_store import LocalStore
from polku_collector.lake.table import Table
from polku_collector.replay.run import Replay

from .world import NOW, PLAN, World, at, viewed

# The effects of a replay, in their order: the object and the method.
STEPS = [
    ("_columns", "write"),
    ("_events", "add_columns"),
    ("_events", "commit"),
    ("_events", "settle"),
    ("_remover", "remove"),
    ("_quarantine", "replace"),
    ("_quarantine", "settle"),
]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three events that would pass, a copy, and one that fails for good, all of them in quarantine."""
    world = World(tmp_path_factory.mktemp("before"))
    world.send(viewed("a"), viewed("b"), viewed("b"), viewed("bad", price="x"), viewed(None))
    world.commit()
    return world.root


@pytest.fixture
def world(tmp_path: Path, before: Path) -> World:
    shutil.copytree(before, tmp_path, dirs_exist_ok=True)
    return World(tmp_path)


def is_whole(world: World, *more: str, left: tuple[str, ...] = ("bad",)) -> bool:
    """Whether the two events, the one without an id, and `more` are rows once, and the rest is in quarantine."""
    events, quarantine = world.ids()
    named = [event_id for event_id in events if len(event_id) < 36]
    return named == sorted(["a", "b", *more]) and len(events) == len(named) + 1 and quarantine == sorted(left)


@pytest.mark.parametrize("step", STEPS, ids=".".join)
def test_another_replay_at_any_step(world: World, step: tuple[str, str]) -> None:
    first, second = world.prepare(), world.prepare(role="second")
    reports: list[Any] = []
    at(getattr(first, step[0]), step[1], lambda: reports.append(second.run()))
    reports.append(first.run())
    assert is_whole(world)
    between = step in STEPS[3:6]  # then the second finishes what the first has counted
    assert sum(report.total.replayed + report.finished for report in reports) == (6 if between else 3)
    assert [report.total.broken for report in reports] == [1, 1]
    assert _numbers(world) == (3, 3)


def _numbers(world: World) -> tuple[int, ...]:
    """Where the two tables stand."""
    store = LocalStore(world.lake)
    tables = [
        Table(store, name, day, None) for name, day in (("events", "event_date"), ("quarantine", "received_date"))
    ]
    return tuple(table.watermark("replay") for table in tables)


@pytest.mark.parametrize("step", [STEPS[0], STEPS[2], STEPS[4], STEPS[5]], ids=".".join)
def test_a_committer_that_brings_good_and_bad_events_at_any_step(world: World, step: tuple[str, str]) -> None:
    replay = world.prepare()

    def commit() -> None:
        world.send(viewed("new", product_id="p"), viewed("new-bad", price="x"))
        world.commit()

    at(getattr(replay, step[0]), step[1], commit)
    replay.run()
    assert is_whole(world, "new", left=("bad", "new-bad"))


@pytest.mark.parametrize("step", [STEPS[0], STEPS[2], STEPS[4]], ids=".".join)
def test_an_id_that_the_client_sends_again_meanwhile_stays_one_row(world: World, step: tuple[str, str]) -> None:
    """Whoever commits first has it: the other is a copy, or stays in quarantine."""
    replay = world.prepare()

    def commit() -> None:
        world.send(viewed("a", product_id="p"))
        world.commit()

    at(getattr(replay, step[0]), step[1], commit)
    report = replay.run()
    if step in STEPS[:3]:
        assert is_whole(world, left=("a", "bad"))
        assert report.total.taken == 1
        assert world.events("product_id, stream = 'replay'")[0] == ("p", False)
    else:
        assert is_whole(world)


@pytest.mark.parametrize("moment", ["widen", "commit"])
@pytest.mark.parametrize("bad_too", [False, True])
def test_a_flush_that_a_replay_overtakes_looks_for_copies_again(world: World, bad_too: bool, moment: str) -> None:
    world.send(viewed("a", product_id="p"), viewed("c", product_id="p"), *([viewed("d", price="x")] * bad_too))
    committer = world.committer()
    at(committer._events, moment, world.replay)
    while committer.flush():
        pass
    assert is_whole(world, "c", left=("bad", "d") if bad_too else ("bad",))


def test_a_quarantine_commit_that_a_replay_overtakes_is_tried_again(world: World) -> None:
    world.send(viewed("d", price="x"))
    committer = world.committer()
    at(committer._quarantine, "commit", world.replay)
    while committer.flush():
        pass
    assert is_whole(world, left=("bad", "d"))


def _landed(method: Callable[..., Any]) -> Callable[..., Any]:
    """The commit lands, its answer is lost."""

    def call(*arguments: Any) -> None:
        method(*arguments)
        raise OSError("the answer was lost")

    return call


@pytest.mark.parametrize(("table", "method"), [("_events", "commit"), ("_quarantine", "replace")])
def test_a_commit_whose_answer_is_lost_is_found_and_not_repeated(world: World, table: str, method: str) -> None:
    replay = world.prepare()
    real = getattr(replay, table)
    setattr(real, method, _landed(getattr(real, method)))
    report = replay.run()
    assert is_whole(world)
    assert report.total.replayed + report.finished == 3
    assert _numbers(world) == (3, 3)


def test_a_commit_that_fails_is_tried_again_with_the_same_files(world: World) -> None:
    replay = world.prepare()
    for table, method in ((replay._events, "commit"), (replay._quarantine, "replace")):
        at(table, method, _raise)
    assert replay.run().total.replayed == 3
    assert is_whole(world)
    files = [path for path in (world.lake / "events").rglob("*.parquet") if path.name.startswith("replay-")]
    assert len(files) == 1


def _raise() -> None:
    raise OSError("the store is away")


@pytest.mark.parametrize("other", ["the same plan", "a plan that refuses them again"])
def test_what_a_dead_run_left_is_finished_whatever_is_asked_next(world: World, other: str) -> None:
    """It needs no second judgement: the rows of `events` tell where they stood."""
    replay = world.prepare()
    at(replay._remover, "remove", _die)
    with pytest.raises(KeyboardInterrupt):
        replay.run()
    assert [len(ids) for ids in world.ids()] == [3, 5]
    if other == "the same plan":
        dry = world.replay(dry_run=True)
        assert (dry.finished, dry.total.replayed, dry.total.duplicates, dry.total.broken) == (3, 0, 1, 1)
        assert [len(ids) for ids in world.ids()] == [3, 5]
    report = world.replay(**({} if other == "the same plan" else {"plan": PLAN}))
    assert report.finished == 3
    if other == "the same plan":
        assert is_whole(world)
        assert report.total.duplicates == 1
    else:  # all that was committed has left, the copy is judged by the present plan
        assert is_whole(world, left=("b", "bad"))


def _die() -> None:
    raise KeyboardInterrupt


# The committer's memory ---------------------------------------------------------------------------------------------


def resend(world: World) -> None:
    """The client sends all of it again, as it should be."""
    world.send(viewed("a", product_id="p"), viewed("b", product_id="p"))


def test_a_committer_that_runs_through_knows_what_was_replayed(world: World) -> None:
    committer = world.committer()
    streams = committer._streams
    world.replay()
    resend(world)
    committer._streams = lambda: {**streams(), **world.committer()._streams()}
    while committer.flush():
        pass
    assert is_whole(world)


@pytest.mark.parametrize("lost", [False, True])
def test_a_committer_that_starts_later_knows_it_too(world: World, lost: bool) -> None:
    """Also of events that were received long before the window of the index."""
    old = World(world.root)
    old.send(viewed("old"), received_at=NOW - timedelta(days=60))
    old.commit()
    world.replay()
    if lost:
        shutil.rmtree(world.root / "ids")
    resend(world)
    world.send(viewed("old", product_id="p"))
    world.commit()
    assert is_whole(world, "old")


def test_it_is_known_also_when_its_file_was_merged_into_another(world: World) -> None:
    world.replay()
    store = LocalStore(world.lake)
    events = Table(store, "events", "event_date", None)
    (path,) = events.files()
    rows: Any = pq.read_table(world.lake / "events" / path, partitioning=None)
    day = path.partition("/")[0]
    pq.write_table(rows, world.lake / "events" / day / "merged.parquet")
    from polku_collector.lake.commit import add_actions
    from polku_collector.lake.parquet import DataFile

    size = (world.lake / "events" / day / "merged.parquet").stat().st_size
    key = f"{day}/merged.parquet"
    merged = DataFile(Path(), key, day.partition("=")[2], size, len(rows), json.dumps({}), tuple(rows.column_names))
    events.replace([path], add_actions([merged], "event_date"), {})
    resend(world)
    world.commit()
    assert is_whole(world)


def test_the_committer_reads_no_more_than_the_replays_files_to_know_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.send(viewed("c", product_id="p"))
    world.commit()
    world.send(viewed("next"))  # with nothing to commit it would read nothing at all
    committer = world.committer()
    world.replay()
    read: list[set[str]] = []
    dataset = Table.dataset

    def noting(table: Table, paths: set[str]) -> Any:
        read.append({Path(path).name.partition("-")[0] for path in paths})
        return dataset(table, paths)

    monkeypatch.setattr(Table, "dataset", noting)
    committer.flush()
    assert read == [{"replay"}]


def test_the_last_commit_of_a_replay_never_sets_a_number_back(world: World) -> None:
    """A run that is late with its clean-up, after others have replayed more."""
    replay = world.prepare()

    def others() -> None:
        world.replay()
        world.send(viewed("late"))
        world.commit()
        world.replay()

    at(replay._remover, "remove", others)
    replay.run()
    assert is_whole(world, "late")
    assert _numbers(world) == (4, 4)


def test_runs_that_disagree_about_everything_still_end(world: World) -> None:
    """Each batch of one run is overtaken by a whole other run."""
    world.send(*(viewed(f"m{number}") for number in range(6)))
    world.commit()
    slow: Replay = world.prepare(batch_rows=1)
    for _ in range(3):
        at(slow._events, "commit", lambda: world.prepare(role="second").run())
    slow.run()
    assert is_whole(world, *(f"m{number}" for number in range(6)))
