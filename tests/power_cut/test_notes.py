"""The power may fail at any step of storing a hand-over note on a local lake: told to be stored, it is there, whole.

And it is there whole or not at all, whatever was told: whoever takes over reads it. Each sync is needed: left out
alone, some cut shows it.
"""

import shutil
from pathlib import Path

import pytest

from polku_collector.errors import StoreUnreachable
from polku_collector.files import Files
from polku_collector.lake.local_store import LocalStore
from tests.power_cut.disk import CuttableDisk, WithoutOneSync, fresh

LUCKS = ["none", "all", "empty", "seed 1", "seed 2"]
# Two streams, and a second note of one of them: its folder is there by then.
NOTES = {f"_handover/{name}.json": b'{"note":"%b"}' % name.encode() for name in ("a/1", "a/2", "b/1")}


def store_until_cut(disk: CuttableDisk) -> list[str]:
    """Store the notes one after the other; returns the keys of those that were told to be stored."""
    stored = []
    try:
        store = LocalStore(disk.root, disk)
        for key, data in NOTES.items():
            assert store.create(key, data)
            stored.append(key)
    except StoreUnreachable:
        assert disk.is_off
    return stored


def cuts(root: Path, left_out: int | None = None) -> tuple[list[str], int]:
    """Every cut with every luck; returns what went wrong, and how many syncs there are."""
    wrong: list[str] = []
    whole = WithoutOneSync(fresh(root / "whole"), None, left_out)
    assert store_until_cut(whole) == [*NOTES]
    for cut in range(len(whole.operations) + 1):
        disk = WithoutOneSync(fresh(root / "work"), cut, left_out)
        stored = store_until_cut(disk)
        for luck in LUCKS:
            shutil.rmtree(root / "after", ignore_errors=True)
            disk.survivors(root / "after", luck)
            after = LocalStore(root / "after", Files())
            found = {key: after.read(key) for key in after.names("_handover")}
            place = f"cut at {cut} ({whole.operations[cut - 1] if cut else 'start'}), luck {luck}"
            wrong += [f"{place}: lost {key}" for key in stored if key not in found]
            wrong += [f"{place}: {key} is {data!r}" for key, data in found.items() if data != NOTES[key]]
    return wrong, len(whole.syncs)


def test_a_note_that_was_stored_is_there_and_whole_at_any_cut(tmp_path: Path) -> None:
    assert cuts(tmp_path)[0] == []


def test_each_sync_is_missed_when_it_alone_is_left_out(tmp_path: Path) -> None:
    _, syncs = cuts(tmp_path)
    assert syncs == 9, "a file and a folder for each note, and the three folders"
    assert [number for number in range(syncs) if not cuts(tmp_path, number)[0]] == []


def test_a_note_never_takes_the_place_of_another(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, CuttableDisk(tmp_path))
    assert store.create("_handover/a/1.json", b"first")
    assert not store.create("_handover/a/1.json", b"second")
    assert store.read("_handover/a/1.json") == b"first"
    assert [path.name for path in (tmp_path / "_handover" / "a").iterdir()] == ["1.json"]


def test_the_link_goes_through_the_seam(tmp_path: Path) -> None:
    disk = CuttableDisk(fresh(tmp_path / "lake"))
    LocalStore(disk.root, disk).create("_handover/a/1.json", b"{}")
    assert [operation for operation in disk.operations if operation.startswith("link")] == ["link 1.json"]


@pytest.mark.parametrize("luck", LUCKS)
def test_a_cut_before_the_link_leaves_no_note(tmp_path: Path, luck: str) -> None:
    disk = CuttableDisk(fresh(tmp_path / "lake"))
    LocalStore(disk.root, disk).create("_handover/a/1.json", b"{}")
    cut = next(number for number, operation in enumerate(disk.operations) if operation.startswith("link"))
    disk = CuttableDisk(fresh(tmp_path / "lake"), cut)
    with pytest.raises(StoreUnreachable):
        LocalStore(disk.root, disk).create("_handover/a/1.json", b"{}")
    disk.survivors(tmp_path / "after", luck)
    assert LocalStore(tmp_path / "after").names("_handover") == []
