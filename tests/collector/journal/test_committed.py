"""Who waits for the lake is told when the committer has said so, and not before; and nobody waits for ever."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from polku_collector.journal.committed import CommitWatch
from polku_collector.journal.reader import StreamReader

from .world import append, reader, writer


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[tuple[CommitWatch, StreamReader]]:
    journal = writer(tmp_path)
    append(journal, "1", "2", "3", "4")
    yield CommitWatch(tmp_path, journal.stream_id), reader(tmp_path)
    journal.close()


def test_each_is_told_at_its_own_sequence(stream: tuple[CommitWatch, StreamReader]) -> None:
    watch, committer = stream
    told: list[int] = []

    async def wait(sequence: int) -> None:
        assert await watch.why_not_committed(sequence, 60) is None
        assert committer.committed >= sequence
        told.append(sequence)

    async def all_of_it() -> None:
        waiting = {sequence: asyncio.create_task(wait(sequence)) for sequence in (4, 2, 1, 3)}
        for committed in (1, 3, 4):
            await asyncio.sleep(0.05)  # they look meanwhile, and see nothing new
            assert sorted(told) == list(range(1, committer.committed + 1))
            committer.trim(committed)
            await asyncio.gather(*(task for sequence, task in waiting.items() if sequence <= committed))
        assert await watch.why_not_committed(4, 60) is None  # at once: nothing is looked for any more

    asyncio.run(all_of_it())
    assert sorted(told) == [1, 2, 3, 4]


def test_after_its_time_each_is_told_why(stream: tuple[CommitWatch, StreamReader]) -> None:
    watch, committer = stream
    committer.trim(1)

    async def both() -> list[str | None]:
        return await asyncio.gather(watch.why_not_committed(2, 0.05), watch.why_not_committed(1, 0.05))

    assert asyncio.run(both()) == ["the lake did not have them after 0 seconds", None]


def test_a_worker_that_ends_lets_nobody_wait(stream: tuple[CommitWatch, StreamReader]) -> None:
    watch, _ = stream

    async def wait() -> str | None:
        asyncio.get_running_loop().call_later(0.05, watch.stop)
        return await watch.why_not_committed(1, 3600)

    assert asyncio.run(wait()) == "the collector is stopping"
    assert asyncio.run(watch.why_not_committed(1, 3600)) == "the collector is stopping"


def test_who_is_cut_off_meanwhile_harms_nobody(stream: tuple[CommitWatch, StreamReader]) -> None:
    watch, committer = stream

    async def wait() -> str | None:
        gone, stays = (asyncio.create_task(watch.why_not_committed(1, 3600)) for _ in range(2))
        await asyncio.sleep(0.05)
        gone.cancel()
        committer.trim(1)
        return await stays

    assert asyncio.run(wait()) is None
