"""Writer and reader of a stream: what is acknowledged is read, once, in order, and nothing before it is durable."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import pytest

from polku_collector.errors import JournalBroken, JournalFull
from polku_collector.files import Buffer, Files
from polku_collector.journal.reader import StreamReader
from polku_collector.journal.stream import segment_numbers, segment_path, streams_directory
from polku_collector.journal.writer import StreamWriter

from .world import SCHEMAS, append, ids_of, line, read_all, reader, writer


def test_acknowledged_lines_are_read_in_order(tmp_path: Path) -> None:
    journal = writer(tmp_path)
    append(journal, "1", "2")
    append(journal, "3")
    stream = reader(tmp_path)
    assert read_all(stream) == ["1", "2", "3"]
    assert read_all(stream, after=2) == ["3"]
    journal.close()


def test_requests_that_arrive_together_share_a_block(tmp_path: Path) -> None:
    journal = writer(tmp_path)

    async def many() -> None:
        await asyncio.gather(*(journal.append([line(str(number))], SCHEMAS, 10) for number in range(200)))

    asyncio.run(many())
    stream = reader(tmp_path)
    blocks = stream.read(0, 1 << 20)
    assert sorted(ids_of(blocks), key=int) == [str(number) for number in range(200)]
    assert len(blocks) < 100
    journal.close()


def test_who_does_not_wait_is_called_when_the_lines_are_durable_and_a_fault_of_one_is_its_own(tmp_path: Path) -> None:
    journal = writer(tmp_path)
    told: list[tuple[str, Exception | None, int]] = []

    def done(name: str, error: Exception | None) -> None:
        told.append((name, error, len(read_all(reader(tmp_path)))))
        if name == "2":
            raise ZeroDivisionError

    async def put() -> None:
        for number in ("1", "2", "3"):
            journal.put([line(number)], SCHEMAS, 10, partial(done, number))
        assert told == []
        await journal.append([line("4")], SCHEMAS, 10)

    asyncio.run(put())
    journal.close()
    assert told == [("1", None, 4), ("2", None, 4), ("3", None, 4)]
    assert read_all(reader(tmp_path)) == ["1", "2", "3", "4"]


def test_lines_are_grouped_by_event_name_inside_a_block(tmp_path: Path) -> None:
    journal = writer(tmp_path)
    asyncio.run(journal.append([line("1", "b"), line("2", "a"), line("3", "b")], SCHEMAS, 10))
    (block,) = reader(tmp_path).read(0, 1 << 20)
    assert [(run.name, run.lines) for run in block.runs] == [("b", 2), ("a", 1)]
    assert ids_of([block]) == ["1", "3", "2"]
    journal.close()


def test_lines_judged_by_different_plans_are_never_in_one_segment(tmp_path: Path) -> None:
    """Also when they wait for the same fsync: each is read with the columns of the plan that accepted it."""
    journal = writer(tmp_path)
    newer = msgspec.structs.replace(SCHEMAS, plan_version="2", plan_fingerprint="f2")

    async def both() -> None:
        waiting = [journal.append([line(str(n))], SCHEMAS if n < 5 else newer, 10) for n in range(10)]
        await asyncio.gather(*waiting, journal.append([line("10")], SCHEMAS, 10))

    asyncio.run(both())
    blocks = reader(tmp_path).read(0, 1 << 20)
    versions = {event_id: block.schemas.plan_version for block in blocks for event_id in ids_of([block])}
    assert versions == {**{str(n): "1" if n < 5 else "2" for n in range(10)}, "10": "1"}
    assert len(segment_numbers(streams_directory(tmp_path) / journal.stream_id)) == 3
    journal.close()


def test_only_the_durable_part_is_read(tmp_path: Path) -> None:
    """A block that is in the file but not yet published (its fsync has not returned) does not exist for the lake."""
    held = _HeldSync()
    journal = writer(tmp_path, files=held)
    append(journal, "1")
    held.hold = True
    waiting = asyncio.new_event_loop()
    task = waiting.create_task(journal.append([line("2")], SCHEMAS, 10))
    waiting.run_until_complete(asyncio.sleep(0.05))
    assert held.reached.wait(5)
    stream = reader(tmp_path)
    assert read_all(stream) == ["1"]
    held.release.set()
    waiting.run_until_complete(task)
    assert read_all(stream) == ["1", "2"]
    journal.close()
    waiting.close()


def test_segments_roll_and_are_trimmed_behind_the_lake(tmp_path: Path) -> None:
    journal = writer(tmp_path, segment_bytes=600)
    for number in range(20):
        append(journal, str(number))
    stream = reader(tmp_path)
    directory = streams_directory(tmp_path) / stream.stream_id
    before = segment_numbers(directory)
    assert len(before) > 3
    assert read_all(stream) == [str(number) for number in range(20)]
    stream.trim(10)
    assert read_all(stream, after=10) == [str(number) for number in range(10, 20)]
    stream.trim(20)
    assert segment_numbers(directory) == before[-1:]
    append(journal, "20")
    assert read_all(stream, after=20) == ["20"]
    journal.close()


@pytest.mark.parametrize("operation", ["write", "sync", "create", "sync_directory"])
def test_after_a_failure_nobody_is_told_it_worked_and_the_next_block_is_whole(tmp_path: Path, operation: str) -> None:
    failing = _Failing(operation)
    journal = writer(tmp_path, files=failing, segment_bytes=1)
    append(journal, "1")
    failing.fail = True
    with pytest.raises(JournalBroken):
        append(journal, "lost")
    assert not journal.broken
    with pytest.raises(JournalBroken):
        append(journal, "lost too")
    assert journal.broken
    failing.fail = False
    append(journal, "2")
    assert not journal.broken
    append(journal, "3")
    assert read_all(reader(tmp_path)) == ["1", "2", "3"]
    journal.close()
    stream = reader(tmp_path)
    assert stream.take_over()
    assert read_all(stream) == ["1", "2", "3"]


def test_what_waits_behind_a_failed_block_fails_with_it_and_leaves_no_gap(tmp_path: Path) -> None:
    """Its lines had their numbers already; so do those that come before the loop hears of the failure."""
    held = _HeldSync()
    journal = writer(tmp_path, files=held)
    append(journal, "1")

    async def fails_together() -> list[object]:
        held.hold = held.fails = True
        first = asyncio.ensure_future(journal.append([line("lost")], SCHEMAS, 10))
        await asyncio.to_thread(held.reached.wait, 5)
        behind = [asyncio.ensure_future(journal.append([line(f"lost {n}")], SCHEMAS, 10)) for n in range(3)]
        await asyncio.sleep(0)
        held.release.set()
        outcomes: list[object] = await asyncio.gather(first, *behind, return_exceptions=True)
        held.hold = held.fails = False
        outcomes.append(await journal.append([line("2"), line("3")], SCHEMAS, 10))
        return outcomes

    *failed, last = asyncio.run(fails_together())
    assert [type(outcome) for outcome in failed] == [JournalBroken] * 4
    assert last == 3
    assert read_all(reader(tmp_path)) == ["1", "2", "3"]
    journal.close()


def test_the_last_number_is_told_and_the_lines_are_let_go(tmp_path: Path) -> None:
    """Also of requests that share a block, and whatever the order of the names in it."""
    journal = writer(tmp_path)
    requests = [[line("1", "b"), line("2", "a")], [line("3", "a")], [line("4", "b"), line("5", "c")]]

    async def together() -> list[int]:
        waiting = [asyncio.ensure_future(journal.append(lines, SCHEMAS, 10)) for lines in requests]
        await asyncio.sleep(0)
        assert requests == [[], [], []]
        return await asyncio.gather(*waiting)

    assert asyncio.run(together()) == [2, 3, 5]
    (block,) = reader(tmp_path).read(0, 1 << 20)
    assert [(run.name, run.lines) for run in block.runs] == [("b", 2), ("a", 2), ("c", 1)]
    numbers = [msgspec.json.decode(one)["sequence"] for one in bytes(block.lines).splitlines()]
    assert numbers == [1, 4, 2, 3, 5]
    journal.close()


def test_an_unexpected_failure_is_told_and_the_writer_lives_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from polku_collector.journal import writer as module

    journal = writer(tmp_path)
    encode = module._encode_lines

    def fail(lines: object) -> bytes:
        monkeypatch.setattr(module, "_encode_lines", encode)
        raise MemoryError

    monkeypatch.setattr(module, "_encode_lines", fail)
    with pytest.raises(JournalBroken):
        append(journal, "1")
    append(journal, "2")
    assert read_all(reader(tmp_path)) == ["2"]
    journal.close()


def test_a_segment_that_could_not_begin_does_not_stop_trimming(tmp_path: Path) -> None:
    journal = writer(tmp_path, segment_bytes=1)
    append(journal, "1")
    directory = next(streams_directory(tmp_path).iterdir())
    segment_path(directory, 2).write_bytes(b"")  # as a full disk leaves it
    journal._segment = 2
    for number in range(2, 8):
        append(journal, str(number))
    stream = reader(tmp_path)
    assert read_all(stream) == [str(number) for number in range(1, 8)]
    stream.trim(7)
    assert segment_numbers(directory) == [8]
    journal.close()


def test_a_full_journal_refuses_and_takes_again_after_trimming(tmp_path: Path) -> None:
    journal = writer(tmp_path, segment_bytes=300, max_bytes=2000)
    with pytest.raises(JournalFull, match="of 2000 bytes"):
        for number in range(1000):
            journal._measured_at = 0.0  # measure at every call, not four times a second
            append(journal, str(number))
    stream = reader(tmp_path)
    stream.trim(stream.durable)
    journal._measured_at = 0.0
    append(journal, "again")
    assert read_all(stream, after=stream.committed)[-1] == "again"
    journal.close()


def test_a_living_stream_is_not_taken_over(tmp_path: Path) -> None:
    journal = writer(tmp_path)
    append(journal, "1")
    stream = reader(tmp_path)
    assert not stream.take_over()
    journal.close()
    assert stream.take_over()
    assert not stream.drained(0)
    assert stream.drained(1)
    stream.remove()
    assert list(streams_directory(tmp_path).iterdir()) == []


def test_a_torn_tail_was_never_acknowledged_and_is_left_behind(tmp_path: Path) -> None:
    journal = writer(tmp_path)
    append(journal, "1")
    append(journal, "2")
    journal.close()
    stream = reader(tmp_path)
    path = segment_path(streams_directory(tmp_path) / stream.stream_id, 1)
    whole = path.read_bytes()
    start = whole.rindex(b"#polku-block")
    stream._durable.value = 1  # as after a power cut: the second block was never published
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        damage: list[str] = []
        again = StreamReader(path.parent, on_corruption=damage.append)
        assert again.take_over()
        assert read_all(again) == ["1"]
        assert damage == []
        again.close()


def test_an_intact_tail_is_made_durable_before_it_is_read(tmp_path: Path) -> None:
    journal = writer(tmp_path)
    append(journal, "1")
    append(journal, "2")
    journal.close()
    noting = _Noting()
    stream = reader(tmp_path, files=noting)
    stream._durable.value = 1
    assert stream.take_over()
    assert noting.synced, "the tail was published without an fsync"
    assert read_all(stream) == ["1", "2"]


def test_damage_before_a_good_block_is_set_aside_and_told(tmp_path: Path) -> None:
    journal = writer(tmp_path)
    for number in range(3):
        append(journal, str(number))
    journal.close()
    path = segment_path(next(streams_directory(tmp_path).iterdir()), 1)
    data = bytearray(path.read_bytes())
    data[data.index(b'"event_id":"1"') + 13] ^= 1
    path.write_bytes(data)
    damage: list[str] = []
    stream = StreamReader(path.parent, on_corruption=damage.append)
    assert stream.take_over()
    assert read_all(stream) == ["0", "2"]
    (reason,) = damage  # once, though it is passed when the stream is taken over and when it is read
    assert "checksum" in reason
    assert len(list((tmp_path / "corrupt").iterdir())) == 1


def test_a_lost_durable_tail_is_told(tmp_path: Path) -> None:
    journal = writer(tmp_path)
    append(journal, "1")
    append(journal, "2")
    journal.close()
    path = segment_path(next(streams_directory(tmp_path).iterdir()), 1)
    path.write_bytes(path.read_bytes()[:-10])
    damage: list[str] = []
    stream = StreamReader(path.parent, on_corruption=damage.append)
    stream.take_over()
    assert read_all(stream) == ["1"]
    (reason,) = damage  # the block and what it held are one damage
    assert "cut short" in reason


def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import asyncio, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from world import append, writer
        journal = writer(Path(sys.argv[1]), segment_bytes=5000)
        for number in range(10**6):
            append(journal, str(number))
            print(number, flush=True)
    """)
    for _ in range(3):
        arguments = [sys.executable, "-c", script, str(tmp_path), str(Path(__file__).parent)]
        child = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        acknowledged = [int(child.stdout.readline()) for _ in range(50)]
        os.kill(child.pid, signal.SIGKILL)
        acknowledged += [int(text) for text in child.stdout.read().split()]
        child.wait()
        stream = reader(tmp_path)
        assert stream.take_over()
        read = [int(number) for number in read_all(stream)]
        assert read == list(range(len(read)))
        assert read[: len(acknowledged)] == acknowledged
        stream.remove()


class _HeldSync(Files):
    def __init__(self) -> None:
        import threading

        self.hold = self.fails = False
        self.reached, self.release = threading.Event(), threading.Event()

    def sync(self, descriptor: int) -> None:
        if self.hold:
            self.reached.set()
            assert self.release.wait(10)
        if self.fails:
            raise OSError(5, "sync failed")
        super().sync(descriptor)


class _Failing(Files):
    def __init__(self, operation: str) -> None:
        self._operation, self.fail = operation, False

    def _perhaps(self, operation: str) -> None:
        if self.fail and operation == self._operation:
            raise OSError(5, f"{operation} failed")

    def create(self, path: Path) -> int:
        self._perhaps("create")
        return super().create(path)

    def write(self, descriptor: int, parts: Sequence[Buffer]) -> None:
        if self.fail and self._operation == "write":
            super().write(descriptor, [parts[0], parts[1][:3] if len(parts) > 1 else b""])  # a torn write
        self._perhaps("write")
        super().write(descriptor, parts)

    def sync(self, descriptor: int) -> None:
        self._perhaps("sync")
        super().sync(descriptor)

    def sync_directory(self, path: Path) -> None:
        self._perhaps("sync_directory")
        super().sync_directory(path)


class _Noting(Files):
    def __init__(self) -> None:
        self.synced: list[Path] = []

    def sync_file(self, path: Path) -> None:
        self.synced.append(path)
        super().sync_file(path)


def test_the_writer_needs_its_own_stream(tmp_path: Path) -> None:
    first, second = writer(tmp_path), writer(tmp_path)
    assert first.stream_id != second.stream_id
    assert isinstance(first, StreamWriter)
    first.close()
    second.close()


def segments_of(tmp_path: Path, count: int = 4) -> list[Path]:
    """A dead stream of as many segments with one event each; their paths."""
    journal = writer(tmp_path, segment_bytes=1)
    for number in range(count):
        append(journal, f"id {number}")
    journal.close()
    directory = next(streams_directory(tmp_path).iterdir())
    return [segment_path(directory, number) for number in range(1, count + 1)]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def swap(first: Path, second: Path) -> None:
    aside = first.with_suffix(".aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def without_mark(path: Path) -> None:
    (path.parent / "durable").unlink()


DAMAGE: dict[str, Callable[[list[Path]], object]] = {
    "header of the first": lambda paths: flip(paths[0], 30),
    "header in the middle": lambda paths: flip(paths[2], 30),
    "header of the last": lambda paths: flip(paths[3], 30),
    "header of all": lambda paths: [flip(path, 30) for path in paths],
    "header of the last, without a mark": lambda paths: (flip(paths[3], 30), without_mark(paths[3])),
    "header of all, without a mark": lambda paths: ([flip(path, 30) for path in paths], without_mark(paths[0])),
    "block of a closed one": lambda paths: flip(paths[1], -40),
    "block of the last": lambda paths: flip(paths[3], -40),
    "two neighbours swapped": lambda paths: swap(paths[1], paths[2]),
    "first and last swapped": lambda paths: swap(paths[0], paths[3]),
    "emptied": lambda paths: paths[1].write_bytes(b""),
    "cut inside a block": lambda paths: paths[1].write_bytes(paths[1].read_bytes()[:-9]),
    "gone": lambda paths: paths[1].unlink(),
    "cut at a block, without a mark": lambda paths: (
        paths[1].write_bytes(paths[1].read_bytes().split(b"#polku-block")[0]),
        without_mark(paths[1]),
    ),
    "of another stream": lambda paths: paths[0].parent.rename(paths[0].parent.with_name("0" * 32)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_whatever_is_damaged_is_told_and_what_is_not_read_is_kept(tmp_path: Path, damage: str) -> None:
    DAMAGE[damage](segments_of(tmp_path))
    here = next(streams_directory(tmp_path).iterdir())
    ids = [f"id {number}" for number in range(4)]
    on_disk = {name for name in ids for path in here.glob("*.journal") if name.encode() in path.read_bytes()}
    told: list[str] = []
    stream = StreamReader(here, on_corruption=told.append)
    assert stream.take_over()
    read = read_all(stream)
    stream.trim(stream.durable)
    assert stream.drained(stream.durable)
    stream.remove()
    assert len(told) == (2 if damage == "first and last swapped" else 1), "one place is told once, and none in silence"
    assert len(read) == len(set(read))
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("corrupt/*"))
    assert [name for name in sorted(on_disk) if name not in read and name.encode() not in kept] == []


def test_what_is_set_aside_is_whole_even_if_the_disk_is_full(tmp_path: Path) -> None:
    """It is another name of the same file: nothing is copied."""
    paths = segments_of(tmp_path)
    flip(paths[1], -40)
    before = paths[1].stat().st_ino
    stream = StreamReader(paths[0].parent)
    assert stream.take_over()
    assert [path.stat().st_ino for path in tmp_path.glob("corrupt/*")] == [before]


def test_a_stream_whose_take_over_failed_is_read_on_and_taken_over_again(tmp_path: Path) -> None:
    """The disk may be full just then: what was read before goes on where it was, and nothing looks damaged."""
    journal = writer(tmp_path)
    append(journal, "1")
    append(journal, "2")

    class Failing(Files):
        fails = True

        def sync_directory(self, path: Path) -> None:
            if self.fails:
                raise OSError(28, "no space left")

    files, told = Failing(), list[str]()
    stream = StreamReader(next(streams_directory(tmp_path).iterdir()), files=files, on_corruption=told.append)
    assert ids_of(stream.read(0, 1)) == ["1"]
    journal.close()
    with pytest.raises(OSError, match="no space"):
        stream.take_over()
    assert not stream.owned
    assert ids_of(stream.read(1, 1)) == ["2"]
    files.fails = False
    assert stream.take_over()
    assert ids_of(stream.read(0, 1000)) == ["1", "2"]
    assert told == []
