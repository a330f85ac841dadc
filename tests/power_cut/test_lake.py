"""The power may fail at any step of a commit to a local lake: after it comes back every event is in a table once.

The journal here is safe on another disk; the lake's disk is cut. deltalake and DuckDB never fsync, so all they write is
at the mercy of the cut unless the committer made it durable; the journal may be trimmed only behind what is.
"""

import asyncio
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from polku_collector.files import Files
from polku_collector.journal.stream import streams_directory
from polku_collector.journal.writer import StreamWriter
from polku_collector.lake import table as tables
from tests.collector.lake.world import PLANS, Node, ids, line_of
from tests.power_cut.disk import CuttableDisk, WithoutOneSync, fresh

LUCKS = ["none", "empty", "seed 1"]
# A flush each: with a refused event, so that there are two commits; with a new column, so that one comes before.
GROUPS = [["0-0", "0-1", "refused 0"], ["1-0", "1-1"], ["2-0", "refused 2"]]
EVERYTHING = sorted(event_id for group in GROUPS for event_id in group)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    (tmp_path / "journal").mkdir()
    (tmp_path / "scratch").mkdir()
    journal = StreamWriter(tmp_path / "journal", max_bytes=1 << 30, segment_bytes=1 << 20)
    for number, group in enumerate(GROUPS):
        asyncio.run(journal.append([line_of(event_id) for event_id in group], PLANS[number > 0], 10))
    journal.close()
    return tmp_path


def cut_once(world: Path, disk: CuttableDisk) -> int:
    """Commit until the power fails; returns up to where the journal would have been trimmed."""
    node: Node | None = None
    try:
        node = Node(world, disk.root, disk)
        node.run()
    except Exception:
        assert disk.is_off
    return node.trimmed if node else 0


def every_cut(world: Path, disk_type: type[CuttableDisk], lucks: list[str], step: int = 1) -> list[str]:
    whole = disk_type(fresh(world / "whole"))
    cut_once(world, whole)
    assert ids(whole.root) == EVERYTHING
    return [
        finding
        for cut in range(0, len(whole.operations) + 1, step)
        for finding in cut_at(
            world, disk_type(fresh(world / "lake"), cut_at=cut), lucks, ["start", *whole.operations][cut]
        )
    ]


def cut_at(world: Path, disk: CuttableDisk, lucks: list[str], after: str) -> Iterator[str]:
    """One cut; gives what went wrong."""
    trimmed = cut_once(world, disk)
    for luck in lucks:
        shutil.rmtree(world / "after", ignore_errors=True)
        disk.survivors(world / "after", luck)
        place = f"cut at {disk.cut_at} ({after}), luck {luck}"
        try:
            # The index of ids is as the cut left it, the first time.
            node = Node(world, world / "after", Files(), keep_ids=luck == lucks[0])
            if node.events.watermark(next(streams_directory(world / "journal").iterdir()).name) < trimmed:
                yield f"{place}: trimmed to {trimmed}, but the lake lost it"
            node.run()
            if ids(world / "after") != EVERYTHING:
                yield f"{place}: {ids(world / 'after')}"
        except Exception as error:
            yield f"{place}: {type(error).__name__}: {error}"


def test_nothing_that_was_trimmed_is_lost_at_any_cut(world: Path) -> None:
    assert every_cut(world, CuttableDisk, LUCKS) == []


class _WithoutFileSync(CuttableDisk):
    def sync_file(self, path: Path) -> None: ...


class _WithoutDirectorySync(CuttableDisk):
    def sync_directory(self, path: Path) -> None: ...


@pytest.mark.parametrize("disk_type", [_WithoutFileSync, _WithoutDirectorySync])
def test_the_harness_notices_a_missing_fsync(world: Path, disk_type: type[CuttableDisk]) -> None:
    assert every_cut(world, disk_type, ["none", "empty"], step=5) != []


def test_each_sync_of_the_committer_is_missed_when_it_alone_is_left_out(world: Path) -> None:
    """Of rows and commits and the folders that they are in, also where tables are made and columns added.

    The folders above are synced anew with every commit, and what a checkpoint says is in the commits too.
    """
    every = WithoutOneSync(fresh(world / "whole"))
    node = Node(world, every.root, every)
    node.run()
    needed = [number for number in range(len(every.syncs)) if _is_needed(number, every, node.trimmed_after)]
    assert len(needed) == 23
    assert [f"{number}: {every.syncs[number]}" for number in needed if not _is_shown(world, number)] == []


_NEEDED = re.compile(r"[0-9a-f]{32}-\d+\.parquet|_date=|\d{20}\.json$|_delta_log$")


def _is_needed(number: int, disk: WithoutOneSync, trims: list[int]) -> bool:
    """Whether the journal is trimmed behind it before the same is synced once more."""
    path, done = disk.places[number]
    trim = next((trim for trim in trims if trim > done), None)
    if trim is None or not _NEEDED.search(disk.syncs[number]):
        return False
    again = any(other == path and at < trim for other, at in disk.places[number + 1 :])
    # A commit does not change any more: when it is synced again, for a checkpoint, it was durable already.
    before = path.suffix == ".json" and any(other == path for other, _ in disk.places[:number])
    return not again and not before


def _is_shown(world: Path, left_out: int) -> bool:
    """Whether a cut right after the journal was trimmed behind it, with bad luck, shows that this sync was left out."""
    whole = WithoutOneSync(fresh(world / "whole"), None, left_out)
    node = Node(world, whole.root, whole)
    node.run()
    trim = next(trim for trim in node.trimmed_after if trim > whole.left_out_at)
    disk = WithoutOneSync(fresh(world / "lake"), trim, left_out)
    return any(cut_at(world, disk, ["none", "empty"], "trimmed"))


@pytest.mark.parametrize("old", ["by their age", "by their number"])
def test_a_checkpoint_is_durable_before_the_commits_in_it_are_deleted(
    world: Path, monkeypatch: pytest.MonkeyPatch, old: str
) -> None:
    """Here they are deleted at once, and not after two days or 500 commits."""
    if old == "by their age":
        monkeypatch.setitem(tables._CONFIGURATION, "delta.logRetentionDuration", "interval 0 seconds")
    else:
        monkeypatch.setattr(tables, "LOG_VERSIONS", 0)
    whole = WithoutOneSync(fresh(world / "whole"))
    cut_once(world, whole)
    assert not (whole.root / "events" / "_delta_log" / f"{0:020}.json").exists()
    end = len(whole.operations)
    assert [*cut_at(world, WithoutOneSync(fresh(world / "lake"), end), LUCKS, "the end")] == []
    checkpoints = [number for number, name in enumerate(whole.syncs) if name.endswith(".checkpoint.parquet")]
    assert len(checkpoints) == 2, "one of each table"
    for number in checkpoints:
        disk = WithoutOneSync(fresh(world / "lake"), end - 1, number)
        assert any(cut_at(world, disk, ["none", "empty"], "the end"))
