"""What a lake costs on object storage: requests and dollars per million events at the present settings. Pure.

The model is that of one collector which commits at every interval. Storage, transfer and readers are not in it.
"""

from __future__ import annotations

from msgspec import Struct

# List prices of S3 Standard in us-east-1, as of 2026: to be replaced by those of your store.
DOLLARS_A_THOUSAND_PUTS = 0.005
DOLLARS_A_THOUSAND_GETS = 0.0004

# Measured with deltalake 1.6.6 on a warm handle: a commit lists twice and reads twice, beside the files and itself.
_LISTS_A_COMMIT = 2
_GETS_A_COMMIT = 2
# A checkpoint writes itself and a pointer, and reads the commits since the last one about twice.
_PUTS_A_CHECKPOINT = 2
_GETS_A_CHECKPOINT_COMMIT = 2
# A file that is merged is read once, in one request, and listed as gone; the merged file is one upload in parts.
_GETS_A_MERGED_FILE = 1
_PART_BYTES = 16 * 1024 * 1024
# How often the average row is written again.
_REWRITES = 3


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
    flush_seconds: float,
    files_per_commit: float,
    bytes_per_event: float,
    checkpoint_commits: int,
    target_bytes: int,
) -> Costs:
    """Requests of a million events, at a rate of more than 0."""
    commits = 1e6 / max(1.0, events_per_second * flush_seconds)  # nothing is committed while nothing comes
    puts = commits * (files_per_commit + 1 + _LISTS_A_COMMIT)
    gets = commits * _GETS_A_COMMIT
    puts += commits / checkpoint_commits * _PUTS_A_CHECKPOINT
    gets += commits * _GETS_A_CHECKPOINT_COMMIT
    written = 1e6 * bytes_per_event * _REWRITES
    puts += written / _PART_BYTES + written / target_bytes * (1 + _LISTS_A_COMMIT)
    gets += commits * files_per_commit * _GETS_A_MERGED_FILE
    dollars = puts / 1000 * DOLLARS_A_THOUSAND_PUTS + gets / 1000 * DOLLARS_A_THOUSAND_GETS
    monthly = dollars * events_per_second * 86_400 * 30 / 1e6
    return Costs(events_per_second, flush_seconds, files_per_commit, bytes_per_event, puts, gets, dollars, monthly)
