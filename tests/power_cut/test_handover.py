"""Collectors that hand over and one that commits, as processes over a bucket, all killed at random: each event once."""

import collections
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import boto3
import httpx
import pytest

from tests.collector.world import CONFIG, CollectorProcess, rows, wait_until
from tests.s3_server import s3_bucket

NODES = 3
SECONDS = float(os.environ.get("POLKU_SECONDS", "20"))
LAKE = "s3://shop/lake"


class TakerProcess:
    """`polku lake commit-handed-over` as an operator starts it."""

    def __init__(self, settings: Path) -> None:
        self._command = [sys.executable, "-m", "polku.cli", "lake", "commit-handed-over", str(settings)]
        self._command += ["--lake", LAKE]
        self.log = settings.with_suffix(".log").open("ab")
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=self.log, stderr=self.log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.mark.parametrize("seed", [1])
def test_whoever_is_killed_each_event_is_committed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    settings = tmp_path / "taker.toml"
    settings.write_text(f"{CONFIG}\n[lake]\nflush_seconds = 0.3\n")
    patient = CONFIG.replace("drain_seconds = 60", "drain_seconds = 240")
    assert patient != CONFIG
    handing = f'{patient}\n[lake]\ncommit = "hand_over"\n'
    acknowledged: dict[str, None] = {}
    done = threading.Event()
    kills: collections.Counter[str] = collections.Counter()
    with s3_bucket("shop", monkeypatch) as endpoint:
        nodes = [CollectorProcess(tmp_path / f"node-{n}", lake=LAKE, config=handing) for n in range(NODES)]
        taker = TakerProcess(settings)
        senders = [
            threading.Thread(target=send_until, args=(node, n, acknowledged, done)) for n, node in enumerate(nodes)
        ]
        try:
            for node in nodes:
                node.wait_ready(120)
            for sender in senders:
                sender.start()
            wait_until(lambda: len({each.partition("-")[0] for (each,) in found()}) == NODES, 300, nodes[0].log)
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                time.sleep(chance.uniform(0.5, 2.0))
                kills[kill_one(chance, nodes, taker)] += 1
            done.set()
            for sender in senders:
                sender.join(60)
            # One vanishes with all it has, once it has handed over; the others stop in order.
            for node in nodes:
                node.wait_ready(120)
            for node in nodes:
                assert node.stop(300) == 0, node.log()
            shutil.rmtree(nodes[0].root / "journal")
            wait_until(lambda: set(acknowledged) <= {each for (each,) in found()}, 120, nodes[0].log)
            taker.process.terminate()
            assert taker.process.wait(60) == 0
        finally:
            done.set()
            taker.kill()
            for node in nodes:
                node.close()
        print(dict(kills), len(acknowledged), "events")
        counted = collections.Counter(each for (each,) in found())
        assert [each for each in acknowledged if counted[each] != 1] == []
        assert max(counted.values()) == 1
        listed = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        left = listed.list_objects_v2(Bucket="shop", Prefix="lake/_handover/").get("Contents", [])
        assert left == []
    assert acknowledged and len(kills) > 2


def send_until(node: CollectorProcess, number: int, acknowledged: dict[str, None], done: threading.Event) -> None:
    """Batches with ids of their own, and each batch again, as a client that missed the answer would send it."""
    count = 0
    while not done.is_set():
        ids = [f"{number}-{count}-{each}" for each in range(5)]
        item = {"type": "track", "event": "product_viewed", "userId": "u1", "properties": {"product_id": "p1"}}
        batch = {"batch": [item | {"messageId": each} for each in ids]}
        answers = 0
        while answers < 2 and not done.is_set():
            try:
                answer = httpx.post(f"{node.url}/v1/batch", json=batch, auth=("web-key", ""), timeout=10)
            except httpx.TransportError:
                time.sleep(0.2)
                continue
            if answer.status_code == 200:
                answers += 1
                acknowledged.update(dict.fromkeys(ids))
        count += 1
        time.sleep(0.05)


def kill_one(chance: random.Random, nodes: list[CollectorProcess], taker: TakerProcess) -> str:
    victim = chance.choice(["intake", "committer", "committer", "node", "taker", "taker"])
    node = chance.choice(nodes)
    if victim == "taker":
        os.kill(taker.process.pid, signal.SIGKILL)
        taker.process.wait()
        taker.start()
    elif victim == "node":
        node.kill()
        node.restart()
    else:
        node.kill_child(victim)
    return victim


def found() -> list[tuple[str]]:
    return rows(LAKE, "events", "event_id", {"AWS_ALLOW_HTTP": "true"})
