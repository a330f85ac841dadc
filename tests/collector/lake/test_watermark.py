"""What a table's watermark costs on an object store: it is asked for several times a flush, also when nothing comes."""

from pathlib import Path

import pytest

from polku_collector.lake.commit import commit
from polku_collector.lake.open_store import open_store
from polku_collector.lake.table import Table
from tests.s3_server import requests_in, s3_bucket


def test_a_watermark_is_read_once_a_version_and_is_that_of_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "record"
    with s3_bucket("lake", monkeypatch, record):
        store = open_store("s3://lake/x")
        one = Table(store, "events", "event_date", {"event_date": "date", "event_id": "string"})
        other = Table(store, "events", "event_date", None)
        for last in range(1, 4):
            one.refresh()
            commit(one, [], {"a": last - 1}, {"a": last})
        one.refresh()
        assert (one.watermark("a"), one.watermark("never")) == (3, 0)
        before = len(requests_in(record))
        for _ in range(10):
            one.refresh()
            assert (one.watermark("a"), one.watermark("never")) == (3, 0)
        requests = [request.path.rpartition("/")[2] for request in requests_in(record)[before:]]
        assert not [name for name in requests if name[:20].isdecimal()], "no commit is read again"
        # What another writer commits is seen with the refresh, and not before.
        other.refresh()
        commit(other, [], {"a": 3}, {"a": 4})
        assert one.watermark("a") == 3
        one.refresh()
        assert one.watermark("a") == 4
        one.reopen()
        assert one.watermark("a") == 4
