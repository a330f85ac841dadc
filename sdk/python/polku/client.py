"""`Client`: tracks events to a collector, which a thread in the background delivers."""

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from polku.errors import Loss, SettingsError
from polku.event import encode_object
from polku.gate import Hook
from polku.report import Reporter
from polku.settings import Settings, settings_from, switches
from polku.tracker import Plan, Tracker
from polku.transport import HttpTransport, Transport
from polku.version import __version__
from polku.worker import Worker

if TYPE_CHECKING:
    from polku.spool import Spool


class Client(Tracker):
    """Tracks events to one source of a collector.

    Construction checks everything and may raise `SettingsError`. No call after that raises into or blocks the
    program, except as `strict=True` and `full_queue="block"` ask for. All calls may come from any thread.

    `context` goes with every event; `plan` has events validated where they are made; `before_send` is a function, or
    several in order, that may change an event or hold it back; `on_loss` is told, on the SDK's thread, of events that
    will not be delivered; `transport` replaces HTTP. Further `options` are the fields of `polku.Settings`.
    """

    def __init__(
        self,
        write_key: str,
        endpoint: str,
        *,
        context: Mapping[str, Any] | None = None,
        plan: Plan | None = None,
        before_send: Hook | Sequence[Hook] = (),
        on_loss: Callable[[Loss], object] | None = None,
        transport: Transport | None = None,
        **options: Any,
    ) -> None:
        settings = settings_from(write_key, endpoint, {**options, **switches(os.environ)})
        if transport is None:
            transport = HttpTransport(batch_url(settings), settings.proxy, settings.ca_file)
        worker = Worker(settings, transport, encoded_context(context), Reporter(), on_loss, spool_of(settings))
        super().__init__(settings, worker, plan, (before_send,) if callable(before_send) else before_send)
        self._worker = worker
        # Without a client nothing more can come: the worker may end once all is delivered.
        weakref.finalize(self, worker.retire).atexit = False

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
        does the same. May be called more than once. With a spool what is left stays on disk.
        """
        try:
            self._discard_undecided()
            return self._worker.close(timeout_seconds)
        except Exception as error:
            self._internal(error)
            return False

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def batch_url(settings: Settings) -> str:
    """Where batches are posted."""
    return settings.endpoint.rstrip("/") + "/v1/batch"


def spool_of(settings: Settings) -> "Spool | None":
    """The spool that the settings ask for. Raises SettingsError if its directory cannot be used."""
    if settings.spool is None or not settings.enabled:
        return None
    from polku.spool import Spool

    try:
        return Spool(settings.spool, settings.spool_bytes)
    except OSError as error:
        raise SettingsError([f"option 'spool': {error}"]) from error


def encoded_context(given: Mapping[str, Any] | None) -> bytes:
    """The context of every event, encoded once."""
    try:
        whole = {"library": {"name": "polku-python", "version": __version__}, **(given or {})}
        raw = encode_object(whole)
        msgspec.json.decode(raw)
    except Exception as error:
        raise SettingsError([f"option 'context' has no JSON form: {error}"]) from error
    return raw
