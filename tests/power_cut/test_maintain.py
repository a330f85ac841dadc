"""The power may fail at any step of a compaction and a vacuum on a local lake: every row is there once afterwards.

A file may be deleted only when the commit that removed it is durable, and what took its place. "all" keeps everything
that was written: that is a process killed at this step.
"""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from polku_collector.lake.local_store import LocalStore
from tests.collector.maintain.world import Lake, event
from tests.power_cut.disk import CuttableDisk

LUCKS = ["none", "all", "seed 1"]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of small files, all of it durable."""
    root = tmp_path_factory.mktemp("before")
    lake = Lake(root / "lake", root / "scratch")
    for number in range(3):
        lake.write(event(), event(days_ago=1), event("same", stream=f"{number}"))
    return root / "lake"


def look_after(root: Path, disk: CuttableDisk) -> None:
    """Merge all that can be merged, then delete what was removed, at once."""
    lake = Lake(root / "lake", root / "scratch", store=LocalStore(root / "lake", disk))
    maintainer = lake.maintainer(vacuum_hours=0)
    maintainer.compact(lake.table(), everything=True)
    maintainer.vacuum(lake.table(), full=False)


def cut_once(root: Path, lake: Path, disk_type: type[CuttableDisk], cut_at: int | None) -> CuttableDisk:
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(lake, root / "lake")
    disk = disk_type(root / "lake", cut_at)
    try:
        look_after(root, disk)
    except Exception:
        assert disk.is_off
    return disk


def ids(lake: Lake) -> Counter[str]:
    return lake.rows("event_id")


def after_each_cut(tmp_path: Path, before: Path, disk_type: type[CuttableDisk], step: int = 1) -> list[str]:
    """What is wrong with the lake after a cut at each operation."""
    whole = cut_once(tmp_path / "whole", before, disk_type, None)
    expected = ids(Lake(tmp_path / "whole" / "lake", tmp_path / "s"))
    assert expected["('same',)"] == 1 and sum(expected.values()) == 7
    wrong: list[str] = []
    for cut in range(0, len(whole.operations) + 1, step):
        disk = cut_once(tmp_path / "cut", before, disk_type, cut)
        for luck in LUCKS:
            shutil.rmtree(tmp_path / "after", ignore_errors=True)
            (tmp_path / "after").mkdir()
            disk.survivors(tmp_path / "after" / "lake", luck)
            place = f"cut at {cut} (after {whole.operations[cut - 1] if cut else 'start'}), luck {luck}"
            try:
                lake = Lake(tmp_path / "after" / "lake", tmp_path / "after" / "scratch")  # a committer opens it first
                if ids(lake).keys() != expected.keys():
                    wrong.append(f"{place}: {ids(lake)}")
                    continue
                lake.maintainer().compact(lake.table(), everything=True)
                if ids(lake) != expected:
                    wrong.append(f"{place}, after the next one: {ids(lake)}")
            except Exception as error:
                wrong.append(f"{place}: {type(error).__name__}: {error}")
    return wrong


def test_every_row_is_there_once_at_any_cut(tmp_path: Path, before: Path) -> None:
    assert after_each_cut(tmp_path, before, CuttableDisk) == []


class _WithoutFileSync(CuttableDisk):
    def sync_file(self, path: Path) -> None: ...


class _WithoutDirectorySync(CuttableDisk):
    def sync_directory(self, path: Path) -> None: ...


class _WithoutLogSync(CuttableDisk):
    def sync_file(self, path: Path) -> None:
        if path.suffix != ".json":
            super().sync_file(path)


@pytest.mark.parametrize("disk_type", [_WithoutFileSync, _WithoutDirectorySync, _WithoutLogSync])
def test_the_harness_notices_a_missing_fsync(tmp_path: Path, before: Path, disk_type: type[CuttableDisk]) -> None:
    assert after_each_cut(tmp_path, before, disk_type, step=3) != []


def test_what_takes_the_place_of_files_is_durable_before_they_are_removed(tmp_path: Path, before: Path) -> None:
    """The order of effects: each new file and its folder, then the commit, then the log, and only then a deletion."""
    disk = cut_once(tmp_path / "whole", before, CuttableDisk, None)
    did = disk.operations
    first_removed = next(number for number, effect in enumerate(did) if effect.startswith("remove"))
    renamed = [number for number, effect in enumerate(did) if effect.startswith("rename")]
    logs = [number for number, effect in enumerate(did) if effect.startswith("sync_file 0000")]
    for number in renamed:
        assert did[number - 1].startswith("sync_file") and did[number + 1].startswith("sync_directory event_date=")
        assert any(number < log < first_removed for log in logs)
