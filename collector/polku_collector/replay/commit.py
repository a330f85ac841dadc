"""The two commits of a replay, and what makes them one: whoever finds the first without the second finishes it.

An event is added to `events` under the next numbers of the stream REPLAY_STREAM and then removed from `quarantine`,
which notes the same number. As long as `quarantine` is behind `events`, nothing else is replayed, by nobody.

Two runs may fight for the same numbers. So a number that was reached proves nothing about one's own commit: on any
doubt a run raises CommitUncertain and begins again by looking.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ..batch import REPLAY_STREAM
from ..errors import LakeError
from ..lake.commit import add_actions
from ..lake.fenced import fenced, put
from ..lake.parquet import DataFile, copy_by_day
from ..lake.replayed import origin_of, replayed_rows
from ..lake.store import Store
from ..lake.table import MAINTENANCE, Table

Position = tuple[str, int]


def commit_events(
    events: Table, store: Store, files: Sequence[DataFile], after: int, last: int, check: Callable[[], None]
) -> None:
    """Add files to `events`, from the handle that stands at `after`. `check` is asked before each attempt.

    Raises CommitUncertain when the table does not stand at `after` any more, and what `check` raises.
    """
    there = put(store, events, files)
    events.refresh()
    actions = add_actions([*files], events.partition_by)

    def both() -> None:
        check()
        there()

    fenced(events, REPLAY_STREAM, after, lambda: events.commit(actions, {REPLAY_STREAM: last}), both)
    events.settle()


class Remover:
    """Takes rows out of `quarantine`: files that hold some are replaced by files without them."""

    def __init__(self, quarantine: Table, store: Store, connection: duckdb.DuckDBPyConnection, scratch: Path) -> None:
        self._table, self._store, self._connection, self._scratch = quarantine, store, connection, scratch
        self._number = 0

    def unfinished(self, events: Table) -> set[Position]:
        """The rows of `quarantine` that are rows of `events` too, because a run ended between its two commits.

        Reads both tables anew, `events` first.
        """
        events.refresh()
        self._table.refresh()
        done = self._table.watermark(REPLAY_STREAM)
        if done >= events.watermark(REPLAY_STREAM):
            return set()
        rows = replayed_rows(events, done, ["extra"])
        origins = [origin_of(extra) for extra in rows["extra"].to_pylist()]
        return {(origin.stream, origin.sequence) for origin in origins if origin is not None}

    def remove(self, positions: Collection[Position], last: int, files: Collection[str] = ()) -> int:
        """Remove rows in one commit, which notes that the table stands at `last`; returns how many were there.

        `files`: where they were seen. Rows that are there no more were removed by another run.
        """
        self._table.refresh()
        holding = self._holding(positions, self._table.files() & set(files))
        if sum(holding.values()) < len(positions):  # some of those files were replaced meanwhile
            holding = self._holding(positions, self._table.files())
        kept = self._without(positions, holding) if holding else []
        there = put(self._store, self._table, kept)
        actions = add_actions(kept, self._table.partition_by)
        stands = {REPLAY_STREAM: max(last, self._table.watermark(REPLAY_STREAM))}
        turn = self._table.watermark(MAINTENANCE)
        fenced(self._table, MAINTENANCE, turn, lambda: self._table.replace(holding, actions, stands), there)
        self._table.settle()
        return sum(holding.values())

    def _holding(self, positions: Collection[Position], files: Collection[str]) -> dict[str, int]:
        """Which of the files have some of the rows, and how many."""
        if not files:
            return {}
        self._register_positions(positions)
        rows = self._table.dataset(files).scanner(columns=["stream", "sequence", "__filename"]).to_reader()
        self._connection.register("rows", rows)
        found = self._run(
            "SELECT __filename, count(*) FROM rows SEMI JOIN gone USING (stream, sequence) GROUP BY __filename"
        )
        self._connection.unregister("rows")
        return dict(found)

    def _without(self, positions: Collection[Position], holding: dict[str, int]) -> list[DataFile]:
        """New files with the other rows of these files. Rows out equal rows in."""
        self._register_positions(positions)
        self._connection.register("rows", self._table.dataset(holding).scanner().to_reader())
        self._run("CREATE OR REPLACE TABLE kept AS SELECT * FROM rows ANTI JOIN gone USING (stream, sequence)")
        self._connection.unregister("rows")
        self._number += 1
        folder = self._scratch / f"kept-{self._number}"
        day = self._table.partition_by
        days = [moment for (moment,) in self._run(f"SELECT DISTINCT {day} FROM kept")]
        kept = copy_by_day(self._connection, "SELECT * FROM kept", folder, day, days)
        before = sum(_rows_of(fragment) for fragment in self._table.dataset(holding).get_fragments())
        after = sum(file.rows for file in kept)
        if before - sum(holding.values()) != after:
            raise LakeError(
                f"quarantine: {before} rows went in and {sum(holding.values())} were to go, but {after} came out; "
                "nothing was removed"
            )
        return kept

    def _register_positions(self, positions: Collection[Position]) -> None:
        streams, sequences = [stream for stream, _ in positions], [sequence for _, sequence in positions]
        listed = {"stream": pa.array(streams, pa.string()), "sequence": pa.array(sequences, pa.int64())}
        self._connection.register("gone", pa.table(listed))

    def _run(self, sql: str) -> list[tuple[Any, ...]]:
        return list(self._connection.execute(sql).fetchall())


def _rows_of(fragment: Any) -> int:
    return int(fragment.count_rows())
