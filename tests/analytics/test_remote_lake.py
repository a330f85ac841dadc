"""A lake on an S3-compatible store is read through a bounded cache of its files, and built into."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from polku_analytics import file_cache
from polku_analytics.build import build
from polku_analytics.errors import LakeError
from polku_analytics.file_cache import FileCache
from polku_analytics.journeys import open_journeys
from polku_analytics.lake import Lake
from polku_schemas import Plan
from tests.s3_server import s3_server


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    environ = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "POLKU_CACHE_DIR": str(tmp_path / "cache"),
    }
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with s3_server() as address:
        yield environ | {"AWS_ENDPOINT_URL": address}


def upload(folder: Path, environ: dict[str, str]) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=environ["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_bucket(Bucket="bucket")
    for path in folder.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), "bucket", f"lake/{path.relative_to(folder)}")


def test_a_remote_lake_is_built_and_read(
    make_lake: Callable[..., Lake], event: Callable[..., Any], plan: Plan, store: dict[str, str]
) -> None:
    local = make_lake([event("page_viewed", 0, anonymous_id="a"), event("product_viewed", 5, anonymous_id="a")])
    upload(Path(local.uri), store)
    lake = Lake("s3://bucket/lake", environ=store)

    build(lake, plan)
    journeys = open_journeys(lake, plan)

    assert {"events", "touchpoints", "persons"} <= set(lake.tables())
    assert journeys.rows("SELECT COUNT(*), COUNT(DISTINCT person_key) FROM touchpoints") == [(2, 1)]


def test_the_cache_keeps_to_its_bytes(
    make_lake: Callable[..., Lake],
    event: Callable[..., Any],
    store: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    local = make_lake([event("page_viewed", day * 86400, anonymous_id="a") for day in range(4)])
    upload(Path(local.uri), store)
    files = [(file.uri, file.size_bytes) for file in Lake("s3://bucket/lake", environ=store).snapshot("events").files]
    monkeypatch.setattr(file_cache, "IN_USE_SECONDS", -1)
    cache = FileCache(Path(store["POLKU_CACHE_DIR"]), 2 * max(size for _, size in files) + 10, store)

    for file in files:
        assert Path(cache.fetch([file])[0]).stat().st_size == file[1]

    assert len(list(cache.folder.glob("*"))) == 2
    with pytest.raises(LakeError, match="POLKU_CACHE_BYTES"):
        cache.fetch(files)
