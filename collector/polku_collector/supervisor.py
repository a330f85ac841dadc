"""The parent of a node's processes, N intake workers, a committer, helpers: starts, restarts and stops them in order.

At a start the first intake workers load beside the check of the plan, and wait for its end before they take anything.

Every child asks the kernel to be ended with its parent, so that a killed supervisor leaves nobody on the port. On
SIGTERM intake finishes its requests first; then the committer puts what is journalled into the lake. When a new plan
is to be taken, a short-lived child brings it into force, and then the intake workers are told, with SIGUSR1.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import multiprocessing
import os
import pkgutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

import structlog
from msgspec import Struct

log = structlog.get_logger("polku.supervisor")

EXIT_DRAINED = 0
EXIT_NOT_DRAINED = 75
# A child that ends so says that starting it again cannot help.
EXIT_HOPELESS = 2

# What the child that brings a plan into force ends with; any other code is a refusal.
EXIT_IN_FORCE = 0
EXIT_UNCHANGED = 3
EXIT_LATER = 75

_LONGEST_BACKOFF_SECONDS = 10.0
_STEADY_SECONDS = 10.0  # a child that lived this long starts over with a short back-off
_POLL_SECONDS = 0.1
_HELPER_PATIENCE_SECONDS = 5.0  # beside what the committer took
_PORT_PATIENCE_SECONDS = 3.0
_LATER_SECONDS = 5.0  # a plan that waits for the store is tried again after so long
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_HELD = {signal.SIGTERM, signal.SIGHUP}  # not SIGINT: at a terminal nobody waits for what has not begun
_POLITE = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Role(Struct, frozen=True):
    """One kind of child: its name, and the function it runs, as `module:name` so that only the child imports it."""

    name: str
    run: str
    arguments: tuple[Any, ...] = ()  # Any: whatever `run` takes
    after_seconds: float = 0.0
    """Of a helper: so long after the others it is started. A start takes processor time that intake needs first."""


class _Child(Struct):
    role: Role
    process: BaseProcess | None = None
    started: float = 0.0
    failures: int = 0
    not_before: float = 0.0


class Clearance:
    """The word that intake may begin, for processes that were started before it could be given.

    It is never taken out of the socket: a worker that is started again a week later finds it there. One whose
    supervisor has died does not take its silence for it.
    """

    def __init__(self) -> None:
        self._giver, self.taker = socket.socketpair()

    def give(self) -> None:
        """Intake may begin."""
        self._giver.send(b"!")


def wait_for_clearance(taker: socket.socket) -> None:
    """Return when it is given; end this process when nobody is left to give it."""
    if not taker.recv(1, socket.MSG_PEEK):
        sys.exit(1)


class Start(Struct, frozen=True):
    """What lies between the first process and the first request."""

    check: Role
    """Run to its end, or for so many seconds, before `clearance` is given. It may say that there is no point in it."""
    check_seconds: float
    clearance: Clearance
    meanwhile: Callable[[], None]
    """What the supervisor's own process does until then."""
    on_cleared: Callable[[], None]


class Renewal(Struct, frozen=True):
    """How a new plan comes into force: the role that does it, and who is told what came of it."""

    role: Role
    on_outcome: Callable[[str], None]
    """Told `in_force`, `refused` or `later`."""
    on_hangup: bool
    """Whether SIGHUP asks for it. If not, SIGHUP ends the collector, as a terminal that closes expects."""


class Supervisor:
    """Runs the children until SIGTERM or SIGINT, or until one of them is hopeless."""

    def __init__(
        self,
        intake: list[Role],
        committer: Role,
        *,
        start: Start,
        renewal: Renewal,
        drain_seconds: float,
        helpers: Sequence[Role] = (),
        reload: Callable[[], bool] = lambda: False,
        on_restart: Callable[[str, int], None] = lambda role, pid: None,
    ) -> None:
        """`on_restart(role, pid)` is told of each child that died. The `intake` roles wait for the start's clearance.

        `helpers` do what no promise waits for: none of them is hopeless, and at the end nobody waits for them.
        `reload` reads the settings at a SIGHUP: whether there is something new in force, of which intake is to be told.
        """
        self._helpers = [_Child(role) for role in helpers]
        self._intake = [_Child(role) for role in intake]
        self._committer = _Child(committer)
        self._start_up, self._drain_seconds, self._on_restart = start, drain_seconds, on_restart
        self._stopping = False
        self._renewal, self._renewer = renewal, _Child(renewal.role)
        self._renewal_wanted = False
        self._reload, self._reload_wanted = reload, False

    def run(self) -> int:
        """Start, watch and stop everything; returns the command's exit code.

        One that is told to stop before it has begun starts all the same: what an earlier life left in the journal wants
        to be committed.
        """
        if self._begin() == EXIT_HOPELESS:
            return EXIT_HOPELESS
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        hangup = self._hang_up if self._renewal.on_hangup else self._stop
        signal.signal(signal.SIGHUP, hangup)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
        children = [self._committer, *self._intake]
        hopeless: int | None = None
        for child in children:
            if child.process is None:
                self._start(child)
        for child in self._helpers:
            child.not_before = time.monotonic() + child.role.after_seconds
        while not self._stopping and hopeless is None:
            time.sleep(_POLL_SECONDS)
            for child in children:
                hopeless = self._watch(child) if hopeless is None else hopeless
            for child in self._helpers:
                self._watch(child)
            if self._reload_wanted:
                self._reload_wanted = False
                if self._reload():
                    self._tell_intake()
            self._renew()
        for child in [self._renewer, *self._helpers]:
            _terminate(child)
        for child in self._intake:
            _terminate(child)
        for child in self._intake:
            _join(child, self._drain_seconds)
        if hopeless is None and (self._committer.process is None or self._committer.process.exitcode is not None):
            self._start(self._committer)  # it had just died: what is journalled still wants to be committed
        _terminate(self._committer)
        _join(self._committer, self._drain_seconds + 10)
        for child in self._helpers:
            _join(child, _HELPER_PATIENCE_SECONDS)
        _be_deaf()
        if hopeless is not None:
            return hopeless
        process = self._committer.process
        return EXIT_DRAINED if process is not None and process.exitcode == EXIT_DRAINED else EXIT_NOT_DRAINED

    def _begin(self) -> int | None:
        """Let intake load while the plan is checked; it may begin then. Returns the exit code of the check.

        The committer comes after it: a full journal keeps every processor busy, and intake needs one first.
        """
        # The check has a processor to itself; with fewer for intake its workers would only wait for each other.
        early = self._intake[: max(1, (os.cpu_count() or 1) - 1)]
        is_cleared = False
        try:
            for child in early:
                self._start(child)
            code = run_once(self._start_up.check, self._start_up.check_seconds, self._start_up.meanwhile)
            if code != EXIT_HOPELESS:
                self._start_up.on_cleared()
                self._start_up.clearance.give()
                is_cleared = True
        finally:
            if not is_cleared:  # they would wait, and Python for them
                for child in early:
                    _kill(child)
        return code

    def renew(self) -> None:
        """Take the plan anew, soon. Safe from a signal handler and from any thread."""
        self._renewal_wanted = True

    def _renew(self) -> None:
        """One step of it: start the child that does it, or act on what it ended with."""
        renewer, now = self._renewer, time.monotonic()
        if renewer.process is not None:
            code = renewer.process.exitcode
            if code is None:
                return
            renewer.process = None
            if code == EXIT_IN_FORCE:
                self._tell_intake()
            elif code == EXIT_LATER:
                self._renewal_wanted, renewer.not_before = True, now + _LATER_SECONDS
            if code != EXIT_UNCHANGED:
                outcomes = {EXIT_IN_FORCE: "in_force", EXIT_LATER: "later"}
                self._renewal.on_outcome(outcomes.get(code, "refused"))
        if self._renewal_wanted and now >= renewer.not_before:
            self._renewal_wanted = False
            self._start(renewer)

    def _tell_intake(self) -> None:
        """Something else is in force: a worker reads what it is."""
        for child in self._intake:
            if child.process is not None and child.process.exitcode is None and child.process.pid:
                os.kill(child.process.pid, signal.SIGUSR1)

    def _hang_up(self, number: int, frame: object) -> None:
        self._reload_wanted = self._renewal_wanted = True

    def _stop(self, number: int, frame: object) -> None:
        self._stopping = True

    def _start(self, child: _Child) -> None:
        process = _process(child.role)
        # Blocked until the child has its own handlers (`on_sigterm`, `on_renewal`): a signal while it still imports
        # is neither lost nor its end. The one that renews the plan may be ended at any time.
        blocked = set() if child is self._renewer else {signal.SIGTERM, signal.SIGUSR1}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)  # at the start some are held already
        child.process, child.started = process, time.monotonic()

    def _watch(self, child: _Child) -> int | None:
        """Restart a dead child after a back-off. Returns an exit code when there is no point in it."""
        process = child.process
        if process is not None and process.exitcode is None:
            return None
        now = time.monotonic()
        if process is not None:
            if process.exitcode == EXIT_HOPELESS:
                return EXIT_HOPELESS
            lived = now - child.started
            child.failures = 1 if lived > _STEADY_SECONDS else child.failures + 1
            pause = min(_LONGEST_BACKOFF_SECONDS, 0.1 * 2 ** (child.failures - 1))
            child.not_before, child.process = now + pause, None
            log.error("child died", role=child.role.name, code=process.exitcode, restart_in_seconds=pause)
            self._on_restart(child.role.name, process.pid or 0)
        if now >= child.not_before:
            self._start(child)
        return None


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """SIGTERM and SIGHUP wait, until `Supervisor.run` has handlers for them: neither is lost nor the command's end."""
    resource_tracker.ensure_running()  # else the first child starts it, and that lets SIGTERM through
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


def run_once(role: Role, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> int | None:
    """Run a child to its end; returns its exit code, or None if it was killed: not ended in time, or SIGTERM waits."""
    process = _process(role)
    process.start()
    try:
        deadline = time.monotonic() + seconds
        meanwhile()
        while process.exitcode is None and time.monotonic() < deadline and signal.SIGTERM not in signal.sigpending():
            process.join(_POLL_SECONDS)
        return process.exitcode
    finally:
        if process.exitcode is None:
            process.kill()
            process.join()


def _process(role: Role) -> BaseProcess:
    context = multiprocessing.get_context("spawn")
    return context.Process(target=_child_main, args=(os.getpid(), role.name, role.run, role.arguments))


def reserve_port(host: str, port: int) -> socket.socket:
    """A socket that holds the port for the workers (which bind it too, with SO_REUSEPORT) but never listens."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if port:
        _wait_until_free(family, host, port)
    holder = socket.socket(family, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind((host, port))
    return holder


def _wait_until_free(family: int, host: str, port: int) -> None:
    """Raise OSError if somebody has the port, also one of our own kind, which SO_REUSEPORT would let in beside it.

    The workers of a supervisor that was killed may hold it for a moment longer.
    """
    deadline = time.monotonic() + _PORT_PATIENCE_SECONDS
    while True:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            return


def on_sigterm(stop: Callable[[], None]) -> None:
    """In a child: what SIGTERM does. One that came since the child was started is delivered now."""
    signal.signal(signal.SIGTERM, lambda number, frame: stop())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def on_renewal(renew: Callable[[], None]) -> None:
    """In an intake worker: what to do when another plan is in force. One told since the start is done now."""
    signal.signal(signal.SIGUSR1, lambda number, frame: renew())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})


def _child_main(parent: int, role: str, run: str, arguments: tuple[Any, ...]) -> None:
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(_PR_SET_NAME, f"polku-{role}".encode())  # what `ps` and `top` show
    if os.getppid() != parent:  # it died before we could ask
        sys.exit(1)
    for number in (signal.SIGINT, signal.SIGHUP):  # these reach the whole group; the supervisor decides
        signal.signal(number, signal.SIG_IGN)
    try:
        pkgutil.resolve_name(run)(*arguments)
    except Exception:
        # multiprocessing would print a traceback of many lines past the log.
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
    finally:
        _be_deaf()


def _be_deaf() -> None:
    """All is done but the end of Python, which gives signals their defaults back: another SIGTERM would be -15."""
    for number in _POLITE:
        signal.signal(number, signal.SIG_IGN)


def _terminate(child: _Child) -> None:
    if child.process is not None and child.process.exitcode is None:
        child.process.terminate()


def _kill(child: _Child) -> None:
    if child.process is not None:
        child.process.kill()
        child.process.join()


def _join(child: _Child, seconds: float) -> None:
    if child.process is None:
        return
    child.process.join(seconds)
    if child.process.exitcode is None:
        log.error("child does not stop, killing it", role=child.role.name)
        child.process.kill()
        child.process.join()
