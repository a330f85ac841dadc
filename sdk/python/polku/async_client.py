"""`AsyncClient`: the calls of `Client` for a program with an event loop, which delivers without a thread."""

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from polku.client import batch_url, encoded_context, spool_of
from polku.errors import Loss, SettingsError
from polku.gate import Hook
from polku.report import Reporter
from polku.settings import settings_from, switches
from polku.task import AsyncTransport, TaskWorker
from polku.tracker import Plan, Tracker


class AsyncClient(Tracker):
    """Tracks events from asyncio. The calls return at once, as those of `Client`; `flush` and `close` are awaited.

    Takes what `Client` takes. Made outside a loop, it begins to deliver with the first call inside one. What is queued
    when a loop ends without `close` (or `async with`), the next loop delivers, or a normal exit of the interpreter.
    A forked child may use it in a loop of its own, as a `Client` without one.
    """

    def __init__(
        self,
        write_key: str,
        endpoint: str,
        *,
        context: Mapping[str, Any] | None = None,
        plan: Plan | None = None,
        before_send: Hook | Sequence[Hook] = (),
        on_loss: Callable[[Loss], object] | None = None,
        transport: AsyncTransport | None = None,
        **options: Any,
    ) -> None:
        settings = settings_from(write_key, endpoint, {**options, **switches(os.environ)})
        if settings.full_queue == "block":
            raise SettingsError(["option 'full_queue': \"block\" would stop the event loop; take another"])
        if transport is None:
            transport = AsyncTransport(batch_url(settings), settings.proxy, settings.ca_file)
        worker = TaskWorker(settings, transport, encoded_context(context), Reporter(), on_loss, spool_of(settings))
        super().__init__(settings, worker, plan, (before_send,) if callable(before_send) else before_send)
        self._worker = worker
        # As that of `Client`: nothing more can come.
        weakref.finalize(self, worker.retire).atexit = False
        worker.start()

    async def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Send what is queued and wait until it is delivered or lost; False if the time was too short."""
        return await self._worker.flushed(timeout_seconds)

    async def close(self, timeout_seconds: float | None = None) -> bool:
        """Deliver what is queued and take no more; True if nothing was left when the time was over.

        The time is `close_timeout_seconds` of the settings unless given. May be called more than once.
        """
        self._discard_undecided()
        return await self._worker.closed(timeout_seconds)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
