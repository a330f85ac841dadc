"""Sources and limits that change under a running collector, and addresses that reach no disk: real processes."""

import contextlib
import hashlib
import http.client
import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from polku_collector.errors import SettingsError
from polku_collector.planned import pseudonyms_of
from polku_collector.senders_in_force import needs_restart
from polku_collector.settings import Limits, PrivacySettings, Settings, Source, load

from .world import CollectorProcess, collector, rows, wait_until

EVENT = {"type": "track", "event": "Order Refunded", "userId": "u1", "properties": {"order_id": "o1"}}
OLD = """
[sources.web]
keys = ["old-key"]
"""
OLD_AND_NEW = f"""
[sources.web]
keys = ["old-key", "sha256:{hashlib.sha256(b"new-key").hexdigest()}"]
"""
NEW = f"""
[sources.web]
keys = ["sha256:{hashlib.sha256(b"new-key").hexdigest()}"]
rate_events_per_second = 0.01
burst = 3

[limits]
max_batch_events = 2

[lake]
checkpoint_commits = 7
"""


def status(running: CollectorProcess, key: str, events: int = 1) -> int:
    """Over a connection of its own, so that any worker may answer."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    body = json.dumps({"batch": [EVENT] * events})
    connection.request("POST", "/v1/batch", body, {"authorization": f"Bearer {key}"})
    with contextlib.closing(connection):
        return connection.getresponse().status


def reload(running: CollectorProcess, config: str) -> None:
    (running.root / "collector.toml").write_text(config)
    os.kill(running.process.pid, signal.SIGHUP)


def metric(running: CollectorProcess, line: str) -> float:
    page = httpx.get(f"{running.url}/metrics", timeout=30).text
    return sum(float(found.rpartition(" ")[2]) for found in page.splitlines() if found.startswith(line))


def until(running: CollectorProcess, key: str, expected: int) -> None:
    wait_until(lambda: status(running, key) == expected, 60, running.log)


def test_keys_are_rotated_and_limits_taken_without_a_restart(tmp_path: Path) -> None:
    with collector(tmp_path, "--workers", "2", config=OLD) as running:
        wait_until(lambda: len(running.children("intake")) == 2, 60, running.log)  # the second may begin later
        workers = set(running.children("intake"))
        assert (status(running, "old-key"), status(running, "new-key")) == (200, 401)
        reload(running, OLD_AND_NEW)
        until(running, "new-key", 200)
        reload(running, "[sources.web]\nkeys = []\n")
        wait_until(lambda: metric(running, 'polku_settings_reloads_total{outcome="refused"}') == 1, 60, running.log)
        reload(running, "this is = no [TOML")
        wait_until(lambda: metric(running, 'polku_settings_reloads_total{outcome="refused"}') == 2, 60, running.log)
        assert (status(running, "old-key"), status(running, "new-key")) == (200, 200)
        reload(running, NEW)
        wait_until(lambda: [status(running, "old-key") for _ in range(24)] == [401] * 24, 60, running.log)
        assert status(running, "new-key", 3) == 413
        # Both workers together take three events and no more.
        assert [status(running, "new-key") for _ in range(12)].count(200) == 3
        assert status(running, "new-key") == 503
        log = running.log()
        assert "lake.checkpoint_commits" in log and "not TOML" in log and "has no keys" in log
        assert metric(running, 'polku_settings_reloads_total{outcome="in_force"}') == 2
        wait_until(
            lambda: metric(running, 'polku_refused_requests_total{reason="rate",source="web"}') >= 10, 30, running.log
        )
        assert set(running.children("intake")) == workers
        # A worker that is started anew follows what is in force, not what the supervisor was started with.
        running.kill_child("intake")
        wait_until(lambda: len(set(running.children("intake")) - workers) == 1, 60, running.log)
        running.wait_ready()
        assert [status(running, "old-key") for _ in range(24)] == [401] * 24
        kept = b"".join(file.read_bytes() for file in (tmp_path / "journal").glob("*.json"))
        assert b"old-key" not in kept and b"new-key" not in kept


ADDRESS = "203.0.113.77"
ADDRESSES = """
[server]
trusted_proxies = ["127.0.0.0/8"]

[sources.drop]
keys = ["drop-key"]

[sources.truncate]
keys = ["truncate-key"]
ip = "truncate"
"""


def test_an_address_reaches_no_disk_unless_the_source_says_so(tmp_path: Path) -> None:
    said: list[dict[str, Any]] = [
        {"batch": [EVENT, EVENT | {"context": {"ip": ADDRESS}}, EVENT | {"context": {"ip": ADDRESS, "screen": {}}}]},
        {"batch": [{"type": "track", "context": {"ip": ADDRESS}}], "context": {"ip": ADDRESS}},
    ]
    with collector(tmp_path, config=ADDRESSES) as running:
        for source in ("drop", "truncate"):
            for body in said:
                headers = {"x-forwarded-for": f"198.51.100.5, {ADDRESS}"}
                answer = httpx.post(f"{running.url}/v1/batch", json=body, auth=(f"{source}-key", ""), headers=headers)
                assert answer.status_code == 200
        assert running.stop() == 0
        extras = rows(str(tmp_path / "lake"), "events", "source, extra->'$.context.ip'")
        assert sorted(extras, key=str) == [("drop", None)] * 3 + [("truncate", '"203.0.113.0"')] * 3
        for file in tmp_path.rglob("*"):
            if file.is_file():
                assert ADDRESS.encode() not in file.read_bytes(), file
        assert any(b'"203.0.113.0"' in str(row).encode() for row in rows(str(tmp_path / "lake"), "quarantine"))


def test_hashed_addresses_need_the_key() -> None:
    asking = Settings(sources={"web": Source(keys=["k"], ip="hash")})
    with pytest.raises(SettingsError, match=r"\[sources.web\] ip = \"hash\" asks for pseudonyms"):
        pseudonyms_of(asking)
    keyed = msgspec.structs.replace(asking, privacy=PrivacySettings(key="a key of sixteen bytes"))
    assert pseudonyms_of(keyed) is not None
    assert pseudonyms_of(Settings()) is None


def test_what_a_reload_does_not_take_is_named() -> None:
    old = Settings(sources={"web": Source(keys=["a"])})
    new = load(None, {}, {"port": 9, "plan": "./plan"} | {"dev": True})
    assert needs_restart(old, new) == ["plan", "dev", "server.port", "lake.flush_seconds"]
    assert needs_restart(old, msgspec.structs.replace(old, sources={}, limits=Limits(max_depth=5))) == []


RATED = """
[sources.web]
keys = ["key"]
rate_events_per_second = 0.01
burst = 3
"""


def test_another_rate_and_another_start_begin_with_a_full_bucket(tmp_path: Path) -> None:
    """What is owed is a time by a clock that ends with the machine: at another rate, or after a start, it is void."""
    with collector(tmp_path, config=RATED) as running:
        assert [status(running, "key", 3), status(running, "key")] == [200, 503]
        reload(running, RATED.replace("0.01", "1000"))
        wait_until(lambda: status(running, "key") == 200, 30)
        reload(running, RATED)
        wait_until(lambda: status(running, "key", 3) == 503, 30)  # back at the old rate it owes as before
    with collector(tmp_path, config=RATED) as running:
        assert [status(running, "key", 3), status(running, "key")] == [200, 503]
