"""Clients that wish a collector ill: idle, slow, too many, or with a bomb. Each kind is a process of its own.

`python -m tests.benchmarks.attacks PORT KIND` says `ready`, goes on until it is told to stop, and prints what it did.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import zlib
from collections.abc import Awaitable, Callable, Iterator

import msgspec
import uvloop
from msgspec import Struct

IDLE_CONNECTIONS = 2_000
SLOW_CONNECTIONS = 200
FLOOD_A_SECOND = 500
BOMBS_AT_ONCE = 4
BOMB_BYTES = 10 * 1024**3
_BLOCK_BYTES = 16 * 1024**2
_HEAD = b"POST /v1/batch?writeKey=bench HTTP/1.1\r\nHost: x\r\n"


class Done(Struct):
    """What an attack came to."""

    connections: int = 0
    answers: int = 0
    statuses: dict[str, int] = {}

    def answered(self, data: bytes) -> None:
        if data.startswith(b"HTTP/1.1 "):
            status = data[9:12].decode()
            self.answers += 1
            self.statuses[status] = self.statuses.get(status, 0) + 1


@contextlib.contextmanager
def attack(port: int, kind: str) -> Iterator[list[Done]]:
    """An attack that is under way; on leaving, what it did is in the list."""
    command = [sys.executable, "-m", "tests.benchmarks.attacks", str(port), kind]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    done: list[Done] = []
    try:
        process.stdout.readline()
        yield done
    finally:
        process.terminate()
        out, _ = process.communicate(timeout=60)
        if out:
            done.append(msgspec.json.decode(out, type=Done))


def bomb() -> bytes:
    """A gzip body of some 10 MB that would be 10 GB: one compressed block of zeros, many times over."""
    made = zlib.compressobj(9, wbits=31)
    head = made.compress(b"\0" * _BLOCK_BYTES) + made.flush(zlib.Z_FULL_FLUSH)
    block = made.compress(b"\0" * _BLOCK_BYTES) + made.flush(zlib.Z_FULL_FLUSH)
    return head + block * (BOMB_BYTES // _BLOCK_BYTES - 1)


async def idle(port: int, done: Done, ready: Callable[[], None]) -> None:
    """Many connections that say nothing, opened again when they are closed."""

    async def one() -> None:
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            done.connections += 1
            done.answered(await _all(reader))
            writer.close()

    await _many(one, IDLE_CONNECTIONS, ready)


async def slow(port: int, done: Done, ready: Callable[[], None]) -> None:
    """Heads and bodies that come byte by byte, and bodies of which most never comes."""

    async def one() -> None:
        turn = 0
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            done.connections += 1
            turn += 1
            writer.write(_HEAD if turn % 2 else _HEAD + b"Content-Length: 1000000\r\n\r\n" + b" " * 50_000)
            answer = asyncio.create_task(_all(reader))
            with contextlib.suppress(OSError):
                while not answer.done():
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(0.2)
            done.answered(await answer)
            writer.close()

    await _many(one, SLOW_CONNECTIONS, ready)


async def flood(port: int, done: Done, ready: Callable[[], None]) -> None:
    """Connections one after the other as fast as is allowed; each says a word that is no HTTP, or nothing."""

    async def one() -> None:
        while True:
            started = asyncio.get_running_loop().time()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            done.connections += 1
            if done.connections % 2:
                writer.write(b"hello\r\n\r\n")
                done.answered(await _all(reader))
            writer.close()
            pause = started + _FLOODERS / FLOOD_A_SECOND - asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, pause))

    await _many(one, _FLOODERS, ready)


_FLOODERS = 50


async def bombs(port: int, done: Done, ready: Callable[[], None]) -> None:
    """Bodies of 10 MB that want to be 10 GB."""
    body = bomb()
    head = _HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)

    async def one() -> None:
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            done.connections += 1
            answer = asyncio.create_task(reader.read(65536))
            writer.write(head)
            with contextlib.suppress(OSError):
                for at in range(0, len(body), 65536):
                    if answer.done():
                        break
                    writer.write(body[at : at + 65536])
                    await writer.drain()
            done.answered(await answer)
            writer.close()
            await asyncio.sleep(0.1)

    await _many(one, BOMBS_AT_ONCE, ready)


ATTACKS: dict[str, Callable[[int, Done, Callable[[], None]], Awaitable[None]]] = {
    "idle": idle,
    "slow": slow,
    "flood": flood,
    "bomb": bombs,
}


async def _many(one: Callable[[], Awaitable[None]], number: int, ready: Callable[[], None]) -> None:
    async def for_ever() -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await one()
            await asyncio.sleep(0.05)

    tasks = []
    for started in range(number):
        tasks.append(asyncio.ensure_future(for_ever()))
        if started % 100 == 99:  # no more at once than a backlog holds
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)
    ready()
    await asyncio.gather(*tasks)


async def _all(reader: asyncio.StreamReader) -> bytes:
    received = b""
    with contextlib.suppress(OSError):
        while part := await reader.read(65536):
            received += part
    return received


async def _main(port: int, kind: str) -> Done:
    done = Done()
    ended = asyncio.ensure_future(ATTACKS[kind](port, done, lambda: print("ready", flush=True)))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await ended
    return done


if __name__ == "__main__":
    os.nice(10)  # elsewhere they would not compete with the collector for its processors
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_main(int(sys.argv[1]), sys.argv[2]))))
