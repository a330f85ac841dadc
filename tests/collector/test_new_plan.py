"""A running collector takes a new plan without losing a request, and never one that breaks the table or its senders."""

import contextlib
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from deltalake import DeltaTable

from .world import CollectorProcess, collector, rows, wait_until

HEAD = """
name: small
version: "{version}"
description: One event.
stages: [interest]
channels: [web, store]
"""

PAID = """
name: paid
version: "{version}"
owner: shop
description: Somebody paid.
stage: interest
touchpoint: till
properties:
  amount: {{required: true}}
{properties}
examples:
  - {{amount: {amount}}}
"""

AMOUNT = "amount: {type: number, description: What was paid., privacy: none}\n"
UNWATCHED = 'watch_plan = false\n[sources.web]\nkeys = ["web-key"]\n'
TEXT_AMOUNT = AMOUNT.replace("number", "string")
TILL = "till: {type: string, description: Number of the till., privacy: none}\n"
LINES = """
lines:
  type: array
  description: What was bought.
  privacy: none
  items: {type: object, properties: {%s}}
"""


def write_plan(folder: Path, version: str, dictionary: str, *properties: str, event: str | None = None) -> Path:
    """A plan of one event `paid` that carries `amount` and `properties`."""
    (folder / "events").mkdir(parents=True, exist_ok=True)
    listed = "".join(f"  {name}: {{}}\n" for name in properties)
    (folder / "properties.yaml").write_text(dictionary)
    (folder / "traits.yaml").write_text("plan_level: {type: string, description: Level., privacy: none}\n")
    (folder / "events" / "paid.yaml").write_text(
        PAID.format(version=event or version, properties=listed, amount="many" if TEXT_AMOUNT in dictionary else 5)
    )
    (folder / "plan.yaml").write_text(HEAD.format(version=version))
    return folder


def send(process: CollectorProcess, event_id: str, **properties: object) -> httpx.Response:
    item = {"type": "track", "event": "paid", "userId": "u", "messageId": event_id, "properties": properties}
    return httpx.post(f"{process.url}/v1/batch", json={"batch": [item]}, auth=("web-key", ""), timeout=30)


def plan_of(process: CollectorProcess) -> str:
    """The version in force in the worker that answers."""
    return str(httpx.get(f"{process.url}/healthz", timeout=5).json()["plan"]["version"])


def hang_up(process: CollectorProcess) -> None:
    process.process.send_signal(signal.SIGHUP)


def wait_for_plan(process: CollectorProcess, version: str, workers: int = 1) -> None:
    """Until every worker judges by it: each connection may reach another one."""
    wait_until(lambda: all(plan_of(process) == version for _ in range(8 * workers)), 60, process.log)


def columns_by_commit(lake: str) -> tuple[dict[str, int], dict[str, int]]:
    """The version of `events` that first had each column, and the first that had a file holding it."""
    import pyarrow.parquet as pq

    declared: dict[str, int] = {}
    held: dict[str, int] = {}
    for entry in sorted(Path(lake, "events", "_delta_log").glob("*.json")):
        for action in map(json.loads, entry.read_text().splitlines()):
            if "metaData" in action:
                for field in json.loads(action["metaData"]["schemaString"])["fields"]:
                    declared.setdefault(field["name"], int(entry.stem))
            if "add" in action:
                for name in pq.read_schema(Path(lake, "events", action["add"]["path"])).names:
                    held.setdefault(name, int(entry.stem))
    return declared, held


@contextlib.contextmanager
def steady_load(process: CollectorProcess, **properties: object) -> Iterator[list[str]]:
    """Events sent one after the other, on one connection and on new ones; yields the ids that were acknowledged."""
    acknowledged: list[str] = []
    failures: list[str] = []
    stop = threading.Event()

    def load(sender: int) -> None:
        with httpx.Client(base_url=process.url, auth=("web-key", ""), timeout=30) as client:
            number = 0
            while not stop.is_set():
                event_id = f"{sender}-{number}"
                item = {"type": "track", "event": "paid", "userId": "u", "messageId": event_id}
                answer = client.post("/v1/batch", json={"batch": [item | {"properties": properties}]})
                if answer.status_code != 200 or answer.json()["accepted"] != 1:
                    failures.append(f"{event_id}: {answer.status_code} {answer.text}")
                acknowledged.append(event_id)
                number += 1

    threads = [threading.Thread(target=load, args=(sender,)) for sender in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield acknowledged
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []


def test_a_new_minor_version_is_taken_under_load_and_lives_beside_the_old_one(tmp_path: Path) -> None:
    """No request is refused, every event is one row, and the column was in the table before any file held it."""
    plan = write_plan(tmp_path / "plan", "1.0", AMOUNT)
    with collector(tmp_path, "--plan", str(plan), "--workers", "2") as process:
        with steady_load(process, amount=5, till="7") as acknowledged:
            # The table has to be there first: a slow committer would find it made with the new columns.
            wait_until(lambda: len(acknowledged) > 50 and rows(process.lake, "events", "event_id"), 60, process.log)
            write_plan(tmp_path / "plan", "1.1", AMOUNT + TILL, "till")
            wait_for_plan(process, "1.1", workers=2)
            seen = len(acknowledged)
            wait_until(lambda: len(acknowledged) > seen + 50, 30)
        assert process.stop() == 0
    found = rows(process.lake, "events", "event_id, schema_version, till, extra")
    assert sorted(event_id for event_id, *_ in found) == sorted(acknowledged)
    kinds = {(version, till, extra is not None) for _, version, till, extra in found}
    assert kinds == {("1.0", None, True), ("1.1", "7", False)}, "kept in `extra` before, in its column after"
    declared, held = columns_by_commit(process.lake)
    assert 0 < declared["till"] < held["till"]
    assert rows(process.lake, "quarantine") == []


def test_sighup_tells_it_when_the_folder_is_not_watched(tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan", "1.0", AMOUNT)
    with collector(tmp_path, "--plan", str(plan), config=UNWATCHED) as process:
        write_plan(plan, "1.1", AMOUNT + TILL, "till")
        time.sleep(2.5)  # longer than changes are gathered: nobody watches
        assert plan_of(process) == "1.0"
        hang_up(process)
        wait_for_plan(process, "1.1")
        hang_up(process)  # nothing has changed: nothing happens, and nobody dies
        assert send(process, "1", amount=1, till="7").json()["accepted"] == 1
        metrics = httpx.get(f"{process.url}/metrics").text
        assert 'polku_plan_reloads_total{outcome="in_force"} 1.0' in metrics
        assert process.stop() == 0
    assert rows(process.lake, "events", "schema_version, till") == [("1.1", "7")]


def test_a_new_field_of_a_list_of_objects_becomes_a_member_of_its_column(tmp_path: Path) -> None:
    one, two = LINES % "till: {}", LINES % "till: {}, count: {}"
    count = "count: {type: integer, description: How many., privacy: none}\n"
    plan = write_plan(tmp_path / "plan", "1.0", AMOUNT + TILL + one, "lines")
    with collector(tmp_path, "--plan", str(plan)) as process:
        send(process, "1", amount=1, lines=[{"till": "a"}])
        wait_until(lambda: len(rows(process.lake, "events")) == 1, 30, process.log)
        write_plan(plan, "1.1", AMOUNT + TILL + count + two, "lines")
        wait_for_plan(process, "1.1")
        send(process, "2", amount=1, lines=[{"till": "b", "count": 3}])
        assert process.stop() == 0
    import polars as pl

    found = pl.scan_delta(f"{process.lake}/events").select("event_id", "lines").sort("event_id").collect()
    assert found["lines"].to_list() == [[{"till": "a", "count": None}], [{"till": "b", "count": 3}]]
    import subprocess
    import sys

    query = "SELECT event_id, lines[1].count AS n FROM events ORDER BY event_id"
    command = [sys.executable, "-m", "polku.cli", "query", query, "--lake", process.lake, "--csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["event_id,n", "1,", "2,3"]


REFUSED = {
    "findings": ("1.1", AMOUNT + "till: {type: text}\n", ["till"], "findings"),
    "a column's type": ("9.0", TEXT_AMOUNT, [], "`amount` is string, was number"),
    "no new version": ("1.0", AMOUNT + TILL, ["till"], "needs 1.1"),
    "a column that another plan brought": (
        "1.1",
        AMOUNT + "event_count: {type: integer, description: x, privacy: none}\n",
        ["event_count"],
        "`event_count` the type long, the table has string",
    ),
}


def test_a_plan_that_may_not_come_into_force_is_refused_and_the_old_one_goes_on(tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan", "1.0", AMOUNT)
    with collector(tmp_path, "--plan", str(plan), config=UNWATCHED) as process:
        send(process, "1", amount=1)
        wait_until(lambda: len(rows(process.lake, "events")) == 1, 30, process.log)
        _add_column(process.lake, "event_count", "string")  # as a collector with another plan would
        before = DeltaTable(f"{process.lake}/events").schema()
        for number, (version, dictionary, properties, said) in enumerate(REFUSED.values(), 1):
            write_plan(plan, version, dictionary, *properties)
            hang_up(process)
            wait_until(lambda said=said: said in process.log(), 30, process.log)
            refused = f'polku_plan_reloads_total{{outcome="refused"}} {float(number)}'
            wait_until(lambda refused=refused: refused in httpx.get(f"{process.url}/metrics").text, 10, process.log)
            assert plan_of(process) == "1.0"
        assert send(process, "2", amount=2).json()["accepted"] == 1
        assert process.kill_child("intake")  # a worker that is started again still takes the plan in force
        wait_until(lambda: process.children("intake") != [], 30, process.log)
        process.wait_ready()
        assert plan_of(process) == "1.0"
        assert process.stop() == 0
    assert DeltaTable(f"{process.lake}/events").schema() == before
    assert sorted(rows(process.lake, "events", "event_id, amount")) == [("1", 1.0), ("2", 2.0)]


def test_a_developer_does_not_count_versions(tmp_path: Path) -> None:
    """With --dev a change without its version number is taken, and what it would need elsewhere is said."""
    plan = write_plan(tmp_path / "plan", "1.0", AMOUNT)
    with collector(tmp_path, "--plan", str(plan), "--dev") as process:
        write_plan(plan, "1.0", AMOUNT + TILL, "till")
        wait_until(lambda: "validating by another plan" in process.log(), 60, process.log)
        assert "needs 1.1" in process.log()
        assert send(process, "1", amount=1, till="7").json()["accepted"] == 1
        hang_up(process)  # the terminal was closed: with --dev that ends it, in order
        assert process.process.wait(60) == 0
    assert rows(process.lake, "events", "till") == [("7",)]


def _add_column(lake: str, name: str, kind: str) -> None:
    from polku_collector.lake.types import field_of

    DeltaTable(f"{lake}/events").alter.add_columns([field_of(name, kind)])


def test_a_plan_that_breaks_the_table_does_not_start(tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan", "1.0", AMOUNT)
    with collector(tmp_path, "--plan", str(plan)) as process:
        send(process, "1", amount=1)
        assert process.stop() == 0
    write_plan(plan, "2.0", TEXT_AMOUNT)
    second = CollectorProcess(tmp_path, "--plan", str(plan))
    try:
        assert second.process.wait(60) == 2
        assert "`amount` the type string, the table has double" in second.log()
        with pytest.raises(httpx.TransportError):
            send(second, "2", amount="x")
    finally:
        second.close()
    assert rows(process.lake, "events", "event_id") == [("1",)]


def test_events_of_a_plan_that_turned_out_to_break_the_table_go_to_quarantine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were acknowledged while the store was away, so they are kept; those without the column become rows."""
    plan = write_plan(tmp_path / "plan", "1.0", AMOUNT + TILL, "till")
    lake = tmp_path / "lake"
    with collector(tmp_path, "--plan", str(plan)) as process:
        assert process.stop() == 0
    with collector(tmp_path, "--plan", str(plan), "--flush-seconds", "60") as process:
        for number in ("1", "2"):
            send(process, number, amount=1, **({"till": "x"} if number == "2" else {}))
        process.kill()
    # Meanwhile another node has given the table a column `till` of another type.
    shutil.rmtree(lake)
    from polku_collector.lake.local_store import LocalStore
    from polku_collector.lake.table import Table
    from polku_collector.planned import events_table_columns
    from polku_schemas import load_plan

    table = Table(LocalStore(lake), "events", "event_date", events_table_columns(load_plan(plan)) | {"till": "double"})
    for mark in (tmp_path / "journal" / "streams").glob("*/table"):
        mark.write_text(table.id)
    write_plan(plan, "1.0", AMOUNT)
    with collector(tmp_path, "--plan", str(plan)) as process:
        assert process.stop() == 0
    assert rows(process.lake, "events", "event_id") == [("1",)]
    ((event_id, code, message),) = rows(process.lake, "quarantine", "event_id, code, message")
    assert (event_id, code) == ("2", "unconvertible")
    assert "`till` the type string, the table has double" in message


def test_a_new_plan_waits_for_a_store_that_is_away_and_the_old_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its columns cannot be added yet, so no event is accepted by it yet."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    plan = write_plan(tmp_path / "plan", "1.0", AMOUNT)
    with collector(tmp_path, "--plan", str(plan), lake="s3://bucket/lake") as process:
        write_plan(plan, "1.1", AMOUNT + TILL, "till")
        hang_up(process)
        later = 'polku_plan_reloads_total{outcome="later"}'
        wait_until(lambda: later in httpx.get(f"{process.url}/metrics").text, 120, process.log)
        assert plan_of(process) == "1.0"
        assert send(process, "1", amount=1).json()["accepted"] == 1
        assert process.stop() == 75


def test_collectors_that_add_columns_at_once_end_up_with_one_schema(tmp_path: Path) -> None:
    """Each takes a plan with a column of its own and one they share; all rows of all of them are there."""
    nodes = [tmp_path / f"node-{number}" for number in range(3)]
    lake = str(tmp_path / "lake")
    with contextlib.ExitStack() as stack:
        running = []
        for node in nodes:
            plan = write_plan(node / "plan", "1.0", AMOUNT)
            running.append(stack.enter_context(collector(node, "--plan", str(plan), lake=lake)))
        for number, process in enumerate(running):
            assert send(process, f"{number}-old", amount=1).status_code == 200
        for number, node in enumerate(nodes):
            own = TILL.replace("till", f"till_{number}")
            write_plan(node / "plan", "1.1", AMOUNT + TILL + own, "till", f"till_{number}")
        for process in running:
            hang_up(process)
        for number, process in enumerate(running):
            wait_for_plan(process, "1.1")
            send(process, f"{number}-new", amount=1, till="shared", **{f"till_{number}": "own"})
        for process in running:
            assert process.stop() == 0, process.log()
    names = [field.name for field in DeltaTable(f"{lake}/events").schema().fields]
    assert len(names) == len(set(names))
    assert {"till", "till_0", "till_1", "till_2"} < set(names)
    found = rows(lake, "events", "event_id, till, till_0, till_1, till_2")
    expected = [(f"{number}-old", None, None, None, None) for number in range(3)]
    expected += [
        (f"{number}-new", "shared", *("own" if column == number else None for column in range(3)))
        for number in range(3)
    ]
    assert sorted(found, key=str) == sorted(expected, key=str)


def test_a_worker_killed_while_the_plan_changes_comes_back_with_the_plan_in_force(tmp_path: Path) -> None:
    plan = write_plan(tmp_path / "plan", "1.0", AMOUNT)
    with collector(tmp_path, "--plan", str(plan)) as process:
        sent = []
        for round_number in range(1, 3):
            write_plan(plan, f"1.{round_number}", AMOUNT + TILL.replace("till", f"till_{round_number}"), event="1.0")
            hang_up(process)
            with contextlib.suppress(OSError):
                os.kill(process.children("intake")[0], signal.SIGKILL)
            wait_until(lambda: process.children("intake") != [], 30, process.log)
            process.wait_ready()
            wait_for_plan(process, f"1.{round_number}")
            sent.append(f"{round_number}")
            assert send(process, sent[-1], amount=round_number).status_code == 200
        assert process.stop() == 0
    assert sorted(rows(process.lake, "events", "event_id")) == [(event_id,) for event_id in sent]
