"""What the sender is told of a request, as JSON."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from .judged import Verdict
from .refused import Refused


class Answer(Struct, frozen=True, omit_defaults=True):
    """The JSON of a 200. `warnings`: stored, but not as the plan has it."""

    success: bool
    accepted: int
    rejected: list[Verdict]
    warnings: list[Verdict] = []


class ErrorAnswer(Struct, frozen=True, omit_defaults=True):
    """The JSON of every other status: `error` is stable, `message` says what to do."""

    success: bool
    error: str
    message: str
    path: str | None = None


class Taken(Struct):
    """What became of a request that was stored. `bots`: verdicts on events of robots, which were not."""

    accepted: int
    rejected: list[Verdict]
    warnings: list[Verdict]
    bots: Sequence[Verdict]
    waited_seconds: float = 0.0
    """For the lake, after all was durable."""


def answer_of(taken: Taken) -> bytes:
    """The JSON of a 200."""
    rejected, bots = taken.rejected, taken.bots
    if not rejected and not taken.warnings and not bots:
        return b'{"success":true,"accepted":%d,"rejected":[]}' % taken.accepted
    if bots:
        rejected = sorted([*rejected, *bots], key=lambda verdict: verdict.index)
    return _encode(Answer(True, taken.accepted, rejected, taken.warnings))


def error_of(refused: Refused) -> bytes:
    """The JSON of every other status."""
    return _encode(ErrorAnswer(False, refused.error, refused.message, refused.path))


_encode = msgspec.json.Encoder().encode
