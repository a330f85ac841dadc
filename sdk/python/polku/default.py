"""The client behind the module-level calls, made by `configure` or from the environment by the first call."""

import os
import threading
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from polku import forks
from polku.client import Client
from polku.errors import SettingsError
from polku.report import logger
from polku.settings import from_environment

P = ParamSpec("P")
R = TypeVar("R")

_client: Client | None = None
_dropped_before = 0
_making = threading.RLock()


def _new_lock() -> None:
    global _making
    _making = threading.RLock()


forks.after_in_child(_new_lock)


def configure(write_key: str | None = None, endpoint: str | None = None, **options: Any) -> Client:
    """Make the client of the module-level calls and return it; takes what `Client` takes.

    What is not given comes from `POLKU_WRITE_KEY` and `POLKU_ENDPOINT`. Raises `SettingsError`. A client
    configured before is closed, which may take its `close_timeout_seconds`.
    """
    global _client
    key = write_key if write_key is not None else os.environ.get("POLKU_WRITE_KEY")
    address = endpoint if endpoint is not None else os.environ.get("POLKU_ENDPOINT")
    missing = [
        f"{name} is missing: pass it to polku.configure or set {variable}"
        for name, variable, value in (
            ("write_key", "POLKU_WRITE_KEY", key),
            ("endpoint", "POLKU_ENDPOINT", address),
        )
        if value is None
    ]
    if key is None or address is None:
        raise SettingsError(missing)
    client = Client(key, address, **options)
    with _making:
        before, _client = _client, client
    if before is not None:
        before.close()
    return client


def _current() -> Client | None:
    """The client, made from the environment if need be; None, with a warning once, if there is none."""
    global _client, _dropped_before
    with _making:
        if _client is not None:
            return _client
        found = from_environment(os.environ)
        if found is not None:
            try:
                _client = Client(*found)
            except SettingsError as error:
                if _dropped_before == 0:
                    logger.warning("events are dropped: POLKU_WRITE_KEY, POLKU_ENDPOINT: %s", error)
        elif _dropped_before == 0:
            logger.warning(
                "events are dropped until polku.configure(write_key, endpoint) is called"
                " or POLKU_WRITE_KEY and POLKU_ENDPOINT are set"
            )
        if _client is None:
            _dropped_before += 1
        return _client


def _of_current(method: Callable[Concatenate[Client, P], R], otherwise: R) -> Callable[P, R]:
    """A function that calls `method` on the current client, and returns `otherwise` if there is none."""

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        client = _client or _current()
        return otherwise if client is None else method(client, *args, **kwargs)

    call.__name__ = call.__qualname__ = method.__name__
    call.__doc__ = method.__doc__
    return call


track = _of_current(Client.track, None)
identify = _of_current(Client.identify, None)
page = _of_current(Client.page, None)
screen = _of_current(Client.screen, None)
group = _of_current(Client.group, None)
alias = _of_current(Client.alias, None)
consent = _of_current(Client.consent, None)
flush = _of_current(Client.flush, True)
close = _of_current(Client.close, True)
stats = _of_current(Client.stats, None)
