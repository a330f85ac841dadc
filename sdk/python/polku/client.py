"""`Client`: the calls a program tracks with. Each stamps, encodes and queues one event, and returns."""

import weakref
from collections.abc import Callable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol

import msgspec

from polku.context import fill, held
from polku.errors import InvalidEvent, Loss, LossReason, SettingsError
from polku.event import (
    Finding,
    Record,
    encode,
    encode_object,
    holds_nan,
    is_plain,
    new_id,
    now,
    repaired,
)
from polku.report import Reporter, calling_place
from polku.settings import settings_from
from polku.transport import HttpTransport, Transport
from polku.typed import Event, PageEvent, ScreenEvent, Traits
from polku.version import __version__
from polku.worker import Worker


class PlannedEvent(Protocol):
    """What a plan knows about one event."""

    def decode(self, raw: bytes, /) -> object:
        """Decode properties as JSON; raises ValueError if they are not what the plan says."""


class Plan(Protocol):
    """A compiled tracking plan, as `polku_schemas.compile_plan` makes it."""

    def find(self, call: str, name: str | None, /) -> PlannedEvent | None:
        """The event of a call by name, None if the plan has none."""


class Stats(msgspec.Struct, frozen=True):
    """Counts since the client was made (or its process forked). A call ends in `delivered` or in `lost`."""

    queued: int
    """Waiting or being sent."""
    queued_bytes: int
    delivered: int
    """Acknowledged by the collector: from there on they are its promise."""
    rejected: int
    """Of those delivered: put into quarantine by the collector, which told why."""
    lost: dict[LossReason, int]
    odd: int
    """Events with something to warn about; sent all the same, without the odd part."""
    requests: int
    retries: int


class Client:
    """Tracks events to one source of a collector.

    Construction checks everything and may raise `SettingsError`. No call after that raises into or blocks the
    program, except as `strict=True` and `full_queue="block"` ask for. All calls may come from any thread.

    `context` goes with every event; `plan` has events validated where they are made; `on_loss` is told, on
    the SDK's thread, of events that will not be delivered; `transport` replaces HTTP. Further `options` are
    the fields of `polku.Settings`.
    """

    def __init__(
        self,
        write_key: str,
        endpoint: str,
        *,
        context: Mapping[str, Any] | None = None,
        plan: Plan | None = None,
        on_loss: Callable[[Loss], object] | None = None,
        transport: Transport | None = None,
        **options: Any,
    ) -> None:
        self.settings = settings_from(write_key, endpoint, options)
        self._plan = plan
        self._strict = self.settings.strict
        self._max_event_bytes = self.settings.max_event_bytes
        self._odd = 0
        self._reporter = Reporter()
        if transport is None:
            transport = HttpTransport(self.settings.endpoint.rstrip("/") + "/v1/batch")
        self._worker = Worker(self.settings, transport, _context(context), self._reporter, on_loss)
        self._buffer = self._worker.buffer
        # Without a client nothing more can come: the worker may end once all is delivered.
        weakref.finalize(self, self._worker.retire).atexit = False

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
            message_id=message_id,
            timestamp=timestamp,
            user_id=user_id,
            anonymous_id=anonymous_id,
            properties=properties,
            context=context,
        )
        if isinstance(event, Event):
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

    def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Send what is queued and wait until it is delivered or lost; False if the time was too short."""
        try:
            return self._worker.flush(timeout_seconds)
        except Exception as error:
            self._internal(error)
            return False

    def close(self, timeout_seconds: float | None = None) -> bool:
        """Deliver what is queued and take no more; True if nothing was left when the time was over.

        The time is `close_timeout_seconds` of the settings unless given. A normal exit of the interpreter
        does the same. May be called more than once.
        """
        try:
            return self._worker.close(timeout_seconds)
        except Exception as error:
            self._internal(error)
            return False

    def stats(self) -> Stats:
        """What became of the events so far."""
        queued, queued_bytes, delivered, lost = self._buffer.counts()
        worker = self._worker
        return Stats(queued, queued_bytes, delivered, worker.rejected, lost, self._odd, worker.requests, worker.retries)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _emit(self, record: Record) -> str | None:
        try:
            if (around := held.get()) is not None:
                fill(record, around)
            if record.message_id is None:
                record.message_id = new_id()
            if record.timestamp is None:
                record.timestamp = now()
            raw = self._encoded(record) if self._plan is None else self._checked(record)
            if raw is None:
                return None
            if len(raw) > self._max_event_bytes:
                self._drop(record, LossReason.TOO_LARGE, f"is {len(raw)} bytes large")
                return None
            if self._buffer.put(raw) is not None:
                return None
        except InvalidEvent:
            raise
        except Exception as error:
            self._internal(error)
            return None
        # A repaired id is a new one; encoding left it in the record.
        message_id: str = record.message_id
        return message_id

    def _encoded(self, record: Record) -> bytes | None:
        """The record as JSON, repaired if need be; None if it was dropped."""
        if is_plain(record):
            try:
                raw = encode(record)
            except Exception:  # noqa: S110  # whatever the values did: `repaired` finds out what it was
                pass
            else:
                # NaN and infinity are written as null. Most events hold no null, and need no closer look.
                if b"null" not in raw or not _holds_nan(record):
                    return raw
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

    def _checked(self, record: Record) -> bytes | None:
        """As `_encoded`, with a look at the plan. What does not fit it is sent all the same."""
        raw = self._encoded(record)
        if raw is None or self._plan is None or record.type not in ("track", "page", "screen"):
            return raw
        planned = self._plan.find(record.type, record.event if record.type == "track" else None)
        if planned is None:
            self._warn(record, [Finding("$.event", "is not in the plan")])
            return raw
        try:
            planned.decode(encode_object(record.properties))
        except Exception as error:
            self._warn(record, [Finding("$.properties", f"do not fit the plan: {error}")])
        return raw

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


def _holds_nan(record: Record) -> bool:
    return holds_nan(record.properties) or holds_nan(record.traits) or holds_nan(record.context)


def _context(given: Mapping[str, Any] | None) -> bytes:
    """The context of every event, encoded once."""
    try:
        whole = {"library": {"name": "polku-python", "version": __version__}, **(given or {})}
        raw = encode_object(whole)
        msgspec.json.decode(raw)
    except Exception as error:
        raise SettingsError([f"option 'context' has no JSON form: {error}"]) from error
    return raw
