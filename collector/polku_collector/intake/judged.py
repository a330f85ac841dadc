"""What goes into a judgement beside the events, and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from polku_schemas import Problem, ProblemCode

from ..batch import Line, QuarantineLine
from ..settings import Source
from .client_address import DROPPED, AddressRule
from .wire import ClientLoss


class Arrival(Struct, frozen=True):
    """What is known of a request beside its body."""

    received_at: datetime
    sent_at: datetime | None
    source_name: str
    source: Source
    body: bytes
    address: AddressRule = DROPPED


class Judged(Struct, frozen=True):
    """The outcome for a whole request: lines in the order of the items, and what to tell the sender."""

    lines: list[Line | QuarantineLine]
    rejected: list[Verdict]
    warnings: list[Verdict]
    losses: Sequence[ClientLoss] = ()
    """What the sender tells that it lost: the last lines."""
    unkept: int = 0
    """How many of those rejected have no line: `quarantine` takes no more from their source today."""

    @property
    def accepted(self) -> int:
        """How many of the lines are for `events`."""
        return len(self.lines) + self.unkept - len(self.rejected) - len(self.losses)


class Verdict(Struct, frozen=True, omit_defaults=True):
    """What the sender is told of one event that was not plainly accepted."""

    index: int
    message_id: str | None
    code: ProblemCode
    path: str
    message: str
    expected: str = ""
    came: str = ""


def verdict_of(index: int, message_id: str | None, problem: Problem) -> Verdict:
    """What the sender is told of a problem with an event."""
    return Verdict(index, message_id, problem.code, problem.path, problem.message, problem.expected, problem.came)
