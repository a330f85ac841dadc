"""The duplicate index against a dict, through crashes, damage, restores, expiry and kills."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polku_collector.files import DISK, Files
from polku_collector.lake import dedup, dedup_runs
from polku_collector.lake.dedup import DedupIndex, duplicates_in_flush
from polku_collector.lake.dedup_runs import ENTRY_BYTES, U16, U32, U64

DAY = 86_400.0
START = 1_700_000_000.0
Key = tuple[int, int]
Entry = tuple[Key, str, int, int]  # key, stream, sequence, digest


def open_index(
    directory: Path,
    proven: dict[str, int],
    *,
    now: float = START,
    max_bytes: int = 1 << 24,
    files: Files = DISK,
) -> DedupIndex:
    return DedupIndex.open(directory, window_seconds=7 * DAY, max_bytes=max_bytes, proven=proven, now=now, files=files)


def append(index: DedupIndex, entries: Sequence[Entry], watermarks: dict[str, int], now: float = START) -> None:
    hi, lo, digest, stream, sequence = arrays(index, entries)
    index.append_run(hi, lo, stream=stream, sequence=sequence, digest=digest, watermarks=watermarks, now=now)


def arrays(index: DedupIndex, entries: Sequence[Entry]) -> tuple[U64, U64, U32, U16, U64]:
    return (
        np.array([key[0] for key, *_ in entries], np.uint64),
        np.array([key[1] for key, *_ in entries], np.uint64),
        np.array([digest for *_, digest in entries], np.uint32),
        np.array([index.stream_number(stream) for _, stream, _, _ in entries], np.uint16),
        np.array([sequence for _, _, sequence, _ in entries], np.uint64),
    )


def known(index: DedupIndex, keys: Sequence[Key]) -> list[tuple[str, int, int] | None]:
    found = index.lookup(np.array([key[0] for key in keys], np.uint64), np.array([key[1] for key in keys], np.uint64))
    return [
        (index.stream_name(int(stream)), int(sequence), int(digest)) if hit else None
        for hit, stream, sequence, digest in zip(*found, strict=True)
    ]


def numbered(first: int, count: int, stream: str = "a", digest: int = 1) -> list[Entry]:
    """Entries whose keys are a function of their sequence."""
    return [((key * 0x9E3779B97F4A7C15 % 2**64, key), stream, key, digest) for key in range(first, first + count)]


# Few distinct high halves: ties in `hi` that only `lo` tells apart are the rule here, not the accident.
KEYS = st.tuples(st.sampled_from([0, 1, 7, 2**63, 2**64 - 1]), st.sampled_from([0, 1, 2**64 - 1]))
EVENTS = st.lists(st.tuples(KEYS, st.sampled_from(["a", "b", "c"]), st.integers(0, 2)), max_size=12)
STEPS = st.one_of(
    st.tuples(st.just("flush"), EVENTS),
    st.tuples(st.just("crash before the index was told"), EVENTS),
    st.tuples(st.just("reopen"), st.none()),
    st.tuples(st.just("damage"), st.integers(0, 99)),
    st.tuples(st.just("restore"), st.integers(0, 99)),
)


class World:
    """A table, its watermarks and its index; and beside them what a dict says."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.table: list[Entry] = []
        self.proven = {"a": 0, "b": 0, "c": 0}
        self.now = START
        self.index = open_index(directory, self.proven)

    def flush(self, events: Sequence[tuple[Key, str, int]], tell_index: bool = True) -> None:
        self.now += 1
        entries: list[Entry] = []
        for key, stream, digest in events:
            self.proven[stream] += 1
            entries.append((key, stream, self.proven[stream], digest))
        model = {key: (stream, sequence, digest) for key, stream, sequence, digest in reversed(self.table)}
        expected_known = []
        for key, stream, sequence, digest in entries:
            first = model.get(key)
            earlier = first is not None and (first[0] != stream or first[1] < sequence)
            differs = earlier and first is not None and 0 not in (digest, first[2]) and digest != first[2]
            expected_known.append((earlier and not differs, differs))
        hi, lo, digests, streams, sequences = arrays(self.index, entries)
        verdicts = self.index.judge(hi, lo, digests, streams, sequences)
        assert list(zip(verdicts.duplicate.tolist(), verdicts.conflicting.tolist(), strict=True)) == expected_known
        here = duplicates_in_flush(hi, lo, digests, np.arange(len(entries)))
        gone = verdicts.duplicate | verdicts.conflicting | here.duplicate | here.conflicting
        kept = [entry for entry, drop in zip(entries, gone, strict=True) if not drop]
        self.table += kept
        if tell_index:
            append(self.index, kept, dict(self.proven), self.now)

    def reopen(self) -> None:
        """What the committer does at start: open, then add what the table holds beyond the coverage."""
        self.index.close()
        self.index = open_index(self.directory, self.proven, now=self.now)
        covered = self.index.covered()
        missing = [entry for entry in self.table if entry[2] > covered.get(entry[1], 0)]
        append(self.index, missing, dict(self.proven), self.now)

    def damage(self, choice: int) -> None:
        runs = sorted(self.directory.glob("run-*.keys"))
        if runs:
            path = runs[choice % len(runs)]
            content = bytearray(path.read_bytes())
            if choice % 3 == 0:
                path.unlink()
            elif choice % 3 == 1:
                path.write_bytes(content[: len(content) // 2])
            else:
                content[choice % len(content)] ^= 1
                path.write_bytes(content)
        if choice % 7 == 0:
            (self.directory / "manifest.json").write_bytes(b"0000\n{}")

    def restore(self, choice: int) -> None:
        """The table falls back to an earlier state."""
        self.table = self.table[: choice % (len(self.table) + 1)]
        self.proven = {
            name: max((sequence for _, stream, sequence, _ in self.table if stream == name), default=0)
            for name in self.proven
        }

    def check(self) -> None:
        keys = [(hi, lo) for hi in (0, 1, 7, 2**63, 2**64 - 1) for lo in (0, 1, 2**64 - 1)]
        model = {key: (stream, sequence, digest) for key, stream, sequence, digest in reversed(self.table)}
        assert known(self.index, keys) == [model.get(key) for key in keys]


@pytest.mark.parametrize("at_a_time", [1 << 20, 2])
@settings(max_examples=60)
@given(steps=st.lists(STEPS, max_size=14))
def test_the_index_says_what_a_dict_of_the_table_says(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, object]], at_a_time: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dedup_runs, "MERGED_ROWS", at_a_time)
        go_through(World(tmp_path_factory.mktemp("ids")), steps)


def go_through(world: World, steps: Sequence[tuple[str, object]]) -> None:
    for name, argument in steps:
        match name:
            case "flush":
                world.flush(argument)  # type: ignore[arg-type]
            case "crash before the index was told":
                world.flush(argument, tell_index=False)  # type: ignore[arg-type]
                world.reopen()
            case "damage":
                world.damage(argument)  # type: ignore[arg-type]
                world.reopen()
            case "restore":
                world.restore(argument)  # type: ignore[arg-type]
                world.reopen()
            case "reopen":
                world.reopen()
        world.check()


FLUSH = st.lists(st.tuples(KEYS, st.integers(0, 2), st.integers(0, 10**6)), max_size=30, unique_by=lambda e: e[2])


@given(FLUSH)
def test_duplicates_inside_a_flush(events: list[tuple[Key, int, int]]) -> None:
    hi = np.array([key[0] for key, _, _ in events], np.uint64)
    lo = np.array([key[1] for key, _, _ in events], np.uint64)
    digest = np.array([digest for _, digest, _ in events], np.uint32)
    order = np.array([order for _, _, order in events], np.int64)
    verdicts = duplicates_in_flush(hi, lo, digest, order)
    winners: dict[Key, tuple[int, int]] = {}
    for key, one, position in sorted(events, key=lambda event: event[2]):
        winners.setdefault(key, (position, one))
    for number, (key, one, position) in enumerate(events):
        winner_position, winner = winners[key]
        repeated = position != winner_position
        differs = repeated and 0 not in (one, winner) and one != winner
        assert (verdicts.duplicate[number], verdicts.conflicting[number]) == (repeated and not differs, differs)


def test_an_event_is_no_duplicate_of_itself_or_of_a_later_one(tmp_path: Path) -> None:
    index = open_index(tmp_path, {"a": 10, "b": 10})
    append(index, [((1, 1), "a", 5, 3)], {"a": 10})
    asked: list[Entry] = [
        ((1, 1), "a", 5, 3),  # itself, read again after a crash
        ((1, 1), "a", 4, 3),  # an earlier event
        ((1, 1), "a", 6, 3),
        ((1, 1), "a", 6, 0),  # content unknown
        ((1, 1), "a", 6, 9),  # other content
        ((1, 1), "b", 1, 3),  # another stream: the index has it, so it was first
        ((1, 2), "a", 6, 3),
    ]
    verdicts = index.judge(*arrays(index, asked))
    assert verdicts.duplicate.tolist() == [False, False, True, True, False, True, False]
    assert verdicts.conflicting.tolist() == [False, False, False, False, True, False, False]


@pytest.mark.parametrize("merged", [False, True])
def test_a_key_added_twice_keeps_its_earliest_position_once(tmp_path: Path, merged: bool) -> None:
    index = open_index(tmp_path, {})
    # The larger first run is left alone by a smaller second one, and swallowed by an equal one.
    others = numbered(1_000, 2 if merged else 50)
    first: list[Entry] = [((1, 1), "a", 900, 1), ((1, 2), "b", 5, 1), ((1, 3), "a", 7, 1), *others]
    again: list[Entry] = [((1, 1), "a", 3, 2), ((1, 2), "a", 4, 2), ((1, 3), "a", 7, 1)]
    append(index, first, {"a": 2_000, "b": 5})
    append(index, again, {"a": 2_000})
    assert index.run_count == (1 if merged else 2)
    assert known(index, [(1, 1), (1, 2), (1, 3)]) == [("a", 3, 2), ("b", 5, 1), ("a", 7, 1)]
    if merged:
        assert len(index) == len(first)


def test_a_merge_takes_little_memory_however_large_its_runs_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dedup_runs, "MERGED_ROWS", 10_000)
    index, rows = open_index(tmp_path, {}, max_bytes=1 << 30), 200_000
    for first in (1, rows + 1):
        sequence = np.arange(first, first + rows, dtype=np.uint64)
        hi, stream = sequence * np.uint64(0x9E3779B97F4A7C15), np.full(rows, index.stream_number("a"), np.uint16)
        digest, proven = np.ones(rows, np.uint32), {"a": first + rows}
        tracemalloc.start()
        index.append_run(hi, sequence, stream=stream, sequence=sequence, digest=digest, watermarks=proven, now=START)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (len(index), index.run_count) == (2 * rows, 1)
    # The new run in order, and four bytes for each entry of both; at once it would be 24 for each.
    assert peak < 30 * rows + 4 * 2 * rows + 2_000_000


def test_a_key_beyond_its_proven_watermark_is_a_bug(tmp_path: Path) -> None:
    index = open_index(tmp_path, {})
    with pytest.raises(ValueError, match="beyond its proven watermark"):
        append(index, [((1, 1), "a", 5, 3)], {"a": 4})
    with pytest.raises(ValueError, match="beyond its proven watermark"):
        append(index, [((1, 1), "a", 5, 3)], {})
    assert known(index, [(1, 1)]) == [None]
    assert index.covered() == {}


def test_many_flushes_leave_few_runs_and_are_rewritten_seldom(tmp_path: Path) -> None:
    written = 0

    class Counting(Files):
        def write(self, descriptor: int, parts: Sequence[bytes | bytearray | memoryview]) -> None:
            nonlocal written
            written += sum(len(part) for part in parts)
            super().write(descriptor, parts)

        def sync(self, descriptor: int) -> None:
            """The subject is the number of bytes; fsyncs are another test's."""

        sync_file = sync  # type: ignore[assignment]

        def sync_directory(self, path: Path) -> None: ...

    index = open_index(tmp_path, {"a": 0}, files=Counting())
    most = 0
    flushes, each = 1_500, 20
    for flush in range(flushes):
        first = flush * each + 1
        append(index, numbered(first, each), {"a": first + each - 1}, START + flush * 600)  # ten days
        most = max(most, index.run_count)
    assert most <= 14
    assert len(list(tmp_path.glob("run-*.keys"))) == index.run_count
    manifests = flushes * 6_000  # a bound on what the manifests take
    assert (written - manifests) / (flushes * each * ENTRY_BYTES) < 12


def test_what_is_older_than_the_window_goes_and_nothing_younger(tmp_path: Path) -> None:
    index = open_index(tmp_path, {"a": 0})
    hours = 24 * 10
    for hour in range(hours):
        append(index, numbered(hour + 1, 1), {"a": hour + 1}, START + hour * 3600)
    now = START + (hours - 1) * 3600
    found = known(index, [key for key, *_ in numbered(1, hours)])
    within = [START + hour * 3600 >= now - 7 * DAY for hour in range(hours)]
    assert all(entry is not None for entry, young in zip(found, within, strict=True) if young)
    beyond = [START + hour * 3600 < now - 7 * DAY * (1 + 1 / dedup.PARTS) - 3600 for hour in range(hours)]
    assert sum(beyond) > 24
    assert not any(entry for entry, old in zip(found, beyond, strict=True) if old)
    assert index.window(now) == (7 * DAY, False)
    assert not index.reports


def test_the_byte_bound_takes_the_oldest_first_and_says_so(tmp_path: Path) -> None:
    bound = 1_000 * ENTRY_BYTES
    index = open_index(tmp_path, {"a": 0}, max_bytes=bound)
    for flush in range(40):
        first = flush * 50 + 1
        append(index, numbered(first, 50), {"a": first + 49}, START + flush * 60)
    now = START + 39 * 60
    assert index.size_bytes <= bound
    assert len(index) >= 1_000 * (1 - 2 / dedup.PARTS)
    found = [entry is not None for entry in known(index, [key for key, *_ in numbered(1, 2_000)])]
    assert found == sorted(found), "what is left is the youngest"
    window = index.window(now)
    assert window.bounded_by_bytes
    assert 600 < window.seconds < 1_200  # about 1,000 events at 50 a minute
    assert any("dedup_max_bytes" in report for report in index.reports)
    index.close()
    again = open_index(tmp_path, {"a": 2_000}, max_bytes=bound, now=now)
    assert again.window(now) == window


def test_a_clock_set_back_loses_nothing(tmp_path: Path) -> None:
    index = open_index(tmp_path, {"a": 0})
    append(index, numbered(1, 3), {"a": 3}, START + 5 * DAY)
    append(index, numbered(4, 3), {"a": 6}, START)
    assert all(known(index, [key for key, *_ in numbered(1, 6)]))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "manifest"])
def test_damage_is_reported_set_aside_and_lowers_the_coverage(tmp_path: Path, damage: str) -> None:
    index = open_index(tmp_path, {"a": 0})
    append(index, numbered(1, 100), {"a": 100})
    append(index, numbered(101, 10), {"a": 110})  # too small to swallow the first
    assert index.run_count == 2
    index.close()
    path = sorted(tmp_path.glob("run-*.keys"))[1]
    content = path.read_bytes()
    match damage:
        case "truncated":
            path.write_bytes(content[:-1])
        case "flipped":
            path.write_bytes(content[:17] + bytes([content[17] ^ 1]) + content[18:])
        case "missing":
            path.unlink()
        case "manifest":
            (tmp_path / "manifest.json").write_bytes(b"")
    again = open_index(tmp_path, {"a": 110})
    assert len(again.reports) == 1
    assert again.covered() == ({} if damage == "manifest" else {"a": 100})
    assert len(again) == (0 if damage == "manifest" else 100)
    if damage in ("truncated", "flipped"):
        assert path.with_suffix(".damaged").exists()
    append(again, [e for e in numbered(1, 110) if e[2] > again.covered().get("a", 0)], {"a": 110})
    again.close()
    healed = open_index(tmp_path, {"a": 110})
    assert healed.reports == []
    assert healed.covered() == {"a": 110}
    assert all(known(healed, [key for key, *_ in numbered(1, 110)]))


def test_entries_of_a_table_that_does_not_prove_them_are_dropped(tmp_path: Path) -> None:
    index = open_index(tmp_path, {})
    append(index, numbered(1, 10) + numbered(101, 5, stream="b"), {"a": 10, "b": 105})
    index.close()
    again = open_index(tmp_path, {"a": 7})  # restored, and stream b was never in it
    assert [entry is not None for entry in known(again, [key for key, *_ in numbered(1, 10)])] == [True] * 7 + [
        False
    ] * 3
    assert not any(known(again, [key for key, *_ in numbered(101, 5)]))
    assert again.covered() == {"a": 7}
    assert len(again.reports) == 1
    again.close()
    assert open_index(tmp_path, {"a": 7}).reports == []


def test_a_full_disk_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    class Full(Files):
        full = False

        def write(self, descriptor: int, parts: Sequence[bytes | bytearray | memoryview]) -> None:
            if self.full:
                raise OSError(28, "No space left on device")
            super().write(descriptor, parts)

    files = Full()
    index = open_index(tmp_path, {"a": 0}, files=files)
    append(index, numbered(1, 5), {"a": 5})
    files.full = True
    with pytest.raises(OSError, match="No space"):
        append(index, numbered(6, 5), {"a": 10})
    assert index.covered() == {"a": 5}, "coverage ahead of the keys would hide them"
    assert len([*tmp_path.glob("run-*.keys")]) == 1, "what was begun takes no space from the next"
    files.full = False
    append(index, numbered(11, 5), {"a": 15})
    index.close()
    again = open_index(tmp_path, {"a": 15})
    assert all(known(again, [key for key, *_ in numbered(1, 5) + numbered(11, 5)]))


def test_bytes_and_entries_are_durable_before_the_manifest_names_them(tmp_path: Path) -> None:
    effects: list[str] = []

    class Recording(Files):
        def create(self, path: Path) -> int:
            effects.append(f"create {path.name}")
            return super().create(path)

        def sync(self, descriptor: int) -> None:
            effects.append("sync")
            super().sync(descriptor)

        def sync_directory(self, path: Path) -> None:
            effects.append("sync directory")
            super().sync_directory(path)

        def rename(self, old: Path, new: Path) -> None:
            effects.append(f"rename to {new.name}")
            super().rename(old, new)

        def remove(self, path: Path) -> None:
            if path.exists():
                effects.append(f"remove {path.name}")
            super().remove(path)

    index = open_index(tmp_path, {"a": 0}, files=Recording())
    append(index, numbered(1, 5), {"a": 5})
    effects.clear()
    append(index, numbered(6, 5), {"a": 10})
    assert effects == [
        "create run-00000002.keys",
        "sync",
        "create manifest.json.new",
        "sync",
        "sync directory",
        "rename to manifest.json",
        "sync directory",
        "remove run-00000001.keys",
    ]


def test_files_that_a_crash_left_are_removed(tmp_path: Path) -> None:
    index = open_index(tmp_path, {"a": 0})
    append(index, numbered(1, 5), {"a": 5})
    index.close()
    (tmp_path / "run-00000099.keys").write_bytes(b"x" * 60)
    (tmp_path / "manifest.json.new").write_bytes(b"x")
    index = open_index(tmp_path, {"a": 5})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "run-00000001.keys"]
    append(index, numbered(6, 5), {"a": 10})
    assert len(index) == 10


CHILD = """
import sys
from pathlib import Path
import numpy as np
from polku_collector.lake.dedup import DedupIndex

directory, proven = Path(sys.argv[1]), int(sys.argv[2])
index = DedupIndex.open(directory, window_seconds=7 * 86400, max_bytes=1 << 24, proven={"a": proven}, now=1.7e9)
stream = index.stream_number("a")
print("open", flush=True)
for first in range(proven + 1, 10**9, 25):
    sequence = np.arange(first, first + 25, dtype=np.uint64)
    index.append_run(
        sequence * np.uint64(0x9E3779B97F4A7C15), sequence, stream=np.full(25, stream, np.uint16), sequence=sequence,
        digest=np.ones(25, np.uint32), watermarks={"a": first + 24}, now=1.7e9,
    )
    print(first + 24, flush=True)
"""


def test_kill_9_while_appending_loses_no_acknowledged_key(tmp_path: Path) -> None:
    proven = 0
    for attempt in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(proven)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        time.sleep(random.Random(attempt).uniform(0.02, 0.25))
        os.kill(child.pid, signal.SIGKILL)
        acknowledged = [int(line) for line in child.stdout.read().split("\n")[:-1]]
        child.stdout.close()
        child.wait()
        last = max(acknowledged, default=proven)
        # One more append may have been durable when the kill came; the table, asked later, proves it too.
        index = open_index(tmp_path, {"a": last + 25})
        assert index.reports == []
        covered = index.covered().get("a", 0)
        assert covered in (last, last + 25)
        found = known(index, [key for key, *_ in numbered(1, covered + 25)])
        assert found == [("a", n, 1) for n in range(1, covered + 1)] + [None] * 25
        index.close()
        proven = covered
    assert proven > 0
