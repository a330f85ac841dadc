"""The power may fail at any step of a replay on a local lake: every event is in one table, once, after the next run.

deltalake and DuckDB never fsync, so what they write is at the mercy of the cut unless the replay made it durable. "all"
keeps everything that was written: that is a process killed at this step.
"""

import shutil
from pathlib import Path

import pytest

from polku_collector.files import Files
from tests.collector.replay.world import World, viewed
from tests.power_cut.disk import CuttableDisk

LUCKS = ["none", "all"]
# "copied" is there twice, and one of each file fails for good.
EXPECTED = (["copied", "first", "second"], ["bad-1", "bad-2"])
# The first operations of a run open the two tables.
FIRST = 8


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with events in quarantine, all of it durable."""
    world = World(tmp_path_factory.mktemp("before"))
    world.send(viewed("first"), viewed("copied"), viewed("bad-1", price="x"))
    world.commit()
    world.send(viewed("copied"), viewed("second"), viewed("bad-2", price="x"))
    world.commit()
    assert world.events() == []
    return world.lake


def cut_once(root: Path, lake: Path, disk_type: type[CuttableDisk], cut_at: int | None) -> CuttableDisk:
    """Replay until the power fails."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(lake, root / "lake")
    disk = disk_type(root / "lake", cut_at)
    try:
        World(root, disk).replay()
    except Exception:
        assert disk.is_off
    return disk


def after_each_cut(tmp_path: Path, lake: Path, disk_type: type[CuttableDisk], first: int | None = None) -> list[str]:
    """What is wrong after the run that follows a cut at each operation from `first` on (None: after the last)."""
    wrong: list[str] = []
    whole = cut_once(tmp_path / "whole", lake, disk_type, None)
    assert World(tmp_path / "whole").ids() == EXPECTED
    last = len(whole.operations)
    for cut in range(last if first is None else first, last + 1):
        disk = cut_once(tmp_path / "cut", lake, disk_type, cut)
        for luck in LUCKS:
            after = tmp_path / "after"
            shutil.rmtree(after, ignore_errors=True)
            after.mkdir()
            disk.survivors(after / "lake", luck)
            place = f"cut at {cut} (after {whole.operations[cut - 1]}), luck {luck}"
            try:
                world = World(after, Files())
                world.replay()
                if world.ids() != EXPECTED:
                    wrong.append(f"{place}: {world.ids()}")
            except Exception as error:
                wrong.append(f"{place}: {type(error).__name__}: {error}")
    return wrong


def test_every_event_is_in_one_table_once_at_any_cut(tmp_path: Path, lake: Path) -> None:
    assert after_each_cut(tmp_path, lake, CuttableDisk, FIRST) == []


class _WithoutFileSync(CuttableDisk):
    """Nothing that is written to `events` gets durable, while what is removed from `quarantine` does."""

    def sync_file(self, path: Path) -> None:
        if "events" not in path.parts:
            super().sync_file(path)


class _WithoutDirectorySync(CuttableDisk):
    def sync_directory(self, path: Path) -> None:
        if "events" not in path.parts:
            super().sync_directory(path)


@pytest.mark.parametrize("disk_type", [_WithoutFileSync, _WithoutDirectorySync])
def test_the_harness_notices_a_missing_fsync(tmp_path: Path, lake: Path, disk_type: type[CuttableDisk]) -> None:
    assert after_each_cut(tmp_path, lake, disk_type) != []
