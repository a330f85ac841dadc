"""The same promises on an object store: a real S3-compatible server over HTTP that enforces `If-None-Match`."""

import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import polars
import pytest
from deltalake import DeltaTable

from polku_collector.compose_mirror import mirror_once
from polku_collector.lake.open_store import open_store
from polku_collector.mirror.catalog import open_catalog
from polku_collector.settings import Iceberg, Lake, Settings
from tests.collector.mirror.world import assert_same_rows
from tests.collector.world import collector, rows, wait_until
from tests.s3_server import s3_bucket


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with s3_bucket("lake", monkeypatch):
        yield "s3://lake/events-of-a-shop"


def test_events_reach_a_bucket_once_through_a_killed_committer(tmp_path: Path, bucket: str) -> None:
    with collector(tmp_path, lake=bucket) as process:
        item = {"type": "track", "event": "product_viewed", "userId": "u1", "properties": {"product_id": "p1"}}
        for number in range(30):
            sent = {"batch": [item | {"messageId": f"{number}"}, item | {"messageId": f"{number // 2}"}]}
            assert httpx.post(f"{process.url}/v1/batch", json=sent, auth=("web-key", ""), timeout=30).status_code == 200
            if number == 10:
                wait_until(lambda: rows(bucket, "events", "event_id", dict(os.environ)), 60, process.log)
                assert process.kill_child("committer")
        assert process.stop() == 0, process.log()
    found = polars.read_delta(f"{bucket}/events", storage_options={"AWS_ALLOW_HTTP": "true"})
    assert sorted(found["event_id"].to_list(), key=int) == [f"{number}" for number in range(30)]
    mirror_and_compare(tmp_path, bucket)
    left = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).list_objects_v2(Bucket="lake")["Contents"]
    assert not [entry["Key"] for entry in left if "_polku_probe" in entry["Key"]]


def mirror_and_compare(root: Path, lake: str) -> None:
    """The same bucket as Iceberg tables, whose files and metadata pyiceberg reaches by the same variables."""
    iceberg = Iceberg(catalog="shop", properties={"type": "sql", "uri": f"sqlite:///{root}/catalog.db"})
    settings = Settings(lake=Lake(uri=lake, iceberg=iceberg))
    assert [lag.versions for lag in mirror_once(settings)] == [0, 0]
    assert [lag.versions for lag in mirror_once(settings)] == [0, 0]
    catalog = open_catalog("shop", iceberg.properties, open_store(lake))
    for table in ("events", "quarantine"):
        mirrored = catalog.load_table(("polku", table))
        assert mirrored.location() == f"{lake}/_iceberg/{table}"
        assert len(mirrored.snapshots()) == 1
        assert_same_rows(DeltaTable(f"{lake}/{table}"), mirrored)
