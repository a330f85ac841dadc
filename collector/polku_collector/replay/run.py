"""One replay: read `quarantine`, judge again, move what passes to `events`, batch by batch, each event exactly once.

Order, per batch: both tables stand at the same number → ids are looked up → files are made → columns are added → files
are durable → `events` is committed → `quarantine` is committed. A run that dies in between is finished by the next.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import structlog
from msgspec import structs

from polku_schemas.column_types import widening

from ..batch import REPLAY_STREAM, Block, Line
from ..engine import open_duckdb
from ..errors import CommitUncertain, TableMismatch
from ..lake.columns import ColumnsStep, Keys, Repeats, TooManyDays, Written
from ..lake.gather import wanted_columns
from ..lake.loop import MAX_DAYS
from ..lake.replayed import Origin, replay_key, with_origin
from ..lake.store import Store
from ..lake.table import Table
from ..lake.types import literal
from .commit import Position, Remover, commit_events
from .decide import Fate, Passed, fates, in_order
from .known import Known
from .report import Report
from .rows import Quarantined, Selection, Stays, read

log = structlog.get_logger("polku.replay")

# What one commit takes, and what is in memory at a time.
BATCH_ROWS = 50_000
BATCH_BYTES = 64 * 1024 * 1024

# Each time, another run has moved something; so it ends.
_MOST_STARTS = 1000

Judge = Callable[[Quarantined], Line | Stays]


class Overtaken(Exception):
    """While files were made, somebody else committed an event with the id of one of ours."""


class Replay:
    """A run over the selected rows of `quarantine`. Several may run at once, beside collectors."""

    def __init__(
        self,
        *,
        store: Store,
        events: Table,
        quarantine: Table,
        columns: ColumnsStep,
        judge: Judge,
        make_block: Callable[[list[Line], int], Block],
        selection: Selection,
        dry_run: bool,
        scratch: Path,
        progress: Callable[[Report], None] = lambda report: None,
        batch_rows: int = BATCH_ROWS,
    ) -> None:
        """`make_block`: lines and the first of their numbers → a block of REPLAY_STREAM. `scratch`: an empty folder."""
        self._store, self._events, self._quarantine, self._columns = store, events, quarantine, columns
        self._judge, self._make_block, self._selection, self._dry_run = judge, make_block, selection, dry_run
        self._progress, self._batch_rows = progress, batch_rows
        connection = open_duckdb()
        for setting in (f"temp_directory = {literal(str(scratch / 'spill'))}", "TimeZone = 'UTC'"):
            connection.execute(f"SET {setting}").fetchall()
        self._known = Known(connection)
        self._remover = Remover(quarantine, store, connection, scratch)
        self._stands_at = 0
        self._wanted: dict[str, str] = {}  # the columns that the lines of the batch may bring
        self._passed_over: set[Position] = set()
        # Of the last batch, what is in `events` or a copy: counted before it left `quarantine`.
        self._counted: set[Position] = set()
        self.report = Report(dry_run=dry_run)

    def run(self) -> Report:
        """Go over all selected rows that are there when it begins. Raises CollectorError when it cannot go on.

        What was moved until then has been moved; run again for the rest.
        """
        asked = False
        for _ in range(_MOST_STARTS):
            try:
                self._level()
                if not asked:
                    self._known.ask(self._quarantine, self._selection)
                    asked = True
                self._go_over()
            except CommitUncertain as error:
                log.info("starting over", reason=str(error))
                self.report.start_over()
                self._events.reopen()
                self._quarantine.reopen()
            else:
                return self.report
        raise CommitUncertain("other replays of the same rows do not let this one through: run it again later")

    def _level(self) -> None:
        """Finish what another run has left between its commits; from here on no number may move but by us."""
        unfinished = self._remover.unfinished(self._events)
        self._stands_at = self._events.watermark(REPLAY_STREAM)
        self.report.finished += len(unfinished - self._counted)
        if self._dry_run:
            self._passed_over = unfinished
        elif unfinished:
            log.info("finishing what a run has left", rows=len(unfinished))
            self._events.settle()
            self._remover.remove(unfinished, self._stands_at)

    def _go_over(self) -> None:
        batch: list[Passed] = []
        size = 0
        for row in read(self._quarantine, self._selection):
            if row.position in self._passed_over:
                continue
            outcome = self._judge(row)
            if isinstance(outcome, Line):
                origin = Origin(row.stream, row.sequence, outcome.digest)
                outcome.extra = with_origin(outcome.extra, origin)
                batch.append(Passed(structs.replace(row, original=None, context=None), outcome))
                size += len(row.original or "")
            else:
                self.report.count(row, outcome.outcome, outcome.reason)
            if len(batch) >= self._batch_rows or size >= BATCH_BYTES:
                self._settle(batch)
                batch, size = [], 0
        if batch:
            self._settle(batch)

    def _settle(self, batch: list[Passed]) -> None:
        """Decide about a batch and carry it out; in two halves if it is of too many days for one commit."""
        try:
            self._move(in_order(batch))
        except TooManyDays:
            middle = len(batch) // 2
            self._settle(batch[:middle])
            self._settle(batch[middle:])
        else:
            self._progress(self.report)

    def _move(self, batch: list[Passed]) -> None:
        unconvertible: list[Quarantined] = []
        while True:
            self._known.learn(self._events)
            decided = self._decide(batch)
            winners = [one for one, fate in zip(batch, decided, strict=True) if fate == "replay"]
            written = self._written(winners) if winners else None
            if written is not None and (refused := self._refused(written)):
                bad = {one.row.position: one.row for one in winners if one.line.sequence in refused}
                unconvertible += bad.values()
                batch = [one for one in batch if one.row.position not in bad]
                continue
            try:
                if written is not None:
                    self._add(batch, decided, winners, written)
            except Overtaken:
                continue
            break
        for row in unconvertible:
            self.report.count(row, "broken", "unconvertible")
        for one, fate in zip(batch, decided, strict=True):
            if one.row.position not in self._counted:
                self.report.count(one.row, _OUTCOMES[fate])
        self._take_out([one.row for one, fate in zip(batch, decided, strict=True) if fate in ("replay", "duplicate")])

    def _decide(self, batch: list[Passed]) -> list[Fate]:
        return fates(batch, self._known.of([one.key for one in batch]))

    def _written(self, winners: list[Passed]) -> Written:
        block = self._make_block([one.line for one in winners], self._stands_at + 1)
        (self._wanted,) = wanted_columns([block]).values()
        return self._columns.write([block], _nothing_repeats, MAX_DAYS)

    @staticmethod
    def _refused(written: Written) -> set[int]:
        """The numbers of the lines that do not convert."""
        refused: set[int] = set()
        for file in written.quarantine:
            rows: Any = pq.read_table(file.path, columns=["sequence"], partitioning=None)
            refused.update(rows["sequence"].to_pylist())
        return refused

    def _add(self, batch: list[Passed], decided: list[Fate], winners: list[Passed], written: Written) -> None:
        """The first half: rows of `events`. Raises Overtaken when the decision does not hold any more."""
        if self._dry_run:
            if clashes := widening(self._events.columns, self._wanted).clashes:
                raise TableMismatch(f"events: {'; '.join(map(str, clashes))}")
            self._known.add([(*one.key, one.line.digest) for one in winners])  # later rows are compared with them
            return
        files = [structs.replace(file, key=replay_key(file.key)) for file in written.events]
        self._events.add_columns(self._wanted)
        last = self._stands_at + len(winners)

        def check() -> None:
            self._known.learn(self._events)
            if self._decide(batch) != decided:
                raise Overtaken

        commit_events(self._events, self._store, files, self._stands_at, last, check)
        self._stands_at = last

    def _take_out(self, gone: list[Quarantined]) -> None:
        """The second half: those rows leave `quarantine`, and copies of them."""
        self._counted = {row.position for row in gone}
        if gone and not self._dry_run:
            self._remover.remove(self._counted, self._stands_at, {row.file for row in gone})


_OUTCOMES = {"replay": "replayed", "duplicate": "duplicates", "taken": "taken", "later": "later"}


def _nothing_repeats(keys: Keys, streams: list[str]) -> Repeats:
    """Copies were found before."""
    none = np.zeros(len(keys.high), np.bool_)
    return Repeats(none, none)
