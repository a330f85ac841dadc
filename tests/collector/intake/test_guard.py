"""Connections that are slow, idle, too many or no HTTP at all, on a real server whose limits are small."""

import contextlib
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec
import pytest

from polku_collector.intake.client_address import Proxies

from .world import GOOD, HEAD, LIMITS, PATIENT, World, connected, intake, until_closed

IMPATIENT = msgspec.structs.replace(LIMITS, header_seconds=0.4, idle_seconds=0.4, max_header_bytes=4096)


@pytest.fixture(scope="module")
def impatient() -> Iterator[World]:
    with intake(limits=IMPATIENT) as running:
        yield running


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
