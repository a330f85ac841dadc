"""Reads lines of NDJSON and rows of CSV, one at a time, with the place where each ends. What is unreadable is told and
passed over; memory is bounded by the longest line that is taken."""

import csv
import gzip
import hashlib
import io
import os
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from polku.errors import PolkuError
from polku.send.problem import Problem

MAX_LINE_BYTES = 4 * 1024 * 1024
"""A longer line is passed over; a collector takes no event of a quarter of it."""
HEAD_BYTES = 4_096
"""By its first bytes a file is known again. Of a file that grows they stay."""
CHUNK_BYTES = 1 << 20

_MARKS = {";": "';'", "\t": "$'\\t'", "|": "'|'"}
"""What stands between columns where it is no comma, as a shell is told."""

Format = Literal["ndjson", "csv"]


class FileUnusable(PolkuError):
    """A file cannot be read, or is another one than before."""

    exit_code = 2


class Position(msgspec.Struct, frozen=True):
    """How far a file is done: lines and (decompressed) bytes, and how to know the file again."""

    line: int = 0
    bytes: int = 0
    head: str = ""
    head_bytes: int = 0


class Entry(msgspec.Struct, frozen=True):
    """One line of NDJSON, or one row of CSV."""

    line: int
    """The number of its first line, from 1."""
    after: int
    """Lines up to its end …"""
    end: int
    """… and bytes."""
    content: bytes
    """The text itself, by which it gets its id."""
    value: bytes | dict[str, str | None] | Problem
    """A line, a row, or why it is neither."""


class Source(msgspec.Struct, frozen=True):
    """A file as it was named, and how it is to be read."""

    name: str
    format: Format
    delimiter: str

    @property
    def key(self) -> str:
        """By which a state knows it."""
        return "-" if self.name == "-" else str(Path(self.name).resolve())


def source(name: str, form: Format | None, delimiter: str | None) -> Source:
    """What a file is by its name, unless that was said."""
    plain = name.removesuffix(".gz")
    suffix = Path(plain).suffix.lower()
    guessed: Format = "csv" if suffix in (".csv", ".tsv") else "ndjson"
    return Source(name, form or guessed, delimiter or ("\t" if suffix == ".tsv" else ","))


def _opened(name: str) -> Any:  # BinaryIO says less than what these are
    return sys.stdin.buffer if name == "-" else open(name, "rb", buffering=0)


class Reader:
    """An open file, from a position on. `problem` is what ended it before its end."""

    def __init__(self, source: Source, start: Position, needed_columns: Sequence[str] = ()) -> None:
        self.source = source
        self._needed = needed_columns
        self.problem: Problem | None = None
        self._raw = _opened(source.name)
        self.size = os.fstat(self._raw.fileno()).st_size if source.name != "-" else 0
        stream = self._raw
        if source.name.endswith(".gz"):
            stream = _Inflated(gzip.GzipFile(fileobj=self._raw, mode="rb"))
        # Standard input has a buffer already.
        self._stream: Any = stream if source.name == "-" else io.BufferedReader(stream, CHUNK_BYTES)
        self._start = start
        try:
            head = bytes(self._stream.peek(HEAD_BYTES)[:HEAD_BYTES])
        except _DAMAGED as error:
            head, self.problem = b"", Problem("unreadable", "$", f"the file cannot be read: {error}")
        self.head, self.head_bytes = hashlib.sha256(head).hexdigest(), len(head)
        if start.bytes:
            known = head[: start.head_bytes]
            if len(known) < start.head_bytes or hashlib.sha256(known).hexdigest() != start.head:
                raise FileUnusable(f"{source.name} is another file than the one that was begun; use another --state")
            self.head, self.head_bytes = start.head, start.head_bytes

    def position(self, entry: Entry) -> Position:
        """Behind an entry."""
        return Position(entry.after, entry.end, self.head, self.head_bytes)

    def done_bytes(self) -> int:
        """How much of the file as it lies on disk has been read."""
        return 0 if self.source.name == "-" else self._raw.tell()

    def close(self) -> None:
        """Let go of the file."""
        if self.source.name != "-":
            self._stream.close()
            self._raw.close()

    def entries(self) -> Iterator[Entry]:
        """All lines or rows behind the start. Blank ones are passed over."""
        if self.problem is not None:
            return
        try:
            yield from self._rows() if self.source.format == "csv" else self._lines()
        except _DAMAGED as error:
            self.problem = Problem("unreadable", "$", f"the rest of the file cannot be read: {error}")

    def _skip(self, count: int) -> None:
        """Pass over what is done."""
        if self.source.name != "-" and not self.source.name.endswith(".gz"):
            self._stream.seek(count, os.SEEK_CUR)
            if self._stream.tell() > self.size:
                raise FileUnusable(f"{self.source.name} is shorter than what was sent of it; use another --state")
            return
        while count > 0:
            chunk = self._stream.read(min(count, CHUNK_BYTES))
            if not chunk:
                raise FileUnusable(f"{self.source.name} is shorter than what was sent of it; use another --state")
            count -= len(chunk)

    def _raw_lines(self, line: int, end: int) -> Iterator[tuple[int, int, bytes | None]]:
        """Number, end and text of each line behind `line` lines and `end` bytes; no text if it is too long."""
        readline = self._stream.readline
        while raw := readline(MAX_LINE_BYTES):
            line += 1
            end += len(raw)
            if len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n"):
                while raw and not raw.endswith(b"\n"):
                    raw = readline(MAX_LINE_BYTES)
                    end += len(raw)
                yield line, end, None
            else:
                yield line, end, raw

    def _lines(self) -> Iterator[Entry]:
        self._skip(self._start.bytes)
        for line, end, raw in self._raw_lines(self._start.line, self._start.bytes):
            if raw is None:
                problem = Problem("too_large", "$", f"the line is longer than {MAX_LINE_BYTES} bytes")
                yield Entry(line, line, end, b"", problem)
                continue
            content = raw.strip()
            if line == 1:
                content = content.removeprefix(b"\xef\xbb\xbf")
            if not content:
                continue
            if not content.isascii():
                try:
                    content.decode()
                except UnicodeDecodeError as error:
                    problem = Problem("invalid_utf8", "$", f"byte {error.start} of the line is not UTF-8")
                    yield Entry(line, line, end, content, problem)
                    continue
            yield Entry(line, line, end, content, content)

    def _rows(self) -> Iterator[Entry]:
        feed = _CsvFeed(self._raw_lines(0, 0))
        rows = csv.reader(feed, delimiter=self.source.delimiter, strict=True)
        columns = next(rows, None)
        if columns is None:
            return
        if feed.bad is not None or len(set(columns)) != len(columns):
            raise FileUnusable(f"{self.source.name}: the first line does not name each column once, in UTF-8")
        missing = [name for name in self._needed if name not in columns]
        if missing:
            raise FileUnusable(f"{self.source.name}: {_without(missing, columns)}")
        if self._start.bytes > feed.end:
            self._skip(self._start.bytes - feed.end)
            feed = _CsvFeed(self._raw_lines(self._start.line, self._start.bytes))
            rows = csv.reader(feed, delimiter=self.source.delimiter, strict=True)
        while True:
            feed.begin()
            try:
                values = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield feed.entry(Problem("invalid_csv", "$", f"{error}{feed.up_to()}"))
                continue
            if feed.bad is not None:
                yield feed.entry(feed.bad)
            elif len(values) == len(columns):
                yield feed.entry(dict(zip(columns, [value or None for value in values], strict=True)))
            elif values:
                yield feed.entry(Problem("invalid_csv", "$", f"{len(values)} values for {len(columns)} columns"))


def _without(missing: list[str], columns: list[str]) -> str:
    """Mostly another character stands between the columns, or a name is misspelt."""
    said = f"no column {', '.join(map(repr, missing))}; the first line names {', '.join(map(repr, columns[:20]))}"
    if len(columns) == 1:
        said += next((f"; is --delimiter {how} meant?" for mark, how in _MARKS.items() if mark in columns[0]), "")
    return said


class _Inflated(io.RawIOBase):
    """What a compressed file holds, piece by piece: what stands before damage is given out before that is told."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        piece = self._file.read1(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


class _CsvFeed:
    """Gives csv.reader its lines, and keeps those of the row that is being read."""

    def __init__(self, lines: Iterator[tuple[int, int, bytes | None]]) -> None:
        self._lines = lines
        self._first = self._line = self.end = 0
        self._content: list[bytes] = []
        self.bad: Problem | None = None

    def __iter__(self) -> "_CsvFeed":
        return self

    def __next__(self) -> str:
        line, self.end, raw = next(self._lines)
        self._line = line
        self._first = self._first or line
        if raw is None:
            self.bad = Problem("too_large", "$", f"the line is longer than {MAX_LINE_BYTES} bytes")
            return "\n"
        if line == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        self._content.append(raw)
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            self.bad = Problem("invalid_utf8", "$", f"byte {error.start} of line {line} is not UTF-8")
            return raw.decode(errors="replace")

    def begin(self) -> None:
        """The next line is the first of a row."""
        self._first = 0
        self._content = []
        self.bad = None

    def entry(self, value: dict[str, str | None] | Problem) -> Entry:
        return Entry(self._first, self._line, self.end, b"".join(self._content).rstrip(b"\r\n"), value)

    def up_to(self) -> str:
        return f", from here to line {self._line}" if self._line > self._first else ""


_DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error, OSError)
