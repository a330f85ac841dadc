"""Replays calls through the SDK: a client per source, waiting when its queue is full, losing nothing."""

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from polku import Client
from polku.typed import Event, PageEvent, ScreenEvent, Traits
from polku_demo.calls import Call, Values
from polku_demo.errors import DemoError
from polku_demo.progress import Progress

# Calls wait for room this long: a collector that takes nothing for ten minutes is an error, not pressure.
BLOCK_SECONDS = 600.0
FLUSH_SECONDS = 600.0
CLOSE_SECONDS = 5.0
# All clients together: what they have not sent by then, the next run sends.
INTERRUPTED_SECONDS = 1.0
PROGRESS_EVERY = 256


class Sent(msgspec.Struct, frozen=True):
    """What became of the calls."""

    events: int
    delivered: int  # acknowledged by the collector
    rejected: int  # of those: sent to quarantine
    seconds: float
    requests: int

    @property
    def events_per_second(self) -> float:
        """From the first call to the last acknowledgement."""
        return self.events / self.seconds if self.seconds else 0.0


def send(calls: Iterable[Call], endpoint: str, write_keys: Mapping[str, str], progress: Progress) -> Sent:
    """Make every call and wait until all are acknowledged. DemoError if one is lost."""
    clients = {
        source: Client(key, endpoint, full_queue="block", block_seconds=BLOCK_SECONDS)
        for source, key in write_keys.items()
    }
    started = time.monotonic()
    count = 0
    try:
        for count, call in enumerate(calls, 1):
            make(clients[call.source], call)
            if count % PROGRESS_EVERY == 0:
                progress.at(count)
        # One after the other: each waits for its own events only, and all of them send meanwhile.
        flushed = all(client.flush(FLUSH_SECONDS) for client in clients.values())
        seconds = time.monotonic() - started
        progress.at(count)
    except KeyboardInterrupt:
        _abandon(clients.values())
        raise
    finally:
        for client in clients.values():
            client.close(CLOSE_SECONDS)
    stats = [client.stats() for client in clients.values()]
    sent = Sent(
        events=count,
        delivered=sum(stat.delivered for stat in stats),
        rejected=sum(stat.rejected for stat in stats),
        seconds=seconds,
        requests=sum(stat.requests for stat in stats),
    )
    if not flushed or sent.delivered != count:
        losses = {source: client.stats().lost for source, client in clients.items()}
        lost = {source: {str(reason): n for reason, n in loss.items() if n} for source, loss in losses.items()}
        raise DemoError(f"{count - sent.delivered} of {count} events were not delivered: {lost}")
    return sent


def make(client: Client, call: Call) -> None:
    """Make one call. A typed event goes to the method of its call as it is."""
    common: dict[str, Any] = {
        "timestamp": call.timestamp,
        "message_id": call.message_id,
        "anonymous_id": call.anonymous_id,
        "context": call.context,
    }
    match call.values:
        case PageEvent() as page:
            client.page(call.name, page, user_id=call.user_id, **common)
        case ScreenEvent() as screen:
            client.screen(call.name, screen, user_id=call.user_id, **common)
        case Event() as event:
            client.track(event, user_id=call.user_id, **common)
        case Traits() as traits:
            client.identify(call.user_id, traits, **common)
        case values:
            _make_of_values(client, call, values, common)


def _make_of_values(client: Client, call: Call, values: Values, common: dict[str, Any]) -> None:
    match call.verb:
        case "track":
            client.track(call.name or "", values, user_id=call.user_id, **common)
        case "page":
            client.page(call.name, values, user_id=call.user_id, **common)
        case "screen":
            client.screen(call.name, values, user_id=call.user_id, **common)
        case "identify":
            client.identify(call.user_id, values, **common)
        case "group":
            client.group(call.group_id or "", values, user_id=call.user_id, **common)
        case "alias":
            client.alias(call.previous_id or "", call.user_id or "", **common)


def _abandon(clients: Iterable[Client]) -> None:
    """Close without a word about what is not sent: the person who pressed Ctrl-C knows."""
    logging.getLogger("polku").setLevel(logging.CRITICAL)
    give_up = time.monotonic() + INTERRUPTED_SECONDS
    for client in clients:
        client.close(max(0.0, give_up - time.monotonic()))
