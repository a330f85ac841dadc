"""What a connection reads and answers, on a real server: bounded heads, answers that are seen, no tunnels."""

import contextlib
import json
import time
from collections.abc import Iterator

import msgspec
import pytest

from .world import GOOD, HEAD, LIMITS, PATIENT, World, connected, intake, until_closed

SMALL_HEADS = msgspec.structs.replace(LIMITS, max_header_bytes=4096)


@pytest.fixture(scope="module")
def small_heads() -> Iterator[World]:
    with intake(limits=SMALL_HEADS) as running:
        yield running


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 6_000 + b" HTTP/1.1\r\n\r\n",
        HEAD + b"x: " + b"y" * 6_000 + b"\r\n\r\n",
        HEAD + b"x: y\r\n" * 1_500 + b"\r\n",
        HEAD + b"x: y\r\n" * 250 + b"\r\n",
        HEAD + b"x: " + b"y" * 6_000,  # does not end
        b"GET /" + b"x" * 300_000,
    ],
)
def test_too_large_a_head_is_431(small_heads: World, head: bytes) -> None:
    with connected(small_heads, b"") as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(head)
        answer = until_closed(connection)
    assert answer == b"" if len(head) > 200_000 and not answer else answer.startswith(b"HTTP/1.1 431 ")
    assert small_heads.post({"batch": [GOOD]}).status_code == 200


def test_a_large_body_beside_a_small_head_is_none_of_its_business(small_heads: World) -> None:
    body = b'{"batch":[]}' + b" " * 100_000
    with connected(small_heads, HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body)) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("data", [b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_no_http_is_400_in_our_form(small_heads: World, data: bytes) -> None:
    with connected(small_heads, data) as connection:
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 400 ") and b'"error":"invalid_http"' in answer


def test_who_reads_the_answer_only_after_all_is_sent_sees_it_and_may_go_on(small_heads: World) -> None:
    size = 4_000_000
    with connected(
        small_heads, HEAD.replace(b"web-key", b"wrong") + b"content-length: %d\r\n\r\n" % size
    ) as connection:
        connection.sendall(b"x" * size)
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")
        connection.sendall(HEAD + b'content-length: 12\r\n\r\n{"batch":[]}')
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_body_many_times_too_large_is_sent_to_its_end_and_the_sender_told() -> None:
    """Most clients look for an answer only when they have sent all. Cut off they would send it again and again."""
    size = 100_000_000
    with (
        intake(limits=PATIENT) as world,
        connected(world, HEAD + b"content-length: %d\r\n\r\n" % size) as connection,
    ):
        connection.sendall(b" " * size)
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("asked", [b"HTTP/1.1\r\nconnection: close", b"HTTP/1.0"])
def test_a_last_request_sees_its_answer_too_though_its_body_is_of_no_use(small_heads: World, asked: bytes) -> None:
    """nginx sends each request like this, unless it is told otherwise."""
    size, head = 20_000_000, HEAD.replace(b"web-key", b"wrong").replace(b"HTTP/1.1", asked)
    with connected(small_heads, head + b"content-length: %d\r\n\r\n" % size) as connection:
        connection.sendall(b" " * size)
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 401 ") and b"connection: close" in answer


def test_of_a_head_that_comes_with_the_end_of_a_body_only_its_own_bytes_are_counted(small_heads: World) -> None:
    """As when a client hears of a refusal before its body was read, and sends the next request right behind it."""
    body = b'{"batch":[%b]}' % (b" " * 3 * SMALL_HEADS.max_header_bytes)
    request = HEAD + b"content-length: %d\r\n\r\n" % len(body) + body
    small_heads.counted.closings.clear()
    with connected(small_heads, request + HEAD) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b'content-length: 12\r\n\r\n{"batch":[]}')
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(request + HEAD)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"x: " + b"x" * SMALL_HEADS.max_header_bytes + b"\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 431 ")
    assert small_heads.counted.closings == ["head_too_large"]


@pytest.mark.parametrize("pieces", [1, 2, 7])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_is_read_though_its_head_asks_for_another_protocol(
    small_heads: World, framing: str, pieces: int
) -> None:
    """As Java's client does with each first request, and curl with --http2. It is not the head of the next one."""
    body = json.dumps({"batch": [GOOD]}).encode()
    head = HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
    if framing == "length":
        request = head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    else:
        request = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    small_heads.taken()
    with connected(small_heads) as connection:
        for _ in range(2):  # and the connection goes on
            size = -(-len(request) // pieces)
            for at in range(0, len(request), size):
                connection.sendall(request[at : at + size])
                time.sleep(0.01)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert len(small_heads.taken()) == 2


def test_many_requests_at_once_that_ask_for_another_protocol() -> None:
    number = 1_500  # some 200 kB, which may be read at once and end within a head
    limits = msgspec.structs.replace(PATIENT, max_header_bytes=1_000_000)
    request = HEAD + b'Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 12\r\n\r\n{"batch":[]}'
    with intake(limits=limits) as world, connected(world, request * number) as connection:
        received = b""
        while received.count(b"HTTP/1.1 200 ") < number:
            part = connection.recv(65536)
            assert part, f"closed after {received.count(b'HTTP/1.1 200 ')} answers"
            received += part


def test_no_tunnel_is_made(small_heads: World) -> None:
    with connected(
        small_heads, b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\nPOST /v1/batch HTTP/1.1\r\n\r\n"
    ) as connection:
        assert until_closed(connection).count(b"HTTP/1.1 400 ") == 1
