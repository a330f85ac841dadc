"""What of a journal is durable and not in the lake yet, seen from outside: how many events, bytes, and since when.

Neither the writers nor the committer are asked, so the answer also holds while the committer hangs, restarts, or waits
for its store. Nothing is written or locked here, and no block is checked: that is the reader's work.
"""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

from ..batch import received_at_of
from .block import HEAD_BYTES, Damaged, decode_head, decode_header
from .stream import segment_numbers, segment_path, stream_directories

# `received_at` is the second member of a line; in a line whose number is not known yet, the first.
_LINE_START_BYTES = 256


class Backlog(Struct, frozen=True):
    """What waits for the lake. `seconds` is the age of the oldest of these events, 0 when there is none."""

    events: int
    bytes: int
    seconds: float


class BacklogWatch:
    """Looks at a journal again and again; remembers where it stood, so that each look reads only what is new."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._streams: dict[str, _StreamWatch] = {}

    def look(self, now: float) -> Backlog:
        """What waits at present. `now` is Unix time."""
        directories = {directory.name: directory for directory in stream_directories(self._journal)}
        self._streams = {name: self._streams.get(name) or _StreamWatch(path) for name, path in directories.items()}
        found = [waiting for stream in self._streams.values() if (waiting := stream.look(now))]
        since = min((waiting.since for waiting in found), default=now)
        return Backlog(
            sum(waiting.events for waiting in found), sum(waiting.bytes for waiting in found), max(0.0, now - since)
        )


class _Waiting(Struct, frozen=True):
    events: int
    bytes: int
    since: float


class _StreamWatch:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._headers: dict[int, tuple[int, int]] = {}  # segment → its first sequence, the length of its header
        self._segment, self._offset = 0, 0
        self._since: tuple[int, float] = (0, 0.0)  # the sequence that waits first, and its age's begin

    def look(self, now: float) -> _Waiting | None:
        try:
            return self._look(now)
        except (FileNotFoundError, Damaged):  # trimmed or drained meanwhile, or not begun yet
            return None

    def _look(self, now: float) -> _Waiting | None:
        committed, durable = _number(self._directory / "committed"), _number(self._directory / "durable")
        if durable <= committed:
            return None
        first = committed + 1
        numbers = segment_numbers(self._directory)
        received = self._stand_at(numbers, first)
        if self._since[0] != first:
            # Where the block cannot be found (it is damaged), it has been waiting since it was first looked for.
            self._since = (first, received or now)
        kept = [number for number in numbers if number >= self._segment]
        size = sum(segment_path(self._directory, number).stat().st_size for number in kept)
        return _Waiting(durable - committed, max(0, size - self._offset), self._since[1])

    def _stand_at(self, numbers: list[int], first: int) -> float | None:
        """Stand at the block that holds the sequence `first`; when its first line was received, if that is found."""
        for number in numbers:
            if number not in self._headers:
                with segment_path(self._directory, number).open("rb") as file:
                    line = file.readline()
                try:
                    self._headers[number] = (decode_header(line).first_sequence, len(line))
                except Damaged:  # it is being written, or its write failed: nothing in it was acknowledged
                    continue
        reached = [number for number in numbers if number in self._headers and self._headers[number][0] <= first]
        if not reached:
            return None
        if reached[-1] != self._segment:
            self._segment, self._offset = reached[-1], self._headers[reached[-1]][1]
        self._headers = {number: self._headers[number] for number in numbers if number in self._headers}
        with segment_path(self._directory, self._segment).open("rb", buffering=0) as file:
            while True:
                start = os.pread(file.fileno(), HEAD_BYTES + _LINE_START_BYTES, self._offset)
                try:
                    head = decode_head(start)
                except Damaged:
                    return None
                if head.last_sequence >= first:
                    received_at = received_at_of(start[HEAD_BYTES:])
                    return received_at.timestamp() if received_at else None
                self._offset += head.total_bytes


def _number(path: Path) -> int:
    """A shared number, 0 before its first. Without creating its file: a stream's directory may be on its way out."""
    try:
        return int.from_bytes(path.read_bytes()[:8], "little")
    except FileNotFoundError:
        return 0
