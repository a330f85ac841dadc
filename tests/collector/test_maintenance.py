"""Maintenance beside a real collector, and the commands on its lake."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
from deltalake import DeltaTable

from tests.collector.world import CONFIG, collector, free_port, rows, wait_until

EAGER = f"{CONFIG}\n[maintenance]\ncompact_files = 10\ninterval_seconds = 0.2\n"


def polku(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "polku.cli", "lake", *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def send(url: str, *ids: str) -> None:
    item = {"type": "track", "event": "product_viewed", "userId": "u1", "properties": {"product_id": "p1"}}
    sent = {"batch": [item | {"messageId": event_id} for event_id in ids]}
    assert httpx.post(f"{url}/v1/batch", json=sent, auth=("web-key", ""), timeout=30).status_code == 200


def test_files_stay_few_while_events_come_and_whoever_is_killed_no_event_is_lost(tmp_path: Path) -> None:
    with collector(tmp_path, "--flush-seconds", "0.05", config=EAGER) as process:
        lake, sent = process.lake, 0

        def merges() -> int:
            text = httpx.get(f"{process.url}/metrics", timeout=30).text
            found = [line for line in text.splitlines() if line.startswith('polku_compactions_total{table="events"}')]
            return int(float(found[0].split()[1])) if found else 0

        def until(done: int) -> None:
            """Go on sending, each request a commit, until so many merges were made."""
            nonlocal sent

            def one_more() -> bool:
                nonlocal sent
                sent += 1
                send(process.url, f"{sent}")
                wait_until(lambda: len(rows(lake, "events", "event_id")) >= sent, 60, process.log)
                return merges() >= done

            wait_until(one_more, 120, process.log)

        until(1)
        assert process.kill_child("maintenance")
        until(2)  # it counts on: the dead one's figures stay
        (pid,) = process.children("maintenance")
        committers = process.children("committer")
        assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, committers[0])
        assert process.stop() == 0, process.log()
    assert Counter(rows(lake, "events", "event_id")) == Counter((f"{number}",) for number in range(1, sent + 1))
    table = DeltaTable(f"{lake}/events")
    assert len(table.file_uris()) < sent
    shown = polku("status", "--lake", lake, "--journal", str(tmp_path / "journal"), "--json")
    assert shown.returncode == 0, shown.stderr
    status = json.loads(shown.stdout)
    events = status["tables"][0]
    assert (events["rows"], events["files"]) == (sent, len(table.file_uris()))
    assert "compaction" in events["last_work"] and status["journal"]["waiting_events"] == 0


def test_a_journal_without_a_collector_is_drained_by_a_command(tmp_path: Path) -> None:
    config = f"{CONFIG.replace('drain_seconds = 60', 'drain_seconds = 1')}\n[maintenance]\nenabled = false\n"
    with collector(tmp_path, config=config) as process:
        wait_until(lambda: DeltaTable.is_deltatable(f"{process.lake}/quarantine"), 60, process.log)
        for pid in process.children("committer"):
            os.kill(pid, signal.SIGSTOP)
        send(process.url, "one")
        send(process.url, "two", "three")
        assert process.children("maintenance") == []
        journal, lake = str(tmp_path / "journal"), process.lake
        in_use = polku("drain", "--lake", lake, "--journal", journal)
        assert in_use.returncode == 2 and "in use" in in_use.stderr
        process.kill()
    waiting = polku("status", "--lake", lake, "--journal", journal)
    assert "3 waiting events in 1 stream," in waiting.stdout, waiting.stderr
    away = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    settings = str(tmp_path / "collector.toml")
    later = polku("drain", "--lake", "s3://nowhere/lake", "--journal", journal, "--config", settings, **away)
    assert later.returncode == 75 and "as it was" in later.stderr
    drained = polku("drain", "--lake", lake, "--journal", journal, "--config", settings)
    assert drained.returncode == 0, drained.stderr
    assert sorted(rows(lake, "events", "event_id")) == [("one",), ("three",), ("two",)]
    again = polku("drain", "--lake", lake, "--journal", journal)
    assert again.returncode == 0 and "is empty" in again.stdout
    assert polku("drain", "--lake", lake, "--journal", str(tmp_path / "none")).returncode == 2


def test_a_store_that_is_away_at_the_first_look_is_looked_for_again(tmp_path: Path) -> None:
    """In a process of its own: the metrics of another test's would be in the way of its own."""
    script = """
import sys, threading
from pathlib import Path
from polku_collector.compose_maintenance import _Keeper
from polku_collector.metrics import exposition, use_directory
from polku_collector.settings import JournalSettings, Lake, Maintenance, Settings

class Keeper(_Keeper):
    failed = []

    def _look(self):
        try:
            super()._look()
        except Exception as error:
            self.failed.append(type(error).__name__)
            raise
        finally:
            if len(self.failed) == 3:
                stop.set()

use_directory(Path(sys.argv[1]) / "metrics")
stop = threading.Event()
maintenance, journal = Maintenance(interval_seconds=0.01), JournalSettings(sys.argv[1])
Keeper(Settings(lake=Lake("s3://nowhere/lake"), journal=journal, maintenance=maintenance), stop).run()
print(*Keeper.failed, "polku_maintenance_failures_total 3.0" in exposition().decode())
"""
    away = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}", "AWS_ACCESS_KEY_ID": "x"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env=os.environ | away | {"AWS_SECRET_ACCESS_KEY": "x"},
        capture_output=True,
        text=True,
        check=False,
    )
    told = (done.stdout or done.stderr).splitlines()[-1]  # the log is before it
    assert told.split() == ["StoreUnreachable"] * 3 + ["True"]


def test_the_commands_on_a_lake_say_what_they_did(tmp_path: Path) -> None:
    from tests.collector.maintain.world import Lake, event

    lake = Lake(tmp_path / "lake", tmp_path / "scratch")
    for number in range(4):
        lake.write(event("same", stream=f"{number}"), event(), event(name="old", days_ago=4000))
    assert polku("status", "--lake", str(tmp_path / "none")).returncode == 2
    merged = polku("compact", "--lake", lake.uri)
    assert merged.returncode == 0 and "events: 8 files are now 2" in merged.stdout, merged.stderr
    assert "3 copies removed" in merged.stdout
    config = tmp_path / "keep.toml"
    config.write_text(f"{CONFIG}\n[maintenance.retention.events]\nold = 1000\n")
    would = polku("expire", "--lake", lake.uri, "--config", str(config), "--dry-run")
    assert "4 rows of 1 files would be removed" in would.stdout, would.stderr
    gone = polku("expire", "--lake", lake.uri, "--config", str(config))
    assert "4 rows of 1 files were removed" in gone.stdout, gone.stderr
    assert sum(lake.rows().values()) == 5
    left = polku("vacuum", "--lake", lake.uri, "--full", "--dry-run")
    assert "0 files would be deleted" in left.stdout, left.stderr
    done = polku("vacuum", "--lake", lake.uri, "--full")
    assert done.returncode == 0 and "0 files deleted" in done.stdout, done.stderr
