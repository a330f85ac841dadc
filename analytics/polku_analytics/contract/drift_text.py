"""Drift as text for people."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from polku_analytics.contract.drift import Changed, Drift, QuarantineRate, Unseen
from polku_analytics.contract.proportions import Share
from polku_analytics.printing import aligned
from polku_schemas.amounts import counted

_MAX_ROWS = 40
_MAX_NAMES = 12


def explained(drift: Drift, read: str, window: str, baseline: str) -> str:
    """The whole report: what was read, and a table for each kind of drift."""
    head = f"{drift.plan} {drift.version} beside {counted(drift.events, 'event')} of {read}, {window}"
    parts = [f"{head}\ncompared with {counted(drift.baseline_events, 'event')}, {baseline}"]
    if drift.unplanned_events:
        columns = ["unplanned event", "events", "in quarantine", "first", "last", "from"]
        rows = [
            [e.event, e.events, e.quarantined, _minute(e.first), _minute(e.last), _senders(e.senders)]
            for e in drift.unplanned_events
        ]
        parts.append(_table(columns, rows))
    if drift.unplanned_properties:
        columns = ["unplanned property", "event", "values", "type", "first", "last", "from"]
        rows = [
            [p.path, p.event, p.values, p.suggested_type, _minute(p.first), _minute(p.last), _senders(p.senders)]
            for p in drift.unplanned_properties
        ]
        parts.append(_table(columns, rows))
    parts += _unseen(drift.unseen)
    if drift.changed:
        columns = ["changed", "event", "property", "source", "library", "before", "now"]
        parts.append(_table(columns, [_changed_row(changed) for changed in drift.changed]))
    if drift.quarantine:
        columns = ["in quarantine", "source", "library", "before", "now", ""]
        parts.append(_table(columns, [_rate_row(rate) for rate in drift.quarantine]))
    if not drift.is_found:
        parts.append("no drift")
    return "\n\n".join(parts)


def _unseen(unseen: Sequence[Unseen]) -> list[str]:
    stopped = [one for one in unseen if one.before]
    parts = []
    if stopped:
        columns = ["planned, no longer seen", "property", "seen before", "events now"]
        rows = [[one.event or "(any event)", one.path, one.before, one.of or None] for one in stopped]
        parts.append(_table(columns, rows))
    events = [one.event for one in unseen if not one.path and not one.before]
    if events:
        parts.append(f"planned, never seen: {counted(len(events), 'event')}: {_listed(events)}")
    by_event: dict[str, list[Unseen]] = {}
    for one in unseen:
        if one.path and not one.before:
            by_event.setdefault(one.event, []).append(one)
    if by_event:
        columns = ["planned, never seen", "events", "properties"]
        rows = [
            [
                event or "(any event)",
                max(one.of for one in group) if event else None,
                _listed([one.path for one in group]),
            ]
            for event, group in by_event.items()
        ]
        parts.append(_table(columns, rows))
    return parts


def _changed_row(changed: Changed) -> list[Any]:
    before = _share(changed.before) + (" (its source)" if changed.release and changed.compared_with == "source" else "")
    release = changed.release or "all"
    return [changed.what, changed.event, changed.path, changed.source, release, before, _share(changed.now)]


def _rate_row(rate: QuarantineRate) -> list[Any]:
    mark = "changed" if rate.has_changed else ""
    return [rate.code, rate.source, rate.release or "all", _share(rate.before), _share(rate.now), mark]


def _share(share: Share) -> str:
    return f"{share.share:.1%} of {share.of:,}" if share.of else "no events"


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    more = [f"… and {len(rows) - _MAX_ROWS} more: --json has all"] if len(rows) > _MAX_ROWS else []
    return "\n".join([aligned(columns, rows[:_MAX_ROWS]), *more])


def _senders(senders: Mapping[str, int]) -> str:
    return _listed([f"{sender} ({count:,})" for sender, count in senders.items()], most=2)


def _listed(names: Sequence[str], most: int = _MAX_NAMES) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _minute(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
