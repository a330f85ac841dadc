"""What is to be seen of a lake: facts of its tables, and what to do where something is off. Nothing is changed."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

from msgspec import Struct

from polku_schemas.amounts import counted

from ..lake.table import LiveFile, Table
from .costs import Costs
from .plan import merges
from .run import Maintainer, Rules

# Each of them is read for it.
_COMMITS_LOOKED_AT = 1000

# A day of what came lately tells the rate of events.
_LATELY = datetime.timedelta(days=1)


class TableStatus(Struct, frozen=True, kw_only=True):
    """One table."""

    name: str
    version: int
    files: int
    size_bytes: int
    rows: int
    partitions: int
    small_files: int
    """Files below half the target size."""
    surplus_files: int
    """How many fewer there were if all were merged that can be."""
    newest_commit_age_seconds: float
    last_work: dict[str, str]
    """Compaction and retention: when the log last tells of them."""
    vacuumable_files: int
    vacuumable_bytes: int
    events_per_second: float
    """Over the last day."""

    @property
    def small_ratio(self) -> float:
        """Which part of the files is small."""
        return self.small_files / self.files if self.files else 0.0


class JournalStatus(Struct, frozen=True):
    """What waits in a journal."""

    directory: str
    streams: int
    waiting_events: int
    waiting_bytes: int
    oldest_age_seconds: float | None
    dedup_window_seconds: float | None
    dedup_bounded_by_bytes: bool


class NotesStatus(Struct, frozen=True):
    """What other nodes have handed over."""

    waiting: int
    """Notes that are there to be committed."""
    passed_over: dict[str, str]
    """Those that cannot be, whatever is tried, each with the reason: their nodes wait."""


class Mirrored(Struct, frozen=True):
    """How far the Iceberg mirror of a table is."""

    table: str
    version: int
    mirrored_version: int | None
    """None: nothing is mirrored yet."""
    behind_commits: int
    behind_seconds: float


class MirrorStatus(Struct, frozen=True):
    """The mirror in an Iceberg catalog, or the problem that kept us from looking at it."""

    catalog: str
    tables: list[Mirrored]
    problem: str | None = None


class Status(Struct, frozen=True):
    """All of it."""

    lake: str
    as_of: str
    tables: list[TableStatus]
    journal: JournalStatus | None
    costs: Costs | None
    to_do: list[str]
    mirror: MirrorStatus | None = None
    """None: there is to be no mirror."""
    notes: NotesStatus | None = None
    """None: nobody has handed over anything that is not committed."""


def table_status(table: Table, maintainer: Maintainer, rules: Rules, now: datetime.datetime) -> TableStatus:
    """The facts of a table."""
    left = maintainer.leftovers(table, full=True)
    files = table.live_files()
    newest = table.handle.history(1)
    last: dict[str, str] = {}
    for work in table.work(_COMMITS_LOOKED_AT):
        last.setdefault(work.what, _moment(work.at_ms))
    mergeable = merges(files, today=str(now.date()), target_bytes=rules.target_bytes, everything=True)
    return TableStatus(
        name=table.name,
        version=table.version,
        files=len(files),
        size_bytes=sum(file.size_bytes for file in files),
        rows=sum(file.rows for file in files),
        partitions=len({file.partition for file in files}),
        small_files=sum(1 for file in files if file.size_bytes < rules.target_bytes / 2),
        surplus_files=sum(len(merge.files) - 1 for merge in mergeable),
        newest_commit_age_seconds=now.timestamp() - newest[0]["timestamp"] / 1000 if newest else 0.0,
        last_work=last,
        vacuumable_files=len(left.paths),
        vacuumable_bytes=left.size_bytes or 0,
        events_per_second=rate(files, now),
    )


def rate(files: Sequence[LiveFile], now: datetime.datetime) -> float:
    """Rows a second received in the last day, as far as the bounds in the log tell. Pure."""
    begin = now - _LATELY
    rows, since = 0.0, now
    for file in files:
        least, most = file.least.get("received_at"), file.most.get("received_at")
        if least is None or most is None or most < begin:
            continue
        span = (most - least).total_seconds()
        inside = (most - max(least, begin)).total_seconds()
        rows += file.rows * (inside / span if span > 0 else 1.0)
        since = min(since, max(least, begin))
    seconds = (now - since).total_seconds()
    return rows / seconds if seconds > 0 else 0.0


def to_do(
    tables: Sequence[TableStatus],
    journal: JournalStatus | None,
    *,
    most_files: int,
    flush_seconds: float,
    window_seconds: float,
    maintenance: bool,
    mirror: MirrorStatus | None = None,
    mirror_seconds: float = 60.0,
    notes: NotesStatus | None = None,
) -> list[str]:
    """What is off, and what to do about it. Pure."""
    lines = []
    for table in tables:
        if table.files > 1.5 * most_files and table.surplus_files > most_files / 2:
            how = (
                "see polku_maintenance_failures_total and its log" if maintenance else "set maintenance.enabled = true"
            )
            lines.append(
                f"{table.name} has {table.files} files, {table.surplus_files} of them too many: maintenance does not "
                f"keep up or does not run ({how}), or run `polku lake compact`"
            )
        if table.vacuumable_files > max(1000, table.files):
            lines.append(
                f"{table.name} has {table.vacuumable_files} files that no reader needs any more: "
                "run `polku lake vacuum --full`"
            )
    if journal is not None:
        age = journal.oldest_age_seconds
        if age is not None and age > max(60.0, 10 * flush_seconds):
            lines.append(
                f"the oldest event in the journal has waited for {_duration(age)}: is its collector running and the "
                "store there? If nobody has this journal any more, run `polku lake drain --journal "
                f"{journal.directory}`"
            )
        if journal.dedup_bounded_by_bytes:
            lines.append(
                f"copies are recognised for {_duration(journal.dedup_window_seconds or 0)} instead of "
                f"{_duration(window_seconds)}: raise lake.dedup_max_bytes"
            )
    if notes is not None:
        lines += [
            f"the note {key} cannot be committed ({reason}), and its node waits: find out what happened to it and "
            "delete it, then the node hands over anew"
            for key, reason in sorted(notes.passed_over.items())
        ]
    if mirror is not None:
        lines += [
            f"the Iceberg table of {table.table} lacks commits of {_duration(table.behind_seconds)} ago: is a "
            "collector with [lake.iceberg] running, and what does its log say? Or run `polku lake mirror`"
            for table in mirror.tables
            if table.behind_seconds > max(600.0, 10 * mirror_seconds)
        ]
        if mirror.problem is not None:
            lines.append(f"the Iceberg mirror could not be looked at: {mirror.problem}")
    return lines


def lines_of(status: Status) -> list[str]:
    """The status as a person reads it."""
    lines = [f"lake {status.lake}, as of {status.as_of}"]
    for table in status.tables:
        lines += [
            "",
            f"{table.name}: version {table.version}, newest commit {_duration(table.newest_commit_age_seconds)} ago",
            f"  {counted(table.rows, 'row')} in {counted(table.files, 'file')} of {counted(table.partitions, 'day')}, "
            f"{_size(table.size_bytes)}; {table.events_per_second:.3g} rows/s in the last day",
            f"  {counted(table.small_files, 'small file')} ({table.small_ratio:.0%}); "
            f"{table.surplus_files:,} fewer files if all were merged",
            f"  last maintenance in the log: {_listed(table.last_work)}",
            f"  a full vacuum would delete {counted(table.vacuumable_files, 'file')}, {_size(table.vacuumable_bytes)}",
        ]
    if (journal := status.journal) is not None:
        waited = f", the oldest for {_duration(journal.oldest_age_seconds)}" if journal.oldest_age_seconds else ""
        window = _duration(journal.dedup_window_seconds) if journal.dedup_window_seconds is not None else "not known"
        lines += [
            "",
            f"journal {journal.directory}: {counted(journal.waiting_events, 'waiting event')} in "
            f"{counted(journal.streams, 'stream')}, "
            f"{_size(journal.waiting_bytes)}{waited}",
            f"  copies are recognised for: {window}",
        ]
    if (notes := status.notes) is not None:
        lines += ["", f"handed over: {notes.waiting:,} notes wait, {len(notes.passed_over):,} are passed over"]
    if (mirror := status.mirror) is not None:
        known = "" if mirror.problem is None else " not known"
        lines += [
            "",
            f"Iceberg catalog {mirror.catalog}:{known}",
            *(f"  {_mirrored(table)}" for table in mirror.tables),
        ]
    # A local lake asks no store for anything; what another flush on a bucket would cost, nobody can tell from it.
    if (costs := status.costs) is not None and status.lake.startswith("s3"):
        lines += [
            "",
            f"requests on object storage per million events, at {costs.events_per_second:.3g} events/s, a commit every "
            f"{costs.flush_seconds:g} s and {costs.files_per_commit:.2g} files a commit:",
            f"  {costs.put_requests:,.0f} PUT and LIST, {costs.get_requests:,.0f} GET: ${costs.dollars:.4f} "
            f"(${costs.dollars_per_month:.2f} a month)",
            f"  at ${costs.dollars_per_thousand_puts:g} per 1,000 PUT or LIST and "
            f"${costs.dollars_per_thousand_gets:g} per 1,000 GET (S3 Standard, us-east-1); one collector; "
            "without storage, transfer, readers and an Iceberg mirror",
        ]
    if status.to_do:
        lines += ["", "to do:", *(f"  - {line}" for line in status.to_do)]
    else:
        lines += ["", "nothing to do"]
    return lines


def _mirrored(mirrored: Mirrored) -> str:
    version = mirrored.mirrored_version
    stands = "nothing mirrored yet" if version is None else f"mirrored to version {version}"
    behind = "up to date"
    if mirrored.behind_commits:
        behind = f"{mirrored.behind_commits} commits behind, {_duration(mirrored.behind_seconds)}"
    return f"{mirrored.table}: {stands} of {mirrored.version}, {behind}"


def _listed(work: Mapping[str, str]) -> str:
    return ", ".join(f"{what} {when}" for what, when in work.items()) or "none"


def _moment(at_ms: int) -> str:
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _size(size_bytes: float) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes:.0f} bytes"
