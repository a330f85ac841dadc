"""A body's content encoding, undone piece by piece: gzip, deflate and zstd, within caps on size and on ratio.

A kilobyte can ask for a megabyte, and ten of them for the whole memory. So nothing is undone beyond what the caps
allow, and a caller says how much it wants at a time.
"""

from __future__ import annotations

import sys
import zlib
from typing import Any, Final, Protocol

from isal import isal_zlib

from .refused import Refused, too_large

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
MAGIC_BYTES: Final = 4

# Honest events repeat each other: a small body may shrink to nothing. The ratio is looked at beyond this size only.
RATIO_FLOOR_BYTES: Final = 1024 * 1024
# Both formats may be written one after the other into one body. Each costs some microseconds and some kilobytes, also
# an empty one of 20 bytes.
MAX_MEMBERS: Final = 1_000
# Handed over at a time. A few kilobytes can come to no more than the floor before their ratio is known.
_STEP_BYTES: Final = 4 * 1024
# RFC 9659: a zstd content encoding needs no larger window than 8 MiB, and a decoder may refuse what asks for more.
_ZSTD_WINDOW_LOG: Final = 23
# Skippable frames of zstd (RFC 8878, 3.1.2) begin with one of these and three fixed bytes.
_SKIPPABLE_FIRST: Final = range(0x50, 0x60)
_SKIPPABLE_REST: Final = b"\x2a\x4d\x18"

# Any: the type stubs of isal declare its class of error as an error.
_NOT_INTACT: Final[Any] = (zlib.error, isal_zlib.error, zstd.ZstdError)

_NAMES: Final = {b"gzip": "gzip", b"x-gzip": "gzip", b"deflate": "deflate", b"zstd": "zstd"}


def encoding_of(first: bytes, declared: bytes) -> str | None:
    """Which encoding a body has, by its header or else by its first bytes; None if it is plain. Raises Refused."""
    if declared:
        declared = declared.strip().lower()
        if declared in _NAMES:
            return _NAMES[declared]
        if declared not in (b"", b"identity"):
            name = declared.decode("latin-1")
            message = f"Content-Encoding {name!r} is not known; use gzip, zstd, deflate or none"
            raise Refused(415, "unsupported_encoding", message)
    if first[:2] == GZIP_MAGIC:
        return "gzip"
    return "zstd" if first[:4] == ZSTD_MAGIC else None


class Inflater:
    """Undoes one encoding: `feed` it what arrives, then `close` it for the body. Both raise Refused."""

    def __init__(self, encoding: str, max_bytes: int, max_ratio: int) -> None:
        self._encoding, self._max_bytes, self._max_ratio = encoding, max_bytes, max_ratio
        self._member: _Member | None = None
        self._members = 0
        self._given = 0  # bytes handed over to be undone: what is not looked at yet is no excuse for a ratio
        self._holds_more = False
        self._rest = b""
        self._parts: list[bytes] = []
        self.size = 0
        """Bytes that have come out so far."""

    def feed(self, data: bytes, most: int) -> bool:
        """Take `data` and undo up to `most` bytes more. True if what was given holds more: then feed it nothing."""
        data = self._rest + data if self._rest else data
        self._rest = b""
        until = self.size + most
        while self.size < until:
            if self._member is None:
                data = self._next(data)
            if self._member is None:
                return False
            # One byte beyond the cap is enough to know that there is more.
            wanted = min(until - self.size, self._max_bytes + 1 - self.size)
            # What was handed over may hold more than was wanted; only then nothing is added to it.
            handed, data = (b"", data) if self._holds_more else (data[:_STEP_BYTES], data[_STEP_BYTES:])
            self._given += len(handed)
            try:
                piece = self._member.undo(handed, wanted)
            except _NOT_INTACT as error:
                raise self._broken(f"is not intact {self._encoding}: {error}") from None
            self._holds_more = len(piece) == wanted
            if piece:
                self._parts.append(piece)
                self.size += len(piece)
                self._check()
            if self._member.ended:
                unused = self._member.unused
                self._given -= len(unused)
                data, self._member, self._holds_more = unused + data, None, False
            elif not self._holds_more and not data:
                return False
        self._rest = data
        return bool(data) or self._member is not None

    def close(self) -> bytes:
        """The whole body, once all of it was fed."""
        if self._rest and self._members:
            raise self._broken(f"goes on after the {self._encoding} ends")
        if self._member is not None or not self._members:
            raise self._broken(f"is cut short: the {self._encoding} does not end")
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def _next(self, data: bytes) -> bytes:
        """Begin the next member if there is one; returns what it is to be fed. Nothing that follows is lost unseen."""
        if self._members and self._encoding == "gzip":
            data = data.lstrip(b"\0")  # padding, as tapes and block devices leave it
        if 0 < len(data) < MAGIC_BYTES:
            self._rest, data = data, b""  # too short to tell yet
        if not data:
            return b""
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise self._broken(f"has more than {MAX_MEMBERS} parts")
        if self._members > 1 and not (self._encoding != "deflate" and _begins(self._encoding, data)):
            raise self._broken(f"goes on after the {self._encoding} ends")
        if not _begins(self._encoding, data):
            raise self._broken(f"is not {self._encoding}, though its Content-Encoding says so")
        self._member = _Zstd() if self._encoding == "zstd" else _Zlib(self._encoding, data)
        return data

    def _check(self) -> None:
        if self.size > self._max_bytes:
            raise too_large(self._max_bytes)
        if self.size > RATIO_FLOOR_BYTES and self.size > self._max_ratio * self._given:
            message = f"the body grows to more than {self._max_ratio} times its size; send smaller batches"
            raise Refused(413, "ratio_too_high", message, "$")

    def _broken(self, what: str) -> Refused:
        return Refused(400, f"invalid_{self._encoding}", f"the body {what}", "$")


class _Member(Protocol):
    """One member or frame: a stream that ends by itself."""

    @property
    def ended(self) -> bool: ...

    @property
    def unused(self) -> bytes:
        """What was given and lies behind the end."""

    def undo(self, data: bytes, most: int) -> bytes: ...


class _Zlib:
    def __init__(self, encoding: str, data: bytes) -> None:
        # isal takes half of zlib's time, and a fifth for a bomb, but refuses the checksum that a gzip head may have.
        has_plain_head = encoding == "gzip" and data[3] == 0
        self._decoder = (
            isal_zlib.decompressobj(31) if has_plain_head else zlib.decompressobj(_window_bits(encoding, data))
        )

    @property
    def ended(self) -> bool:
        return self._decoder.eof

    @property
    def unused(self) -> bytes:
        return self._decoder.unused_data

    def undo(self, data: bytes, most: int) -> bytes:
        tail = self._decoder.unconsumed_tail
        return self._decoder.decompress(tail + data if tail else data, most)


class _Zstd:
    def __init__(self) -> None:
        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        self._decoder = zstd.ZstdDecompressor(options=options)

    @property
    def ended(self) -> bool:
        return self._decoder.eof

    @property
    def unused(self) -> bytes:
        return self._decoder.unused_data

    def undo(self, data: bytes, most: int) -> bytes:
        return self._decoder.decompress(data, most)


def _begins(encoding: str, data: bytes) -> bool:
    """Whether bytes can be the beginning of a member."""
    if encoding == "gzip":
        return data[:2] == GZIP_MAGIC
    if encoding == "zstd":
        return data[:4] == ZSTD_MAGIC or (data[0] in _SKIPPABLE_FIRST and data[1:4] == _SKIPPABLE_REST)
    return True


def _window_bits(encoding: str, data: bytes) -> int:
    """How zlib is told what it reads. "deflate" means zlib's format (RFC 9110, 8.4.1.2); some clients send it bare."""
    if encoding == "gzip":
        return 31
    has_head = len(data) > 1 and data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
    return 15 if has_head else -15
