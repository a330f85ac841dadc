"""Grafana's dashboard: above, what tells whether all is well; below, every metric of the list, one panel each.

The panels below are made from kind, labels and name alone, so that a new metric is on the dashboard as soon as it is in
the list.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from ..metrics import METRICS, Metric

_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_CHOSEN = 'instance=~"$instance"'
_COLUMNS, _WIDTH, _HEIGHT = 3, 8, 7
_STATS_A_ROW, _STAT_HEIGHT = 6, 4

# The second word of a metric's name → the heading of its row. Others get a row of their own by that word.
_HEADINGS = {
    "requests": "Requests",
    "request": "Requests",
    "body": "Requests",
    "refused": "Requests",
    "connections": "Requests",
    "events": "Events",
    "journal": "Journal",
    "lake": "Lake",
    "freshness": "Lake",
    "dedup": "Lake",
    "plan": "Processes and plan",
    "settings": "Processes and plan",
    "child": "Processes and plan",
    **dict.fromkeys(("table", "compactions", "compaction", "retention", "vacuum", "maintenance"), "Maintenance"),
}


class Stat(Struct, frozen=True):
    """A single figure at the top: green, or red from `red` on."""

    title: str
    expression: str
    unit: str
    red: float | None = None


def _quantile(histogram: str, part: float) -> str:
    return f"histogram_quantile({part}, sum by (le) (rate({histogram}_bucket{{{_CHOSEN}}}[$__rate_interval])))"


STATS = (
    Stat("Events in", f"sum(rate(polku_events_accepted_total{{{_CHOSEN}}}[$__rate_interval]))", "cps"),
    Stat("To quarantine", f"sum(rate(polku_events_rejected_total{{{_CHOSEN}}}[$__rate_interval])) or vector(0)", "cps"),
    Stat("Lag", f"max(polku_journal_lag_seconds{{{_CHOSEN}}})", "s", 300),
    Stat(
        "Journal full",
        f"max(polku_journal_bytes{{{_CHOSEN}}} / polku_journal_max_bytes{{{_CHOSEN}}})",
        "percentunit",
        0.5,
    ),
    Stat("Receipt to lake, p50", _quantile("polku_freshness_seconds", 0.5), "s"),
    Stat("Receipt to lake, p99", _quantile("polku_freshness_seconds", 0.99), "s", 60),
    Stat("Answer, p99", _quantile("polku_request_seconds", 0.99), "s", 1),
    Stat(
        "503 answers",
        f'sum(rate(polku_requests_total{{{_CHOSEN},status="503"}}[$__rate_interval])) or vector(0)',
        "reqps",
        0.001,
    ),
    Stat("Commit, p99", _quantile("polku_lake_commit_seconds", 0.99), "s"),
    Stat(
        "Retries a commit",
        f"sum(rate(polku_lake_commit_attempts_total{{{_CHOSEN}}}[$__rate_interval])) "
        f"/ sum(rate(polku_lake_commits_total{{{_CHOSEN}}}[$__rate_interval])) - 1",
        "short",
        1,
    ),
    Stat("Copies found", f"sum(rate(polku_lake_duplicates_total{{{_CHOSEN}}}[$__rate_interval]))", "cps"),
    Stat("Window of copies", f"min(polku_dedup_window_seconds{{{_CHOSEN}}})", "s"),
)


def dashboard_json(metrics: Mapping[str, Metric] = METRICS) -> str:
    """The dashboard, as Grafana's provisioning reads it."""
    document = {
        "title": "Polku collector",
        "uid": "polku-collector",
        "description": "Made by `python -m polku_collector.operate infra` from the collector's list of metrics.",
        "tags": ["polku"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [_data_source(), _instances()]},
        "panels": list(_panels(metrics)),
    }
    return json.dumps(document, indent=1) + "\n"


def _data_source() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _instances() -> dict[str, Any]:
    return {
        "name": "instance",
        "type": "query",
        "label": "Collector",
        "datasource": _SOURCE,
        "query": {"query": "label_values(polku_journal_max_bytes, instance)", "refId": "instance"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _panels(metrics: Mapping[str, Metric]) -> Iterator[dict[str, Any]]:
    top = 0
    for number, stat in enumerate(STATS):
        row, column = divmod(number, _STATS_A_ROW)
        width = 24 // _STATS_A_ROW
        yield _stat(stat) | _at(number + 1, column * width, row * _STAT_HEIGHT, width, _STAT_HEIGHT)
        top = (row + 1) * _STAT_HEIGHT
    identifier = len(STATS)
    for heading, names in _rows(metrics).items():
        identifier += 1
        place = _at(identifier, 0, top, 24, 1)
        yield {"type": "row", "title": heading, "collapsed": False, "panels": []} | place
        top += 1
        for number, name in enumerate(names):
            identifier += 1
            row, column = divmod(number, _COLUMNS)
            place = _at(identifier, column * _WIDTH, top + row * _HEIGHT, _WIDTH, _HEIGHT)
            yield _series(name, metrics[name]) | place
        top += -(-len(names) // _COLUMNS) * _HEIGHT


def _rows(metrics: Mapping[str, Metric]) -> dict[str, list[str]]:
    """Every metric once, under its heading, in the order of the list."""
    rows: dict[str, list[str]] = {}
    for name in metrics:
        word = name.split("_")[1]
        rows.setdefault(_HEADINGS.get(word, word.capitalize()), []).append(name)
    return rows


def _at(identifier: int, x: int, y: int, width: int, height: int) -> dict[str, Any]:
    return {"id": identifier, "gridPos": {"x": x, "y": y, "w": width, "h": height}}


def _stat(stat: Stat) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if stat.red is not None:
        steps.append({"color": "red", "value": stat.red})
    return {
        "type": "stat",
        "title": stat.title,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": stat.unit, "thresholds": {"mode": "absolute", "steps": steps}}},
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}},
        "targets": [{"refId": "A", "datasource": _SOURCE, "expr": stat.expression}],
    }


def _series(name: str, metric: Metric) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
        for number, (expression, legend) in enumerate(_queries(name, metric))
    ]
    return {
        "type": "timeseries",
        "title": name,
        "description": metric.help,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": _unit(name, metric), "min": 0}},
        "targets": targets,
    }


def _queries(name: str, metric: Metric) -> Iterator[tuple[str, str]]:
    """PromQL with the legend of its lines."""
    labels = ("instance", *metric.labels)
    by, legend = ", ".join(labels), " ".join(f"{{{{{label}}}}}" for label in labels)
    if metric.kind == "counter":
        yield f"sum by ({by}) (rate({name}{{{_CHOSEN}}}[$__rate_interval]))", legend
    elif metric.kind == "histogram":
        for part in (0.5, 0.99):
            rate = f"sum by ({by}, le) (rate({name}_bucket{{{_CHOSEN}}}[$__rate_interval]))"
            yield f"histogram_quantile({part}, {rate})", f"p{part * 100:g} {legend}"
    else:
        yield f"sum by ({by}) ({name}{{{_CHOSEN}}})", legend


def _unit(name: str, metric: Metric) -> str:
    """Grafana's name of the unit, from the metric's."""
    if metric.kind == "counter":
        return "Bps" if name.endswith("_bytes_total") else "cps"
    return "s" if name.endswith("_seconds") else "bytes" if name.endswith("_bytes") else "short"
