"""Sources that refuse robots: events that the lake would mark `is_bot` are told apart and not stored."""

from __future__ import annotations

from collections.abc import Callable

from polku_schemas import Problem, ProblemCode

from ..batch import Line, QuarantineLine
from .judged import Judged, Verdict, verdict_of

IsBot = Callable[[str], bool]
"""Whether a user agent is a robot's, as the lake sees it."""

_MESSAGE = "the user agent is a robot's, and the source does not take those; it was not stored"


def without_bots(judged: Judged, is_bot: IsBot) -> tuple[Judged, list[Verdict]]:
    """What is stored, and what the sender is told of the rest. An event that broke the plan stays in quarantine."""
    kept: list[Line | QuarantineLine] = []
    refused: list[Verdict] = []
    for index, line in enumerate(judged.lines):
        if isinstance(line, Line) and (agent := line.context and line.context.user_agent) and is_bot(agent):
            problem = Problem(ProblemCode.BOT, "$.context.userAgent", _MESSAGE)
            refused.append(verdict_of(index, line.event_id, problem))
        else:
            kept.append(line)
    if not refused:
        return judged, refused
    gone = {verdict.index for verdict in refused}
    warnings = [warning for warning in judged.warnings if warning.index not in gone]
    return Judged(kept, judged.rejected, warnings), refused
