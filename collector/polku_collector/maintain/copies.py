"""Copies of an event that came in through several collectors: which rows of a day go, when its files are merged.

Of rows with the same source and id the one with the smallest (received_at, stream, sequence) stays, as in the models.
Only equal ones go: a row of the same id with other content (name, properties, traits) stays, and is counted. A row that
was replayed stays too, before all others: replays find theirs by numbers without gaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any

from msgspec import Struct

from polku_schemas import ENVELOPE_COLUMNS

from ..batch import REPLAY_STREAM
from ..lake.reading import KEY_SQL
from ..lake.table import LiveFile, Table
from ..lake.types import duckdb_type, literal, quoted
from .rewrite import Part, Rewriter

_POSITION = ["source", "event_id", "received_at", "stream", "sequence"]

# With how many bytes of files one merge is compared that are not merged themselves. Ids that are ordered by time (those
# of our SDKs are) need a fraction; where ids say nothing, a day of more than this is compared with a part of itself.
COMPARED_BYTES = 1 << 30


class Copies(Struct):
    """What was found: rows to leave out of the merged files, and of others by their paths."""

    dropped: int = 0
    conflicting: int = 0
    elsewhere: dict[str, list[tuple[str, int]]] = {}
    """File → the (stream, sequence) of its rows that go."""


def neighbours(files: Iterable[LiveFile], merged: Sequence[LiveFile], most_bytes: int) -> list[LiveFile]:
    """The other files of the day, the one before and the one after that can hold ids of the merged ones. Pure."""
    inside = {file.path for file in merged}
    day = date.fromisoformat(merged[0].partition)
    near = {str(day + timedelta(days=days)): abs(days) for days in (-1, 0, 1)}
    known = all("event_id" in file.least and "event_id" in file.most for file in merged)
    least = min((file.least["event_id"] for file in merged), default="") if known else ""
    most = max((file.most["event_id"] for file in merged), default="") if known else None
    found = [
        file
        for file in files
        if file.partition in near
        and file.path not in inside
        and (most is None or file.least.get("event_id", "") <= most)
        and file.most.get("event_id", least) >= least
    ]
    found.sort(key=lambda file: (near[file.partition], file.size_bytes, file.path))
    taken, size = [], 0
    for file in found:
        size += file.size_bytes
        if size > most_bytes:
            break
        taken.append(file)
    return taken


def drop_copies(rewriter: Rewriter, table: Table, part: Part, others: Sequence[LiveFile]) -> Copies:
    """Find the copies among a part's rows and those of other files; delete the part's own that go."""
    run = rewriter.run
    run(f"CREATE OR REPLACE TABLE ours AS SELECT {KEY_SQL} AS key, rowid AS row FROM {part.table}")
    run("CREATE OR REPLACE TABLE theirs (key UHUGEINT, file VARCHAR)")
    if others:
        rows = table.dataset([file.path for file in others]).scanner(columns=[*_POSITION, "__filename"]).to_reader()
        rewriter.register("rows", rows)
        run(
            f"INSERT INTO theirs SELECT key, file FROM (SELECT {KEY_SQL} AS key, __filename AS file FROM rows) "
            "SEMI JOIN ours USING (key)"
        )
    run(
        "CREATE OR REPLACE TABLE several AS SELECT key FROM (SELECT key FROM ours UNION ALL SELECT key FROM theirs) "
        "GROUP BY key HAVING count(*) > 1"
    )
    if not rewriter.scalar("SELECT count(*) FROM several"):
        return Copies()
    _gather(rewriter, table, part)
    return _decide(rewriter, part)


def _gather(rewriter: Rewriter, table: Table, part: Part) -> None:
    """All rows of the ids that are there several times, as `found`: where they are, and what they say."""
    content = [name for name in table.columns if name not in ENVELOPE_COLUMNS and name != "extra"]
    own = {*rewriter.columns(part)}

    def said(there: set[str]) -> str:
        """A checksum of name, properties and traits, the same whichever columns a file has."""
        members = [
            f"{quoted(name)} := {quoted(name) if name in there else 'NULL'}::{duckdb_type(table.columns[name])}"
            for name in content
        ]
        if "extra" in there:
            members.append("beside := TRY(json_extract(extra, '$.properties'))::VARCHAR")
        else:
            members.append("beside := NULL::VARCHAR")
        return f"md5_number(to_json(struct_pack(event_type, event_name, {', '.join(members)}))::VARCHAR)"

    place = "received_at, stream, sequence"
    rewriter.run(
        f"CREATE OR REPLACE TABLE found AS SELECT key, o.row, NULL::VARCHAR AS file, {place}, {said(own)} AS content "
        f"FROM several JOIN ours o USING (key) JOIN {part.table} p ON p.rowid = o.row"
    )
    files = [file for (file,) in rewriter.run("SELECT DISTINCT file FROM theirs SEMI JOIN several USING (key)")]
    if files:
        rows: Any = table.dataset(files).scanner(columns=[*table.columns, "__filename"]).to_reader()
        rewriter.register("rows", rows)
        rewriter.run(
            f"INSERT INTO found SELECT {KEY_SQL} AS key, NULL, __filename, {place}, {said({*table.columns})} "
            f"FROM rows WHERE {KEY_SQL} IN (SELECT key FROM several)"
        )


def _decide(rewriter: Rewriter, part: Part) -> Copies:
    replayed = f"stream = {literal(REPLAY_STREAM)}"
    rewriter.run(
        "CREATE OR REPLACE TABLE judged AS SELECT *, "
        "content = first_value(content) OVER first AS same, stream = first_value(stream) OVER first AND "
        "sequence = first_value(sequence) OVER first AS winner, row_number() OVER first AS place "
        "FROM found WINDOW first AS (PARTITION BY key "
        f"ORDER BY ({replayed}) DESC, received_at, stream, sequence ROWS UNBOUNDED PRECEDING)"
    )
    # A row that stands where the winner stands is the winner itself, twice: that is no copy of ours to judge.
    goes = f"place > 1 AND NOT winner AND same AND NOT {replayed}"
    found = Copies(
        dropped=rewriter.scalar(f"SELECT count(*) FROM judged WHERE {goes}"),
        conflicting=rewriter.scalar("SELECT count(*) FROM judged WHERE place > 1 AND NOT same"),
    )
    rewriter.run(f"DELETE FROM {part.table} WHERE rowid IN (SELECT row FROM judged WHERE {goes} AND row IS NOT NULL)")
    elsewhere = rewriter.run(f"SELECT file, stream, sequence FROM judged WHERE {goes} AND file IS NOT NULL")
    for file, stream, sequence in elsewhere:
        found.elsewhere.setdefault(file, []).append((stream, sequence))
    return found
