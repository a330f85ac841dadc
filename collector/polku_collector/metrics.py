"""Every metric of the collector, in one list. Processes share them through files, so that any worker answers for all.

Call `use_directory` before this module's metrics are first touched in a process (prometheus-client reads its
environment variable at import, hence the lazy import in `Metrics`).
"""

from __future__ import annotations

import os
import shutil
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct


class Metric(Struct, frozen=True):
    """One metric: its kind, what it tells, its labels."""

    kind: str  # counter, gauge (sum over processes), newest (a gauge of the committer), histogram
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# A healthy collector is at its flush interval, one whose store was away at hours.
_LONG_SECONDS = (0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 43200.0)

METRICS: dict[str, Metric] = {
    "polku_requests_total": Metric("counter", "Requests answered, by HTTP status.", ("status",)),
    "polku_errors_total": Metric("counter", "Requests answered with an error, by the code of the answer.", ("error",)),
    "polku_request_seconds": Metric(
        "histogram", "From the request's head to its answer, without waiting for the lake.", (), _SECONDS
    ),
    "polku_body_bytes_total": Metric("counter", "Bytes of bodies read, after decompression."),
    "polku_events_accepted_total": Metric("counter", "Events stored for the table `events`.", ("source",)),
    "polku_events_rejected_total": Metric("counter", "Events that `quarantine` is for.", ("source", "code")),
    "polku_quarantine_unkept_total": Metric(
        "counter", "Events rejected and not stored: their source is over its bytes of the day.", ("source",)
    ),
    "polku_events_warned_total": Metric("counter", "Events stored, but not as the plan has it.", ("source", "code")),
    "polku_client_lost_events_total": Metric(
        "counter", "Events that an SDK tells it lost before they were sent.", ("source", "reason")
    ),
    "polku_refused_requests_total": Metric(
        "counter", "Requests a limit of their source kept out, by reason: rate or origin.", ("source", "reason")
    ),
    "polku_refused_events_total": Metric(
        "counter", "Events a limit of their source kept out, as far as they were counted.", ("source", "reason")
    ),
    "polku_connections": Metric("gauge", "Connections that are open at present."),
    "polku_connections_closed_total": Metric("counter", "Connections closed by the collector, by reason.", ("reason",)),
    "polku_webhook_deliveries_total": Metric(
        "counter", "Deliveries to webhooks, by outcome: taken, ignored or refused.", ("webhook", "outcome")
    ),
    "polku_journal_blocks_total": Metric("counter", "Group commits: one fsync each."),
    "polku_journal_written_bytes_total": Metric("counter", "Bytes appended to the journal."),
    "polku_journal_block_seconds": Metric("histogram", "Encode, write and fsync of one block.", (), _SECONDS),
    "polku_journal_bytes": Metric("newest", "Bytes the journal holds at present."),
    "polku_journal_damage_total": Metric("counter", "Places where the journal was found damaged."),
    "polku_journal_max_bytes": Metric("newest", "At this size the journal is full: `journal.max_bytes`."),
    "polku_journal_lag_seconds": Metric("newest", "Age of the oldest durable event that is not committed yet."),
    "polku_journal_lag_bytes": Metric("newest", "Bytes of the journal from that event on."),
    "polku_lake_waiting_events": Metric("newest", "Durable events that are not committed yet."),
    "polku_lake_commits_total": Metric("counter", "Flushes committed."),
    "polku_lake_commit_attempts_total": Metric("counter", "Attempts those commits took."),
    "polku_lake_flush_seconds": Metric("histogram", "Reading, converting and committing one flush.", (), _SECONDS),
    "polku_lake_commit_seconds": Metric("histogram", "The last commit of one flush alone, all attempts.", (), _SECONDS),
    "polku_lake_conflicts_total": Metric("counter", "Flushes read anew because another committer had been there."),
    "polku_freshness_seconds": Metric(
        "histogram", "From the receipt of a flush's oldest event to its commit; one for each flush.", (), _LONG_SECONDS
    ),
    "polku_lake_ack_seconds": Metric(
        "histogram", "How long requests waited for the lake, of sources that want it.", (), _LONG_SECONDS
    ),
    "polku_lake_acks_late_total": Metric(
        "counter", "Requests answered 503 whose events are journalled: the lake took too long.", ("source",)
    ),
    "polku_lake_failures_total": Metric("counter", "Flushes that failed and are tried again."),
    "polku_lake_rows_total": Metric("counter", "Rows committed, by table.", ("table",)),
    "polku_lake_files_total": Metric("counter", "Data files committed, by table.", ("table",)),
    "polku_lake_duplicates_total": Metric("counter", "Events recognised as copies of earlier ones."),
    "polku_lake_unconvertible_total": Metric("counter", "Accepted events the lake could not turn into columns."),
    "polku_dedup_window_seconds": Metric("newest", "How far back copies are recognised at present."),
    "polku_lake_handed_over_events": Metric("newest", "Events handed over to another node and not committed yet."),
    "polku_lake_taken_over_rows_total": Metric("counter", "Rows committed for other nodes."),
    "polku_lake_taken_over_failures_total": Metric("counter", "Attempts to commit for other nodes that failed."),
    "polku_lake_notes_passed_over": Metric(
        "newest", "Notes of other nodes that cannot be committed, whatever is tried."
    ),
    "polku_iceberg_snapshots_total": Metric("counter", "Snapshots of the Iceberg mirror, by table.", ("table",)),
    "polku_iceberg_failures_total": Metric("counter", "Attempts to mirror that failed, by table.", ("table",)),
    "polku_iceberg_lag_versions": Metric("newest", "Commits that Iceberg does not show yet, by table.", ("table",)),
    "polku_iceberg_lag_seconds": Metric("newest", "Age of the oldest of those commits, by table.", ("table",)),
    "polku_table_files": Metric("newest", "Live files of a table, as maintenance last saw it.", ("table",)),
    "polku_compactions_total": Metric("counter", "Merges of files committed, by table.", ("table",)),
    "polku_compaction_files_total": Metric("counter", "Files that were merged into others, by table.", ("table",)),
    "polku_compaction_bytes_total": Metric("counter", "Bytes of those files.", ("table",)),
    "polku_compaction_duplicates_total": Metric("counter", "Copies from other collectors that merges removed."),
    "polku_compaction_conflicting_ids_total": Metric(
        "counter", "Events that merges met with the id of another and other content; both are kept."
    ),
    "polku_retention_rows_total": Metric("counter", "Rows removed because of their age, by table.", ("table",)),
    "polku_vacuum_files_total": Metric("counter", "Files deleted that no table needs any more.", ("table",)),
    "polku_maintenance_conflicts_total": Metric("counter", "Work given up because another collector was faster."),
    "polku_maintenance_failures_total": Metric("counter", "Maintenance that failed and is tried again."),
    "polku_maintenance_last_seconds": Metric(
        "newest", "When compaction, retention or vacuum last ended well (Unix time).", ("work",)
    ),
    "polku_plan_reloads_total": Metric(
        "counter", "Changed plans that were looked at, by outcome: in_force, refused or later.", ("outcome",)
    ),
    "polku_settings_reloads_total": Metric(
        "counter", "Settings read anew at a SIGHUP, by outcome: in_force or refused.", ("outcome",)
    ),
    "polku_child_restarts_total": Metric("counter", "Processes restarted by the supervisor.", ("role",)),
}

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def metrics_directory(journal: str) -> Path:
    """Beside the journal: both belong to one node."""
    return Path(journal) / "metrics"


def use_directory(directory: Path, *, fresh: bool = False) -> None:
    """Where the processes of one collector share their metrics; `fresh` forgets an earlier run's."""
    if fresh:
        shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    os.environ[_VARIABLE] = str(directory)


class Metrics:
    """The live metrics of this process, by name."""

    def __init__(self) -> None:
        import prometheus_client as prometheus

        self._by_name: dict[str, Any] = {}  # Any: prometheus-client's metric classes share no useful base
        for name, metric in METRICS.items():
            if metric.kind == "counter":
                made: Any = prometheus.Counter(name, metric.help, metric.labels)
            elif metric.kind == "histogram":
                made = prometheus.Histogram(name, metric.help, metric.labels, buckets=metric.buckets)
            else:
                mode: Any = "mostrecent" if metric.kind == "newest" else "livesum"
                made = prometheus.Gauge(name, metric.help, metric.labels, multiprocess_mode=mode)
            self._by_name[name] = made

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        (self._by_name[name].labels(**labels) if labels else self._by_name[name]).inc(amount)

    def observe(self, name: str, value: float) -> None:
        """Add to a histogram."""
        self._by_name[name].observe(value)

    def observe_all(self, name: str, values: Sequence[float]) -> None:
        """Add many to a histogram, at the price of a few: prometheus-client itself can add only one at a time."""
        histogram = self._by_name[name]
        histogram._sum.inc(sum(values))
        for bucket, number in Counter(bisect_left(histogram._upper_bounds, value) for value in values).items():
            histogram._buckets[bucket].inc(number)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        (self._by_name[name].labels(**labels) if labels else self._by_name[name]).set(value)


def exposition() -> bytes:
    """All processes' metrics in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def forget_process(pid: int) -> None:
    """A process died: its live gauges no longer count."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid)  # type: ignore[no-untyped-call]
