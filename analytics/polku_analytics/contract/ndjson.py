"""Events in a text, one JSON object a line: items and bodies of the wire, or flat objects with an `event`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, cast

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from polku_analytics.contract.events import (
    CALLS,
    UNREADABLE,
    Batch,
    Item,
    NotAnEvent,
    Sender,
    read_item,
    read_object,
)
from polku_analytics.errors import AnalyticsError
from polku_schemas import ENVELOPE_COLUMNS

_BATCH_LINES: Final = 10_000

_ENVELOPE: Final = frozenset(
    {
        *ENVELOPE_COLUMNS,
        *("event", "context", "integrations", "messageId", "anonymousId", "userId", "groupId", "previousId"),
        *("timestamp", "originalTimestamp", "sentAt", "receivedAt", "writeKey", "_metadata"),
    }
)
"""Members of a flat event that are no properties."""


class BadLine(Struct, frozen=True):
    """A line, or an item of a line's batch, that is no event."""

    number: int
    """1-based."""
    reason: str


class EventFile:
    """A file of events that can be read more than once, standard input too."""

    def __init__(self, path: str) -> None:
        """AnalyticsError if there is no such file."""
        self.name = "standard input" if path == "-" else path
        self.bad: list[BadLine] = []
        """The lines that are no events, after the file was read."""
        try:
            self._file = _spooled(sys.stdin.buffer) if path == "-" else Path(path).open("rb")  # noqa: SIM115 - read twice
        except OSError as error:
            raise AnalyticsError(f"{path} cannot be read: {error.strerror}") from None

    def batches(self) -> Iterator[Batch]:
        """All events, from the first line."""
        self._file.seek(0)
        self.bad.clear()
        yield from read_lines(self._file, self.bad)


def _spooled(stream: BinaryIO) -> BinaryIO:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the events are read
    shutil.copyfileobj(stream, file)
    return cast("BinaryIO", file)


def read_lines(lines: Iterable[bytes], bad: list[BadLine]) -> Iterator[Batch]:
    """The events in some lines. What is none is added to `bad`; empty lines are passed over."""
    gathered: dict[tuple[str, str], list[Item]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        for found in _events(line):
            if isinstance(found, NotAnEvent):
                bad.append(BadLine(number, str(found)))
            else:
                gathered.setdefault((found.call, found.name), []).append(found)
        if number % _BATCH_LINES == 0:
            yield from _batches(gathered)
            gathered.clear()
    yield from _batches(gathered)


class _Line(Struct):
    type: str | None = None
    event: str | None = None
    properties: Raw | UnsetType = UNSET
    batch: list[Raw] | UnsetType = UNSET


_decode = msgspec.json.Decoder(_Line).decode


def _events(line: bytes) -> Iterator[Item | NotAnEvent]:
    try:
        yield from _read(line)
    except NotAnEvent as error:
        yield error


def _read(line: bytes) -> Iterator[Item | NotAnEvent]:
    try:
        shape = _decode(line)
    except UNREADABLE:
        shape = _tolerant(line)
    if shape.batch is not UNSET:
        for raw in shape.batch:
            try:
                yield read_item(bytes(raw))
            except NotAnEvent as error:
                yield error
    elif shape.properties is UNSET and shape.event and shape.type not in CALLS:
        members = read_object(line)
        properties = {name: value for name, value in members.items() if name not in _ENVELOPE}
        yield Item("track", shape.event, msgspec.json.encode(properties), None)
    else:
        yield read_item(line)


def _tolerant(line: bytes) -> _Line:
    """What is to be seen of a line that the strict decoder refuses."""
    document = read_object(line)
    shape = _Line()
    if isinstance(document.get("batch"), list):
        shape.batch = [Raw(msgspec.json.encode(item)) for item in document["batch"]]
    if isinstance(document.get("event"), str):
        shape.event = document["event"]
    if isinstance(document.get("type"), str):
        shape.type = document["type"]
    if "properties" in document:
        shape.properties = Raw(msgspec.json.encode(document["properties"]))
    return shape


def _batches(gathered: dict[tuple[str, str], list[Item]]) -> Iterator[Batch]:
    for (call, name), items in gathered.items():
        yield Batch(
            call,
            name,
            [item.properties for item in items],
            [item.traits for item in items],
            [Sender(None, item.library, item.library_version) for item in items],
            [False] * len(items),
        )
