"""Delivery by a task of the program's own event loop: a `worker.Worker` that needs its thread at the end only.

The loop that runs when the first event is tracked is the one that delivers. Events may come from other threads. When
the process ends and no loop will run again, the thread delivers what is left, over blocking calls: asyncio looks up
names in threads, and at an exit there are none to be had.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from polku import forks
from polku.delivery import Send, Steps
from polku.errors import Loss
from polku.report import Reporter
from polku.settings import Settings
from polku.transport import (
    MAX_ANSWER_BYTES,
    Answer,
    HttpTransport,
    Transport,
    connection_options,
    importing,
    ping_url,
)
from polku.worker import Worker, close_with_children

if TYPE_CHECKING:
    from polku.spool import Spool

MAX_WAIT_SECONDS = 3_600.0
"""A rest without an end is looked after this often: a wake that was lost with its loop costs no more."""
STOPPING_SECONDS = 1.0
"""How long a cancelled task may take to let go of its batch."""


class AsyncTransport:
    """Posts over one kept-alive connection of the running loop. httpx is imported by the first `send`."""

    def __init__(self, url: str, proxy: str | None = None, ca_file: str | None = None) -> None:
        self._url, self._proxy, self._ca_file = url, proxy, ca_file
        self._httpx: Any = None
        self._connection: Any = None
        self._inherited: list[Any] = []

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

    def renew(self) -> None:
        """Make another connection next time: that of a loop that has ended is of no use, and cannot be closed."""
        self._connection = None

    def forget(self) -> None:
        """In a forked child: leave the connection to the parent. Kept, not dropped: to close it is the parent's."""
        self._inherited.append(self._connection)
        self._connection = None

    def blocking(self) -> Transport:
        """The same for a thread, without a loop."""
        if type(self) is AsyncTransport:
            return HttpTransport(self._url, self._proxy, self._ca_file)
        return _Awaited(self)

    def _made(self) -> Any:
        with importing.lock:
            import httpx

            self._httpx = httpx
            return httpx.AsyncHTTPTransport(**connection_options(self._url, self._proxy, self._ca_file))


class _Awaited:
    """A transport of the program's own, for a thread: each call in a loop made for it."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    def send(self, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        return asyncio.run(self._transport.send(body, dict(headers), timeout_seconds))

    def ping(self, body: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Answer:
        return asyncio.run(self._transport.ping(body, dict(headers), timeout_seconds))

    def close(self) -> None:
        asyncio.run(self._transport.close())

    def forget(self) -> None:
        """The transport itself is told."""


class TaskWorker(Worker):
    """Delivers as a task of the event loop, and at the end of the process as a `Worker`."""

    def __init__(
        self,
        settings: Settings,
        transport: AsyncTransport,
        context: bytes,
        reporter: Reporter,
        on_loss: Callable[[Loss], object] | None = None,
        spool: "Spool | None" = None,
    ) -> None:
        self._async_transport = transport
        self._inherited_tasks: list[object] = []
        super().__init__(settings, transport.blocking(), context, reporter, on_loss, spool)

    def _prepare_thread(self) -> None:
        super()._prepare_thread()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._steps: Steps | None = None
        """Those that are walked now: a task that finds others here is of an earlier loop, or of a parent's."""
        self._loop_bell = asyncio.Event()
        self._changed = asyncio.Event()
        self._ends_with_children = False

    def forget_parent(self) -> None:
        """In a forked child: leave the loop and its task to the parent too."""
        # Kept, not dropped: asyncio complains of a task that is destroyed before its end.
        self._inherited_tasks.append((self._loop, self._task, self._steps, self._loop_bell, self._changed))
        super().forget_parent()
        self._async_transport.forget()

    def start(self) -> None:
        """Deliver on the loop that is running; without one, once there is one."""
        if not self._closing:
            self._start_task()

    def _start_task(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if self._thread is not None or self._has_task() or not self._starting.acquire(blocking=False):
            return
        try:
            self._stop_task()
            # They belong to the loop that has waited for them, and this may be the next one.
            self._loop_bell, self._changed = asyncio.Event(), asyncio.Event()
            self._async_transport.renew()
            self.buffer.worker_thread = threading.current_thread()
            self._loop, self._steps = loop, self.steps()
            self._task = loop.create_task(self._walk(self._steps), name="polku")
        finally:
            self._starting.release()

    def _has_task(self) -> bool:
        """Whether a task is at work: not one of a loop that has ended, or rests."""
        loop, task = self._loop, self._task
        return loop is not None and task is not None and loop.is_running() and not task.done()

    def _stop_task(self) -> None:
        """Have the task, if there is one, give back what it was sending."""
        loop, task, steps, self._steps = self._loop, self._task, self._steps, None
        if loop is None or task is None or steps is None:
            return
        if loop.is_running() and threading.current_thread() is not self.buffer.worker_thread:
            until = min(self._deadline, time.monotonic() + STOPPING_SECONDS)
            with contextlib.suppress(RuntimeError):  # it has ended just now
                loop.call_soon_threadsafe(task.cancel)
            while not task.done() and time.monotonic() < until:
                time.sleep(0.005)
        with contextlib.suppress(ValueError):  # it is at work in another thread: it finds out, and gives back then
            steps.close()

    async def flushed(self, timeout_seconds: float) -> bool:
        """Send what is queued now and wait until it is settled; False if the time was too short."""
        forks.look()
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

    async def closed(self, timeout_seconds: float | None) -> bool:
        """Deliver what is queued in the time (None: as set) and take no more; True if nothing was left."""
        forks.look()
        if timeout_seconds is None:
            timeout_seconds = self._settings.close_timeout_seconds
        if self._finished:
            return self.nothing_left()
        self._take_over()
        self.buffer.close()
        self._start_task()
        self._closing, self._deadline = True, min(self._deadline, time.monotonic() + timeout_seconds)
        self._ring()
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=max(0.0, self._deadline - time.monotonic()))
            if not self._task.done():
                self._task.cancel()
                await asyncio.wait([self._task], timeout=STOPPING_SECONDS)
        self._abandon()
        self._finished = True
        self._leave_files()
        await self._async_transport.close()
        return self.nothing_left()

    def begin_close(self, deadline: float) -> None:
        """Take no more events and be done by the deadline, on a thread. Does not wait for the end of that."""
        super().begin_close(deadline)
        self._stop_task()
        self._start()

    def retire(self) -> None:
        """The client is gone: the task delivers what is queued, with all retries, then ends."""
        self.buffer.close()
        self._closing = True
        if not self._has_task() and not self.buffer.queued:
            self._leave_files()
        self._ring()

    def _wake(self) -> None:
        if self._inherited:
            self._take_over()
        if not self._ends_with_children:
            self._ends_with_children = True
            close_with_children()
        self.start()
        self._ring()

    def _ring(self) -> None:
        loop = self._loop
        if loop is None:
            return
        with contextlib.suppress(RuntimeError):  # that loop is closed: what is queued waits for the next, or the end
            if threading.current_thread() is self.buffer.worker_thread:
                self._loop_bell.set()
            else:
                loop.call_soon_threadsafe(self._loop_bell.set)

    async def _walk(self, steps: Steps) -> None:
        answer = None
        with contextlib.closing(steps):  # cancelled in the middle of a batch, it gives the batch back
            while self._steps is steps:
                try:
                    step = steps.send(answer)
                except StopIteration:
                    break
                finally:
                    self._changed.set()  # who waits for `flush` looks again
                answer = None
                if isinstance(step, Send):
                    send = self._async_transport.ping if step.ping else self._async_transport.send
                    answer = await send(step.body, step.headers, step.timeout_seconds)
                else:
                    await self._pause_loop(step.seconds)
        if self._steps is steps and self._deadline == float("inf"):  # retired
            self._leave_files()
            await self._async_transport.close()

    async def _pause_loop(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(MAX_WAIT_SECONDS if seconds is None else seconds):
                await self._loop_bell.wait()
        except TimeoutError:
            pass
        self._loop_bell.clear()
