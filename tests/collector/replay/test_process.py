"""Replays as processes: killed at any moment, two at once, beside a collector under load; and the command itself."""

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import httpx
import pytest
from deltalake import DeltaTable

from polku_collector.compose_replay import replay
from polku_collector.errors import LakeError
from polku_collector.replay.mapping import Mapping
from polku_collector.replay.mapping_file import read_mapping
from polku_collector.replay.rows import Selection
from polku_collector.settings import load
from tests.collector.world import CollectorProcess, collector, rows, wait_until

from .world import WHOLE, World, replay_of, viewed

MAP = "events:\n  product_viewed:\n    rename: {prodId: product_id}\n"


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Processes that need not load everything anew."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["polku_collector.compose_replay", "polku_collector.lake.loop"])
    return context


def start(processes: ForkServerContext, root: Path, batch_rows: int = 2) -> ForkServerProcess:
    process = processes.Process(target=replay_of, args=(root, batch_rows))
    process.start()
    return process


@pytest.mark.parametrize("seed", [1])
def test_a_replay_that_is_killed_again_and_again_moves_every_event_once(
    tmp_path: Path, processes: ForkServerContext, seed: int
) -> None:
    world = World(tmp_path)
    passing = [f"m{number:02}" for number in range(20)]
    for part in range(4):
        world.send(*(viewed(event_id) for event_id in passing[part::4]), viewed(f"bad{part}", price="x"))
    world.commit()
    everything, chance, kills, between = {*passing, *(f"bad{part}" for part in range(4))}, random.Random(seed), 0, 0
    while True:
        shutil.rmtree(tmp_path / "scratch")
        process = start(processes, tmp_path)
        if kills < 10:
            flush = tmp_path / "scratch" / "1" / "flush"
            # It ends without one if an earlier one had done all but say so.
            wait_until(lambda flush=flush, process=process: flush.exists() or not process.is_alive(), 60)
            time.sleep(chance.uniform(0, 0.15))
            with contextlib.suppress(ProcessLookupError):  # it had just ended
                os.kill(process.pid or 0, signal.SIGKILL)
            kills += 1
        process.join(60)
        events, quarantine = world.ids()
        assert len(events) == len(set(events))
        assert len(quarantine) == len(set(quarantine))
        assert {*events, *quarantine} == everything
        between += bool({*events} & {*quarantine})
        print(kills, len(events), len(quarantine), process.exitcode)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    print(f"seed {seed}: {kills} kills, {between} of them between the two commits")
    assert world.ids() == (passing, sorted(everything - {*passing}))
    assert sorted(sequence for (sequence,) in world.events("sequence")) == list(range(1, 21))


def test_two_replays_at_once_move_every_event_once(tmp_path: Path, processes: ForkServerContext) -> None:
    world = World(tmp_path)
    passing = [f"m{number:02}" for number in range(16)]
    for part in range(2):
        world.send(*(viewed(event_id) for event_id in passing[part::2]), viewed(f"bad{part}", price="x"))
    world.commit()
    # Their scratch folders must differ, their lake is the same.
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lake").symlink_to(tmp_path / "lake")
    both = [start(processes, tmp_path / name) for name in ("one", "two")]
    for process in both:
        process.join(120)
    assert [process.exitcode for process in both] == [0, 0]
    assert world.ids() == (passing, ["bad0", "bad1"])


def send(process: CollectorProcess, items: list[Any], key: str = "web-key", client: httpx.Client | None = None) -> None:
    post = httpx.post if client is None else client.post
    answer = post(f"{process.url}/v1/batch", json={"batch": items}, auth=(key, ""), timeout=30)
    assert answer.status_code == 200


def test_beside_a_collector_under_load_every_id_is_one_row(tmp_path: Path) -> None:
    """Good and bad events come all the time, and clients mend theirs and send them again, while it replays."""
    (tmp_path / "map.yaml").write_text(MAP)
    mapping, done, sent = read_mapping(tmp_path / "map.yaml"), threading.Event(), set[str]()

    def load_it(process: CollectorProcess) -> None:
        chance, number, bad, client = random.Random(1), 0, list[str](), httpx.Client()
        while not done.is_set():
            number += 1
            fresh = [f"bad-{number}-{item}" for item in range(5)]
            items = [viewed(event_id, prodId="p") for event_id in fresh]
            items += [viewed(f"good-{number}-{item}", product_id="p") for item in range(5)]
            items += [viewed(event_id, product_id="p") for event_id in chance.sample(bad, min(2, len(bad)))]
            send(process, items, client=client)
            bad += fresh
            sent.update(item["messageId"] for item in items)
            time.sleep(0.01)

    with collector(tmp_path, "--flush-seconds", "0.1") as process:
        settings = load(tmp_path / "collector.toml", {}, {"lake": process.lake})
        sender = threading.Thread(target=load_it, args=(process,))
        sender.start()
        wait_until(lambda: rows(process.lake, "quarantine", "stream"), 30, process.log)
        replayed = [replay(settings, Selection(), mapping, dry_run=False).total.replayed for _ in range(5)]
        done.set()
        sender.join()
        assert process.stop() == 0, process.log()
        assert "flush failed" not in process.log()
    last = replay(settings, Selection(), mapping, dry_run=False)
    assert min(replayed) > 0
    counted = Counter(event_id for (event_id,) in rows(process.lake, "events", "event_id"))
    assert counted == Counter(sent)
    left = {event_id for (event_id,) in rows(process.lake, "quarantine", "event_id")}
    assert last.total.staying == last.total.taken == len(left)  # the client had sent those right, before
    print(f"{len(sent)} ids, {sum(replayed) + last.total.replayed} replayed, {len(left)} taken")


def polku(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "polku.cli", "lake", "replay", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(MAP)
    world = World(tmp_path, plan=WHOLE)
    world.send(viewed("a", prodId="p"), viewed("b", prodId="p"), viewed("c"))
    world.commit()
    lake = str(world.lake)

    done = polku("--lake", lake, "--map", str(tmp_path / "map.yaml"))
    assert done.returncode == 1, done.stderr
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["source", "event", "code", "looked", "at", "replayed", "duplicates", "broken", "taken", "unreadable"],
        ["web", "product_viewed", "missing_property", "3", "2", "0", "1", "0", "0"],
        ["all", "3", "2", "0", "1", "0", "0"],
        ["web", "product_viewed", "missing_property:", "1", "now", "missing_property", "at", "$.properties.product_id"],
    ]
    assert world.events("event_id, product_id, channel") == [("a", "p", None), ("b", "p", None)]

    done = polku("--lake", lake, "--code", "wrong_type", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["looked_at"] == 0


@pytest.mark.parametrize("dry_run", [True, False])
def test_without_a_plan_only_a_lake_of_the_built_in_one_is_touched(tmp_path: Path, dry_run: bool) -> None:
    """Else its columns would be added for good, and events of the lake's own plan would pass as unplanned ones."""
    world = World(tmp_path)  # its plan has fewer columns
    world.send(viewed("a"))
    world.commit()
    settings = load(None, {}, {"lake": str(world.lake), "dev": True})
    before = DeltaTable(world.lake / "events").version()
    with pytest.raises(LakeError, match="not made with the built-in plan: give the plan of its collector"):
        replay(settings, Selection(), Mapping(), dry_run=dry_run)
    assert DeltaTable(world.lake / "events").version() == before
    assert world.ids() == ([], ["a"])


def test_what_cannot_work_says_why_and_ends_with_2(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from polku_collector.lake_cli import lake

    (tmp_path / "bad.yaml").write_text("events: {a: {rename: {b: 1}}}")
    (tmp_path / "plan").mkdir()
    for arguments, expected in (
        (["--lake", str(tmp_path / "none")], "no lake at"),
        (["--lake", str(tmp_path)], "no lake at"),
        (["--map", str(tmp_path / "bad.yaml")], "the new name is not a plain name"),
        (["--map", str(tmp_path / "none.yaml")], "No such file"),
        (["--config", str(tmp_path / "none.toml")], "none.toml"),
        (["--lake", str(tmp_path), "--plan", str(tmp_path / "plan")], "plan"),
        (["--since", "2026-11-02", "--until", "2026-11-01"], "is not before"),
    ):
        result = CliRunner().invoke(lake, ["replay", *arguments])
        assert result.exception is not None
        assert getattr(result.exception, "exit_code", None) == 2, (arguments, result.exception)
        assert expected in str(result.exception), (arguments, result.exception)
