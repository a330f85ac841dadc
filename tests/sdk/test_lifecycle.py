"""Ends and forks of real processes: what is queued is delivered, once, and nothing hangs."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import pytest

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def run(program: str, url: str, timeout_seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a program with a `client` in a process of its own."""
    head = "import os, sys, polku\nclient = polku.Client('write-key', os.environ['URL'], **OPTIONS)\n"
    options, _, body = program.partition("\n")
    code = f"OPTIONS = dict({options.strip()})\n" + head + body
    return subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        env={**os.environ, "URL": url},
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
    )


def names(collector: Any) -> Counter[str]:
    return Counter(item["event"] for item in collector.taken)


def test_an_exit_without_flush_delivers_what_is_queued(collector: Any) -> None:
    done = run("\nfor n in range(1000): client.track('x', {'n': n}, user_id='u')", collector.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert [item["properties"]["n"] for item in collector.taken] == list(range(1000))


@pytest.mark.parametrize(
    ("ending", "code"),
    [("", 0), ("sys.exit(3)", 3), ("raise RuntimeError('boom')", 1)],
)
def test_the_last_event_before_any_normal_end_is_delivered(ending: str, code: int, collector: Any) -> None:
    """The worker is still importing its HTTP library when the interpreter begins to shut down."""
    done = run(f"\nclient.track('last', user_id='u')\n{ending}", collector.url)
    assert done.returncode == code
    assert names(collector) == {"last": 1}
    assert "polku" not in done.stderr


def test_events_of_threads_and_exit_handlers_are_delivered(collector: Any) -> None:
    program = """
import atexit, threading, time
atexit.register(lambda: client.track('at_exit', user_id='u'))
def late():
    time.sleep(0.3)
    client.track('thread', user_id='u')
threading.Thread(target=late).start()
"""
    assert run(program, collector.url).stderr == ""
    assert names(collector) == {"thread": 1, "at_exit": 1}


def test_an_exit_handler_that_raises_stops_no_delivery(collector: Any) -> None:
    program = """
import atexit
def broken(): raise RuntimeError("boom")
atexit.register(broken)
client.track('x', user_id='u')
"""
    assert "boom" in run(program, collector.url).stderr
    assert names(collector) == {"x": 1}


def test_an_exit_waits_no_longer_than_its_bound_for_a_collector_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        done = run("close_timeout_seconds=0.5\nclient.track('x', user_id='u')\nprint(__import__('time').time())", url)
        ended = time.time()
    assert time.monotonic() - began < 10
    assert ended - float(done.stdout) < 10
    assert done.returncode == 0
    assert "1 event was lost (close_timeout)" in done.stderr


def test_an_exit_with_nobody_listening_is_bounded_and_says_what_was_lost() -> None:
    done = run("close_timeout_seconds=0.5\nfor _ in range(5): client.track('x', user_id='u')", "http://127.0.0.1:9")
    assert done.returncode == 0
    assert "5 events were lost (close_timeout)" in done.stderr


@needs_fork
def test_a_fork_sends_each_event_once(collector: Any) -> None:
    """The child leaves the parent's queue to the parent and delivers its own events, without a flush, at its exit."""
    program = """batch_age_seconds=60
for n in range(20): client.track('before', user_id='u')
child = os.fork()
name = 'parent' if child else 'child'
for n in range(10): client.track(name, user_id='u')
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert client.stats().queued == 30, client.stats()
else:
    assert client.stats().queued == 10, client.stats()
"""
    done = run(program, collector.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert names(collector) == {"before": 20, "parent": 10, "child": 10}
    ids = [item["messageId"] for item in collector.taken]
    assert len(set(ids)) == 40


@needs_fork
@pytest.mark.parametrize("mark", ["forks.mark", "forks._ProcessId()"])
@pytest.mark.parametrize("own", [False, True], ids=["made ids", "ids of its own"])
def test_a_fork_that_python_is_not_told_of_is_noticed(own: bool, mark: str, collector: Any) -> None:
    # Without a thread before it, as servers that fork in C load a program: Python does not survive it with one.
    program = f"""batch_age_seconds=60
import ctypes
from polku import forks
forks.mark = {mark}
wake, client._buffer._wake = client._buffer._wake, lambda: None
for n in range(20): client.track('before', user_id='u')
client._buffer._wake = wake
child = ctypes.PyDLL(None).fork()
name = 'parent' if child else 'child'
ids = [client.track(name, user_id='u', message_id=f'{{name:_>20}}-{{n}}' if {own} else None) for n in range(10)]
print(ids[0], flush=True)
assert client.flush(50)
assert client.stats().delivered == (30 if child else 10), client.stats()
if not child: os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    done = run(program, collector.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert names(collector) == {"before": 20, "parent": 10, "child": 10}
    tails = {line[14:] for line in done.stdout.split()}
    assert len(tails) == 2, "an id that only the time tells from another process's"


@needs_fork
def test_a_part_that_fails_after_a_fork_is_told_and_stops_no_other(collector: Any) -> None:
    program = """
from polku import forks
forks._functions.insert(0, lambda: 1 / 0)
client.track('parent', user_id='u')
if os.fork() == 0:
    client.track('child', user_id='u')
    assert client.flush(10)
    os._exit(0)
assert os.wait()[1] == 0
"""
    done = run(program, collector.url)
    assert done.returncode == 0
    assert "not ready after a fork: ZeroDivisionError" in done.stderr
    assert names(collector) == {"parent": 1, "child": 1}


@needs_fork
def test_forks_while_threads_track_and_send_neither_hang_nor_lose(collector: Any) -> None:
    """Locks are held by other threads at the moment of the fork, and the connection is in use."""
    program = """batch_events=20
import threading
def work():
    for n in range(2000): client.track('parent', user_id='u')
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
children = []
for _ in range(8):
    child = os.fork()
    if child == 0:
        for n in range(5): client.track('child', user_id='u')
        assert client.flush(10)
        os._exit(0)
    children.append(child)
for thread in threads: thread.join()
for child in children: assert os.waitpid(child, 0)[1] == 0
assert client.close(10)
"""
    done = run(program, collector.url, timeout_seconds=40)
    assert (done.returncode, done.stderr) == (0, "")
    assert names(collector) == {"parent": 6_000, "child": 40}
    assert len({item["messageId"] for item in collector.taken}) == 6_040


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_multiprocessing_child_delivers_at_its_end(method: str, collector: Any, tmp_path: Any) -> None:
    """Such a child leaves by `os._exit`: exit handlers do not run in it."""
    if method == "fork" and not hasattr(os, "fork"):
        pytest.skip("needs fork")
    script = tmp_path / "program.py"
    script.write_text(
        f"""
import multiprocessing, polku
client = polku.Client("write-key", {collector.url!r}, close_timeout_seconds=20)
def work():
    for _ in range(5): client.track("child", user_id="u")
if __name__ == "__main__":
    client.track("parent", user_id="u")
    context = multiprocessing.get_context({method!r})
    children = [context.Process(target=work) for _ in range(2)]
    for child in children: child.start()
    for child in children: child.join()
"""
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", str(script)], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert names(collector) == {"parent": 1, "child": 10}


def test_no_thread_to_be_had_still_delivers_at_the_end(collector: Any) -> None:
    program = """
import threading
def refuse(self): raise RuntimeError("can't start new thread")
threading.Thread.start = refuse
client.track('x', user_id='u')
"""
    assert run(program, collector.url).stderr == ""
    assert names(collector) == {"x": 1}


def test_an_interrupt_is_the_programs_own_and_the_events_are_delivered(collector: Any) -> None:
    program = """
import signal
client.track('x', user_id='u')
os.kill(os.getpid(), signal.SIGINT)
__import__('time').sleep(5)
"""
    assert run(program, collector.url).returncode in (1, 130, -signal.SIGINT)
    assert names(collector) == {"x": 1}


def test_the_module_level_calls_work_from_the_environment(collector: Any) -> None:
    code = "import polku; polku.track('x', user_id='u'); polku.identify('u', {'a': 1}); print(polku.flush())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "POLKU_ENDPOINT": collector.url, "POLKU_WRITE_KEY": "k"},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
    assert [item["type"] for item in collector.taken] == ["track", "identify"]
