"""For all tests: the run ends with pytest's summary, Ctrl-C means what it means, and no example has a deadline."""

import os
import signal
import sys

import hypothesis
import pytest

# Else an example fails that took 200 ms because something else was at work on the machine.
hypothesis.settings.register_profile("polku", deadline=None)
hypothesis.settings.load_profile("polku")

_status = 0

# A shell without job control lets what it starts in the background ignore Ctrl-C, and so would whatever we start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    global _status
    _status = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End here: at interpreter exit DuckDB's binding prints pages about objects that failed assertions still hold."""
    if not hasattr(config, "workerinput"):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_status)
