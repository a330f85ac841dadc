"""The committer of a node, put together: all streams of the journal → files → one fenced commit.

With `compose_intake` the only place where the stages meet; each loads only what its own process needs.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from polku_schemas import Plan

from .compose_tracing import TracedFlushes
from .errors import CollectorError, CommitUncertain, JournalError, StoreUnreachable, TableMismatch
from .files import DISK
from .journal.reader import StreamReader, open_streams
from .journal.stream import journal_bytes, lock_journal, streams_directory
from .lake.checkpoints import Checkpoints
from .lake.columns import ColumnsStep
from .lake.enrich import UserAgents
from .lake.handover import HandingCommitter
from .lake.loop import Committer, Flush, LakeStream, Observer
from .lake.open_store import open_store
from .lake.remember import open_memory
from .lake.store import Store
from .lake.table import QUARANTINE_COLUMNS, Table
from .logs import configure
from .metrics import Metrics, metrics_directory, use_directory
from .planned import events_table_columns, plan_in_force, plan_of
from .settings import Settings
from .supervisor import EXIT_DRAINED, EXIT_NOT_DRAINED, on_sigterm

log = structlog.get_logger("polku.collector")

_STORE_RETRY_SECONDS = 2.0


def run(settings: Settings) -> None:
    """The committer of a node. Ends on SIGTERM: drained with 0, with events left with 75, hopeless with 2."""
    configure(readable=settings.dev)
    use_directory(metrics_directory(settings.journal.directory))
    stop = threading.Event()
    on_sigterm(stop.set)
    traced = TracedFlushes(settings)
    try:
        sys.exit(_commit_until(settings, stop, traced))
    except CollectorError as error:
        if error.transient:
            raise
        log.critical("the committer cannot go on", reason=str(error))
        sys.exit(error.exit_code)
    finally:
        traced.close()


def _commit_until(settings: Settings, stop: threading.Event, traced: TracedFlushes) -> int:
    metrics = Metrics()
    directory = Path(settings.journal.directory)
    agents = UserAgents()
    threading.Thread(target=agents.prepare, name="polku-agents", daemon=True).start()  # beside opening the tables
    store = open_store(settings.lake.uri, s3=settings.lake.s3)
    opened = _open_when_reachable(store, plan_in_force(directory), stop)
    if opened is None:  # told to stop before the store ever answered
        return EXIT_NOT_DRAINED if journal_bytes(directory) else EXIT_DRAINED
    events, quarantine = opened
    committer, streams = _committer(settings, store, events, quarantine, agents, metrics, traced.observers)
    log.info("committing", lake=settings.lake.uri, every_seconds=settings.flush_seconds, table=events.id)
    committer.run(settings.flush_seconds, stop)
    left = committer.drain(time.monotonic() + settings.limits.drain_seconds)
    if left:
        log.error(
            "stopped before everything was committed",
            events_left=left,
            journal_bytes=journal_bytes(directory),
        )
        return EXIT_NOT_DRAINED
    streams()  # the streams of the workers that ended before us are empty now
    log.info("drained")
    return EXIT_DRAINED


def drain(settings: Settings, progress: Callable[[int], None] = lambda left: None) -> int:
    """Commit what a journal holds that no collector has, then end: with the events left, 0 when it is empty.

    It gives up when nothing has been committed for `limits.drain_seconds`. Raises CollectorError when the journal is in
    use, belongs to another lake or is not there.
    """
    directory = Path(settings.journal.directory)
    if not streams_directory(directory).is_dir():
        raise JournalError(f"There is no journal at {directory}: give the --journal of a collector.")
    with lock_journal(directory):
        metrics = Metrics()
        store = open_store(settings.lake.uri, s3=settings.lake.s3)
        late = threading.Event()
        timer = threading.Timer(settings.limits.drain_seconds, late.set)
        timer.start()
        try:
            opened = _open_when_reachable(store, _plan_of_journal(directory, settings), late)
        finally:
            timer.cancel()
        if opened is None:
            raise StoreUnreachable(f"The lake {settings.lake.uri} does not answer: the journal is as it was.")
        committer, streams = _committer(settings, store, *opened, UserAgents(), metrics)
        left, before = committer.waiting(), -1
        while left and left != before:
            progress(left)
            before = left
            left = committer.drain(time.monotonic() + settings.limits.drain_seconds)
        committer.trim()  # nothing had to be flushed of what another node, or a life that was killed, committed
        streams()
        return left


def _plan_of_journal(directory: Path, settings: Settings) -> Plan:
    """The plan that was in force; a journal of which only the streams were saved goes by the settings."""
    try:
        return plan_in_force(directory)
    except (OSError, ValueError):
        return plan_of(settings)


def _committer(
    settings: Settings,
    store: Store,
    events: Table,
    quarantine: Table,
    agents: UserAgents,
    metrics: Metrics,
    observers: Sequence[Observer] = (),
) -> tuple[Committer, _Streams]:
    directory = Path(settings.journal.directory)
    streams = _Streams(directory, events.id, metrics)
    kind: Callable[..., Committer] = Committer
    if settings.lake.commit == "hand_over":
        kind = functools.partial(
            HandingCommitter, handed_over=lambda events: metrics.set("polku_lake_handed_over_events", events)
        )
    committer = kind(
        store=store,
        events=events,
        quarantine=quarantine,
        columns=ColumnsStep(
            _scratch(settings),
            agents.table,
            threads=os.cpu_count() or 1,
            spill_max_bytes=settings.lake.spill_max_bytes,
        ),
        memory=open_memory(
            directory / "ids",
            events,
            streams().keys(),
            window_seconds=settings.lake.dedup_window_days * 86_400,
            max_bytes=settings.lake.dedup_max_bytes,
        ),
        streams=streams,
        observer=_LakeObserver(metrics, observers),
        flush_bytes=settings.lake.flush_bytes,
        checkpoints=Checkpoints(
            settings.lake.checkpoint_commits, beside=ThreadPoolExecutor(1, thread_name_prefix="polku-checkpoint")
        ),
    )
    return committer, streams


def _open_when_reachable(store: Store, plan: Plan, stop: threading.Event) -> tuple[Table, Table] | None:
    """Probe the store and open the tables; a store that does not answer is waited for, intake goes on meanwhile.

    Told to stop, it still tries once: what is journalled wants to be committed.
    """
    while True:
        try:
            store.probe()
            events = Table(store, "events", "event_date", events_table_columns(plan))
            quarantine = Table(store, "quarantine", "received_date", QUARANTINE_COLUMNS)
        except Exception as error:
            if isinstance(error, CollectorError) and not error.transient:
                raise
            if stop.is_set():
                return None
            log.warning("the store does not answer, trying again", reason=str(error))
            stop.wait(_STORE_RETRY_SECONDS)
        else:
            return events, quarantine


def _scratch(settings: Settings) -> Path:
    if settings.lake.scratch:
        return Path(settings.lake.scratch)
    return Path(settings.journal.directory) / "staging"


class _Streams:
    """All streams of a journal: finds new ones, takes over those of dead workers, removes drained ones."""

    def __init__(self, journal: Path, table_id: str, metrics: Metrics) -> None:
        self._journal, self._table_id, self._metrics = journal, table_id, metrics
        self._readers: dict[str, StreamReader] = {}
        self._bound: set[str] = set()

    def __call__(self) -> Mapping[str, LakeStream]:
        damage = lambda reason: self._metrics.count("polku_journal_damage_total")  # noqa: E731
        open_streams(self._journal, self._readers, on_corruption=damage)
        unbound = self._readers.keys() - self._bound  # also one that the disk did not let us bind before
        tables = {name: self._table_of(name) for name in unbound}
        # Before any is bound: a start with the wrong lake brings a stream of its own, which is no reason to refuse the
        # right one.
        if others := {table for table in tables.values() if table not in ("", self._table_id)}:
            raise TableMismatch(
                f"the journal {self._journal} holds events for another table (id {', '.join(sorted(others))}); "
                f"this lake's table is {self._table_id}: start with the lake it belongs to, or give this lake "
                "a journal directory of its own"
            )
        for name, table in tables.items():
            if not table:
                self._bind(name)
            self._bound.add(name)
        for name, reader in list(self._readers.items()):
            try:
                drained = reader.take_over() and reader.drained(reader.committed)
            except FileNotFoundError:  # somebody removed the directory: there is nothing left to read
                log.warning("a stream of the journal has vanished", stream=name)
                del self._readers[name]
                continue
            if drained:
                del self._readers[name]
                try:
                    reader.remove()
                except OSError as error:  # found again, empty, at the next start
                    log.warning("a drained stream could not be removed", stream=name, reason=str(error))
        return self._readers

    def _table_of(self, name: str) -> str:
        """The table that a stream belongs to for life: its numbers mean nothing to another. Empty while it is new, or
        when a power cut left the name without its content."""
        try:
            return (streams_directory(self._journal) / name / "table").read_text()
        except FileNotFoundError:
            return ""

    def _bind(self, name: str) -> None:
        directory = streams_directory(self._journal) / name
        fresh = directory / f".table-{os.getpid()}"
        fresh.write_text(self._table_id)
        DISK.sync_file(fresh)
        DISK.rename(fresh, directory / "table")
        DISK.sync_directory(directory)


class _LakeObserver:
    """Counts, logs, and tells the others."""

    def __init__(self, metrics: Metrics, others: Sequence[Observer]) -> None:
        self._metrics, self._others = metrics, others

    def flushed(self, flush: Flush) -> None:
        for other in self._others:
            other.flushed(flush)
        written, metrics = flush.written, self._metrics
        metrics.count("polku_lake_commits_total")
        metrics.count("polku_lake_commit_attempts_total", flush.attempts)
        metrics.observe("polku_lake_flush_seconds", flush.seconds)
        metrics.observe("polku_lake_commit_seconds", flush.commit_seconds)
        if flush.oldest_received_at:
            metrics.observe("polku_freshness_seconds", max(0.0, time.time() - flush.oldest_received_at.timestamp()))
        metrics.count("polku_lake_rows_total", written.event_rows, table="events")
        metrics.count("polku_lake_rows_total", written.quarantine_rows, table="quarantine")
        metrics.count("polku_lake_files_total", len(written.events), table="events")
        metrics.count("polku_lake_files_total", len(written.quarantine), table="quarantine")
        metrics.count("polku_lake_duplicates_total", written.duplicates)
        metrics.count("polku_lake_unconvertible_total", written.unconvertible)
        metrics.set("polku_dedup_window_seconds", flush.dedup_window_seconds)
        log.info(
            "committed",
            rows=written.event_rows,
            quarantined=written.quarantine_rows,
            duplicates=written.duplicates,
            files=len(written.events) + len(written.quarantine),
            seconds=round(flush.seconds, 3),
        )

    def failed(self, error: Exception, seconds: float) -> None:
        for other in self._others:
            other.failed(error, seconds)
        self._metrics.count("polku_lake_failures_total")
        if isinstance(error, CommitUncertain):
            self._metrics.count("polku_lake_conflicts_total")
