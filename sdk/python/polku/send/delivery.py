"""Sends batches one after the other with the SDK's own worker, its retries and its waits, and says what became of each
event. Nothing is queued in between: who sends knows what is acknowledged."""

import time
from collections.abc import Callable, Hashable

import msgspec

from polku.buffer import Batch
from polku.client import batch_url, encoded_context
from polku.delivery import Delivery, Send
from polku.errors import LossReason
from polku.report import Reporter
from polku.settings import Settings
from polku.transport import Answer, HttpTransport
from polku.verdicts import Verdict, read_reply
from polku.worker import Bell

FINAL = frozenset((LossReason.REFUSED, LossReason.EXPIRED, LossReason.CLOSE_TIMEOUT, LossReason.INTERNAL))
"""Why a batch is lost when the next one would be, too. Other losses are of one event."""


class Settled(msgspec.Struct):
    """What became of one batch. Indices are those of its events."""

    rejected: list[Verdict] = []
    warnings: list[Verdict] = []
    lost: dict[int, str] = {}
    """Events that no collector takes, and why."""
    stopped: str = ""
    """Why sending has to stop here; then the batch is not done."""


class FileDelivery(Delivery):
    """A delivery whose batches come from outside, not from its buffer. `say` is told of waits."""

    def __init__(self, settings: Settings, say: Callable[[str], object]) -> None:
        super().__init__(settings, encoded_context(None), _Saying(say))
        self._transport = HttpTransport(batch_url(settings), settings.proxy, settings.ca_file)
        self._bell = Bell()
        self._settled = Settled()
        self._index: dict[int, int] = {}

    def send(self, events: list[bytes]) -> Settled:
        """Send a batch until every event of it is settled."""
        # By identity: parts of a batch hold the same objects, and two events may have the same bytes.
        self._index = {id(raw): index for index, raw in enumerate(events)}
        self._settled = Settled(rejected=[], warnings=[], lost={})
        self.buffer.held = len(events)
        if events:
            self._walk(events)
        self.buffer.held = 0
        return self._settled

    def stop(self) -> None:
        """Have `send`, which another thread is in, come back soon."""
        self._deadline = time.monotonic()
        self._bell.ring()

    def end(self) -> None:
        """Let go of the connection."""
        self._transport.close()

    def _walk(self, events: list[bytes]) -> None:
        steps, answer = self._deliver(Batch(events)), None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration:
                return
            answer = None
            if isinstance(step, Send):
                answer = self._transport.send(step.body, step.headers, step.timeout_seconds)
            else:
                self._bell.wait(step.seconds)

    def _wake(self) -> None:
        """Nothing is queued here."""

    def _delivered(self, events: list[bytes], answer: Answer, batch: Batch) -> None:
        reply = read_reply(answer.body)
        if reply is None:
            self._settled.stopped = "took events without a collector's reply: is it the right address?"
            self._hopeless = True
            return
        for told, verdicts in ((self._settled.rejected, reply.rejected), (self._settled.warnings, reply.warnings)):
            for verdict in verdicts:
                if 0 <= verdict.index < len(events):
                    index = self._index[id(events[verdict.index])]
                    told.append(msgspec.structs.replace(verdict, index=index))

    def _lose(self, events: list[bytes], reason: LossReason, detail: str, batch: Batch) -> None:
        if reason in FINAL:
            self._settled.stopped = self._settled.stopped or detail
            self._hopeless = True
        else:
            self._settled.lost.update((self._index[id(raw)], f"{reason.value}: {detail}") for raw in events)


class _Saying(Reporter):
    """The worker's warnings as lines of the command."""

    def __init__(self, say: Callable[[str], object]) -> None:
        super().__init__()
        self._say = say

    def limited(self, key: Hashable, text: str, every_seconds: float = 10.0) -> None:
        self._say(text)
