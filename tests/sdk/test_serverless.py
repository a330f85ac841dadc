"""Functions that are frozen when they return: what they tracked is delivered before."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

import polku


def client(collector: Any, **options: Any) -> polku.Client:
    # A batch that waits for its age would come too late.
    return polku.Client("k", collector.url, batch_age_seconds=60.0, **options)


def test_a_function_returns_when_its_events_are_delivered(collector: Any) -> None:
    sender = client(collector)

    @polku.delivered(client=sender)
    def handler(event: dict[str, int], context: object) -> str:
        """What it is for."""
        sender.track("handled", {"n": event["n"]}, user_id="u")
        return f"done {event['n']}"

    for n in range(3):
        assert handler({"n": n}, None) == f"done {n}"
        assert [item["properties"]["n"] for item in collector.taken] == list(range(n + 1))
    assert handler.__doc__ == "What it is for."


def test_also_when_it_raises(collector: Any) -> None:
    sender = client(collector)

    @polku.delivered(client=sender)
    def handler() -> None:
        sender.track("tried", user_id="u")
        raise KeyError("theirs")

    with pytest.raises(KeyError, match="theirs"):
        handler()
    assert [item["event"] for item in collector.taken] == ["tried"]


def test_coroutine_functions_and_blocks(collector: Any) -> None:
    sender = client(collector)

    @polku.delivered(client=sender)
    async def handler() -> int:
        sender.track("awaited", user_id="u")
        return 1

    assert asyncio.run(handler()) == 1
    with polku.delivering(sender):
        sender.track("in a block", user_id="u")
    assert [item["event"] for item in collector.taken] == ["awaited", "in a block"]


def test_it_waits_no_longer_than_it_may_and_keeps_what_is_left(collector: Any, reply: Any) -> None:
    collector.script = [reply(delay_seconds=1.0)]
    sender = client(collector)

    @polku.delivered(client=sender, timeout_seconds=0.1)
    def handler(n: int) -> None:
        sender.track("x", {"n": n}, user_id="u")

    began = time.monotonic()
    handler(1)
    assert time.monotonic() - began < 0.9
    assert sender.stats().delivered == 0
    assert sender.flush()
    assert len(collector.taken) == 1


def test_the_module_s_client_is_the_default(collector: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from polku import default

    monkeypatch.setattr(default, "_client", None)
    polku.configure("k", collector.url, batch_age_seconds=60.0)

    @polku.delivered
    def handler() -> None:
        polku.track("x", user_id="u")

    handler()
    assert len(collector.taken) == 1
    polku.close()
    monkeypatch.setattr(default, "_client", None)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
def test_a_frozen_process_goes_on_after_the_thaw(collector: Any) -> None:
    """The server closes the idle connection meanwhile, as any would."""
    program = """
import os, sys, polku
client = polku.Client("k", os.environ["URL"], retry_base_seconds=0.05)
@polku.delivered(client=client)
def handler(n):
    client.track("x", {"n": n}, user_id="u")
for line in sys.stdin:
    handler(int(line))
    print("done", flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "URL": collector.url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for n in range(3):
        process.stdin.write(f"{n}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        assert [item["properties"]["n"] for item in collector.taken] == list(range(n + 1))
        process.send_signal(signal.SIGSTOP)
        collector.hang_up()
        time.sleep(0.1)
        process.send_signal(signal.SIGCONT)
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()
