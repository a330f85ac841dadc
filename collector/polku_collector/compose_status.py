"""The status of a lake put together: its tables, a node's journal if it is named, their mirror, costs, what to do."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from .compose_maintenance import by_hand, rules_of
from .compose_mirror import mirror_lags
from .errors import CollectorError, JournalError
from .journal.standing import standings
from .journal.stream import streams_directory
from .lake.dedup import window_of
from .lake.gather import files_a_day
from .lake.handover import passed_over, read_notes
from .lake.open_store import open_store
from .lake.table import Table
from .maintain.costs import Costs, costs
from .maintain.run import Unobserved
from .maintain.status import (
    JournalStatus,
    Mirrored,
    MirrorStatus,
    NotesStatus,
    Status,
    TableStatus,
    table_status,
    to_do,
)
from .settings import Settings


def status(settings: Settings, journal: Path | None) -> Status:
    """Look at everything, change nothing. Raises CollectorError when lake or journal cannot be read."""
    now = datetime.now(UTC)
    with by_hand(settings, Unobserved(), writes=False) as (maintainer, opened):
        tables = [table_status(table, maintainer, rules_of(settings), now) for table in opened]
        notes = _notes(settings, {table.name: table for table in opened})
    waiting = _journal(settings, journal, now) if journal is not None else None
    mirror = _mirror(settings) if settings.lake.iceberg.catalog is not None else None
    return Status(
        settings.lake.uri,
        now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        tables,
        waiting,
        _costs(settings, tables),
        to_do(
            tables,
            waiting,
            most_files=settings.maintenance.compact_files,
            flush_seconds=settings.flush_seconds,
            window_seconds=settings.lake.dedup_window_days * 86_400,
            maintenance=settings.maintenance.enabled,
            mirror=mirror,
            mirror_seconds=settings.lake.iceberg.interval_seconds,
            notes=notes,
        ),
        mirror,
        notes,
    )


def _notes(settings: Settings, opened: Mapping[str, Table]) -> NotesStatus | None:
    found = read_notes(open_store(settings.lake.uri, s3=settings.lake.s3))
    if not found.good and not found.bad:
        return None
    bad = dict(found.bad)
    if "events" in opened and "quarantine" in opened:
        bad = passed_over(found, opened["events"], opened["quarantine"])
    return NotesStatus(len(found.good.keys() - bad.keys()), bad)


def _journal(settings: Settings, directory: Path, now: datetime) -> JournalStatus:
    if not streams_directory(directory).is_dir():
        raise JournalError(f"There is no journal at {directory}: give the --journal of a collector.")
    found = standings(directory)
    times = [standing.oldest for standing in found if standing.oldest is not None]
    window = window_of(directory / "ids", settings.lake.dedup_window_days * 86_400, time.time())
    return JournalStatus(
        str(directory),
        len(found),
        sum(standing.events for standing in found),
        sum(standing.size_bytes for standing in found),
        (now - min(times)).total_seconds() if times else None,
        window.seconds if window is not None else None,
        window is not None and window.bounded_by_bytes,
    )


def _mirror(settings: Settings) -> MirrorStatus:
    """A catalog that is away, or no pyiceberg here, is told and keeps nobody from seeing the rest."""
    catalog = settings.lake.iceberg.catalog or ""
    try:
        lags = mirror_lags(settings)
    except CollectorError as error:
        return MirrorStatus(catalog, [], str(error))
    return MirrorStatus(
        catalog,
        [Mirrored(lag.table, lag.delta_version, lag.mirrored_version, lag.versions, lag.seconds) for lag in lags],
    )


def _costs(settings: Settings, tables: list[TableStatus]) -> Costs | None:
    """None while there are no events to tell the rate of."""
    events = next((table for table in tables if table.name == "events"), None)
    if events is None or not events.events_per_second:
        return None
    refused = next((table.events_per_second for table in tables if table.name == "quarantine"), 0.0)
    return costs(
        events_per_second=events.events_per_second,
        refused_per_second=refused,
        flush_seconds=settings.flush_seconds,
        files_per_commit=files_a_day(events.events_per_second * settings.flush_seconds, 1, os.cpu_count() or 1),
        bytes_per_event=events.size_bytes / events.rows,
        streams=settings.server.workers,
        checkpoint_commits=settings.lake.checkpoint_commits,
        maintenance_seconds=settings.maintenance_seconds if settings.maintenance.enabled else None,
        compact_files=settings.maintenance.compact_files,
    )
