"""Says when something below a folder has changed. What that means is for others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import structlog
import watchfiles

log = structlog.get_logger("polku.plan")

# Editors and copies touch many files; told once they have been quiet for so long, or at the latest after the debounce.
_QUIET_MILLISECONDS = 200
_DEBOUNCE_MILLISECONDS = 1600


def watch_folder(folder: Path, changed: Callable[[], None]) -> None:
    """Call `changed` after each burst of changes, in a thread that lives as long as the process."""

    def watch() -> None:
        try:
            for _ in watchfiles.watch(folder, debounce=_DEBOUNCE_MILLISECONDS, step=_QUIET_MILLISECONDS):
                changed()
        except (OSError, RuntimeError) as error:  # the folder was removed, or the system has no watches left
            log.warning("the plan is no longer watched; SIGHUP still works", folder=str(folder), reason=str(error))

    threading.Thread(target=watch, name="polku-watch", daemon=True).start()
