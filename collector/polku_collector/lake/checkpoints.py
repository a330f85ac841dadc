"""Keeps tables quick to ask: a fresh handle every so many commits, and checkpoints of the log, made beside the flushes.

A handle asks every commit since the checkpoint it began at, 0.6 ms for each at every flush (measured), so the
log is folded often. A checkpoint holds every file that was removed lately, which makes it slow in a table that is
compacted at each step: no flush waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Protocol

import structlog

log = structlog.get_logger("polku.lake")

# A checkpoint takes at most this part of the time of one processor, however many files it holds.
_PAUSES = 20


class FoldedTable(Protocol):
    """What is needed of a table."""

    name: str

    def fold_log(self) -> None:
        """Fold the log into a checkpoint. Any thread may: this handle is left alone."""

    def reopen(self) -> None:
        """Read the table anew."""


class _AtOnce(Executor):
    """Does what it is given while the caller waits."""

    def submit(self, do: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(do(*arguments, **named))
        except Exception as error:
            done.set_exception(error)
        return done


class Checkpoints:
    """The checkpoints of some tables. `beside` makes them; without it each is made while the caller waits.

    A failure is logged and costs nothing but speed.
    """

    def __init__(
        self, every_commits: int, beside: Executor | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.every_commits, self._beside, self._clock = every_commits, beside or _AtOnce(), clock
        self._commits: dict[str, int] = {}
        self._next: dict[str, float] = {}
        self._made: dict[str, Future[None]] = {}

    def committed(self, table: FoldedTable) -> None:
        """There was a commit to the table."""
        self._commits[table.name] = self._commits.get(table.name, 0) + 1

    def look(self, table: FoldedTable) -> None:
        """Between two flushes: begin a checkpoint when it is time, and a fresh handle when there is one to begin at."""
        if self._commits.get(table.name, 0) >= self.every_commits:
            self._commits[table.name] = 0
            if table.name in self._made or self._clock() < self._next.get(table.name, 0.0):
                self._reopen(table)  # a handle grows slow all the same
            else:
                self._made[table.name] = self._beside.submit(self._fold, table)
        made = self._made.get(table.name)
        if made is not None and made.done():
            del self._made[table.name]
            self._reopen(table, made.exception())

    def _fold(self, table: FoldedTable) -> None:
        started = self._clock()
        table.fold_log()
        self._next[table.name] = started + (self._clock() - started) * _PAUSES

    def _reopen(self, table: FoldedTable, failure: BaseException | None = None) -> None:
        try:
            if failure is not None:
                raise failure
            table.reopen()
        except Exception as error:
            log.warning("no checkpoint this time", table=table.name, reason=str(error))
