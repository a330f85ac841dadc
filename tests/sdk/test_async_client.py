"""`AsyncClient`: the same behaviour as `Client`, on the event loop and without a thread."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import polku


def client(url: str, **options: Any) -> polku.AsyncClient:
    return polku.AsyncClient("k", url, **{"batch_age_seconds": 0.02, "retry_base_seconds": 0.02, **options})


async def until(condition: Callable[[], bool]) -> None:
    """Give the loop time until it is so."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError


def test_calls_return_at_once_and_the_loop_delivers_without_a_thread(collector: Any) -> None:
    async def program() -> None:
        before = threading.enumerate()
        async with client(collector.url, batch_events=100) as sender:
            for n in range(1000):
                assert sender.track("x", {"n": n}, user_id="u") is not None
            sender.identify("u", {"plan": "free"})
            assert await sender.flush()
            assert sender.stats().delivered == 1001
            # asyncio's own helper made the connection; no other thread is there.
            others = {one.name for one in threading.enumerate() if one not in before}
            assert not [name for name in others if "asyncio" not in name and "process_request" not in name], others

    asyncio.run(program())
    assert [item["properties"]["n"] for item in collector.taken if item["type"] == "track"] == list(range(1000))


def test_a_batch_goes_when_its_time_has_come(collector: Any) -> None:
    async def program() -> None:
        sender = client(collector.url)
        sender.track("x", user_id="u")
        await until(lambda: len(collector.taken) == 1)
        sender.track("y", user_id="u")
        await until(lambda: len(collector.taken) == 2)
        assert await sender.close()

    asyncio.run(program())


def test_failures_are_tried_again_while_the_loop_goes_on(collector: Any, reply: Any) -> None:
    collector.script = [reply(503), reply(429, headers={"Retry-After": "0"}), reply(drop=True)]

    async def program() -> int:
        async with client(collector.url) as sender:
            for n in range(50):
                sender.track("x", {"n": n}, user_id="u")
            turns = 0

            async def breathe() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0.001)

            breath = asyncio.create_task(breathe())
            assert await sender.flush(20)
            breath.cancel()
            assert sender.stats().retries == 3
            return turns

    assert asyncio.run(program()) > 10
    assert Counter(item["properties"]["n"] for item in collector.taken) == dict.fromkeys(range(50), 1)


def test_flush_and_close_keep_to_their_time(collector: Any, reply: Any) -> None:
    collector.answer = lambda body: reply(503)

    async def program() -> polku.Stats:
        sender = client(collector.url)
        for _ in range(5):
            sender.track("x", user_id="u")
        assert not await sender.flush(0.1)
        assert not await sender.close(0.2)
        assert sender.track("late", user_id="u") is None
        assert not await sender.close()
        return sender.stats()

    stats = asyncio.run(program())
    assert stats.lost == {"close_timeout": 5, "closed": 1}


def test_with_a_spool_what_is_left_is_there_for_the_next(tmp_path: Path, collector: Any, reply: Any) -> None:
    collector.answer = lambda body: reply(503)

    async def fails() -> None:
        sender = client(collector.url, spool=str(tmp_path))
        for n in range(30):
            sender.track("x", {"n": n}, user_id="u")
        assert not await sender.close(0.1)
        assert (sender.stats().spooled, sender.stats().lost) == (30, {})

    async def works() -> None:
        async with client(collector.url, spool=str(tmp_path)) as sender:
            await until(lambda: sender.stats().recovered == 30)

    asyncio.run(fails())
    collector.answer = lambda body: reply()
    asyncio.run(works())
    assert [item["properties"]["n"] for item in collector.taken] == list(range(30))
    assert list(tmp_path.iterdir()) == []


def test_other_threads_may_track(collector: Any) -> None:
    async def program() -> None:
        async with client(collector.url) as sender:

            def some(first: int) -> None:
                for n in range(first, first + 100):
                    sender.track("x", {"n": n}, user_id="u")

            await asyncio.gather(*(asyncio.to_thread(some, 100 * k) for k in range(5)))
            assert await sender.flush()

    asyncio.run(program())
    assert Counter(item["properties"]["n"] for item in collector.taken) == dict.fromkeys(range(500), 1)


def test_made_outside_a_loop_it_delivers_inside_one(collector: Any) -> None:
    sender = client(collector.url)
    sender.track("before", user_id="u")

    async def program() -> None:
        sender.track("inside", user_id="u")
        assert await sender.close()

    asyncio.run(program())
    assert [item["event"] for item in collector.taken] == ["before", "inside"]


def test_another_loop_goes_on_where_the_first_has_ended(collector: Any) -> None:
    sender = client(collector.url)

    async def program(name: str) -> None:
        sender.track(name, user_id="u")
        assert await sender.flush()

    asyncio.run(program("first"))
    asyncio.run(program("second"))
    asyncio.run(sender.close())
    assert [item["event"] for item in collector.taken] == ["first", "second"]


def test_a_cancelled_wait_does_not_stop_the_delivery(collector: Any, reply: Any) -> None:
    collector.script = [reply(delay_seconds=0.3)]

    async def program() -> None:
        async with client(collector.url) as sender:
            sender.track("x", user_id="u")
            waiting = asyncio.create_task(sender.flush())
            await asyncio.sleep(0.05)
            waiting.cancel()
            assert await sender.flush()

    asyncio.run(program())
    assert len(collector.taken) == 1


def test_gates_and_losses_are_the_same() -> None:
    async def program() -> polku.Stats:
        sender = client("http://127.0.0.1:9", consent="analytics", max_event_bytes=200)
        sender.track("x", user_id="u")
        sender.consent(["analytics"])
        sender.track("x", {"text": "y" * 1000}, user_id="u")
        await sender.close(0.1)
        return sender.stats()

    stats = asyncio.run(program())
    assert (stats.withheld, stats.lost) == ({"consent": 1}, {"too_large": 1})


def test_blocking_the_loop_is_refused() -> None:
    with pytest.raises(polku.SettingsError, match="event loop"):
        polku.AsyncClient("k", "http://c", full_queue="block")


# ---------------------------------------------------------------------------------------------------------------------
# Ends and forks of real processes
# ---------------------------------------------------------------------------------------------------------------------

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PROGRAM = """
import asyncio, os, sys, time, polku
client = polku.AsyncClient("k", os.environ["URL"], **{options})
def track(name, count=10):
    for n in range(count):
        client.track(name, user_id="u")
"""


def run(program: str, url: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a program with a `client` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM.format(options=options) + program],
        env={**os.environ, "URL": url},
        capture_output=True,
        text=True,
        timeout=30,
    )


def names(collector: Any) -> Counter[str]:
    """How often each came, copies of the same id included."""
    return Counter(item["event"] for item in collector.taken)


FORK = """
track("before")
{fork}
    track("child")
    {ending}
assert os.waitpid(child, 0)[1] == 0
track("parent")
asyncio.run(client.close())
assert client.stats().delivered == 20, client.stats()
"""
DELIVERS = "asyncio.run(client.flush()); assert client.stats().delivered == 10, client.stats(); os._exit(0)"


@needs_fork
@pytest.mark.parametrize("ending", [DELIVERS, "sys.exit(0)"], ids=["in a loop of its own", "at its exit"])
def test_a_fork_sends_each_event_once(ending: str, collector: Any) -> None:
    program = FORK.format(fork="child = os.fork()\nif child == 0:", ending=ending)
    done = run(program, collector.url, batch_age_seconds=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert names(collector) == {"before": 10, "child": 10, "parent": 10}


@needs_fork
def test_a_fork_that_python_is_not_told_of_is_noticed(collector: Any) -> None:
    fork = "import ctypes\nchild = ctypes.PyDLL(None).fork()\nif child == 0:"
    done = run(FORK.format(fork=fork, ending=DELIVERS), collector.url, batch_age_seconds=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert names(collector) == {"before": 10, "child": 10, "parent": 10}


@needs_fork
def test_a_fork_in_a_running_loop_leaves_the_loop_to_the_parent(collector: Any) -> None:
    program = """
async def main():
    track("first")
    assert await client.flush()  # the connection is there, and the task rests
    track("before")
    child = os.fork()
    if child == 0:
        track("child")
        asyncio.run(client.flush())
        assert client.stats().delivered == 10, client.stats()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    track("parent")
    assert await client.close()
    assert client.stats().delivered == 30, client.stats()
asyncio.run(main())
"""
    done = run(program, collector.url, batch_age_seconds=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert names(collector) == {"first": 10, "before": 10, "child": 10, "parent": 10}


@needs_fork
def test_a_multiprocessing_child_of_a_running_loop_delivers_at_its_end(collector: Any) -> None:
    """Such a child leaves by `os._exit`, and may have no loop at all."""
    program = """
import multiprocessing
async def main():
    track("parent")
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=track, args=("child",)) for _ in range(2)]
    for child in children: child.start()
    for child in children: await asyncio.to_thread(child.join)
    assert await client.close()
asyncio.run(main())
"""
    done = run(program, collector.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert names(collector) == {"parent": 10, "child": 20}


@needs_fork
def test_with_a_spool_a_child_that_outlives_its_parent_loses_nothing(tmp_path: Path, collector: Any) -> None:
    """The parent has closed, and with that removed its file, when the child tracks. The child ends by `os._exit`."""
    program = """
track("parent")
reading, writing = os.pipe()
if os.fork() == 0:
    os.close(writing)
    os.read(reading, 1)  # until the parent has closed
    track("child")
    os._exit(0)
asyncio.run(client.close())
os.close(writing)
os.wait()
"""
    done = run(program, collector.url, spool=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert names(collector) == {"parent": 10}
    done = run("asyncio.run(client.close())\nprint(client.stats().recovered)", collector.url, spool=str(tmp_path))
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "10\n")
    assert names(collector) == {"parent": 10, "child": 10}
    assert list(tmp_path.iterdir()) == []


@needs_fork
def test_with_a_spool_a_fork_sends_each_event_once(tmp_path: Path, collector: Any) -> None:
    program = FORK.format(fork="child = os.fork()\nif child == 0:", ending="asyncio.run(client.close()); os._exit(0)")
    done = run(program, collector.url, spool=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert names(collector) == {"before": 10, "child": 10, "parent": 10}
    assert list(tmp_path.iterdir()) == []


@needs_fork
def test_a_client_that_is_not_ready_after_a_fork_stops_no_other(collector: Any) -> None:
    program = """
clients = [polku.AsyncClient("k", os.environ["URL"], batch_age_seconds=60) for _ in range(8)]
for one in clients: one.track("parent", user_id="u")
client._worker.forget_parent = lambda: 1 / 0
child = os.fork()
if child == 0:
    assert [one.stats().queued for one in clients] == [0] * 8
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    done = run(program, collector.url)
    assert (done.returncode, done.stderr) == (
        0,
        "a client is not ready after a fork: ZeroDivisionError: division by zero\n",
    )
    assert names(collector) == {"parent": 8}


WITHOUT_CLOSE = {
    "before it is sent": "asyncio.run(main())",
    "no loop at all": "track('x', 1000)",
    "while it is sent": """
async def longer():
    client.identify("u")
    await client.flush()
    await main()
    while client.stats().requests < 2: await asyncio.sleep(0.005)
    await asyncio.sleep(0.1)  # it is on its way, and the answer is late
asyncio.run(longer())
""",
    "by an exception": """
async def fails():
    await main()
    raise SystemExit(0)
asyncio.run(fails())
""",
    "with no thread to be had": """
asyncio.run(main())
import threading
def refuse(self): raise RuntimeError("can't start new thread")
threading.Thread.start = refuse
""",
    "in a loop that is left open": "loop = asyncio.new_event_loop()\nloop.run_until_complete(main())",
    "in a thread that goes on": """
import threading
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
asyncio.run_coroutine_threadsafe(main(), loop).result()
""",
}


@pytest.mark.parametrize("ending", WITHOUT_CLOSE)
def test_an_exit_without_close_delivers_what_is_queued(ending: str, collector: Any, reply: Any) -> None:
    if ending == "while it is sent":
        collector.script = [reply(), reply(503, delay_seconds=5)]
    program = "async def main(): track('x', 1000)\n" + WITHOUT_CLOSE[ending]
    # By name: asyncio looks it up in a thread, which is not to be had at an exit.
    done = run(program, collector.url.replace("127.0.0.1", "localhost"), batch_age_seconds=0.05)
    assert done.returncode == 0
    assert "lost" not in done.stderr
    if ending != "in a loop that is left open":  # of which asyncio itself speaks
        assert done.stderr == ""
    tracked = [item["messageId"] for item in collector.taken if item["type"] == "track"]
    assert (len(tracked), len(set(tracked))) == (1000, 1000)


def test_an_exit_without_close_tells_what_it_could_not_deliver() -> None:
    program = "async def main(): track('x', 5)\nasyncio.run(main())\nprint(time.time())"
    done = run(program, "http://127.0.0.1:9", close_timeout_seconds=0.5)
    assert time.time() - float(done.stdout) < 5
    assert done.returncode == 0
    assert done.stderr.count("lost") == 1
    assert "5 events were lost (close_timeout)" in done.stderr


def test_an_exit_without_close_waits_no_longer_than_its_bound() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        program = "async def main(): track('x', 5)\nasyncio.run(main())\nprint(time.time())"
        done = run(program, f"http://127.0.0.1:{silent.getsockname()[1]}", close_timeout_seconds=0.5)
        assert time.time() - float(done.stdout) < 5
    assert done.returncode == 0
    assert "5 events were lost (close_timeout)" in done.stderr


def test_an_exit_without_close_leaves_what_is_spooled_to_the_next_start(tmp_path: Path, collector: Any) -> None:
    program = "async def main(): track('x', 5)\nasyncio.run(main())"
    done = run(program, "http://127.0.0.1:9", close_timeout_seconds=0.2, spool=str(tmp_path))
    assert done.returncode == 0
    assert "lost" not in done.stderr
    done = run("asyncio.run(client.close())", collector.url, spool=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert names(collector) == {"x": 5}
    assert list(tmp_path.iterdir()) == []


def test_a_transport_of_the_programs_own_delivers_at_an_exit_too() -> None:
    program = """
from polku.task import AsyncTransport
class Printing(AsyncTransport):
    async def send(self, body, headers, timeout_seconds):
        await asyncio.sleep(0)
        print(body.decode().count("messageId"))
        return polku.Answer(200, b'{"success":true}')
client = polku.AsyncClient("k", os.environ["URL"], transport=Printing(""), compression=None)
async def main(): track("x")
asyncio.run(main())
"""
    done = run(program, "http://127.0.0.1:9")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "10\n")


def test_a_client_that_is_dropped_delivers_and_is_forgotten(collector: Any) -> None:
    from polku.worker import _open_workers

    async def program() -> None:
        sender = client(collector.url, batch_age_seconds=60)
        worker = sender._worker
        sender.track("x", user_id="u")
        del sender
        await until(lambda: worker not in _open_workers)

    asyncio.run(program())
    assert names(collector) == {"x": 1}
