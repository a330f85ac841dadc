"""The background thread that walks a delivery, from the first event to the end of the process.

The thread is started by the first event, is a daemon (the host program may end at any time), and is not inherited by a
forked child, which starts its own.
"""

import atexit
import contextlib
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from polku import forks
from polku.delivery import Delivery, Send
from polku.errors import Loss
from polku.report import Reporter, warn
from polku.settings import Settings
from polku.transport import Answer, Transport

if TYPE_CHECKING:
    from polku.spool import Spool

ENDING_SECONDS = 0.2
"""With a spool: how long `close` waits beyond its time for the thread to let go of the files."""


class Worker(Delivery):
    """Delivers on a thread of its own."""

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        context: bytes,
        reporter: Reporter,
        on_loss: Callable[[Loss], object] | None = None,
        spool: "Spool | None" = None,
    ) -> None:
        self._transport = transport
        self._inherited: list[bytes] = []
        self._prepare_thread()
        super().__init__(settings, context, reporter, on_loss, spool)
        _open_workers.add(self)
        if spool is not None and spool.holds_any():
            self._wake()

    def _prepare_thread(self) -> None:
        self._bell = Bell()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._finished = False
        self._has_sent = False

    def forget_parent(self) -> None:
        """In a forked child: leave events, files, thread, locks and connections to the parent."""
        self._inherited = self.buffer.waiting() if forks.parent_may_be_mute() else []
        self.buffer.worker_thread = None
        self.buffer.reset()
        self._prepare_thread()
        self._begin_anew()
        self._transport.forget()

    def _take_over(self) -> None:
        """Queue what a parent had queued that cannot deliver it. Not in the fork: who this child is, it knows later."""
        left, self._inherited = self._inherited, []
        if left and forks.is_heir():
            for raw in left:
                self.buffer.put(raw)

    def flush(self, timeout_seconds: float) -> bool:
        """Send what is queued now and wait until it is settled; False if the time was too short."""
        forks.look()
        mark = self.buffer.seal()
        self._start_once()  # also where `_wake` starts none: somebody waits
        self._wake()
        if threading.current_thread() is self._thread:
            return False  # called from `on_loss`: waiting here would be waiting for oneself
        return self.buffer.wait_settled(mark, timeout_seconds)

    def close(self, timeout_seconds: float | None) -> bool:
        """Deliver what is queued in the time (None: as set) and take no more; True if nothing was left."""
        forks.look()
        seconds = self._settings.close_timeout_seconds if timeout_seconds is None else timeout_seconds
        self.begin_close(time.monotonic() + seconds)
        return self.finish_close()

    def begin_close(self, deadline: float) -> None:
        """Take no more events and be done by the deadline (on the monotonic clock). Does not wait."""
        self._take_over()
        self.buffer.close()
        self._closing = True
        self._deadline = min(self._deadline, deadline)
        self._bell.ring()

    def finish_close(self) -> bool:
        """Wait until the deadline of `begin_close`; what is left then is lost. True if nothing was left."""
        thread = self._thread
        if self._finished:
            return self.nothing_left()
        if thread is None:
            # Nothing was ever queued, or no thread can be started any more at this stage of an exit.
            self._run()
        elif thread is threading.current_thread():
            return False
        else:
            thread.join(max(0.0, self._deadline - time.monotonic()))
        self._abandon()
        self._finished = True
        if thread is not None and self._spool is not None:
            thread.join(ENDING_SECONDS)
        if thread is None or not thread.is_alive():
            self.buffer.close_spool()
        _open_workers.discard(self)
        return self.nothing_left()

    def retire(self) -> None:
        """The client is gone: deliver what is queued, with all retries, then end. Does not wait."""
        self.begin_close(float("inf"))
        if self._thread is None and not self.buffer.queued:
            self._leave_files()

    def _wake(self) -> None:
        if self._inherited:
            self._take_over()
        if self._thread is None and not forks.is_mute_master():
            self._start_once()
        self._bell.ring()

    def _start_once(self) -> None:
        # Never waited for: who holds it is starting the thread, and may be the code that a signal has interrupted.
        starting = self._starting
        wanted = self._thread is None and not self._closing and self._settings.enabled
        if wanted and starting.acquire(blocking=False):
            try:
                if self._thread is None:
                    self._start()
            finally:
                starting.release()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="polku", daemon=True)
        self._thread = self.buffer.worker_thread = thread
        try:
            thread.start()
        except RuntimeError:
            # No thread to be had (an exit is under way, or a limit): the next batch tries again, or `close`
            # delivers.
            self._thread = self.buffer.worker_thread = None
            return
        close_with_children()

    # Everything below runs on the worker's thread, or on the caller's when that is closing without one.

    def _run(self) -> None:
        steps, answer = self.steps(), None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration:
                break
            answer = None
            if isinstance(step, Send):
                answer = self._transmit(step)
                self._has_sent = True
            else:
                self._rest(step.seconds)
        try:
            self._transport.close()
        except Exception as error:
            self.reporter.once("close", f"closing the connection failed: {error}")
        if self._finished or self._deadline == float("inf"):
            self._leave_files()

    def _leave_files(self) -> None:
        """Nothing is left to do: what is on disk is for whoever comes next."""
        self.buffer.close_spool()
        _open_workers.discard(self)

    def _rest(self, seconds: float | None) -> None:
        """Wait for a ring, at most so long. After work it looks once more by itself: where one batch follows another,
        no event needs to wake it to have its age watched."""
        looks = seconds is None and self._has_sent
        if looks:
            seconds = self._settings.batch_age_seconds
        self.buffer.looks_at = 0.0 if seconds is None else time.monotonic() + seconds
        if not self._bell.wait(seconds) and looks:
            self._has_sent = False

    def _transmit(self, step: Send) -> Answer:
        try:
            send: Callable[..., Answer] = getattr(self._transport, "ping" if step.ping else "send")
            return send(step.body, step.headers, step.timeout_seconds)
        except Exception as error:
            return Answer(error=f"{type(error).__name__}: {error}")


class Bell:
    """Wakes one waiting thread. Unlike a `threading.Event`, `ring` never blocks and may interrupt itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def ring(self) -> None:
        """Let the next or the current `wait` return."""
        with contextlib.suppress(RuntimeError):  # it has been rung already
            self._lock.release()

    def wait(self, timeout_seconds: float | None) -> bool:
        """Wait for a ring, at most so long; whether there was one."""
        if timeout_seconds is None:
            return self._lock.acquire()
        return timeout_seconds > 0 and self._lock.acquire(timeout=min(timeout_seconds, threading.TIMEOUT_MAX))


# Strong: a client may go out of scope with events queued. A worker leaves when it is closed.
_open_workers: set[Worker] = set()


def close_all() -> None:
    """Deliver what is queued anywhere in this process, within the time that the settings give for closing."""
    forks.look()
    workers = list(_open_workers)
    _each(workers, lambda one: one.begin_close(time.monotonic() + one._settings.close_timeout_seconds), "closed")
    _each(workers, lambda one: one.finish_close(), "closed")


def _each(workers: list[Worker], do: Callable[[Worker], object], what: str) -> None:
    """Have each do it: the failure of one is told, and stops no other."""
    for worker in workers:
        try:
            do(worker)
        except Exception as error:
            warn(f"a client is not {what}: {type(error).__name__}: {error}")


# Daemon threads still run when these handlers do. `threading._register_atexit` would come earlier, before
# events of the host program's own threads and exit handlers, and is private.
atexit.register(close_all)

forks.after_in_child(lambda: _each(list(_open_workers), lambda one: one.forget_parent(), "ready after a fork"))


def close_with_children() -> None:
    """Children of multiprocessing and of Celery leave by `os._exit`, without exit handlers; each has its own way."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, close_all, exitpriority=100)
    signals = sys.modules.get("celery.signals")
    if signals is not None:
        signals.worker_process_shutdown.connect(lambda **_: close_all(), weak=False, dispatch_uid="polku")
