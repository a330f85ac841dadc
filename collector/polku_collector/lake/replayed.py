"""How rows of `events` that came out of `quarantine` are told from others: by stream, file name and origin.

Their stream is REPLAY_STREAM, its watermark that of the table `events`. Each keeps in `extra` where it stood before, so
that a run that was interrupted can be finished by reading the table alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pyarrow.dataset as ds
from msgspec import Struct

from ..batch import REPLAY_STREAM
from .table import Table

# Whoever looks for these rows need not read the whole table.
FILE_PREFIX = "replay-"


class Origin(Struct, frozen=True):
    """Where an event stood in `quarantine`, and the digest by which a copy of it is known."""

    stream: str
    sequence: int
    digest: int


class _Extra(Struct):
    replayed: Origin | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Extra).decode


def with_origin(extra: str | None, origin: Origin) -> str:
    """The column `extra` of an event that is replayed."""
    member = b'"replayed":%b' % _encode(origin)
    return (extra[:-1] + "," if extra else "{") + member.decode() + "}"


def origin_of(extra: str | None) -> Origin | None:
    """The inverse; None for an event that was never in `quarantine`."""
    return _decode(extra).replayed if extra else None


def replay_key(key: str) -> str:
    """The name, below its table, of a file whose rows are replayed ones."""
    day, _, name = key.rpartition("/")
    return f"{day}/{FILE_PREFIX}{name}"


def is_replay_file(key: str) -> bool:
    """Whether its name says that a replay wrote it."""
    return key.rpartition("/")[2].startswith(FILE_PREFIX)


def replayed_rows(events: Table, after: int, columns: Sequence[str]) -> Any:  # an Arrow table; pyarrow has no types
    """The replayed rows beyond a sequence. Their sequences have no gaps: whether all were found is known."""
    wanted = (ds.field("stream") == REPLAY_STREAM) & (ds.field("sequence") > after)
    files = events.files()
    found = events.dataset({path for path in files if is_replay_file(path)}).to_table([*columns], filter=wanted)
    if len(found) < events.watermark(REPLAY_STREAM) - after:  # merged into other files, or erased
        found = events.dataset(files).to_table([*columns], filter=wanted)
    return found
