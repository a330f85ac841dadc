"""Ports for the processes of rounds: apart from those of other tests, and none twice.

A node takes its port seconds after it was told which, and again after each kill: free at one moment is not enough.
"""

import contextlib
import random
import socket

# Tests of pytest begin at 10,000, a thousand for each of its workers; the system's own are above 32,767.
_FIRST, _COUNT = 20_000, 10_000
_given: set[int] = set()


def own_port() -> int:
    """A port that nobody of this run was given before, and that nobody listens on."""
    while True:
        port = _FIRST + random.randrange(_COUNT)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _given:
                _given.add(port)
                return port
