"""Somebody else at every step of a compaction, and its death at every step: the rows stay the same."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polku_collector.files import DISK
from polku_collector.lake.local_store import LocalStore
from polku_collector.lake.table import Table
from polku_collector.maintain import rewrite
from polku_collector.maintain.rewrite import Overtaken
from tests.collector.maintain.world import Lake, event


class Interrupted(LocalStore):
    """A store at which something else happens just before or after the first file of a compaction is put."""

    before: Callable[[], None] = staticmethod(lambda: None)
    after: Callable[[], None] = staticmethod(lambda: None)

    def put(self, local_path: Path, key: str) -> None:
        before, after = self.before, self.after
        self.before = self.after = lambda: None
        before()
        super().put(local_path, key)
        after()


def _filled(tmp_path: Path) -> tuple[Lake, Interrupted]:
    lake = Lake(tmp_path / "lake", tmp_path / "scratch")
    for _ in range(20):
        lake.write(event())
    return lake, Interrupted(tmp_path / "lake", DISK)


def _maintainer(lake: Lake, store: Interrupted) -> tuple[Any, Table]:
    other = Lake(lake.uri, lake.scratch / "other", store=store)
    return other.maintainer(), Table(store, "events", "event_date", None)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_of_two_compactors_one_wins_and_the_other_changes_nothing(tmp_path: Path, moment: str) -> None:
    lake, store = _filled(tmp_path)
    before = lake.rows()
    maintainer, table = _maintainer(lake, store)
    setattr(store, moment, lambda: lake.maintainer(role="faster").compact(lake.table()))
    with pytest.raises(Overtaken):
        maintainer.compact(table)
    assert lake.rows() == before and len(lake.files()) == 1
    assert maintainer.compact(table) == 0, "it goes on from what the other has done"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_committer_goes_on_beside_it(tmp_path: Path, moment: str) -> None:
    lake, store = _filled(tmp_path)
    maintainer, table = _maintainer(lake, store)

    def commits() -> None:
        for _ in range(5):
            lake.write(event())

    setattr(store, moment, commits)
    assert maintainer.compact(table) == 1
    assert len(lake.files()) == 1 + 5 and sum(lake.rows().values()) == 25
    lake.write(event())
    assert sum(lake.rows().values()) == 26


def test_a_commit_that_was_begun_before_a_compaction_lands_after_it(tmp_path: Path) -> None:
    """Also when the compaction removed copies, which changes the table: the same files are committed again."""
    lake, _ = _filled(tmp_path)
    lake.write(event("same", stream="a"))
    lake.write(event("same", stream="b"))
    commit = lake.writer.commit

    def late(*arguments: Any) -> None:
        lake.writer.commit = commit  # type: ignore[method-assign]
        lake.maintainer().compact(lake.table())
        commit(*arguments)

    lake.writer.commit = late  # type: ignore[method-assign]
    lake.write(event("late"))
    found = lake.rows("event_id")
    assert (found["('late',)"], found["('same',)"], sum(found.values())) == (1, 1, 22)


def test_a_commit_whose_answer_was_lost_is_known_as_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, _ = _filled(tmp_path)
    before, replace = lake.rows(), Table.replace

    def without_answer(self: Table, *arguments: Any, **options: Any) -> None:
        monkeypatch.undo()
        replace(self, *arguments, **options)
        raise OSError("the connection was lost")

    monkeypatch.setattr(Table, "replace", without_answer)
    assert lake.maintainer().compact(lake.table()) == 1
    assert lake.rows() == before and len(lake.files()) == 1


def _die(*arguments: Any, **options: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _compact_and_die(uri: str, scratch: str, point: str) -> None:
    """In a process of its own."""
    lake = Lake(uri, Path(scratch))
    put = rewrite.put

    def dies_after_put(*arguments: Any) -> Any:
        put(*arguments)
        return _die()

    if point == "before put":
        rewrite.put = _die  # type: ignore[assignment]
    elif point == "between put and commit":
        rewrite.put = dies_after_put
    else:
        Table.settle = _die  # type: ignore[assignment, method-assign]
    lake.maintainer().compact(lake.table())


@pytest.mark.parametrize("point", ["before put", "between put and commit", "after commit"])
def test_killed_at_any_step_the_rows_are_the_same_and_the_next_one_cleans_up(tmp_path: Path, point: str) -> None:
    lake, _ = _filled(tmp_path)
    before = lake.rows()
    arguments = (lake.uri, str(lake.scratch / "dying"), point)
    process = multiprocessing.get_context("spawn").Process(target=_compact_and_die, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert lake.rows() == before
    assert len(lake.files()) == (1 if point == "after commit" else 20)
    maintainer = lake.maintainer(role="dying/maintenance")
    maintainer.compact(lake.table())
    assert lake.rows() == before and len(lake.files()) == 1
    for path in Path(lake.uri, "events").glob("*/*.parquet"):
        os.utime(path, (time.time() - 90_000,) * 2)
    lake.maintainer(vacuum_hours=0).vacuum(lake.table(), full=True)
    lake.maintainer(vacuum_hours=0).vacuum(lake.table(), full=True)
    assert {file.path for file in lake.store.stored("events")} == lake.files()
    assert lake.rows() == before
