"""Who is behind reads the lines of the next flush beside this one. It is the same flush, or it is read anew."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from polku_collector.batch import Block
from polku_collector.errors import LakeError
from polku_collector.files import Files
from polku_collector.journal.reader import StreamReader, open_streams
from polku_collector.journal.writer import StreamWriter
from polku_collector.lake.columns import ColumnsStep
from tests.collector.lake.test_columns import AGENTS, block, judged, nothing_repeats, rows, track
from tests.collector.lake.test_loop import SCHEMAS, flush_without_an_answer, journal
from tests.collector.lake.world import Node, ids, line

__all__ = ["journal"]  # a fixture


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The first sequences of what is read, in order."""
    found: list[int] = []
    begin = ColumnsStep._begin

    def noted(self: ColumnsStep, blocks: list[Block], clashes: Any) -> Any:
        found.append(blocks[0].first_sequence)
        return begin(self, blocks, clashes)

    monkeypatch.setattr(ColumnsStep, "_begin", noted)
    yield found


def giving(*flushes: list[Block]) -> Callable[[int], list[Block]]:
    """The one after the other, each once."""
    left = [*flushes]
    return lambda ahead: left.pop(0) if left else []


def fill(journal: StreamWriter, blocks: int) -> list[str]:
    names = [f"m{number}" for number in range(1, blocks + 1)]
    for name in names:
        asyncio.run(journal.append([line(name)], SCHEMAS, 10))
    return names


def test_what_follows_is_read_beside_and_once(tmp_path: Path, journal: StreamWriter, read: list[int]) -> None:
    expected = fill(journal, 5)
    node = Node(tmp_path, tmp_path / "lake", Files())
    node.committer.flush()
    assert read == [1, 2, 3], "two before they are asked for"
    node.committer.flush()
    assert read == [1, 2, 3, 4], "and no more"
    node.run()
    assert read == [1, 2, 3, 4, 5] and ids(tmp_path / "lake") == expected
    journal.close()


def test_what_is_ahead_begins_where_all_before_it_ends(tmp_path: Path, journal: StreamWriter, read: list[int]) -> None:
    """Also in a stream that only the flush in progress takes from, which is not committed yet."""
    node = Node(tmp_path, tmp_path / "lake", Files())
    expected = fill(journal, 1)
    longer = StreamWriter(tmp_path / "journal", max_bytes=1 << 30, segment_bytes=1 << 20)
    for name in ("n1", "n2", "n3"):
        asyncio.run(longer.append([line(name)], SCHEMAS, 10))
    readers: dict[str, StreamReader] = {}
    open_streams(tmp_path / "journal", readers)
    node.committer._streams = lambda: readers
    node.committer.flush()
    ahead = [[block.first_sequence for block in taken.blocks] for taken in node.committer._ahead]
    assert ahead == [[2], [3]]
    node.run()
    assert len(read) == 3 and sorted(ids(tmp_path / "lake")) == [*expected, "n1", "n2", "n3"]
    journal.close()
    longer.close()
    for reader in readers.values():
        reader.close()


def test_nothing_is_read_ahead_of_what_is_no_full_flush(tmp_path: Path, journal: StreamWriter, read: list[int]) -> None:
    fill(journal, 3)
    node = Node(tmp_path, tmp_path / "lake", Files())
    node.committer._flush_bytes = 1 << 20
    node.run()
    assert read == [1]
    fill(journal, 3)
    node.committer._flush_bytes = 2 * len(b"x" * 100)  # two lines: the third is no full flush
    node.committer.flush()
    assert len(read) == 2
    journal.close()


def test_after_a_failure_nothing_is_taken_from_before_it(
    tmp_path: Path, journal: StreamWriter, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fill(journal, 4)
    node = Node(tmp_path, tmp_path / "lake", Files())
    node.committer.flush()
    flush_without_an_answer(node, monkeypatch)
    node.committer._reopen()
    node.run()
    assert read == [1, 2, 3, 4, 3, 4] and ids(tmp_path / "lake") == expected
    journal.close()


def test_what_somebody_else_committed_meanwhile_is_not_flushed_again(
    tmp_path: Path, journal: StreamWriter, read: list[int]
) -> None:
    expected = fill(journal, 4)
    node, other = (Node(tmp_path, tmp_path / "lake", Files()) for _ in range(2))
    node.committer.flush()
    other.committer.flush()
    read.clear()
    node.committer.flush()
    assert read[0] == 3, "not what was read ahead"
    node.run()
    assert ids(tmp_path / "lake") == expected
    journal.close()


def test_lines_are_read_anew_when_the_table_has_come_to_clash_with_them(tmp_path: Path, read: list[int]) -> None:
    step = ColumnsStep(tmp_path, AGENTS.table, threads=1)
    first, second = (
        [block(judged([track("product_viewed", {"product_id": "p"}, number)]), first=number)] for number in (1, 2)
    )
    step.write(first, nothing_repeats, following=giving(second))
    clashes = {second[0].schemas.plan_fingerprint: {"product_id": "it is a number"}}
    written = step.write(second, nothing_repeats, clashes=clashes)
    assert read == [1, 2, 2] and (written.event_rows, written.quarantine_rows) == (0, 1)
    assert rows(written, "quarantine")[0]["message"] == "it is a number"
    step.close()


def test_what_is_read_anew_for_a_clash_is_read_ahead_of_again(
    tmp_path: Path, journal: StreamWriter, read: list[int]
) -> None:
    """One flush with a clash among others: at no time more than two flushes are held, and soon none is read twice."""
    clashing = structs.replace(SCHEMAS, plan_fingerprint="g", events={"a": {"extra": "double"}})
    for number in range(1, 11):
        asyncio.run(journal.append([line(f"m{number}")], clashing if number == 3 else SCHEMAS, 10))
    node = Node(tmp_path, tmp_path / "lake", Files())
    held = []
    while node.committer.flush():
        held.append(len(node.committer._ahead))
    assert max(held) == 2
    assert read == [1, 2, 3, 4, 3, 4, 5, 4, 5, 6, 7, 8, 9, 10]
    assert sorted(ids(tmp_path / "lake")) == sorted(f"m{number}" for number in range(1, 11))
    journal.close()


def test_what_goes_wrong_ahead_is_told_when_it_is_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = ColumnsStep(tmp_path, AGENTS.table, threads=1)
    first, second = ([block(judged([track("cart_viewed", {}, number)]), first=number)] for number in (1, 2))
    real = step._read

    def failing(group: Any, streams: list[str]) -> Any:
        if any(b'"m2"' in bytes(part.text) for parts in group.parts.values() for part in parts):
            raise MemoryError("no room")
        return real(group, streams)

    monkeypatch.setattr(step, "_read", failing)
    assert step.write(first, nothing_repeats, following=giving(second)).event_rows == 1
    with pytest.raises(MemoryError, match="no room"):
        step.write(second, nothing_repeats)
    monkeypatch.setattr(step, "_read", real)
    assert [row["event_id"] for row in rows(step.write(second, nothing_repeats))] == ["m2"]
    step.close()


def test_a_flush_does_not_wait_for_what_is_wrong_with_the_next(tmp_path: Path) -> None:
    step = ColumnsStep(tmp_path, AGENTS.table, threads=1)
    first, second = ([block(judged([track("cart_viewed", {}, number)]), first=number)] for number in (1, 2))
    undescribed = [structs.replace(second[0], schemas=structs.replace(second[0].schemas, events={}))]
    assert step.write(first, nothing_repeats, following=giving(undescribed)).event_rows == 1
    with pytest.raises(LakeError, match="does not describe"):
        step.write(undescribed, nothing_repeats)

    def unreadable(ahead: int) -> list[Block]:
        raise OSError("the disk did not answer")

    assert step.write(second, nothing_repeats, following=unreadable).event_rows == 1
    step.close()
