"""A collector that is down under load: no call waits longer than its policy says, and what is kept is delivered once.

Once for ten minutes, by a clock in our hand, and once with a port that is closed and then opened.
"""

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import polku
from polku import delivery, retry
from polku.client import encoded_context, spool_of
from polku.delivery import Delivery, Send
from polku.report import Reporter
from polku.settings import settings_from
from polku.tracker import Tracker
from polku.transport import Answer

from .conftest import RecordingCollector

POLICIES = ["drop_newest", "drop_oldest", "block", "spill"]
OUTAGE_SECONDS = 600.0
EVENTS_A_SECOND = 5
BLOCK_SECONDS = 7.0
QUEUE_EVENTS = 500
MARGIN_SECONDS = 10.0
"""What a loaded machine may add to a call that has nothing to wait for."""


class World(Delivery):
    """A client's delivery in a world of its own time: its steps take the seconds that they say, and no others."""

    def __init__(self, full_queue: str, folder: Path) -> None:
        self.now = 1_000.0
        self.up_at = self.now + OUTAGE_SECONDS
        self.taken: list[dict[str, Any]] = []
        self.waits: list[float] = []
        options: dict[str, Any] = {"full_queue": full_queue, "queue_events": QUEUE_EVENTS}
        if full_queue == "spill":
            options["spool"] = str(folder)
        settings = settings_from("k", "http://c", {**options, "block_seconds": BLOCK_SECONDS})
        self._rung = False
        super().__init__(settings, encoded_context(None), Reporter(), spool=spool_of(settings))
        self.tracker = Tracker(settings, self, None, ())
        self.buffer._settled = self  # type: ignore[assignment]
        self._walk = self.steps()
        self._step, self._step_ends = next(self._walk), self.now

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return time.time_ns()

    def _wake(self) -> None:
        self._rung = True

    # A call that waits for room does it here.

    def wait(self, seconds: float) -> None:
        """As the buffer's condition: until something was settled, or until the time is over."""
        began, self._room = self.now, False
        self.pass_time(self.now + seconds, until_told=True)
        self.waits.append(self.now - began)

    def notify_all(self) -> None:
        self._room = True

    def pass_time(self, until: float, until_told: bool = False) -> None:
        """Let the delivery do its steps up to a moment."""
        while not (until_told and self._room):
            resting = not isinstance(self._step, Send)
            if resting and self._rung:
                self._step_ends = self.now
            if self._step_ends > until:
                break
            self._rung = self._rung and not resting
            self.now = max(self.now, self._step_ends)
            self._step = self._walk.send(None if resting else self._answer(self._step))
            self._step_ends = self.now + self._lasts(self._step)
        else:
            return
        self.now = max(self.now, until)

    def _lasts(self, step: Any) -> float:
        if isinstance(step, Send):
            return step.timeout_seconds if self.now < self.up_at else 0.01
        return float("inf") if step.seconds is None else float(step.seconds)

    def _answer(self, step: Any) -> Answer:
        if self.now < self.up_at:
            return Answer(error="ConnectTimeout: nobody")
        self.taken += json.loads(gzip.decompress(step.body))["batch"]
        return Answer(200, b'{"success":true}')


@pytest.fixture(params=POLICIES)
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(request.param, tmp_path)
    for module in ("polku.delivery", "polku.buffer", "polku.spool"):
        monkeypatch.setattr(f"{module}.time", made)
    assert delivery.time is made  # type: ignore[attr-defined]
    monkeypatch.setattr(retry, "_random", lambda: 0.999)
    return made


def test_ten_minutes_without_a_collector_under_load(world: World) -> None:
    policy, tracker = world.tracker.settings.full_queue, world.tracker
    tracked, longest, since = [], 0.0, world.now
    while world.now < world.up_at + 60:  # the load goes on while what was kept is delivered
        began = world.now
        tracked.append(tracker.track("x", {"n": len(tracked)}, user_id="u"))
        longest = max(longest, world.now - began)
        world.pass_time(world.now + 1 / EVENTS_A_SECOND)
    world.pass_time(world.now + 60)
    assert world.now - since >= OUTAGE_SECONDS

    # A second of waiting here is a second of the program: nothing but the policy makes a call wait.
    if policy == "block":
        assert longest == pytest.approx(BLOCK_SECONDS)
        assert world.waits
    else:
        assert (longest, world.waits) == (0.0, [])

    stats = tracker.stats()
    dropped = stats.lost.get(polku.LossReason.QUEUE_FULL, 0)
    assert (stats.queued, stats.spooled, sum(stats.lost.values())) == (0, 0, dropped)
    numbers = [item["properties"]["n"] for item in world.taken]
    assert len(numbers) == len(set(numbers)) == stats.delivered == len(tracked) - dropped
    if policy == "spill":
        assert dropped == 0
    else:
        assert dropped > 0
    if policy in ("drop_newest", "block"):
        assert [item["messageId"] for item in world.taken] == [one for one in tracked if one is not None]
    if policy == "drop_oldest":
        # The newest are there, and those that were being sent when the outage began.
        assert None not in tracked
        assert set(range(len(tracked) - QUEUE_EVENTS + 100, len(tracked))) <= set(numbers)


# A port that is closed, and then opened -------------------------------------------------------------------------


class Waits:
    """Stands for the condition that calls wait on, and keeps how long they asked to wait and did."""

    def __init__(self, real: threading.Condition) -> None:
        self._real = real
        self.of_this_thread = threading.local()

    def wait(self, seconds: float) -> bool:
        self.of_this_thread.asked = max(getattr(self.of_this_thread, "asked", 0.0), seconds)
        return self._real.wait(seconds)

    def notify_all(self) -> None:
        self._real.notify_all()


@pytest.fixture
def closed_port() -> Iterator[socket.socket]:
    """A port that is ours and at which nobody listens."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held


@pytest.mark.parametrize("policy", POLICIES)
def test_a_closed_port_under_load_makes_no_call_wait_and_costs_what_is_counted(
    policy: str, closed_port: socket.socket, tmp_path: Path
) -> None:
    port, block_seconds = closed_port.getsockname()[1], 0.02
    options: dict[str, Any] = {"full_queue": policy, "queue_events": 300, "batch_events": 50}
    if policy == "spill":
        options["spool"] = str(tmp_path)
    client = polku.Client(
        "k",
        f"http://127.0.0.1:{port}",
        **options,
        block_seconds=block_seconds,
        batch_age_seconds=0.01,
        retry_base_seconds=0.02,
        retry_cap_seconds=0.05,
    )
    waits = client._buffer._settled = Waits(client._buffer._settled)  # type: ignore[assignment]
    tracked: list[str | None] = []
    calls: list[tuple[float, float]] = []
    opened, enough = threading.Event(), threading.Event()

    def load() -> None:
        after = 0
        while after < 300:  # it goes on when the port is open
            after += opened.is_set()
            began = time.monotonic()
            waits.of_this_thread.asked = 0.0
            tracked.append(client.track("x", {"n": len(tracked)}, user_id="u"))
            calls.append((time.monotonic() - began, waits.of_this_thread.asked))
            if len(calls) == 400:
                enough.set()
            time.sleep(0.0005)

    caller = threading.Thread(target=load, daemon=True)
    caller.start()
    # The port stays closed until more calls have returned than the queue holds: one that waited for it would not.
    assert enough.wait(60)
    wait_for_retries(client, 3)
    closed_port.close()
    collector = RecordingCollector(port=port)
    try:
        opened.set()
        caller.join(60)
        assert not caller.is_alive()
        assert client.flush(30)
        assert client.close(30)
        taken = collector.taken
    finally:
        collector.close()

    bound = block_seconds if policy == "block" else 0.0
    assert max(asked for _, asked in calls) <= bound
    assert max(seconds for seconds, _ in calls) <= bound + MARGIN_SECONDS
    if policy == "block":
        assert max(asked for _, asked in calls) > 0
    stats = client.stats()
    dropped = stats.lost.get(polku.LossReason.QUEUE_FULL, 0)
    assert (stats.queued, stats.spooled, sum(stats.lost.values())) == (0, 0, dropped)
    ids = [item["messageId"] for item in taken]
    assert len(ids) == len(set(ids)) == stats.delivered == len(tracked) - dropped
    assert (dropped == 0) is (policy == "spill")
    if policy == "drop_oldest":
        assert set(ids) <= set(tracked)
    else:
        assert sorted(ids) == sorted(one for one in tracked if one is not None)


def wait_for_retries(client: polku.Client, count: int) -> None:
    deadline = time.monotonic() + 60
    while client.stats().retries < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
