"""The maintenance of a lake put together: the process beside a node's committer, and what `polku lake …` runs of it.

The process loads the engines only when it first has something to look at: a collector starts no slower for it.
"""

from __future__ import annotations

import functools
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from .errors import LakeError, StoreUnreachable
from .logs import configure, plain
from .metrics import Metrics, metrics_directory, use_directory
from .settings import Settings
from .supervisor import on_sigterm

if TYPE_CHECKING:
    from .lake.store import Store
    from .lake.table import Table
    from .maintain.copies import Copies
    from .maintain.plan import Merge
    from .maintain.rewrite import Rewritten
    from .maintain.run import Maintainer, Observer, Rules

log = structlog.get_logger("polku.maintenance")

_Result = TypeVar("_Result")

TABLES = (("events", "event_date"), ("quarantine", "received_date"))

# Of a core that is wanted by all, it gets a tenth: taking events goes first, and files do not pile up for ever.
_NICENESS = 10

_LONGEST_PAUSE_SECONDS = 300.0

HOUR, DAY, WEEK = 3600, 86_400, 604_800
# Removed files are deleted as the log forgets them, so hourly; the whole folder is listed for others once a week.
EVERY = {"vacuum": HOUR, "retention": DAY, "full vacuum": WEEK}


def run(settings: Settings) -> None:
    """The maintenance of a node, until SIGTERM. It may be killed at any moment."""
    os.nice(_NICENESS)
    configure(readable=settings.dev)
    use_directory(metrics_directory(settings.journal.directory))
    stop = threading.Event()
    on_sigterm(stop.set)
    _Keeper(settings, stop).run()
    sys.exit(0)


class _Keeper:
    """Looks at the tables at every interval, does what is due, waits out what fails."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._settings, self._stop = settings, stop
        self._diary = Diary(Path(settings.journal.directory) / "maintenance.json")
        self._store: Store | None = None
        self._tables: dict[str, Table] = {}
        self._maintainer: Maintainer | None = None

    def run(self) -> None:
        interval = self._settings.maintenance_seconds
        failures = 0
        while not self._stop.wait(_jittered(interval, failures)):
            try:
                self._look()
                failures = 0
            except Exception as error:
                from .maintain.rewrite import Overtaken

                failures += 1
                if isinstance(error, Overtaken):
                    self._metrics.count("polku_maintenance_conflicts_total")
                    log.info("somebody else looks after the tables", reason=str(error))
                else:
                    self._metrics.count("polku_maintenance_failures_total")
                    log.warning("maintenance failed, trying again", reason=str(error), exc_info=failures == 1)

    def _look(self) -> None:
        maintainer, metrics = self._opened(), self._metrics
        for name, day in TABLES:
            table = self._tables.get(name) or open_table(self._store, name, day)
            if table is None:
                continue
            self._tables[name] = table  # each piece of work opens it anew: once is enough
            if maintainer.compact(table, stop=self._stop.is_set):
                metrics.set("polku_maintenance_last_seconds", time.time(), work="compaction")
            for work in EVERY:
                if self._stop.is_set() or not self._diary.is_due(name, work, time.time()):
                    continue
                self._do(maintainer, table, work)
                metrics.set("polku_maintenance_last_seconds", time.time(), work=work.rpartition(" ")[2])

    def _do(self, maintainer: Maintainer, table: Table, work: str) -> None:
        now = time.time()
        if work == "retention":
            maintainer.expire(table)
        elif maintainer.vacuum(table, full=work == "full vacuum") is None:
            # The table has begun only now to remember what it removed for long enough.
            now -= max(0, WEEK - self._settings.maintenance.vacuum_retention_hours * HOUR)
        elif work == "full vacuum":
            maintainer.sweep()
        self._diary.note(table.name, work, now)

    @functools.cached_property
    def _metrics(self) -> Metrics:
        """Late, as the engines; and once: prometheus-client takes no second set, also not after a look that failed."""
        return Metrics()

    def _opened(self) -> Maintainer:
        """Late, and only once: the store must be one that can be trusted before anything is committed to it."""
        if self._maintainer is None:
            from .lake.open_store import open_store
            from .maintain.run import Maintainer

            self._store = open_store(self._settings.lake.uri, s3=self._settings.lake.s3)
            self._store.probe()
            observer = _Observer(self._metrics)
            scratch = scratch_of(self._settings) / "maintenance"
            self._maintainer = Maintainer(self._store, rules_of(self._settings), scratch, observer)
        return self._maintainer


class Diary:
    """When which work was last done on which table, kept beside the journal over restarts. Lost, it is done again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._last: dict[str, float] = {str(k): float(v) for k, v in json.loads(path.read_bytes()).items()}
        except (OSError, ValueError, AttributeError, TypeError):
            self._last = {}

    def is_due(self, table: str, work: str, now: float) -> bool:
        """A clock that was set back makes it due too."""
        last = self._last.get(f"{table} {work}")
        return last is None or not 0 <= now - last < EVERY[work]

    def note(self, table: str, work: str, now: float) -> None:
        """Remember that it was done now, beyond the end of this process."""
        self._last[f"{table} {work}"] = now
        fresh = self._path.with_name(f".{self._path.name}-{os.getpid()}")
        fresh.write_text(json.dumps(self._last))
        fresh.replace(self._path)


def rules_of(settings: Settings) -> Rules:
    """The rules that the settings give."""
    from .maintain.retention import Limits
    from .maintain.run import Rules

    given = settings.maintenance
    return Rules(
        most_files=given.compact_files,
        target_bytes=given.target_file_bytes,
        vacuum_hours=given.vacuum_retention_hours,
        limits={
            "events": Limits(given.retention.events_days, given.retention.events),
            "quarantine": Limits(given.retention.quarantine_days),
        },
    )


def open_table(store: Any, name: str, day: str) -> Table | None:
    """A table to look after; None while there is none."""
    from deltalake.exceptions import TableNotFoundError

    from .lake.table import Table

    try:
        return Table(store, name, day, None)
    except TableNotFoundError:
        return None


def scratch_of(settings: Settings) -> Path:
    """Where files are made."""
    return Path(settings.lake.scratch or Path(settings.journal.directory) / "staging")


@contextmanager
def by_hand(settings: Settings, observer: Observer, *, writes: bool) -> Iterator[tuple[Maintainer, list[Table]]]:
    """For a command: the maintainer and the tables that there are. Raises CollectorError when the lake is no use."""
    from deltalake.exceptions import DeltaError

    from .lake.open_store import open_store
    from .maintain.run import Maintainer

    uri = settings.lake.uri
    if not settings.is_remote and not Path(uri.removeprefix("file://")).is_dir():
        raise LakeError(f"There is no lake at {uri}: give the --lake of a collector.")
    if settings.lake.scratch:
        Path(settings.lake.scratch).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="polku-lake-", dir=settings.lake.scratch) as scratch:
        try:
            store = open_store(uri, s3=settings.lake.s3)
            tables = [table for name, day in TABLES if (table := open_table(store, name, day)) is not None]
            if not tables:
                raise LakeError(f"There is no lake at {uri}: give the --lake of a collector.")
            if writes:
                store.probe()
            yield Maintainer(store, rules_of(settings), Path(scratch) / "work", observer), tables
        except (DeltaError, OSError) as error:
            raise StoreUnreachable(f"The lake {uri} could not be read or written: {plain(str(error))}") from error


def patiently(work: Callable[[], _Result], wait: Callable[[float], None] = time.sleep, attempts: int = 10) -> _Result:
    """Do it again when another maintainer was faster. Raises Overtaken when that does not end."""
    from .maintain.rewrite import Overtaken

    for attempt in range(attempts - 1):
        try:
            return work()
        except Overtaken:
            wait(_jittered(0.5, attempt))
    return work()


def _jittered(interval: float, failures: int) -> float:
    """Around the interval, longer with every failure: collectors that began together do not stay together."""
    longest = max(interval, _LONGEST_PAUSE_SECONDS)
    return min(longest, interval * 2.0**failures) * random.uniform(0.5, 1.5)  # noqa: S311  (jitter)


class _Observer:
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def files(self, table: str, count: int) -> None:
        self._metrics.set("polku_table_files", count, table=table)

    def compacted(self, table: str, merge: Merge, done: Rewritten, copies: Copies, seconds: float) -> None:
        metrics = self._metrics
        metrics.count("polku_compactions_total", table=table)
        metrics.count("polku_compaction_files_total", done.files_before, table=table)
        metrics.count("polku_compaction_bytes_total", done.bytes_read, table=table)
        metrics.count("polku_compaction_duplicates_total", copies.dropped)
        metrics.count("polku_compaction_conflicting_ids_total", copies.conflicting)
        log.info(
            "files merged",
            table=table,
            day=merge.partition,
            files=done.files_before,
            bytes=done.bytes_read,
            rows=done.rows_after,
            duplicates=copies.dropped,
            seconds=round(seconds, 3),
        )

    def dropped(self, table: str, files: int, rows: int) -> None:
        self._metrics.count("polku_retention_rows_total", rows, table=table)
        log.info("expired rows removed", table=table, files=files, rows=rows)

    def vacuumed(self, table: str, files: int) -> None:
        self._metrics.count("polku_vacuum_files_total", files, table=table)
        if files:
            log.info("files deleted that no table needs", table=table, files=files)

    def failed(self, table: str, error: Exception) -> None:
        self._metrics.count("polku_maintenance_failures_total")
