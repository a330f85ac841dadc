"""Days and moments are those of UTC wherever the machine stands: from the request to the answer of an analysis."""

import json
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.collector.world import collector, rows

DAY = date(2026, 3, 2)
AT = [f"{DAY}T00:30:00.000Z", f"{DAY}T10:30:00.000Z", f"{DAY}T23:30:00.000Z"]
"""In Apia, thirteen hours ahead, the last is of the next day."""


def polku(*arguments: str) -> Any:
    """What a command answers with --json, told in the zone of the machine."""
    command = [sys.executable, "-m", "polku.cli", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_day_is_that_of_utc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Apia")
    told = subprocess.run([sys.executable, "-c", "import time; print(time.timezone)"], capture_output=True, check=True)
    assert told.stdout.strip() not in (b"", b"0"), "the machine is in another zone now"
    item = {"type": "track", "event": "product_viewed", "userId": "u1", "properties": {"product_id": "p1"}}
    with collector(tmp_path) as process:
        for number, at in enumerate(AT):
            batch = {"batch": [item | {"messageId": f"{number}", "timestamp": at}]}
            sent = httpx.post(f"{process.url}/v1/batch", json=batch, auth=("past-key", ""), timeout=30)
            assert sent.json()["accepted"] == 1
        assert process.stop() == 0, process.log()
    lake = process.lake

    def stored() -> list[tuple[Any, ...]]:
        return sorted(rows(lake, "events", "event_date, epoch_us(event_time)"))

    expected = [(DAY, int(datetime.fromisoformat(at).timestamp() * 1_000_000)) for at in AT]
    assert stored() == expected
    assert [path.name for path in Path(lake, "events").glob("event_date=*")] == [f"event_date={DAY}"]
    done = subprocess.run([sys.executable, "-m", "polku.cli", "lake", "compact", "--lake", lake], check=False)
    assert done.returncode == 0 and stored() == expected

    polku("build", "--lake", lake)
    days = polku("query", "--lake", lake, "SELECT CAST(day AS VARCHAR) AS day, touchpoints FROM daily_metrics")
    assert days == [{"day": str(DAY), "touchpoints": 3}]
    times = polku("query", "--lake", lake, "SELECT event_time FROM events ORDER BY event_time LIMIT 1")
    assert times == [{"event_time": "2026-03-02T00:30:00Z"}]
    period = ("--since", str(DAY), "--until", "2026-03-03")
    lived = polku("lifecycle", "--interval", "day", "--lake", lake, *period)
    active = [dict(zip(lived["columns"], row, strict=True)) for row in lived["rows"]]
    assert [(row["begins"], row["active"]) for row in active] == [(str(DAY), 1)]
    assert lived["coverage"]["touchpoints"] == 3 and lived["as_of"].startswith("2026-03-02T23:30:00")
