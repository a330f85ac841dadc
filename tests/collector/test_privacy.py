"""A plan's `privacy` in a running collector: no forbidden value reaches its disk, and the lake stays usable."""

import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import httpx
import pytest
from deltalake import DeltaTable

from .test_new_plan import UNWATCHED, hang_up, send, wait_for_plan, write_plan
from .world import CollectorProcess, collector, rows, wait_until

DICTIONARY = """
amount: {type: number, description: What was paid., privacy: none}
payer: {type: string, description: Who paid., privacy: personal, format: email}
note: {type: string, description: What was said., privacy: sensitive}
"""
PAYER, NOTE = "aino.virtanen@example.com", "for the operation"
KEY = "a key of more than sixteen bytes"


def private_plan(folder: Path, version: str = "1.0") -> Path:
    write_plan(folder, version, DICTIONARY, "payer", "note")
    head = folder / "plan.yaml"
    head.write_text(head.read_text() + "privacy: {personal: pseudonymise, sensitive: drop}\n")
    return folder


def config(root: Path, key: str | None = KEY) -> str:
    root.mkdir(exist_ok=True)
    (root / "pseudonyms.key").write_text(f"{key}\n")
    return UNWATCHED + ("" if key is None else f"[privacy]\nkey_file = '{root / 'pseudonyms.key'}'\n")


def everything_stored(process: CollectorProcess) -> str:
    """All bytes below the journal and the lake, Parquet files as their rows."""
    found = []
    for path in [*(process.root / "journal").rglob("*"), *Path(process.lake).rglob("*")]:
        if path.suffix == ".parquet":
            found.append(str(duckdb.sql(f"FROM read_parquet('{path}')").fetchall()))
        elif path.is_file():
            found.append(path.read_bytes().decode("utf-8", "replace"))
    return "".join(found)


def test_no_forbidden_value_reaches_the_disk_and_replayed_events_are_joined_by_their_pseudonym(tmp_path: Path) -> None:
    plan = private_plan(tmp_path / "plan")
    with collector(tmp_path, "--plan", str(plan), config=config(tmp_path)) as process:
        process.wait_ready()
        assert send(process, "good", amount=5, payer=PAYER, note=NOTE).json()["accepted"] == 1
        assert send(process, "beside", amount=5, Payer=PAYER, gift={"note": NOTE}).json()["accepted"] == 1
        assert send(process, "broken", amount="5", payer=PAYER, note=NOTE).json()["rejected"]
        batch = f'{{"batch":["{PAYER}"]}}'
        assert httpx.post(f"{process.url}/v1/batch", content=batch, auth=("web-key", "")).json()["rejected"]
        for hidden in (
            f'"properties":{{"payer":"{PAYER}"}},"properties":{{"amount":5}}',
            f'"userId":"u","properties":"{{\\"note\\":\\"{NOTE}\\"}}"',
            f'"properties":{{"amount":5}},"context":{{"page":{{"payer":"{PAYER}"}},"campaign":[{{"note":"{NOTE}"}}]}}',
        ):
            batch = f'{{"batch":[{{"type":"track","event":"paid",{hidden}}}]}}'
            answer = httpx.post(f"{process.url}/v1/batch", content=batch, auth=("web-key", ""))
            assert answer.json()["rejected"]
            assert NOTE not in answer.text
        stored = everything_stored(process)
        assert stored.count("psn-") >= 3, "what is looked through holds the events"
        assert PAYER not in stored
        assert NOTE not in stored
        assert process.stop() == 0
    stored = everything_stored(process) + process.log()
    assert PAYER not in stored
    assert NOTE not in stored
    assert rows(process.lake, "events", "count(*)") == [(2,)]

    (tmp_path / "map.yaml").write_text("events:\n  paid:\n    cast: {amount: number}\n")
    command = ["-m", "polku.cli", "lake", "replay", "--config", str(tmp_path / "collector.toml")]
    command += ["--lake", process.lake, "--plan", str(plan), "--map", str(tmp_path / "map.yaml")]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr  # the text that nobody could read stays
    assert "not kept" in done.stdout
    table = rows(process.lake, "events", "event_id, amount, payer, note, extra")
    (good, beside, broken) = sorted(table, key=lambda row: ["good", "beside", "broken"].index(row[0]))
    assert good[1:4] == broken[1:4]
    assert good[2].startswith("psn-")
    assert good[3] is None
    assert json.loads(beside[4]) == {"properties": {"Payer": good[2], "gift": {}}}
    assert sorted(rows(process.lake, "quarantine", "code, original IS NULL")) == [
        ("missing_id", False),
        ("missing_id", False),
        ("not_an_object", False),
        ("not_an_object", True),
    ]
    assert PAYER not in everything_stored(process)


@pytest.mark.parametrize(("key", "says"), [(None, "POLKU_PRIVACY_KEY"), ("short", "at least 16")])
def test_a_collector_does_not_start_without_the_key_that_its_plan_needs(
    tmp_path: Path, key: str | None, says: str
) -> None:
    plan = private_plan(tmp_path / "plan")
    process = CollectorProcess(tmp_path, "--plan", str(plan), config=config(tmp_path, key))
    assert process.process.wait(60) == 2
    assert says in process.log()
    assert not (tmp_path / "journal").exists()


def test_the_key_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "POLKU_PRIVACY_KEY", KEY)
    plan = private_plan(tmp_path / "plan")
    with collector(tmp_path, "--plan", str(plan), config=UNWATCHED) as process:
        process.wait_ready()
        send(process, "e", amount=5, payer=PAYER)
        assert process.stop() == 0
        assert KEY not in everything_stored(process) + process.log()
    ((payer,),) = rows(process.lake, "events", "payer")
    assert payer.startswith("psn-")


def test_a_new_plan_that_needs_a_key_is_refused_without_one_and_taken_with_one(tmp_path: Path) -> None:
    for key, version in ((None, "1.0"), (KEY, "1.1")):
        root = tmp_path / version
        plan = write_plan(root / "plan", "1.0", DICTIONARY, "payer", "note")
        with collector(root, "--plan", str(plan), config=config(root, key)) as process:
            process.wait_ready()
            send(process, "before", amount=5, payer=PAYER)
            private_plan(plan, "1.1")
            hang_up(process)
            if key is None:
                wait_until(lambda: "asks for pseudonyms, which need a key" in process.log(), 60, process.log)
            else:
                wait_for_plan(process, "1.1")
            send(process, "after", amount=5, payer=PAYER)
            assert process.stop() == 0
        stored = dict(rows(process.lake, "events", "event_id, payer"))
        assert stored["before"] == PAYER
        assert (stored["after"] == PAYER) == (key is None)
        assert DeltaTable(f"{process.lake}/events").version() > 0
