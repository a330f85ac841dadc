"""What becomes of events that pass: pure decisions about their ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from ..batch import Line
from .known import Answer, Holder
from .rows import Quarantined

Fate = Literal["replay", "duplicate", "taken", "later"]
"""`replay`: it becomes a row of `events`. `duplicate`: a copy of one that does, it only leaves `quarantine`.

`taken`: its id belongs to another event, it stays. `later`: it came after this run began.
"""


class Passed(Struct):
    """A row of `quarantine` and the line that it is now."""

    row: Quarantined
    line: Line

    @property
    def key(self) -> tuple[str, str]:
        """What makes an event the same event."""
        return self.line.source, self.line.event_id


def in_order(passed: Sequence[Passed]) -> list[Passed]:
    """Of several events with one id the first received goes first."""
    return sorted(passed, key=lambda one: (one.row.received_at, *one.row.position))


def fates(passed: Sequence[Passed], answers: Sequence[Answer]) -> list[Fate]:
    """One for each event, which are in order; `answers` says who has their ids in the table."""
    here: dict[tuple[str, str], int] = {}
    found: list[Fate] = []
    for one, answer in zip(passed, answers, strict=True):
        if isinstance(answer, Holder):
            found.append("duplicate" if answer.digest == one.line.digest else "taken")
        elif answer == "not asked" and one.line.event_id != one.row.made_id:
            found.append("later")
        elif one.key in here:
            found.append("duplicate" if here[one.key] == one.line.digest else "taken")
        else:
            here[one.key] = one.line.digest
            found.append("replay")
    return found
