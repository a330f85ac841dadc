"""Makes a round happen: starts its world, runs its timeline while load is sent, leaves it in peace, drains, judges."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from msgspec import Struct, field

from tests.collector.world import wait_until

from .load import Ledger, Load
from .oracle import Verdict, judge_to_the_end
from .plan import ClockStep, DiskError, FaultWindow, Kill, Lane, Round
from .points import (
    COMMITTER_POINTS,
    COPY_POINTS,
    HAND_OVER_POINTS,
    INTAKE_POINTS,
    LOCAL_POINTS,
    MAINTENANCE_POINTS,
    STORE_POINTS,
    TAKE_OVER_POINTS,
    StorePoint,
)
from .ports import own_port
from .readers import Reader, missing
from .store import StoreProcess
from .world import LAKE_URI, START_SECONDS, STOP_SECONDS, Node, lake_folder, store_environment

_STORE_POINTS = {**STORE_POINTS, **HAND_OVER_POINTS, **TAKE_OVER_POINTS}
_DISK_POINTS = {**INTAKE_POINTS, **COMMITTER_POINTS, **LOCAL_POINTS, **COPY_POINTS, **MAINTENANCE_POINTS}
# How long a point stays armed: a process that was just killed needs some seconds to come back.
_PATIENCE_SECONDS = 10.0
_DRAINS = 3
_STORE_AWAY_SECONDS = 1.5


class Outcome(Struct):
    """What came of a round."""

    wrong: list[str]
    kills: Counter[str] = field(default_factory=Counter)
    """by role"""
    points: Counter[str] = field(default_factory=Counter)
    """kills at named points, by name; counted in `kills` too"""
    faults: Counter[str] = field(default_factory=Counter)
    """faults of store, disk and clock that were made, by kind"""
    windows: int = 0
    """scoped faults that met somebody"""
    acknowledged: int = 0
    duplicates: int = 0
    orphans: int = 0
    rows: int = 0
    quarantined: int = 0
    looked_up: int = 0
    """requests whose events a fresh reader was asked for when they were answered"""
    seconds: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    """how many seconds each part of it took"""


def run(plan: Round, root: Path, readers: dict[str, Reader]) -> Outcome:
    """Play a round in an empty folder."""
    started = time.monotonic()
    outcome = Outcome([])
    ledger = Ledger()
    verdict = Verdict([])
    try:
        with _world(plan, root) as world:
            outcome.phases["start"] = time.monotonic() - started
            try:
                phases = {"play": partial(world.play, ledger), "calm": lambda _: world.calm(), "drain": world.drain}
                for name, phase in phases.items():
                    began = time.monotonic()
                    phase(outcome)
                    outcome.phases[name] = time.monotonic() - began
            except (AssertionError, subprocess.TimeoutExpired) as error:
                outcome.wrong.append(str(error)[-3000:])
            for node in world.nodes:
                if "journal is damaged" in node.log():
                    outcome.wrong.append("a collector reported damage in its journal, and nobody had damaged it")
                outcome.kills += node.killed
                if node.proxy is not None:
                    outcome.faults += node.proxy.made
            began = time.monotonic()
            verdict = judge_to_the_end(world.lake, world.uri, world.environment, ledger, readers, world.unfinished)
            outcome.phases["judge"] = time.monotonic() - began
    except AssertionError as error:  # it did not even start
        outcome.wrong.append(str(error)[-3000:])
    outcome.wrong += verdict.wrong
    outcome.acknowledged, outcome.duplicates, outcome.orphans = ledger.events, verdict.duplicates, verdict.orphans
    outcome.rows, outcome.quarantined = verdict.rows, verdict.quarantined
    outcome.looked_up = ledger.looked_up
    outcome.seconds = time.monotonic() - started
    return outcome


@contextlib.contextmanager
def _world(plan: Round, root: Path) -> Iterator[_World]:
    world = _World(plan, root)
    try:
        world.start()
        yield world
    finally:
        world.close()


class _World:
    def __init__(self, plan: Round, root: Path) -> None:
        self._plan, self._root = plan, root
        self.nodes: list[Node] = []
        self.store: StoreProcess | None = None
        self._disk = root / "disk"
        self._elsewhere: Path | None = None
        self._quiet = threading.Event()
        self._load: Load | None = None
        self._served: dict[int, int] = {}
        """by node: what it had answered when its supervisor was last killed"""

    @property
    def lake(self) -> Path:
        """The tables as a folder."""
        return lake_folder(self.store) if self.store is not None else self._root / "lake"

    @property
    def uri(self) -> str:
        """The lake's address."""
        return LAKE_URI if self.store is not None else str(self._root / "lake")

    @property
    def environment(self) -> dict[str, str]:
        """How whoever is in no round's way reaches it."""
        return {**os.environ, **(store_environment(self.store.address) if self.store is not None else {})}

    def unfinished(self) -> list[str]:
        """Uploads to the store that were begun and not ended."""
        return self.store.unfinished() if self.store is not None else []

    def start(self) -> None:
        plan, root = self._plan, self._root
        if plan.own_disk_bytes:
            self._disk.mkdir()
            size = f"size={plan.own_disk_bytes}"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self._disk)], check=True)
            for name in ("lake", "journal"):
                (self._disk / name).mkdir()
            (root / "lake").symlink_to(self._disk / "lake")
            (root / "node-0").mkdir()
            (root / "node-0" / "journal").symlink_to(self._disk / "journal")
        if plan.staging_elsewhere:
            self._elsewhere = Path("/dev/shm") / f"polku-chaos-{os.getpid()}"  # noqa: S108  (another file system)
            self._elsewhere.mkdir()
            (root / "node-0" / "journal").mkdir(parents=True)
            (root / "node-0" / "journal" / "staging").symlink_to(self._elsewhere)
        if plan.lake == "s3":
            self.store = StoreProcess(root / "store")
        for number in range(plan.nodes):
            self.nodes.append(
                Node(
                    root / f"node-{number}",
                    self.uri,
                    store=self.store,
                    proxy_port=own_port(),
                    workers=plan.workers,
                    flush_seconds=plan.flush_seconds,
                    seed=f"{plan.seed} {number}",
                    clock=bool(plan.clock),
                    commit=plan.commits[number] if plan.commits else "self",
                )
            )
        for node in self.nodes:
            node.wait_ready(START_SECONDS)
            wait_until(lambda node=node: '"committing"' in node.log(), START_SECONDS, node.log)

    def close(self) -> None:
        self._quiet.set()
        if self._load is not None:
            self._load.stop()
        for node in self.nodes:
            node.close()
        if self.store is not None:
            self.store.kill()
        if self._elsewhere is not None:
            shutil.rmtree(self._elsewhere, ignore_errors=True)
        if self._plan.own_disk_bytes:
            subprocess.run(["umount", "--lazy", str(self._disk)], check=False)

    # While load is sent -------------------------------------------------------------------------------------------

    def play(self, ledger: Ledger, outcome: Outcome) -> None:
        plan = self._plan
        self._load = Load(
            [node.url for node in self.nodes],
            ledger,
            plan.seed,
            threads=2 + len(self.nodes),
            pause_seconds=0.15,
            committed=partial(missing, self.lake) if plan.sure else None,
        )
        armers = [threading.Thread(target=self._arm_in_turn, args=(lane, ledger, outcome)) for lane in plan.lanes]
        for thread in armers:
            thread.start()
        self._follow_timeline(ledger, outcome)
        self._quiet.set()
        for thread in armers:
            thread.join()

    def calm(self) -> None:
        """Nothing is done to anybody any more: all come back, and what was not answered is sent again."""
        assert self._load is not None
        self._load.stop()
        for node in self.nodes:
            node.restart_if_dead()
        for node in self.nodes:
            node.wait_ready(START_SECONDS)
        self._load.send_what_is_open()

    def _follow_timeline(self, ledger: Ledger, outcome: Outcome) -> None:
        started = time.monotonic()
        for at, act in sorted(self._timeline(ledger, outcome), key=lambda entry: entry[0]):
            while (left := started + min(at, self._plan.seconds) - time.monotonic()) > 0:
                time.sleep(min(0.05, left))
                for node in self.nodes:  # whoever a point has killed
                    node.restart_if_dead()
            act()

    def _timeline(self, ledger: Ledger, outcome: Outcome) -> Iterator[tuple[float, Callable[[], object]]]:
        plan = self._plan
        for kill in plan.kills:
            if kill.role == "store":
                yield kill.at, partial(self._kill_store, outcome)
                yield kill.at + _STORE_AWAY_SECONDS, self._start_store
            else:
                yield kill.at, partial(self._kill, kill, ledger, outcome)
        for window in plan.faults:
            before: list[int] = []
            yield window.at, partial(self._begin_fault, window, before)
            yield window.at + window.seconds, partial(self._end_fault, window, before, outcome)
        for error in plan.disk_errors:
            armed: list[Path] = []
            yield error.at, partial(self._break_disk, error, armed)
            yield error.at + error.seconds, partial(self._heal_disk, error, armed, outcome)
        for full in plan.full_disk:
            yield full.at, partial(self._fill_disk, full.bytes_left, outcome)
            yield full.at + full.seconds, (self._disk / "filler").unlink
        for step in plan.clock:
            yield step.at, partial(self._step_clock, step, outcome)
        yield plan.seconds, lambda: None

    def _kill(self, kill: Kill, ledger: Ledger, outcome: Outcome) -> None:
        node = self.nodes[kill.node]
        if kill.role == "supervisor":
            served = ledger.requests[kill.node]
            # A whole node takes seconds to start: on a slow machine it would never get to anything but that.
            if node.process.poll() is None and served > self._served.get(kill.node, -1):
                self._served[kill.node] = served
                node.kill()
                outcome.kills[kill.role] += 1
            node.restart_if_dead()
        elif node.kill_role(kill.role, kill.which):
            outcome.kills[kill.role] += 1

    def _kill_store(self, outcome: Outcome) -> None:
        assert self.store is not None
        if self.store.kill():
            outcome.kills["store"] += 1
            outcome.windows += 1

    def _start_store(self) -> None:
        assert self.store is not None
        self.store.start()

    def _begin_fault(self, window: FaultWindow, before: list[int]) -> None:
        proxy = self.nodes[window.node].proxy
        assert proxy is not None
        before.append(proxy.made[window.fault.kind])
        if window.fault.kind == "refuse":
            proxy.refuse()
        else:
            proxy.faults = (window.fault,)

    def _end_fault(self, window: FaultWindow, before: list[int], outcome: Outcome) -> None:
        proxy = self.nodes[window.node].proxy
        assert proxy is not None
        proxy.faults = ()
        proxy.listen()
        outcome.windows += proxy.made[window.fault.kind] > before[0]

    def _break_disk(self, error: DiskError, armed: list[Path]) -> None:
        armed.append(self.nodes[error.node].disk.arm(error.point))

    def _heal_disk(self, error: DiskError, armed: list[Path], outcome: Outcome) -> None:
        if self.nodes[error.node].disk.disarm(armed[0]):
            outcome.windows += 1
            outcome.faults[f"disk {error.point.error}"] += 1

    def _step_clock(self, step: ClockStep, outcome: Outcome) -> None:
        self.nodes[step.node].step_clock(step.off_seconds)
        outcome.faults["clock step"] += 1
        outcome.windows += 1

    def _fill_disk(self, bytes_left: int, outcome: Outcome) -> None:
        with (self._disk / "filler").open("wb", buffering=0) as filler:
            free = shutil.disk_usage(self._disk).free
            with contextlib.suppress(OSError):  # the collectors were faster
                os.posix_fallocate(filler.fileno(), 0, max(4096, free - bytes_left))
        outcome.faults["full disk"] += 1
        outcome.windows += 1

    def _arm_in_turn(self, lane: Lane, ledger: Ledger, outcome: Outcome) -> None:
        """Arm the points of a lane one after the other until the round is over, each on a node that has come back."""
        node = self.nodes[lane.node]
        for point in lane.points:
            served = ledger.requests[lane.node]
            self._await(partial(_has_served, ledger, lane.node, served + 1))
            if self._quiet.is_set():
                return
            place = _STORE_POINTS.get(point.name) or _DISK_POINTS[point.name]
            if isinstance(place, StorePoint):
                node.whole_node = point.whole_node
                node.points.arm(place)
                self._provoke(node, place.provoked_by, outcome)
                self._await(node.points.has_fired)
                if node.points.disarm():
                    outcome.points[point.name] += 1
                continue
            armed = node.disk.arm(place)
            self._provoke(node, place.provoked_by, outcome)
            self._await(partial(node.disk.has_fired, armed))
            if node.disk.disarm(armed):
                outcome.points[point.name] += 1
                outcome.kills[place.role] += 1
                if point.whole_node and node.process.poll() is None:
                    node.process.kill()
                    outcome.kills["supervisor"] += 1

    @staticmethod
    def _provoke(node: Node, role: str, outcome: Outcome) -> None:
        """Kill whose successor, or whose heir, will come to the point."""
        if role and node.kill_role(role, 0):
            outcome.kills[role] += 1

    def _await(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not condition() and time.monotonic() < deadline and not self._quiet.is_set():
            time.sleep(0.03)

    # Afterwards ---------------------------------------------------------------------------------------------------

    def drain(self, outcome: Outcome) -> None:
        """SIGTERM until everything is in the lake; how an operator would go about it."""
        for attempt in range(_DRAINS):
            codes = self._stop_all()
            if not any(codes):
                break
            for node, code in zip(self.nodes, codes, strict=True):
                assert code in (0, 75), f"a collector ended with {code}:\n{node.log()}"
            if attempt < _DRAINS - 1:
                for node in self.nodes:
                    node.restart()
                for node in self.nodes:
                    node.wait_ready(START_SECONDS)
        else:
            outcome.wrong.append(f"not drained after {_DRAINS} times: exit codes {codes}")
        if "hand_over" in self._plan.commits:
            self._commit_handed_over(outcome)
        for node, code in zip(self.nodes, codes, strict=True):
            left = list((node.root / "journal" / "streams").glob("*/*.journal"))
            if left:
                outcome.wrong.append(f"{node.root.name} ended with {code} and left {len(left)} segments of its journal")

    def _stop_all(self) -> list[int]:
        """Their exit codes; whoever commits for others is the last."""
        codes: dict[int, int] = {}
        for last in (False, True):
            group = {number: node for number, node in enumerate(self.nodes) if self._is_last(number) == last}
            for node in group.values():
                if node.process.poll() is None:
                    node.process.terminate()
            codes |= {number: node.stop(STOP_SECONDS) for number, node in group.items()}
        return [codes[number] for number in range(len(self.nodes))]

    def _is_last(self, number: int) -> bool:
        return "hand_over" not in self._plan.commits or self._plan.commits[number] != "hand_over"

    def _commit_handed_over(self, outcome: Outcome) -> None:
        """What nobody took any more is committed by hand; then nothing is left to be drained from a journal."""
        self._by_hand(outcome, "commit-handed-over", str(self.nodes[0].root / "collector.toml"), "--once")
        for node, commit in zip(self.nodes, self._plan.commits, strict=True):
            if commit == "hand_over":
                self._by_hand(outcome, "drain", "--journal", str(node.root / "journal"))

    def _by_hand(self, outcome: Outcome, *arguments: str) -> None:
        command = [sys.executable, "-m", "polku.cli", "lake", *arguments, "--lake", self.uri]
        done = subprocess.run(
            command,
            env=self.environment | {"POLKU_FLUSH_SECONDS": str(self._plan.flush_seconds)},
            capture_output=True,
            text=True,
            check=False,
            timeout=STOP_SECONDS,
        )
        if done.returncode:
            outcome.wrong.append(
                f"polku lake {arguments[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-1000:]}"
            )


def _has_served(ledger: Ledger, node: int, more_than: int) -> bool:
    return ledger.requests[node] > more_than
