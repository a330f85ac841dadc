"""Connections that are slow, idle, too many or no HTTP at all, on a real server whose limits are small."""

import contextlib
import json
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec
import pytest

from polku_collector.intake.client_address import Proxies

from .test_requests import GOOD
from .world import LIMITS, World, intake

IMPATIENT = msgspec.structs.replace(LIMITS, header_seconds=0.4, idle_seconds=0.4, max_header_bytes=4096)
PATIENT = msgspec.structs.replace(LIMITS, header_seconds=3600, idle_seconds=3600, body_seconds=60)
HEAD = b"POST /v1/batch?writeKey=web-key HTTP/1.1\r\nhost: x\r\n"


@pytest.fixture(scope="module")
def impatient() -> Iterator[World]:
    with intake(limits=IMPATIENT) as running:
        yield running


@contextlib.contextmanager
def connected(world: World, data: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", world.port), timeout=20) as connection:
        connection.sendall(data)
        yield connection


def until_closed(connection: socket.socket) -> bytes:
    """All that comes until the server closes; a timeout fails."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received


def test_a_connection_that_sends_nothing_is_closed(impatient: World) -> None:
    with connected(impatient) as connection:
        assert until_closed(connection) == b""
    assert "head_timeout" in impatient.counted.closings


def test_a_head_that_does_not_end_is_408(impatient: World) -> None:
    with connected(impatient, b"POST /v1/ba") as connection:
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 408 ") and b'"error":"timeout"' in answer


def test_a_head_that_trickles_is_408_too(impatient: World) -> None:
    """A byte now and then does not begin the time anew."""
    with connected(impatient, HEAD) as connection:
        connection.settimeout(0.1)
        answer = b""
        for _ in range(200):
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(65536)
                break
            connection.sendall(b"x")
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_connection_is_kept_between_requests_but_not_for_ever(impatient: World) -> None:
    body = b'{"userId":"u"}'
    request = HEAD.replace(b"batch", b"identify") + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    with connected(impatient, request) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(request)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert until_closed(connection) == b""


def test_blank_lines_do_not_keep_a_connection(impatient: World) -> None:
    """uvicorn forgets its timer at the first byte that comes."""
    with connected(impatient, HEAD + b"content-length: 2\r\n\r\n{}") as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 ")
        connection.sendall(b"\r\n")
        assert until_closed(connection) == b""


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
def test_too_large_a_head_is_431(impatient: World, head: bytes) -> None:
    with connected(impatient, b"") as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(head)
        answer = until_closed(connection)
    assert answer == b"" if len(head) > 200_000 and not answer else answer.startswith(b"HTTP/1.1 431 ")
    assert impatient.post({"batch": [GOOD]}).status_code == 200


def test_a_large_body_beside_a_small_head_is_none_of_its_business(impatient: World) -> None:
    body = b'{"batch":[]}' + b" " * 100_000
    with connected(impatient, HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body)) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("data", [b"hello\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_no_http_is_400_in_our_form(impatient: World, data: bytes) -> None:
    with connected(impatient, data) as connection:
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 400 ") and b'"error":"invalid_http"' in answer


def test_who_sends_on_after_the_answer_is_cut_off(impatient: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polku_collector.intake.guard.LINGER_SECONDS", 0.3)
    with connected(
        impatient, HEAD.replace(b"web-key", b"wrong") + b"content-length: 1000000000000\r\n\r\n"
    ) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(1_000_000):
                connection.sendall(b"x" * 1_000)
    assert "lingering" in impatient.counted.closings


def test_who_reads_the_answer_only_after_all_is_sent_sees_it_and_may_go_on(impatient: World) -> None:
    size = 4_000_000
    with connected(impatient, HEAD.replace(b"web-key", b"wrong") + b"content-length: %d\r\n\r\n" % size) as connection:
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
def test_a_last_request_sees_its_answer_too_though_its_body_is_of_no_use(impatient: World, asked: bytes) -> None:
    """nginx sends each request like this, unless it is told otherwise."""
    size, head = 20_000_000, HEAD.replace(b"web-key", b"wrong").replace(b"HTTP/1.1", asked)
    with connected(impatient, head + b"content-length: %d\r\n\r\n" % size) as connection:
        connection.sendall(b" " * size)
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 401 ") and b"connection: close" in answer


def test_who_never_ends_his_last_request_is_cut_off(impatient: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polku_collector.intake.guard.LINGER_SECONDS", 0.3)
    impatient.counted.closings.clear()
    head = HEAD.replace(b"web-key", b"wrong") + b"connection: close\r\ncontent-length: 1000\r\n\r\n"
    with connected(impatient, head) as connection:
        assert until_closed(connection).startswith(b"HTTP/1.1 401 ")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(100):
                connection.sendall(b"x")
                time.sleep(0.1)
    assert impatient.counted.closings == ["lingering"]


def test_a_connection_whose_refused_body_came_to_its_end_is_kept_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polku_collector.intake.guard.LINGER_SECONDS", 0.3)
    with intake(limits=PATIENT) as world:
        refused = HEAD.replace(b"web-key", b"wrong") + b"content-length: 100\r\n\r\n"
        with connected(world, refused) as connection:
            assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")
            connection.sendall(b"x" * 100)
            time.sleep(2.5)  # two looks at all connections
            connection.sendall(HEAD + b'content-length: 12\r\n\r\n{"batch":[]}')
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert world.counted.closings == []


def test_of_a_head_that_comes_with_the_end_of_a_body_only_its_own_bytes_are_counted(impatient: World) -> None:
    """As when a client hears of a refusal before its body was read, and sends the next request right behind it."""
    body = b'{"batch":[%b]}' % (b" " * 3 * IMPATIENT.max_header_bytes)
    request = HEAD + b"content-length: %d\r\n\r\n" % len(body) + body
    impatient.counted.closings.clear()
    with connected(impatient, request + HEAD) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b'content-length: 12\r\n\r\n{"batch":[]}')
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(request + HEAD)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"x: " + b"x" * IMPATIENT.max_header_bytes + b"\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 431 ")
    assert impatient.counted.closings == ["head_too_large"]


@pytest.mark.parametrize("pieces", [1, 2, 7])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_is_read_though_its_head_asks_for_another_protocol(impatient: World, framing: str, pieces: int) -> None:
    """As Java's client does with each first request, and curl with --http2. It is not the head of the next one."""
    body = json.dumps({"batch": [GOOD]}).encode()
    head = HEAD + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
    if framing == "length":
        request = head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    else:
        request = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    impatient.taken()
    with connected(impatient) as connection:
        for _ in range(2):  # and the connection goes on
            size = -(-len(request) // pieces)
            for at in range(0, len(request), size):
                connection.sendall(request[at : at + size])
                time.sleep(0.01)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert len(impatient.taken()) == 2


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


def test_no_tunnel_is_made(impatient: World) -> None:
    with connected(impatient, b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\nPOST /v1/batch HTTP/1.1\r\n\r\n") as connection:
        assert until_closed(connection).count(b"HTTP/1.1 400 ") == 1


def test_what_follows_an_answer_is_read_bit_by_bit() -> None:
    """As fast as it comes it would hold up everybody else."""
    with (
        intake(limits=PATIENT) as world,
        connected(world, HEAD.replace(b"web-key", b"wrong") + b"content-length: 1000000000000\r\n\r\n") as connection,
    ):
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")
        connection.settimeout(0.1)
        sent, until = 0, time.monotonic() + 1
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                sent += connection.send(b"x" * 1_000_000)
    assert sent < 100_000_000, "a second's worth, and what the kernel has room for"


def test_at_its_bound_idle_connections_make_room_and_nobody_is_refused() -> None:
    limits = msgspec.structs.replace(PATIENT, max_connections=32)
    with intake(limits=limits) as world, contextlib.ExitStack() as stack:
        assert world.post({"batch": [GOOD]}).status_code == 200
        idle = [stack.enter_context(connected(world)) for _ in range(31)]
        # They are looked at once a second, and are young for one: the first who comes after that finds room.
        for connection in idle:
            connection.setblocking(False)
        answers: list[int] = []
        give_up = time.monotonic() + 30
        while 200 not in answers[-1:]:
            assert time.monotonic() < give_up, "nobody made room"
            with connected(world, HEAD + b'connection: close\r\ncontent-length: 12\r\n\r\n{"batch":[]}') as late:
                answer = until_closed(late)
                answers.append(int(answer[9:12]) if answer else 0)
        assert set(answers) <= {0, 200, 503}
        assert "crowded" in world.counted.closings
        assert world.post({"batch": [GOOD]}).status_code == 200


def test_more_than_there_is_room_for_are_told_to_come_again() -> None:
    limits = msgspec.structs.replace(PATIENT, max_connections=8)
    with intake(limits=limits) as world, contextlib.ExitStack() as stack:
        for _ in range(8):  # all of them are busy
            connection = stack.enter_context(connected(world, HEAD + b"content-length: 9\r\n\r\n{"))
            del connection
        with connected(world) as refused:
            answer = until_closed(refused)
        assert answer.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in answer and b'"error":"busy"' in answer
        assert world.counted.errors == ["busy"]


def test_one_address_has_a_share_and_a_trusted_proxy_has_all() -> None:
    import ipaddress

    limits = msgspec.structs.replace(PATIENT, max_connections_per_address=3)
    with intake(limits=limits) as world, contextlib.ExitStack() as stack:
        held = [stack.enter_context(connected(world)) for _ in range(3)]
        with connected(world) as refused:
            assert until_closed(refused).startswith(b"HTTP/1.1 503 ")
        assert world.counted.closings == ["address"]
        for connection in held:
            connection.close()
        while True:  # until the server has seen it
            with connected(world, b"GET /healthz HTTP/1.0\r\n\r\n") as again:
                if until_closed(again).startswith(b"HTTP/1.1 200 "):
                    break
    with (
        intake(limits=limits, proxies=Proxies((ipaddress.ip_network("127.0.0.0/8"),))) as world,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(10):
            stack.enter_context(connected(world))
        assert world.post({"batch": [GOOD]}).status_code == 200


def test_connections_never_take_all_files_of_the_process() -> None:
    with intake(limits=PATIENT, files=256 + 4) as world, contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(connected(world, HEAD + b"content-length: 9\r\n\r\n{"))
        with connected(world) as refused:
            assert until_closed(refused).startswith(b"HTTP/1.1 503 ")


def test_a_worker_takes_as_many_files_as_it_wants_and_may() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (300, 2000))\n"
        "from polku_collector.intake.guard import raise_open_files\n"
        "print(raise_open_files(100), raise_open_files(1000), raise_open_files(9000))\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["356", "1256", "2000", "2000"]
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 256


def test_many_large_bodies_at_once_have_a_bound_together() -> None:
    limits = msgspec.structs.replace(PATIENT, max_held_bytes=160_000, max_body_bytes=200_000)
    with intake(limits=limits) as world:
        with connected(world, HEAD + b"content-length: 150000\r\n\r\n" + b" " * 140_000) as slow:
            answer = None
            while answer is None or answer.status_code == 200:  # until the server has read what the slow one sent
                answer = world.client.post("/v1/batch", content=(b" " * 10_000 for _ in range(3)), auth=("web-key", ""))
                if answer.status_code == 400:
                    answer = None
            assert (answer.status_code, answer.json()["error"]) == (503, "busy")
            assert world.post({"batch": [GOOD]}).status_code == 200  # small bodies are never refused for it
            slow.sendall(b"x" * 10_000)
            assert slow.recv(65536).startswith(b"HTTP/1.1 400 ")
        again = world.client.post("/v1/batch", content=(b" " * 10_000 for _ in range(3)), auth=("web-key", ""))
        assert again.status_code == 400
