"""Decide each event of a request once: a line for `events`, or a line for `quarantine` and a verdict. Pure.

Everything that later stages need is decided here: route, times, names, version. Bad data is never an exception. What
the parts of an event come to stands in `envelope`, `contents` and `clock`, what is kept of a bad one in `quarantined`.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
from isal.isal_zlib import crc32
from msgspec import UNSET, Struct

from polku_schemas import CompiledEvent, CompiledPlan, Problem, ProblemCode
from polku_schemas.privacy import Protection

from ..batch import Context, Id, Line, QuarantineLine
from ..settings import Limits, Source
from .clock import Clock, time_replaced
from .contents import Contents, ContentsReader
from .envelope import call_problem, id_of, merged, settle
from .judged import Arrival, Judged, Verdict, verdict_of
from .quarantined import Around, quarantine_line
from .wire import ODD, Body, WireEvent, raw_items

# Of one answer: a client that sends nothing but unplanned events needs to hear it a few times, not ten thousand.
MAX_WARNINGS = 50

_EMPTY = b"{}"
_encode = msgspec.json.Encoder().encode


class Validator:
    """Judges requests against one compiled plan. `new_id` names events whose client did not.

    What `protection` does not let be stored is in no line that comes out.
    """

    def __init__(
        self, plan: CompiledPlan, limits: Limits, new_id: Callable[[], str], protection: Protection | None = None
    ) -> None:
        self._plan, self._limits, self._new_id = plan, limits, new_id
        self._protection = protection or None  # falsy: there is nothing to protect
        self._contents = ContentsReader(plan, limits, self._protection).read
        self._quarantined = partial(quarantine_line, max_bytes=limits.max_quarantine_bytes, protection=self._protection)

    def planned(self, call: str, name: str | None) -> CompiledEvent | None:
        """The event of the plan that a call means."""
        return self._plan.find(call, name)

    def judge(self, body: Body, arrival: Arrival) -> Judged:
        """Decide every item of the body. Never raises for anything a client can send."""
        lines: list[Line | QuarantineLine] = []
        rejected: list[Verdict] = []
        warnings: list[Verdict] = []
        request = Request.of(arrival, body.context)
        around: Around | None = None  # made once, and only if an event is bad
        if body.events is not None:
            raws: list[bytes] | None = None  # found once, and only if an event is bad
            for index, event in enumerate(body.events):
                outcome = self._event(event, None, False, request)
                if type(outcome) is Line:
                    lines.append(outcome)
                elif isinstance(outcome, Problem):
                    raws = raws or raw_items(arrival.body, body.events)
                    around = around or Around.of(body.context, request.clock, self._limits.max_quarantine_bytes)
                    lines.append(self._quarantined(event, outcome, raws[index], arrival, around))
                    rejected.append(verdict_of(index, event.message_id, outcome))
                elif isinstance(outcome, Warned):
                    lines.append(outcome.line)
                    if len(warnings) < MAX_WARNINGS:
                        warnings.append(verdict_of(index, outcome.line.event_id, outcome.warning))
            return Judged(lines, rejected, warnings)
        for index, item in enumerate(body.items or ()):
            decided: Line | Warned | Problem | None = item.problem
            if item.event is not None:
                extra = item.context_extra
                if body.context_extra:
                    extra = {**body.context_extra, **(extra or {})}
                decided = self._event(item.event, extra, item.repaired, request)
            if isinstance(decided, Line):
                lines.append(decided)
            elif isinstance(decided, Warned):
                lines.append(decided.line)
                if len(warnings) < MAX_WARNINGS:
                    warnings.append(verdict_of(index, decided.line.event_id, decided.warning))
            elif decided is not None:
                around = around or Around.of(body.context, request.clock, self._limits.max_quarantine_bytes)
                lines.append(self._quarantined(item.event, decided, item.raw or b"", arrival, around))
                rejected.append(verdict_of(index, item.event.message_id if item.event else None, decided))
        return Judged(lines, rejected, warnings)

    def _event(
        self, event: WireEvent, context_extra: dict[str, Any] | None, repaired: bool, request: Request
    ) -> Line | Warned | Problem:
        # Written out, with few calls: this runs for every event, and a call costs as much as decoding a property.
        call, name = event.type, event.event
        planned = self._plan.find(call, name) if call is not None else None
        if planned is None:
            problem = call_problem(call, name)
            if problem is not None:
                return problem
        assert call is not None  # noqa: S101  (else it was a problem)
        user_id: Id | Problem | None = event.user_id
        anonymous_id: Id | Problem | None = event.anonymous_id
        if type(user_id) is not str and user_id is not None:
            user_id = id_of(user_id, "$.userId")
            if isinstance(user_id, Problem):
                return user_id
        if type(anonymous_id) is not str and anonymous_id is not None:
            anonymous_id = id_of(anonymous_id, "$.anonymousId")
            if isinstance(anonymous_id, Problem):
                return anonymous_id
        if not user_id and not anonymous_id:
            return Problem(ProblemCode.MISSING_ID, "$", "an event needs a userId or an anonymousId")

        context, channel = event.context, request.channel
        if context is None:
            context = request.context
            if request.problem is not None:
                return request.problem
        else:
            channel = context.channel or channel
            problem = settle(context)
            if problem is not None or request.problem is not None:
                return problem or request.problem  # type: ignore[return-value]  # one of them is one
            if request.context is not None:
                context = merged(request.context, context)

        raw, traits_raw = event.properties, event.traits
        digest = crc32((name or call).encode())
        size = 0
        if raw is not UNSET:
            size = len(raw)
            digest = crc32(raw, digest)
        if traits_raw is not UNSET:
            size += len(traits_raw)
            digest = crc32(traits_raw, digest)
        if size > self._limits.max_event_bytes:
            message = f"{size} bytes of properties, at most {self._limits.max_event_bytes}"
            return Problem(ProblemCode.TOO_LARGE, "$.properties", message)

        contents: Contents | Problem | None = None
        values: Struct | None = None
        # The plain case, all of it in C: planned, no traits, nothing beside the plan.
        if planned is None or traits_raw is not UNSET or context_extra or repaired or event.name or event.category:
            contents = self._contents(event, planned, context_extra, repaired, request.source)
        else:
            try:
                values = planned.decode(raw if raw is not UNSET else _EMPTY)
            except ODD:
                contents = self._contents(event, planned, context_extra, repaired, request.source)
        if contents is not None:
            if isinstance(contents, Problem):
                return contents
            values = contents.values

        if planned is not None:
            # What the plan says goes over what the client says.
            channel = (
                planned.channel_of(values) if planned.channel_rules and values is not None else planned.channel
            ) or channel
        if self._protection is not None:
            protect = self._protection.events.get(planned.name) if planned is not None else None
            if protect is not None and values is not None:
                protect(values)
            if protect is not None or contents is not None:
                # Of what is stored: from a checksum of what is not, its values could be found by trying.
                beside = None if contents is None else (contents.traits, contents.page, contents.extra)
                digest = crc32(_encode((name or call, values, beside)))
        event_time, adjusted = request.clock.event_time(event.timestamp or event.original_timestamp, event.sent_at)
        line = Line(
            received_at=request.received_at,
            event_time=event_time,
            sent_at=request.clock.sent_at,
            event_id=event.message_id or self._new_id(),
            event_type=call,
            event_name=planned.name if planned is not None else name or call,
            schema_version=planned.version if planned is not None else None,
            source=request.source_name,
            channel=channel or request.source.channel,
            anonymous_id=anonymous_id or None,
            user_id=user_id or None,
            time_adjusted=adjusted,
            digest=digest,
            context=context,
            p=values,
        )
        if event.group_id is not None or event.previous_id is not None or (context and context.group_id is not None):
            group_id, previous_id = id_of(event.group_id, "$.groupId"), id_of(event.previous_id, "$.previousId")
            if isinstance(group_id, Problem):
                return group_id
            if isinstance(previous_id, Problem):
                return previous_id
            beside_id = id_of(context.group_id, "$.context.groupId") if context else None
            if isinstance(beside_id, Problem):
                return beside_id
            line.group_id, line.previous_id = group_id or beside_id, previous_id
        # A time of its own that is not this very object differs from it.
        replaced = time_replaced(request.source) if adjusted and event_time is request.received_at else None
        if contents is None:
            return line if replaced is None else Warned(line, replaced)
        line.t, line.extra, line.unplanned = contents.traits, contents.extra, contents.unplanned
        if contents.page is not None:
            own = Context(page=contents.page)
            line.context = own if context is None else merged(context, own)
        warning = replaced or contents.warning
        return line if warning is None else Warned(line, warning)


class Request(Struct, frozen=True):
    """What all events of a request share, worked out once."""

    received_at: datetime
    source_name: str
    source: Source
    clock: Clock
    context: Context | None
    """What the batch says for all of them, as it is stored."""
    channel: str | None
    problem: Problem | None
    """What is wrong with that, and so with every event."""

    @classmethod
    def of(cls, arrival: Arrival, context: Context | None) -> Request:
        """`context`: what the batch says for all its events."""
        channel, problem = None, None
        if context is not None:
            channel, context = context.channel, copy(context)  # as it came it is kept beside what is refused
            problem = settle(context)
        clock = Clock.of(arrival)
        return cls(arrival.received_at, arrival.source_name, arrival.source, clock, context, channel, problem)


class Warned(Struct, frozen=True):
    """An accepted event of which the sender should hear something."""

    line: Line
    warning: Problem
