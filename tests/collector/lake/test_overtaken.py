"""A commit that another one overtook: deltalake puts it behind that one, and tells nobody."""

import json
from pathlib import Path

from polku_collector.lake.commit import commit
from polku_collector.lake.local_store import LocalStore
from polku_collector.lake.table import Table

COLUMNS = {"event_date": "date", "event_id": "string"}


def test_a_conflict_that_deltalake_settles_is_one_attempt_and_nothing_tells_of_it(tmp_path: Path) -> None:
    """When this fails deltalake has begun to tell: count it in a metric, and take the sentence out of the page."""
    store = LocalStore(tmp_path)
    one = Table(store, "events", "event_date", COLUMNS)
    other = Table(store, "events", "event_date", None)
    assert commit(one, [], {"a": 0}, {"a": 1}) == 1
    assert other.version < Table(store, "events", "event_date", None).version, "it stands behind"
    assert commit(other, [], {"b": 0}, {"b": 1}) == 1
    first, second = (
        {key for line in path.read_text().splitlines() for key in json.loads(line).get("commitInfo", ())}
        for path in sorted((tmp_path / "events" / "_delta_log").glob("*.json"))[-2:]
    )
    assert first == second, "the log says of a commit that was overtaken what it says of any"
    fresh = Table(store, "events", "event_date", None)
    assert (fresh.watermark("a"), fresh.watermark("b")) == (1, 1)
