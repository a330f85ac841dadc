"""Events on disk: what was tracked and not yet acknowledged outlives the process, however it ends.

A directory is shared by any number of processes without a daemon. Each appends to a segment of its own, which it holds
by a file lock; the lock of a dead process is gone, and whoever comes next delivers what it has left:

    <directory>/<time>-<pid>-<random>.spool     one event a line: CRC32 in hexadecimal, a space, the event's JSON
    <directory>/<time>-<pid>-<random>.ack       up to which byte of the segment all is acknowledged, with a CRC32

A line that is cut (its call had not returned) or damaged is recognised by its checksum. One write a call, no fsync: the
operating system keeps it when the process is killed, and may lose the last seconds when the machine loses power.
"""

import contextlib
import fcntl  # not on Windows: the settings say so
import os
import secrets
import threading
import time
import zlib
from collections import deque
from pathlib import Path

import msgspec

SEGMENT_BYTES = 4 * 1024 * 1024
"""A new segment is begun at this size, so that what is acknowledged can be removed."""
LOOK_EVERY_SECONDS = 30.0
"""How often segments of processes that died meanwhile are looked for."""
MEASURE_EVERY_SECONDS = 1.0
"""How stale the measured size of the directory may be, which other processes write to as well."""
_HEAD_BYTES = 9
_ACK_BYTES = 20 + 1 + 8 + 1


class Taken(msgspec.Struct, frozen=True, eq=False):
    """Events that were read, and where they end in their segment."""

    events: list[bytes]
    damaged: int
    """Lines among them that could not be read: gone."""
    own: bool
    """Written by this process; else by one that has ended, which may have sent them already."""
    segment: "_Segment"
    begin: int
    end: int


class _Segment:
    """One file: written by one process, read by one."""

    def __init__(self, path: Path, descriptor: int, *, own: bool) -> None:
        self.path, self.descriptor, self.own = path, descriptor, own
        self.written = os.fstat(descriptor).st_size
        self.read = self.acknowledged = 0 if own else _acknowledged(path)
        self.open = own
        """More may be appended to it."""
        self._ack = -1

    def acknowledge(self, end: int) -> None:
        """Everything before this byte need not be sent again."""
        if self._ack < 0:
            self._ack = os.open(self.path.with_suffix(".ack"), os.O_RDWR | os.O_CREAT, 0o600)
        text = b"%020d" % end
        os.pwrite(self._ack, b"%b %08x\n" % (text, zlib.crc32(text)), 0)
        self.acknowledged = end

    def let_go(self, *, remove: bool) -> None:
        """Close it; the lock goes with that. `remove`: nothing in it is of use."""
        if remove:
            for path in (self.path, self.path.with_suffix(".ack")):
                path.unlink(missing_ok=True)
        for descriptor in (self.descriptor, self._ack):
            if descriptor >= 0:
                os.close(descriptor)
        self.descriptor = self._ack = -1


class Spool:
    """The events of one client, and those that other processes have left behind.

    Any thread may append; one thread reads and settles. Making one raises OSError if the directory cannot be used.
    """

    def __init__(self, directory: str, max_bytes: int) -> None:
        self._directory, self._max_bytes = Path(directory), max_bytes
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(self._directory, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(13, "no permission to write there", str(directory))
        self.reset()

    def reset(self) -> None:
        """Forget what a forked parent has: its files and locks stay the parent's."""
        for segment in getattr(self, "_segments", ()):
            # The descriptors are copies: an open copy of the lock would outlive the parent.
            segment.let_go(remove=False)
        self._lock = threading.RLock()  # a signal handler may track while its thread is in here
        self._segments: deque[_Segment] = deque()
        self._current: _Segment | None = None
        self._measured, self._measured_at = 0, float("-inf")
        self._looked_at = float("-inf")
        self.why = ""
        """Why the last append failed."""

    def append(self, raw: bytes) -> bool:
        """Keep one encoded event. False, with the reason in `why`, if it could not be written as a whole."""
        if b"\n" in raw:  # only as white space: JSON has no such character within a string
            raw = raw.replace(b"\n", b" ")
        line = b"%08x %b\n" % (zlib.crc32(raw), raw)
        with self._lock:
            try:
                if self._size() + len(line) > self._max_bytes:
                    self.why = f"{self._directory} holds its {self._max_bytes} bytes"
                    return False
                segment = self._current
                if segment is None or segment.written >= SEGMENT_BYTES:
                    segment = self._begin()
                written = os.write(segment.descriptor, line)
                if written < len(line):
                    os.ftruncate(segment.descriptor, segment.written)
                    self.why = "the disk is full"
                    return False
            except OSError as error:
                self.why = str(error)
                return False
            segment.written += written
            self._measured += written
            return True

    def take(self, max_events: int, max_bytes: int) -> Taken | None:
        """The next events that nobody has taken, oldest segments first; None if there are none."""
        self._look()
        while self._segments:
            segment = self._segments[0]
            taken = _read(segment, max_events, max_bytes)
            if taken is not None:
                return taken
            with self._lock:
                if segment.open:
                    return None
                if segment.read < segment.written:  # a line that its process did not finish
                    segment.read = segment.written
                self._segments.popleft()
            segment.let_go(remove=True)
        return None

    def settle(self, taken: Taken) -> None:
        """These need not be sent again: they are acknowledged, or were refused for good."""
        taken.segment.acknowledge(taken.end)

    def give_back(self, taken: Taken) -> None:
        """These could not be sent: they are next, now or for another process."""
        taken.segment.read = taken.begin

    def unread(self) -> bool:
        """Whether `take` would return something of this process."""
        with self._lock:
            return any(segment.read < segment.written for segment in self._segments)

    def looks_at(self) -> float:
        """When `take` looks for what other processes left, on the monotonic clock."""
        return self._looked_at + LOOK_EVERY_SECONDS

    def holds_any(self) -> bool:
        """Whether there may be events of processes that have ended."""
        return any(entry.name.endswith(".spool") for entry in os.scandir(self._directory))

    def close(self) -> None:
        """Leave what is not acknowledged to whoever comes next. Nothing can be appended any more."""
        with self._lock:
            segments, self._segments, self._current = self._segments, deque(), None
        for segment in segments:
            segment.let_go(remove=segment.acknowledged >= segment.written)

    def _begin(self) -> _Segment:
        """Another segment, held by its lock. With the lock of the spool."""
        while True:
            name = f"{time.time_ns():020d}-{os.getpid()}-{secrets.token_hex(4)}.spool"
            path = self._directory / name
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
            if _hold(descriptor) and os.fstat(descriptor).st_nlink:
                break
            os.close(descriptor)  # somebody took it for one that was left behind, in the moment before
        if self._current is not None:
            self._current.open = False
        self._current = _Segment(path, descriptor, own=True)
        self._segments.append(self._current)
        return self._current

    def _size(self) -> int:
        """Bytes of all segments, of all processes. With the lock of the spool."""
        now = time.monotonic()
        if now - self._measured_at > MEASURE_EVERY_SECONDS:
            self._measured, self._measured_at = 0, now
            for entry in os.scandir(self._directory):
                if entry.name.endswith(".spool"):
                    with contextlib.suppress(FileNotFoundError):
                        self._measured += entry.stat().st_size
        return self._measured

    def _look(self) -> None:
        """Take over the segments of processes that have ended."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_EVERY_SECONDS:
            return
        self._looked_at = now
        with self._lock:
            ours = {segment.path.name for segment in self._segments}
        names = sorted(entry.name for entry in os.scandir(self._directory))
        adopted = []
        for name in names:
            path = self._directory / name
            if name.endswith(".ack") and name[:-4] + ".spool" not in names and not path.with_suffix(".spool").exists():
                path.unlink(missing_ok=True)
            elif name.endswith(".spool") and name not in ours:
                with contextlib.suppress(FileNotFoundError):
                    descriptor = os.open(path, os.O_RDWR)
                    if _hold(descriptor) and os.fstat(descriptor).st_nlink:
                        adopted.append(_Segment(path, descriptor, own=False))
                    else:
                        os.close(descriptor)
        with self._lock:
            self._segments.extendleft(reversed(adopted))


def _read(segment: _Segment, max_events: int, max_bytes: int) -> Taken | None:
    """The next whole lines of a segment; None if it has none."""
    size = max_bytes
    while True:
        data = os.pread(segment.descriptor, min(size, segment.written - segment.read), segment.read)
        end = data.rfind(b"\n") + 1
        if end or segment.read + len(data) >= segment.written:
            break
        size *= 2  # one event that is larger than a batch
    events: list[bytes] = []
    damaged, length = 0, 0
    for line in data[:end].split(b"\n")[:-1]:
        if len(events) >= max_events:
            break
        length += len(line) + 1
        raw = line[_HEAD_BYTES:]
        if line[:_HEAD_BYTES] == b"%08x " % zlib.crc32(raw):
            events.append(raw)
        else:
            damaged += 1
    if not length:
        return None
    begin = segment.read
    segment.read += length
    return Taken(events, damaged, segment.own, segment, begin, segment.read)


def _acknowledged(path: Path) -> int:
    """Up to which byte a segment is acknowledged; 0 if nothing trustworthy says more."""
    try:
        text = path.with_suffix(".ack").read_bytes()[:_ACK_BYTES]
        end, checksum = text[:20], int(text[21:29], 16)
        return int(end) if zlib.crc32(end) == checksum else 0
    except (OSError, ValueError):
        return 0


def _hold(descriptor: int) -> bool:
    """Lock a file until it is closed; False if somebody else holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
