"""A new plan on its way into force: read, checked against the old one and against the table, then published.

Runs in a short-lived process of its own, so that neither a broken plan nor a store that hangs can stop the others. The
order keeps two promises: columns are in the table before any event is accepted that needs them, and a plan that breaks
the table, or its senders without saying so in a version number, is refused while the old one goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from polku_schemas import Plan, PlanError
from polku_schemas.column_types import widening
from polku_schemas.compare import PlanDiff, compare

from .errors import CollectorError, SettingsError, TableMismatch
from .lake.open_store import open_store
from .lake.types import columns_of
from .logs import configure
from .planned import events_table_columns, plan_in_force, plan_of, protection_of, put_in_force
from .settings import Settings
from .supervisor import EXIT_HOPELESS, EXIT_IN_FORCE, EXIT_LATER, EXIT_UNCHANGED

log = structlog.get_logger("polku.plan")

EXIT_REFUSED: Final = 1

# At start the table is only looked at, and a store that is away must not keep intake waiting.
_QUICKLY: Final[Mapping[str, str]] = {
    "timeout": "5s",
    "connect_timeout": "3s",
    "max_retries": "1",
    "retry_timeout": "5s",
}


def check_at_start(settings: Settings) -> None:
    """End with 2 when the plan in force breaks the table, with 0 when it does not, with 75 when nobody knows."""
    configure(readable=settings.dev)
    try:
        refuse_if_broken(settings, plan_in_force(Path(settings.journal.directory)))
    except CollectorError as error:
        log.critical("the plan cannot be used with this lake", reason=str(error))
        sys.exit(EXIT_HOPELESS)
    except Exception as error:
        log.warning("the plan was not compared with the table: the store does not answer", reason=str(error))
        sys.exit(EXIT_LATER)
    sys.exit(EXIT_IN_FORCE)


def refuse_if_broken(settings: Settings, plan: Plan) -> None:
    """Raise TableMismatch when `events` is there and has columns of other types than the plan gives them."""
    store = open_store(settings.lake.uri, s3=settings.lake.s3)
    options = store.storage_options()
    try:
        table = DeltaTable(store.uri("events"), storage_options={**options, **_QUICKLY} if options else None)
    except TableNotFoundError:
        return
    clashes = widening(columns_of(table.schema()), events_table_columns(plan)).clashes
    if clashes:
        raise TableMismatch("events: " + "; ".join(map(str, clashes)))


def bring_into_force(settings: Settings) -> None:
    """Read the plan's folder and put the plan in force, or say why not. The exit code tells which."""
    configure(readable=settings.dev)
    journal = Path(settings.journal.directory)
    old = plan_in_force(journal)
    try:
        new = plan_of(settings)
    except PlanError as error:
        log.error("the new plan is refused: it has findings", findings=[str(finding) for finding in error.findings])
        sys.exit(EXIT_REFUSED)
    if new.fingerprint == old.fingerprint:
        sys.exit(EXIT_UNCHANGED)
    found = compare(old, new)
    reasons = refusals(found, versions_bind=not settings.dev)
    if reasons:
        log.error("the new plan is refused", reasons=reasons, in_force=f"{old.name} {old.version}")
        sys.exit(EXIT_REFUSED)
    if found.unmet:
        log.warning("elsewhere this plan would be refused", reasons=refusals(found, versions_bind=True))
    try:
        protection_of(new, settings)
    except SettingsError as error:
        log.error("the new plan is refused", reasons=[str(error)], in_force=f"{old.name} {old.version}")
        sys.exit(EXIT_REFUSED)
    try:
        _widen(settings, new)
    except CollectorError as error:
        log.error("the new plan is refused: it breaks the table", reason=str(error))
        sys.exit(EXIT_LATER if error.transient else EXIT_REFUSED)
    except Exception as error:
        log.warning("the new plan waits: the store does not answer", reason=str(error))
        sys.exit(EXIT_LATER)
    put_in_force(journal, new)
    log.info(
        "a new plan is in force",
        plan=f"{new.name} {new.version}",
        fingerprint=new.fingerprint,
    )
    sys.exit(EXIT_IN_FORCE)


def refusals(found: PlanDiff, *, versions_bind: bool) -> list[str]:
    """Why a running collector does not take a plan: what no version number allows, and versions that say too little.

    With `--dev` versions do not bind: whoever tries out an event does not count its versions.
    """
    reasons = [f"{difference.message}: {difference.way_out}" for difference in found.impossible]
    for need in found.unmet if versions_bind else ():
        what = f"the event `{need.event}`" if need.event else "the plan"
        reasons.append(f"{what} has the version {need.new}, what changed in it needs {need.needed}")
    return reasons


def _widen(settings: Settings, plan: Plan) -> None:
    """Add the plan's columns to the table. Raises TableMismatch, or what deltalake raises when the store is away."""
    from .lake.table import Table  # with Arrow, which a check at a start has no use for

    store = open_store(settings.lake.uri, s3=settings.lake.s3)
    Table(store, "events", "event_date", events_table_columns(plan), mend=False)
