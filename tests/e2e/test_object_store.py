"""The same promises on an object store: a real S3-compatible server over HTTP that enforces `If-None-Match`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import polars
import pytest
from tests.collector.world import collector, free_port, rows, wait_until


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    # A process of its own: deltalake holds the interpreter's lock while it waits for an answer.
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    endpoint = f"http://127.0.0.1:{port}"
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
    }.items():
        monkeypatch.setenv(name, value)
    wait_until(lambda: _answers(endpoint), 30)
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="lake")
    yield "s3://lake/events-of-a-shop"
    server.kill()
    server.wait()


def _answers(endpoint: str) -> bool:
    try:
        return httpx.get(endpoint).status_code < 500
    except httpx.TransportError:
        return False


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
    left = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).list_objects_v2(Bucket="lake")["Contents"]
    assert not [entry["Key"] for entry in left if "_polku_probe" in entry["Key"]]
