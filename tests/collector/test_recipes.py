"""What docs/operations.md says of a moved journal, a cloned one, an older lake and a backup, done as a user does it."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from tests.s3_server import s3_bucket

from .world import CONFIG, CollectorProcess, collector, rows, wait_until


def send(process: CollectorProcess, *event_ids: str) -> None:
    item = {"type": "track", "event": "product_viewed", "userId": "u", "properties": {"product_id": "p"}}
    batch = {"batch": [item | {"messageId": event_id} for event_id in event_ids]}
    assert httpx.post(f"{process.url}/v1/batch", json=batch, auth=("web-key", ""), timeout=30).status_code == 200


def ids(lake: str) -> list[str]:
    return sorted(row[0] for row in rows(lake, "events", "event_id"))


def test_a_moved_a_cloned_journal_and_an_older_lake(tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    with collector(tmp_path / "old machine", lake=lake) as process:
        send(process, "1")
        wait_until(lambda: ids(lake) == ["1"], 60, process.log)
        shutil.copytree(lake, tmp_path / "backup")
        send(process, "2", "3")
        process.kill()  # whatever it had committed by then, the journal holds it or the lake does
    shutil.copytree(tmp_path / "old machine" / "journal", tmp_path / "clone" / "journal")
    (tmp_path / "new machine").mkdir()
    shutil.move(tmp_path / "old machine" / "journal", tmp_path / "new machine" / "journal")

    # Move a collector to another machine.
    with collector(tmp_path / "new machine", lake=lake) as process:
        send(process, "4")
        assert process.stop() == 0, process.log()
    assert ids(lake) == ["1", "2", "3", "4"]

    # A journal was restored from a copy, or cloned.
    with collector(tmp_path / "clone", lake=lake) as process:
        send(process, "5")
        assert process.stop() == 0, process.log()
    assert ids(lake) == ["1", "2", "3", "4", "5"]

    # A lake was restored to an older state.
    restored = str(tmp_path / "restored")
    shutil.move(tmp_path / "backup", restored)
    with collector(tmp_path / "another", lake=restored) as process:
        send(process, "6")
        assert process.stop() == 0, process.log()
    assert ids(restored) == ["1", "6"]


def test_a_copy_of_a_bucket_is_a_whole_lake_when_the_logs_are_copied_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While events come and checkpoints are made."""
    config = f"{CONFIG}[lake]\ncheckpoint_commits = 2\n[maintenance]\nenabled = false\n"
    done = threading.Event()
    with s3_bucket("bucket", monkeypatch) as endpoint:
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        access = {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

        def held(lake: str) -> list[str]:
            return sorted(row[0] for row in rows(f"s3://bucket/{lake}", "events", "event_id", access | keys))

        with collector(tmp_path / "node", lake="s3://bucket/lake", config=config) as process:
            sent = threading.Thread(target=send_until, args=(process, done))
            sent.start()
            try:
                wait_until(lambda: process.log().count('"committed"') > 5, 120, process.log)
                copy(client, lambda key: "/_delta_log/" in key and not key.endswith("/_last_checkpoint"))
                before = len(held("lake"))
                wait_until(lambda: len(held("lake")) > before, 60, process.log)  # more than the copied logs tell
                copy(client, lambda key: "/_delta_log/" not in key)
            finally:
                done.set()
                sent.join()
            assert process.stop() == 0, process.log()
        kept = held("backup")
        assert 0 < len(kept) == len(set(kept)) < len(held("lake"))
        with collector(tmp_path / "another", lake="s3://bucket/backup") as process:
            send(process, "later")
            assert process.stop() == 0, process.log()
        assert held("backup") == sorted([*kept, "later"])


def send_until(process: CollectorProcess, done: threading.Event) -> None:
    number = 0
    while not done.wait(0.2):
        send(process, f"{number}")
        number += 1


def copy(client: Any, wanted: Callable[[str], bool]) -> None:  # Any: boto3 has no types
    """What `aws s3 sync` does of the keys that are wanted."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix="lake/"):
        for key in [entry["Key"] for entry in page["Contents"] if wanted(entry["Key"])]:
            client.copy_object(Bucket="bucket", Key=f"backup{key[4:]}", CopySource={"Bucket": "bucket", "Key": key})
