"""Which of the ids in question the table `events` holds, and what is known of those events. Never behind the table.

A run asks for the ids of the rows it looks at. The whole table is read once for them; after that only files that have
come since. Everything is in DuckDB, which spills to disk: neither table need fit into memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from msgspec import Struct

from ..lake.reading import KEY_SQL
from ..lake.replayed import is_replay_file
from ..lake.table import Table
from .rows import Selection

# Of replayed rows the file says what they were like; JSON is read only there.
_DIGEST = "TRY((extra->'$.replayed.digest')::UINTEGER)"


class Holder(Struct, frozen=True):
    """Who has an id in `events`: with the digest of its content if it was replayed, else without."""

    digest: int | None


Answer = Holder | Literal["free", "not asked"]


class Known:
    """What `events` holds of the ids in question."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._seen: set[str] = set()
        self._run("CREATE OR REPLACE TABLE wanted (key UHUGEINT)")
        self._run("CREATE OR REPLACE TABLE held (key UHUGEINT, digest UINTEGER)")

    def ask(self, quarantine: Table, selection: Selection) -> None:
        """The ids in question: those of the selected rows. To be asked once, before anything is learnt."""
        dataset = quarantine.handle.to_pyarrow_dataset()
        wanted = selection.filter()
        named = dataset.scanner(columns=["source", "event_id"], filter=wanted & ds.field("event_id").is_valid())
        # Where the envelope could not be read, intake did not keep the id.
        unnamed = dataset.scanner(columns=["source", "original"], filter=wanted & ds.field("event_id").is_null())
        self._insert("wanted", f"SELECT {KEY_SQL} FROM rows", named.to_reader())
        found = "SELECT source, TRY(json_extract_string(original, '$.messageId')) AS event_id FROM rows"
        self._insert("wanted", f"SELECT {KEY_SQL} FROM ({found}) WHERE event_id IS NOT NULL", unnamed.to_reader())

    def learn(self, events: Table) -> None:
        """Read what the table's handle sees and was not read yet."""
        fresh = events.files() - self._seen
        replays = {path for path in fresh if is_replay_file(path)}
        for paths, columns, digest in (
            (fresh - replays, ["source", "event_id"], "NULL"),
            (replays, ["source", "event_id", "extra"], _DIGEST),
        ):
            if paths:
                rows = events.dataset(paths).scanner(columns=columns).to_reader()
                found = f"SELECT {KEY_SQL} AS key, {digest} AS digest FROM rows"
                self._insert("held", f"SELECT key, digest FROM ({found}) SEMI JOIN wanted USING (key)", rows)
        self._seen |= fresh

    def add(self, keys: Sequence[tuple[str, str, int]]) -> None:
        """Take (source, id, digest) of replayed events in without reading the table."""
        self._insert("held", f"SELECT {KEY_SQL}, digest FROM rows", _keys(keys))

    def of(self, keys: Sequence[tuple[str, str]]) -> list[Answer]:
        """Who has each id. "not asked": of a row that came after the question."""
        self._connection.register("asked", _keys([(*key, 0) for key in keys]))
        found = self._run(
            f"SELECT a.number, key IN (SELECT key FROM wanted), h.held, h.digest "
            f"FROM (SELECT number, {KEY_SQL} AS key FROM asked) a "
            # One that was not replayed goes before those that were: their digests say nothing then.
            "LEFT JOIN (SELECT key, true AS held, CASE WHEN bool_and(digest IS NOT NULL) THEN min(digest) END "
            "AS digest FROM held GROUP BY key) h USING (key) ORDER BY a.number"
        )
        self._connection.unregister("asked")
        return [Holder(digest) if held else "free" if asked else "not asked" for _, asked, held, digest in found]

    def _insert(self, table: str, select: str, rows: Any) -> None:
        self._connection.register("rows", rows)
        self._run(f"INSERT INTO {table} {select}")
        self._connection.unregister("rows")

    def _run(self, sql: str) -> list[tuple[Any, ...]]:
        return list(self._connection.execute(sql).fetchall())


def _keys(keys: Sequence[tuple[str, str, int]]) -> pa.Table:
    return pa.table(
        {
            "number": pa.array(range(len(keys)), pa.int64()),
            "source": pa.array([source for source, _, _ in keys], pa.string()),
            "event_id": pa.array([event_id for _, event_id, _ in keys], pa.string()),
            "digest": pa.array([digest for _, _, digest in keys], pa.uint32()),
        }
    )
