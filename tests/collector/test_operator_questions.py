"""What an operator asks the metrics of a running collector, and that the figures are those of what was sent."""

import os
import re
import signal
from pathlib import Path
from typing import Any

import httpx

from .world import CollectorProcess, collector, wait_until

CONFIG = """
[sources.web]
keys = ["web-key"]
cors = ["https://shop.example"]

[sources.app]
keys = ["app-key"]
unplanned = "quarantine"
bots = "refuse"

[sources.slow]
keys = ["slow-key"]
rate_events_per_second = 0.001
burst = 2

[journal]
max_bytes = 123456789

[maintenance]
compact_files = 10
interval_seconds = 0.2
"""
ROBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


def good(number: int, **more: Any) -> dict[str, Any]:
    item = {"type": "track", "event": "product_viewed", "userId": "u1", "messageId": f"{number}"}
    return item | {"properties": {"product_id": "p1"}} | more


def send(process: CollectorProcess, key: str, *events: dict[str, Any], lost: Any = (), **headers: str) -> int:
    body = {"batch": events} | ({"lost": lost} if lost else {})
    return httpx.post(f"{process.url}/v1/batch", json=body, auth=(key, ""), headers=headers, timeout=30).status_code


def figures(process: CollectorProcess) -> dict[str, float]:
    """By the name with its labels, as it stands on the page."""
    page = httpx.get(f"{process.url}/metrics", timeout=30).raise_for_status()
    lines = (line.rpartition(" ") for line in page.text.splitlines() if line.startswith("polku_"))
    return {name: float(value) for name, _, value in lines}


def expect(process: CollectorProcess, **expected: float) -> None:
    """`name__label=value`: each is there within half a minute, or absent if it is 0."""
    wanted = {_named(name): value for name, value in expected.items()}

    def others() -> dict[str, float]:
        found = figures(process)
        return {name: found.get(name, 0.0) for name, value in wanted.items() if found.get(name, 0.0) != value}

    wait_until(lambda: not others(), 30, lambda: f"{others()} are not {wanted}")


def _named(name: str) -> str:
    """`x_total__source_web__code_bad` → `x_total{code="bad",source="web"}`, labels by name as the page has them."""
    name, *labels = name.split("__")
    pairs = sorted(label.partition("_")[::2] for label in labels)
    return f"polku_{name}" + ("{" + ",".join(f'{label}="{value}"' for label, value in pairs) + "}" if pairs else "")


def test_an_operator_sees_what_came_what_was_refused_and_what_the_lake_does(tmp_path: Path) -> None:
    with collector(tmp_path, config=CONFIG) as process:
        missing, wrong = good(10, properties={}), good(11, properties={"product_id": 5})
        assert send(process, "web-key", good(1), good(2), good(3, properties={"product_id": "p", "x_new": 1})) == 200
        assert send(process, "web-key", missing, good(12, properties={})) == 200
        assert send(process, "app-key", good(1), wrong, {"type": "track", "event": "unheard_of", "userId": "u"}) == 200
        lost = [{"id": "l1", "reason": "queue_full", "count": 7}]
        assert send(process, "web-key", lost=lost) == 200
        assert send(process, "app-key", good(4, context={"userAgent": ROBOT})) == 200
        assert send(process, "slow-key", good(5), good(6)) == 200
        assert send(process, "slow-key", good(7), good(8), good(9)) == 503
        assert send(process, "web-key", good(20), origin="https://other.example") == 403
        assert send(process, "no-key", good(20)) == 401

        # How many came, were accepted, and were rejected: by reason and source.
        expect(
            process,
            requests_total__status_200=6,
            requests_total__status_401=1,
            requests_total__status_403=1,
            requests_total__status_503=1,
            request_seconds_count=9,
            errors_total__error_rate_limited=1,
            events_accepted_total__source_web=3,
            events_accepted_total__source_app=1,
            events_accepted_total__source_slow=2,
            events_rejected_total__source_web__code_missing_property=2,
            events_rejected_total__source_app__code_wrong_type=1,
            events_rejected_total__source_app__code_unknown_event=1,
            events_warned_total__source_web__code_unknown_property=1,
            client_lost_events_total__source_web__reason_queue_full=7,
        )
        # What limits have kept out.
        expect(
            process,
            refused_requests_total__source_slow__reason_rate=1,
            refused_requests_total__source_web__reason_origin=1,
            refused_events_total__source_app__reason_bot=1,
        )
        # What is in the tables, how it got there, and how fast.
        expect(
            process,
            lake_rows_total__table_events=6,
            lake_rows_total__table_quarantine=5,
            lake_duplicates_total=0,
            lake_waiting_events=0,
            journal_lag_seconds=0,
            journal_lag_bytes=0,
            journal_max_bytes=123456789,
        )
        assert send(process, "web-key", good(1), good(2)) == 200  # tried again
        expect(process, lake_duplicates_total=2, lake_rows_total__table_events=6)
        seen = figures(process)
        commits = seen["polku_lake_commits_total"]
        assert commits >= 2 and seen["polku_lake_commit_attempts_total"] >= commits
        for name in ("lake_commit_seconds", "lake_flush_seconds", "freshness_seconds"):
            assert seen[f"polku_{name}_count"] == commits and 0 < seen[f"polku_{name}_sum"] < 60 * commits, name
        assert 0 < seen["polku_lake_commit_seconds_sum"] < seen["polku_lake_flush_seconds_sum"]
        assert 0 < seen["polku_dedup_window_seconds"] <= 7 * 86_400
        assert seen["polku_journal_blocks_total"] == seen["polku_journal_block_seconds_count"] >= 2
        assert seen["polku_journal_written_bytes_total"] > 1000 and seen["polku_body_bytes_total"] > 1000

        # The one flush that had rows made one file, and maintenance has seen it.
        expect(process, table_files__table_events=seen['polku_lake_files_total{table="events"}'])

        # How long and how much the journal waits, while the committer does nothing.
        (committer,) = process.children("committer")
        os.kill(committer, signal.SIGSTOP)
        assert send(process, "web-key", good(30), good(31)) == 200

        def waits() -> bool:
            now = figures(process)
            return now["polku_lake_waiting_events"] == 2 and now["polku_journal_lag_seconds"] > 1

        wait_until(waits, 30, lambda: figures(process))
        waiting = figures(process)
        assert 100 < waiting["polku_journal_lag_bytes"] <= waiting["polku_journal_bytes"]
        os.kill(committer, signal.SIGCONT)
        expect(process, lake_waiting_events=0, journal_lag_seconds=0, lake_rows_total__table_events=8)

        # Who had to be started again.
        assert process.kill_child("committer")
        expect(process, child_restarts_total__role_committer=1)
        assert process.stop() == 0, process.log()


def test_the_page_is_the_same_whichever_worker_answers(tmp_path: Path) -> None:
    with collector(tmp_path, "--workers", "2", config=CONFIG) as process:
        wait_until(lambda: len(process.children("intake")) == 2, 60, process.log)
        for number in range(12):  # over a connection each, so that both have some
            assert send(process, "web-key", good(number)) == 200
        expect(process, events_accepted_total__source_web=12)
        pages = {_counters(httpx.get(f"{process.url}/metrics", timeout=30).text) for _ in range(12)}
        assert len(pages) == 1
        assert process.stop() == 0


def _counters(page: str) -> tuple[str, ...]:
    return tuple(re.findall(r"^polku_events_\w+_total.*$|^polku_requests_total.*$", page, re.MULTILINE))
