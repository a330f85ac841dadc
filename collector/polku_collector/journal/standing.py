"""How far the streams of a journal are from the lake, for somebody who only looks: nothing is locked or changed."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from .block import HEAD_BYTES, Damaged, decode_head, decode_header
from .stream import segment_numbers, segment_path, stream_directories


class Standing(Struct, frozen=True):
    """What waits in one stream. `oldest`: when the first waiting event was received, if it can be read."""

    stream: str
    events: int
    size_bytes: int
    oldest: datetime | None = None


class _Received(Struct):
    received_at: datetime


def standings(journal: Path) -> list[Standing]:
    """All streams that have events waiting."""
    found = []
    for directory in stream_directories(journal):
        durable, committed = _number(directory / "durable"), _number(directory / "committed")
        if durable > committed:
            size, oldest = _waiting(directory, committed)
            found.append(Standing(directory.name, durable - committed, size, oldest))
    return found


def _number(path: Path) -> int:
    try:
        return int(struct.unpack("<Q", path.read_bytes()[:8])[0])
    except (OSError, struct.error):  # a stream that is just being made or removed
        return 0


def _waiting(directory: Path, committed: int) -> tuple[int, datetime | None]:
    """The bytes of the blocks beyond `committed`, and when the first of their events was received."""
    size, oldest = 0, None
    for number in segment_numbers(directory):
        try:
            with segment_path(directory, number).open("rb") as file:
                decode_header(file.readline())
                while True:
                    head = decode_head(file.read(HEAD_BYTES))
                    if head.last_sequence > committed:
                        size += head.total_bytes
                        begin = file.tell()
                        oldest = oldest or _received(file.readline(head.lines_bytes))
                        file.seek(begin)
                    file.seek(head.lines_bytes, 1)
                    file.seek(head.trailer_bytes, 1)
        except (OSError, Damaged):  # the end of the segment, or of what can be read
            continue
    return size, oldest


def _received(line: bytes) -> datetime | None:
    try:
        moment = msgspec.json.decode(line, type=_Received).received_at
    except msgspec.MsgspecError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
