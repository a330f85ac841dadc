"""What a forked child does first: locks, threads, files and connections are its parent's.

Python tells of a fork by `os.register_at_fork`. Servers that fork in C may not (uWSGI does only with
`--py-call-osafterfork`): then the child is known by its process id, at its first event.
"""

import os
from collections.abc import Callable

pid = os.getpid()
"""The process that all of this has been made ready for."""
_functions: list[Callable[[], object]] = []


def after_in_child(function: Callable[[], object]) -> None:
    """Call this in every child, before it uses anything of the SDK."""
    _functions.append(function)


def in_child() -> None:
    """This process is a child."""
    global pid
    pid = os.getpid()
    for function in _functions:
        function()


def look() -> None:
    """Find out whether this process is a child that nobody has told so."""
    if os.getpid() != pid:
        in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=in_child)
