"""Nodes that start at the same moment make one table: it has one id for life, by which journals are bound to it."""

import multiprocessing
from multiprocessing.synchronize import Barrier

import pytest
from deltalake import DeltaTable

from polku_collector.lake.open_store import open_store
from polku_collector.lake.table import Table
from tests.s3_server import s3_bucket

NODES = 4
ROUNDS = 3


def test_nodes_that_create_the_table_at_once_see_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    start = multiprocessing.get_context("spawn")
    with s3_bucket("lake", monkeypatch), start.Manager() as manager:
        seen = manager.dict()
        barrier = manager.Barrier(NODES)
        nodes = [start.Process(target=_create, args=(n, barrier, seen)) for n in range(NODES)]
        for node in nodes:
            node.start()
        for node in nodes:
            node.join(120)
        assert [node.exitcode for node in nodes] == [0] * NODES
        for number in range(ROUNDS):
            store = open_store(f"s3://lake/{number}")
            final = DeltaTable(store.uri("events"), storage_options=store.storage_options())
            assert {seen[number, node] for node in range(NODES)} == {str(final.metadata().id)}
            assert final.version() == 0, "the losers wrote nothing"


def _create(node: int, barrier: Barrier, seen: dict[tuple[int, int], str]) -> None:
    for number in range(ROUNDS):
        store = open_store(f"s3://lake/{number}")
        barrier.wait(120)
        table = Table(store, "events", "event_date", {"event_date": "date", "event_id": "string"})
        seen[number, node] = table.id
