"""The proxy passes on what it should, and makes each fault: on the right side of the store's effect."""

import contextlib
from collections.abc import Iterator

import httpx
import pytest

from .ports import own_port
from .proxy import Fault, Kind, Moment, Proxy, Request
from .store import BUCKET, StoreProcess

SEEN: list[tuple[Moment, str, str]] = []


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    store = StoreProcess(tmp_path_factory.mktemp("store"))
    yield store
    store.kill()


@pytest.fixture
def proxy(store: StoreProcess) -> Iterator[Proxy]:
    SEEN.clear()

    def see(moment: Moment, request: Request, peer_port: int) -> bool:
        SEEN.append((moment, request.method, request.key))
        return request.key == f"killed-{moment}"

    proxy = Proxy(store.port, own_port(), seed="1", on_moment=see)
    yield proxy
    proxy.close()


def put(proxy: Proxy, key: str, body: bytes = b"x" * 5000, **headers: str) -> httpx.Response:
    return httpx.put(f"{proxy.address}/{BUCKET}/{key}", content=body, headers=headers, timeout=10)


def there(store: StoreProcess, key: str) -> bool:
    return (store.folder / BUCKET / key).exists()


def test_requests_pass_and_are_seen_before_and_after(proxy: Proxy, store: StoreProcess) -> None:
    assert put(proxy, "folder/one.json").status_code == 200
    with httpx.Client() as client:  # one connection for several requests
        for _ in range(3):
            assert client.get(f"{proxy.address}/{BUCKET}/folder/one.json").content == b"x" * 5000
        assert client.head(f"{proxy.address}/{BUCKET}/folder/one.json").headers["content-length"] == "5000"
    listed = httpx.get(f"{proxy.address}/{BUCKET}?list-type=2&prefix=folder%2F")
    assert "folder/one.json" in listed.text
    assert SEEN[:2] == [("before", "PUT", "folder/one.json"), ("after", "PUT", "folder/one.json")]
    assert "prefix=folder/" in SEEN[-1][2]


def test_a_body_in_chunks_passes(proxy: Proxy, store: StoreProcess) -> None:
    def parts() -> Iterator[bytes]:
        yield from (b"a" * 10, b"b" * 20)

    assert httpx.put(f"{proxy.address}/{BUCKET}/chunks", content=parts()).status_code == 200
    assert (store.folder / BUCKET / "chunks").read_bytes() == b"a" * 10 + b"b" * 20


def test_of_several_writers_one_creates_an_object(proxy: Proxy) -> None:
    answers = [put(proxy, "created", b"%d" % number, **{"If-None-Match": "*"}).status_code for number in range(3)]
    assert answers == [200, 412, 412]


@pytest.mark.parametrize(
    ("kind", "effect"),
    [
        ("reset", False),
        ("error_500", False),
        ("slow_down", False),
        ("lost_answer", True),
        ("error_after", True),
        ("delay", True),
    ],
)
def test_a_fault_is_made_before_or_after_the_effect(
    proxy: Proxy, store: StoreProcess, kind: Kind, effect: bool
) -> None:
    proxy.faults = (Fault(kind, "PUT", "faulty", seconds=0.1),)
    status = 0
    with contextlib.suppress(httpx.TransportError):
        status = put(proxy, f"faulty-{kind}").status_code
    assert status == {"error_500": 500, "slow_down": 503, "error_after": 500, "delay": 200}.get(kind, 0)
    assert there(store, f"faulty-{kind}") == effect
    assert proxy.made == {kind: 1}
    assert put(proxy, "spared").status_code == 200


@pytest.mark.parametrize("kind", ["stall_request", "stall_answer"])
def test_a_stall_ends_with_an_answer_or_with_a_reset(proxy: Proxy, kind: Kind) -> None:
    proxy.faults = (Fault(kind, seconds=0.05),)
    ends = set()
    for number in range(30):
        try:
            ends.add(put(proxy, f"stalled-{number}").status_code)
        except httpx.TransportError:
            ends.add(0)
    assert ends == {0, 200}


def test_nobody_listens_while_it_refuses(proxy: Proxy) -> None:
    proxy.refuse()
    with pytest.raises(httpx.ConnectError):
        put(proxy, "refused")
    proxy.listen()
    assert put(proxy, "refused").status_code == 200


@pytest.mark.parametrize("moment", ["before", "after"])
def test_whoever_is_killed_at_a_point_gets_no_answer(proxy: Proxy, store: StoreProcess, moment: Moment) -> None:
    with pytest.raises(httpx.TransportError):
        put(proxy, f"killed-{moment}")
    assert there(store, f"killed-{moment}") == (moment == "after")


def test_the_store_keeps_what_it_has_when_it_is_killed(proxy: Proxy, store: StoreProcess) -> None:
    put(proxy, "kept")
    store.kill()
    with pytest.raises(httpx.TransportError):
        put(proxy, "away")
    store.start()
    assert httpx.get(f"{proxy.address}/{BUCKET}/kept").status_code == 200
    assert put(proxy, "away").status_code == 200
