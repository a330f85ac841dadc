"""From an HTTP request to the bytes of its JSON body and its write key: limits, encodings, keys. No JSON here."""

from __future__ import annotations

import asyncio
import base64
import binascii
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]  # Any: ASGI's own definition
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_GZIP_MAGIC = b"\x1f\x8b"


class Refused(Exception):
    """The request as a whole is not taken. Becomes an HTTP answer with a JSON body that says what and where."""

    def __init__(
        self, status: int, error: str, message: str, path: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.error, self.message, self.path, self.retry_after = (
            status,
            error,
            message,
            path,
            retry_after,
        )


class ClientGone(Exception):
    """The client hung up before its body was complete."""


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """The request's headers by lower-case name; of repeated ones the last."""
    return dict(scope["headers"])


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], max_bytes: int, seconds: float) -> bytes:
    """The whole body, decompressed, at most `max_bytes` before and after. Raises Refused or ClientGone."""
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(seconds):
            raw = await _collect(receive, max_bytes)
    except TimeoutError:
        raise Refused(408, "timeout", f"the body did not arrive within {seconds:g} seconds") from None
    return decompress(raw, headers.get(b"content-encoding", b"").strip().lower(), max_bytes)


async def _collect(receive: Receive, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            raise _too_large(max_bytes)
        if not message.get("more_body"):
            return b"".join([*parts, part]) if parts else part
        parts.append(part)


def decompress(raw: bytes, encoding: bytes, max_bytes: int) -> bytes:
    """Undo gzip (declared, or seen by its magic bytes); never grows beyond `max_bytes`. Raises Refused."""
    if raw[:2] == _GZIP_MAGIC and encoding in (b"", b"identity", b"gzip", b"x-gzip"):
        decoder = zlib.decompressobj(wbits=31)
        try:
            body = decoder.decompress(raw, max_bytes + 1)
        except zlib.error as error:
            raise Refused(400, "invalid_gzip", f"the body is not intact gzip: {error}", "$") from None
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        if not decoder.eof:
            raise Refused(400, "invalid_gzip", "the gzip body is cut short", "$")
        return body
    if encoding in (b"gzip", b"x-gzip"):
        raise Refused(400, "invalid_gzip", "Content-Encoding says gzip, but the body is not", "$")
    if encoding not in (b"", b"identity"):
        name = encoding.decode("latin-1")
        raise Refused(415, "unsupported_encoding", f"Content-Encoding {name!r} is not known; use gzip or none")
    if len(raw) > max_bytes:
        raise _too_large(max_bytes)
    return raw


def presented_key(headers: Mapping[bytes, bytes], query: bytes) -> str | None:
    """The write key by Basic user name, Bearer token or query; the body's `writeKey` is for who finds none here."""
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(credentials.strip(), validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    if scheme.lower() == b"bearer":
        return credentials.strip().decode("latin-1")
    if b"writeKey=" in query:
        return parse_qs(query.decode("latin-1")).get("writeKey", [None])[0]
    return None


def _too_large(max_bytes: int) -> Refused:
    return Refused(413, "too_large", f"the body is larger than {max_bytes} bytes; send smaller batches", "$")
