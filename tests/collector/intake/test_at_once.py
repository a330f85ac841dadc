"""Plain requests, which are answered without a task of their own, beside the same through the application."""

import base64
import gzip
import re
import socket
import threading
from collections.abc import Callable, Iterator

import msgspec
import pytest

from polku_collector.batch import Line
from polku_collector.intake.guard import Guard
from polku_collector.intake.senders import senders_of
from polku_collector.intake.validate import Validator
from polku_collector.settings import Source

from .world import GOOD, LIMITS, SOURCES, World, connected, intake, until_closed

SENDERS = senders_of(SOURCES | {"lake": Source(keys=["lake-key"], ack="lake")}, LIMITS)
BATCH = msgspec.json.encode({"batch": [GOOD]})
BAD = {"type": "track", "event": "Order Refunded", "properties": {"order_id": 7}}
UNPLANNED = GOOD | {"properties": {"order_id": "o1", "unheard_of": 1}}
KEY = b"authorization: Basic " + base64.b64encode(b"web-key:") + b"\r\n"
BODIES = {
    "one": BATCH,
    "many": msgspec.json.encode({"batch": [GOOD | {"messageId": f"m{n}"} for n in range(50)]}),
    "good, bad and warned": msgspec.json.encode({"batch": [GOOD, BAD, UNPLANNED, 1]}),
    "only bad": msgspec.json.encode({"batch": [BAD]}),
    "none": b'{"batch":[]}',
    "with a time": msgspec.json.encode({"batch": [GOOD], "sentAt": "2026-11-22T11:00:00Z"}),
    "losses": b'{"batch":[],"lost":[{"id":"l1","reason":"queue_full","count":3}]}',
    "no JSON": b"{",
    "no batch": b'{"a":1}',
    "a list": b"[]",
    "nothing": b"",
    "too many": msgspec.json.encode({"batch": [GOOD] * (LIMITS.max_batch_events + 1)}),
    "too large": b'{"batch":[],"x":"' + b"x" * LIMITS.max_body_bytes + b'"}',
    "gzip": gzip.compress(BATCH),
    "form": b"data=" + base64.b64encode(BATCH),
    "key in the body": msgspec.json.encode({"batch": [GOOD], "writeKey": "web-key"}),
}
HEADS = {
    "basic": KEY,
    "none": b"",
    "wrong": b"authorization: Bearer wrong\r\n",
    "historical": b"authorization: Bearer past-key\r\n",
    "waits for the lake": b"authorization: Bearer lake-key\r\n",
    "cookie": b"authorization: Bearer site-key\r\norigin: https://shop.example\r\n",
    "origin": KEY + b"origin: https://other.example\r\n",
    "send time": KEY + b"x-polku-sent-at: 2026-11-22T11:00:00Z\r\n",
    "closes": KEY + b"connection: close\r\n",
    "expects": KEY + b"expect: 100-continue\r\n",
}


@pytest.fixture(scope="module")
def worlds() -> Iterator[tuple[World, World]]:
    """The first answers at once what it can, the other nothing."""
    with intake(senders=SENDERS) as first, intake(senders=SENDERS, at_once=False) as second:
        yield first, second


def request(body: bytes, head: bytes = KEY, path: bytes = b"/v1/batch", version: bytes = b"1.1") -> bytes:
    return b"POST %b HTTP/%b\r\nhost: x\r\ncontent-length: %d\r\n%b\r\n%b" % (path, version, len(body), head, body)


LAST = b"GET /v1/batch HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


def said(world: World, *parts: bytes) -> tuple[list[bytes], list[bytes]]:
    """All that is answered on one connection, but the date, and what is in the journal, but the numbers."""
    with connected(world) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            connection.sendall(part)
        answered = until_closed(connection).split(b"\r\n")
    lines = []
    for line in world.taken():
        line.sequence = 0
        if isinstance(line, Line) and line.event_id.startswith("made-"):
            line.event_id = "made"
        lines.append(msgspec.json.encode(line))
    return [line for line in answered if not line.startswith(b"date: ")], lines


# What is refused by its length and closed is cut off while it is still being sent.
@pytest.mark.parametrize(
    ("body", "head"), [(body, head) for body in BODIES for head in HEADS if (body, head) != ("too large", "closes")]
)
def test_both_ways_have_the_same_answers_and_lines(worlds: tuple[World, World], body: str, head: str) -> None:
    one = request(BODIES[body], HEADS[head])
    first, second = (said(world, one, LAST) for world in worlds)
    assert first == second and first[0][0].startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    "path", [b"/v1/track", b"/v1/t", b"/v1/import", b"/v1/batch/", b"/v1/consent", b"/v1/b?writeKey=web-key"]
)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_so_on_every_path(worlds: tuple[World, World], path: bytes, version: bytes) -> None:
    body = msgspec.json.encode(GOOD) if b"/t" in path else BATCH
    one = request(body, b"" if b"?" in path else KEY, path, version)
    first, second = (said(world, one, LAST) for world in worlds)
    assert first == second
    assert b"200 OK" in first[0][0] or path == b"/v1/consent"


@pytest.mark.parametrize("pieces", [1, 2, 3, 40])
def test_so_for_requests_in_one_go_and_in_pieces(worlds: tuple[World, World], pieces: int) -> None:
    """Three on one connection, of which the later ones wait for the first; and the last is no JSON."""
    many = request(BATCH) + request(BODIES["many"]) + request(b"{") + LAST
    size = -(-len(many) // pieces)
    parts = [many[at : at + size] for at in range(0, len(many), size)]
    first, second = (said(world, *parts) for world in worlds)
    assert first == second and len(first[1]) == 51
    assert re.findall(rb"HTTP/1.1 (\d+)", b" ".join(first[0])) == [b"200", b"200", b"400", b"405"]


def test_a_full_journal_is_503(worlds: tuple[World, World]) -> None:
    for world in worlds:
        world.journal.full = True
    first, second = (said(world, request(BATCH), LAST) for world in worlds)
    for world in worlds:
        world.journal.full = False
    assert first == second and first[0][0].startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 5" in first[0]


def test_a_plain_request_needs_no_task(worlds: tuple[World, World], monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*arguments: object) -> None:
        raise AssertionError

    # Which, once a second, calls the application for who has sent a head only.
    monkeypatch.setattr(Guard, "sweep", lambda guard, connections: None)
    with connected(worlds[0]) as connection:
        monkeypatch.setattr(type(worlds[0].endpoint), "__call__", never)
        for parts in ([request(BATCH)], [request(BATCH)[: -len(BATCH)], BATCH]):
            for part in parts:
                connection.sendall(part)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert len(worlds[0].taken()) == 2


def test_who_sends_only_a_head_or_half_a_body_is_told_so(worlds: tuple[World, World]) -> None:
    """The bound is `body_seconds`; for a head alone a second more, at which all connections are looked at."""
    for sent in (request(BATCH)[: -len(BATCH)], request(BATCH)[:-5]):
        with connected(worlds[0], sent) as connection:
            assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_half_a_body_does_not_wait_for_the_look_at_all_connections(
    worlds: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Guard, "sweep", lambda guard, connections: None)
    with connected(worlds[0], request(BATCH)[:-5]) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_who_waits_for_the_lake_waits(worlds: tuple[World, World]) -> None:
    for world in worlds:
        world.commits.why = "the store is away"
    first, second = (said(world, request(BATCH, HEADS["waits for the lake"]), LAST) for world in worlds)
    for world in worlds:
        world.commits.why = None
    assert first == second and first[0][0].startswith(b"HTTP/1.1 503 ")


def test_a_fault_of_ours_is_500_and_the_next_request_is_answered(
    worlds: tuple[World, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Validator, "judge", broken)
        with connected(worlds[0], request(BATCH)) as connection:
            assert until_closed(connection).startswith(b"HTTP/1.1 500 ")
    assert said(worlds[0], request(BATCH), LAST)[0][0] == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("batch", [BATCH, BODIES["none"]])
def test_a_fault_after_all_is_durable_leaves_nobody_without_an_answer(
    worlds: tuple[World, World], monkeypatch: pytest.MonkeyPatch, batch: bytes
) -> None:
    """Such as a console that is gone."""

    def judged(*arguments: object) -> Callable[[], None]:
        def stored() -> None:
            raise BrokenPipeError

        return stored

    monkeypatch.setattr(type(worlds[0].counted), "judged", judged)
    answered, lines = said(worlds[0], request(batch), LAST)
    assert re.findall(rb"HTTP/1.1 (\d+)", b" ".join(answered)) == [b"200", b"405"]
    assert len(lines) == (batch == BATCH)


def test_clients_that_are_gone_are_passed_over(worlds: tuple[World, World]) -> None:
    def gone() -> None:
        for sent in (request(BATCH), request(BATCH)[: -len(BATCH)], request(BATCH)[:-5]):
            with connected(worlds[0], sent):
                pass

    threads = [threading.Thread(target=gone) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said(worlds[0], request(BATCH), LAST)[0][0] == b"HTTP/1.1 200 OK"
