"""The calls a program tracks with. Each stamps, encodes and queues one event, and returns.

`Client` and `AsyncClient` have them both; what differs is who delivers.
"""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from polku.context import fill, held
from polku.delivery import Delivery
from polku.errors import InvalidEvent, LossReason, WithheldReason
from polku.event import Record, encode, encode_object, is_plain, new_id, now
from polku.gate import Gate, Hook, HookFailed, decision_of
from polku.repair import Finding, agreed, holds_odd, repaired, time_without_zone
from polku.report import calling_place, show
from polku.settings import Settings
from polku.typed import Event, PageEvent, ScreenEvent, Traits

_BEFORE_VALUES = 80
"""Bytes of the shortest event, beside its id, in front of the first value of its properties, traits or context."""
_DATE = len('"2026-03-01')


class PlannedEvent(Protocol):
    """What a plan knows about one event."""

    def decode(self, raw: bytes, /) -> object:
        """Decode properties as JSON; raises ValueError if they are not what the plan says."""


class Plan(Protocol):
    """A compiled tracking plan, as `polku_schemas.compile_plan` makes it."""

    def find(self, call: str, name: str | None, /) -> PlannedEvent | None:
        """The event of a call by name, None if the plan has none."""


class Stats(msgspec.Struct, frozen=True):
    """Counts since the client was made (or its process forked).

    A call ends in `delivered`, in `lost` or in `withheld`.
    """

    queued: int
    """Waiting in memory or being sent."""
    queued_bytes: int
    spooled: int
    """Waiting on disk, or being sent from there. When the client is closed whoever starts next delivers them."""
    delivered: int
    """Acknowledged by the collector: from there on they are its promise."""
    recovered: int
    """Acknowledged events of processes that had ended without delivering them; not among `delivered`."""
    rejected: int
    """Of those delivered: put into quarantine by the collector, which told why."""
    lost: dict[LossReason, int]
    withheld: dict[WithheldReason, int]
    """Held back on purpose: no consent, not drawn, by `before_send`, or because the client is switched off."""
    odd: int
    """Events with something to warn about; sent all the same, without the odd part."""
    requests: int
    retries: int


class Tracker:
    """The calls of a client. What they make goes into the buffer of a `Delivery`."""

    def __init__(self, settings: Settings, delivery: Delivery, plan: Plan | None, hooks: Sequence[Hook]) -> None:
        self.settings = settings
        self._plan = plan
        self._strict, self._debug = settings.strict, settings.debug
        self._max_event_bytes = settings.max_event_bytes
        self._gate = Gate.of(settings, hooks)
        self._undecided: deque[bytes] = deque()
        self._odd = 0
        self._delivery = delivery
        self._reporter = delivery.reporter
        self._buffer = delivery.buffer

    def track(
        self,
        event: str | Event,
        properties: Mapping[str, Any] | None = None,
        *,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        timestamp: datetime | None = None,
        message_id: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Something happened. Returns the id of the queued event, None if it was dropped (as do all calls).

        A typed event (`polku.typed`) has its properties in it, and is sent with the call its plan gives it.
        `timestamp` is when it happened, with a time zone (default: now); `message_id` makes repeated imports
        of the same event count once; `context` goes with this event only.
        """
        record = Record(
            type="track",
            event=event,
            # As `_emit` would do, for less: to set a field later costs as much as to call `now`.
            message_id=new_id() if message_id is None else message_id,
            timestamp=datetime.now(UTC) if timestamp is None else timestamp,
            user_id=user_id,
            anonymous_id=anonymous_id,
            properties=properties,
            context=context,
        )
        if type(event) is not str and isinstance(event, Event):  # the second is dear, and most are strings
            record.type, record.event, record.properties = event._call, event._name, event
            if event._call != "track":
                record.event = None  # such a call has no name
            if properties is not None:
                self._warn(record, [Finding("$.properties", "stand beside a typed event, which has its own: left out")])
        return self._emit(record)

    def identify(
        self,
        user_id: str | None,
        traits: Mapping[str, Any] | Traits | None = None,
        *,
        anonymous_id: str | None = None,
        timestamp: datetime | None = None,
        message_id: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Who somebody is: ties `anonymous_id` to `user_id` and sets traits of the person."""
        return self._emit(
            Record(
                type="identify",
                message_id=message_id,
                timestamp=timestamp,
                user_id=user_id,
                anonymous_id=anonymous_id,
                traits=traits,
                context=context,
            )
        )

    def page(
        self,
        name: str | None = None,
        properties: Mapping[str, Any] | PageEvent | None = None,
        *,
        category: str | None = None,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        timestamp: datetime | None = None,
        message_id: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> str | None:
        """A page was viewed."""
        return self._emit(
            Record(
                type="page",
                message_id=message_id,
                timestamp=timestamp,
                user_id=user_id,
                anonymous_id=anonymous_id,
                name=name,
                category=category,
                properties=properties,
                context=context,
            )
        )

    def screen(
        self,
        name: str | None = None,
        properties: Mapping[str, Any] | ScreenEvent | None = None,
        *,
        category: str | None = None,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        timestamp: datetime | None = None,
        message_id: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> str | None:
        """A screen of an app was viewed."""
        return self._emit(
            Record(
                type="screen",
                message_id=message_id,
                timestamp=timestamp,
                user_id=user_id,
                anonymous_id=anonymous_id,
                name=name,
                category=category,
                properties=properties,
                context=context,
            )
        )

    def group(
        self,
        group_id: str,
        traits: Mapping[str, Any] | None = None,
        *,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        timestamp: datetime | None = None,
        message_id: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Somebody belongs to a group (a company, a household); sets traits of the group."""
        return self._emit(
            Record(
                type="group",
                message_id=message_id,
                timestamp=timestamp,
                user_id=user_id,
                anonymous_id=anonymous_id,
                group_id=group_id,
                traits=traits,
                context=context,
            )
        )

    def alias(
        self,
        previous_id: str,
        user_id: str,
        *,
        anonymous_id: str | None = None,
        timestamp: datetime | None = None,
        message_id: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Two ids are the same person: `previous_id` continues as `user_id`."""
        return self._emit(
            Record(
                type="alias",
                message_id=message_id,
                timestamp=timestamp,
                user_id=user_id,
                anonymous_id=anonymous_id,
                previous_id=previous_id,
                context=context,
            )
        )

    def consent(self, purposes: Collection[str] | None) -> None:
        """What the person in front of this program agrees to, such as `["analytics"]`; None: not known (yet).

        With the setting `consent` it decides over what leaves from now on, and over what was kept undecided. A server,
        which speaks for many people, gives each event its own: `context={"consent": […]}`.
        """
        try:
            self._decide(purposes)
        except InvalidEvent:
            raise
        except Exception as error:
            self._internal(error)

    def stats(self) -> Stats:
        """What became of the events so far."""
        counts, delivery = self._buffer.counts(), self._delivery
        return Stats(
            queued=counts.queued + len(self._undecided),
            queued_bytes=counts.queued_bytes,
            spooled=counts.spooled,
            delivered=counts.delivered,
            recovered=counts.recovered,
            rejected=delivery.rejected,
            lost=counts.lost,
            withheld=counts.withheld,
            odd=self._odd,
            requests=delivery.requests,
            retries=delivery.retries,
        )

    def _decide(self, purposes: Collection[str] | None) -> None:
        gate = self._gate
        if gate is None or self.settings.consent is None:
            return
        findings: list[Finding] = []
        before = gate.purposes
        gate.purposes = None if purposes is None else tuple(agreed(purposes, "its argument", findings))
        if self.settings.consent_ping and self.settings.enabled:
            decision = decision_of(self.settings.consent, before, gate.purposes)
            if decision is not None:
                self._delivery.ping(decision)
        while self._undecided and gate.purposes is not None:
            raw = self._undecided.popleft()
            if self.settings.consent in gate.purposes:
                self._buffer.put(_with_consent(raw, gate.purposes))
            else:
                self._buffer.count_withheld(WithheldReason.CONSENT)
        if findings:
            self._say(Record(type="consent"), "; ".join(map(str, findings)))

    def _discard_undecided(self) -> None:
        """At the end: what nobody agreed to does not leave."""
        while self._undecided:
            self._undecided.popleft()
            self._buffer.count_withheld(WithheldReason.CONSENT)

    def _keep_undecided(self, raw: bytes) -> bool:
        """Whether an event waits for the person's decision."""
        most = self.settings.consent_buffer_events
        while self._undecided and len(self._undecided) >= most:
            self._undecided.popleft()
            self._buffer.count_withheld(WithheldReason.CONSENT)
        if most:
            self._undecided.append(raw)
        else:
            self._buffer.count_withheld(WithheldReason.CONSENT)
        return most > 0

    def _emit(self, record: Record) -> str | None:
        try:
            if (around := held.get()) is not None:
                fill(record, around)
            if record.message_id is None:
                record.message_id = new_id()
            if record.timestamp is None:
                record.timestamp = now()
            decided = True
            if self._gate is not None:
                findings: list[Finding] = []
                passed = self._gate.passed(record, findings)
                if findings:
                    self._warn(record, findings)
                if isinstance(passed, WithheldReason):
                    self._buffer.count_withheld(passed)
                    return None
                decided = passed is not None
                record = passed or record
            raw = None
            if is_plain(record):
                try:
                    raw = encode(record)
                    # NaN and infinity are written as null. Most events hold no null and no T behind their own time, and
                    # need no closer look. `rfind` takes half the time of `in`.
                    values_at = _BEFORE_VALUES + len(record.message_id)
                    if (
                        raw.rfind(b"null", values_at) >= 0
                        or (raw.rfind(b"T", values_at + _DATE) >= 0 and time_without_zone(raw))
                    ) and holds_odd([record.properties, record.traits, record.context]):
                        raw = None
                except Exception:  # whatever the values did: `repaired` finds out what it was
                    raw = None
            if raw is None:
                raw = self._repaired(record)
                if raw is None:
                    return None
            if self._plan is not None:
                self._check(record, raw, self._plan)
            if len(raw) > self._max_event_bytes:
                self._drop(record, LossReason.TOO_LARGE, f"is {len(raw)} bytes large")
                return None
            if self._debug:
                show(f"→ {raw.decode(errors='replace')}")
            if decided:
                if self._buffer.put(raw) is not None:
                    return None
            elif not self._keep_undecided(raw):
                return None
        except InvalidEvent:
            raise
        except HookFailed as error:
            self._drop(record, LossReason.HOOK_FAILED, f"was not sent: {error}")
            return None
        except Exception as error:
            self._internal(error)
            return None
        # A repaired id is a new one; encoding left it in the record.
        message_id: str = record.message_id
        return message_id

    def _repaired(self, record: Record) -> bytes | None:
        """What is sound of a record as JSON; None if it was dropped."""
        try:
            fixed, findings = repaired(record)
            raw = encode(fixed)
        except Exception as error:
            self._drop(record, LossReason.UNSERIALISABLE, f"has no JSON form ({type(error).__name__})")
            return None
        record.message_id = fixed.message_id
        if findings:
            self._warn(record, findings)
        return raw

    def _check(self, record: Record, raw: bytes, plan: Plan) -> None:
        """Warn of what does not fit the plan, as the collector would. It is sent all the same."""
        if record.type not in ("track", "page", "screen"):
            return
        planned = plan.find(record.type, record.event if record.type == "track" else None)
        if planned is None:
            self._warn(record, [Finding("$.event", "is not in the plan")])
            return
        try:
            planned.decode(encode_object(record.properties))
            return
        except Exception as error:
            # Its text may quote a value: the plan says more, and knows what is personal.
            kind = type(error).__name__
        from polku.planned import objection  # a plan minds few events, or they would not be sent

        try:
            verdict = objection(plan, raw)
        except Exception:  # a plan of the program's own, which only decodes
            self._warn(record, [Finding("$.properties", f"do not fit the plan ({kind})")])
            return
        if verdict is not None:
            text = f"does not fit the plan ({verdict.code}): {verdict.message}"
            self._warn(record, [Finding(verdict.path or "$", text)])

    def _drop(self, record: Record, reason: LossReason, text: str) -> None:
        self._say(record, f"{text}: dropped")
        self._buffer.count_lost(reason)

    def _warn(self, record: Record, findings: list[Finding]) -> None:
        self._odd += 1
        self._say(record, "; ".join(map(str, findings[:5])))

    def _say(self, record: Record, text: str) -> None:
        """Once per place in the code, or as an exception if that was asked for."""
        name = record.event if type(record.event) is str else ""
        file, line = calling_place()
        message = f"{file}:{line}: {record.type}({name!r}) {text}"
        if self._strict:
            raise InvalidEvent(message)
        self._reporter.once((file, line, name), message)

    def _internal(self, error: Exception) -> None:
        self._buffer.count_lost(LossReason.INTERNAL)
        self._reporter.limited("internal", f"internal failure: {type(error).__name__}: {error}")


def _with_consent(raw: bytes, purposes: Collection[str]) -> bytes:
    """An event that waited for this decision, with it."""
    event = msgspec.json.decode(raw)
    event["context"] = {**(event.get("context") or {}), "consent": sorted(purposes)}
    return msgspec.json.encode(event)
