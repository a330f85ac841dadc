"""Events on disk: nothing tracked is gone, whatever becomes of the process, and nothing is sent twice without need."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import polku
from polku import spool as module
from polku.spool import Spool

EVENTS = st.lists(st.binary(max_size=60).map(lambda raw: raw.replace(b"\n", b"")), max_size=30)


@pytest.fixture
def nobody() -> Any:
    """An address at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def client(url: str, folder: Path, **options: Any) -> polku.Client:
    defaults: dict[str, Any] = {"batch_age_seconds": 0.01, "retry_base_seconds": 0.02, "close_timeout_seconds": 0.3}
    defaults["retry_cap_seconds"] = 0.05
    return polku.Client("k", url, spool=str(folder), **{**defaults, **options})


def end(sender: polku.Client, seconds: float | None = None) -> bool:
    """Close, and let its thread end too, as the end of a process would: until then it holds its files."""
    closed = sender.close(seconds)
    thread = sender._worker._thread
    if thread is not None:
        thread.join(20)
    return closed


def everything(spool: Spool) -> list[bytes]:
    found: list[bytes] = []
    while (taken := spool.take(7, 50)) is not None:
        found += taken.events
        spool.settle(taken)
    return found


def files(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir())


@given(EVENTS, EVENTS)
def test_what_is_appended_is_read_in_order_also_by_the_next_process(
    tmp_path_factory: pytest.TempPathFactory, first: list[bytes], second: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(str(folder), 1 << 20)
    assert all(spool.append(raw) for raw in first)
    assert everything(spool) == first
    assert all(spool.append(raw) for raw in second)
    spool.close()
    following = Spool(str(folder), 1 << 20)
    assert everything(following) == second
    following.close()
    assert files(folder) == []


def spooled(folder: Path, events: list[bytes]) -> Path:
    """The one file of a spool that events were put into."""
    spool = Spool(str(folder), 1 << 20)
    assert all(spool.append(raw) for raw in events)
    spool.close()
    [path] = folder.glob("*.spool")
    return path


@given(EVENTS.filter(bool), st.data())
def test_a_cut_anywhere_costs_what_was_cut_and_nothing_before_it(
    tmp_path_factory: pytest.TempPathFactory, events: list[bytes], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    path = spooled(folder, events)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    ends = list(itertools.accumulate(len(raw) + 10 for raw in events))
    following = Spool(str(folder), 1 << 20)
    assert everything(following) == events[: sum(end <= cut for end in ends)]
    following.close()
    assert files(folder) == []


@given(EVENTS.filter(bool), st.data())
def test_damage_is_told_and_costs_the_damaged_lines_only(
    tmp_path_factory: pytest.TempPathFactory, events: list[bytes], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    path = spooled(folder, events)
    whole = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(whole) - 1))
    was = whole[place]
    whole[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != was))
    path.write_bytes(whole)
    following = Spool(str(folder), 1 << 20)
    found, damaged = [], 0
    while (taken := following.take(1000, 1 << 20)) is not None:
        found += taken.events
        damaged += taken.damaged
    left = Counter(events)
    left.subtract(found)
    assert not -left, "an event that was never tracked"
    missing = sum(left.values())
    # The last line may have lost its end: it is then as one whose call had not returned.
    assert 1 <= missing <= 2
    assert damaged >= 1 or events[-1] in +left
    following.close()


def test_acknowledged_events_are_not_read_again_and_their_segments_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 100)
    spool = Spool(str(tmp_path), 1 << 20)
    for n in range(50):
        assert spool.append(b"%d" % n)
    taken = spool.take(20, 1 << 20)
    found = []
    while taken is not None and len(found) < 33:
        found += taken.events
        spool.settle(taken)
        taken = spool.take(20, 1 << 20)
    assert taken is not None
    spool.give_back(taken)
    segments = len(list(tmp_path.glob("*.spool")))
    assert segments < 5
    spool.close()
    rest = everything(Spool(str(tmp_path), 1 << 20))
    assert found + rest == [b"%d" % n for n in range(50)]


def test_an_untrustworthy_acknowledgement_means_all_is_sent_again(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), 1 << 20)
    for n in range(4):
        spool.append(b"%d" % n)
    taken = spool.take(2, 1 << 20)
    assert taken is not None
    spool.settle(taken)
    spool.close()
    [ack] = tmp_path.glob("*.ack")
    for torn in (b"", b"000", ack.read_bytes().replace(b"2", b"9", 1), b"x" * 30):
        ack.write_bytes(torn)
        following = Spool(str(tmp_path), 1 << 20)
        again = following.take(100, 1 << 20)
        assert again is not None
        assert again.events == [b"0", b"1", b"2", b"3"]
        following.give_back(again)
        following.close()


def test_what_a_living_process_holds_is_not_taken(tmp_path: Path) -> None:
    living, other = Spool(str(tmp_path), 1 << 20), Spool(str(tmp_path), 1 << 20)
    living.append(b"mine")
    assert other.take(10, 100) is None
    assert everything(living) == [b"mine"]


def test_the_bound_holds_for_all_processes_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEASURE_EVERY_SECONDS", 0.0)
    one, other = Spool(str(tmp_path), 1000), Spool(str(tmp_path), 1000)
    taken = 0
    while one.append(b"x" * 90):
        taken += 1
        if not other.append(b"y" * 90):
            break
        taken += 1
    assert taken == 10
    assert "1000 bytes" in one.why + other.why


def test_a_full_disk_leaves_no_half_line_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(str(tmp_path), 1 << 20)
    assert spool.append(b"before")
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:4]))
    assert not spool.append(b"lost")
    assert spool.why == "the disk is full"
    monkeypatch.setattr(os, "write", real)
    assert spool.append(b"after")
    assert everything(spool) == [b"before", b"after"]


def test_segments_may_begin_while_it_is_asked_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 1)
    spool = Spool(str(tmp_path), 1 << 20)
    busy = threading.Thread(target=lambda: [spool.append(b"x") for _ in range(2000)])
    before, _ = sys.getswitchinterval(), sys.setswitchinterval(1e-6)
    try:
        busy.start()
        while busy.is_alive():
            spool.unread()
    finally:
        sys.setswitchinterval(before)
        busy.join()
    assert len(everything(spool)) == 2000
    spool.close()


# With a client ------------------------------------------------------------------------------------------------


def test_the_next_client_delivers_what_the_last_one_could_not(tmp_path: Path, nobody: str, collector: Any) -> None:
    before = client(nobody, tmp_path)
    ids = [before.track("x", {"n": n}, user_id="u") for n in range(1000)]
    assert not end(before)
    stats = before.stats()
    assert (stats.spooled, stats.delivered, stats.lost, stats.queued) == (1000, 0, {}, 0)
    after = client(collector.url, tmp_path, batch_events=100)
    assert after.flush()
    deadline = time.monotonic() + 10
    while after.stats().recovered < 1000 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert after.close(20)
    assert [item["messageId"] for item in collector.taken] == ids
    stats = after.stats()
    assert (stats.recovered, stats.delivered, stats.spooled) == (1000, 0, 0)
    # The collector is told that these may have come before.
    assert {request.headers["x-polku-attempt"] for request in collector.received} == {"2"}
    assert files(tmp_path) == []


@pytest.mark.parametrize("full_queue", ["drop_newest", "spill"])
def test_an_outage_under_load_costs_nothing(tmp_path: Path, collector: Any, reply: Any, full_queue: str) -> None:
    """More than memory may hold, and longer than a batch is tried without a spool."""
    collector.script = [reply(503)] * 30
    sender = client(
        collector.url, tmp_path, full_queue=full_queue, queue_events=50, batch_events=20, give_up_after_seconds=0.05
    )
    for n in range(2000):
        assert sender.track("x", {"n": n}, user_id="u") is not None
    assert sender.flush(30)
    assert sender.close(20)
    assert sorted(item["properties"]["n"] for item in collector.taken) == list(range(2000))
    stats = sender.stats()
    assert (stats.delivered, stats.lost, stats.spooled) == (2000, {}, 0)


def test_with_spill_the_disk_is_not_touched_while_there_is_room(tmp_path: Path, collector: Any) -> None:
    sender = client(collector.url, tmp_path, full_queue="spill")
    for _ in range(100):
        sender.track("x", user_id="u")
    assert files(tmp_path) == []
    assert sender.close(20)
    assert files(tmp_path) == []
    assert sender.stats().delivered == 100


def test_with_spill_what_is_left_at_the_end_goes_to_disk(tmp_path: Path, nobody: str, collector: Any) -> None:
    before = client(nobody, tmp_path, full_queue="spill")
    for n in range(700):
        before.track("x", {"n": n}, user_id="u")
    assert not end(before)
    assert (before.stats().spooled, before.stats().lost) == (700, {})
    after = client(collector.url, tmp_path, full_queue="spill")
    deadline = time.monotonic() + 10
    while after.stats().recovered < 700 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert after.close(20)
    assert sorted(item["properties"]["n"] for item in collector.taken) == list(range(700))


def test_a_full_spool_falls_back_on_memory_and_then_on_what_was_asked_for(tmp_path: Path, nobody: str) -> None:
    sender = client(nobody, tmp_path, spool_bytes=2000, queue_events=5, close_timeout_seconds=0.1)
    given = [sender.track("x", {"n": n}, user_id="u") for n in range(100)]
    sender.close()
    stats = sender.stats()
    kept = sum(one is not None for one in given)
    # What was in memory at the end finds no room on disk either.
    assert stats.lost == {"queue_full": 100 - kept, "close_timeout": 5}
    assert stats.spooled == kept - 5 > 5


def test_a_directory_that_cannot_be_used_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(polku.SettingsError, match="option 'spool'"):
        client("http://c", file)
    with pytest.raises(polku.SettingsError, match="needs a directory"):
        polku.Client("k", "http://c", full_queue="spill")


def test_a_damaged_line_is_counted_and_told(
    tmp_path: Path, nobody: str, collector: Any, caplog: pytest.LogCaptureFixture
) -> None:
    before = client(nobody, tmp_path)
    for n in range(3):
        before.track("x", {"n": n}, user_id="u")
    end(before, 0.05)
    [path] = tmp_path.glob("*.spool")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1].replace(b'"n":1', b'"n":7') + lines[2])
    after = client(collector.url, tmp_path)
    deadline = time.monotonic() + 10
    while after.stats().recovered < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    after.close()
    assert [item["properties"]["n"] for item in collector.taken] == [0, 2]
    assert after.stats().lost == {"spool_damaged": 1}
    assert "spool_damaged" in caplog.text
    told = [json.loads(request.body).get("lost") for request in collector.received]
    assert [[one["reason"], one["count"]] for lost in told if lost for one in lost] == [["spool_damaged", 1]]


# Whole processes ----------------------------------------------------------------------------------------------

PROGRAM = """
import os, sys, time, polku
client = polku.Client("k", os.environ["URL"], spool=os.environ["SPOOL"], batch_age_seconds=0.01, batch_events=10,
    retry_base_seconds=0.02, close_timeout_seconds=20, full_queue=os.environ.get("FULL", "drop_newest"))
def track(first, count):
    for n in range(first, first + count):
        client.track("x", {"n": n}, user_id="u")
        print(f"{n}\\n", end="", flush=True)  # in one write: two processes share the pipe
"""


def start(body: str, url: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM + body],
        env={**os.environ, "URL": url, "SPOOL": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def collect(url: str, folder: Path, done: Callable[[], bool]) -> None:
    """A process that has nothing to track itself delivers what others left."""
    sender = client(url, folder)
    deadline = time.monotonic() + 20
    while not done() and time.monotonic() < deadline:
        time.sleep(0.01)
    sender.close()


def tracked(process: subprocess.Popen[str]) -> set[int]:
    """Of which the call had returned."""
    output, _ = process.communicate(timeout=30)
    return {int(line) for line in output.splitlines() if line}


@pytest.mark.parametrize("ending", ["SIGKILL", "SIGTERM", "os._exit(0)", "os.abort()"])
def test_any_end_of_a_process_leaves_every_tracked_event_delivered_or_on_disk(
    ending: str, tmp_path: Path, collector: Any, reply: Any
) -> None:
    count = 0

    def answer(body: bytes) -> Any:
        nonlocal count
        count += 1
        return reply(503) if count % 3 else reply()  # it is in the middle of retries, wherever it ends

    collector.answer = answer
    body = "track(0, 300)\n" + (ending if "(" in ending else "track(300, 10**9)")
    process = start(body, collector.url, tmp_path)
    if "(" not in ending:
        while len(collector.taken) < 50:
            time.sleep(0.005)
        process.send_signal(getattr(signal, ending))
    known = tracked(process)
    assert len(known) >= 50
    collector.answer = lambda body: reply()
    collect(collector.url, tmp_path, lambda: {item["properties"]["n"] for item in collector.taken} >= known)
    found = Counter(item["properties"]["n"] for item in collector.taken)
    assert not known - found.keys()
    # Sent twice at most: what was on its way when the process ended. The ids are the same.
    again = [item for item in collector.taken if found[item["properties"]["n"]] > 1]
    assert len(again) <= 20
    assert len({item["messageId"] for item in collector.taken}) == len(found)
    assert files(tmp_path) == []


def test_processes_share_a_directory_and_each_delivers_its_own(tmp_path: Path, collector: Any) -> None:
    processes = [start(f"track({n * 1000}, 200)", collector.url, tmp_path) for n in range(4)]
    known = set[int]().union(*(tracked(process) for process in processes))
    assert len(known) == 800
    assert Counter(item["properties"]["n"] for item in collector.taken) == dict.fromkeys(known, 1)
    assert files(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_a_fork_each_has_a_spool_of_its_own(tmp_path: Path, collector: Any) -> None:
    body = """
track(0, 20)
child = os.fork()
track(100 if child else 200, 20)
if child:
    os.waitpid(child, 0)
else:
    client.close()
    os._exit(0)
"""
    known = tracked(start(body, collector.url, tmp_path))
    assert len(known) == 60
    assert Counter(item["properties"]["n"] for item in collector.taken) == dict.fromkeys(known, 1)
    assert files(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_does_not_hold_what_its_dead_parent_left(tmp_path: Path, nobody: str, collector: Any) -> None:
    """A lock is shared by the copies of a descriptor: the child has to let go of it."""
    body = """
track(0, 20)
child = os.fork()
if child == 0:
    time.sleep(30)
print(child, flush=True)
os.kill(os.getpid(), 9)
"""
    process = start(body, nobody, tmp_path)
    process.wait(10)
    lines = [process.stdout.readline() for _ in range(21)]  # type: ignore[union-attr]  # it is a pipe
    try:
        collect(collector.url, tmp_path, lambda: len(collector.taken) == 20)
        assert len(collector.taken) == 20
    finally:
        os.kill(int(lines[-1]), signal.SIGKILL)
        process.communicate(timeout=10)


def test_lines_are_what_the_documentation_says(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), 1 << 20)
    spool.append(b'{"a":\n1}')
    [path] = tmp_path.glob("*.spool")
    assert path.read_bytes() == b"%08x " % zlib.crc32(b'{"a": 1}') + b'{"a": 1}\n'
    assert path.stat().st_mode & 0o777 == 0o600


def test_threads_and_the_worker_share_it(tmp_path: Path, collector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 2000)
    sender = client(collector.url, tmp_path, batch_events=30)

    def some(first: int) -> None:
        for n in range(first, first + 300):
            sender.track("x", {"n": n}, user_id="u")

    threads = [threading.Thread(target=some, args=(1000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sender.flush(20)
    assert sender.close(20)
    assert Counter(item["properties"]["n"] for item in collector.taken) == {
        1000 * k + n: 1 for k in range(4) for n in range(300)
    }
    assert files(tmp_path) == []
