"""`AsyncClient`: the same behaviour as `Client`, on the event loop and without a thread."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import polku


def client(url: str, **options: Any) -> polku.AsyncClient:
    return polku.AsyncClient("k", url, **{"batch_age_seconds": 0.02, "retry_base_seconds": 0.02, **options})


async def until(condition: Callable[[], bool]) -> None:
    """Give the loop time until it is so."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError


def test_calls_return_at_once_and_the_loop_delivers_without_a_thread(collector: Any) -> None:
    async def program() -> None:
        before = threading.enumerate()
        async with client(collector.url, batch_events=100) as sender:
            for n in range(1000):
                assert sender.track("x", {"n": n}, user_id="u") is not None
            sender.identify("u", {"plan": "free"})
            assert await sender.flush()
            assert sender.stats().delivered == 1001
            # asyncio's own helper made the connection; no other thread is there.
            others = {one.name for one in threading.enumerate() if one not in before}
            assert not [name for name in others if "asyncio" not in name and "process_request" not in name], others

    asyncio.run(program())
    assert [item["properties"]["n"] for item in collector.taken if item["type"] == "track"] == list(range(1000))


def test_a_batch_goes_when_its_time_has_come(collector: Any) -> None:
    async def program() -> None:
        sender = client(collector.url)
        sender.track("x", user_id="u")
        await until(lambda: len(collector.taken) == 1)
        sender.track("y", user_id="u")
        await until(lambda: len(collector.taken) == 2)
        assert await sender.close()

    asyncio.run(program())


def test_failures_are_tried_again_while_the_loop_goes_on(collector: Any, reply: Any) -> None:
    collector.script = [reply(503), reply(429, headers={"Retry-After": "0"}), reply(drop=True)]

    async def program() -> int:
        async with client(collector.url) as sender:
            for n in range(50):
                sender.track("x", {"n": n}, user_id="u")
            turns = 0

            async def breathe() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0.001)

            breath = asyncio.create_task(breathe())
            assert await sender.flush(20)
            breath.cancel()
            assert sender.stats().retries == 3
            return turns

    assert asyncio.run(program()) > 10
    assert Counter(item["properties"]["n"] for item in collector.taken) == dict.fromkeys(range(50), 1)


def test_flush_and_close_keep_to_their_time(collector: Any, reply: Any) -> None:
    collector.answer = lambda body: reply(503)

    async def program() -> polku.Stats:
        sender = client(collector.url)
        for _ in range(5):
            sender.track("x", user_id="u")
        assert not await sender.flush(0.1)
        assert not await sender.close(0.2)
        assert sender.track("late", user_id="u") is None
        assert not await sender.close()
        return sender.stats()

    stats = asyncio.run(program())
    assert stats.lost == {"close_timeout": 5, "closed": 1}


def test_with_a_spool_what_is_left_is_there_for_the_next(tmp_path: Path, collector: Any, reply: Any) -> None:
    collector.answer = lambda body: reply(503)

    async def fails() -> None:
        sender = client(collector.url, spool=str(tmp_path))
        for n in range(30):
            sender.track("x", {"n": n}, user_id="u")
        assert not await sender.close(0.1)
        assert (sender.stats().spooled, sender.stats().lost) == (30, {})

    async def works() -> None:
        async with client(collector.url, spool=str(tmp_path)) as sender:
            await until(lambda: sender.stats().recovered == 30)

    asyncio.run(fails())
    collector.answer = lambda body: reply()
    asyncio.run(works())
    assert [item["properties"]["n"] for item in collector.taken] == list(range(30))
    assert list(tmp_path.iterdir()) == []


def test_other_threads_may_track(collector: Any) -> None:
    async def program() -> None:
        async with client(collector.url) as sender:

            def some(first: int) -> None:
                for n in range(first, first + 100):
                    sender.track("x", {"n": n}, user_id="u")

            await asyncio.gather(*(asyncio.to_thread(some, 100 * k) for k in range(5)))
            assert await sender.flush()

    asyncio.run(program())
    assert Counter(item["properties"]["n"] for item in collector.taken) == dict.fromkeys(range(500), 1)


def test_made_outside_a_loop_it_delivers_inside_one(collector: Any) -> None:
    sender = client(collector.url)
    sender.track("before", user_id="u")

    async def program() -> None:
        sender.track("inside", user_id="u")
        assert await sender.close()

    asyncio.run(program())
    assert [item["event"] for item in collector.taken] == ["before", "inside"]


def test_another_loop_goes_on_where_the_first_has_ended(collector: Any) -> None:
    sender = client(collector.url)

    async def program(name: str) -> None:
        sender.track(name, user_id="u")
        assert await sender.flush()

    asyncio.run(program("first"))
    asyncio.run(program("second"))
    asyncio.run(sender.close())
    assert [item["event"] for item in collector.taken] == ["first", "second"]


def test_a_cancelled_wait_does_not_stop_the_delivery(collector: Any, reply: Any) -> None:
    collector.script = [reply(delay_seconds=0.3)]

    async def program() -> None:
        async with client(collector.url) as sender:
            sender.track("x", user_id="u")
            waiting = asyncio.create_task(sender.flush())
            await asyncio.sleep(0.05)
            waiting.cancel()
            assert await sender.flush()

    asyncio.run(program())
    assert len(collector.taken) == 1


def test_gates_and_losses_are_the_same() -> None:
    async def program() -> polku.Stats:
        sender = client("http://127.0.0.1:9", consent="analytics", max_event_bytes=200)
        sender.track("x", user_id="u")
        sender.consent(["analytics"])
        sender.track("x", {"text": "y" * 1000}, user_id="u")
        await sender.close(0.1)
        return sender.stats()

    stats = asyncio.run(program())
    assert (stats.withheld, stats.lost) == ({"consent": 1}, {"too_large": 1})


def test_blocking_the_loop_is_refused() -> None:
    with pytest.raises(polku.SettingsError, match="event loop"):
        polku.AsyncClient("k", "http://c", full_queue="block")
