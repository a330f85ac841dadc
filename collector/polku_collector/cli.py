"""`polku collector`: read the settings, check what can be checked before starting, run the processes."""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import click
import structlog

from .compose_tracing import check as check_tracing
from .errors import SettingsError
from .journal.backlog import BacklogWatch
from .journal.stream import lock_journal, streams_directory
from .logs import configure
from .metrics import Metrics, forget_process, metrics_directory, use_directory
from .planned import plan_of, protection_of, pseudonyms_of, put_in_force
from .senders_in_force import forget_rates, needs_restart, put_senders_in_force
from .settings import Settings, load
from .supervisor import Clearance, Renewal, Role, Start, Supervisor, reserve_port, signals_held
from .watch import watch_folder
from .webhook.ready import read_webhooks

log = structlog.get_logger("polku.settings")

# How long the plan is compared with the table at start; a store that takes longer is away, and intake begins.
_CHECK_SECONDS = 20.0
_MEASURE_SECONDS = 1.0


@click.command()
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option(
    "--lake",
    metavar="URI",
    help="Where the tables live: a directory or s3://bucket/prefix.  [default: ./polku-data/lake]",
)
@click.option(
    "--journal",
    metavar="DIR",
    help="Where events are made durable first: a local directory.  [default: ./polku-data/journal]",
)
@click.option("--plan", metavar="DIR", help="The tracking plan; without it the built-in e-commerce plan.")
@click.option("--host", metavar="H", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", metavar="P", type=int, help="Port to listen on.  [default: 8080]")
@click.option("--workers", metavar="N", type=int, help="Intake processes.  [default: 1]")
@click.option(
    "--flush-seconds",
    metavar="S",
    type=float,
    help="Seconds between two commits of the tables.  [default: 1 on a local lake, 10 on S3]",
)
@click.option("--dev", is_flag=True, help="Accept the write key `dev` and show each event with its verdict.")
def collector(config: Path | None, **flags: Any) -> None:
    """Take events over HTTP, make them durable, commit them to Delta tables.

    Flags beat the environment (POLKU_LAKE, POLKU_PORT, …), the environment beats CONFIG (a TOML file). SIGTERM
    finishes requests and commits what is journalled: exit 0 if all of it, else 75. A changed plan is taken while it
    runs, at once or on SIGHUP; changed sources and limits are taken on SIGHUP.
    """
    with signals_held():
        sys.exit(_run(config, flags))


def _run(config: Path | None, flags: dict[str, Any]) -> int:
    """Check, start, and watch until the end; returns the exit code."""
    settings = load(config, os.environ, flags)
    plan = plan_of(settings)
    protection_of(plan, settings)  # it cannot start without the key that the plan needs
    pseudonyms_of(settings)
    webhooks = read_webhooks(settings)
    if settings.lake.iceberg.catalog is not None:
        from .compose_mirror import check as check_mirror  # it loads deltalake

        check_mirror(settings)
    check_tracing(settings)
    _check_directories(settings)
    configure(readable=settings.dev)
    lock = lock_journal(Path(settings.journal.directory))
    use_directory(metrics_directory(settings.journal.directory), fresh=True)
    metrics = functools.cache(Metrics)  # their library is loaded while others load theirs

    def restarted(role: str, pid: int) -> None:
        metrics().count("polku_child_restarts_total", role=role)
        forget_process(pid)

    put_in_force(Path(settings.journal.directory), plan)
    forget_rates(Path(settings.journal.directory))
    put_senders_in_force(Path(settings.journal.directory), settings)
    renewal = Renewal(
        Role("plan", "polku_collector.compose_plan:bring_into_force", (settings,)),
        on_outcome=lambda outcome: metrics().count("polku_plan_reloads_total", outcome=outcome),
        on_hangup=not settings.dev,
    )
    try:
        holder = reserve_port(settings.server.host, settings.server.port)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {settings.server.host}:{settings.server.port}: {error.strerror}"
        ) from None
    with holder, lock:
        port, clearance = holder.getsockname()[1], Clearance()

        def meanwhile() -> None:
            if settings.plan and settings.watch_plan:
                watch_folder(Path(settings.plan), supervisor.renew)
            metrics().set("polku_journal_max_bytes", settings.journal.max_bytes)
            _measure_backlog(Path(settings.journal.directory), metrics())

        supervisor = Supervisor(
            [
                Role("intake", "polku_collector.compose_intake:run", (settings, port, webhooks, clearance.taker))
                for _ in range(settings.server.workers)
            ],
            Role("committer", "polku_collector.compose_committer:run", (settings,)),
            start=Start(
                Role("plan", "polku_collector.compose_plan:check_at_start", (settings,)),
                _CHECK_SECONDS,
                clearance,
                meanwhile,
                on_cleared=lambda: _banner(settings, port, len(plan.events)),
            ),
            renewal=renewal,
            helpers=_helpers(settings),
            drain_seconds=settings.limits.drain_seconds,
            reload=lambda: _reloaded(settings, config, flags, metrics()),
            on_restart=restarted,
        )
        return supervisor.run()


def _helpers(settings: Settings) -> list[Role]:
    """What works beside intake and committer, if it is wanted."""
    wanted = {
        "maintenance": (settings.maintenance.enabled, settings.maintenance_seconds),
        "mirror": (settings.lake.iceberg.catalog is not None, 0.0),
        "handover": (settings.lake.commit == "for_all", 0.0),
    }
    return [
        Role(name, f"polku_collector.compose_{name}:run", (settings,), after_seconds)
        for name, (is_on, after_seconds) in wanted.items()
        if is_on
    ]


def _reloaded(started_with: Settings, config: Path | None, flags: dict[str, Any], metrics: Metrics) -> bool:
    """Read the settings anew and put their sources and limits in force; whether any of them has changed.

    Settings that cannot be used are refused as a whole, and those in force stay.
    """
    try:
        settings = load(config, os.environ, flags)
        pseudonyms_of(settings)
        changed = put_senders_in_force(Path(started_with.journal.directory), settings)
    except (SettingsError, OSError) as error:
        log.error("the settings are refused, those in force stay", reason=str(error))
        metrics.count("polku_settings_reloads_total", outcome="refused")
        return False
    if later := needs_restart(started_with, settings):
        log.warning("settings that a reload does not take; they wait for a restart", settings=later)
    if changed:
        log.info("other sources and limits are in force", sources=sorted(settings.sources))
        metrics.count("polku_settings_reloads_total", outcome="in_force")
    return changed


def _check_directories(settings: Settings) -> None:
    """Directories that cannot be written are told before anything starts."""
    wanted = [streams_directory(Path(settings.journal.directory))]
    if "://" not in settings.lake.uri:
        wanted.append(Path(settings.lake.uri))
    for directory in wanted:
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(f"{directory}: cannot be created: {error.strerror}") from None
        if not os.access(directory, os.W_OK | os.X_OK):
            raise SettingsError(f"{directory}: cannot be written by this user")


def _measure_backlog(journal: Path, metrics: Metrics) -> None:
    """Keep the figures of what waits for the lake: here, as the committer's would stand still when it does."""
    watch = BacklogWatch(journal)

    def measure() -> None:
        while True:
            try:
                backlog = watch.look(time.time())
                metrics.set("polku_journal_lag_seconds", backlog.seconds)
                metrics.set("polku_journal_lag_bytes", backlog.bytes)
                metrics.set("polku_lake_waiting_events", backlog.events)
            except OSError as error:  # a full disk, say: measuring must not end for good
                log.warning("the backlog is not measured", reason=str(error))
            time.sleep(_MEASURE_SECONDS)

    threading.Thread(target=measure, name="polku-backlog", daemon=True).start()


def _banner(settings: Settings, port: int, events: int) -> None:
    address = f"http://{settings.server.host}:{port}"
    if not settings.dev:
        every = settings.flush_seconds
        log.info("listening", address=address, plan_events=events, lake=settings.lake.uri, every_seconds=every)
        return
    click.echo(
        f"polku collector on {address} · plan of {events} events · "
        f"lake {settings.lake.uri} · commit every {settings.flush_seconds:g} s · write key: dev",
        err=True,
    )
