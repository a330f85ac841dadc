"""What an event passes before it is encoded: the switch, consent, sampling, and the hooks of `before_send`.

A client without any of these has no gate, and pays nothing for it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, TypeAlias
from zlib import crc32

import msgspec

from polku.errors import WithheldReason
from polku.event import Record
from polku.repair import Finding, agreed
from polku.settings import Settings

Hook: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any] | None]
"""Is given an event as it would be sent, and returns what is sent instead, or None to hold it back."""

_CALLS = frozenset(("track", "identify", "page", "screen", "group", "alias"))


class HookFailed(Exception):
    """A hook raised, or returned what is no event."""


class Gate:
    """Decides of one event after the other. Any thread may ask."""

    def __init__(self, settings: Settings, hooks: Sequence[Hook]) -> None:
        self._enabled = settings.enabled
        self._category = settings.consent
        self._person_rate = settings.sample_people
        self._event_rates = settings.sample_events
        self._hooks = tuple(hooks)
        self.purposes: Collection[str] | None = None
        """What the person in front of this program has agreed to; None while that is not known."""

    @classmethod
    def of(cls, settings: Settings, hooks: Sequence[Hook]) -> "Gate | None":
        """None when there is nothing to decide."""
        samples = settings.sample_people < 1 or settings.sample_events
        needed = not settings.enabled or settings.consent is not None or samples or hooks
        return cls(settings, hooks) if needed else None

    def passed(self, record: Record, findings: list[Finding]) -> Record | WithheldReason | None:
        """The event as it may leave, or why it may not; None if it is not known yet. Raises HookFailed."""
        if not self._enabled:
            return WithheldReason.DISABLED
        known = True
        if self._category is not None:
            purposes = self._purposes_of(record, findings)
            if purposes is None:
                known = False
            elif self._category not in purposes:
                return WithheldReason.CONSENT
        weight = self._weight(record)
        if weight is None:
            return WithheldReason.SAMPLED
        if weight != 1:
            record.context = {**(record.context or {}), "sampling": {"weight": weight}}
        for hook in self._hooks:
            changed = _asked(hook, record)
            if changed is None:
                return WithheldReason.BEFORE_SEND
            record = changed
        return record if known else None

    def _purposes_of(self, record: Record, findings: list[Finding]) -> Collection[str] | None:
        """The event's own consent, else that of the client, which then goes with it."""
        context = record.context
        if isinstance(context, Mapping) and context.get("consent") is not None:
            purposes = agreed(context["consent"], "$.context.consent", findings)
            if isinstance(context["consent"], str):
                record.context = {**context, "consent": purposes}
            return purposes
        if self.purposes is not None and (context is None or isinstance(context, Mapping)):
            record.context = {**(context or {}), "consent": sorted(self.purposes)}
        return self.purposes

    def _weight(self, record: Record) -> float | None:
        """How many events this one stands for; None if it was not drawn."""
        weight = 1.0
        if self._person_rate < 1:
            person = record.anonymous_id or record.user_id
            if person is not None:
                if _drawn(f"person {person}") >= self._person_rate:
                    return None
                weight /= self._person_rate
        rate = self._event_rates.get(record.event) if isinstance(record.event, str) else None
        if rate is not None and rate < 1:
            if _drawn(f"event {record.message_id}") >= rate:
                return None
            weight /= rate
        return weight


def decision_of(
    category: str, before: Collection[str] | None, now: Collection[str] | None
) -> Literal["granted", "refused", "withdrawn"] | None:
    """What a person decided about a purpose, as it is counted; None if there is nothing new to count."""
    if now is None:
        return None
    had, has = category in (before or ()), category in now
    if before is not None and had == has:
        return None
    return "granted" if has else "withdrawn" if had else "refused"


def _drawn(text: str) -> float:
    """A number in [0, 1) that is the same wherever and whenever it is drawn for this text."""
    # CRC32 alone is linear: neighbouring ids would be drawn alike. The multiplication spreads them.
    return ((crc32(text.encode("utf-8", "surrogatepass")) * 0x9E3779B97F4A7C15) >> 20 & 0xFFFFFFFF) / 2**32


def _asked(hook: Hook, record: Record) -> Record | None:
    names = Record.__struct_fields__
    event = {
        wire: value
        for name, wire in zip(names, Record.__struct_encode_fields__, strict=True)
        if (value := getattr(record, name)) is not None
    }
    for part in ("properties", "traits", "context"):
        if isinstance(event.get(part), Mapping | msgspec.Struct):
            event[part] = _copied(event[part])
    try:
        answer = hook(event)
    except Exception as error:
        raise HookFailed(f"{type(error).__name__} in before_send") from error
    if answer is None:
        return None
    if not isinstance(answer, Mapping) or answer.get("type") not in _CALLS:
        raise HookFailed("before_send returned no event")
    values: dict[str, Any] = {
        name: answer.get(wire) for name, wire in zip(names, Record.__struct_encode_fields__, strict=True)
    }
    return Record(**values)


def _copied(value: Any) -> dict[str, Any]:
    """A copy that a hook may change, one level deep: what the host program goes on using stays as it is."""
    if isinstance(value, msgspec.Struct):
        plain: dict[str, Any] = msgspec.to_builtins(value)
        return plain
    return dict(value)
