"""How many files a flush may write. Pure.

Commits and readers slow down with the number of live files, so there is about one new file a second and table on
average. Within that, large event names get narrow files of their own; under sustained load they share one.
"""

from __future__ import annotations

from msgspec import Struct

FILES_PER_SECOND = 1.0
BURST_FILES = 60.0


def usual_files(events_a_flush: float, flush_seconds: float, own_lines: int) -> float:
    """About how many files of events a flush writes, day in, day out: a name with `own_lines` has one of its own."""
    own = min(events_a_flush // own_lines, FILES_PER_SECOND * flush_seconds - 1)
    return 1 + max(0.0, own)


class FileBudget(Struct):
    """A bucket of files that fills with time. `now` is a monotonic clock in seconds."""

    tokens: float = BURST_FILES
    filled_at: float | None = None

    def own_files(self, now: float) -> int:
        """How many event names may have a file of their own in a flush that starts now; one is kept for the others."""
        if self.filled_at is not None:
            self.tokens = min(BURST_FILES, self.tokens + (now - self.filled_at) * FILES_PER_SECOND)
        self.filled_at = now
        return max(0, int(self.tokens) - 1)

    def spent(self, files: int) -> None:
        """Files that were written. A flush over many days may overdraw: then the next ones share for a while."""
        self.tokens = max(-BURST_FILES, self.tokens - files)
