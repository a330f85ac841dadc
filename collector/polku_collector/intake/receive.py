"""From an HTTP request to the bytes of its JSON body and its write key: limits, encodings, keys. No JSON here."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Generator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from urllib.parse import parse_qs

from ..settings import Limits
from .encoding import MAGIC_BYTES, Inflater, encoding_of
from .refused import Refused, too_large

Scope = MutableMapping[str, Any]  # Any: ASGI's own definition
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

# Undone at once, in some hundred microseconds; what goes beyond waits for a thread, of which there is one: bombs
# queue up behind each other, and everybody else's requests go on.
_AT_ONCE_BYTES: Final = 128 * 1024
_BESIDE_BYTES: Final = 1024 * 1024
_BESIDE: Final = ThreadPoolExecutor(1, "polku-inflate")
_BUSY_SECONDS: Final = 2
_LENGTH_DIGITS: Final = 18  # Python refuses to read numbers of thousands of digits


class ClientGone(Exception):
    """The client hung up before its body was complete."""


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """The request's headers by lower-case name; of repeated ones the last."""
    return dict(scope["headers"])


class Held:
    """The bytes of large bodies that are under way, and of those that wait for the lake, of a whole worker."""

    def __init__(self) -> None:
        self.bytes = 0


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], limits: Limits, held: Held) -> bytes:
    """The whole body, its encoding undone, within the limits. Raises Refused or ClientGone."""
    most = limits.max_body_bytes
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and (len(declared) > _LENGTH_DIGITS or int(declared) > most):
        raise too_large(most)
    begun = _Begun(receive())
    if begun.message is not None:  # all of it is there already, nearly always: a timer would cost as much as the rest
        part, more = _content(begun.message)
        if not more and part[:1] == b"{" and b"content-encoding" not in headers and len(part) <= most:
            return part
    try:
        async with asyncio.timeout(limits.body_seconds):
            part, more = _content(await begun)
            while more and len(part) < MAGIC_BYTES:
                following, more = _content(await receive())
                part += following
            encoding = encoding_of(part, headers.get(b"content-encoding", b""))
            if encoding is None and not more:
                if len(part) > most:
                    raise too_large(most)
                return part
            share = Share(held, limits.max_held_bytes)
            try:
                if encoding is None:
                    return await _collected(receive, part, most, share)
                inflater = Inflater(encoding, most, limits.max_ratio)
                return await _inflated(receive, part, more, inflater, most, share)
            finally:
                share.give_back()
    except TimeoutError:
        late = f"the body did not arrive within {limits.body_seconds:g} seconds"
        raise Refused(408, "timeout", late) from None


class _Begun:
    """A coroutine's first step, taken at once; awaiting gives its result, waiting only if that step did not end it."""

    def __init__(self, waiting: Awaitable[Message]) -> None:
        self._steps = waiting.__await__()
        self.message: Message | None = None
        try:
            self._first = next(self._steps)
        except StopIteration as done:
            self.message = done.value

    def __await__(self) -> Generator[Any, Any, Message]:
        if self.message is None:
            try:
                yield self._first  # what that step waits for: now it wakes the task of who awaits this
            except BaseException:
                self._steps.close()
                raise
            self.message = yield from self._steps
        return self.message


class Share:
    """What one request has of `Held`, which has a bound too: many large bodies are not more memory than there is."""

    def __init__(self, held: Held, most: int) -> None:
        self._held, self._most, self._bytes = held, most, 0

    def add(self, size: int) -> None:
        """Hold so many bytes more. Raises Refused when all together are too many."""
        self._bytes += size
        self._held.bytes += size
        if self._held.bytes > self._most:
            message = "too many large bodies are on their way at once; send again later"
            raise Refused(503, "busy", message, retry_after=_BUSY_SECONDS)

    def give_back(self) -> None:
        """Hold nothing any more."""
        self._held.bytes -= self._bytes


def _content(message: Message) -> tuple[bytes, bool]:
    """What has arrived of the body, and whether there is more to come."""
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message.get("body", b""), message.get("more_body", False)


async def _collected(receive: Receive, part: bytes, most: int, share: Share) -> bytes:
    parts, size, more = [part], 0, True
    while True:
        size += len(part)
        if size > most:
            raise too_large(most)
        share.add(len(part))
        if not more:
            return b"".join(parts)
        part, more = _content(await receive())
        parts.append(part)


async def _inflated(receive: Receive, part: bytes, more: bool, inflater: Inflater, most: int, share: Share) -> bytes:
    given = 0
    while True:
        given += len(part)
        if given > most:
            raise too_large(most)
        before = inflater.size
        holds_more = inflater.feed(part, _AT_ONCE_BYTES)
        while holds_more:  # beyond what is done between two other requests, it is done beside them
            holds_more = await asyncio.get_running_loop().run_in_executor(_BESIDE, inflater.feed, b"", _BESIDE_BYTES)
        share.add(inflater.size - before)
        if not more:
            return inflater.close()
        part, more = _content(await receive())


def presented_key(headers: Mapping[bytes, bytes], query: bytes) -> str | None:
    """The write key by Basic user name, Bearer token, query or X-Write-Key; None: then the body may have it."""
    scheme, _, credentials = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(credentials, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return _tolerantly(credentials.strip()).partition(":")[0]
    if scheme.lower() == b"bearer":
        return credentials.strip().decode("latin-1")
    if b"writeKey=" in query:
        return parse_qs(query.decode("latin-1")).get("writeKey", [None])[0]
    if b"x-write-key" in headers:  # Jitsu's clients; what follows a colon is their secret
        return headers[b"x-write-key"].decode("latin-1").partition(":")[0]
    return None


def _tolerantly(credentials: bytes) -> str:
    """Base64 of either alphabet, with its padding or without: clients send all four. Empty for what is none."""
    plain = credentials.rstrip(b"=").translate(_URL_SAFE)
    try:
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
