"""Which connections of a worker may stay: not too many, and none that is slow, idle or does not take its answer.

uvicorn bounds the time between two requests and nothing else. Here nothing is timed per request: once a second all
connections are looked at, and whoever is where it was for too long is closed. A request that does nothing wrong pays
for a few comparisons.
"""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, Final, Literal

from ..settings import Limits
from .client_address import Proxies, parsed

if TYPE_CHECKING:
    from .connection import Connection

# After an answer the rest of the body is still read for so long: who is cut off while sending does not see the answer.
LINGER_SECONDS: Final = 5.0
# A piece of it is read so seldom, of all connections together, since read as fast as they come megabytes would hold up
# the others. Who sends alone gets some 60 MB a second through, so that he comes to see his answer: many clients look
# for it only when they have sent all.
_LINGERING_PIECE_SECONDS: Final = 0.004
# But no piece waits longer than this, however many connections there are and were.
_LINGERING_PAUSE_SECONDS: Final = 0.02
# What a closed connection may take to get rid of the last bytes.
_CLOSING_SECONDS: Final = 5.0
# When there is no room, this part of the connections is looked for among those that do nothing, and not all the time.
_EVICTED_PART: Final = 32
_EVICTION_PAUSE_SECONDS: Final = 0.1
_YOUNG_SECONDS: Final = 1.0
# Files a worker needs beside its connections: journal, metrics, plan, libraries.
_OWN_FILES: Final = 256

Closed = Literal["head_timeout", "head_too_large", "idle", "lingering", "stalled", "crowded", "address", "not_http"]
"""Why a connection was closed from this side."""

Stage = Literal["head", "idle", "body", "lingering", "closing"]

AtOnce = Callable[[Any, bytes, Callable[[int, bytes, int | None], object]], bool]
"""Answers a request that came in one piece, with its scope, body and how to respond; False: the application has to."""


class Guard:
    """What all connections of a worker have in common: the limits in force, and how many there are."""

    def __init__(
        self,
        limits: Limits,
        proxies: Proxies,
        on_close: Callable[[Closed], None],
        on_error: Callable[[str], None] = lambda error: None,
        *,
        files: int | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_error` is told the code of each answer given here. `files`: how many may be open in this process.

        `at_once`, where it is set, is asked about each POST to one of `EVENT_PATHS` before the application is called.
        """
        self._files, self._proxies, self._on_close, self.now = files, proxies, on_close, now
        self.on_error = on_error
        self._of_address: Counter[str] = Counter()
        self._room, self._next_eviction, self._next_piece = 0, 0.0, 0.0
        self.at_once: AtOnce | None = None
        self.limits = limits
        self.use(limits)

    def use(self, limits: Limits) -> None:
        """Other limits from now on."""
        self.limits = limits
        self.max_header_bytes = limits.max_header_bytes
        self.max_connections = limits.max_connections
        if self._files is not None:
            self.max_connections = max(1, min(limits.max_connections, self._files - _OWN_FILES))

    def refuses(self, connection: Connection) -> Closed | None:
        """Why a new connection, which is among the others already, cannot stay."""
        most = self.limits.max_connections_per_address
        if most is not None and connection.client is not None:
            address = connection.client[0]
            if not self._proxies.trusts(parsed(address)):
                connection.counted_address = address
                self._of_address[address] += 1
                if self._of_address[address] > most:
                    return "address"
        if len(connection.connections) <= self.max_connections:
            self._room = 0
            return None
        if self._room <= 0:
            self._room = self._evict(connection.connections)
        self._room -= 1
        return None if self._room >= 0 else "crowded"

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        if (address := connection.counted_address) is not None:
            self._of_address[address] -= 1
            if self._of_address[address] <= 0:
                del self._of_address[address]

    def sweep(self, connections: Iterable[Any]) -> None:
        """Close whoever has been where it is for too long. Any: uvicorn's protocols, all of which are ours."""
        now, limits = self.now(), self.limits
        longest = {
            "head": limits.header_seconds,
            "idle": limits.idle_seconds,
            "body": limits.idle_seconds,  # only while it does not take our answer: the body has a time of its own
            "lingering": LINGER_SECONDS,
            "closing": _CLOSING_SECONDS,
        }
        for connection in list(connections):
            connection.call_application()
            stage = connection.stage()
            if connection.seen_stage != stage or connection.seen_scope is not connection.scope:
                connection.seen_stage, connection.seen_scope, connection.seen_at = stage, connection.scope, now
            elif now - connection.seen_at > longest[stage]:
                self._close(connection, stage)

    def lingering_pause(self) -> float:
        """For how many seconds the rest of a body that is answered already is to be left where it is."""
        now = self.now()
        turn = max(now, self._next_piece) + _LINGERING_PIECE_SECONDS
        self._next_piece = min(turn, now + _LINGERING_PAUSE_SECONDS)
        return self._next_piece - now

    def closed(self, reason: Closed) -> None:
        """Count a connection that was closed."""
        self._on_close(reason)

    def _close(self, connection: Connection, stage: Stage) -> None:
        if stage == "closing":
            connection.transport.abort()
        elif stage == "head":
            if connection.head_bytes:
                connection.answer(408, "timeout", "the head of the request did not arrive in time")
            connection.close("head_timeout")
        elif stage == "lingering":
            connection.close("lingering")
        elif stage == "idle":
            connection.close("idle")
        elif connection.flow.write_paused:
            connection.close("stalled", at_once=True)

    def _evict(self, connections: Collection[Any]) -> int:
        """Close some that do nothing, for those that come: first who never sent a request, then the longest idle."""
        now = self.now()
        if now < self._next_eviction:
            return 0
        self._next_eviction = now + _EVICTION_PAUSE_SECONDS
        useless = [
            connection
            for connection in connections
            if connection.seen_stage in ("head", "idle")
            and now - connection.seen_at > _YOUNG_SECONDS
            and connection.seen_stage == connection.stage()
            and connection.seen_scope is connection.scope
        ]
        useless.sort(key=lambda connection: (connection.cycle is not None, connection.seen_at))
        chosen = useless[: max(1, self.max_connections // _EVICTED_PART)]
        for connection in chosen:
            connection.close("crowded")
        return len(chosen)


def raise_open_files(wanted: int) -> int:
    """Let this process open as many files as it wants and may; returns how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted += _OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
        return max(soft, allowed)
    return wanted if soft == resource.RLIM_INFINITY else soft
