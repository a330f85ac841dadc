"""The main job on real data: a slice of a retailer's year from the SDK to the lake; figures equal the source.

The expected figures are computed here with pyarrow straight from the package's files, sharing nothing with the sender.
"""

import random
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from polku import Client
from polku_demo.calls import Call
from polku_demo.retail import Retail, data_folder
from polku_demo.sending import make
from tests.collector.world import CollectorProcess, collector, rows

HOUSEHOLDS = 40
CONFIG = """
[sources.retail]
keys = ["retail-key"]
channel = "store"
historical = true
"""


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    return list(Retail(HOUSEHOLDS).calls())


def expected(calls: list[Call]) -> dict[str, Any]:
    """Orders, revenue, items, households and redemptions of the slice, from the source files."""
    households = {int(call.user_id.rpartition("-")[2]) for call in calls if call.user_id}
    assert len(households) == HOUSEHOLDS
    wanted = pc.field("household_id").isin(sorted(households))
    lines = pq.read_table(data_folder() / "transactions.parquet", filters=wanted)
    redemptions = pq.read_table(data_folder() / "coupon_redemptions.parquet", filters=wanted)
    return {
        "orders": len(pc.unique(lines["basket_id"])),
        "revenue": sum(round(value * 100) for value in lines["sales_value"].to_pylist()),
        "items": len(lines),
        "households": len(pc.unique(lines["household_id"])),
        "redemptions": len(redemptions),
    }


def found(lake: str) -> dict[str, Any]:
    orders = rows(lake, "events", "event_name, user_id, revenue, len(products) AS lines")
    baskets = [row for row in orders if row[0] == "store_order_completed"]
    return {
        "orders": len(baskets),
        "revenue": sum(round(row[2] * 100) for row in baskets),
        "items": sum(row[3] for row in baskets),
        "households": len({row[1] for row in baskets}),
        "redemptions": sum(row[0] == "coupon_redeemed" for row in orders),
    }


def send(calls: list[Call], url: str) -> Client:
    client = Client("retail-key", url, full_queue="block", block_seconds=120)
    for call in calls:
        make(client, call)
    assert client.flush(180)
    return client


def test_the_figures_in_the_lake_equal_the_source_and_a_second_run_adds_nothing(
    tmp_path: Path, calls: list[Call]
) -> None:
    with collector(tmp_path, config=CONFIG) as process:
        client = send(calls, process.url)
        client.close()
        assert client.stats().delivered == len(calls)
        assert process.stop() == 0
    assert found(process.lake) == expected(calls)
    assert len(rows(process.lake, "events")) == len(calls)
    assert rows(process.lake, "quarantine") == []
    with collector(tmp_path, config=CONFIG) as process:
        send(calls, process.url).close()
        assert process.stop() == 0
    assert len(rows(process.lake, "events")) == len(calls)
    assert rows(process.lake, "quarantine") == []


@pytest.mark.parametrize("seed", [1])
def test_whatever_is_killed_every_acknowledged_event_is_there_exactly_once(
    tmp_path: Path, calls: list[Call], seed: int
) -> None:
    """Committer, intake and once the whole node die with SIGKILL at random moments while the slice is sent."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    kills = {"intake": 0, "committer": 0, "node": 0}
    with collector(tmp_path, "--flush-seconds", "0.1", config=CONFIG) as process:
        done = threading.Event()
        killer = threading.Thread(target=_kill_until, args=(process, chance, kills, done))
        client = Client(
            "retail-key", process.url, full_queue="block", block_seconds=300, batch_events=50, give_up_after_seconds=600
        )
        killer.start()
        for number, call in enumerate(calls):
            make(client, call)
            if number % 40 == 0:
                time.sleep(0.1)  # the slice lasts as long as the kills do
        assert client.flush(300)
        done.set()
        killer.join()
        client.close()
        assert client.stats().delivered == len(calls)
        process.wait_ready()
        assert process.stop() == 0, process.log()
    print(kills)
    assert min(kills["intake"], kills["committer"]) >= 2, kills
    ids = [event_id for (event_id,) in rows(process.lake, "events", "event_id")]
    assert len(ids) == len(set(ids))
    assert set(ids) == {call.message_id for call in calls}
    assert found(process.lake) == expected(calls)
    assert rows(process.lake, "quarantine") == []


def _kill_until(process: CollectorProcess, chance: random.Random, kills: dict[str, int], done: threading.Event) -> None:
    while not done.wait(chance.uniform(0.3, 1.5)):
        role = chance.choice(["intake", "committer", "committer", "node"])
        if role == "node":
            if kills["node"] < 1:
                kills["node"] += 1
                process.kill()
                process.restart()
        elif process.kill_child(role):
            kills[role] += 1
