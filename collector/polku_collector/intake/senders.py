"""Who may send, and what holds for each: keys, origins, rates, robots, addresses. Replaced as a whole at a reload.

A source for which nothing special is set costs a request one look at `plain`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from ..settings import Limits, Source
from ..write_keys import KeyRing
from .allowance import Allowance
from .bots import IsBot
from .client_address import DROPPED, AddressRule
from .rate import Meter, retry_after
from .refused import Refused
from .shape import Shape


class Sender(Struct, frozen=True):
    """One source, ready for its requests. `is_bot` is there if it refuses robots, `meter` if it has a rate.

    `waits_for_lake`: its requests are answered when their events are committed. `quarantine`: what it may leave there.
    """

    name: str
    source: Source
    meter: Meter | None = None
    address: AddressRule = DROPPED
    is_bot: IsBot | None = None
    plain: bool = True
    waits_for_lake: bool = False
    quarantine: Allowance | None = None

    @property
    def answers_at_once(self) -> bool:
        """Whether a request of its is answered by what it says, as soon as it is durable."""
        return self.plain and not self.waits_for_lake and self.source.cookie is None

    def admit(self, headers: Mapping[bytes, bytes]) -> None:
        """What can be refused before anybody has looked at the events. Raises Refused."""
        if b"origin" in headers:
            self._refuse_origin(headers[b"origin"])
        if self.meter is not None and (wait := self.meter.overdrawn()):
            raise self._over_rate(wait, 0)

    def take(self, events: int) -> None:
        """Take so many events of the source's rate. Raises Refused."""
        if self.meter is not None and (wait := self.meter.take(events)):
            raise self._over_rate(wait, events)

    def _refuse_origin(self, origin: bytes) -> None:
        """Raise Refused if a page of this origin may not send with the source's key."""
        if "*" not in self.source.cors and origin.decode("latin-1") not in self.source.cors:
            message = f"the source does not take events from the origin {origin.decode('latin-1')!r}"
            raise RefusedBySource(self.name, "origin", 403, "origin_not_allowed", message)

    def _over_rate(self, wait: float, events: int) -> RefusedBySource:
        rate, status = self.source.rate_events_per_second, self.source.rate_status
        message = f"the source sends more than {rate:g} events a second; send again later"
        return RefusedBySource(self.name, "rate", status, "rate_limited", message, events, retry_after(wait))


class RefusedBySource(Refused):
    """Refused by a limit of a source, which is counted. `events` is 0 where nobody has looked how many there are."""

    def __init__(
        self,
        source: str,
        reason: str,
        status: int,
        error: str,
        message: str,
        events: int = 0,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(status, error, message, retry_after=retry_after)
        self.source, self.reason, self.events = source, reason, events


class Senders(Struct, frozen=True):
    """All of them, and the limits of every request."""

    keys: KeyRing[Sender]
    by_name: Mapping[str, Sender]
    limits: Limits
    shape: Shape
    origins: frozenset[str]
    """Those that some source allows: a preflight cannot carry the key."""


def senders_of(
    sources: Mapping[str, Source],
    limits: Limits,
    *,
    meter_of: Callable[[str, Source], Meter | None] = lambda name, source: None,
    is_bot: Callable[[], IsBot] | None = None,
    pseudonym: Callable[[str], str] | None = None,
    allowance_of: Callable[[str], Allowance | None] = lambda name: None,
) -> Senders:
    """Make them. `is_bot` is called once, and only if some source refuses robots: it takes a while."""
    refuses = any(source.bots == "refuse" for source in sources.values())
    matcher = is_bot() if refuses and is_bot is not None else None
    found = []
    for name, source in sources.items():
        meter, address = meter_of(name, source), AddressRule(source.ip, pseudonym)
        robots = matcher if source.bots == "refuse" else None
        plain = meter is None and robots is None and source.ip == "drop"
        sender = Sender(name, source, meter, address, robots, plain, source.ack == "lake", allowance_of(name))
        found.append((sender, source.keys))
    origins = frozenset(origin for source in sources.values() for origin in source.cors)
    by_name = {sender.name: sender for sender, _ in found}
    return Senders(KeyRing(found), by_name, limits, Shape(limits.max_depth, limits.max_keys), origins)
