"""The collector as a process: it starts, drains, tells what is wrong in one sentence, and leaves nobody behind."""

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from polku_collector.journal.stream import streams_directory

from .world import CollectorProcess, batch, collector, rows, send, wait_until


def test_events_reach_the_lake_and_sigterm_drains(tmp_path: Path) -> None:
    with collector(tmp_path, "--flush-seconds", "30") as process:
        assert send(process, batch("1", "2")).json()["accepted"] == 2
        bad = {
            "batch": [{"type": "track", "event": "product_viewed", "userId": "u", "messageId": "3", "properties": {}}]
        }
        assert send(process, bad).json()["rejected"][0]["code"] == "missing_property"
        assert process.stop() == 0
    assert sorted(rows(process.lake, "events", "event_id, event_name, user_id, product_id, channel, source")) == [
        ("1", "product_viewed", "u1", "p1", "web", "web"),
        ("2", "product_viewed", "u1", "p1", "web", "web"),
    ]
    ((event_id, code, path, original),) = rows(process.lake, "quarantine", "event_id, code, path, original")
    assert (event_id, code, path) == ("3", "missing_property", "$.properties.product_id")
    assert json.loads(original) == bad["batch"][0]
    assert list((tmp_path / "journal" / "streams").iterdir()) == []


def test_a_retry_is_not_a_second_event_even_after_a_restart(tmp_path: Path) -> None:
    with collector(tmp_path) as process:
        send(process, batch("1", "2"))
        wait_until(lambda: len(rows(process.lake, "events")) == 2, 30, process.log)
        send(process, batch("2", "3", "3"))
        assert process.stop() == 0
    with collector(tmp_path) as process:
        send(process, batch("1", "3", "4"))
        send(process, batch("1"), key="past-key")  # the same id from another source is another event
        assert process.stop() == 0
    found = rows(process.lake, "events", "source, event_id")
    assert sorted(found) == [("past", "1"), ("web", "1"), ("web", "2"), ("web", "3"), ("web", "4")]


def test_the_index_of_ids_is_rebuilt_from_the_table_when_it_is_lost(tmp_path: Path) -> None:
    with collector(tmp_path) as process:
        send(process, batch("1", "2"))
        assert process.stop() == 0
    for path in (tmp_path / "journal" / "ids").iterdir():
        path.unlink()
    with collector(tmp_path) as process:
        send(process, batch("1", "2", "3"))
        assert process.stop() == 0
    assert sorted(rows(process.lake, "events", "event_id")) == [("1",), ("2",), ("3",)]


def test_an_id_that_comes_back_with_other_content_goes_to_quarantine(tmp_path: Path) -> None:
    with collector(tmp_path) as process:
        send(process, batch("1"))
        send(process, batch("1", properties={"product_id": "other"}))
        assert process.stop() == 0
    assert rows(process.lake, "events", "event_id, product_id") == [("1", "p1")]
    ((code, path, original),) = rows(process.lake, "quarantine", "code, path, original")
    assert (code, path) == ("duplicate_id", "$.messageId")
    assert json.loads(original)["p"]["product_id"] == "other"


def test_enrichment_is_in_the_row(tmp_path: Path) -> None:
    context = {
        "userAgent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/17.4 Mobile/15E148 Safari/604.1",
        "page": {
            "url": "https://www.shop.example/p/1?utm_source=News+Letter&utm_medium=email",
            "referrer": "https://www.bing.com/",
        },
    }
    with collector(tmp_path) as process:
        send(process, batch("1", context=context))
        assert process.stop() == 0
    columns = "page_path, referrer_host, utm_source, utm_medium, marketing_channel, device, os, browser, is_bot"
    (row,) = rows(process.lake, "events", columns)
    assert row == ("/p/1", "bing.com", "News Letter", "email", "email", "mobile", "iOS", "Safari", False)


def test_two_workers_share_the_port_and_one_table(tmp_path: Path) -> None:
    with collector(tmp_path, "--workers", "2") as process:
        sent = 0

        def both_have_some() -> bool:  # a connection each: the kernel spreads them over the workers that listen
            nonlocal sent
            send(process, batch(f"{sent}"))
            sent += 1
            numbers = streams_directory(tmp_path / "journal").glob("*/durable")
            return sum(path.read_bytes() != bytes(8) for path in numbers) == 2

        wait_until(both_have_some, 60, process.log)
        counted = f'polku_events_accepted_total{{source="web"}} {sent}.0'
        wait_until(lambda: counted in httpx.get(f"{process.url}/metrics").text, 10)
        assert process.stop() == 0
    assert len(rows(process.lake, "events", "DISTINCT stream")) == 2
    assert len(rows(process.lake, "events", "DISTINCT event_id")) == sent


def test_a_killed_supervisor_takes_its_children_with_it(tmp_path: Path) -> None:
    with collector(tmp_path) as process:
        children = process.children("intake") + process.children("committer")
        assert len(children) == 2
        process.kill()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), 10)


def holds(number: int, process: CollectorProcess) -> bool:
    """Whether a signal would wait, as the kernel has it. That it is ignored may come from whoever runs us."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{process.process.pid}/status").read_text()
        mask = re.search(r"^SigBlk:\t(\w+)$", text, re.M)
        return mask is not None and bool(int(mask[1], 16) >> (number - 1) & 1)
    return False


def test_told_to_stop_while_it_starts_and_until_it_is_gone_it_drains_and_ends_cleanly(tmp_path: Path) -> None:
    with collector(tmp_path, "--flush-seconds", "60") as process:
        send(process, batch("1", "2"))
        process.kill()
    starting = CollectorProcess(tmp_path)
    try:
        # SIGHUP is held last: before that, Python's own resource tracker holds SIGTERM for a moment.
        wait_until(lambda: holds(signal.SIGHUP, starting), 30, starting.log)
        assert starting.log().count('"listening"') == 1, "too late to prove anything"
        starting.process.send_signal(signal.SIGHUP)
        while starting.process.poll() is None:  # also while Python ends, which takes a moment
            starting.process.terminate()
            time.sleep(0.005)
        assert starting.process.returncode == 0, starting.log()
        assert '"drained"' in starting.log()
    finally:
        starting.close()
    assert sorted(rows(starting.lake, "events", "event_id")) == [("1",), ("2",)]


@pytest.mark.parametrize("role", ["intake", "committer"])
def test_a_killed_child_is_started_again(tmp_path: Path, role: str) -> None:
    with collector(tmp_path) as process:
        send(process, batch("1"))
        before = process.children(role)
        assert process.kill_child(role)
        wait_until(lambda: process.children(role) not in ([], before), 30, process.log)
        process.wait_ready()
        send(process, batch("2"))
        assert process.stop() == 0
    assert sorted(rows(process.lake, "events", "event_id")) == [("1",), ("2",)]


def test_a_journal_belongs_to_its_table(tmp_path: Path) -> None:
    with collector(tmp_path, "--flush-seconds", "60") as process:
        send(process, batch("1"))
        wait_until(lambda: list((tmp_path / "journal" / "streams").glob("*/table")), 30, process.log)
        process.kill()
    other = CollectorProcess(tmp_path, lake=str(tmp_path / "other-lake"))
    try:
        assert other.process.wait(60) == 2
        assert "holds events for another table" in other.log()
    finally:
        other.close()
    with collector(tmp_path) as process:  # that of its events
        assert process.stop() == 0, process.log()
    with collector(tmp_path, lake=str(tmp_path / "other-lake")) as process:
        send(process, batch("2"))
        assert process.stop() == 0, process.log()
    found = [rows(str(tmp_path / lake), "events", "event_id") for lake in ("lake", "other-lake")]
    assert found == [[("1",)], [("2",)]]


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "polku.cli", "collector", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=cwd, env=os.environ | environment, check=False
    )


def test_what_cannot_start_says_why_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[lake\n")
    (tmp_path / "unknown.toml").write_text("[lake]\nurl = 'x'\n")
    (tmp_path / "nokeys.toml").write_text("[sources.web]\nkeys = []\n")
    (tmp_path / "file").write_text("")
    (tmp_path / "plan").mkdir()
    cases = [
        ([], "no source may send"),
        (["--nonsense"], "nonsense"),
        ([str(tmp_path / "missing.toml")], "missing.toml"),
        ([str(tmp_path / "bad.toml")], "not TOML"),
        ([str(tmp_path / "unknown.toml")], "url"),
        ([str(tmp_path / "nokeys.toml")], "has no keys"),
        (["--dev", "--port", "70000"], "port"),
        (["--dev", "--journal", str(tmp_path / "file" / "x")], "cannot be created"),
        (["--dev", "--lake", str(tmp_path / "file" / "x")], "cannot be created"),
        (["--dev", "--plan", str(tmp_path / "plan")], "plan"),
        (["--dev", "--lake", "ftp://x/y", "--journal", str(tmp_path / "j"), "--port", "0"], "ftp://x/y"),
    ]
    for arguments, expected in cases:
        done = run(*arguments, cwd=tmp_path)
        assert done.returncode == 2, (arguments, done.stderr)
        assert expected in done.stderr, (arguments, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
    assert "POLKU_PORT" in run("--dev", POLKU_PORT="many", cwd=tmp_path).stderr


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("--dev", "--port", str(taken.getsockname()[1]), cwd=tmp_path)
    assert done.returncode == 2
    assert "cannot listen" in done.stderr


def test_a_second_collector_on_the_same_journal_or_port_is_refused(tmp_path: Path) -> None:
    with collector(tmp_path) as first:
        same_journal = run("--dev", "--journal", str(tmp_path / "journal"), "--port", "0", cwd=tmp_path)
        assert same_journal.returncode == 2
        assert "in use by another collector" in same_journal.stderr
        same_port = run("--dev", "--journal", str(tmp_path / "j2"), "--port", str(first.port), cwd=tmp_path)
        assert same_port.returncode == 2
        assert "cannot listen" in same_port.stderr
        assert send(first, batch("1")).json()["accepted"] == 1
        assert first.stop() == 0


def test_a_stream_without_the_name_of_its_table_is_taken_after_a_power_cut(tmp_path: Path) -> None:
    with collector(tmp_path, "--flush-seconds", "60") as process:
        send(process, batch("1"))
        wait_until(lambda: list((tmp_path / "journal" / "streams").glob("*/table")), 30, process.log)
        process.kill()
    for mark in (tmp_path / "journal" / "streams").glob("*/table"):
        mark.write_text("")
    with collector(tmp_path) as process:
        assert process.stop() == 0
    assert rows(process.lake, "events", "event_id") == [("1",)]


def test_a_journal_that_cannot_be_written_is_503_and_not_ready_until_it_can(tmp_path: Path) -> None:
    with collector(tmp_path, "--flush-seconds", "60") as process:
        assert send(process, batch("1")).status_code == 200
        (intake,) = process.children("intake")
        (segment,) = (tmp_path / "journal" / "streams").glob("*/*.journal")
        limit, logged = segment.stat().st_size // 2, (tmp_path / "collector.log").stat().st_size
        assert logged < limit, "its log is to be written all the while"
        before = resource.prlimit(intake, resource.RLIMIT_FSIZE)
        resource.prlimit(intake, resource.RLIMIT_FSIZE, (limit, before[1]))
        refused = [send(process, batch(event_id)) for event_id in ("2", "3")]
        assert [(answer.status_code, answer.headers["retry-after"]) for answer in refused] == [(503, "5")] * 2
        ready = httpx.get(f"{process.url}/readyz", timeout=10)
        assert (ready.status_code, "the journal cannot be written" in ready.text) == (503, True)
        assert httpx.get(f"{process.url}/healthz", timeout=10).status_code == 200

        resource.prlimit(intake, resource.RLIMIT_FSIZE, before)
        assert send(process, batch("2", "4")).status_code == 200
        assert httpx.get(f"{process.url}/readyz", timeout=10).status_code == 200
        assert process.stop() == 0, process.log()
    assert sorted(rows(process.lake, "events", "event_id")) == [("1",), ("2",), ("4",)]


def test_a_store_that_is_away_does_not_stop_intake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Intake acknowledges from the start; the events wait in the journal, and SIGTERM says that they are left: 75."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    process = CollectorProcess(tmp_path, lake="s3://bucket/lake")
    try:
        process.wait_ready()
        started = time.monotonic()
        assert send(process, batch("1")).json()["accepted"] == 1
        assert time.monotonic() - started < 20
        waiting = "\npolku_lake_waiting_events 1.0\n"  # also of a committer that has never flushed
        wait_until(lambda: waiting in httpx.get(f"{process.url}/metrics").text, 30, process.log)
        assert process.stop() == 75
    finally:
        process.close()
