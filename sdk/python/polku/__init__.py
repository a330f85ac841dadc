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

from polku.client import Client, Plan, PlannedEvent, Stats
from polku.context import Scope, bind, bind_request, bound, carry, scope, unbind
from polku.default import alias, close, configure, flush, group, identify, page, screen, stats, track
from polku.errors import InvalidEvent, InvalidValue, Loss, LossReason, PolkuError, SettingsError
from polku.settings import Settings
from polku.transport import Answer, HttpTransport, MemoryTransport, Transport
from polku.version import __version__

__all__ = [
    "Answer",
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
    "__version__",
    "alias",
    "bind",
    "bind_request",
    "bound",
    "carry",
    "close",
    "configure",
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
