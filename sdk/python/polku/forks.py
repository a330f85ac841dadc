"""What a forked child does first: locks, threads, files and connections are its parent's.

Python tells of a fork by `os.register_at_fork`. Servers that fork in C may not (uWSGI does only with
`--py-call-osafterfork`): then the child finds it out at its first event, by a page that the kernel empties at a fork
(Linux), or by its process id. To ask for that costs four times as much as to look at the page, at every event.
"""

import mmap
import os
import sys
from collections.abc import Callable

from polku.report import warn

_MADV_WIPEONFORK = 18  # Linux 4.14; Python has no name for it


class _ProcessId:
    """What says whose process this is where the kernel empties no page."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def __getitem__(self, index: int) -> int:
        return os.getpid() == self._pid

    def __setitem__(self, index: int, value: int) -> None:
        self._pid = os.getpid()


def _mark() -> mmap.mmap | _ProcessId:
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        page.madvise(_MADV_WIPEONFORK)
    except (AttributeError, OSError, TypeError):  # another system, or an old kernel
        return _ProcessId()
    page[0] = 1
    return page


mark = _mark()
"""`mark[0]` is true in the process that all of this has been made ready for."""
_functions: list[Callable[[], object]] = []


def after_in_child(function: Callable[[], object]) -> None:
    """Call this in every child, before it uses anything of the SDK."""
    _functions.append(function)


def in_child() -> None:
    """This process is a child."""
    mark[0] = 1
    for function in _functions:
        try:
            function()
        except Exception as error:  # the others are to be called as well, and no call of the SDK raises
            warn(f"a part of the SDK is not ready after a fork: {type(error).__name__}: {error}")


def look() -> None:
    """Find out whether this process is a child that nobody has told so."""
    if not mark[0]:
        in_child()


def parent_may_be_mute() -> bool:
    """Whether the parent, perhaps, does not deliver what it had queued: `is_heir` knows it, a little later."""
    return "uwsgi" in sys.modules


def is_mute_master() -> bool:
    """Whether this is the master of a uWSGI, which runs no Python after it has forked, and forks in C.

    A thread that is at work just then leaves the child an interpreter in disorder, so none is started here: what is
    queued, a worker delivers.
    """
    uwsgi = sys.modules.get("uwsgi")
    try:
        return uwsgi is not None and uwsgi.masterpid() == os.getpid()
    except Exception:  # something else of this name
        return False


def is_heir() -> bool:
    """Whether this child has to deliver what its parent had queued: the first worker of a uWSGI has.

    The master of a uWSGI runs no Python after it has forked. A worker that takes the place of the first one does the
    same again, with the same events.
    """
    uwsgi = sys.modules.get("uwsgi")
    try:
        return uwsgi is not None and uwsgi.worker_id() == 1 and os.getppid() == uwsgi.masterpid()
    except Exception:  # something else of this name
        return False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=in_child)
