"""How the SDK speaks to the developer: the logger `polku`, never twice the same in a short while.

What the SDK itself finds is told by names, paths and types, never by values.
"""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Hashable

MAX_KEYS = 1_000
"""Different messages remembered; when a program makes more of them, the later ones share one turn."""
REPEAT_AFTER_SECONDS = 60.0

logger = logging.getLogger("polku")

_PACKAGE = os.path.dirname(__file__) + os.sep  # noqa: PTH120  (an import that most programs have no use for)


class Reporter:
    """Rate-limited warnings. Never raises, whatever a logging handler does."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said: set[Hashable] = set()
        self._turns: dict[Hashable, tuple[float, int]] = {}

    def once(self, key: Hashable, text: str) -> None:
        """Warn, the first time that `key` is seen."""
        if key in self._said or len(self._said) >= MAX_KEYS:
            return
        self._said.add(key)
        warn(text)

    def limited(self, key: Hashable, text: str, every_seconds: float = REPEAT_AFTER_SECONDS) -> None:
        """Warn, at most once in `every_seconds` for `key`; the next line tells how many were withheld."""
        if len(self._turns) >= MAX_KEYS and key not in self._turns:
            key = "more"
        now = self._clock()
        next_turn, withheld = self._turns.get(key, (now, 0))
        if now < next_turn:
            self._turns[key] = (next_turn, withheld + 1)
            return
        self._turns[key] = (now + every_seconds, 0)
        warn(f"{text} ({withheld} more like this were not logged)" if withheld else text)


def show(text: str) -> None:
    """Print one line on standard error, for `debug=True`."""
    with contextlib.suppress(Exception):  # there is no standard error, or it is closed
        print(text, file=sys.stderr, flush=True)


def calling_place() -> tuple[str, int]:
    """File and line of the code that called the SDK."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def warn(text: str) -> None:
    """Warn. Never raises, as the reporter that does so at most now and then."""
    with contextlib.suppress(Exception):  # a handler of the host program failed: not ours to raise
        logger.warning("%s", text)
