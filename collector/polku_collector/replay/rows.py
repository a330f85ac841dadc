"""The rows of `quarantine`: which of them are looked at, and what a second judgement can say of one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any, Literal

import pyarrow as pa
import pyarrow.dataset as ds
from msgspec import Struct

from ..lake.table import Table

# Rows that are in memory at once while a file is read.
_READ_ROWS = 1000

_NAMES = uuid.UUID("e0f1b7a4-6d1c-5a53-9d0c-6f1f4f0b7c11")


class Quarantined(Struct, frozen=True, kw_only=True):
    """One row of `quarantine`, as far as it is needed; `file` is where it stands."""

    stream: str
    sequence: int
    received_at: datetime
    source: str
    event_id: str | None = None
    event_type: str | None = None
    event_name: str | None = None
    code: str
    original: str | None = None
    context: str | None = None
    sent_at: datetime | None = None
    file: str

    @property
    def position(self) -> tuple[str, int]:
        """What no other row has: where the event stood in the journal."""
        return self.stream, self.sequence

    @property
    def made_id(self) -> str:
        """The id of an event whose client gave none: the same each time it is looked at."""
        return str(uuid.uuid5(_NAMES, f"{self.stream}/{self.sequence}"))


class Stays(Struct, frozen=True):
    """A row that remains in `quarantine`, and why. The reason holds no value of the event."""

    outcome: Literal["broken", "unreadable", "taken"]
    """It does not pass; there is no whole event to judge; its id belongs to another event."""
    reason: str


class Selection(Struct, frozen=True, kw_only=True):
    """Which rows are looked at; what is empty or None chooses nothing. Days are of receipt, `until` is not included."""

    since: date | None = None
    until: date | None = None
    codes: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def filter(self) -> Any:  # an Arrow expression; pyarrow has no types
        """What a row of `quarantine` has to fulfil."""
        wanted: Any = ds.scalar(True)
        if self.since is not None:
            wanted &= ds.field("received_date") >= self.since
        if self.until is not None:
            wanted &= ds.field("received_date") < self.until
        if self.codes:
            wanted &= ds.field("code").isin(self.codes)
        if self.sources:
            wanted &= ds.field("source").isin(self.sources)
        if self.events:
            unnamed = ds.field("event_name").is_null() & ds.field("event_type").isin(self.events)
            wanted &= ds.field("event_name").isin(self.events) | unnamed
        return wanted


def read(quarantine: Table, selection: Selection) -> Iterator[Quarantined]:
    """The selected rows of the files that are live now, the files in order of receipt."""
    adds = pa.table(quarantine.handle.get_add_actions(flatten=True)).to_pylist()
    order = {add["path"]: (str(add["partition.received_date"]), str(add.get("min.received_at"))) for add in adds}
    dataset: Any = quarantine.handle.to_pyarrow_dataset()
    fragments = sorted(dataset.get_fragments(), key=lambda fragment: order.get(fragment.path, ("", "")))
    present = set(dataset.schema.names)  # a dry run adds no columns to a table that an older version made
    columns = [name for name in Quarantined.__struct_fields__ if name in present]
    in_order: Any = ds.FileSystemDataset(fragments, dataset.schema, dataset.format, dataset.filesystem)
    scanner = in_order.scanner(
        columns=[*columns, "__filename"],
        filter=selection.filter(),
        batch_size=_READ_ROWS,
        batch_readahead=1,
        fragment_readahead=4,
    )
    for batch in scanner.to_batches():
        for row in batch.to_pylist():
            for moment in ("received_at", "sent_at"):
                if row.get(moment) is not None:
                    row[moment] = row[moment].astimezone(UTC)
            yield Quarantined(file=row.pop("__filename"), **row)
