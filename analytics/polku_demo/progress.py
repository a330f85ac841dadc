"""How far a long step is: one line that is rewritten on a terminal, a line every few seconds in a log."""

import time
from collections.abc import Callable
from typing import TextIO

LOG_EVERY_SECONDS = 5.0
TERMINAL_EVERY_SECONDS = 0.1


class Progress:
    """Shows counts of `total`; leaves a finished line behind when the `with` block ends."""

    def __init__(self, label: str, total: int, out: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._total = total
        self._out = out
        self._clock = clock
        self._terminal = out.isatty()
        self._every = TERMINAL_EVERY_SECONDS if self._terminal else LOG_EVERY_SECONDS
        self._started = clock()
        self._next = self._started + self._every
        self._count = 0
        self._shown = -1

    def at(self, count: int) -> None:
        """So many are done."""
        self._count = count
        now = self._clock()
        if now >= self._next:
            self._next = now + self._every
            self._show(now, "\r" if self._terminal else "", "" if self._terminal else "\n")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal or self._shown != self._count:
            self._show(self._clock(), "\r" if self._terminal else "", "\n")

    def _show(self, now: float, before: str, after: str) -> None:
        self._shown = self._count
        rate = self._count / max(now - self._started, 1e-6)
        share = self._count / self._total if self._total else 1.0
        line = f"  {self._label}  {self._count:>9,} of {self._total:,}  {share:4.0%}  {rate:>8,.0f} events/s"
        self._out.write(f"{before}{line}{after}")
        self._out.flush()
