"""What a lake costs on object storage: requests and dollars per million events at the present settings. Pure.

The model is that of one collector which flushes at every interval and looks after its tables. Storage, transfer,
readers, an Iceberg mirror and vacuums (some hundred requests an hour) are not in it.
"""

from __future__ import annotations

from msgspec import Struct

# List prices of S3 Standard in us-east-1, as of 2026: to be replaced by those of your store.
DOLLARS_A_THOUSAND_PUTS = 0.005
DOLLARS_A_THOUSAND_GETS = 0.0004

# Counted with deltalake 1.6.6 at a server that writes down what it is asked (tests/e2e/test_costs.py). A flush that has
# something to commit looks at both tables first: a LIST each, and a GET of the pointer to the checkpoint where nothing
# has changed. One that has nothing asks nobody.
_LISTS_A_LOOK, _GETS_A_LOOK = 2, 1
# A commit, beside its files: itself; deltalake lists the log in it and after it. It is read after it, and at the next
# look, each time in two parts.
_PUTS_A_COMMIT, _LISTS_A_COMMIT, _GETS_A_COMMIT = 1, 2, 4
# How far a stream is, is read anew at the next flush, from all commits since the last checkpoint; and so is how far
# replays are.
_WATERMARKS_BESIDE_STREAMS = 1
# A checkpoint writes itself and a pointer, reads the commits since the last one twice and each in two parts, opens the
# table twice, and lists the whole log once, a thousand objects at a time.
_PUTS_A_CHECKPOINT, _LISTS_A_CHECKPOINT, _GETS_A_CHECKPOINT, _GETS_A_CHECKPOINT_COMMIT = 2, 4, 43, 4
_LOG_SECONDS = 2 * 86_400
_OBJECTS_A_LIST = 1000
# Maintenance opens a table, then asks who was at work; it reads each commit since the last checkpoint three times.
_LISTS_A_MAINTENANCE_LOOK, _GETS_A_MAINTENANCE_LOOK, _GETS_A_MAINTENANCE_COMMIT = 1, 14, 3
# A merge is a file and a commit, whatever it merges.
_PUTS_A_MERGE, _LISTS_A_MERGE, _GETS_A_MERGE = 2, 5, 7
# Files from so many bytes on come and go in parts.
_PART_BYTES = 8 * 1024 * 1024
# How often the average row is written again.
_REWRITES = 3


class Work(Struct, frozen=True, kw_only=True):
    """How often the things are done that ask something of the store."""

    commits: float
    """To `events`: each flush makes one that finds anything."""
    files: float
    """Of these commits."""
    refusals: float = 0.0
    """Commits to `quarantine`, of a file each."""
    maintenance_looks: float = 0.0
    """At both tables."""
    merges: float = 0.0
    merged_files: float = 0.0
    merged_bytes: float = 0.0


class Requests(Struct, frozen=True):
    """In the two classes that stores have prices for."""

    puts: float
    """PUT, POST and LIST."""
    gets: float
    """GET and HEAD."""


class Costs(Struct, frozen=True):
    """Per million events, with what it rests on."""

    events_per_second: float
    flush_seconds: float
    files_per_commit: float
    bytes_per_event: float
    put_requests: float
    get_requests: float
    dollars: float
    dollars_per_month: float
    dollars_per_thousand_puts: float = DOLLARS_A_THOUSAND_PUTS
    dollars_per_thousand_gets: float = DOLLARS_A_THOUSAND_GETS


def costs(
    *,
    events_per_second: float,
    refused_per_second: float,
    flush_seconds: float,
    files_per_commit: float,
    bytes_per_event: float,
    streams: int,
    checkpoint_commits: int,
    maintenance_seconds: float | None,
    compact_files: int,
) -> Costs:
    """Requests of a million events, at a rate of more than 0. `maintenance_seconds`: None, if there is none."""
    flushes = 1 / flush_seconds
    commits = min(flushes, events_per_second)  # nothing is committed while nothing comes
    files = commits * files_per_commit
    kept = maintenance_seconds is not None
    merges = files / (compact_files / 2)  # begun at so many files, done until there are half of them
    a_second = Work(
        commits=commits,
        files=files,
        refusals=min(flushes, refused_per_second),
        maintenance_looks=1 / maintenance_seconds if maintenance_seconds is not None else 0.0,
        merges=merges if kept else 0.0,
        merged_files=files if kept else 0.0,
        merged_bytes=events_per_second * bytes_per_event * _REWRITES if kept else 0.0,
    )
    seconds = 1e6 / events_per_second
    log_objects = commits * _LOG_SECONDS
    found = requests(a_second, streams=streams, checkpoint_commits=checkpoint_commits, log_objects=log_objects)
    puts, gets = found.puts * seconds, found.gets * seconds
    dollars = puts / 1000 * DOLLARS_A_THOUSAND_PUTS + gets / 1000 * DOLLARS_A_THOUSAND_GETS
    monthly = dollars * events_per_second * 86_400 * 30 / 1e6
    return Costs(events_per_second, flush_seconds, files_per_commit, bytes_per_event, puts, gets, dollars, monthly)


def requests(work: Work, *, streams: int, checkpoint_commits: int, log_objects: float) -> Requests:
    """What work asks of the store. `log_objects`: how many the log of `events` holds."""
    since_checkpoint = (checkpoint_commits - 1) / 2  # commits, on average
    commits = work.commits + work.refusals
    checkpoints = commits / checkpoint_commits
    parts = work.merged_bytes / _PART_BYTES
    tables = 2 if work.refusals else 1  # one that nothing is committed to is hardly anything to read
    puts = (
        work.commits * _LISTS_A_LOOK
        + work.files
        + work.refusals
        + commits * (_PUTS_A_COMMIT + _LISTS_A_COMMIT)
        + checkpoints * (_PUTS_A_CHECKPOINT + _LISTS_A_CHECKPOINT + log_objects / _OBJECTS_A_LIST)
        + work.maintenance_looks * 2 * _LISTS_A_MAINTENANCE_LOOK
        + work.merges * (_PUTS_A_MERGE + _LISTS_A_MERGE)
        + parts
    )
    gets = (
        work.commits * _GETS_A_LOOK
        + commits * _GETS_A_COMMIT
        + work.commits * (streams + _WATERMARKS_BESIDE_STREAMS) * since_checkpoint
        + work.refusals * streams * since_checkpoint
        + checkpoints * (_GETS_A_CHECKPOINT + _GETS_A_CHECKPOINT_COMMIT * checkpoint_commits)
        + work.maintenance_looks * tables * (_GETS_A_MAINTENANCE_LOOK + _GETS_A_MAINTENANCE_COMMIT * since_checkpoint)
        + work.merges * _GETS_A_MERGE
        + work.merged_files
        + parts
    )
    return Requests(puts, gets)
