"""Says how an import goes: a bar that is drawn over on a terminal, otherwise a line now and then."""

import time
from typing import TextIO

import msgspec

BAR_WIDTH = 20
DRAW_EVERY_SECONDS = 0.2
LINE_EVERY_SECONDS = 10.0
"""Into a log file: often enough to see that it goes on."""


class Counts(msgspec.Struct):
    """What became of the lines so far."""

    accepted: int = 0
    rejected: int = 0
    """By the collector, which keeps them in quarantine."""
    unsent: int = 0
    """Lines of which no event could be made."""
    lost: int = 0
    """Events that no collector takes, such as one that is too large."""

    @property
    def lines(self) -> int:
        """All of them."""
        return self.accepted + self.rejected + self.unsent + self.lost

    def __str__(self) -> str:
        bad = [("rejected", self.rejected), ("not sent", self.unsent), ("lost", self.lost)]
        return ", ".join([f"{self.accepted:,} accepted", *(f"{count:,} {what}" for what, count in bad if count)])


class Progress:
    """Writes to one stream, `err` of the command."""

    def __init__(self, err: TextIO) -> None:
        self._err = err
        self._tty = err.isatty()
        self._began = time.monotonic()
        self._next = self._began + (0.0 if self._tty else LINE_EVERY_SECONDS)
        self._drawn = False

    def say(self, text: str) -> None:
        """A line that stays."""
        self._wipe()
        print(text, file=self._err, flush=True)

    def update(self, name: str, fraction: float | None, counts: Counts) -> None:
        """Draw, if it is time to."""
        at = time.monotonic()
        if at < self._next:
            return
        self._next = at + (DRAW_EVERY_SECONDS if self._tty else LINE_EVERY_SECONDS)
        parts = [name, f"{counts}", f"{self.rate(counts):,.0f} events/s"]
        if fraction is not None:
            filled = int(fraction * BAR_WIDTH)
            bar = f"[{'#' * filled}{'-' * (BAR_WIDTH - filled)}] " if self._tty else ""
            parts.insert(1, f"{bar}{fraction:.0%}")
        self._wipe()
        self._err.write("  ".join(parts) + ("" if self._tty else "\n"))
        self._err.flush()
        self._drawn = self._tty

    def rate(self, counts: Counts) -> float:
        """Lines a second since the start."""
        return counts.lines / max(1e-9, time.monotonic() - self._began)

    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._began

    def end(self) -> None:
        """Leave no half line behind."""
        self._wipe()
        self._err.flush()

    def _wipe(self) -> None:
        if self._drawn:
            self._err.write("\r\x1b[K")
            self._drawn = False
