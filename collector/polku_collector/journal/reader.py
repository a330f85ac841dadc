"""Read a stream for the lake: only what is proven durable, every block checked, nothing skipped in silence.

While the stream's owner lives, its `durable` number says how far to read. When the owner is dead, this reader takes
the lock, makes the intact tail durable itself, and then publishes it. Bytes after the last intact block of a dead
stream were never acknowledged and are left behind; damage anywhere else is corruption: set aside, logged, counted.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import structlog

from ..batch import Block
from ..files import DISK, Files
from .block import HEAD_BYTES, Damaged, SegmentHeader, decode_block, decode_head, decode_header
from .stream import SharedNumber, segment_numbers, segment_path, stream_directories, try_lock

log = structlog.get_logger("polku.journal")

_HEADER_LIMIT = 16 * 1024 * 1024


class StreamReader:
    """One stream, from the first segment that still exists. Not thread-safe; one reader a stream."""

    def __init__(
        self,
        directory: Path,
        *,
        files: Files = DISK,
        on_corruption: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._directory, self._files, self._on_corruption = directory, files, on_corruption
        self._durable = SharedNumber(directory / "durable")
        self._committed = SharedNumber(directory / "committed")
        self._lock: int | None = None
        self._numbers: list[int] = []  # the segments that existed when the durable number was last read
        self._headers: dict[int, tuple[SegmentHeader, int]] = {}  # with their length in bytes
        self._segment = 0
        self._header: SegmentHeader | None = None
        self._file: BinaryIO | None = None
        self._offset = 0
        self._position = 0  # the sequence at which the block at `_offset` begins; while passing over, below the next
        self._next_sequence = 0
        self._told: set[str] = set()  # damage that was told: whoever comes by again says nothing new

    @property
    def stream_id(self) -> str:
        return self._directory.name

    @property
    def durable(self) -> int:
        """The last sequence known to be durable; 0 before the first."""
        return self._durable.value

    @property
    def committed(self) -> int:
        """The last sequence known to be in the lake."""
        return self._committed.value

    @property
    def owned(self) -> bool:
        """The writer is gone and this reader holds the stream."""
        return self._lock is not None

    def take_over(self) -> bool:
        """If the writer is dead, own the stream and make its intact tail durable. True when owned."""
        if self._lock is None and (lock := try_lock(self._directory)) is not None:
            try:
                self._recover()
            except BaseException:  # a full disk, say: it is owned when it is recovered, not before
                os.close(lock)
                raise
            finally:
                self._leave()
                self._next_sequence = 0
            self._lock = lock
        return self._lock is not None

    def read(self, after: int, max_bytes: int) -> list[Block]:
        """The durable blocks beyond `after`, in order, about `max_bytes` of them and at least one if there is one."""
        durable = self._durable.value  # read before the directory is listed: see _advance
        if durable <= after:
            return []
        self._numbers = segment_numbers(self._directory)
        if self._next_sequence != after + 1:
            self._seek(after)
        blocks: list[Block] = []
        size = 0
        while self._next_sequence <= durable and (size < max_bytes or not blocks):
            block = self._next_block(durable)
            if block is None:
                break
            blocks.append(block)
            size += len(block.lines)
        return blocks

    def trim(self, committed: int) -> None:
        """Publish how far the lake is, and delete the segments that lie wholly behind it."""
        if committed > self._committed.value:
            self._committed.value = committed
        self._numbers = segment_numbers(self._directory)
        headers = [(number, header) for number in self._numbers if (header := self._read_header(number))]
        reached = [number for number, header in headers if header.first_sequence <= committed + 1]
        for number in self._numbers:
            if reached and number < reached[-1]:  # void and unreadable segments among them go too
                self._files.remove(segment_path(self._directory, number))
                self._headers.pop(number, None)

    def drained(self, committed: int) -> bool:
        """The writer is gone and everything it acknowledged is in the lake."""
        return self._lock is not None and committed >= self._durable.value

    def remove(self) -> None:
        """Delete a drained stream's directory."""
        self.close()
        shutil.rmtree(self._directory)
        self._files.sync_directory(self._directory.parent)

    def close(self) -> None:
        """Release the numbers and the lock."""
        self._leave()
        self._durable.close()
        self._committed.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # Positions ------------------------------------------------------------------------------------------------

    def _seek(self, after: int) -> None:
        """Stand at the segment that holds `after + 1`; blocks at or below `after` in it are passed over."""
        self._leave()
        self._next_sequence = after + 1
        headers = [(number, header) for number in self._numbers if (header := self._read_header(number))]
        reached = [(number, header) for number, header in headers if header.first_sequence <= after + 1]
        if reached:
            self._enter(*reached[-1])
        elif headers:  # the numbers before it are gone
            self._enter(*headers[0])
            self._corrupt(f"sequences {after + 1} to {self._position - 1} are missing", [])
            self._next_sequence = self._position

    def _enter(self, number: int, header: SegmentHeader) -> None:
        self._leave()
        self._segment, self._header, self._position = number, header, header.first_sequence
        self._file = segment_path(self._directory, number).open("rb")
        self._offset = self._headers[number][1]

    def _leave(self) -> None:
        self._segment, self._header, self._offset = 0, None, 0
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read_header(self, number: int) -> SegmentHeader | None:
        """A segment's header, or None while it is not wholly written (then nothing in it was acknowledged).

        None too where it is damaged, or is that of another segment: who misses its numbers says so.
        """
        if number not in self._headers:
            try:
                with segment_path(self._directory, number).open("rb") as file:
                    line = file.readline(_HEADER_LIMIT)
                header = decode_header(line)
            except (FileNotFoundError, Damaged):
                return None
            if (header.stream, header.segment) != (self.stream_id, number):
                return None
            self._headers[number] = header, len(line)
        return self._headers[number][0]

    def _advance(self) -> bool:
        """Move to the segment that continues at `_position`, if there is one.

        A segment whose write failed is void from the point where the next one begins with the same number, whatever
        bytes stand there. The next segment exists before its numbers are published as durable, so that listing the
        directory after reading the durable number cannot miss it.
        """
        for number in self._numbers:
            if number > self._segment:
                header = self._read_header(number)
                if header is not None and header.first_sequence == self._position:
                    self._enter(number, header)
                    return True
        return False

    def _next_block(self, durable: int) -> Block | None:
        while True:
            while self._advance():
                pass
            if self._header is None:
                return None
            found = self._read_block()
            if isinstance(found, str):
                if not self._skip_damage(found):
                    return None
                continue
            block, length = found
            if block.last_sequence > durable:
                return None
            self._offset += length
            self._position = block.last_sequence + 1
            if block.last_sequence >= self._next_sequence:
                self._next_sequence = block.last_sequence + 1
                return block

    def _read_block(self) -> tuple[Block, int] | str:
        """The intact block at the present offset and its length, or what is wrong with it."""
        assert self._header is not None and self._file is not None  # noqa: S101  (callers checked)
        descriptor = self._file.fileno()
        try:
            head = decode_head(os.pread(descriptor, HEAD_BYTES, self._offset))
            data = memoryview(_read_fully(descriptor, head.total_bytes, self._offset))
            runs, lines = decode_block(self.stream_id, head, data)
        except Damaged as damage:
            return str(damage)
        if head.first_sequence != self._position:
            return f"expected sequence {self._position}, found {head.first_sequence}"
        block = Block(
            stream=self.stream_id,
            first_sequence=head.first_sequence,
            last_sequence=head.last_sequence,
            runs=runs,
            lines=lines,
            schemas=self._header.schemas,
            format=self._header.format,
        )
        return block, head.total_bytes

    # Damage ---------------------------------------------------------------------------------------------------

    def _skip_damage(self, reason: str) -> bool:
        """Below the durable mark damage is corruption: set it aside and go on at the next intact block."""
        place = f"segment {self._segment} at byte {self._offset}"
        self._corrupt(f"{place}: {reason}", [self._segment])
        following = self._following_block()
        if following is None:
            return False
        number, header, offset, position = following
        self._enter(number, header)
        self._offset, self._position = offset, position
        self._next_sequence = max(self._next_sequence, self._position)
        return True

    def _following_block(self) -> tuple[int, SegmentHeader, int, int] | None:
        """The next intact place beyond the damage: by the damaged block's own length, else the next segment."""
        assert self._header is not None  # noqa: S101  (callers checked)
        path = segment_path(self._directory, self._segment)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                damaged = decode_head(data[self._offset : self._offset + HEAD_BYTES])
                offset = self._offset + damaged.total_bytes
                head = decode_head(data[offset : offset + HEAD_BYTES])
                decode_block(self.stream_id, head, memoryview(data[offset : offset + head.total_bytes]))
                return self._segment, self._header, offset, head.first_sequence
            except Damaged:
                pass
        for number in self._numbers:
            if number > self._segment and (header := self._read_header(number)) is not None:
                return number, header, self._headers[number][1], header.first_sequence
        return None

    def _corrupt(self, reason: str, segments: list[int]) -> None:
        """Tell it, and keep the damaged segments where trimming does not reach them, with all that cannot be read.

        As another name of the same file: that takes no space, and is never half done.
        """
        is_new = reason not in self._told
        if is_new:
            log.error("journal is damaged", stream=self.stream_id, reason=reason, set_aside="corrupt/")
        place = self._directory.parent.parent / "corrupt"
        self._files.make_directory(place)
        for number in {*segments, *(number for number in self._numbers if self._read_header(number) is None)}:
            with contextlib.suppress(FileExistsError, FileNotFoundError):  # kept before, or trimmed before
                self._files.link(
                    segment_path(self._directory, number), place / f"{self.stream_id}-{number:08d}.journal"
                )
        self._files.sync_directory(place)
        if is_new:
            self._told.add(reason)
            self._on_corruption(reason)

    def _recover(self) -> None:
        """Find the end of a dead stream's intact blocks, make them durable, then publish the end."""
        published = self._durable.value
        self._numbers = segment_numbers(self._directory)
        headers = [header for number in self._numbers if (header := self._read_header(number))]
        # `committed` is not fsynced: what was trimmed was committed, whatever the number says.
        last = max(self._committed.value, headers[0].first_sequence - 1 if headers else 0)
        self._seek(last)
        ends_in_damage = False
        while True:
            while self._advance():
                pass
            if self._header is None:
                break
            found = self._read_block()
            if isinstance(found, str):
                if self._position <= published or self._following_block() is not None:
                    if self._skip_damage(found):
                        continue
                    ends_in_damage = True
                elif self._has_bytes_left():
                    log.info("torn tail left behind", stream=self.stream_id, segment=self._segment, at=self._offset)
                break
            block, length = found
            self._offset += length
            self._position = block.last_sequence + 1
            last = max(last, block.last_sequence)
        if ends_in_damage:  # told, and counted
            log.error("journal ends in the damage", stream=self.stream_id, sequences=f"{last + 1} to {published}")
        elif last < published:
            self._corrupt(f"sequences {last + 1} to {published} were durable and are gone", [])
        elif unreadable := [number for number in self._numbers if self._holds_blocks_of_nobody(number, last)]:
            self._corrupt(f"the headers of segments {unreadable} are damaged", [])
        for number in self._numbers:
            self._files.sync_file(segment_path(self._directory, number))
        self._files.sync_directory(self._directory)
        self._durable.value = last

    def _holds_blocks_of_nobody(self, number: int, last: int) -> bool:
        """Whether a segment without a readable header holds blocks beyond the last one that was found.

        Headers are written before blocks: this is no torn beginning.
        """
        if self._read_header(number) is not None:
            return False
        data = segment_path(self._directory, number).read_bytes()
        try:
            return decode_head(data[data.index(b"\n") + 1 :]).last_sequence > last
        except (ValueError, Damaged):
            return False

    def _has_bytes_left(self) -> bool:
        return segment_path(self._directory, self._segment).stat().st_size > self._offset


def open_streams(
    journal: Path,
    known: dict[str, StreamReader],
    *,
    files: Files = DISK,
    on_corruption: Callable[[str], None] = lambda reason: None,
) -> list[str]:
    """Add readers for the stream directories that appeared since the last call to `known`; returns the new names."""
    added: list[str] = []
    for directory in stream_directories(journal):
        if directory.name not in known:
            known[directory.name] = StreamReader(directory, files=files, on_corruption=on_corruption)
            added.append(directory.name)
    return added


def _read_fully(descriptor: int, size: int, offset: int) -> bytes:
    """`size` bytes from `offset`, or fewer at the end of the file; one system call gives at most two gigabytes."""
    parts: list[bytes] = []
    while size > 0 and (part := os.pread(descriptor, size, offset)):
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
