"""The background thread: takes batches from the buffer, sends them, and tells what became of them.

It never touches an event: a body is the encoded events joined by commas. The thread is started by the first
event, is a daemon (the host program may end at any time), and is not inherited by a forked child, which
starts its own.
"""

import atexit
import base64
import os
import sys
import threading
import time
import zlib
from collections.abc import Callable

import msgspec

from polku.buffer import Bell, Buffer
from polku.errors import Loss, LossReason
from polku.event import now
from polku.report import Reporter
from polku.retry import Delivered, GiveUp, Prune, Split, Wait, decide
from polku.settings import Settings
from polku.transport import Answer, Transport
from polku.verdicts import read_reply, report_verdicts
from polku.version import __version__

TELL_LOSSES_EVERY_SECONDS = 10.0
"""Losses in the host program's own threads are summed up and told this often at most."""
SHORTEST_ATTEMPT_SECONDS = 0.05
"""Time given to an attempt that starts just before the deadline of `close`."""


class Worker:
    """Delivers the events of one client."""

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        context: bytes,
        reporter: Reporter,
        on_loss: Callable[[Loss], object] | None = None,
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._tail = b'],"context":' + context + b"}"
        self._reporter = reporter
        self._on_loss = on_loss
        user = base64.b64encode(f"{settings.write_key}:".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {user}",
            "Content-Type": "application/json",
            "User-Agent": f"polku-python/{__version__}",
        }
        if settings.compression is not None:
            self._headers["Content-Encoding"] = settings.compression
        self.buffer = Buffer(settings, wake=self._wake)
        self.reset()
        _open_workers.add(self)

    def reset(self) -> None:
        """Start afresh, as a forked child does: no thread, nothing queued, nothing counted."""
        self._bell = Bell()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._finished = False
        self._hopeless = False
        self._deadline = float("inf")
        self._next_telling = 0.0
        self.requests = 0
        self.retries = 0
        self.rejected = 0

    def forget_parent(self) -> None:
        """In a forked child: leave events, thread, locks and connections to the parent."""
        self.buffer.worker_thread = None
        self.buffer.reset()
        self.reset()
        self._transport.forget()

    def flush(self, timeout_seconds: float) -> bool:
        """Send what is queued now and wait until it is settled; False if the time was too short."""
        mark = self.buffer.seal()
        self._wake()
        if threading.current_thread() is self._thread:
            return False  # called from `on_loss`: waiting here would be waiting for oneself
        return self.buffer.wait_settled(mark, timeout_seconds)

    def close(self, timeout_seconds: float | None) -> bool:
        """Deliver what is queued in the time (None: as set) and take no more; True if nothing was left."""
        if timeout_seconds is None:
            timeout_seconds = self._settings.close_timeout_seconds
        self.begin_close(time.monotonic() + timeout_seconds)
        return self.finish_close()

    def begin_close(self, deadline: float) -> None:
        """Take no more events and be done by the deadline (on the monotonic clock). Does not wait."""
        self.buffer.close()
        self._closing = True
        self._deadline = min(self._deadline, deadline)
        self._bell.ring()

    def finish_close(self) -> bool:
        """Wait until the deadline of `begin_close`; what is left then is lost. True if nothing was left."""
        thread = self._thread
        if self._finished:
            return True
        if thread is None:
            # Nothing was ever queued, or no thread can be started any more at this stage of an exit.
            self._run()
        elif thread is threading.current_thread():
            return False
        else:
            thread.join(max(0.0, self._deadline - time.monotonic()))
        left = self.buffer.abandon(LossReason.CLOSE_TIMEOUT)
        if left:
            detail = f"{self._settings.endpoint} did not take them in the time given for closing"
            self._tell(Loss(LossReason.CLOSE_TIMEOUT, left, detail))
        self._tell_untold(at_once=True)
        self._finished = True
        _open_workers.discard(self)
        return left == 0

    def retire(self) -> None:
        """The client is gone: deliver what is queued, with all retries, then end. Does not wait."""
        self.begin_close(float("inf"))
        if self._thread is None and not self.buffer.queued:
            _open_workers.discard(self)

    # Everything below runs on the worker's thread, or on the caller's when that is closing without one.

    def _wake(self) -> None:
        # Never waited for: who holds it is starting the thread, and may be the code that a signal has interrupted.
        starting = self._starting
        if self._thread is None and not self._closing and starting.acquire(blocking=False):
            try:
                if self._thread is None:
                    self._start()
            finally:
                starting.release()
        self._bell.ring()

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
        _close_with_multiprocessing_child()

    def _run(self) -> None:
        while True:
            # Read before the buffer: only then does an empty one mean that nothing more can come.
            closing = self._closing
            try:
                batch = self.buffer.take()
                if batch is not None:
                    self._deliver(batch.events)
                self._tell_untold(at_once=closing)
                if batch is None:
                    if closing:
                        break
                    self._bell.wait(self._idle_seconds())
            except Exception as error:
                # A fault of ours must not end the thread, nor spin.
                self._reporter.limited("internal", f"the worker failed: {type(error).__name__}: {error}")
                self._bell.wait(1.0)
        try:
            self._transport.close()
        except Exception as error:
            self._reporter.once("close", f"closing the connection failed: {error}")
        if self._deadline == float("inf"):
            _open_workers.discard(self)

    def _idle_seconds(self) -> float | None:
        due = self.buffer.due_in()
        if not self.buffer.has_untold():
            return due
        telling = max(0.0, self._next_telling - time.monotonic())
        return telling if due is None else min(due, telling)

    def _deliver(self, events: list[bytes]) -> None:
        """Send until every one of the events is settled."""
        waiting = [events]
        while waiting:
            part = waiting.pop()
            try:
                waiting += reversed(self._deliver_part(part))
            except Exception as error:
                detail = f"{type(error).__name__}: {error}"
                self._lose(part, LossReason.INTERNAL, f"the SDK failed to send them: {detail}")

    def _deliver_part(self, events: list[bytes]) -> list[list[bytes]]:
        """Send until the events are settled, or return the parts that they have to be sent in."""
        body = self._body(events)
        attempt, started_at = 0, time.monotonic()
        while True:
            if self._hopeless or time.monotonic() >= self._deadline:
                self._lose(events, LossReason.CLOSE_TIMEOUT, "the time given for closing was over")
                return []
            attempt += 1
            answer = self._send(body, attempt)
            decision = decide(
                answer,
                attempt=attempt,
                elapsed_seconds=time.monotonic() - started_at,
                events=len(events),
                settings=self._settings,
            )
            match decision:
                case Delivered():
                    self._delivered(events, answer)
                    return []
                case Wait():
                    self._reporter.limited(
                        "retry",
                        f"{self._settings.endpoint} does not take events: {answer.summary()};"
                        f" {self.buffer.queued} are kept, next attempt in {decision.seconds:.1f} s",
                    )
                    if not self._pause(decision):
                        self._hopeless = True
                        self._lose(events, LossReason.CLOSE_TIMEOUT, f"closing; {answer.summary()}")
                        return []
                    self.retries += 1
                case Split():
                    middle = len(events) // 2
                    return [events[:middle], events[middle:]]
                case Prune():
                    sound = [raw for raw in events if _is_json(raw)]
                    if len(sound) == len(events):
                        self._lose(events, LossReason.REFUSED, f"the batch was refused: {answer.summary()}")
                        return []
                    broken = [raw for raw in events if not _is_json(raw)]
                    self._lose(broken, LossReason.UNSERIALISABLE, "an event was not JSON")
                    return [sound] if sound else []
                case GiveUp(reason, detail):
                    self._lose(events, reason, detail)
                    return []

    def _body(self, events: list[bytes]) -> bytes:
        body = b'{"batch":[' + b",".join(events) + self._tail
        if self._settings.compression is None:
            return body
        return zlib.compress(body, self._settings.compression_level, wbits=31)

    def _send(self, body: bytes, attempt: int) -> Answer:
        # The time of this attempt stays out of the body: the collector takes the skew of the clock from it.
        sent_at = now().isoformat(timespec="microseconds").replace("+00:00", "Z")
        headers = {**self._headers, "X-Polku-Sent-At": sent_at, "X-Polku-Attempt": str(attempt)}
        remaining = max(SHORTEST_ATTEMPT_SECONDS, self._deadline - time.monotonic())
        self.requests += 1
        try:
            return self._transport.send(body, headers, min(self._settings.timeout_seconds, remaining))
        except Exception as error:
            return Answer(error=f"{type(error).__name__}: {error}")

    def _pause(self, wait: Wait) -> bool:
        """Wait before the next attempt; False once it is known to come after the deadline of `close`."""
        started_at = time.monotonic()
        while True:
            seconds = wait.seconds
            if self._deadline < float("inf") and not wait.asked:
                # Closing: a wait of our own choice is cut short, the collector may be back. One it asked for
                # is not.
                seconds = min(seconds, self._settings.retry_base_seconds)
            until, at = started_at + seconds, time.monotonic()
            if until >= self._deadline:
                return False
            if at >= until:
                return True
            self._tell_untold()
            telling = self._next_telling if self.buffer.has_untold() else until
            self._bell.wait(min(until, max(telling, at)) - at)

    # Told before it is settled, so that whoever waits for `flush` has been told when it returns.

    def _delivered(self, events: list[bytes], answer: Answer) -> None:
        reply = read_reply(answer.body)
        if reply is None:
            text = f"{self._settings.endpoint} took events without a collector's reply: is it the right address?"
            self._reporter.limited("reply", text)
        elif reply.rejected or reply.warnings:
            self.rejected += len(reply.rejected)
            report_verdicts(reply, events, self._reporter)
        self.buffer.settle(events)

    def _lose(self, events: list[bytes], reason: LossReason, detail: str) -> None:
        if not self.buffer.abandoned:
            self._tell(Loss(reason, len(events), detail, tuple(events)))
        self.buffer.settle(events, reason)

    def _tell_untold(self, at_once: bool = False) -> None:
        if not self.buffer.has_untold() or (time.monotonic() < self._next_telling and not at_once):
            return
        self._next_telling = time.monotonic() + TELL_LOSSES_EVERY_SECONDS
        for reason, count in self.buffer.untold().items():
            self._tell(Loss(reason, count, _DETAILS.get(reason, "")))

    def _tell(self, loss: Loss) -> None:
        lost = "1 event was lost" if loss.count == 1 else f"{loss.count} events were lost"
        text = f"{lost} ({loss.reason.value}): {loss.detail}"
        self._reporter.limited(("loss", loss.reason), text, TELL_LOSSES_EVERY_SECONDS)
        if self._on_loss is None:
            return
        try:
            self._on_loss(loss)
        except BaseException as error:  # a SystemExit in the hook would end this thread without a word
            self._reporter.limited("on_loss", f"on_loss failed: {type(error).__name__}: {error}")


_DETAILS = {
    LossReason.QUEUE_FULL: "the queue was full",
    LossReason.TOO_LARGE: "larger than max_event_bytes",
    LossReason.UNSERIALISABLE: "no JSON form",
    LossReason.CLOSED: "tracked after close()",
    LossReason.INTERNAL: "a fault of the SDK",
}


def _is_json(raw: bytes) -> bool:
    try:
        msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


# Strong: a client may go out of scope with events queued. A worker leaves when it is closed.
_open_workers: set[Worker] = set()


def close_all() -> None:
    """Deliver what is queued anywhere in this process, within the time that the settings give for closing."""
    workers = list(_open_workers)
    for worker in workers:
        worker.begin_close(time.monotonic() + worker._settings.close_timeout_seconds)
    for worker in workers:
        worker.finish_close()


def _forget_parent() -> None:
    for worker in list(_open_workers):
        worker.forget_parent()


# Daemon threads still run when these handlers do. `threading._register_atexit` would come earlier, before
# events of the host program's own threads and exit handlers, and is private.
atexit.register(close_all)

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parent)


def _close_with_multiprocessing_child() -> None:
    """A child of multiprocessing leaves by `os._exit`, without exit handlers, but runs its own finalisers."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, close_all, exitpriority=100)
