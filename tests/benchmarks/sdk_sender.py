"""A program that tracks as fast as it can with the real SDK: `python -m tests.benchmarks.sdk_sender PORT SECONDS`."""

from __future__ import annotations

import sys
import time

import msgspec
from msgspec import Struct

import polku

# Ten properties, all of the plan.
PROPERTIES = {
    "product_id": "P-1042",
    "sku": "P-1042-BLUE-M",
    "name": "Wool sweater",
    "category": "Clothing/Sweaters",
    "brand": "Pohjola",
    "variant": "blue / M",
    "price": 59.9,
    "currency": "EUR",
    "position": 3,
    "in_stock": True,
}
_CLOSE_SECONDS = 60.0


class Sent(Struct, frozen=True):
    """What was delivered, and between which Unix times."""

    events: int
    requests: int
    retries: int
    first: float
    last: float


def send(port: int, seconds: float) -> Sent:
    """Track for so long, waiting for room when the queue is full; raises SystemExit if anything was lost."""
    client = polku.Client("bench", f"http://127.0.0.1:{port}", full_queue="block")
    deadline, calls, first = time.monotonic() + seconds, 0, time.time()
    while time.monotonic() < deadline:
        for _ in range(100):
            client.track("product_viewed", PROPERTIES, anonymous_id="a-1", user_id="u-1")
        calls += 100
    client.close(_CLOSE_SECONDS)
    last, stats = time.time(), client.stats()
    if stats.delivered != calls or stats.lost or stats.rejected or stats.odd:
        raise SystemExit(f"{calls} calls, but {stats}")
    return Sent(calls, stats.requests, stats.retries, first, last)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(send(int(sys.argv[1]), float(sys.argv[2]))))
