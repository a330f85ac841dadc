"""Polku: track events from Python to a Polku (or Segment-compatible) collector.

    import polku

    polku.configure("write-key", "https://collect.example.com")   # or POLKU_WRITE_KEY and POLKU_ENDPOINT
    polku.identify("user-1", {"plan": "premium"}, anonymous_id="a-77")
    polku.track("product_viewed", {"product_id": "sku-1", "price": 79.90}, user_id="user-1")

    client = polku.Client("write-key", "https://collect.example.com", batch_age_seconds=0.1)
    client.track("order_completed", {"order_id": "o-1", "revenue": 79.90}, user_id="user-1")
    client.flush()
    print(client.stats())

Calls return at once and never raise; a background thread delivers, retries and reports what was lost.
"""

import typing as _typing

from polku.client import Client
from polku.context import Scope, bind, bind_request, bound, carry, scope, unbind
from polku.default import alias, close, configure, consent, flush, group, identify, page, screen, stats, track
from polku.errors import InvalidEvent, InvalidValue, Loss, LossReason, PolkuError, SettingsError, WithheldReason
from polku.settings import Settings
from polku.tracker import Plan, PlannedEvent, Stats
from polku.transport import Answer, HttpTransport, MemoryTransport, Transport
from polku.version import __version__

if _typing.TYPE_CHECKING:
    from polku.async_client import AsyncClient
    from polku.serverless import delivered, delivering

__all__ = [
    "Answer",
    "AsyncClient",
    "Client",
    "HttpTransport",
    "InvalidEvent",
    "InvalidValue",
    "Loss",
    "LossReason",
    "MemoryTransport",
    "Plan",
    "PlannedEvent",
    "PolkuError",
    "Scope",
    "Settings",
    "SettingsError",
    "Stats",
    "Transport",
    "WithheldReason",
    "__version__",
    "alias",
    "bind",
    "bind_request",
    "bound",
    "carry",
    "close",
    "configure",
    "consent",
    "delivered",
    "delivering",
    "flush",
    "group",
    "identify",
    "page",
    "scope",
    "screen",
    "stats",
    "track",
    "unbind",
]


_LATER = {"AsyncClient": "async_client", "delivered": "serverless", "delivering": "serverless"}


def __getattr__(name: str) -> _typing.Any:
    # Few programs want these, and all would pay for their imports (asyncio is most of them).
    if name in _LATER:
        import importlib

        return getattr(importlib.import_module(f"polku.{_LATER[name]}"), name)
    raise AttributeError(f"module 'polku' has no attribute {name!r}")
