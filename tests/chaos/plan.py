"""What happens in a round: drawn from its seed before anything starts, so that the seed alone says it again."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from .points import (
    COMMITTER_POINTS,
    COPY_POINTS,
    HAND_OVER_POINTS,
    INTAKE_POINTS,
    LOCAL_POINTS,
    MAINTENANCE_POINTS,
    STORE_POINTS,
    TAKE_OVER_POINTS,
    DiskPoint,
)
from .proxy import Fault, Kind
from .world import HAS_MAINTENANCE

_MAINTENANCE: Mapping[str, object] = MAINTENANCE_POINTS if HAS_MAINTENANCE else {}


class Kill(Struct, frozen=True):
    """SIGKILL of a process at a time, whatever it is doing. `store`: the S3 server, which is away for a while."""

    at: float
    node: int
    role: str
    which: int
    """of several of that role"""


class Point(Struct, frozen=True):
    """A named point to be killed at."""

    name: str
    whole_node: bool = False


class Lane(Struct, frozen=True):
    """Points of one node that are armed one after the other, each until it fires or patience ends."""

    node: int
    points: tuple[Point, ...]


class FaultWindow(Struct, frozen=True):
    """A fault of the store that one node meets for a while."""

    at: float
    seconds: float
    node: int
    fault: Fault


class DiskError(Struct, frozen=True):
    """An error of a node's disk for a while."""

    at: float
    seconds: float
    node: int
    point: DiskPoint


class FullDisk(Struct, frozen=True):
    """The disk of journal and lake is full but for some bytes, for a while."""

    at: float
    seconds: float
    bytes_left: int


class ClockStep(Struct, frozen=True):
    """From now on a node's clock is off by this much."""

    at: float
    node: int
    off_seconds: int


class Round(Struct, frozen=True):
    """Everything that is going to happen."""

    scenario: str
    seed: str
    lake: Literal["local", "s3"]
    nodes: int = 1
    workers: int = 2
    seconds: float = 20.0
    flush_seconds: float = 0.2
    kills: tuple[Kill, ...] = ()
    lanes: tuple[Lane, ...] = ()
    faults: tuple[FaultWindow, ...] = ()
    disk_errors: tuple[DiskError, ...] = ()
    full_disk: tuple[FullDisk, ...] = ()
    clock: tuple[ClockStep, ...] = ()
    commits: tuple[Literal["self", "hand_over", "for_all"], ...] = ()
    """how each node's `[lake] commit` is; empty: each for itself"""
    sure: bool = False
    """there is load too of a source that is answered after the commit"""
    own_disk_bytes: int = 0
    """journal and lake get a file system of this size"""
    staging_elsewhere: bool = False
    """data files are made on another file system than the lake's"""


def draw(scenario: str, seed: str, seconds: float) -> Round:
    """The round of a seed."""
    return SCENARIOS[scenario](random.Random(f"{scenario} {seed}"), seed, seconds)


# Scenarios --------------------------------------------------------------------------------------------------------


def _local_kills(chance: random.Random, seed: str, seconds: float) -> Round:
    return Round(
        "local-kills",
        seed,
        "local",
        seconds=seconds,
        kills=_kills(chance, seconds, nodes=1, every=3.0),
        lanes=_lanes(chance, seconds, 1, INTAKE_POINTS, {**COMMITTER_POINTS, **LOCAL_POINTS}, _MAINTENANCE),
        sure=True,
    )


def _local_two(chance: random.Random, seed: str, seconds: float) -> Round:
    return Round(
        "local-two-nodes",
        seed,
        "local",
        nodes=2,
        workers=1,
        seconds=seconds,
        kills=_kills(chance, seconds, nodes=2, every=3.0),
        lanes=_lanes(chance, seconds, 2, INTAKE_POINTS, {**COMMITTER_POINTS, **LOCAL_POINTS}, _MAINTENANCE),
    )


def _staging_elsewhere(chance: random.Random, seed: str, seconds: float) -> Round:
    return Round(
        "local-staging-on-another-disk",
        seed,
        "local",
        workers=1,
        seconds=seconds,
        kills=_kills(chance, seconds, nodes=1, every=4.0),
        lanes=_lanes(chance, seconds, 1, COPY_POINTS),
        staging_elsewhere=True,
    )


def _disk_errors(chance: random.Random, seed: str, seconds: float) -> Round:
    """The disk says ENOSPC or EIO, at writes and at fsyncs, of the journal, the lake and the index of ids."""
    errors = []
    at = 2.0
    while at < seconds - 2:
        operation, pattern = chance.choice(
            [
                ("write", r"\.journal$"),
                ("sync", r"\.journal$"),
                ("create", r"\.journal$"),
                ("sync_directory", r"/streams/\w+$"),
                ("sync_file", r"date=.*parquet$|staging.*parquet$"),
                ("rename", r"date=.*parquet$"),
                ("sync_file", r"_delta_log/\d+\.json$"),
                ("sync_directory", r"_delta_log$"),
                ("write", r"/ids/"),
                ("rename", r"/ids/"),
                ("remove", r"\.journal$"),
            ]
        )
        moment: Literal["before", "after"] = chance.choice(["before", "after"])
        length = chance.uniform(0.5, 2.5)
        point = DiskPoint("", operation, pattern, moment, error=chance.choice(["ENOSPC", "EIO"]))
        errors.append(DiskError(at, length, 0, point))
        at += length + chance.uniform(0.2, 1.5)
    return Round(
        "local-disk-errors",
        seed,
        "local",
        seconds=seconds,
        kills=_kills(chance, seconds, nodes=1, every=5.0),
        disk_errors=tuple(errors),
    )


def _full_disk(chance: random.Random, seed: str, seconds: float) -> Round:
    """Another program fills the disk, also beyond what intake keeps free."""
    windows = []
    at = 2.0
    while at < seconds - 3:
        length = chance.uniform(2.0, 4.0)
        windows.append(FullDisk(at, length, chance.choice([0, 0, 50_000, 400_000, 800_000])))
        at += length + chance.uniform(1.5, 3.0)
    return Round(
        "local-full-disk",
        seed,
        "local",
        workers=1,
        seconds=seconds,
        kills=_kills(chance, seconds, nodes=1, every=5.0),
        full_disk=tuple(windows),
        own_disk_bytes=64 << 20,
    )


def _clock(chance: random.Random, seed: str, seconds: float) -> Round:
    """Clocks jump by minutes and days, forth and back, each node's its own way. Less than the window of duplicates."""
    steps, at = [], 1.0
    while at < seconds:
        off = chance.choice([-3 * 86_400, -3_600, -61, 0, 5, 61, 3_600, 3 * 86_400])
        steps.append(ClockStep(at, chance.randrange(2), off))
        at += chance.uniform(1.0, 4.0)
    return Round(
        "s3-clock-steps",
        seed,
        "s3",
        nodes=2,
        workers=1,
        seconds=seconds,
        flush_seconds=0.4,
        kills=_kills(chance, seconds, nodes=2, every=4.0),
        lanes=_lanes(chance, seconds, 1, STORE_POINTS),
        clock=tuple(steps),
    )


def _s3_points(chance: random.Random, seed: str, seconds: float) -> Round:
    return Round(
        "s3-kills",
        seed,
        "s3",
        seconds=seconds,
        flush_seconds=0.3,
        kills=_kills(chance, seconds, nodes=1, every=3.0),
        lanes=_lanes(chance, seconds, 1, INTAKE_POINTS, STORE_POINTS, COMMITTER_POINTS),
    )


def _s3_faults(chance: random.Random, seed: str, seconds: float) -> Round:
    return Round(
        "s3-faults",
        seed,
        "s3",
        seconds=seconds,
        flush_seconds=0.3,
        kills=_kills(chance, seconds, nodes=1, every=5.0),
        faults=_faults(chance, seconds, nodes=1),
    )


def _s3_two(chance: random.Random, seed: str, seconds: float) -> Round:
    return Round(
        "s3-two-nodes",
        seed,
        "s3",
        nodes=2,
        workers=1,
        seconds=seconds,
        flush_seconds=0.4,
        kills=_kills(chance, seconds, nodes=2, every=3.0),
        lanes=_lanes(chance, seconds, 2, INTAKE_POINTS, {**STORE_POINTS, **COMMITTER_POINTS}),
        faults=_faults(chance, seconds, nodes=2),
        sure=True,
    )


def _s3_four(chance: random.Random, seed: str, seconds: float) -> Round:
    return Round(
        "s3-four-nodes",
        seed,
        "s3",
        nodes=4,
        workers=1,
        seconds=seconds,
        flush_seconds=1.0,
        kills=_kills(chance, seconds, nodes=4, every=3.0),
        lanes=_lanes(chance, seconds, 4, STORE_POINTS),
        faults=_faults(chance, seconds, nodes=4),
    )


def _s3_hand_over(chance: random.Random, seed: str, seconds: float) -> Round:
    """Two nodes hand over, and one commits for all: each of them, and what they say to the store, may fail."""
    nodes = 3
    kills = _kills(chance, seconds, nodes=nodes, every=4.0)
    kills += tuple(Kill(at, nodes - 1, "handover", 0) for at in _times(chance, seconds, 3.0))
    handing: Mapping[str, object] = {**HAND_OVER_POINTS, **COMMITTER_POINTS}
    taking: Mapping[str, object] = {**TAKE_OVER_POINTS, **STORE_POINTS}
    lanes = [_lanes(chance, seconds, 1, points)[0] for points in (handing, handing, taking)]
    return Round(
        "s3-hand-over",
        seed,
        "s3",
        nodes=nodes,
        workers=1,
        seconds=seconds,
        flush_seconds=0.4,
        kills=tuple(sorted(kills, key=lambda kill: kill.at)),
        lanes=tuple(Lane(node, lane.points) for node, lane in enumerate(lanes)),
        faults=_faults(chance, seconds, nodes=nodes, scopes=(*_SCOPES, *_NOTE_SCOPES)),
        commits=("hand_over", "hand_over", "for_all"),
        sure=True,
    )


def _s3_store_dies(chance: random.Random, seed: str, seconds: float) -> Round:
    kills = _kills(chance, seconds, nodes=2, every=5.0)
    kills += tuple(Kill(at, 0, "store", 0) for at in _times(chance, seconds, 5.0))
    return Round(
        "s3-store-dies",
        seed,
        "s3",
        nodes=2,
        workers=1,
        seconds=seconds,
        flush_seconds=0.4,
        kills=tuple(sorted(kills, key=lambda kill: kill.at)),
    )


SCENARIOS: dict[str, Callable[[random.Random, str, float], Round]] = {
    "local-kills": _local_kills,
    "s3-two-nodes": _s3_two,
    "local-disk-errors": _disk_errors,
    "s3-faults": _s3_faults,
    "local-full-disk": _full_disk,
    "s3-kills": _s3_points,
    "local-two-nodes": _local_two,
    "s3-clock-steps": _clock,
    "s3-four-nodes": _s3_four,
    "s3-store-dies": _s3_store_dies,
    "s3-hand-over": _s3_hand_over,
    "local-staging-on-another-disk": _staging_elsewhere,
}


# Drawing ----------------------------------------------------------------------------------------------------------


def _times(chance: random.Random, seconds: float, every: float) -> list[float]:
    times, at = [], chance.uniform(0, every)
    while at < seconds:
        times.append(round(at, 2))
        at += chance.uniform(0.3, 2 * every - 0.3)
    return times


def _kills(chance: random.Random, seconds: float, *, nodes: int, every: float) -> tuple[Kill, ...]:
    """A supervisor that is killed takes its children along, and a new one has no back-off: two birds."""
    roles = [
        "intake",
        "intake",
        "intake",
        "committer",
        "committer",
        "committer",
        "maintenance",
        "supervisor",
        "supervisor",
    ]
    kills = [
        Kill(at, node, chance.choice(roles), chance.randrange(8))
        for node in range(nodes)
        for at in _times(chance, seconds, every)
    ]
    return tuple(sorted(kills, key=lambda kill: kill.at))


def _lanes(chance: random.Random, seconds: float, nodes: int, *points: Mapping[str, object]) -> tuple[Lane, ...]:
    """For each node a lane of each of these sets of points: more than can fire, so that there is always one."""
    lanes = []
    for node in range(nodes):
        for names in filter(None, points):
            order: list[str] = []
            while len(order) < seconds:
                order += chance.sample(list(names), len(names))
            lanes.append(Lane(node, tuple(Point(name, whole_node=chance.random() < 0.2) for name in order)))
    return tuple(lanes)


_SCOPES: Sequence[tuple[str, str]] = (
    ("PUT", "_delta_log/"),
    ("PUT", "events/_delta_log/"),
    ("PUT", "quarantine/_delta_log/"),
    ("GET", "_delta_log/"),
    ("GET", "list-type"),
    ("PUT", "date="),
    ("PUT", ""),
    ("GET", ""),
    ("", ""),
)
_NOTE_SCOPES: Sequence[tuple[str, str]] = (
    ("PUT", "_handover/"),
    ("GET", "_handover/"),
    ("GET", "prefix=.*_handover"),
    ("POST", "delete"),
)
_KINDS: Sequence[Kind] = (
    *("refuse", "reset", "delay", "error_500", "slow_down"),
    *("lost_answer", "lost_answer", "error_after", "stall_request", "stall_answer"),
)


def _faults(
    chance: random.Random, seconds: float, *, nodes: int, scopes: Sequence[tuple[str, str]] = _SCOPES
) -> tuple[FaultWindow, ...]:
    windows = []
    for node in range(nodes):
        kinds: list[Kind] = []
        at = chance.uniform(0.0, 2.0)
        while at < seconds - 1:
            kinds = kinds or chance.sample(_KINDS, len(_KINDS))
            kind = kinds.pop()
            method, keys = chance.choice(scopes)
            length = round(chance.uniform(0.5, 2.0) if kind == "refuse" else chance.uniform(1.0, 4.0), 2)
            stall = round(chance.uniform(0.1, 1.0) if kind == "delay" else chance.uniform(0.3, 2.5), 2)
            fault = Fault(kind, method, keys, chance.choice([0.1, 0.3, 0.6, 1.0]), stall)
            windows.append(FaultWindow(round(at, 2), length, node, fault))
            at += length + chance.uniform(0.1, 1.0)
    return tuple(sorted(windows, key=lambda window: window.at))
