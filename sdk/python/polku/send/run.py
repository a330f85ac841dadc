"""Sends files: reads, encodes, delivers batch by batch, and notes after each how far it is.

One thread reads and encodes while another waits for the collector. What a batch brought is looked at in the order of
the file, so the state never stands ahead of what was acknowledged.
"""

import contextlib
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, TextIO

import msgspec

from polku.planned import JudgingPlan
from polku.send.delivery import FileDelivery, Settled
from polku.send.events import Encoder
from polku.send.files import Entry, Position, Reader, Source
from polku.send.mapping import Mapper
from polku.send.problem import Problem
from polku.send.progress import Counts, Progress
from polku.send.state import State
from polku.settings import Settings
from polku.verdicts import Verdict

AHEAD = 2
"""Batches made while one is under way."""
MAX_LISTED = 100
"""Bad lines that are listed; all are in the file that `--rejected` names."""
MAX_NOTES = 20
"""Different warnings at the end."""
SHOWN_EVENTS = 10
"""Events that `--dry-run` shows."""


class Made(msgspec.Struct, frozen=True):
    """An entry and the event made of it."""

    entry: Entry
    event: bytes | Problem


class Batch(msgspec.Struct, frozen=True):
    """Consecutive lines of one file, those that no event could be made of included."""

    made: list[Made]
    position: Position
    """Behind the last of them."""
    fraction: float | None

    def events(self) -> list[bytes]:
        """Those that are sent."""
        return [one.event for one in self.made if isinstance(one.event, bytes)]


class Import:
    """One run of the command. `rejected_file` keeps what was refused, as items that can be sent again."""

    def __init__(
        self, *, mapper: Mapper | None, seed: str, state: State, rejected_file: Path | None, out: TextIO, err: TextIO
    ) -> None:
        self.counts = Counts()
        self._out = out
        self._progress = Progress(err)
        self._needed_columns = mapper.needed_columns if mapper else []
        self._encoder = Encoder(mapper, seed, lambda text: self._note(f"were changed: {text}"))
        self._state = state
        self._rejected_file = rejected_file
        self._rejected: IO[bytes] | None = None
        self._notes: Counter[str] = Counter()
        self._listed = 0

    def send(self, sources: Sequence[Source], settings: Settings) -> int:
        """Send all files; returns the exit code. KeyboardInterrupt goes on after what was done is told."""
        delivery = FileDelivery(settings, self._progress.say)
        stopped = ""
        with contextlib.ExitStack() as stack:
            stack.callback(delivery.end)
            if self._rejected_file is not None:
                mode = "ab" if self._state.resumed else "wb"
                self._rejected = stack.enter_context(self._rejected_file.open(mode))
            pool = stack.enter_context(ThreadPoolExecutor(1, "polku-send"))
            try:
                for source in sources:
                    stopped = self._send_file(source, settings, delivery, pool)
                    if stopped:
                        break
            except BaseException:
                delivery.stop()
                self._tell_end("interrupted: ")
                raise
        if stopped:
            self._progress.say(f"stopped: {settings.endpoint} {stopped}")
        self._tell_end("")
        return 1 if stopped or self.counts.accepted < self.counts.lines else 0

    def show(self, sources: Sequence[Source], plan: JudgingPlan | None) -> int:
        """Print the first events instead of sending any; returns the exit code."""
        shown = 0
        for source in sources:
            reader = Reader(source, self._state.position(source.key), self._needed_columns)
            with contextlib.closing(reader):
                for entry in reader.entries():
                    event = self._encoder.event(entry)
                    problem = event if isinstance(event, Problem) else _judged(event, plan)
                    if problem is not None:
                        self.counts.unsent += 1
                        self._list(source, entry, problem)
                    else:
                        self.counts.accepted += 1
                    if isinstance(event, bytes):
                        print(event.decode(errors="replace"), file=self._out)
                    shown += 1
                    if shown == SHOWN_EVENTS:
                        break
            self._tell_damage(reader)
            if shown == SHOWN_EVENTS:
                break
        self._tell_notes()
        return 0 if self.counts.accepted == self.counts.lines else 1

    def _send_file(self, source: Source, settings: Settings, delivery: FileDelivery, pool: ThreadPoolExecutor) -> str:
        """Send one file; returns why that had to stop, or nothing."""
        under_way: deque[tuple[Batch, Future[Settled]]] = deque()
        reader = Reader(source, self._state.position(source.key), self._needed_columns)
        with contextlib.closing(reader):
            for batch in self._batches(reader, settings):
                under_way.append((batch, pool.submit(delivery.send, batch.events())))
                while under_way and (len(under_way) > AHEAD or under_way[0][1].done()):
                    stopped = self._settle(source, *under_way.popleft())
                    if stopped:
                        return stopped
            while under_way:
                stopped = self._settle(source, *under_way.popleft())
                if stopped:
                    return stopped
        self._tell_damage(reader)
        return ""

    def _batches(self, reader: Reader, settings: Settings) -> Iterator[Batch]:
        made: list[Made] = []
        size = 0
        for entry in reader.entries():
            event = self._encoder.event(entry)
            if isinstance(event, bytes):
                if made and size + len(event) > settings.batch_bytes:
                    yield self._batch(reader, made)
                    made, size = [], 0
                size += len(event)
            made.append(Made(entry, event))
            if len(made) >= settings.batch_events:
                yield self._batch(reader, made)
                made, size = [], 0
        if made:
            yield self._batch(reader, made)

    def _batch(self, reader: Reader, made: list[Made]) -> Batch:
        fraction = min(1.0, reader.done_bytes() / reader.size) if reader.size else None
        return Batch(made, reader.position(made[-1].entry), fraction)

    def _settle(self, source: Source, batch: Batch, future: "Future[Settled]") -> str:
        settled = future.result()
        if settled.stopped:
            return settled.stopped
        sent = [one for one in batch.made if isinstance(one.event, bytes)]
        problems: dict[int, Problem] = {}
        for verdict in settled.rejected:
            problems[id(sent[verdict.index])] = _problem(verdict)
        for index, why in settled.lost.items():
            code, _, detail = why.partition(": ")
            problems[id(sent[index])] = Problem(code, "$", detail)
        for verdict in settled.warnings:
            # An answer holds the first warnings of a batch only.
            self._note(f"or more were accepted with a warning: {_problem(verdict)}")
        for one in batch.made:
            problem = one.event if isinstance(one.event, Problem) else problems.get(id(one))
            if problem is not None:
                self._list(source, one.entry, problem)
                self._keep(source, one, problem)
        self.counts.rejected += len(problems) - len(settled.lost)
        self.counts.lost += len(settled.lost)
        self.counts.unsent += len(batch.made) - len(sent)
        self.counts.accepted += len(sent) - len(problems)
        if self._rejected is not None:
            self._rejected.flush()
        self._state.advance(source.key, batch.position)
        self._progress.update(source.name, batch.fraction, self.counts)
        return ""

    def _list(self, source: Source, entry: Entry, problem: Problem) -> None:
        self._listed += 1
        if self._listed <= MAX_LISTED:
            self._progress.say(f"{source.name}:{entry.line}: {problem}")
        elif self._listed == MAX_LISTED + 1:
            self._progress.say("further lines are counted, not listed; --rejected FILE keeps them")

    def _keep(self, source: Source, one: Made, problem: Problem) -> None:
        if self._rejected is None:
            return
        why = {"file": source.name, "line": one.entry.line, **msgspec.structs.asdict(problem)}
        head = b'{"rejected":' + msgspec.json.encode(why)
        if isinstance(one.event, bytes):
            self._rejected.write(head + b"," + one.event[1:] + b"\n")
        else:
            text = one.entry.content.decode(errors="replace")
            self._rejected.write(head + b',"original":' + msgspec.json.encode(text) + b"}\n")

    def _note(self, text: str) -> None:
        if text in self._notes or len(self._notes) < MAX_NOTES:
            self._notes[text] += 1

    def _tell_damage(self, reader: Reader) -> None:
        if reader.problem is not None:
            self.counts.unsent += 1
            self._progress.say(f"{reader.source.name}: {reader.problem}")

    def _tell_notes(self) -> None:
        for text, count in self._notes.most_common():
            self._progress.say(f"{count:,} {text}")

    def _tell_end(self, prefix: str) -> None:
        self._progress.end()
        self._tell_notes()
        seconds = self._progress.seconds()
        rate = self._progress.rate(self.counts)
        print(f"{prefix}{self.counts}; {seconds:.1f} s, {rate:,.0f} events/s", file=self._out, flush=True)


def _problem(verdict: Verdict) -> Problem:
    return Problem(verdict.code, verdict.path or "$", verdict.message or "")


def _judged(event: bytes, plan: JudgingPlan | None) -> Problem | None:
    if plan is None:
        return None
    rejected = plan.judge(msgspec.json.decode(event), "accept").rejected
    return None if rejected is None else _problem(rejected)
