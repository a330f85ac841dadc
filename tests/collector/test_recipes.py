"""What docs/operations.md says of a moved journal, a cloned one and an older lake, done as a user does it."""

import shutil
from pathlib import Path

import httpx

from .world import CollectorProcess, collector, rows, wait_until


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
