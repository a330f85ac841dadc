"""The Iceberg mirror of a lake, put together: as a child of the collector, once for cron, or only looked at.

It reads the Delta log and writes to the Iceberg catalog. Whatever happens to it, the committer does not notice.
"""

from __future__ import annotations

import random
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from deltalake.exceptions import TableNotFoundError

from .errors import CollectorError, LakeError, SettingsError
from .lake.open_store import open_store
from .lake.store import Store
from .logs import configure
from .metrics import Metrics, metrics_directory, use_directory
from .settings import Settings
from .supervisor import EXIT_DRAINED, on_sigterm

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from .mirror.mirror import Lag, Mirror

log = structlog.get_logger("polku.mirror")

METADATA = "_iceberg"
"""Below the lake: where the mirror's metadata is, unless the settings say otherwise."""

_PARTITIONS = {"events": "event_date", "quarantine": "received_date"}
_LONGEST_PAUSE_SECONDS = 300.0


def check(settings: Settings) -> None:
    """Whether a mirror can be tried at all. Raises SettingsError."""
    if settings.lake.iceberg.catalog is None:
        raise SettingsError('no mirror is set: add to the file [lake.iceberg] catalog = "…", with its properties')
    try:
        import pyiceberg.catalog  # noqa: F401
    except ImportError:
        raise SettingsError("[lake.iceberg] needs pyiceberg: pip install 'polku[iceberg]'") from None


def run(settings: Settings) -> None:
    """The mirror of a node, until SIGTERM. What fails is tried again, also what needs a person first."""
    configure(readable=settings.dev)
    use_directory(metrics_directory(settings.journal.directory))
    stop = threading.Event()
    on_sigterm(stop.set)
    metrics, mirrors = Metrics(), Mirrors(settings)
    interval, failures = settings.lake.iceberg.interval_seconds, 0
    log.info("mirroring", catalog=settings.lake.iceberg.catalog, every_seconds=interval)
    while not stop.is_set():
        failed = False
        for name in mirrors.names:
            failed |= not _mirrored(mirrors, name, metrics, stop)
        failures = failures + 1 if failed else 0
        pause = interval if not failures else min(_LONGEST_PAUSE_SECONDS, interval * 2**failures)
        stop.wait(random.uniform(pause / 2, pause) if failures else pause)  # noqa: S311  (jitter)
    sys.exit(EXIT_DRAINED)


def mirror_once(settings: Settings) -> list[Lag]:
    """Mirror what is committed now; returns how far each mirror is behind after it."""
    check(settings)
    mirrors = Mirrors(settings)
    lags = []
    for name in mirrors.names:
        if (mirror := mirrors.of(name)) is not None:
            mirror.catch_up()
            lags.append(mirror.lag(look=False))
    return lags


def mirror_lags(settings: Settings) -> list[Lag]:
    """How far each mirror is behind. Changes nothing."""
    check(settings)
    mirrors = Mirrors(settings)
    return [mirror.lag() for name in mirrors.names if (mirror := mirrors.of(name)) is not None]


class Mirrors:
    """The mirrors of a lake's tables, each opened when it is first wanted and can be."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store: Store | None = None
        self._catalog: Catalog | None = None
        iceberg = settings.lake.iceberg
        self.names = {"events": iceberg.events_table, "quarantine": iceberg.quarantine_table}
        self._opened: dict[str, Mirror] = {}

    def of(self, name: str) -> Mirror | None:
        """The mirror of a table; None as long as there is no such table."""
        if name not in self._opened:
            mirror = self._open(name)
            if mirror is None:
                return None
            self._opened[name] = mirror
        return self._opened[name]

    def _open(self, name: str) -> Mirror | None:
        from .mirror.delta_log import DeltaLog
        from .mirror.mirror import Mirror

        iceberg = self._settings.lake.iceberg
        self._store = self._store or self._open_store()
        try:
            delta = DeltaLog(self._store, name, _PARTITIONS[name])
        except TableNotFoundError:
            return None
        return Mirror(
            self._load_catalog,
            (iceberg.namespace, self.names[name]),
            delta,
            location=f"{iceberg.location or _address(self._store.uri(METADATA))}/{name}",
            keep_seconds=iceberg.keep_snapshots_hours * 3600,
        )

    def _load_catalog(self) -> Catalog:
        from .mirror.catalog import open_catalog

        iceberg = self._settings.lake.iceberg
        self._store = self._store or self._open_store()
        if self._catalog is None:
            self._catalog = open_catalog(iceberg.catalog or "", iceberg.properties, self._store)
        return self._catalog

    def _open_store(self) -> Store:
        uri = self._settings.lake.uri
        local = uri.removeprefix("file://")
        if "://" not in local and not Path(local).is_dir():
            raise LakeError(f"There is no lake at {uri}: give the --lake of a collector.")
        return open_store(uri, s3=self._settings.lake.s3)


def _address(uri: str) -> str:
    return uri if "://" in uri else f"file://{uri}"


def _mirrored(mirrors: Mirrors, name: str, metrics: Metrics, stop: threading.Event) -> bool:
    """Bring one mirror up to date; False if that failed, which is logged and counted."""
    done = True
    try:
        mirror = mirrors.of(name)
        if mirror is None:
            return True
        mirror.catch_up(stop.is_set, lambda: metrics.count("polku_iceberg_snapshots_total", table=name))
    except Exception as error:
        done = False
        metrics.count("polku_iceberg_failures_total", table=name)
        unknown = not isinstance(error, CollectorError)
        level = log.warning if isinstance(error, CollectorError) and error.transient else log.error
        level("not mirrored, trying again", table=name, reason=str(error), exc_info=unknown)
    try:
        if (mirror := mirrors.of(name)) is not None:
            lag = mirror.lag(look=False)
            metrics.set("polku_iceberg_lag_versions", lag.versions, table=name)
            metrics.set("polku_iceberg_lag_seconds", lag.seconds, table=name)
    except Exception as error:  # the store is away too: the figures stay as they are
        log.warning("the mirror's lag is not known", table=name, reason=str(error))
    return done
