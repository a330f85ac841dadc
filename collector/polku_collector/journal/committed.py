"""Waits until the lake has what a worker journalled, by the number that the committer leaves beside the stream.

The committer writes it after each commit, and reads it from the table again when it was restarted itself. It is memory
that both processes share: a look costs less than a microsecond, and is taken only while somebody waits. Nothing is
sent from one process to the other, so nothing can get lost on the way.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from .stream import SharedNumber, streams_directory

# Against a commit, which takes longer, and a commit interval this is nothing.
_LOOK_SECONDS = 0.02


class CommitWatch:
    """How far the lake is with one stream, for its worker. Waiting is done on the worker's loop."""

    def __init__(self, journal: Path, stream: str) -> None:
        self._committed = SharedNumber(streams_directory(journal) / stream / "committed")
        self._waiting: dict[asyncio.Future[bool], int] = {}
        self._seen = -1
        self._is_watching = self._is_stopping = False

    async def why_not_committed(self, sequence: int, seconds: float) -> str | None:
        """Return None when everything up to `sequence` is in the tables; after `seconds` why this cannot be said."""
        if self._committed.value >= sequence:
            return None
        if self._is_stopping:
            return _STOPPING
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        self._waiting[future] = sequence
        timer = loop.call_later(seconds, _resolve, future, False)
        if not self._is_watching:
            self._is_watching, self._seen = True, -1
            self._look(loop)
        try:
            if await future or self._committed.value >= sequence:
                return None
        finally:
            timer.cancel()
            del self._waiting[future]
        if self._is_stopping:
            return _STOPPING
        return f"the lake did not have them after {time.monotonic() - started:.0f} seconds"

    def stop(self) -> None:
        """Let nobody wait any more: the worker is to end. Safe from a signal handler."""
        self._is_stopping = True

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        committed = self._committed.value
        if committed != self._seen or self._is_stopping:
            self._seen = committed
            for future, sequence in self._waiting.items():
                if sequence <= committed:
                    _resolve(future, True)
                elif self._is_stopping:
                    _resolve(future, False)
        self._is_watching = bool(self._waiting)
        if self._is_watching:
            loop.call_later(_LOOK_SECONDS, self._look, loop)


_STOPPING = "the collector is stopping"


def _resolve(future: asyncio.Future[bool], committed: bool) -> None:
    if not future.done():  # its client may have been cut off meanwhile
        future.set_result(committed)
