"""Decide each event of a request once: a line for `events`, or a line for `quarantine` and a verdict. Pure.

Everything that later stages need is decided here: route, times, names, version. Bad data is never an exception.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

import msgspec
from msgspec import Raw, Struct

from polku_schemas import Checked, CompiledEvent, CompiledPlan, Problem, ProblemCode

from ..batch import Line, QuarantineLine
from ..settings import Limits, Source
from .split import NotJson, items, members
from .wire import Body, Campaign, Context, Id, Item, Library, Page, WireEvent

# A clock further off than this is corrected; nearer it is left alone, so that retries of an event agree.
SKEW_SECONDS = 60
MAX_EVENT_ID = 128
MAX_ID = 1024
MAX_NAME = 256
# Of one answer: a client that sends nothing but unplanned events needs to hear it a few times, not ten thousand.
MAX_WARNINGS = 50

CALLS = frozenset(("track", "page", "screen", "identify", "group", "alias"))

_ODD = (msgspec.MsgspecError, ValueError, RecursionError)
_SKEW = timedelta(seconds=SKEW_SECONDS)
_NO_CONTEXT, _NO_LIBRARY, _NO_PAGE, _NO_CAMPAIGN = Context(), Library(), Page(), Campaign()
_EMPTY = b"{}"
_encode = msgspec.json.Encoder().encode
_decode_any = msgspec.json.Decoder().decode


class Verdict(Struct, frozen=True, omit_defaults=True):
    """What the sender is told of one event that was not plainly accepted."""

    index: int
    message_id: str | None
    code: ProblemCode
    path: str
    message: str


class Arrival(Struct, frozen=True):
    """What is known of a request beside its body."""

    received_at: datetime
    sent_at: datetime | None
    source_name: str
    source: Source
    body: bytes


class Judged(Struct, frozen=True):
    """The outcome for a whole request: lines in the order of the items, and what to tell the sender."""

    lines: list[Line | QuarantineLine]
    rejected: list[Verdict]
    warnings: list[Verdict]


class Accepted(Struct, frozen=True):
    """One event on its way into `events`, and what to warn of."""

    line: Line
    warning: Problem | None = None


class Validator:
    """Judges requests against one compiled plan. `new_id` names events whose client did not."""

    def __init__(self, plan: CompiledPlan, limits: Limits, new_id: Callable[[], str]) -> None:
        self._plan, self._limits, self._new_id = plan, limits, new_id
        built_in = plan.find("identify", None)
        assert built_in is not None  # noqa: S101  (every plan has the built-in calls)
        self._unplanned = built_in  # it has no properties of its own: whatever comes is unplanned

    def judge(self, body: Body, arrival: Arrival) -> Judged:
        """Decide every item of the body. Never raises for anything a client can send."""
        lines: list[Line | QuarantineLine] = []
        rejected: list[Verdict] = []
        warnings: list[Verdict] = []
        everything: Sequence[WireEvent | Item] = body.events if body.events is not None else body.items or []
        for index, item in enumerate(everything):
            outcome: Accepted | Problem | None
            event: WireEvent | None
            if isinstance(item, WireEvent):
                event, extra, repaired, outcome = item, None, False, None
            else:
                event, extra, repaired, outcome = item.event, item.context_extra, item.repaired, item.problem
            if event is not None:
                outcome = self._event(event, body.context, extra, repaired, arrival)
            if isinstance(outcome, Accepted):
                lines.append(outcome.line)
                if outcome.warning is not None:
                    warnings.append(_verdict(index, outcome.line.event_id, outcome.warning))
            else:
                assert outcome is not None  # noqa: S101  (an item is an event or a problem)
                raw = item.raw if isinstance(item, Item) and item.raw is not None else _raw_item(arrival.body, index)
                lines.append(self._quarantined(event, outcome, raw, arrival))
                rejected.append(_verdict(index, event.message_id if event else None, outcome))
        return Judged(lines, rejected, warnings[:MAX_WARNINGS])

    def _event(
        self,
        event: WireEvent,
        outer: Context | None,
        context_extra: dict[str, Any] | None,
        repaired: bool,
        arrival: Arrival,
    ) -> Accepted | Problem:
        call = event.type
        if call not in CALLS:
            if call is None:
                return Problem(ProblemCode.MISSING_TYPE, "$.type", "the item has no type")
            return Problem(ProblemCode.UNKNOWN_TYPE, "$.type", f"{call[:64]!r} is none of {', '.join(sorted(CALLS))}")
        name = event.event
        if call == "track" and not name:
            return Problem(ProblemCode.MISSING_EVENT_NAME, "$.event", "a track call needs an event name")
        if name is not None and len(name) > MAX_NAME:
            return Problem(ProblemCode.TOO_LONG, "$.event", f"{len(name)} characters, at most {MAX_NAME}")

        context = event.context
        if context is None:
            context = outer or _NO_CONTEXT
        elif outer is not None:
            context = _merged(context, outer)

        try:
            event_id = event.message_id or self._new_id()
            user_id = _id(event.user_id, "$.userId")
            anonymous_id = _id(event.anonymous_id, "$.anonymousId")
            group_id = _id(event.group_id if event.group_id is not None else context.group_id, "$.groupId")
            previous_id = _id(event.previous_id, "$.previousId")
            session_id = _id(context.session_id, "$.context.sessionId")
        except _BadIdError as error:
            return error.problem
        if len(event_id) > MAX_EVENT_ID:
            message = f"{len(event_id)} characters, at most {MAX_EVENT_ID}"
            return Problem(ProblemCode.INVALID_ID, "$.messageId", message)
        if user_id is None and anonymous_id is None:
            return Problem(ProblemCode.MISSING_ID, "$", "an event needs a userId or an anonymousId")

        planned = self._plan.find(call, name)
        properties = event.properties if isinstance(event.properties, Raw) else None
        traits = event.traits if isinstance(event.traits, Raw) else None
        raw = bytes(properties) if properties is not None else _EMPTY
        if raw == b"null":
            raw = _EMPTY
        traits_raw = bytes(traits) if traits is not None else None
        if len(raw) + len(traits_raw or b"") > self._limits.max_event_bytes:
            message = f"{len(raw)} bytes of properties, at most {self._limits.max_event_bytes}"
            return Problem(ProblemCode.TOO_LARGE, "$.properties", message)
        digest = crc32(raw, crc32((name or call).encode()))
        if traits_raw is not None:
            digest = crc32(traits_raw, digest)
        if event.name is not None or event.category is not None:
            raw = _with_page_name(raw, call, event.name, event.category)

        extra: dict[str, Any] = {}
        warning: Problem | None = None
        values: Struct | None = None
        if planned is None:
            if arrival.source.unplanned == "quarantine":
                return Problem(ProblemCode.UNKNOWN_EVENT, "$.event", f"the plan has no event {name!r}")
            checked = self._unplanned.check(raw)
            if isinstance(checked, Problem):
                return checked
            extra["properties"] = checked.unplanned
            repaired = repaired or checked.repaired
            warning = Problem(ProblemCode.UNKNOWN_EVENT, "$.event", f"the plan has no event {name!r}; kept in `extra`")
        else:
            outcome = _decoded(planned, raw)
            if isinstance(outcome, Problem):
                return outcome
            if isinstance(outcome, Checked):
                values, repaired = outcome.values, repaired or outcome.repaired
                if outcome.unplanned:
                    extra["properties"] = outcome.unplanned
            else:
                values = outcome

        trait_values: Struct | None = None
        if traits_raw is None and context_extra and isinstance(context_extra.get("traits"), dict):
            traits_raw = _encode(context_extra.pop("traits"))
        if traits_raw is not None and traits_raw != b"null":
            # A group's traits describe the group: in the trait columns they would be taken for the person's.
            outcome = self._unplanned.check(traits_raw) if call == "group" else _decoded(self._plan.traits, traits_raw)
            if isinstance(outcome, Problem):
                return outcome
            if isinstance(outcome, Checked):
                trait_values, repaired = outcome.values, repaired or outcome.repaired
                if outcome.unplanned:
                    extra["traits"] = outcome.unplanned
            else:
                trait_values = outcome

        page = context.page or _NO_PAGE
        if call == "page" and "properties" in extra:
            page = _page_from(extra["properties"], page)
            if not extra["properties"]:
                del extra["properties"]
        if context_extra:
            extra["context"] = context_extra

        unplanned = bool(planned is None or extra.get("properties") or (extra.get("traits") and call != "group"))
        if unplanned and planned is not None:
            what = ", ".join([*extra.get("properties", ()), *extra.get("traits", ())])
            path = "$.properties" if "properties" in extra else "$.traits"
            if arrival.source.unplanned == "quarantine":
                return Problem(ProblemCode.UNKNOWN_PROPERTY, path, f"not in the plan: {what}")
            warning = Problem(ProblemCode.UNKNOWN_PROPERTY, path, f"not in the plan, kept in `extra`: {what}")
        if repaired:
            message = "text with half of a cut emoji (a lone surrogate) was stored with U+FFFD in its place"
            warning = Problem(ProblemCode.REPAIRED_TEXT, "$", message)

        sent_at = arrival.sent_at or event.sent_at
        event_time, adjusted = corrected_time(
            event.timestamp or event.original_timestamp, sent_at, arrival.received_at, arrival.source
        )
        campaign = context.campaign or _NO_CAMPAIGN
        library = context.library or _NO_LIBRARY
        channel = context.channel or arrival.source.channel
        if planned is not None:
            channel = (planned.channel_of(values) if values is not None else planned.channel) or channel
        line = Line(
            received_at=arrival.received_at,
            event_time=event_time,
            sent_at=None if sent_at is None else _utc(sent_at),
            event_id=event_id,
            event_type=call,
            event_name=planned.name if planned is not None else name or call,
            schema_version=planned.version if planned is not None else None,
            source=arrival.source_name,
            channel=channel,
            anonymous_id=anonymous_id,
            user_id=user_id,
            group_id=group_id,
            previous_id=previous_id,
            session_id=session_id,
            page_url=page.url,
            page_path=page.path,
            page_title=page.title,
            referrer=page.referrer,
            utm_source=campaign.source,
            utm_medium=campaign.medium,
            utm_campaign=campaign.name,
            utm_term=campaign.term,
            utm_content=campaign.content,
            user_agent=context.user_agent,
            locale=context.locale,
            timezone=context.timezone,
            library=library.name,
            library_version=library.version,
            time_adjusted=adjusted,
            unplanned=unplanned,
            consent=context.consent,
            digest=digest,
            p=values,
            t=trait_values,
            extra=_encode(extra).decode() if extra else None,
        )
        return Accepted(line, warning)

    def _quarantined(self, event: WireEvent | None, problem: Problem, raw: bytes, arrival: Arrival) -> QuarantineLine:
        original, encoded = original_text(raw, self._limits.max_quarantine_bytes)
        return QuarantineLine(
            received_at=arrival.received_at,
            source=arrival.source_name,
            event_id=event.message_id[:MAX_EVENT_ID] if event and event.message_id else None,
            event_type=event.type[:MAX_NAME] if event and event.type else None,
            event_name=event.event[:MAX_NAME] if event and event.event else None,
            code=problem.code,
            path=problem.path,
            message=problem.message,
            original=original,
            original_base64=encoded,
        )


def corrected_time(
    claimed: datetime | None, sent_at: datetime | None, received_at: datetime, source: Source
) -> tuple[datetime, bool]:
    """When the event happened, by the collector's clock, and whether that differs from what the client claimed.

    A client clock that is more than a minute off (seen by comparing the attempt's send time with ours) shifts its
    events. A time outside the source's bounds is replaced by the time of receipt. A historical source is believed.
    """
    if claimed is None:
        return received_at, False
    event_time, adjusted = _utc(claimed), False
    if source.historical:
        return event_time, False
    try:
        if sent_at is not None and abs(skew := received_at - _utc(sent_at)) > _SKEW:
            event_time, adjusted = event_time + skew, True
        if event_time > received_at + timedelta(minutes=source.max_future_minutes):
            return received_at, True
        if event_time < received_at - timedelta(days=source.max_past_days):
            return received_at, True
    except OverflowError:
        return received_at, True
    return event_time, adjusted


def original_text(raw: bytes, limit: int) -> tuple[str | None, str | None]:
    """An event's bytes for `quarantine`: as text, or as base64 when they are not UTF-8; cut at `limit` bytes."""
    try:
        return raw[:limit].decode("utf-8", "strict" if len(raw) <= limit else "ignore"), None
    except UnicodeDecodeError:
        return None, base64.b64encode(raw[:limit]).decode()


class _BadIdError(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


def _id(value: Id, path: str) -> str | None:
    """Ids are text; numbers become text; empty means none."""
    if value is None:
        return None
    if not isinstance(value, str):
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            value = int(value)
        value = str(value)
    if len(value) > MAX_ID:
        message = f"{len(value)} characters, at most {MAX_ID}"
        raise _BadIdError(Problem(ProblemCode.INVALID_ID, path, message))
    return value or None


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


def _decoded(planned: CompiledEvent, raw: bytes) -> Struct | Checked | Problem:
    """The fast path if the bytes are plainly what the plan says, else the one that explains and repairs."""
    try:
        return planned.decode(raw)
    except _ODD:
        return planned.check(raw)


def _merged(context: Context, outer: Context) -> Context:
    """The item's context over the batch's, member by member."""
    return Context(
        **{
            name: value if (value := getattr(context, name)) is not None else getattr(outer, name)
            for name in Context.__struct_fields__
        }
    )


def _with_page_name(raw: bytes, call: str, name: str | None, category: str | None) -> bytes:
    """`name` and `category` of a page or screen call as properties of the plan."""
    if call not in ("page", "screen") or not raw.lstrip().startswith(b"{"):
        return raw
    given = {f"{call}_name": name, f"{call}_category": category}
    head = _encode({key: value for key, value in given.items() if value is not None})
    rest = raw.lstrip()[1:].lstrip()
    return head[:-1] + (b"}" if rest.startswith(b"}") else b"," + rest)


def _page_from(properties: dict[str, Any], page: Page) -> Page:
    """Page calls repeat the page's address in their properties: it belongs to the page columns."""
    found = {
        name: properties.pop(name)
        for name in Page.__struct_fields__
        if isinstance(properties.get(name), str | None) and name in properties
    }
    return Page(**{name: getattr(page, name) or found.get(name) for name in Page.__struct_fields__})


def _raw_item(body: bytes, index: int) -> bytes:
    """An item's bytes as they came; found only when needed, since good events do not need it."""
    try:
        outer = members(body)
        return items(outer["batch"])[index] if "batch" in outer else body
    except (NotJson, IndexError):
        return body


def _verdict(index: int, message_id: str | None, problem: Problem) -> Verdict:
    return Verdict(index, message_id, problem.code, problem.path, problem.message)
