"""One request from its beginning to the end of its answer: what is bound in it, and the event it may become.

Nothing here raises: whatever fails is told once in a while by the logger `polku`, without what the request said.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import Token
from typing import Any

from polku import default
from polku.context import Held, begin_request, held, restore
from polku.middleware.request import Options, Seen, binding, is_excluded
from polku.report import Reporter

CLIENT_GONE = 499
"""The status of a request that nobody waited for any more; nginx's word for it."""

_reporter = Reporter()


class Exchange:
    """What a middleware knows of the request it serves."""

    def __init__(self, options: Options, method: str, seen: Seen, user_id: Any) -> None:
        self._options = options
        self._method = method
        given = binding(seen, options)
        if user_id is not None:
            given["user_id"] = user_id
        self._held = begin_request(given)
        self._token: Token[Held | None] | None = None
        self.is_tracked = options.track_requests and not is_excluded(seen.path, options.exclude)
        self.route: str | None = None
        self.status: int | None = None
        self.is_complete = False
        self._started = time.perf_counter()
        self._ended: float | None = None
        self._is_finished = False

    def enter(self) -> None:
        """From here on events belong to the request …"""
        self._token = held.set(self._held)

    def leave(self) -> None:
        """… until here. What was bound meanwhile is kept for the next part."""
        here = held.get()
        if here is not None and here.request is self._held.request:  # not so if another task closes this one
            self._held = here
        if self._token is not None:
            restore(self._token)

    def complete(self) -> None:
        """The whole answer is given out."""
        self.is_complete = True
        self._ended = time.perf_counter()

    def failed(self) -> None:
        """The program raised. If it had not begun to answer, the server does, in full."""
        if self.status is None:
            self.status = 500
            self.complete()

    def find_route(self, route_of: Callable[..., str | None], *request: Any) -> None:
        """Ask for the route's template while the framework still knows it."""
        if not self.is_tracked:
            return
        try:
            self.route = route_of(*request)
        except Exception as error:
            tell("the route was not found", error)

    def finish(self) -> None:
        """The request is over: track it, once, if somebody is known and it is to be tracked."""
        if self._is_finished:
            return
        self._is_finished = True
        if not self.is_tracked:
            return
        try:
            here = self._held.bound()
            if here.user_id is None and here.anonymous_id is None:
                return
            token = held.set(self._held)
            try:
                track = default.track if self._options.client is None else self._options.client.track
                track(self._options.request_event, self._properties())
            finally:
                restore(token)
        except Exception as error:
            tell("a request was not tracked", error)

    def _properties(self) -> dict[str, Any]:
        seconds = (self._ended or time.perf_counter()) - self._started
        properties = {
            "method": self._method,
            "route": self.route,
            "status": self.status or CLIENT_GONE,
            "duration_ms": round(1_000 * seconds, 3),
            "aborted": None if self.is_complete else True,
        }
        return {name: value for name, value in properties.items() if value is not None}


class Parts:
    """The parts of an answer, each made with what the request has bound; closing it ends the request."""

    def __init__(self, parts: Iterable[Any], exchange: Exchange) -> None:
        self._parts = parts
        self._iterator: Iterator[Any] | None = None
        self._exchange = exchange

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        exchange = self._exchange
        exchange.enter()
        try:
            if self._iterator is None:
                self._iterator = iter(self._parts)
            return next(self._iterator)
        except StopIteration:
            exchange.complete()
            raise
        except Exception:
            exchange.failed()
            raise
        finally:
            exchange.leave()

    def close(self) -> None:
        """Called by the server at the end, however it came."""
        close = getattr(self._parts, "close", None)
        self._exchange.enter()
        try:
            if close is not None:
                close()
        finally:
            self._exchange.leave()
            self._exchange.finish()


def begun(options: Options, method: str, seen: Callable[[], Seen], user_id: Any) -> Exchange | None:
    """The exchange of a request; None if it cannot be read: then it is served as if we were not there."""
    try:
        return Exchange(options, method, seen(), user_id)
    except Exception as error:
        tell("nothing was bound for a request", error)
        return None


def user_id_of(options: Options, request: Mapping[str, Any] | Any) -> Any:
    """What `user_of` says (it may be an awaitable), None if there is none or it fails."""
    if options.user_of is None:
        return None
    try:
        return options.user_of(request)
    except Exception as error:
        tell("user_of failed", error)
        return None


def tell(what: str, error: Exception) -> None:
    """Say what failed, by its type: its text may hold what the request said."""
    _reporter.limited((what, type(error)), f"middleware: {what}: {type(error).__name__}")
