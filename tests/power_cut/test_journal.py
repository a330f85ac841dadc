"""The power may fail between any two disk operations: what was acknowledged is in the journal when it comes back."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from polku_collector.batch import Schemas
from polku_collector.errors import JournalBroken
from polku_collector.files import Files
from polku_collector.journal.reader import StreamReader
from polku_collector.journal.stream import streams_directory
from polku_collector.journal.writer import StreamWriter
from tests.collector.lake.world import line

from .disk import CuttableDisk, WithoutOneSync, fresh

LUCKS = ["none", "all", "empty", "seed 1", "seed 2", "seed 3"]
GROUPS = [[f"{group}-{number}" for number in range(3)] for group in range(6)]


def write_until_cut(root: Path, disk: Files) -> list[str]:
    """Append the groups one after the other, over several segments; returns the acknowledged ids."""
    acknowledged: list[str] = []
    try:
        schemas = Schemas("p", "1", "f", {"a": {}}, {})
        journal = StreamWriter(root, max_bytes=1 << 30, segment_bytes=900, files=disk)
    except OSError:
        return acknowledged
    for group in GROUPS:
        try:
            asyncio.run(journal.append([line(event_id) for event_id in group], schemas, 10))
        except JournalBroken:
            continue
        acknowledged += group
    journal.close()
    return acknowledged


def read_back(root: Path, after: int = 0) -> tuple[list[str], list[str]]:
    """The ids in all streams of a journal that somebody found after a power cut, and the damage it reports.

    `after`: what is in the lake already.
    """
    found: list[str] = []
    damage: list[str] = []
    if not streams_directory(root).is_dir():
        return found, damage
    for directory in streams_directory(root).iterdir():
        stream = StreamReader(directory, on_corruption=damage.append)
        assert stream.take_over()
        while blocks := stream.read(after, 1):
            for block in blocks:
                found += [msgspec.json.decode(text)["event_id"] for text in bytes(block.lines).splitlines()]
            after = blocks[-1].last_sequence
        stream.close()
    return found, damage


def cuts(root: Path, disk_type: type[CuttableDisk]) -> list[str]:
    """Every cut with every luck; returns what went wrong."""
    whole = disk_type(fresh(root / "whole"))
    write_until_cut(whole.root, whole)
    return [
        finding
        for cut in range(len(whole.operations) + 1)
        for finding in cut_at(root, disk_type(fresh(root / "work"), cut_at=cut), ["start", *whole.operations][cut])
    ]


def cut_at(root: Path, disk: CuttableDisk, after: str) -> Iterator[str]:
    """One cut with every luck; gives what went wrong."""
    acknowledged = write_until_cut(disk.root, disk)
    for luck in LUCKS:
        shutil.rmtree(root / "after", ignore_errors=True)
        disk.survivors(root / "after", luck)
        found, damage = read_back(root / "after")
        place = f"cut at {disk.cut_at} ({after}), luck {luck}"
        if not set(acknowledged) <= set(found):
            yield f"{place}: lost {sorted(set(acknowledged) - set(found))}"
        if len(found) != len(set(found)):
            yield f"{place}: read twice"
        if found != [event_id for group in GROUPS for event_id in group][: len(found)]:
            yield f"{place}: out of order or with a hole: {found}"
        if damage:
            yield f"{place}: reported as damage: {damage}"


def test_no_acknowledged_event_is_lost_at_any_cut(tmp_path: Path) -> None:
    assert cuts(tmp_path, CuttableDisk) == []


def damaged_journal(root: Path) -> tuple[list[str], set[str]]:
    """A journal of a killed worker, with a torn tail and a damaged block; what was acknowledged, what is damaged."""
    acknowledged = write_until_cut(root, Files())
    (directory,) = streams_directory(root).iterdir()
    first, *_, last = sorted(directory.glob("*.journal"))
    data = first.read_bytes()
    first.write_bytes(data.replace(b'"event_id":"0-1"', b'"event_id":"0-x"'))
    last.write_bytes(last.read_bytes() + b"#polku-block 000")
    lost = {event_id for event_id in GROUPS[0] if event_id.encode() in data}
    return acknowledged, lost


def test_a_cut_while_a_dead_stream_is_taken_over_or_trimmed_loses_nothing(tmp_path: Path) -> None:
    """Taken over, read, trimmed and removed, with a cut at each step: what was not read before is read afterwards.

    What cannot be read is set aside before it is trimmed, whenever the power fails.
    """
    acknowledged, damaged = damaged_journal(fresh(tmp_path / "before"))
    cut, is_off = 0, True
    while is_off:
        shutil.rmtree(tmp_path / "work", ignore_errors=True)
        shutil.copytree(tmp_path / "before", tmp_path / "work")
        disk = CuttableDisk(tmp_path / "work", cut_at=cut)
        trimmed = _take_over_and_trim(tmp_path / "work", disk)
        is_off = disk.is_off
        for luck in LUCKS:
            shutil.rmtree(tmp_path / "after", ignore_errors=True)
            disk.survivors(tmp_path / "after", luck)
            found, _ = read_back(tmp_path / "after", trimmed)
            kept = b"".join(path.read_bytes() for path in (tmp_path / "after").glob("corrupt/*"))
            place = f"cut at {cut} (after {disk.operations[-1:]}), luck {luck}"
            assert set(acknowledged[trimmed:]) - damaged <= set(found), place
            there = kept + b"".join(path.read_bytes() for path in (tmp_path / "after").rglob("*.journal"))
            assert b'"event_id":"0-x"' in there, f"{place}: the damaged block is gone"
        cut += 1
    assert cut > 10


def _take_over_and_trim(root: Path, disk: CuttableDisk) -> int:
    """As the committer does; returns up to where the stream was in the lake."""
    (directory,) = streams_directory(root).iterdir()
    committed = 0
    stream = StreamReader(directory, files=disk)
    try:
        stream.take_over()
        while blocks := stream.read(committed, 1):
            committed = blocks[-1].last_sequence
            stream.trim(committed)
        if stream.drained(committed):
            stream.remove()
    except OSError:
        assert disk.is_off
    stream.close()
    return committed


class _WithoutFileSync(CuttableDisk):
    def sync(self, descriptor: int) -> None: ...


class _WithoutDirectorySync(CuttableDisk):
    def sync_directory(self, path: Path) -> None: ...


@pytest.mark.parametrize("disk_type", [_WithoutFileSync, _WithoutDirectorySync])
def test_the_harness_notices_a_missing_fsync(tmp_path: Path, disk_type: type[CuttableDisk]) -> None:
    assert any("lost" in finding for finding in cuts(tmp_path, disk_type))


def test_each_sync_of_the_writer_is_missed_when_it_alone_is_left_out(tmp_path: Path) -> None:
    every = WithoutOneSync(fresh(tmp_path / "whole"))
    write_until_cut(every.root, every)
    unseen = {number: name for number, name in enumerate(every.syncs) if not _is_shown(tmp_path, number)}
    # One is there for nothing: a stream's folder is made under another name, and synced again when it has its own.
    assert unseen == {1: "sync_directory streams"}


def _is_shown(root: Path, left_out: int) -> bool:
    """Whether some cut and luck show that this one sync was left out."""
    whole = WithoutOneSync(fresh(root / "whole"), None, left_out)
    write_until_cut(whole.root, whole)
    return any(
        finding
        for cut in range(whole.left_out_at, len(whole.operations) + 1)
        for finding in cut_at(root, WithoutOneSync(fresh(root / "work"), cut, left_out), "")
    )
