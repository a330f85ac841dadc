"""The commits of what other nodes hand over, put together: as a child of a collector, as a command, or once."""

from __future__ import annotations

import random
import signal
import sys
import threading
from collections.abc import Callable

import structlog
from deltalake.exceptions import TableNotFoundError

from .errors import CollectorError
from .lake.handover import Note, Taker
from .lake.open_store import open_store
from .lake.table import Table
from .logs import configure
from .metrics import Metrics, metrics_directory, use_directory
from .settings import Settings
from .supervisor import EXIT_DRAINED, on_sigterm

log = structlog.get_logger("polku.collector")

_LONGEST_PAUSE_SECONDS = 30.0


def run(settings: Settings) -> None:
    """Beside the committer of a node, until SIGTERM."""
    configure(readable=settings.dev)
    use_directory(metrics_directory(settings.journal.directory))
    stop = threading.Event()
    on_sigterm(stop.set)
    metrics = Metrics()
    _take_until(
        settings,
        stop,
        taken=lambda rows: metrics.count("polku_lake_taken_over_rows_total", rows),
        failed=lambda: metrics.count("polku_lake_taken_over_failures_total"),
        passed_over=lambda notes: metrics.set("polku_lake_notes_passed_over", notes),
    )
    sys.exit(EXIT_DRAINED)


def take_until_stopped(settings: Settings) -> None:
    """As a command of its own, until SIGTERM or SIGINT. Raises what trying again cannot mend."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: stop.set())
    _take_until(settings, stop)


def take_once(settings: Settings) -> int:
    """Commit what is handed over now; returns the rows."""
    taker = _open(settings)
    rows = 0
    while taker is not None and (notes := taker.take()):
        rows += _rows(notes)
    return rows


def _take_until(
    settings: Settings,
    stop: threading.Event,
    taken: Callable[[int], None] = lambda rows: None,
    failed: Callable[[], None] = lambda: None,
    passed_over: Callable[[int], None] = lambda notes: None,
) -> None:
    log.info("committing for other nodes", lake=settings.lake.uri, every_seconds=settings.flush_seconds)
    taker: Taker | None = None
    failures = 0
    while not stop.is_set():
        try:
            taker = taker or _open(settings, passed_over)
            while taker is not None and not stop.is_set() and (notes := taker.take()):
                taken(_rows(notes))
            failures = 0
        except Exception as error:
            if isinstance(error, CollectorError) and not error.transient:
                raise
            failures += 1
            failed()
            log.warning("nothing taken over, trying again", reason=str(error), exc_info=failures == 1)
            taker = None  # from fresh handles
            pause = min(_LONGEST_PAUSE_SECONDS, settings.flush_seconds * 2**failures)
            stop.wait(random.uniform(pause / 2, pause))  # noqa: S311  (jitter)
            continue
        stop.wait(settings.flush_seconds)


def _open(settings: Settings, passed_over: Callable[[int], None] = lambda notes: None) -> Taker | None:
    """None as long as no node has made the tables. A store that cannot be trusted is refused."""
    store = open_store(settings.lake.uri, s3=settings.lake.s3)
    store.probe()
    try:
        events = Table(store, "events", "event_date", None)
        quarantine = Table(store, "quarantine", "received_date", None)
    except TableNotFoundError:
        return None
    return Taker(store, events, quarantine, settings.lake.checkpoint_commits, passed_over)


def _rows(notes: list[Note]) -> int:
    return sum(file.rows for note in notes for file in (*note.events, *note.quarantine))
