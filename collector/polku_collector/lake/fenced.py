"""A commit for which several writers may fight: it is made only from the number that was seen, and given up otherwise.

Whoever removes files takes turns with the others by such a number; so do replays. Before files are committed late, they
are looked for: a vacuum may have taken them for leftovers.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence

import structlog

from ..errors import CommitUncertain, StoreUnreachable, TableMismatch
from .parquet import DataFile
from .store import Store
from .table import Table

log = structlog.get_logger("polku.lake")

# A committer that flushes several times a second may get in between as often.
ATTEMPTS = 30
_LONGEST_WAIT_SECONDS = 1.0

# No vacuum takes a file that is younger than an hour (the least that can be set), so for half of that nobody need look.
STALE_SECONDS = 1800.0


def fenced(
    table: Table,
    app: str,
    seen: int,
    write: Callable[[], None],
    check: Callable[[], None] = lambda: None,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Commit, if need be again and again, as long as the table's number for `app` is the one that was seen.

    Raises CommitUncertain when it is not: somebody else's commit, or this one with a lost answer.
    """
    failure: Exception | None = None
    for attempt in range(1, ATTEMPTS + 1):
        if table.watermark(app) != seen:
            raise CommitUncertain(f"{table.name}: {app} stands at {table.watermark(app)}, expected {seen}")
        check()
        try:
            write()
        except (CommitUncertain, TableMismatch):
            raise
        except Exception as error:
            log.info("commit not confirmed", table=table.name, attempt=attempt, reason=str(error))
            failure = error
        else:
            return
        wait(random.uniform(0, min(_LONGEST_WAIT_SECONDS, 0.02 * 2**attempt)))  # noqa: S311  (jitter)
        try:
            table.reopen()
        except Exception as error:  # tried from the old handle, a landed commit is still refused by the number
            failure = error
    raise StoreUnreachable(f"{table.name}: not committed after {ATTEMPTS} attempts: {failure}")


def put(store: Store, table: Table, files: Sequence[DataFile]) -> Callable[[], None]:
    """Make files durable in a table's folder. Returns the check that they are still there, for before a commit."""
    check = still_there(store, (f"{table.name}/{file.key}" for file in files))
    for file in files:
        store.put(file.path, f"{table.name}/{file.key}")
    return check


def still_there(
    store: Store, keys: Iterable[str], clocks: Callable[[], Sequence[float]] | None = None
) -> Callable[[], None]:
    """A check, made from now on, that files that were put are still there; it looks only if they were put long ago.

    For a machine that slept between putting files and committing them, or whose clock was set. Raises CommitUncertain
    if a vacuum took them: they are made anew.
    """
    clocks = clocks or _clocks
    listed, since = [*keys], clocks()

    def check() -> None:
        if max(now - then for now, then in zip(clocks(), since, strict=True)) < STALE_SECONDS:
            return
        missing = [key for key in listed if not store.exists(key)]
        if missing:
            raise CommitUncertain(f"{missing[0]} was put long ago and is gone: it is made anew")

    return check


def _clocks() -> tuple[float, float]:
    """The wall clock, by which a vacuum tells a file's age, and one that goes on while the machine sleeps."""
    return time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
