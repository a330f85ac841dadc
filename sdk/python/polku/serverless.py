"""For functions that are frozen when they return (Lambda, Cloud Functions): deliver before that.

    @polku.delivered
    def handler(event, context):
        polku.track("order_completed", {"order_id": "o-1"}, user_id="u-1")

Between two calls the process stands still: a background thread gets no time, and connections die. So nothing may be
left to it. After a thaw the next call works as the first did: a dead connection is one failed attempt.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, overload

from polku import default
from polku.client import Client

F = TypeVar("F", bound=Callable[..., Any])

TIMEOUT_SECONDS = 5.0
"""How long a function may wait for the delivery, unless it says otherwise."""


@overload
def delivered(function: F, /) -> F: ...
@overload
def delivered(*, client: Client | None = None, timeout_seconds: float = TIMEOUT_SECONDS) -> Callable[[F], F]: ...
def delivered(
    function: Callable[..., Any] | None = None,
    /,
    *,
    client: Client | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Any:
    """Decorate a function: when it returns or raises, what it tracked is delivered, or the time is over.

    `client`: whose events (default: those of the module's calls). What was not delivered in time stays queued for the
    next call. A coroutine function waits beside its event loop, not on it.
    """
    if function is None:
        return functools.partial(_delivered, client=client, timeout_seconds=timeout_seconds)
    return _delivered(function, client, timeout_seconds)


@contextlib.contextmanager
def delivering(client: Client | None = None, timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[None]:
    """The same for a block: `with polku.delivering(): …`."""
    try:
        yield
    finally:
        _flush(client, timeout_seconds)


def _delivered(function: Callable[..., Any], client: Client | None, timeout_seconds: float) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*arguments: Any, **options: Any) -> Any:
            import asyncio

            try:
                return await function(*arguments, **options)
            finally:
                await asyncio.to_thread(_flush, client, timeout_seconds)

        return awaited

    @functools.wraps(function)
    def called(*arguments: Any, **options: Any) -> Any:
        with delivering(client, timeout_seconds):
            return function(*arguments, **options)

    return called


def _flush(client: Client | None, timeout_seconds: float) -> None:
    (default.flush if client is None else client.flush)(timeout_seconds)
