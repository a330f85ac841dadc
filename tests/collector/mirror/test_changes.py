"""Which versions of a Delta table make a snapshot, and what it does."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polku_collector.errors import LakeError
from polku_collector.mirror.changes import Added, Version, difference, next_changes, version_of


def file(path: str) -> Added:
    return Added(path, 1, 1, "2026-01-01", {}, {}, {})


def version(number: int, added: str = "", removed: str = "") -> Version:
    return Version(number, number * 1000, [file(path) for path in added], list(removed))


def test_versions_that_only_add_are_taken_together_up_to_one_that_removes() -> None:
    versions = [version(1, "a"), version(2), version(3, "bc"), version(4, "d", "ab"), version(5, "e")]
    first = next_changes(versions)
    assert first is not None
    assert (first.version, first.timestamp, first.removed) == (3, 3000, set())
    assert [added.path for added in first.added] == ["a", "b", "c"]
    second = next_changes(versions[3:])
    assert second is not None
    assert (second.version, [added.path for added in second.added], second.removed) == (4, ["d"], {"a", "b"})


def test_what_comes_and_goes_between_two_snapshots_is_in_neither() -> None:
    found = next_changes([version(1, "b", "a"), version(2, "c", "b")])
    assert found is not None
    assert ([added.path for added in found.added], found.removed) == (["c"], {"a"})


def test_versions_that_touch_no_file_are_no_snapshot() -> None:
    assert next_changes([version(1), version(2)]) is None
    assert next_changes([]) is None


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sets(st.sampled_from("abcdefgh")), st.sets(st.sampled_from("abcdefgh")))))
def test_snapshot_by_snapshot_the_files_are_those_of_the_table(history: list[tuple[set[str], set[str]]]) -> None:
    live: set[str] = set()
    versions, states = [], [set[str]()]
    for number, (added, removed) in enumerate(history, 1):
        added, removed = added - live, removed & live  # as a commit can be
        live = (live - removed) | added
        versions.append(version(number, "".join(sorted(added)), "".join(sorted(removed))))
        states.append(set(live))
    mirrored: set[str] = set()
    at = 0
    while (found := next_changes(versions[at:])) is not None:
        assert found.removed <= mirrored
        assert not {added.path for added in found.added} & (mirrored - found.removed)
        mirrored = (mirrored - found.removed) | {added.path for added in found.added}
        assert found.version > at
        at = found.version
        assert mirrored == states[at]
    assert mirrored == live


def test_the_difference_makes_one_set_of_files_the_other() -> None:
    found = difference(9, 1, {"a": file("a"), "b": file("b")}, ["b", "c"])
    assert ([added.path for added in found.added], found.removed) == (["a"], {"c"})


COMMIT = b"""{"commitInfo":{"timestamp":5,"operation":"WRITE"}}
{"add":{"path":"d=2026-01-01/x.parquet","partitionValues":{"d":"2026-01-01"},"size":7,"modificationTime":1,\
"dataChange":true,"stats":"{\\"numRecords\\":3,\\"minValues\\":{\\"event_id\\":\\"a\\",\\"n\\":1},\\"maxValues\\":\
{\\"event_id\\":\\"b\\"},\\"nullCount\\":{\\"event_id\\":0}}"}}
{"remove":{"path":"d=2026-01-01/y.parquet","dataChange":true}}
{"txn":{"appId":"s","version":1}}
"""


def test_a_commit_is_read_from_its_file() -> None:
    found = version_of(4, COMMIT, "d")
    assert found == Version(
        4,
        5,
        [Added("d=2026-01-01/x.parquet", 7, 3, "2026-01-01", {"event_id": "a"}, {"event_id": "b"}, {"event_id": 0})],
        ["d=2026-01-01/y.parquet"],
    )


@pytest.mark.parametrize("broken", [COMMIT[:-80], COMMIT.replace(b"numRecords", b"other")])
def test_a_file_that_is_no_commit_of_ours_is_an_error(broken: bytes) -> None:
    with pytest.raises(LakeError, match="version 4"):
        version_of(4, broken, "d")
