"""The delivery of batches from the buffer: sends them, tries again, and tells what became of them.

It never touches an event: a body is the encoded events joined by commas. `Delivery` decides and counts, as a generator
of steps (`Send`, `Rest`); `Worker` walks it on a background thread, `polku.task.TaskWorker` on an event loop while one
runs. The thread is started by the first event, is a daemon (the host program may end at any time), and is not inherited
by a forked child, which starts its own.
"""

import atexit
import binascii
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from polku import forks
from polku.buffer import Batch, Bell, Buffer
from polku.compress import compressor
from polku.errors import Loss, LossReason
from polku.event import new_id, now
from polku.report import Reporter, warn
from polku.retry import Delivered, GiveUp, Prune, Recompress, Split, Wait, decide, was_not_taken
from polku.settings import Settings
from polku.transport import Answer, Transport
from polku.verdicts import read_reply, report_verdicts, show_verdicts
from polku.version import __version__

if TYPE_CHECKING:
    from polku.spool import Spool

TELL_LOSSES_EVERY_SECONDS = 10.0
"""Losses in the host program's own threads are summed up and told this often at most."""
ENDING_SECONDS = 0.2
"""With a spool: how long `close` waits beyond its time for the thread to let go of the files."""
MAX_PINGS = 100
"""Decisions that wait to be counted; one person decides a few times at most."""
SHORTEST_ATTEMPT_SECONDS = 0.05
"""Time given to an attempt that starts just before the deadline of `close`."""


class Send(msgspec.Struct, frozen=True):
    """A step: send this, and go on with the answer."""

    body: bytes
    headers: dict[str, str]
    timeout_seconds: float
    ping: bool = False
    """It is no batch, but a decision to be counted."""


class Rest(msgspec.Struct, frozen=True):
    """A step: go on when woken, or after so many seconds (None: not before)."""

    seconds: float | None


Steps: TypeAlias = Generator[Send | Rest, Answer | None, None]


class Missed(msgspec.Struct, frozen=True, rename="camel"):
    """Events that never reached the collector, as it is told with a batch. The `id` makes a repeated telling one."""

    id: str
    reason: LossReason
    count: int


class Delivery:
    """Delivers the events of one client, step by step. Who walks the steps sends and waits."""

    def __init__(
        self,
        settings: Settings,
        context: bytes,
        reporter: Reporter,
        on_loss: Callable[[Loss], object] | None = None,
        spool: "Spool | None" = None,
    ) -> None:
        self._settings = settings
        self._context = context
        self.reporter = reporter
        self._on_loss = on_loss
        user = binascii.b2a_base64(f"{settings.write_key}:".encode(), newline=False).decode()
        self._headers = {
            "Authorization": f"Basic {user}",
            "Content-Type": "application/json",
            "User-Agent": f"polku-python/{__version__}",
        }
        self._compression = settings.compression
        self._compress = compressor(settings.compression, settings.compression_level)
        self._spool = spool
        self.buffer = Buffer(settings, wake=self._wake, spool=spool)
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Nothing counted, nobody waits."""
        self._closing = False
        self._hopeless = False
        self._deadline = float("inf")
        self._next_telling = 0.0
        self._missed: list[Missed] = []
        self._reported: dict[LossReason, int] = {}
        self._pings: deque[bytes] = deque(maxlen=MAX_PINGS)
        self._ping_attempt, self._next_ping = 0, 0.0
        self.requests = 0
        self.retries = 0
        self.rejected = 0

    def _wake(self) -> None:
        """There may be something to do: called by whoever tracks, from any thread."""
        raise NotImplementedError

    def steps(self) -> Steps:
        """Deliver until all is delivered and nothing more can come."""
        while True:
            # Read before the buffer: only then does an empty one mean that nothing more can come.
            closing = self._closing
            try:
                yield from self._send_pings()
                batch = self.buffer.take()
                if batch is not None:
                    yield from self._deliver(batch)
                self._tell_untold(at_once=closing)
                if closing and (batch is None or (self._hopeless and batch.taken is not None)):
                    yield from self._report_missed()
                    return
                if batch is None:
                    yield Rest(self._idle_seconds())
            except Exception as error:
                # A fault of ours must not end the delivery, nor spin.
                self.reporter.limited("internal", f"the worker failed: {type(error).__name__}: {error}")
                yield Rest(1.0)

    def _idle_seconds(self) -> float | None:
        due = self.buffer.due_in()
        if self._pings:
            turn = max(0.0, self._next_ping - time.monotonic())
            due = turn if due is None else min(due, turn)
        if not self.buffer.has_untold():
            return due
        telling = max(0.0, self._next_telling - time.monotonic())
        return telling if due is None else min(due, telling)

    def ping(self, decision: str) -> None:
        """Have one decision counted: it, and the day, and nothing else."""
        self._pings.append(msgspec.json.encode({"decision": decision, "day": now().date()}))
        self._wake()

    def _send_pings(self) -> Steps:
        """Sent again only when it is certain that the collector did not count it: it cannot know it from another."""
        while self._pings and self._next_ping <= time.monotonic() < self._deadline:
            remaining = max(SHORTEST_ATTEMPT_SECONDS, self._deadline - time.monotonic())
            headers = {name: self._headers[name] for name in ("Authorization", "Content-Type")}
            timeout = min(self._settings.timeout_seconds, remaining)
            try:
                answer = (yield Send(self._pings[0], headers, timeout, ping=True)) or Answer(error="no answer")
            except GeneratorExit:  # stopped in the middle: it may have been counted
                self._pings.popleft()
                raise
            if was_not_taken(answer) and not self._closing:
                self._ping_attempt += 1
                wait = decide(answer, attempt=self._ping_attempt, elapsed_seconds=0, events=1, settings=self._settings)
                if isinstance(wait, Wait):
                    self._next_ping = time.monotonic() + wait.seconds
                    return
            self._pings.popleft()
            self._ping_attempt = 0
            if answer.status != 200:
                self.reporter.limited("ping", f"a decision about consent was not counted: {answer.summary()}")

    def _deliver(self, batch: Batch) -> Steps:
        """Send until every one of the events is settled, or it is known that they stay in the spool."""
        waiting = [batch.events]
        taken = batch.taken
        sent = False
        try:
            while waiting:
                part = waiting.pop()
                try:
                    further = yield from self._deliver_part(part, batch)
                except Exception as error:
                    detail = f"{type(error).__name__}: {error}"
                    self._lose(part, LossReason.INTERNAL, f"the SDK failed to send them: {detail}", batch)
                    continue
                if further is None:
                    return
                waiting += reversed(further)
            sent = True
        finally:
            if taken is not None:
                self.buffer.done(taken, sent=sent)
            elif not sent:  # stopped in the middle
                self.buffer.give_back()

    def _deliver_part(
        self, events: list[bytes], batch: Batch
    ) -> Generator[Send | Rest, Answer | None, list[list[bytes]] | None]:
        """Send until the events are settled: the parts that they have to be sent in; None if they stay in the spool."""
        missed = self._missed_by_now()
        body = self._body(events, missed)
        # Somebody else's may have been sent before that process ended.
        attempt, started_at = 0 if batch.taken is None or batch.taken.own else 1, time.monotonic()
        while True:
            if self._hopeless or time.monotonic() >= self._deadline:
                return self._leave(events, batch, "the time given for closing was over")
            attempt += 1
            answer = yield self._sending(body, attempt)
            decision = decide(
                answer or Answer(error="no answer"),
                attempt=attempt,
                elapsed_seconds=time.monotonic() - started_at,
                events=len(events),
                settings=self._settings,
                compression=self._compression,
            )
            match decision:
                case Delivered():
                    self._told(missed)
                    self._delivered(events, answer or Answer(), batch)
                    return []
                case Wait():
                    summary = answer.summary() if answer else ""
                    kept = self.buffer.queued + self.buffer.spooled
                    self.reporter.limited(
                        "retry",
                        f"{self._settings.endpoint} does not take events: {summary};"
                        f" {kept} {'is' if kept == 1 else 'are'} kept, next attempt in {decision.seconds:.1f} s",
                    )
                    if not (yield from self._pause(decision)):
                        return self._leave(events, batch, f"closing; {summary}")
                    self.retries += 1
                case Split():
                    middle = len(events) // 2
                    return [events[:middle], events[middle:]]
                case Recompress():
                    self._compression, self._compress = "gzip", compressor("gzip", 1)
                    body = self._body(events, missed)
                case Prune():
                    sound = [raw for raw in events if _is_json(raw)]
                    if len(sound) == len(events):
                        summary = answer.summary() if answer else ""
                        self._lose(events, LossReason.REFUSED, f"the batch was refused: {summary}", batch)
                        return []
                    broken = [raw for raw in events if not _is_json(raw)]
                    self._lose(broken, LossReason.UNSERIALISABLE, "an event was not JSON", batch)
                    return [sound] if sound else []
                case GiveUp(reason, detail):
                    self._lose(events, reason, detail, batch)
                    return []

    def _leave(self, events: list[bytes], batch: Batch, detail: str) -> list[list[bytes]] | None:
        """The time is over: what has a place in the spool stays there, the rest is lost."""
        self._hopeless = True
        if batch.taken is not None:
            return None
        left = self.buffer.spill(events)
        if left:
            self._lose(left, LossReason.CLOSE_TIMEOUT, detail, batch)
        return []

    def _body(self, events: list[bytes], missed: list[Missed]) -> bytes:
        told = b"" if not missed else b',"lost":' + msgspec.json.encode(missed)
        return self._compress(b'{"batch":[%b],"context":%b%b}' % (b",".join(events), self._context, told))

    def _sending(self, body: bytes, attempt: int) -> Send:
        # The time of this attempt stays out of the body: the collector takes the skew of the clock from it.
        sent_at = now().isoformat(timespec="microseconds").replace("+00:00", "Z")
        headers = {**self._headers, "X-Polku-Sent-At": sent_at, "X-Polku-Attempt": str(attempt)}
        if self._compression is not None:
            headers["Content-Encoding"] = self._compression
        remaining = max(SHORTEST_ATTEMPT_SECONDS, self._deadline - time.monotonic())
        self.requests += 1
        return Send(body, headers, min(self._settings.timeout_seconds, remaining))

    def _pause(self, wait: Wait) -> Generator[Send | Rest, Answer | None, bool]:
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
            yield Rest(min(until, max(telling, at)) - at)

    # Told before it is settled, so that whoever waits for `flush` has been told when it returns.

    def _delivered(self, events: list[bytes], answer: Answer, batch: Batch) -> None:
        reply = read_reply(answer.body)
        if reply is None:
            text = f"{self._settings.endpoint} took events without a collector's reply: is it the right address?"
            self.reporter.limited("reply", text)
        elif reply.rejected or reply.warnings:
            self.rejected += len(reply.rejected)
            report_verdicts(reply, events, self.reporter)
        if self._settings.debug:
            show_verdicts(reply, events)
        self.buffer.settle(events, taken=batch.taken)

    def _lose(self, events: list[bytes], reason: LossReason, detail: str, batch: Batch) -> None:
        if not self.buffer.abandoned:
            self._tell(Loss(reason, len(events), detail, tuple(events)))
        self.buffer.settle(events, reason, batch.taken)

    def _missed_by_now(self) -> list[Missed]:
        """What the collector has not been told of; the same until it has been."""
        if not self._missed:
            lost = self.buffer.counts().lost
            self._missed = [
                Missed(new_id(), reason, count - self._reported.get(reason, 0))
                for reason, count in lost.items()
                if count > self._reported.get(reason, 0)
            ]
        return self._missed

    def _report_missed(self) -> Steps:
        """At the end: what no batch can tell any more, in one attempt."""
        missed = self._missed_by_now()
        if missed and not self._hopeless and time.monotonic() < self._deadline:
            answer = yield self._sending(self._body([], missed), 1)
            if answer is not None and answer.status == 200:
                self._told(missed)

    def _told(self, missed: list[Missed]) -> None:
        for one in missed:
            self._reported[one.reason] = self._reported.get(one.reason, 0) + one.count
        self._missed = []

    def _tell_untold(self, at_once: bool = False) -> None:
        if not self.buffer.has_untold() or (time.monotonic() < self._next_telling and not at_once):
            return
        self._next_telling = time.monotonic() + TELL_LOSSES_EVERY_SECONDS
        for reason, count in self.buffer.untold().items():
            self._tell(Loss(reason, count, _DETAILS.get(reason, "")))

    def _tell(self, loss: Loss) -> None:
        lost = "1 event was lost" if loss.count == 1 else f"{loss.count} events were lost"
        text = f"{lost} ({loss.reason.value}): {loss.detail}"
        self.reporter.limited(("loss", loss.reason), text, TELL_LOSSES_EVERY_SECONDS)
        if self._on_loss is None:
            return
        try:
            self._on_loss(loss)
        except BaseException as error:  # a SystemExit in the hook would end this thread without a word
            self.reporter.limited("on_loss", f"on_loss failed: {type(error).__name__}: {error}")

    def nothing_left(self) -> bool:
        """Whether all was settled in the time for closing."""
        return not self.buffer.spooled and not self.buffer.lost.get(LossReason.CLOSE_TIMEOUT)

    def _abandon(self) -> None:
        """What is left is in the spool or lost, and told."""
        left = self.buffer.abandon(LossReason.CLOSE_TIMEOUT)
        if left:
            detail = f"{self._settings.endpoint} did not take them in the time given for closing"
            self._tell(Loss(LossReason.CLOSE_TIMEOUT, left, detail))
        self._tell_untold(at_once=True)


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


_DETAILS = {
    LossReason.QUEUE_FULL: "the queue was full",
    LossReason.TOO_LARGE: "larger than max_event_bytes",
    LossReason.UNSERIALISABLE: "no JSON form",
    LossReason.SPOOL_DAMAGED: "a line of the spool could not be read again",
    LossReason.HOOK_FAILED: "before_send raised",
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
