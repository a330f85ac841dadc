"""Looking after the tables of a lake: one piece of work after the other, each of them safe to be killed in.

Several may be at work on one table. They take turns by the number `polku-maintenance`; the one that comes second finds
his work overtaken, and nothing changed.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import structlog
from msgspec import Struct

from ..lake.store import Store
from ..lake.table import MAINTENANCE, LiveFile, Table
from .copies import COMPARED_BYTES, Copies, drop_copies, neighbours
from .plan import Merge, is_too_many, lone, merges
from .retention import Limits, age_days, condition, expired
from .rewrite import Overtaken, Part, Rewriter, Rewritten, replace_files
from .vacuum import REMEMBERED_HOURS, Leftovers, all_leftovers, delete, known_leftovers

log = structlog.get_logger("polku.maintenance")

_EVENTS = "events"
# As the committer does, and for its reason: a handle and a log without checkpoints grow slow.
_CHECKPOINT_COMMITS = 20
_FILES_A_LOOK = 500
_LEFT_ALONE_SECONDS = 3600.0
_MOST_FAILURES = 3  # one after the other: then it is not the files, but the store


class Rules(Struct, frozen=True):
    """How the tables are to be kept."""

    most_files: int
    target_bytes: int
    vacuum_hours: int
    limits: dict[str, Limits]
    """By table."""


class Observer(Protocol):
    """What is told of the work."""

    def files(self, table: str, count: int) -> None:
        """Before the work: the table has so many files."""

    def compacted(self, table: str, merge: Merge, done: Rewritten, copies: Copies, seconds: float) -> None:
        """A merge was committed."""

    def dropped(self, table: str, files: int, rows: int) -> None:
        """What was too old is out of the table."""

    def vacuumed(self, table: str, files: int) -> None:
        """So many files of no use were deleted."""

    def failed(self, table: str, error: Exception) -> None:
        """Some work failed; the next run tries it again."""


class Unobserved:
    """An observer that does nothing."""

    def files(self, table: str, count: int) -> None: ...

    def compacted(self, table: str, merge: Merge, done: Rewritten, copies: Copies, seconds: float) -> None: ...

    def dropped(self, table: str, files: int, rows: int) -> None: ...

    def vacuumed(self, table: str, files: int) -> None: ...

    def failed(self, table: str, error: Exception) -> None: ...


class Maintainer:
    """Does the work. Not thread-safe."""

    def __init__(
        self,
        store: Store,
        rules: Rules,
        scratch: Path,
        observer: Observer,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`scratch`: a folder of its own."""
        self._store, self._rules, self._scratch, self._observer, self._clock = store, rules, scratch, observer, clock
        self._left_alone: dict[str, float] = {}  # path → until when
        self._deleted: dict[str, set[str]] = {}
        self._commits = 0

    @property
    def today(self) -> datetime.date:
        """In UTC, as partitions are named."""
        return datetime.datetime.fromtimestamp(self._clock(), datetime.UTC).date()

    # Compaction -----------------------------------------------------------------------------------------------

    def compact(self, table: Table, *, everything: bool = False, stop: Callable[[], bool] = lambda: False) -> int:
        """Merge files while there are too many, or as long as there is anything to merge; returns the merges made.

        Files that cannot be merged are left as they are for an hour. `everything`: small files that nothing is to be
        merged with are compared too, as copies of their rows may stand in other files. Raises Overtaken when somebody
        else was at work, and whatever failed when nothing works.
        """
        done = failed = 0
        compared: set[str] = set()  # days, of which everything was
        table.reopen()
        is_fresh = True
        now = self._clock()
        self._left_alone = {path: until for path, until in self._left_alone.items() if until > now}
        while not stop():
            if not is_fresh:
                table.refresh()
            is_fresh = False
            turn, files = table.watermark(MAINTENANCE), table.live_files()
            self._observer.files(table.name, len(files))
            merge = self._next(files, everything, done > 0)
            if merge is None and everything and table.name == _EVENTS:
                merge = self._lone(files, compared)
            if merge is None:
                break
            compared.add(merge.partition)
            try:
                if not self._merge(table, merge, files, turn, everything):
                    continue
            except Overtaken:
                raise
            except Exception as error:
                # One damaged file shall not keep all the others from being looked after.
                failed += 1
                if failed >= _MOST_FAILURES:
                    raise
                self._left_alone |= dict.fromkeys((file.path for file in merge.files), now + _LEFT_ALONE_SECONDS)
                self._observer.failed(table.name, error)
                log.error("files are left as they are", table=table.name, day=merge.partition, reason=str(error))
                continue
            done, failed = done + 1, 0
        return done

    def _next(self, files: Sequence[LiveFile], everything: bool, begun: bool) -> Merge | None:
        if not everything and not is_too_many(len(files), self._rules.most_files, begun=begun):
            return None
        able = [file for file in files if file.path not in self._left_alone]
        target = self._rules.target_bytes
        return next(iter(merges(able, today=str(self.today), target_bytes=target, everything=everything)), None)

    def _lone(self, files: Sequence[LiveFile], compared: Collection[str]) -> Merge | None:
        """A small file that is left alone, of a day that was not looked at, with others that may have the same ids."""
        for file in lone(files, target_bytes=self._rules.target_bytes):
            if (
                file.partition not in compared
                and file.path not in self._left_alone
                and neighbours(files, [file], 1 << 62)
            ):
                return Merge(file.partition, (file,))
        return None

    def _merge(self, table: Table, merge: Merge, files: Sequence[LiveFile], turn: int, everything: bool) -> bool:
        """False: it was one file alone, and nothing was to go."""
        started = time.perf_counter()
        rewriter = Rewriter(self._store, table, self._scratch)
        with rewriter.opened():
            part = rewriter.load(merge.files)
            parts, copies = [part], Copies()
            if table.name == _EVENTS:
                others = neighbours(files, merge.files, 1 << 62 if everything else COMPARED_BYTES)
                copies = drop_copies(rewriter, table, part, others)
                if len(merge.files) == 1 and not copies.dropped:
                    return False
                by_path = {file.path: file for file in files}
                for path, positions in copies.elsewhere.items():
                    parts.append(_without(rewriter, by_path[path], positions))
            done = rewriter.commit(parts, turn, "compaction", copies.dropped)
        self._observer.compacted(table.name, merge, done, copies, time.perf_counter() - started)
        self._committed(table)
        return True

    # Retention ------------------------------------------------------------------------------------------------

    def expire(self, table: Table, *, dry_run: bool = False) -> tuple[int, int]:
        """Take rows out of a table that are older than they may become; returns (files, rows) that it lost."""
        limits = self._rules.limits.get(table.name, Limits())
        if limits.days is None and not limits.names:
            return 0, 0
        table.reopen()
        found = expired(table.live_files(), limits, self.today)
        whole, mixed = [*found.whole], list[LiveFile]()
        for first in range(0, len(found.unsure), _FILES_A_LOOK):
            some = found.unsure[first : first + _FILES_A_LOOK]
            for file, gone in zip(some, self._expired_rows(table, some, limits), strict=True):
                if gone:
                    (whole if gone == file.rows else mixed).append(file)
        rows = sum(file.rows for file in whole)
        if whole and not dry_run:
            replace_files(
                self._store,
                table,
                {file.path for file in whole},
                [],
                table.watermark(MAINTENANCE),
                "retention",
                data_change=True,
            )
            self._observer.dropped(table.name, len(whole), rows)
            self._committed(table)
        for file in mixed:
            rows += self._without_expired(table, file, limits, dry_run)
        return len(whole) + len(mixed), rows

    def _expired_rows(self, table: Table, files: Sequence[LiveFile], limits: Limits) -> list[int]:
        """How many rows of each file are expired; of each only the names are read."""
        rewriter = Rewriter(self._store, table, self._scratch)
        with rewriter.opened():
            rewriter.register(
                "rows", table.dataset([file.path for file in files]).scanner(["event_name", "__filename"]).to_reader()
            )
            found = rewriter.run("SELECT __filename, event_name, count(*) FROM rows GROUP BY ALL")
        counts = dict.fromkeys((file.path for file in files), 0)
        ages = {file.path: age_days(file, self.today) for file in files}
        for path, name, count in found:
            if limits.is_expired(name, ages[path]):
                counts[path] += count
        return [counts[file.path] for file in files]

    def _without_expired(self, table: Table, file: LiveFile, limits: Limits, dry_run: bool) -> int:
        rewriter = Rewriter(self._store, table, self._scratch)
        with rewriter.opened():
            part = rewriter.load([file])
            gone = condition(limits, age_days(file, self.today))
            rewriter.run(f"DELETE FROM {part.table} WHERE {gone}")
            left = rewriter.scalar(f"SELECT count(*) FROM {part.table}")
            if not dry_run:
                table.refresh()
                rewriter.commit([part], table.watermark(MAINTENANCE), "retention", file.rows - left)
                self._observer.dropped(table.name, 1, file.rows - left)
                self._committed(table)
        return file.rows - left

    # Vacuum ---------------------------------------------------------------------------------------------------

    def vacuum(self, table: Table, *, full: bool) -> int | None:
        """Delete what left the table longer ago than the retention; `full`: also what never was in it.

        Returns how many files; None when a full one has to wait, because the table forgot too early what it removed.
        """
        hours = self._rules.vacuum_hours
        table.reopen()
        now = self._clock()
        if table.remember_removed(hours + REMEMBERED_HOURS, now) > now - hours * 3600 and full:
            return None
        if full:
            found = all_leftovers(self._store, table, hours, orphans=True)
        else:
            already = self._deleted.get(table.name, set())
            found = known_leftovers(table, hours, already)
            # What the log still remembers of them is of no interest; what it has forgotten need not be remembered here.
            self._deleted[table.name] = {*found.paths, *(already & {*table.removed_before(hours)})}
        count = delete(self._store, table, found)
        self._observer.vacuumed(table.name, count)
        return count

    def sweep(self, *, dry_run: bool = False) -> list[str]:
        """Delete what killed writers have left beside the tables longer ago than the retention; returns the keys."""
        before = self._store.now() - self._rules.vacuum_hours * 3600
        keys = self._store.sweep(before, dry_run=dry_run)
        if keys and not dry_run:
            log.info("what killed writers left beside the tables is deleted", files=len(keys))
        return keys

    def leftovers(self, table: Table, *, full: bool) -> Leftovers:
        """What a vacuum would delete now."""
        return all_leftovers(self._store, table, self._rules.vacuum_hours, orphans=full)

    def _committed(self, table: Table) -> None:
        self._commits += 1
        if self._commits % _CHECKPOINT_COMMITS == 0:
            try:
                table.checkpoint()
            except Exception as error:
                log.warning("no checkpoint this time", table=table.name, reason=str(error))


def _without(rewriter: Rewriter, file: LiveFile, positions: Sequence[tuple[str, int]]) -> Part:
    """A file without some rows, to be written."""
    part = rewriter.load([file])
    listed: Any = {
        "stream": pa.array([stream for stream, _ in positions], pa.string()),
        "sequence": pa.array([sequence for _, sequence in positions], pa.int64()),
    }
    rewriter.register("gone", pa.table(listed))
    rewriter.run(
        f"DELETE FROM {part.table} WHERE rowid IN "
        f"(SELECT p.rowid FROM {part.table} p SEMI JOIN gone USING (stream, sequence))"
    )
    return part
