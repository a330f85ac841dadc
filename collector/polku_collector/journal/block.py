"""The bytes of the journal: segment headers and blocks. Pure; no file is touched here.

A segment begins with one header line and goes on with blocks:

    #polku-segment CRC32 {"format":2,"stream":…,"segment":1,"first_sequence":1,"schemas":{…}}⏎
    #polku-block   FIRST LAST LINES_BYTES TRAILER_BYTES⏎        fixed width, so that it is found without searching
    {…line…}⏎ …                                                 newline-delimited JSON, grouped by event name
    #polku-end     CRC32 {"stream":…,"runs":[[name,offset,length,lines,traits],…]}⏎

A block is found by length, never by scanning. The checksum in its trailer covers head, lines and the trailer's JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from isal.isal_zlib import crc32
from msgspec import Struct

from ..batch import JOURNAL_FORMAT, READABLE_FORMATS, Run, Schemas

_SEGMENT = b"#polku-segment "
_BLOCK = b"#polku-block "
_END = b"#polku-end "
HEAD_BYTES = len(_BLOCK) + 20 + 1 + 20 + 1 + 12 + 1 + 10 + 1

_encode = msgspec.json.Encoder().encode


class SegmentHeader(Struct, frozen=True):
    """The first line of a segment: whose it is, where its numbers start, and how its lines are read."""

    stream: str
    segment: int
    first_sequence: int
    schemas: Schemas
    format: int = JOURNAL_FORMAT


class Head(Struct, frozen=True):
    """The fixed-width line before a block."""

    first_sequence: int
    last_sequence: int
    lines_bytes: int
    trailer_bytes: int

    @property
    def total_bytes(self) -> int:
        """The whole block's length, head included."""
        return HEAD_BYTES + self.lines_bytes + self.trailer_bytes


class Trailer(Struct, frozen=True):
    """What closes a block, beside the checksum."""

    stream: str
    runs: list[Run]


class EncodedRun(NamedTuple):
    """Lines of one name as they are written."""

    name: str
    lines: int
    data: bytes
    traits: bool
    """Whether any of them carries `t`."""


class Damaged(Exception):
    """These bytes are not an intact header or block; the text says why."""


_decode_header = msgspec.json.Decoder(SegmentHeader).decode
_decode_trailer = msgspec.json.Decoder(Trailer).decode


def encode_header(header: SegmentHeader) -> bytes:
    """The first line of a segment."""
    document = _encode(header)
    return b"%b%08x %b\n" % (_SEGMENT, crc32(document), document)


def decode_header(line: bytes) -> SegmentHeader:
    """Read a segment's first line. Raises Damaged."""
    checksum, _, document = line.removeprefix(_SEGMENT).rstrip(b"\n").partition(b" ")
    try:
        if not line.startswith(_SEGMENT) or not line.endswith(b"\n") or int(checksum, 16) != crc32(document):
            raise Damaged("the segment header is torn")
        header = _decode_header(document)
    except (ValueError, msgspec.MsgspecError) as error:
        raise Damaged(f"the segment header is unreadable: {error}") from None
    if header.format not in READABLE_FORMATS:
        raise Damaged(f"journal format {header.format} is not known to this version (it writes {JOURNAL_FORMAT})")
    return header


def encode_block(stream: str, first_sequence: int, runs: Sequence[EncodedRun]) -> list[bytes]:
    """The parts of one block, ready to be written."""
    listed, offset, count = [], 0, 0
    for run in runs:
        listed.append(Run(run.name, offset, len(run.data), run.lines, run.traits))
        offset += len(run.data)
        count += run.lines
    trailer = _encode(Trailer(stream, listed))
    trailer_bytes = len(_END) + 8 + 1 + len(trailer) + 1
    head = b"%b%020d %020d %012d %010d\n" % (
        _BLOCK,
        first_sequence,
        first_sequence + count - 1,
        offset,
        trailer_bytes,
    )
    checksum = crc32(head)
    for run in runs:
        checksum = crc32(run.data, checksum)
    checksum = crc32(trailer, checksum)
    return [head, *(run.data for run in runs), b"%b%08x %b\n" % (_END, checksum, trailer)]


def decode_head(data: memoryview | bytes) -> Head:
    """Read the fixed-width line before a block. Raises Damaged."""
    text = bytes(data[:HEAD_BYTES])
    fields = text[len(_BLOCK) :].split()
    if (
        len(text) < HEAD_BYTES
        or not text.startswith(_BLOCK)
        or not text.endswith(b"\n")
        or len(fields) != 4
        or not all(field.isdigit() for field in fields)
    ):
        raise Damaged("no block begins here")
    return Head(*map(int, fields))


def decode_block(stream: str, head: Head, data: memoryview) -> tuple[list[Run], memoryview]:
    """Check a whole block against its checksum and its stream; return runs and lines. Raises Damaged."""
    if len(data) < head.total_bytes:
        raise Damaged("the block is cut short")
    lines = data[HEAD_BYTES : HEAD_BYTES + head.lines_bytes]
    end = bytes(data[HEAD_BYTES + head.lines_bytes : head.total_bytes])
    checksum, _, document = end.removeprefix(_END).rstrip(b"\n").partition(b" ")
    try:
        expected = int(checksum, 16) if end.startswith(_END) else -1
    except ValueError:
        expected = -1
    if expected != crc32(document, crc32(lines, crc32(data[:HEAD_BYTES]))):
        raise Damaged("the block's checksum does not match")
    trailer = _decode_trailer(document)
    if trailer.stream != stream:
        raise Damaged(f"the block belongs to stream {trailer.stream}")
    if sum(run.lines for run in trailer.runs) != head.last_sequence - head.first_sequence + 1:
        raise Damaged("the block's runs and sequences disagree")
    return trailer.runs, lines
