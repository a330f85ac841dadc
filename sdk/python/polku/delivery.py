"""The delivery of batches from the buffer, step by step: sends them, tries again, and tells what became of them.

It never touches an event: a body is the encoded events joined by commas. `Delivery` decides and counts, as a generator
of steps (`Send`, `Rest`); `polku.worker.Worker` walks it on a background thread, `polku.task.TaskWorker` on an event
loop while one runs.
"""

import binascii
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from polku.buffer import Batch, Buffer
from polku.compress import compressor
from polku.errors import Loss, LossReason
from polku.event import new_id, now
from polku.report import Reporter
from polku.retry import Delivered, GiveUp, Prune, Recompress, Split, Wait, decide, was_not_taken
from polku.settings import Settings
from polku.transport import Answer
from polku.verdicts import read_reply, report_verdicts, show_verdicts
from polku.version import __version__

if TYPE_CHECKING:
    from polku.spool import Spool

TELL_LOSSES_EVERY_SECONDS = 10.0
"""Losses in the host program's own threads are summed up and told this often at most."""
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
