"""Decide each event of a request once: a line for `events`, or a line for `quarantine` and a verdict. Pure.

Everything that later stages need is decided here: route, times, names, version. Bad data is never an exception.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from copy import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from isal.isal_zlib import crc32
from msgspec import UNSET, Struct

from polku_schemas import Checked, CompiledEvent, CompiledPlan, Problem, ProblemCode
from polku_schemas.privacy import Protection

from ..batch import MAX_ID, MAX_NAME, MAX_TEXT, MAX_URL, Context, Id, Library, Line, Page, QuarantineLine
from ..settings import Limits, Source
from .client_address import DROPPED, AddressRule
from .protect import protected_extra, protected_item
from .shape import Shape
from .wire import MAX_EVENT_ID, Body, ClientLoss, WireEvent, context_text, raw_items

# A clock further off than this is corrected; nearer it is left alone, so that retries of an event agree.
SKEW_SECONDS = 60
# Of one answer: a client that sends nothing but unplanned events needs to hear it a few times, not ten thousand.
MAX_WARNINGS = 50

CALLS = frozenset(("track", "page", "screen", "identify", "group", "alias"))

_NOT_KEPT = "its text is not kept, because the plan's `privacy` cannot be applied to what is no JSON object"

_ODD = (msgspec.MsgspecError, ValueError, RecursionError)
_SKEW = timedelta(seconds=SKEW_SECONDS)
_EMPTY = b"{}"
_encode = msgspec.json.Encoder().encode


class Verdict(Struct, frozen=True, omit_defaults=True):
    """What the sender is told of one event that was not plainly accepted."""

    index: int
    message_id: str | None
    code: ProblemCode
    path: str
    message: str
    expected: str = ""
    came: str = ""


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


class Warned(Struct, frozen=True):
    """An accepted event of which the sender should hear something."""

    line: Line
    warning: Problem


class Around(Struct, frozen=True):
    """What an event's own bytes lack, kept beside them in `quarantine`: what the request said for all its events."""

    context: str | None
    library: Library | None
    sent_at: datetime | None

    @classmethod
    def of(cls, outer: Context | None, clock: Clock, limit: int) -> Around:
        if outer is None:
            return cls(None, None, clock.sent_at)
        return cls(context_text(outer, limit), outer.library, clock.sent_at)


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
        channel, problem = None, None
        if context is not None:
            channel, context = context.channel, copy(context)  # as it came it is kept beside what is refused
            problem = _settle(context)
        clock = Clock.of(arrival)
        return cls(arrival.received_at, arrival.source_name, arrival.source, clock, context, channel, problem)


class Contents(Struct, frozen=True):
    """What an event's properties and traits came to when they are not plainly what the plan says."""

    values: Struct | None
    traits: Struct | None
    page: Page | None
    extra: str | None
    unplanned: bool
    warning: Problem | None


class Validator:
    """Judges requests against one compiled plan. `new_id` names events whose client did not.

    What `protection` does not let be stored is in no line that comes out.
    """

    def __init__(
        self, plan: CompiledPlan, limits: Limits, new_id: Callable[[], str], protection: Protection | None = None
    ) -> None:
        self._plan, self._limits, self._new_id = plan, limits, new_id
        self._shape = Shape(limits.max_depth, limits.max_keys)
        self._protection = protection or None  # falsy: there is nothing to protect
        built_in = plan.find("identify", None)
        assert built_in is not None  # noqa: S101  (every plan has the built-in calls)
        self._no_properties = built_in  # whatever comes is unplanned

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
                    rejected.append(_verdict(index, event.message_id, outcome))
                elif isinstance(outcome, Warned):
                    lines.append(outcome.line)
                    if len(warnings) < MAX_WARNINGS:
                        warnings.append(_verdict(index, outcome.line.event_id, outcome.warning))
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
                    warnings.append(_verdict(index, decided.line.event_id, decided.warning))
            elif decided is not None:
                around = around or Around.of(body.context, request.clock, self._limits.max_quarantine_bytes)
                lines.append(self._quarantined(item.event, decided, item.raw or b"", arrival, around))
                rejected.append(_verdict(index, item.event.message_id if item.event else None, decided))
        return Judged(lines, rejected, warnings)

    def _event(
        self, event: WireEvent, context_extra: dict[str, Any] | None, repaired: bool, request: Request
    ) -> Line | Warned | Problem:
        # Written out, with few calls: this runs for every event, and a call costs as much as decoding a property.
        call, name = event.type, event.event
        planned = self._plan.find(call, name) if call is not None else None
        if planned is None:
            problem = _call_problem(call, name)
            if problem is not None:
                return problem
        assert call is not None  # noqa: S101  (else it was a problem)
        user_id: Id | Problem | None = event.user_id
        anonymous_id: Id | Problem | None = event.anonymous_id
        if type(user_id) is not str and user_id is not None:
            user_id = _id(user_id, "$.userId")
            if isinstance(user_id, Problem):
                return user_id
        if type(anonymous_id) is not str and anonymous_id is not None:
            anonymous_id = _id(anonymous_id, "$.anonymousId")
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
            problem = _settle(context)
            if problem is not None or request.problem is not None:
                return problem or request.problem  # type: ignore[return-value]  # one of them is one
            if request.context is not None:
                context = _merged(request.context, context)

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
            except _ODD:
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
            group_id, previous_id = _id(event.group_id, "$.groupId"), _id(event.previous_id, "$.previousId")
            if isinstance(group_id, Problem):
                return group_id
            if isinstance(previous_id, Problem):
                return previous_id
            beside_id = _id(context.group_id, "$.context.groupId") if context else None
            if isinstance(beside_id, Problem):
                return beside_id
            line.group_id, line.previous_id = group_id or beside_id, previous_id
        # A time of its own that is not this very object differs from it.
        replaced = _time_replaced(request.source) if adjusted and event_time is request.received_at else None
        if contents is None:
            return line if replaced is None else Warned(line, replaced)
        line.t, line.extra, line.unplanned = contents.traits, contents.extra, contents.unplanned
        if contents.page is not None:
            own = Context(page=contents.page)
            line.context = own if context is None else _merged(context, own)
        warning = replaced or contents.warning
        return line if warning is None else Warned(line, warning)

    def _contents(
        self,
        event: WireEvent,
        planned: CompiledEvent | None,
        context_extra: dict[str, Any] | None,
        repaired: bool,
        source: Source,
    ) -> Contents | Problem:
        """Everything that is not the plain case: traits, unplanned members, repairs, page calls."""
        call, name = event.type or "", event.event
        raw = bytes(event.properties) if event.properties is not UNSET else _EMPTY
        if raw == b"null":
            raw = _EMPTY
        # What the plan knows is as deep as the plan says; anything else may come here.
        problem = self._shape.problem(raw, "$.properties", 1)
        if problem is not None:
            return problem
        if event.name is not None or event.category is not None:
            raw = _with_page_name(raw, call, event.name, event.category)
        extra: dict[str, Any] = {}
        properties = _decoded(planned or self._no_properties, raw)
        if isinstance(properties, Problem):
            return properties
        page: Page | None = None
        if properties.unplanned or planned is None:
            extra["properties"] = properties.unplanned
            if call == "page":
                page = _page_from(extra["properties"])
                if not extra["properties"]:
                    del extra["properties"]

        context_extra = dict(context_extra or {})
        traits_raw = bytes(event.traits) if event.traits is not UNSET else None
        if traits_raw is None and isinstance(context_extra.get("traits"), dict):
            traits_raw = _encode(context_extra.pop("traits"))
        traits: Checked | None = None
        if traits_raw is not None and traits_raw != b"null":
            problem = self._shape.problem(traits_raw, "$.traits", 1)
            if problem is not None:
                return problem
            # A group's traits describe the group: in the trait columns they would be taken for the person's.
            found = _decoded(self._no_properties if call == "group" else self._plan.traits, traits_raw)
            if isinstance(found, Problem):
                return found
            traits = found
            if found.unplanned:
                extra["traits"] = found.unplanned

        beside = [*extra.get("properties", ()), *(extra.get("traits", ()) if call != "group" else ())]
        path = "$.properties" if extra.get("properties") else "$.traits"
        warning: Problem | None = None
        if planned is None:
            message = f"the plan has no event {name or call!r}"
            if source.unplanned == "quarantine":
                return Problem(ProblemCode.UNKNOWN_EVENT, "$.event", message)
            warning = Problem(ProblemCode.UNKNOWN_EVENT, "$.event", f"{message}; kept in `extra`")
        elif beside:
            if source.unplanned == "quarantine":
                return Problem(ProblemCode.UNKNOWN_PROPERTY, path, f"not in the plan: {', '.join(beside)}")
            message = f"not in the plan, kept in `extra`: {', '.join(beside)}"
            warning = Problem(ProblemCode.UNKNOWN_PROPERTY, path, message)
        if repaired or properties.repaired or (traits is not None and traits.repaired):
            message = "text with half of a cut emoji (a lone surrogate) was stored with U+FFFD in its place"
            warning = Problem(ProblemCode.REPAIRED_TEXT, "$", message)
        if context_extra:
            extra["context"] = context_extra
        if self._protection is not None:
            extra = protected_extra(self._protection, extra) if extra else extra
            if self._protection.traits is not None and traits is not None and call != "group":
                self._protection.traits(traits.values)
        return Contents(
            values=properties.values if planned is not None else None,
            traits=traits.values if traits is not None and call != "group" else None,
            page=page,
            extra=_encode(extra).decode() if extra else None,
            unplanned=planned is None or bool(beside),
            warning=warning,
        )

    def _quarantined(
        self, event: WireEvent | None, problem: Problem, raw: bytes, arrival: Arrival, around: Around
    ) -> QuarantineLine:
        message = problem.message
        raw = arrival.address.in_original(raw)
        if self._protection is not None:
            protected = protected_item(self._protection, raw)
            if protected is None:
                message += f"; {_NOT_KEPT}"
            raw = protected or b""
        original, encoded = original_text(raw, self._limits.max_quarantine_bytes)
        own = event.context.library if event and event.context else None
        library = own or around.library or Library()
        return QuarantineLine(
            received_at=arrival.received_at,
            source=arrival.source_name,
            event_id=event.message_id[:MAX_EVENT_ID] if event and event.message_id else None,
            event_type=event.type[:MAX_NAME] if event and event.type else None,
            event_name=event.event[:MAX_NAME] if event and event.event else None,
            code=problem.code,
            path=problem.path,
            message=message,
            original=original or None,
            original_base64=encoded,
            context=around.context,
            sent_at=around.sent_at,
            library=_cut(library.name),
            library_version=_cut(library.version),
        )


class Clock(Struct, frozen=True):
    """How the times of one request's events are corrected and bounded; worked out once a request.

    A client clock that is more than a minute off (seen by comparing the attempt's send time with ours) shifts its
    events. A time outside the source's bounds is replaced by the time of receipt. A historical source is believed.
    """

    received_at: datetime
    sent_at: datetime | None
    skew: timedelta | None
    earliest: datetime
    latest: datetime

    @classmethod
    def of(cls, arrival: Arrival) -> Clock:
        received_at, source = arrival.received_at, arrival.source
        sent_at = None if arrival.sent_at is None else _utc(arrival.sent_at)
        if source.historical:
            return cls(received_at, sent_at, None, _FIRST, _LAST)
        return cls(
            received_at,
            sent_at,
            _skew(received_at, sent_at),
            received_at - timedelta(days=source.max_past_days),
            received_at + timedelta(minutes=source.max_future_minutes),
        )

    def event_time(self, claimed: datetime | None, sent_at: datetime | None = None) -> tuple[datetime, bool]:
        """When the event happened, by our clock, and whether that differs from what the client claimed.

        `sent_at`: the item's own send time, looked at when the request as a whole has none.
        """
        if claimed is None:
            return self.received_at, False
        event_time = claimed if claimed.tzinfo is UTC else _utc(claimed)
        skew = self.skew
        if sent_at is not None and self.sent_at is None and self.latest is not _LAST:
            skew = _skew(self.received_at, _utc(sent_at))
        if skew is not None:
            try:
                event_time += skew
            except OverflowError:
                return self.received_at, True
        if not self.earliest <= event_time <= self.latest:
            return self.received_at, True
        return event_time, skew is not None


_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def _skew(received_at: datetime, sent_at: datetime | None) -> timedelta | None:
    """How far the client's clock is off, if it is far enough to matter."""
    if sent_at is None:
        return None
    skew = received_at - sent_at
    return skew if abs(skew) > _SKEW else None


def original_text(raw: bytes, limit: int) -> tuple[str | None, str | None]:
    """An event's bytes for `quarantine`: as text, or as base64 when they are not UTF-8; cut at `limit` bytes."""
    try:
        return raw[:limit].decode("utf-8", "strict" if len(raw) <= limit else "ignore"), None
    except UnicodeDecodeError:
        return None, base64.b64encode(raw[:limit]).decode()


def _call_problem(call: str | None, name: str | None) -> Problem | None:
    if call is None:
        return Problem(ProblemCode.MISSING_TYPE, "$.type", "the item has no type")
    if call not in CALLS:
        return Problem(ProblemCode.UNKNOWN_TYPE, "$.type", f"{call[:64]!r} is none of {', '.join(sorted(CALLS))}")
    if call == "track" and not name:
        return Problem(ProblemCode.MISSING_EVENT_NAME, "$.event", "a track call needs an event name")
    if name is not None and len(name) > MAX_NAME:
        return Problem(ProblemCode.TOO_LONG, "$.event", f"{len(name)} characters, at most {MAX_NAME}")
    return None


def _id(value: object, path: str) -> str | Problem | None:
    """Ids are text; numbers become text; empty means none."""
    if value is None:
        return None
    if type(value) is not str:
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            value = int(value)
        value = str(value)
    if len(value) > MAX_ID:
        return Problem(ProblemCode.INVALID_ID, path, f"{len(value)} characters, at most {MAX_ID}")
    return value or None


def _settle(context: Context) -> Problem | None:
    """Make of a context what is stored of it, in place. Its channel becomes a column of the line."""
    context.ip = None  # whatever it is: an address is not stored
    context.channel = None
    page = context.page
    if page is not None:
        page.search = None
    if type(context.session_id) is not str:
        session_id = _id(context.session_id, "$.context.sessionId")
        if isinstance(session_id, Problem):
            return session_id
        context.session_id = session_id
    elif not context.session_id:
        context.session_id = None
    return None


def _merged(outer: Context, own: Context) -> Context:
    """A new context: the item's own members over the batch's, also within the page."""
    context = Context()
    for name in Context.__struct_fields__:
        around, inner = getattr(outer, name), getattr(own, name)
        if inner is None:
            setattr(context, name, around)
        elif around is None or not isinstance(inner, Page):
            setattr(context, name, inner)
        else:
            both = ((getattr(inner, field), getattr(around, field)) for field in Page.__struct_fields__)
            context.page = Page(*(mine or theirs for mine, theirs in both))
    return context


def _cut(text: str | None, most: int = MAX_TEXT) -> str | None:
    """Texts of the context are cut, not refused: they describe the event and do not make it."""
    return text if text is None or len(text) <= most else text[:most]


def _utc(time: datetime) -> datetime:
    """The same moment in UTC; a time without zone is taken as UTC, as Segment's servers do."""
    if time.tzinfo is UTC:
        return time
    if time.tzinfo is None:
        return time.replace(tzinfo=UTC)
    try:
        return time.astimezone(UTC)
    except OverflowError:  # the first and last hours of the calendar
        return time.replace(tzinfo=UTC)


def _decoded(planned: CompiledEvent, raw: bytes) -> Checked | Problem:
    """The fast path if the bytes are plainly what the plan says, else the one that explains and repairs."""
    try:
        return Checked(planned.decode(raw), {}, False)
    except _ODD:
        return planned.check(raw)


def _with_page_name(raw: bytes, call: str, name: str | None, category: str | None) -> bytes:
    """`name` and `category` of a page or screen call as properties of the plan."""
    if call not in ("page", "screen") or not raw.lstrip().startswith(b"{"):
        return raw
    given = {f"{call}_name": name, f"{call}_category": category}
    head = _encode({key: value for key, value in given.items() if value is not None})
    rest = raw.lstrip()[1:].lstrip()
    return head[:-1] + (b"}" if rest.startswith(b"}") else b"," + rest)


def _page_from(properties: dict[str, Any]) -> Page:
    """Page calls repeat the page's address in their properties: it belongs to the page columns."""
    page = Page(
        **{
            name: _cut(properties.pop(name), MAX_TEXT if name == "title" else MAX_URL)
            for name in Page.__struct_fields__
            if name in properties and isinstance(properties[name], str | None)
        }
    )
    page.search = None  # a part of the URL
    return page


def _time_replaced(source: Source) -> Problem:
    """Whoever sends the past to a source that does not take it would else find it in the present, and not know why."""
    message = (
        f"the time is more than {source.max_past_days} days ago or {source.max_future_minutes} minutes ahead: that of "
        "receipt stands in its place; a source that is `historical` keeps it"
    )
    return Problem(ProblemCode.TIME_REPLACED, "$.timestamp", message)


def _verdict(index: int, message_id: str | None, problem: Problem) -> Verdict:
    return Verdict(index, message_id, problem.code, problem.path, problem.message, problem.expected, problem.came)
