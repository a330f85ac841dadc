"""Delivery by a task of the program's own event loop: the twin of `worker.Worker`, without a thread.

The loop that runs when the first event is tracked is the one that delivers. Events may come from other threads.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from polku.errors import Loss
from polku.report import Reporter
from polku.settings import Settings
from polku.transport import MAX_ANSWER_BYTES, Answer, connection_options, importing, ping_url
from polku.worker import Delivery, Send

if TYPE_CHECKING:
    from polku.spool import Spool

MAX_WAIT_SECONDS = 3_600.0
"""A rest without an end is looked after this often: a wake that was lost with its loop costs no more."""


class AsyncTransport:
    """Posts over one kept-alive connection of the running loop. httpx is imported by the first `send`."""

    def __init__(self, url: str, proxy: str | None = None, ca_file: str | None = None) -> None:
        self._url, self._proxy, self._ca_file = url, proxy, ca_file
        self._httpx: Any = None
        self._connection: Any = None

    async def send(self, body: bytes, headers: dict[str, str], timeout_seconds: float) -> Answer:
        """Send one body and return what came back, failures of the network included."""
        return await self._post(self._url, body, headers, timeout_seconds)

    async def ping(self, body: bytes, headers: dict[str, str], timeout_seconds: float) -> Answer:
        """Send one decision to where they are counted."""
        return await self._post(ping_url(self._url), body, headers, timeout_seconds)

    async def _post(self, url: str, body: bytes, headers: dict[str, str], timeout_seconds: float) -> Answer:
        try:
            if self._connection is None:
                # Some hundred milliseconds the first time: not on the loop.
                self._connection = await asyncio.get_running_loop().run_in_executor(None, self._made)
            phases = dict.fromkeys(("connect", "read", "write", "pool"), timeout_seconds)
            request = self._httpx.Request("POST", url, headers=headers, content=body, extensions={"timeout": phases})
            async with asyncio.timeout(2 * timeout_seconds):
                response = await self._connection.handle_async_request(request)
                try:
                    chunks, size = [], 0
                    async for chunk in response.aiter_bytes():
                        chunks.append(chunk)
                        size += len(chunk)
                        if size > MAX_ANSWER_BYTES:
                            break
                finally:
                    await response.aclose()
        except TimeoutError:
            return Answer(error="the answer took too long")
        except Exception as error:
            return Answer(error=f"{type(error).__name__}: {error}")
        return Answer(response.status_code, b"".join(chunks), response.headers.get("retry-after"))

    async def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()

    def forget(self) -> None:
        """Make another connection next time: that of a loop that has ended is of no use, and cannot be closed."""
        self._connection = None

    def _made(self) -> Any:
        with importing.lock:
            import httpx

            self._httpx = httpx
            return httpx.AsyncHTTPTransport(**connection_options(self._url, self._proxy, self._ca_file))


class TaskWorker(Delivery):
    """Delivers as a task of the event loop."""

    def __init__(
        self,
        settings: Settings,
        transport: AsyncTransport,
        context: bytes,
        reporter: Reporter,
        on_loss: Callable[[Loss], object] | None = None,
        spool: "Spool | None" = None,
    ) -> None:
        self._transport = transport
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._bell = asyncio.Event()
        self._changed = asyncio.Event()
        super().__init__(settings, context, reporter, on_loss, spool)

    def start(self) -> None:
        """Deliver on the loop that is running; without one, once there is one."""
        if self._closing or (self._task is not None and not self._task.done()):
            return
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        # They belong to the loop that has waited for them, and this may be the next one.
        self._bell, self._changed = asyncio.Event(), asyncio.Event()
        self._transport.forget()
        self.buffer.worker_thread = threading.current_thread()
        self._task = self._loop.create_task(self._run(), name="polku")

    async def flush(self, timeout_seconds: float) -> bool:
        """Send what is queued now and wait until it is settled; False if the time was too short."""
        mark = self.buffer.seal()
        self.start()
        self._ring()
        try:
            async with asyncio.timeout(timeout_seconds):
                while not self.buffer.is_settled(mark):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def close(self, timeout_seconds: float | None) -> bool:
        """Deliver what is queued in the time (None: as set) and take no more; True if nothing was left."""
        if timeout_seconds is None:
            timeout_seconds = self._settings.close_timeout_seconds
        self.buffer.close()
        self.start()
        self._closing, self._deadline = True, min(self._deadline, time.monotonic() + timeout_seconds)
        self._ring()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=max(0.0, self._deadline - time.monotonic()))
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait([self._task], timeout=1.0)
        self._abandon()
        self.buffer.close_spool()
        await self._transport.close()
        return self.nothing_left()

    def _wake(self) -> None:
        self.start()
        self._ring()

    def _ring(self) -> None:
        loop = self._loop
        if loop is None:
            return
        if threading.current_thread() is self.buffer.worker_thread:
            self._bell.set()
        else:
            try:
                loop.call_soon_threadsafe(self._bell.set)
            except RuntimeError:  # that loop is closed: what is queued waits for `close`
                self._loop = self._task = None

    async def _run(self) -> None:
        steps, answer = self.steps(), None
        with contextlib.closing(steps):  # cancelled in the middle of a batch, it gives the batch back
            while True:
                try:
                    step = steps.send(answer)
                except StopIteration:
                    return
                finally:
                    self._changed.set()  # who waits for `flush` looks again
                answer = None
                if isinstance(step, Send):
                    send = self._transport.ping if step.ping else self._transport.send
                    answer = await send(step.body, step.headers, step.timeout_seconds)
                else:
                    await self._rest(step.seconds)

    async def _rest(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(MAX_WAIT_SECONDS if seconds is None else seconds):
                await self._bell.wait()
        except TimeoutError:
            pass
        self._bell.clear()
