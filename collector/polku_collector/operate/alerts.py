"""The alerts: when somebody has to look, and which part of docs/operations.md says what to do.

They are few on purpose. Each tells of something that users or data will suffer from, or that has already gone wrong and
will not mend itself. The thresholds fit the default settings; docs/operations.md says what to change with which one.
"""

from __future__ import annotations

import yaml
from msgspec import Struct

PAGE = "docs/operations.md"
_HEAD = """\
# Made by `python -m polku_collector.operate infra`. Change collector/polku_collector/operate/alerts.py instead.
"""


class Alert(Struct, frozen=True):
    """One rule of Prometheus."""

    name: str
    expression: str
    lasting: str
    """How long it must hold before it is told."""
    severity: str
    """`critical`: now, or events will be lost or refused. `warning`: today."""
    summary: str
    description: str

    @property
    def runbook(self) -> str:
        """The place in the pages that says what it means and what to do."""
        return f"{PAGE}#{self.name.lower()}"


def _newly(series: str, window: str) -> str:
    """It grew in the window, or was born in it: a counter with labels begins with its first count, not with 0."""
    return f"(increase({series}[{window}]) > 0) or ({series} > 0 unless {series} offset {window})"


def _p99(histogram: str, window: str) -> str:
    return f"histogram_quantile(0.99, sum by (instance, le) (rate({histogram}_bucket[{window}])))"


_REJECTED = "sum by (instance, source) (rate(polku_events_rejected_total[15m]))"
_ACCEPTED = "sum by (instance, source) (rate(polku_events_accepted_total[15m]))"

ALERTS = (
    Alert(
        "PolkuCollectorDown",
        'up{job="polku"} == 0',
        "2m",
        "critical",
        "Collector {{ $labels.instance }} does not answer",
        "Prometheus cannot scrape it. SDKs keep their events and try again; what has no SDK loses them.",
    ),
    Alert(
        "PolkuJournalLag",
        "polku_journal_lag_seconds > 300",
        "1m",
        "warning",
        "Collector {{ $labels.instance }} has events that are not in the lake after {{ $value | humanizeDuration }}",
        "Durable events wait in the journal: the store is away, or the committer does not keep up. Nothing is lost.",
    ),
    Alert(
        "PolkuJournalFilling",
        "polku_journal_bytes > 0.5 * polku_journal_max_bytes",
        "1m",
        "critical",
        "The journal of collector {{ $labels.instance }} is more than half full",
        "When it is full, requests are answered 503 and clients must keep their events.",
    ),
    Alert(
        "PolkuRequestsTurnedAway",
        'sum by (instance) (rate(polku_errors_total{error=~"journal_full|journal_unavailable"}[5m])) > 0',
        "1m",
        "critical",
        "Collector {{ $labels.instance }} turns requests away: its journal takes no events",
        "It cannot make events durable. What clients do not keep is lost.",
    ),
    Alert(
        "PolkuJournalDamaged",
        "polku_journal_damage_total > 0",
        "0s",
        "critical",
        "The journal of collector {{ $labels.instance }} was found damaged",
        "Acknowledged events may be missing from the lake. The damaged segments are kept. Told until the next start.",
    ),
    Alert(
        "PolkuCommitsFail",
        "increase(polku_lake_failures_total[15m]) > 5",
        "0s",
        "warning",
        "Flushes of collector {{ $labels.instance }} fail",
        "They are tried again, and nothing is lost while the journal has room. The log has the reasons.",
    ),
    Alert(
        "PolkuCommitConflicts",
        "increase(polku_lake_conflicts_total[15m]) > 3",
        "0s",
        "warning",
        "Collector {{ $labels.instance }} meets another committer of its own streams",
        "Two committers work on one journal or on copies of it. No event is doubled, but each disturbs the other.",
    ),
    Alert(
        "PolkuProcessesRestart",
        "sum by (instance, role) (increase(polku_child_restarts_total[15m])) > 2",
        "0s",
        "warning",
        "The {{ $labels.role }} process of collector {{ $labels.instance }} dies again and again",
        "The supervisor starts it anew each time. The log has the reason: `the process ends by an error`.",
    ),
    Alert(
        "PolkuEventsRejected",
        f"{_REJECTED} > 0.05 * ({_REJECTED} + ({_ACCEPTED} or 0 * {_REJECTED}))",
        "10m",
        "warning",
        "More than 5 % of the events of source {{ $labels.source }} go to quarantine",
        "A release of the sender, or a new plan, broke its events. They are kept and can be replayed.",
    ),
    Alert(
        "PolkuEventsUnconvertible",
        _newly("polku_lake_unconvertible_total", "15m"),
        "0s",
        "warning",
        "Accepted events of collector {{ $labels.instance }} could not be turned into columns",
        "They are in quarantine with the code `unconvertible`: the plan and the table disagree about a column.",
    ),
    Alert(
        "PolkuPlanRefused",
        _newly('polku_plan_reloads_total{outcome="refused"}', "15m"),
        "0s",
        "warning",
        "Collector {{ $labels.instance }} does not take the new plan",
        "It goes on with the old one. The log has the reasons: `the new plan is refused`.",
    ),
    Alert(
        "PolkuSettingsRefused",
        _newly('polku_settings_reloads_total{outcome="refused"}', "15m"),
        "0s",
        "warning",
        "Collector {{ $labels.instance }} does not take its new settings",
        "It goes on with the old ones: a key that was to be withdrawn is still good. The log has the reasons.",
    ),
    Alert(
        "PolkuQuarantineUnkept",
        _newly("polku_quarantine_unkept_total", "15m"),
        "0s",
        "warning",
        "Rejected events of source {{ $labels.source }} are not kept any more today",
        "The source is over its bytes of the day in `quarantine`. These events are gone; good ones are taken as ever.",
    ),
    Alert(
        "PolkuSourceKeptOut",
        'sum by (instance, source) (rate(polku_refused_requests_total{reason="rate"}[5m])) > 0',
        "15m",
        "warning",
        "Source {{ $labels.source }} has been over its rate for a quarter of an hour",
        "Its requests are answered 429 or 503, and its clients must keep their events.",
    ),
    Alert(
        "PolkuDedupWindowShort",
        "polku_dedup_window_seconds < 86400",
        "15m",
        "warning",
        "Collector {{ $labels.instance }} knows copies of the last {{ $value | humanizeDuration }} only",
        "The index of ids is at its bound of bytes. Events that are sent again later than that are doubled.",
    ),
    Alert(
        "PolkuNotesPassedOver",
        "polku_lake_notes_passed_over > 0",
        "5m",
        "critical",
        "Collector {{ $labels.instance }} cannot commit what {{ $value }} notes of other nodes hand over",
        "The events are in files beside the tables and in no table. The log has the reasons.",
    ),
    Alert(
        "PolkuAnswersSlow",
        _p99("polku_request_seconds", "5m") + " > 1",
        "10m",
        "warning",
        "1 % of the requests to collector {{ $labels.instance }} take longer than a second",
        "The processor or the journal's disk is too slow for the load.",
    ),
    Alert(
        "PolkuJournalDiskSlow",
        _p99("polku_journal_block_seconds", "5m") + " > 0.5",
        "10m",
        "warning",
        "The journal's disk of collector {{ $labels.instance }} takes more than half a second to fsync",
        "Every request waits for it.",
    ),
    Alert(
        "PolkuEventsLate",
        _p99("polku_freshness_seconds", "15m") + " > 60",
        "15m",
        "warning",
        "Events of collector {{ $labels.instance }} take more than a minute to the lake",
        "Commits are made, but flushes take long or take only a part of what waits.",
    ),
    Alert(
        "PolkuMaintenanceFails",
        "increase(polku_maintenance_failures_total[90m]) > 0",
        "2h",
        "warning",
        "Maintenance of collector {{ $labels.instance }} fails again and again",
        "Small files are not merged, or rows and files that are too old not removed. The log has the reasons.",
    ),
    Alert(
        "PolkuTooManyFiles",
        "polku_table_files - min_over_time(polku_table_files[1d]) > 3000",
        "1h",
        "warning",
        "The table {{ $labels.table }} got {{ $value }} more files in a day, as collector {{ $labels.instance }} sees",
        "Maintenance does not keep up with them. Queries and commits grow slower with every file.",
    ),
    Alert(
        "PolkuIcebergLag",
        "polku_iceberg_lag_seconds > 600",
        "5m",
        "warning",
        "The Iceberg table of {{ $labels.table }} lacks commits of {{ $value | humanizeDuration }} ago",
        "The Delta tables are whole; who reads by Iceberg misses the newest rows. The log has the reasons.",
    ),
)


def rules_yaml(alerts: tuple[Alert, ...] = ALERTS) -> str:
    """The rules file for Prometheus."""
    rules = [
        {
            "alert": alert.name,
            "expr": alert.expression,
            "for": alert.lasting,
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary, "description": alert.description, "runbook": alert.runbook},
        }
        for alert in alerts
    ]
    document = {"groups": [{"name": "polku-collector", "rules": rules}]}
    rules_text: str = yaml.safe_dump(document, sort_keys=False, width=1000, allow_unicode=True)
    return _HEAD + rules_text
