"""With `[lake.s3]` every object that anything of ours makes asks for the encryption, whoever writes it."""

import os
from pathlib import Path

import boto3
import httpx
import pytest
from click.testing import CliRunner

from polku_collector.lake_cli import lake as commands
from tests.collector.world import CONFIG, CollectorProcess, collector, rows
from tests.s3_server import requests_in, s3_bucket

LAKE = "s3://lake/shop"
KEY = "arn:aws:kms:us-east-1:111122223333:key/00000000-0000-0000-0000-000000000001"
ENCRYPTED = f"""{CONFIG}
[lake]
checkpoint_commits = 1

[lake.s3]
sse = "aws:kms"
kms_key_id = "{KEY}"
"""


def test_every_object_of_a_lake_is_encrypted_as_the_settings_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes, one of which hands over; then compaction and a vacuum by hand."""
    record = tmp_path / "requests"
    with s3_bucket("lake", monkeypatch, record) as endpoint:
        for name, config in (
            ("commits", ENCRYPTED),
            ("hands over", ENCRYPTED.replace("[lake]", '[lake]\ncommit = "hand_over"')),
        ):
            with collector(tmp_path / name, lake=LAKE, config=config) as process:
                for number in range(2):
                    send(process, f"{name} {number}")
                assert process.stop() == 0, process.log()
        kinds = {kind for key in keys_of_objects(endpoint) if (kind := kind_of(key))}
        assert kinds == {"data", "commit", "checkpoint", "note"}

        plan = str(tmp_path / "commits" / "collector.toml")
        config = ["--config", plan]
        for command in (["commit-handed-over", "--once", plan], ["compact", *config], ["vacuum", *config]):
            done = CliRunner().invoke(commands, [*command, "--lake", LAKE])
            assert done.exit_code in (0, 1), (command, done.output, done.exception)
        assert len(rows(LAKE, "events", "event_id", dict(os.environ))) == 4
        keys_of_objects(endpoint)

        made = [request for request in requests_in(record) if request.creates]
        assert any("_polku_probe" in request.path for request in made)
        assert any(request.headers["user-agent"].startswith("Boto3") for request in made)
        assert any(not request.headers["user-agent"].startswith("Boto3") for request in made)
        bare = [
            request
            for request in made
            if request.headers.get("x-amz-server-side-encryption") != "aws:kms"
            or request.headers.get("x-amz-server-side-encryption-aws-kms-key-id") != KEY
        ]
        assert bare == []


def send(process: CollectorProcess, event_id: str) -> None:
    good = {"type": "track", "event": "product_viewed", "userId": "u1", "messageId": event_id}
    batch = [good | {"properties": {"product_id": "p1"}}, good | {"messageId": f"{event_id} bad", "properties": {}}]
    answer = httpx.post(f"{process.url}/v1/batch", json={"batch": batch}, auth=("web-key", ""), timeout=30)
    assert answer.json()["accepted"] == 1


def keys_of_objects(endpoint: str) -> list[str]:
    """Every object in the bucket, each of which the store says is encrypted."""
    client = boto3.client("s3", endpoint_url=endpoint)
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket="lake")["Contents"]]
    for key in keys:
        head = client.head_object(Bucket="lake", Key=key)
        assert (head.get("ServerSideEncryption"), head.get("SSEKMSKeyId")) == ("aws:kms", KEY), key
    return keys


def kind_of(key: str) -> str | None:
    if "/_handover/" in key:
        return "note"
    if "/_delta_log/" in key:
        return "checkpoint" if "checkpoint" in key else "commit" if key.endswith(".json") else None
    return "data" if key.endswith(".parquet") else None
