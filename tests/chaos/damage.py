"""Rounds that damage a journal at rest: what was acknowledged is in the tables once, or kept in `corrupt/` and told.

A collector that commits seldom is killed with a journal full of small segments. Then bytes are flipped, segments cut,
emptied, swapped or removed, marks deleted, a stream copied; and a collector is started on what is left.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from deltalake import DeltaTable

from tests.collector.world import wait_until

from .director import Outcome
from .load import Ledger, Load, is_invalid
from .oracle import judge_to_the_end
from .readers import Reader
from .world import START_SECONDS, STOP_SECONDS, Node

SCENARIO = "damaged-journal"


def run(seed: str, root: Path, readers: dict[str, Reader], seconds: float) -> Outcome:
    """Play such a round in an empty folder."""
    started = time.monotonic()
    chance, outcome, ledger = random.Random(f"{SCENARIO} {seed}"), Outcome([]), Ledger()
    lake, home = root / "lake", root / "node-0"
    with_journal = Node(home, str(lake), store=None, proxy_port=0, workers=2, flush_seconds=600, seed=seed)
    try:
        with_journal.wait_ready(START_SECONDS)
        wait_until(lambda: DeltaTable.is_deltatable(str(lake / "quarantine")), START_SECONDS)
        load = Load([with_journal.url], ledger, seed, threads=4, pause_seconds=0.02)
        time.sleep(min(seconds, 4.0))
        load.stop()
    finally:
        with_journal.close()
    outcome.kills["supervisor"] += 1
    streams = [path.parent for path in (home / "journal" / "streams").glob("*/owner")]
    before = _bytes_of(home)
    for stream in streams:
        kind = chance.choice(list(_DAMAGE))
        if _DAMAGE[kind](sorted(stream.glob("*.journal")), chance):
            outcome.faults[kind] += 1
            outcome.windows += 1
    after = _bytes_of(home)
    gone = {name for name in ledger.answered if _lost(before, after, name)}

    again = Node(home, str(lake), store=None, proxy_port=0, workers=1, flush_seconds=0.2, seed=seed)
    try:
        again.wait_ready(START_SECONDS)
        wait_until(lambda: len([*(home / "journal" / "streams").glob("*/*.journal")]) == 0, START_SECONDS, again.log)
        counted = httpx.get(f"{again.url}/metrics", timeout=20).text
        code = again.stop(STOP_SECONDS)
    finally:
        again.close()
    if code:
        outcome.wrong.append(f"the collector ended with {code}:\n{again.log()[-2000:]}")
    if outcome.faults and "journal is damaged" not in again.log():
        outcome.wrong.append(f"damage in silence: {dict(outcome.faults)}")
    if outcome.faults and "polku_journal_damage_total" not in counted:
        outcome.wrong.append("damage was not counted")
    kept = b"".join(path.read_bytes() for path in (home / "journal").glob("corrupt/*"))
    excused = gone | {name for name in ledger.answered if _holds(kept, name)}
    for event_id in excused:  # it may be there: what is set aside is a whole segment
        ledger.unanswered[event_id] = ledger.unanswered.get(event_id, ledger.answered[event_id]) + ledger.answered.pop(
            event_id
        )
    verdict = judge_to_the_end(lake, str(lake), os.environ, ledger, readers)
    outcome.wrong += verdict.wrong
    if not any(is_invalid(event_id) for event_id in ledger.answered):
        outcome.wrong.append("the round proves nothing: no refused event is left to look for")
    outcome.acknowledged, outcome.duplicates, outcome.orphans = ledger.events, verdict.duplicates, verdict.orphans
    outcome.rows, outcome.quarantined = verdict.rows, verdict.quarantined
    outcome.seconds = time.monotonic() - started
    return outcome


def _bytes_of(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((home / "journal" / "streams").glob("*/*.journal")))


def _lost(before: bytes, after: bytes, event_id: str) -> bool:
    """Whether nothing is left of an event; of a refused one, each copy of which is a row, whether a copy is not."""
    if is_invalid(event_id):
        return _copies(before, event_id) > _copies(after, event_id)
    return _holds(before, event_id) and not _holds(after, event_id)


def _copies(data: bytes, event_id: str) -> int:
    return data.count(f'"{event_id}"'.encode()) + data.count(f'\\"{event_id}\\"'.encode())


def _holds(data: bytes, event_id: str) -> bool:
    return f'"{event_id}"'.encode() in data or f'\\"{event_id}\\"'.encode() in data


# Kinds of damage: each is given the segments of a stream, and says whether it did something. ------------------------


def _flip_byte(paths: list[Path], chance: random.Random) -> bool:
    path = chance.choice(paths[:-1] or paths)
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return True


def _flip_header(paths: list[Path], chance: random.Random) -> bool:
    path = chance.choice(paths)
    data = bytearray(path.read_bytes())
    data[chance.randrange(100)] ^= 1
    path.write_bytes(data)
    return True


def _cut(paths: list[Path], chance: random.Random) -> bool:
    path = chance.choice(paths[:-1] or paths)
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(len(data))])
    return True


def _empty(paths: list[Path], chance: random.Random) -> bool:
    chance.choice(paths).write_bytes(b"")
    return True


def _swap(paths: list[Path], chance: random.Random) -> bool:
    if len(paths) < 2:
        return False
    first, second = chance.sample(paths, 2)
    aside = first.with_suffix(".aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)
    return True


def _remove(paths: list[Path], chance: random.Random) -> bool:
    chance.choice(paths).unlink()
    return True


def _flip_without_mark(paths: list[Path], chance: random.Random) -> bool:
    """Not in the last segment: its end without a mark looks like what was never acknowledged."""
    if len(paths) < 2:
        return False
    (paths[0].parent / "durable").unlink()
    return _flip_byte(paths, chance)


def _copy_stream(paths: list[Path], chance: random.Random) -> bool:
    stream = paths[0].parent
    shutil.copytree(stream, stream.with_name(f"{chance.getrandbits(128):032x}"))
    return True


_DAMAGE: dict[str, Callable[[list[Path], random.Random], bool]] = {
    "byte flipped": _flip_byte,
    "header flipped": _flip_header,
    "segment cut": _cut,
    "segment emptied": _empty,
    "segments swapped": _swap,
    "segment removed": _remove,
    "mark deleted, byte flipped": _flip_without_mark,
    "stream copied": _copy_stream,
}
