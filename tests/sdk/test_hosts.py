"""Servers that load a program and fork it: nothing that was tracked is lost when they are told to stop."""

import importlib.util
import os
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import polku
from tests.collector.world import free_port

from .waiting import wait_until

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("preload", [[], ["--preload"]], ids=["each loads", "loaded before the fork"])
def test_gunicorn(collector: Any, preload: list[str]) -> None:
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", *preload, "--workers=2", "--no-control-socket"]
    server = subprocess.Popen(
        [*command, f"--bind=127.0.0.1:{port}", "tests.sdk.hosts.wsgi_app:application"],
        cwd=ROOT,
        env={**os.environ, "URL": collector.url},
    )
    _asked(port, server)
    assert server.wait(30) == 0
    found = Counter(item.get("properties", {}).get("n") for item in collector.taken if item["event"] == "seen")
    assert {n: found[n] for n in range(100)} == dict.fromkeys(range(100), 1)
    assert sum(item["event"] == "loaded" for item in collector.taken) == (1 if preload else 2)


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="pyuwsgi has no wheel for this Python")
@pytest.mark.parametrize(
    "options",
    [[], ["--enable-threads"], ["--enable-threads", "--py-call-osafterfork"], ["--enable-threads", "--lazy-apps"]],
    ids=" ".join,
)
def test_uwsgi(collector: Any, options: list[str], tmp_path: Path) -> None:
    """It forks in C, tells Python of that only if asked, and lets no thread run between requests unless it is asked."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("uwsgi")), "--http-socket", f"127.0.0.1:{port}", "--die-on-term"]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--master", "--processes=2", "--module=tests.sdk.hosts.wsgi_app:application", *options],
            cwd=ROOT,
            env={**os.environ, "URL": collector.url, "PYTHONPATH": os.pathsep.join(sys.path)},
            stderr=log,
        )
        _asked(port, server)
        assert server.wait(30) == 0
    found = Counter(item["properties"]["n"] for item in collector.taken if item["event"] == "seen")
    assert {n: found[n] for n in range(100)} == dict.fromkeys(range(100), 1)
    # The master runs no Python after its forks: what it tracked while it loaded, one of its workers delivers.
    loaded = {item["messageId"] for item in collector.taken if item["event"] == "loaded"}
    assert len(loaded) == (2 if "--lazy-apps" in options else 1)


def test_the_master_of_a_uwsgi_starts_no_thread_before_it_forks_unless_somebody_waits(
    collector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It forks in C: a thread at work just then leaves the child an interpreter in disorder."""
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(masterpid=os.getpid, worker_id=lambda: 0))
    client = polku.Client("k", collector.url)
    client.track("loaded", user_id="app")
    assert client._delivery._thread is None
    assert client.flush(10)
    assert [item["event"] for item in collector.taken] == ["loaded"]
    assert client.close(10)


def _asked(port: int, server: subprocess.Popen[bytes]) -> None:
    """A hundred requests, then told to stop."""

    def is_up() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(is_up, 60)
        with ThreadPoolExecutor(4) as pool:
            for answer in pool.map(lambda n: httpx.get(f"http://127.0.0.1:{port}/{n}"), range(100)):
                assert answer.text == "ok"
    finally:
        server.terminate()


def test_celery_prefork(tmp_path: Path, collector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "queue").mkdir()
    (tmp_path / "control").mkdir()
    environment = {"URL": collector.url, "BROKER": str(tmp_path)}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location("celery_app", ROOT / "tests" / "sdk" / "hosts" / "celery_app.py")
    assert spec is not None
    assert spec.loader is not None
    tasks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tasks)
    for n in range(40):
        tasks.app.send_task("tests.sdk.hosts.celery_app.work", (n,))
    tasks.client.close()
    collector.received.clear()
    command = [sys.executable, "-m", "celery", "-A", "tests.sdk.hosts.celery_app", "worker", "--pool=prefork"]
    worker = subprocess.Popen(
        [*command, "--concurrency=2", "--loglevel=ERROR", "--without-gossip", "--without-mingle"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: not list((tmp_path / "queue").iterdir()), 60)
    finally:
        worker.send_signal(signal.SIGTERM)  # a warm shutdown: what was taken is worked off
    assert worker.wait(60) == 0
    assert Counter(item["properties"]["n"] for item in collector.taken if item["event"] == "worked") == dict.fromkeys(
        range(40), 1
    )
    assert sum(item["event"] == "loaded" for item in collector.taken) == 1
