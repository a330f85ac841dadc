"""`ack = "lake"` in a real collector: with a 200 a fresh reader sees the events, whoever is killed or away."""

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.chaos.proxy import Proxy
from tests.s3_server import s3_bucket

from .world import CollectorProcess, batch, collector, free_port, rows, send, wait_until

CONFIG = """
[sources.web]
keys = ["web-key"]

[sources.ledger]
keys = ["ledger-key"]
ack = "lake"

[limits]
ack_lake_seconds = {seconds}
"""


def metric(process: CollectorProcess, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", httpx.get(f"{process.url}/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_at_the_moment_of_a_200_a_fresh_reader_sees_the_events_also_after_the_committer_died(tmp_path: Path) -> None:
    def seen_at_once(process: CollectorProcess, sender: int) -> None:
        for number in range(4):
            name = f"{sender}-{number}"
            bad = batch(f"{name}-bad", properties={})["batch"]
            body = {"batch": [*batch(f"{name}-a", f"{name}-b")["batch"], *bad]}  # type: ignore[misc]
            answer = send(process, body, key="ledger-key")
            assert (answer.status_code, answer.json()["accepted"]) == (200, 2), answer.text
            assert {(f"{name}-a",), (f"{name}-b",)} <= set(rows(process.lake, "events", "event_id"))
            assert (f"{name}-bad",) in rows(process.lake, "quarantine", "event_id")
            if (sender, number) == (0, 1):
                assert process.kill_child("committer")

    with collector(tmp_path, config=CONFIG.format(seconds=60)) as process:
        with ThreadPoolExecutor(2) as senders:
            list(senders.map(lambda sender: seen_at_once(process, sender), range(2)))
        assert len(process.children("committer")) == 1
        for counted in ('polku_requests_total{status="200"}', "polku_lake_ack_seconds_count"):
            wait_until(lambda name=counted: metric(process, name) == 8, 60, lambda name=counted: metric(process, name))
        assert metric(process, "polku_lake_ack_seconds_sum") > metric(process, "polku_request_seconds_sum")
        assert process.stop() == 0
    assert len(rows(process.lake, "events")) == 16


def test_with_the_store_away_it_is_503_and_the_retry_after_it_is_back_is_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_bucket("bucket", monkeypatch) as endpoint:
        proxy = Proxy(int(endpoint.rpartition(":")[2]), free_port())
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        # On a busy machine a flush takes longer than a second: then each retry would come too late.
        with collector(tmp_path, lake="s3://bucket/lake", config=CONFIG.format(seconds=5)) as process:
            wait_until(lambda: send(process, batch("1"), key="ledger-key").status_code == 200, 60, process.log)
            proxy.refuse()
            late = send(process, batch("2"), key="ledger-key")
            assert (late.status_code, late.headers["retry-after"]) == (503, "5")
            assert late.json()["error"] == "not_committed"
            assert send(process, batch("3")).status_code == 200  # who does not wait is not told of it
            wait_until(lambda: metric(process, "polku_lake_waiting_events") == 2, 30, process.log)
            proxy.listen()
            wait_until(lambda: send(process, batch("2"), key="ledger-key").status_code == 200, 60, process.log)
            # Not through the proxy, which is a thread of ours: deltalake holds the interpreter's lock while it reads.
            options = {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"}
            found = rows(process.lake, "events", "event_id", options)
            assert found.count(("2",)) == 1
            late_ones = 'polku_lake_acks_late_total{source="ledger"}'
            wait_until(lambda: metric(process, late_ones) >= 1, 60, process.log)
            wait_until(lambda: metric(process, "polku_lake_waiting_events") == 0, 30, process.log)
            assert process.stop() == 0
            assert sorted(rows(process.lake, "events", "event_id", options)) == [("1",), ("2",), ("3",)]
        proxy.close()


def test_who_waits_is_answered_when_the_collector_stops(tmp_path: Path) -> None:
    with (
        collector(tmp_path, config=CONFIG.format(seconds=3600)) as process,
        ThreadPoolExecutor(1) as sender,
    ):
        wait_until(lambda: bool(process.children("committer")), 30, process.log)
        (committer,) = process.children("committer")
        os.kill(committer, signal.SIGSTOP)
        waiting = sender.submit(send, process, batch("1"), "ledger-key")
        wait_until(lambda: metric(process, "polku_journal_blocks_total") == 1, 30, process.log)
        process.process.terminate()
        answer = waiting.result(30)
        assert (answer.status_code, answer.json()["error"]) == (503, "not_committed")
        assert "the collector is stopping" in answer.json()["message"]
        os.kill(committer, signal.SIGCONT)
        assert process.stop() == 0
    assert rows(process.lake, "events", "event_id") == [("1",)]


def test_waiting_for_less_than_a_commit_takes_is_refused_at_start(tmp_path: Path) -> None:
    process = CollectorProcess(tmp_path, "--flush-seconds", "30", config=CONFIG.format(seconds=30))
    try:
        assert process.process.wait(60) == 2
        assert "limits.ack_lake_seconds is not longer than the 30 seconds between two commits" in process.log()
    finally:
        process.close()
